"""The part for ids: the maps of a new user namespace, and the program's credentials."""

from spawner import steps
from spawner.steps import IDS, MAPS, Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from spawner.caller import Caller
    from spawner.ids.identity import Identity
    from spawner.ids.mapping import Maps
    from spawner.linux import Kernel
    from spawner.spec import Spec
    from spawner.steps import Step


class Own(Part):
    """Maps the caller's own ids only, which an ordinary user may do without help."""

    def __init__(self, identity: "Identity", caller: "Caller") -> None:
        self._users = f"{identity.map_user} {caller.user} 1"
        self._groups = f"{identity.map_group} {caller.group} 1"

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Return the functions that write the maps, by station of the plan."""
        return {MAPS: lambda: steps.map_own(users=self._users, groups=self._groups)}


class Ids(Part):
    """Writes the maps of a new user namespace, if any, and sets the program's credentials."""

    def __init__(self, identity: "Identity", maps: "Maps") -> None:
        self._identity = identity
        self._maps = maps

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Return the functions that write the maps and change the init's ids, by station."""
        found: dict[str, Callable[[], Iterable[Step]]] = {}
        if self._identity.chooses:
            found[IDS] = self._become
        if self._maps.users is not None:
            found[MAPS] = self._write
        return found

    def _become(self) -> "Iterator[Step]":
        from spawner.ids import credentials

        return credentials.become(self._identity, groups_stay=self._maps.groups_stay)

    def _write(self) -> "Iterator[Step]":
        """Yield the steps that write the maps of the new user namespace, groups first."""
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
                from spawner.ids import credentials

                yield credentials.map_ids_by(helper, kind, found, maps.watched)


def find(
    identity: "Identity",
    kernel: "Kernel",
    spec: "Spec",
    caller: "Caller",
    lifelines: "Iterable[int]" = (),
) -> Part | None:
    """Return the part for the ids; raises SetupError and SpecError.

    None where the user namespace of others may be entered: who the program is in there shows when
    that is found.
    """
    new = "user" in spec.namespaces.wanted
    if not new and "user" in spec.enters:
        return None
    if new and caller.user and identity.is_own:
        return Own(identity, caller)
    from spawner.ids import mapping

    return Ids(identity, mapping.find(kernel, identity, spec, caller, lifelines))
