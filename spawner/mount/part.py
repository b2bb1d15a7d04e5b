"""Finds what is to be done about mounts beyond what a plain run does."""

from spawner.mount import mounts
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
    """The mounts inside."""

    def __init__(self, tree: "Tree") -> None:
        self._tree = tree

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Where the new mount namespace gets its propagation and its /proc."""
        return {MOUNTS: lambda: mounts.inside(self._tree)}


def find(
    tree: "Tree",
    kernel: "Kernel",
    spec: "Spec",
    caller: "Caller",
    lifelines: "Iterable[int]" = (),
) -> Part:
    """Return what is to be done about mounts."""
    del kernel, spec, caller, lifelines
    return Mounts(tree)
