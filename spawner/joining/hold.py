"""Hold of the namespaces of others, by descriptors: looked up before any is entered.

The others are taken to be hostile. Everything is opened by the launcher, or by a scout in its place
(`scout`): the namespaces, and of a process its root, working directory and environment, while its
pidfd says that it lives. No path is looked up later that somebody inside decides on, but for the
program's own.
"""

import _signal
import errno
import posix

from spawner.errors import LAUNCHER, SCOUT, SetupError, SyscallError, mark
from spawner.host import proc
from spawner.host.paths import DIRECTORY, FORMAT, REGULAR
from spawner.joining import inside
from spawner.spec import FORKER, KINDS, NAMESPACES, made_by
from spawner.steps import attempt, failed, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spawner.caller import Caller
    from spawner.ids.identity import Identity
    from spawner.joining.scout import Scout
    from spawner.joining.target import Joins
    from spawner.linux import Kernel
    from spawner.steps import Look

_FLAG_NAMES = (
    ("O_PATH", posix.O_PATH),
    ("O_DIRECTORY", posix.O_DIRECTORY),
    ("O_NONBLOCK", posix.O_NONBLOCK),
    ("O_NOCTTY", posix.O_NOCTTY),
)
"""Flags of openat(2) by their names; without O_PATH files are read."""

_FILE_FLAGS = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY
"""How a file is opened that somebody may have put there: nothing that it is may hold us."""

_PF_KTHREAD = 0x00200000
"""Flag of a process that is part of the kernel, linux/sched.h."""

_LONGEST = 8 << 20
"""Bytes of an environment: more than an exec could have brought, execve(2)."""


class Held:
    """What is held of a target, by descriptors that are closed on exec.

    `namespaces` are those that differ from ours; `first` is the user namespace to enter before all
    others, if it isn't the one in `namespaces`. `root` and `directory` are a process's, and
    `environment` its variables, where they are wanted. `maps` are a user namespace's, where they
    are known of the process, and `who` is the program in there. `ahead` are the kinds in which only
    a process's children are where it seems to be. `proc` is a descriptor of /proc, and `asks_proc`
    says that only that tells of mounts. `groups_stay` says that setgroups(2) is denied where no
    user namespace is entered.
    """

    def __init__(self, joins: "Joins", place: int) -> None:
        self.joins = joins
        self.privileged = False
        self.namespaces: dict[str, int] = {}
        self.first: int | None = None
        self.root: int | None = None
        self.directory: int | None = None
        self.environment: dict[bytes, bytes] | None = None
        self.maps: inside.Maps | None = None
        self.who = inside.Who(0, 0, ())
        self.looks: list[Look] = []
        self.ahead: list[str] = []
        self.asks_proc = False
        self.groups_stay = False
        self.proc = place
        self._held = [place]

    def hold(self, descriptor: int) -> int:
        """Hold a descriptor as well; return it."""
        self._held.append(descriptor)
        return descriptor

    def open(self, kernel: "Kernel", path: str, flags: int) -> int:
        """Open what is a target's, and hold it; raises SyscallError."""
        descriptor = self.hold(kernel.open(path, flags))
        self.looks += look(LAUNCHER, path, flags)
        return descriptor

    def drop(self, descriptor: int) -> None:
        """Close a descriptor that isn't needed."""
        self._held.remove(descriptor)
        posix.close(descriptor)

    def let_go(self) -> None:
        """Close all that is held; processes that were forked have their own copies."""
        while self._held:
            posix.close(self._held.pop())

    def look_at_maps(self, process: str) -> inside.Maps:
        """Return the maps of a process's user namespace; raises SyscallError."""
        return inside.look(self._read, process)

    def copy(self, path: str) -> int:
        """Return a descriptor of a copy, in memory, of a file of /proc; raises SyscallError."""
        data = self._read(path)
        try:
            copy = posix.memfd_create("copy")
            while data:
                data = data[posix.write(copy, data) :]
        except OSError as error:
            raise SyscallError("memfd_create", error.errno or 0) from None
        return copy

    @property
    def denied(self) -> bool:
        """Whether setgroups(2) is denied in the user namespace that we are in now."""
        return self._read("/proc/self/setgroups").strip() == b"deny"

    def _read(self, path: str) -> bytes:
        """Return what a file of our /proc holds; raises SyscallError."""
        return proc.read(path, proc=self.proc, most=_LONGEST)

    @property
    def enters_user(self) -> bool:
        """Whether a user namespace is among them."""
        return "user" in self.namespaces

    def place(self, kernel: "Kernel", descriptor: int) -> tuple[int, int, int]:
        """Return what tells a directory from all others: its mount, its device and its inode."""
        return self.mount(kernel, descriptor), *_identity(posix.fstat(descriptor))

    def mount(self, kernel: "Kernel", descriptor: int) -> int:
        """Return the number of the mount that a descriptor is in; raises SyscallError.

        No file system is asked for it. Where statx(2) doesn't tell, that is noted.
        """
        found = None if self.asks_proc else kernel.mount_id(descriptor)
        if found is not None:
            return found
        self.asks_proc = True
        path = f"/proc/self/fdinfo/{descriptor}"
        number = proc.fields(self._read(path).decode()).get("mnt_id")
        if number is None:
            raise SyscallError("read", errno.ENODATA, path)
        return int(number)

    def is_root(self, kernel: "Kernel", descriptor: int) -> bool:
        """Tell whether a directory is our root.

        Nothing is asked of the file system of another mount, which may never answer.
        """
        root = kernel.open("/", posix.O_PATH | posix.O_DIRECTORY)
        try:
            if self.mount(kernel, root) != self.mount(kernel, descriptor):
                return False
            return _identity(posix.fstat(root)) == _identity(posix.fstat(descriptor))
        finally:
            posix.close(root)


def find(
    joins: "Joins",
    named: "Identity",
    kernel: "Kernel",
    caller: "Caller",
    lifelines: "Iterable[int]" = (),
) -> Held:
    """Return hold of all that `joins` says, for a program that is `named`; raises SetupError.

    `lifelines` are descriptors whose becoming readable ends the start.
    """
    place = attempt(
        LAUNCHER, "open /proc", lambda: kernel.open("/proc", posix.O_PATH | posix.O_DIRECTORY)
    )
    held = Held(joins, place)
    try:
        # Or /proc would be closed by the time that it's needed for that.
        attempt(LAUNCHER, "see which mount /proc is", lambda: held.mount(kernel, place))
        _open(kernel, held, frozenset(lifelines))
        if held.enters_user:
            _choose_who(kernel, held, named, caller, frozenset(lifelines))
        elif "user" in joins.enters:
            held.groups_stay = proc.contents("/proc/self/setgroups").strip() == "deny"
    except BaseException:
        held.let_go()
        raise
    return held


def _open(kernel: "Kernel", held: Held, lifelines: frozenset[int]) -> None:
    """Get hold of all; raises SetupError."""
    joins = held.joins
    found: dict[str, int] = {}
    if joins.pid is not None:
        found = _of_process(kernel, held, joins.pid, lifelines)
    found |= _of_paths(kernel, held, lifelines)
    for kind in NAMESPACES:
        descriptor = found.get(kind)
        if descriptor is None:
            continue
        if _is_ours(descriptor, kind):
            held.drop(descriptor)
        else:
            held.namespaces[kind] = descriptor
    if joins.target is not None:
        _check_elsewhere(held, joins)
    held.privileged = bool(proc.holds(proc.status(), "CAP_SYS_ADMIN"))
    if held.enters_user and not held.privileged:
        held.first = _below_ours(kernel, held.namespaces["user"])
        if held.first is not None:
            held.hold(held.first)


def _choose_who(
    kernel: "Kernel", held: Held, named: "Identity", caller: "Caller", lifelines: frozenset[int]
) -> None:
    """Find out who the program is in the user namespace; raises SetupError."""
    maps = held.maps or _maps_of_file(kernel, held, lifelines)
    drops = caller.user == 0 and held.privileged and not held.denied
    held.who = inside.choose(named, caller, maps, drops=drops)


def _maps_of_file(kernel: "Kernel", held: Held, lifelines: frozenset[int]) -> inside.Maps:
    """Return the maps of a user namespace of which no process is known; raises SetupError.

    A scout enters it, and shows them from there.
    """
    what = "join the user namespace"
    place = (
        [held.namespaces["user"]] if held.first is None else [held.first, held.namespaces["user"]]
    )

    def enter() -> dict[str, int]:
        for descriptor in place:
            kernel.setns(descriptor, KINDS["user"].number)
        # The new credentials may have undone both, prctl(2).
        kernel.hide()
        kernel.set_parent_death_signal(_signal.SIGKILL)
        return {}

    scout = _scout(kernel, what, enter)
    try:
        scout.answer(lifelines)
        return held.look_at_maps(str(scout.pid))
    except SyscallError as error:
        raise failed(LAUNCHER, what, error) from None
    finally:
        scout.close()


def look(where: str, path: str, flags: int) -> "tuple[Look, ...]":
    """Return how it is told that the process `where` opens something of a target's, if it does."""
    if where == SCOUT:
        return (_opening(where, path, f"open {path}", flags),)
    parts = path.split("/")[1:]
    if where != LAUNCHER or parts[0] != "proc" or len(parts) < 3 or not parts[1].isdigit():
        return ()
    what = {"root": "root", "cwd": "working directory"}.get(parts[2])
    if parts[2] == "ns":
        kind = next(kind for kind in NAMESPACES if KINDS[kind].file == parts[3])
        what = f"{kind} namespace"
    if what is None:
        return ()
    return (_opening(where, path, f"open the {what} of process {parts[1]}", flags),)


def _opening(where: str, path: str, what: str, flags: int) -> "Look":
    names = "|".join(name for name, flag in _FLAG_NAMES if flags & flag) or "O_RDONLY"
    return where, one_line(what), one_line(f'openat(AT_FDCWD, "{path}", {names})')


def _check_elsewhere(held: Held, joins: "Joins") -> None:
    """Refuse a target that isn't elsewhere, or only in part; raises SetupError.

    The program would run right here, or with half of what is in a container, where whoever named a
    target meant all of it.
    """
    what = f"join {joins.target}" if joins.pid is None else f"join process {joins.pid}"
    if not held.namespaces and held.root is None:
        which = "its namespaces" if joins.kinds is None else "the namespaces that are named"
        raise SetupError(
            f"{what}: {which} are yours as well",
            stage=LAUNCHER,
            hint="name a process of the container: `lsns -t pid` shows the first of each"
            + ("" if joins.pid is None else f", `pgrep -lP {joins.pid}` what this one has started"),
        )
    for kind in held.ahead:
        if joins.kinds is None or kind not in held.namespaces:
            raise SetupError(
                f"{what}: only its children are in the {kind} namespace that it has made",
                stage=LAUNCHER,
                hint=f"name one of its children (`pgrep -lP {joins.pid}` shows them), or name the "
                f"other namespaces by their flags, {mark('--mount')} and so on",
            )


def _of_process(
    kernel: "Kernel", held: Held, pid: int, lifelines: frozenset[int]
) -> dict[str, int]:
    """Return the namespaces of a process, and note its root, directory and environment."""
    joins = held.joins
    what = f"join process {pid}"
    pidfd = attempt(LAUNCHER, what, lambda: kernel.pidfd_open(pid))
    try:
        place = _place(kernel, what, pid, pidfd)
        found = {}
        for kind in NAMESPACES if joins.kinds is None else sorted(joins.kinds):
            path = _file(f"{place}/ns", kind)
            try:
                found[kind] = held.open(kernel, path, posix.O_RDONLY)
            except SyscallError as error:
                if error.errno != errno.ENOENT or joins.kinds is not None:
                    raise
        held.ahead = [kind for kind in made_by(FORKER) if _is_ahead(place, kind, found.get(kind))]
        if "user" in found and not _is_ours(found["user"], "user"):
            held.maps = held.look_at_maps(place.rpartition("/")[2])
        if joins.kinds is None or "mount" in joins.kinds:
            flags = posix.O_PATH | posix.O_DIRECTORY
            root = held.open(kernel, f"{place}/root", flags)
            if held.is_root(kernel, root) and _is_ours(found["mount"], "mount"):
                held.drop(root)
            else:
                held.root = root
            held.directory = held.open(kernel, f"{place}/cwd", flags)
        if joins.environment:
            raw = _environment(kernel, held, place, lifelines)
            held.environment = _variables(raw)
        _check_unchanged(what, {found[kind]: _file(f"{place}/ns", kind) for kind in found})
    except SyscallError as error:
        if proc.has_ended(pidfd):
            raise _gone(what, pid) from None
        raise SetupError(
            what, stage=LAUNCHER, syscall=error.syscall, errno=error.errno, path=error.path
        ) from None
    else:
        # It lives: so all of this was its own, and not of another with the same number.
        if proc.has_ended(pidfd):
            raise _gone(what, pid)
        return found
    finally:
        posix.close(pidfd)


def _environment(kernel: "Kernel", held: Held, place: str, lifelines: frozenset[int]) -> bytes:
    """Return the environment of a process, by a scout; raises SetupError.

    It lies in the memory of the process, at which nobody gets while one of its threads hangs.
    """
    what = f"join process {held.joins.pid}"
    scout = _scout(kernel, what, lambda: {"copy": held.copy(f"{place}/environ")})
    try:
        copy = scout.answer(lifelines)["copy"]
    finally:
        scout.close()
    try:
        return posix.pread(copy, _LONGEST, 0)
    finally:
        posix.close(copy)


def _is_ahead(place: str, kind: str, descriptor: int | None) -> bool:
    """Tell whether a process's children are in another namespace than itself, namespaces(7)."""
    if descriptor is None:
        return False
    try:
        theirs = _at(f"{place}/ns/{kind}_for_children")
    except SyscallError as error:
        if error.errno != errno.ENOENT:  # a PID namespace without a process yet, or an older kernel
            raise
        return False
    return theirs != _identity(posix.fstat(descriptor))


def _check_unchanged(what: str, opened: dict[int, str]) -> None:
    """Refuse a process that is in other namespaces by now; raises SetupError and SyscallError.

    `opened` are descriptors of namespaces with the paths that they were opened by. A process that
    was here when its user namespace was opened would be joined without that one, its mounts and
    programs with our rights. It only ever goes further down, setns(2): who is still in the user
    namespace that was opened was in it all the time, and with it in all that was opened since.
    """
    for descriptor, path in opened.items():
        if _at(path) != _identity(posix.fstat(descriptor)):
            raise SetupError(
                f"{what}: it has entered other namespaces meanwhile",
                stage=LAUNCHER,
                path=path,
                hint="a container does that while it starts: try again, if you know which "
                "process it is",
            )


def _place(kernel: "Kernel", what: str, pid: int, pidfd: int) -> str:
    """Return the directory of the process in our /proc, which may be of another PID namespace."""
    number = int(proc.fields(proc.text(f"/proc/self/fdinfo/{pidfd}")).get("Pid", pid))
    if number < 0:
        raise _gone(what, pid)
    place = f"/proc/{number}"
    try:
        descriptor = kernel.open(f"{place}/stat", posix.O_RDONLY)
    except SyscallError as error:
        if error.errno != errno.ENOENT or proc.has_ended(pidfd):
            raise
        raise SetupError(
            f"{what}: it doesn't show in /proc",
            stage=LAUNCHER,
            hint="/proc belongs to another PID namespace, or is mounted with hidepid: try as root",
        ) from None
    fields = proc.after_name(proc.drain(descriptor, f"{place}/stat"))
    if int(fields[6]) & _PF_KTHREAD:
        raise SetupError(
            f"{what}: it is part of the kernel",
            stage=LAUNCHER,
            hint="name a process of the container: `ps -e` shows those of the kernel in brackets",
        )
    return place


def _gone(what: str, pid: int) -> SetupError:
    return SetupError(
        f"{what}: it has ended",
        stage=LAUNCHER,
        hint=f"what is left of process {pid}, if anything, is a zombie: see `pyspawn zombies`, and "
        "name a process that runs",
    )


def _of_paths(kernel: "Kernel", held: Held, lifelines: frozenset[int]) -> dict[str, int]:
    """Return the namespaces that are named by paths, which a scout opens; raises SetupError."""
    joins = held.joins
    target = joins.target if joins.pid is None else None
    paths = [*([] if target is None else [target]), *(path for _, path in joins.files)]
    if not paths:
        return {}

    def place(name: str) -> str:
        if name in named:
            return named[name]
        return _file(target or "", name[:-1]) if name[-1] == "/" else target or ""

    def search() -> dict[str, int]:
        found = {} if target is None else _of_path(kernel, held, target)
        for kind, path in joins.files:
            found[kind] = _of_file(kernel, held, path, kind)
        _check_unchanged(what, {found[name]: place(name) for name in found})
        return found

    what = f"join {', '.join(paths)}"
    named = dict(joins.files)
    scout = _scout(kernel, what, search)
    try:
        found = scout.answer(lifelines)
    finally:
        scout.close()
    held.looks.append((LAUNCHER, "fork a scout", "fork()"))
    for name, descriptor in found.items():
        held.hold(descriptor)
        held.looks += look(SCOUT, place(name), _FILE_FLAGS)
    return {name.rstrip("/"): descriptor for name, descriptor in found.items()}


def _scout(kernel: "Kernel", what: str, task: "Callable[[], dict[str, int]]") -> "Scout":
    """Send a scout; a process that is joined needs none, and no socket either."""
    from spawner.joining import scout

    return scout.Scout(kernel, what, task)


def _of_path(kernel: "Kernel", held: Held, path: str) -> dict[str, int]:
    """Return the namespaces of a file by its kind, or of files in a directory by kind and slash."""
    kinds = held.joins.kinds
    what = f"join {path}"
    try:
        mode = posix.stat(path).st_mode
    except OSError as error:
        raise SetupError(
            what, stage=LAUNCHER, syscall="newfstatat", errno=error.errno, path=path
        ) from None
    if mode & FORMAT != DIRECTORY:
        descriptor = _of_file(kernel, held, path, None)
        (kind,) = (kind for kind in NAMESPACES if _is_kind(kernel, descriptor, kind))
        for wanted in sorted((kinds or frozenset()) - {kind}):
            raise SetupError(
                f"{what}: it is a {kind} namespace, not the {wanted} namespace",
                stage=LAUNCHER,
                path=path,
                hint="leave the flag out, or name another file",
            )
        return {kind: descriptor}
    found = {}
    for kind in NAMESPACES if kinds is None else sorted(kinds):
        place = _file(path, kind)
        try:
            found[f"{kind}/"] = _of_file(kernel, held, place, kind)
        except SetupError as error:
            if error.errno != errno.ENOENT or kinds is not None:
                raise
    if not found:
        names = ", ".join(KINDS[kind].file for kind in NAMESPACES)
        raise SetupError(
            f"{what}: there is no namespace in this directory",
            stage=LAUNCHER,
            path=path,
            hint=f"the files of namespaces are called {names}, as in /proc/PID/ns and by `pyspawn "
            "--persist`",
        )
    return found


def _of_file(kernel: "Kernel", held: Held, path: str, kind: str | None) -> int:
    """Return a descriptor of a namespace file, of this kind; raises SetupError."""
    what = f"join {path}"
    descriptor = held.hold(attempt(LAUNCHER, what, lambda: kernel.open(path, _FILE_FLAGS)))
    try:
        actual = next((each for each in NAMESPACES if _is_kind(kernel, descriptor, each)), None)
    except SyscallError as error:
        raise failed(LAUNCHER, what, error) from None
    if actual is None:
        raise SetupError(
            f"{what}: it isn't a namespace",
            stage=LAUNCHER,
            path=path,
            hint="name a file like /proc/PID/ns/net, or one that is bound to it "
            f"({mark('--persist')}, `ip netns add`)",
        )
    if kind is not None and actual != kind:
        raise SetupError(
            f"{what}: it is a {actual} namespace, not a {kind} namespace",
            stage=LAUNCHER,
            path=path,
            hint=f"name the file by {mark(f'--{actual}=FILE')}",
        )
    return descriptor


def _file(directory: str, kind: str) -> str:
    """Return the path of a namespace in a directory that has the names of /proc/PID/ns."""
    return f"{directory}/{KINDS[kind].file}"


def _is_kind(kernel: "Kernel", descriptor: int, kind: str) -> bool:
    if posix.fstat(descriptor).st_mode & FORMAT != REGULAR:
        return False  # a device might take the question for something else
    try:
        flag = kernel.kind_of_namespace(descriptor)
    except SyscallError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP):
            return False
        raise
    return flag == KINDS[kind].number


def _is_ours(descriptor: int, kind: str) -> bool:
    """Tell whether we are in this namespace already, namespaces(7)."""
    return _identity(posix.fstat(descriptor)) == _own(kind)


def _own(kind: str) -> tuple[int, int] | None:
    try:
        return _identity(posix.stat(f"/proc/self/ns/{KINDS[kind].file}"))
    except OSError:
        return None


def _at(path: str) -> tuple[int, int]:
    """Return what a file of /proc stands for; raises SyscallError."""
    try:
        return _identity(posix.stat(path))
    except OSError as error:
        raise SyscallError("newfstatat", error.errno or 0, path) from None


def _identity(status: posix.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _below_ours(kernel: "Kernel", descriptor: int) -> int | None:
    """Return the user namespace between ours and another that is right below ours.

    None where that's the other itself. Raises SetupError where it isn't below ours at all.
    """
    above: int | None = None
    at = descriptor
    while True:
        try:
            parent = kernel.parent_namespace(at)
        except SyscallError as error:
            raise SetupError(
                "join the user namespace: it isn't below the caller's",
                stage=LAUNCHER,
                syscall=error.syscall,
                errno=error.errno,
                hint="a user namespace can be joined only by its maker, from one above it, or by "
                "root",
            ) from None
        if _is_ours(parent, "user"):
            posix.close(parent)
            return above
        if above is not None:
            posix.close(above)
        above = at = parent


def _variables(raw: bytes) -> dict[bytes, bytes]:
    """Return the variables in an environment; what isn't one is left out."""
    found: dict[bytes, bytes] = {}
    for entry in raw.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if name and equals:
            found.setdefault(name, value)
    return found
