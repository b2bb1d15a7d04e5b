"""The part of a container that makes the mounts that are wanted beyond a plain run."""

from spawner.mount import steps
from spawner.steps import MOUNTS, Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from spawner.caller import Caller
    from spawner.linux import Kernel
    from spawner.mount.tree import Tree
    from spawner.spec import Spec
    from spawner.steps import Step


class Mounts(Part):
    """The part that gives the new mount namespace its propagation and its /proc."""

    def __init__(self, tree: "Tree") -> None:
        self._tree = tree

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Say at which station the new mount namespace gets its propagation and its /proc."""
        return {MOUNTS: lambda: steps.inside(self._tree)}


def find(
    tree: "Tree",
    kernel: "Kernel",
    spec: "Spec",
    caller: "Caller",
    lifelines: "Iterable[int]" = (),
) -> Part:
    """Return the part for the mounts that are wished for."""
    del kernel, spec, caller, lifelines
    return Mounts(tree)
