"""Find where this process may have a control group of its own made, cgroups(7).

A controller is in a hierarchy of version 1, or in that of version 2. In one of version 1 the place
is below the group in which pyspawn is. In version 2 a group that has processes can't pass its
controllers on to others: so there it's the nearest group above that passes on what is needed. The
container isn't below those between that one and pyspawn's, and so it gets their limits
(`settings.stricter`). A parent that is named is taken in place of all that.
"""

from spawner.errors import LAUNCHER, SetupError, SyscallError, mark
from spawner.host import proc
from spawner.limit import settings
from spawner.spec import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spawner.limit.limits import Limits
    from spawner.limit.settings import Setting

TOLD = ("memory", "pids", "cpuacct")
"""Controllers of version 1 that tell at the end what was used; they cost nothing beside another."""


class Place(Frozen):
    """A directory of a hierarchy in which a group can be made.

    `controllers` are those that it's for, and `needed` whether a limit takes them. `enables` are
    those that it doesn't pass on yet, and is to. `left` are the limits of the groups that are left.
    """

    version: int
    parent: str
    controllers: tuple[str, ...]
    needed: bool = True
    enables: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()


class Hierarchies:
    """The hierarchies of this host, by what /proc says of them and of this process.

    `groups` is the text of /proc/self/cgroup, and `mounts` that of /proc/self/mountinfo.
    """

    def __init__(self, groups: str, mounts: str) -> None:
        self._mounts = [each for each in proc.mounts(mounts) if each.kind.startswith("cgroup")]
        self._own: dict[str, str] = {}
        for line in groups.splitlines():
            _, names, path = line.split(":", 2)
            self._own.update(dict.fromkeys(names.split(","), path))  # "" is version 2

    def has(self, controller: str) -> bool:
        """Tell whether a controller is in a hierarchy of version 1."""
        return controller in self._own

    def top(self, controller: str) -> "proc.Mount | None":
        """Return where the hierarchy of a controller is mounted, "" for that of version 2."""
        for mount in self._mounts:
            if mount.kind == ("cgroup" if controller else "cgroup2") and (
                not controller or controller in mount.settings
            ):
                return mount
        return None

    def own(self, controller: str) -> str | None:
        """Return the directory of this process's group, None where it can't be seen."""
        mount, path = self.top(controller), self._own.get(controller)
        if mount is None or path is None or ".." in path.split("/"):
            return None
        below = path.rstrip("/") + "/"
        root = mount.root.rstrip("/") + "/"
        if not below.startswith(root):
            return None
        return (mount.below + below[len(root) :]).rstrip("/")


def find(limits: "Limits", hierarchies: "Hierarchies | None" = None) -> "tuple[Place, ...]":
    """Return the places in which the groups for the limits can be made; raises SetupError."""
    found = hierarchies or Hierarchies(
        proc.text("/proc/self/cgroup"), proc.text("/proc/self/mountinfo")
    )
    second = set(settings.controllers(limits, 2))
    first = [each for each in sorted(second) if found.has("blkio" if each == "io" else each)]
    places = [_first(found, each, limits) for each in first]
    if first:
        more = (each for each in TOLD if each not in first and found.has(each))
        places = _merged(places + [place for each in more if (place := _more(found, each, limits))])
    if rest := sorted(second.difference(first)):
        places.append(_second(found, rest, limits))
    return tuple(places)


def _first(found: Hierarchies, controller: str, limits: "Limits", needed: bool = True) -> Place:
    if controller == "io":
        raise SetupError(
            "the weight of input and output can only be set in control groups of version 2",
            stage=LAUNCHER,
            hint=f"leave {mark('--io-weight')} out: control groups of version 1 are mounted here",
        )
    top = found.top(controller)
    if top is not None and limits.cgroup_parent is not None:
        return Place(1, _given(top, limits.cgroup_parent), (controller,), needed)
    own = found.own(controller)
    if own is None:
        raise _nowhere(controller)
    return Place(1, own, (controller,), needed)


def _merged(places: "Iterable[Place]") -> "list[Place]":
    """Return the places, one for each directory: a hierarchy can have several controllers."""
    found: dict[str, Place] = {}
    for each in places:
        held = found.get(each.parent, each)
        controllers = dict.fromkeys(held.controllers + each.controllers)
        needed = held.needed or each.needed
        found[each.parent] = Place(1, each.parent, tuple(controllers), needed)
    return list(found.values())


def _more(found: Hierarchies, controller: str, limits: "Limits") -> Place | None:
    """Return the place for a controller that only tells something, or None."""
    try:
        return _first(found, controller, limits, needed=False)
    except SetupError:
        return None


def _second(found: Hierarchies, needed: "Iterable[str]", limits: "Limits") -> Place:
    """Return the place in version 2 for these controllers; raises SetupError."""
    top = found.top("")
    wanted = tuple(needed)
    if top is not None and limits.cgroup_parent is not None:
        given = _given(top, limits.cgroup_parent)
        missing = tuple(each for each in wanted if each not in _words(given, "subtree_control"))
        absent = [each for each in missing if each not in _words(given, "controllers")]
        if absent:
            raise _absent(absent, given)
        return Place(2, given, wanted, enables=missing)
    own = found.own("")
    if top is None or own is None:
        raise _nowhere(wanted[0])
    left: list[tuple[str, str]] = []
    group = own
    while not _words(group, "subtree_control").issuperset(wanted):
        if group == top.point.rstrip("/") or "/" not in group:
            raise _absent(wanted, own)
        left += _limits(group)
        group = group.rpartition("/")[0]
    return Place(2, group, wanted, left=tuple(left))


def _given(top: proc.Mount, path: str) -> str:
    """Return the directory of a named group: the path itself, or below where all groups are."""
    path = "/" + path.strip("/")
    return path if path.startswith(top.below) else top.point.rstrip("/") + path


def _words(group: str, name: str) -> frozenset[str]:
    return frozenset(_read(f"{group}/cgroup.{name}").split())


def _limits(group: str) -> "list[tuple[str, str]]":
    found = ((file, _read(f"{group}/{file}").strip()) for file in settings.LEFT)
    return [(file, text) for file, text in found if text and not text.startswith("max")]


def _read(path: str) -> str:
    try:
        return proc.text(path)
    except SyscallError as error:
        from errno import ENOENT

        if error.errno != ENOENT:
            raise
        return ""


def chosen(
    limits: "Limits", places: "Iterable[tuple[Place, str]]", page: int
) -> "Iterator[tuple[Place, Setting]]":
    """Yield the settings for each place, in order; the paths beside them play no part."""
    for place, _ in places:
        wanted: Iterable[Setting] = (
            each
            for each in settings.settings(limits, place.version, page)
            if each.controller in place.controllers
        )
        for setting in settings.stricter(wanted, place.left):
            yield place, setting


def _nowhere(controller: str) -> SetupError:
    return SetupError(
        f"the control group of pyspawn for the controller {controller} can't be seen here",
        stage=LAUNCHER,
        hint="mount the control groups where pyspawn is started (for version 2: `mount -t cgroup2 "
        "none /sys/fs/cgroup`), or start it outside",
    )


def _absent(controllers: "Iterable[str]", group: str) -> SetupError:
    names = ", ".join(controllers)
    return SetupError(
        f"no control group from {group} upwards passes on the controllers {names}",
        stage=LAUNCHER,
        path=group,
        hint=f"as root, enable them in a group without processes (`echo +NAME > "
        f"cgroup.subtree_control`), and name that one with {mark('--cgroup-parent PATH')}",
    )
