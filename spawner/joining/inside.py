"""Choose the program's ids in a user namespace that it joins, before joining it.

An id that isn't mapped inside is shown there as the overflow id, and may do outside whatever it
could do before, user_namespaces(7). So the maps are read from outside, where their outer column is
in our ids, and a program that would keep an id of ours which has no mapping isn't started. A map
is written once: what is read of one that isn't empty holds for ever.
"""

import posix

from spawner.errors import LAUNCHER, SetupError, mark
from spawner.spec import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from spawner.caller import Caller
    from spawner.ids.identity import Identity


class Ids:
    """The ids mapped in a user namespace, from its uid_map or gid_map as read from outside."""

    def __init__(self, text: bytes) -> None:
        rows = (tuple(map(int, line.split())) for line in text.splitlines())
        self._extents = [(inner, outer, count) for inner, outer, count in rows]

    def holds(self, number: int) -> bool:
        """Tell whether an id is mapped in the user namespace."""
        return any(0 <= number - inner < count for inner, _, count in self._extents)

    def inner(self, number: int) -> int | None:
        """Return the inner id that an id of this process's namespace is mapped to, or None."""
        for inner, outer, count in self._extents:
            if 0 <= number - outer < count:
                return inner + number - outer
        return None

    @property
    def lowest(self) -> int | None:
        """The lowest inner id, or None if no id is mapped."""
        return min((inner for inner, _, _ in self._extents), default=None)

    def __str__(self) -> str:
        parts = (
            f"{inner} to {inner + count - 1}" if count > 1 else f"{inner}"
            for inner, _, count in self._extents[:3]
        )
        return ", ".join(parts) + (", …" if self._extents[3:] else "")


class Maps:
    """The id maps of a user namespace, and whether setgroups(2) is denied there."""

    def __init__(self, users: bytes, groups: bytes, *, denied: bool) -> None:
        self.users = Ids(users)
        self.groups = Ids(groups)
        self.denied = denied


class Who(Frozen):
    """The program's ids inside; `groups` is None if the supplementary groups are kept."""

    user: int
    group: int
    groups: tuple[int, ...] | None


def look(read: "Callable[[str], bytes]", process: str) -> Maps:
    """Return the maps of a process's user namespace, using `read` to read its files in /proc.

    Whether setgroups is denied can't change once there is a gid_map: so that is read first.
    """
    groups = read(f"/proc/{process}/gid_map")
    denied = read(f"/proc/{process}/setgroups").strip() == b"deny"
    return Maps(read(f"/proc/{process}/uid_map"), groups, denied=denied)


def choose(named: "Identity", caller: "Caller", maps: Maps, *, drops: bool) -> Who:
    """Return the program's ids inside: those in `named`, or root's, or else the lowest mapped.

    Where setgroups is denied, an ordinary caller's ids that are mapped stay. `drops` says that the
    caller's supplementary groups are dropped before the namespace is entered. Raises SetupError
    where an id has no mapping inside.
    """
    own = caller.user if maps.denied and caller.user else None
    user = _one(maps.users, named.user, own, "user", caller.user)
    own = caller.group if maps.denied and caller.user else None
    group = _one(maps.groups, named.group, own, "group", caller.group)
    for each in named.groups or ():
        _check(maps.groups, each, "group", "--groups")
    if named.groups is not None or not maps.denied:
        return Who(user, group, named.groups or ())
    stays = maps.users.inner(caller.user) == user and maps.groups.inner(caller.group) == group
    if not drops and not stays:
        _check_groups(maps.groups)
    return Who(user, group, None)


def _one(ids: Ids, wanted: int | None, own: int | None, word: str, outside: int) -> int:
    """Return one mapped id: `wanted`, or the one that `own` is mapped to, or the lowest."""
    if wanted is not None:
        _check(ids, wanted, word, "--setuid" if word == "user" else "--setgid")
        return wanted
    found = None if own is None else ids.inner(own)
    if found is None:
        found = ids.lowest
    if found is None:
        raise _empty(word, f"the program would stay {word} {outside} of this host")
    return found


def _check(ids: Ids, number: int, word: str, option: str) -> None:
    if ids.lowest is None:
        raise _empty(word, f"{number} isn't mapped in the container")
    if not ids.holds(number):
        raise SetupError(
            f"join the user namespace: {word} {number} isn't mapped in it",
            stage=LAUNCHER,
            hint=f"use ids with {mark(option)} that are mapped in the container ({ids}), or start "
            f"the container with more ids ({mark('--map-auto')})",
        )


def _empty(word: str, otherwise: str) -> SetupError:
    file = "uid_map" if word == "user" else "gid_map"
    return SetupError(
        f"join the user namespace: no {word} is mapped in it",
        stage=LAUNCHER,
        hint=f"the container's {file} is empty, and {otherwise}: join the namespace once the map "
        "has been written",
    )


def _check_groups(ids: Ids) -> None:
    """Refuse supplementary groups that are neither mapped nor can be dropped."""
    for group in posix.getgroups():
        if ids.inner(group) is None:
            raise SetupError(
                f"join the user namespace: your supplementary group {group} isn't mapped in it",
                stage=LAUNCHER,
                hint="the program would keep that group, since setgroups is denied in the "
                "container: start the container with setgroups allowed, or join as root",
            )
