"""Finds the maps of ids, and who the program is by them."""

from spawner import steps
from spawner.ids import credentials, mapping
from spawner.steps import IDS, MAPS, Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from spawner.caller import Caller
    from spawner.ids.mapping import Maps
    from spawner.linux import Kernel
    from spawner.spec import Spec
    from spawner.steps import Step


class Ids(Part):
    """The maps of a new user namespace, where there's one, and the program's credentials."""

    def __init__(self, spec: "Spec", maps: "Maps") -> None:
        self._spec = spec
        self._maps = maps

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Where maps are written, and where the init becomes who the program is."""
        found: dict[str, Callable[[], Iterable[Step]]] = {IDS: self._become}
        if self._maps.users is not None:
            found[MAPS] = self._write
        return found

    def _become(self) -> "Iterator[Step]":
        return credentials.become(self._spec, groups_stay=self._maps.groups_stay)

    def _write(self) -> "Iterator[Step]":
        """Yield what fills the new user namespace with ids: groups first, as in a plain run."""
        maps = self._maps
        if maps.deny:
            yield steps.deny_setgroups()
        for kind, found, helper in (
            ("gid", maps.groups, maps.group_helper),
            ("uid", maps.users, maps.user_helper),
        ):
            if found is None:
                continue
            if helper is None:
                yield steps.map_ids(kind, found.text)
            else:
                yield credentials.map_ids_by(helper, kind, found, maps.watched)


def find(
    kernel: "Kernel", spec: "Spec", caller: "Caller", lifelines: "Iterable[int]" = ()
) -> Part | None:
    """Return the maps and the credentials; raises SetupError and SpecError where there are none.

    None where the user namespace of others may be entered: who the program is in there shows when
    that is found.
    """
    new = "user" in spec.namespaces.wanted
    if not new and spec.joins is not None and spec.joins.may_enter_user:
        return None
    return Ids(spec, mapping.find(kernel, spec, caller, lifelines))
