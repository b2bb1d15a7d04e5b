"""Enter the namespaces of others: hold of them, and the steps by which they are entered.

The others are taken to be hostile. So

1. Everything is opened by the launcher, before any is entered: the namespaces, and of a process its
   root, working directory and environment, while its pidfd says that it lives. No path is looked up
   later that somebody inside decides on, but for the program's own.
2. Each process that enters is hidden first (PR_SET_DUMPABLE): nobody inside gets at its memory, its
   descriptors or its program. What the program can reach of the latter is sealed (`sealed`).
3. From the moment that the mounts are theirs, nothing is imported any more.
4. Descriptors are closed before the working directory is chosen: those that the caller had open,
   and those of directories. Links on the way are followed by us, since the kernel would follow one
   of /proc to what it stands for. Then the directory has to be inside of the root: by its mount,
   for the inodes are the same wherever a sandbox has bound / to.

The order is the kernel's, setns(2): whoever has no rights here enters the user namespace below ours
first, whose owner has them all in there; then the others; then the user namespace that is the
target's, if it's one further below. Whoever has rights enters the user namespace last. The PID
namespace is entered by the process that forks, for the fork.
"""

from __future__ import annotations

import _signal
import errno
import posix
import sys

from spawner.errors import INIT, LAUNCHER, SCOUT, STAGE, SetupError, SyscallError, mark
from spawner.host import proc
from spawner.ids import credentials
from spawner.joining import ids
from spawner.spec import FORKER, KINDS, NAMESPACES, made_by
from spawner.steps import (
    ENTERED,
    IDS,
    JOINED,
    LISTENERS,
    PLACE,
    VARIABLES,
    Part,
    Step,
    attempt,
    failed,
    one_line,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from spawner.caller import Caller
    from spawner.joining.scout import Scout
    from spawner.joining.target import Joins
    from spawner.linux import Kernel
    from spawner.spec import Spec
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

_REGULAR, _DIRECTORY, _FORMAT = 0o100000, 0o040000, 0o170000
"""File types in a mode, inode(7)."""

_PF_KTHREAD = 0x00200000
"""Flag of a process that is part of the kernel, linux/sched.h."""

_LONGEST = 8 << 20
"""Bytes of an environment: more than an exec could have brought, execve(2)."""


class Joined(Part):
    """Hold of the namespaces that a container enters, by descriptors closed on exec.

    `namespaces` are those that differ from ours; `first` is the user namespace to enter before all
    others, if it isn't the one in `namespaces`. `root` and `directory` are a process's, and
    `environment` its variables, where they are wanted. `maps` are a user namespace's, where they
    are known of the process, and `who` is the program in there. `closes` says that the program
    doesn't get the caller's descriptors. `ahead` are the kinds in which only a process's children
    are where it seems to be. `asks_proc` says that only /proc tells of mounts, and `groups_stay`
    that setgroups(2) is denied where no user namespace is entered.
    """

    strays = True

    def __init__(self, spec: Spec, joins: Joins, caller: Caller, place: int) -> None:
        self.spec = spec
        self.joins = joins
        self.privileged = False
        self.namespaces: dict[str, int] = {}
        self.first: int | None = None
        self.root: int | None = None
        self.directory: int | None = None
        self.environment: dict[bytes, bytes] | None = None
        self.maps: ids.Maps | None = None
        self.who = ids.Who(0, 0, ())
        self.looks: list[Look] = []
        self.ahead: list[str] = []
        self.closes = joins.target is not None
        self.asks_proc = False
        self.groups_stay = False
        self._user = caller.user
        self._proc = place
        self._held = [place]

    def hold(self, descriptor: int) -> int:
        """Hold a descriptor as well; return it."""
        self._held.append(descriptor)
        return descriptor

    def open(self, kernel: Kernel, path: str, flags: int) -> int:
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

    def look_at_maps(self, process: str) -> ids.Maps:
        """Return the maps of a process's user namespace; raises SyscallError."""
        return ids.look(self._read, process)

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
        return proc.read(path, proc=self._proc, most=_LONGEST)

    @property
    def stations(self) -> Mapping[str, Callable[[], Iterable[Step]]]:
        """Where it enters, and how the program gets what is the target's."""
        found: dict[str, Callable[[], Iterable[Step]]] = {
            JOINED: self.before_fork,
            ENTERED: self.after_fork,
            PLACE: self.places,
            VARIABLES: self.variables,
        }
        if self.closes:
            found[LISTENERS] = tuple
        if self.enters_user:
            found[IDS] = lambda: (self.become(),)
        elif self.joins.may_enter_user:
            found[IDS] = lambda: credentials.become(self.spec, groups_stay=self.groups_stay)
        return found

    def search_path(self, found: bytes | None) -> bytes | None:
        """Return the PATH of the target's environment, where the program gets that."""
        return found if self.environment is None else self.environment.get(b"PATH")

    @property
    def enters_user(self) -> bool:
        """Whether a user namespace is among them."""
        return "user" in self.namespaces

    @property
    def _early(self) -> bool:
        """Whether all are entered before the fork: a user namespace, and others that are new.

        Those are to be made in it, and what is joined may be out of its reach.
        """
        new = self.spec.namespaces.wanted
        return "user" in new or (self.enters_user and bool(new))

    @property
    def _hostile(self) -> bool:
        """Whether somebody inside can see the processes that enter."""
        return bool(self.namespaces.keys() & {"user", "pid", "mount"}) or self.root is not None

    @property
    def _checks(self) -> bool:
        """Whether a working directory is to be looked at that others may have chosen."""
        chosen = self.spec.workdir is not None or self.directory is not None
        return self._hostile and chosen

    def before_fork(self) -> Iterator[Step]:
        """Yield the steps of the stage."""
        if self._hostile:
            yield _hide()
        if self._early:
            yield from self._enter(STAGE)
        elif self.enters_user and not self.privileged:
            yield self._enter_user(STAGE, self._outermost)
        if "pid" in self.namespaces:
            yield _enter("pid", self.namespaces["pid"], STAGE)

    def after_fork(self) -> Iterator[Step]:
        """Yield the steps of the init before the container is made."""
        if self.closes:
            yield _keep_descriptors_out(self.joins.passed)
        if "mount" in self.namespaces or self.root is not None:
            yield _import_no_more()
        if not self._early:
            yield from self._enter(INIT)

    def places(self) -> Iterator[Step]:
        """Yield how the init gets to the root and the working directory."""
        yield self._close_namespaces()
        if self.root is not None:
            yield _enter_root(self.root)
        if self.spec.workdir is not None:
            yield self._change_directory(self.spec.workdir)
        elif self.directory is not None:
            yield self._enter_directory(self.directory)

    def variables(self) -> Iterator[Step]:
        """Yield how the program gets the target's environment."""
        if self.environment is not None:
            yield _take_environment(self.environment)

    def become(self) -> Step:
        """Become who the program is in the user namespace, for good: `joinids` has chosen."""
        who = self.who

        def act(kernel: Kernel, process: str) -> None:
            if who.groups is not None:
                credentials.set_groups(who.groups).act(kernel, process)
            credentials.set_group(who.group).act(kernel, process)
            credentials.set_user(who.user).act(kernel, process)
            kernel.hide()

        return Step(
            INIT,
            f"become user {who.user} and group {who.group}",
            "setgroups(), setresgid(), setresuid()",
            act,
            topic="become-inside",
        )

    @property
    def _outermost(self) -> int:
        return self.namespaces["user"] if self.first is None else self.first

    def _enter(self, where: str) -> Iterator[Step]:
        """Yield how namespaces are entered, other than the PID namespace."""
        entered = not self._early and self.enters_user and not self.privileged
        if self._early and self.enters_user and not self.privileged:
            yield self._enter_user(where, self._outermost)
            entered = True
        for kind in sorted(self.namespaces, key=lambda name: KINDS[name].place):
            if KINDS[kind].place:
                yield _enter(kind, self.namespaces[kind], where)
        if self.enters_user and (not entered or self.first is not None):
            if self._user == 0:
                yield self._drop_groups(where)
            yield self._enter_user(where, self.namespaces["user"])

    def _enter_user(self, where: str, descriptor: int) -> Step:
        step = _enter("user", descriptor, where)

        def act(kernel: Kernel, process: str) -> None:
            step.act(kernel, process)
            kernel.hide()  # the new credentials may have undone it, PR_SET_DUMPABLE(2const)

        return Step(where, step.what, step.how, act, topic="join-user", makes=True)

    def _drop_groups(self, where: str) -> Step:
        """Drop the groups of root here, which could not be dropped where setgroups is denied."""

        def act(kernel: Kernel, _: str) -> None:
            if not self.denied:
                kernel.setgroups(())

        return Step(
            where,
            "drop the supplementary groups",
            "setgroups(0, NULL)",
            act,
            topic="drop-groups",
            makes=True,
        )

    def _close_namespaces(self) -> Step:
        """Close what has been entered: a path of the program's could lead through a descriptor."""
        held = [*self.namespaces.values()]
        if not (self.asks_proc and self._checks):
            held.append(self._proc)
        if self.first is not None:
            held.append(self.first)

        def act(_: Kernel, __: str) -> None:
            for descriptor in held:
                posix.close(descriptor)

        return Step(
            INIT,
            "close the descriptors of the namespaces",
            "close()",
            act,
            topic="close-namespaces",
        )

    def _change_directory(self, path: str) -> Step:
        """Go where the program shall start, and not to the target's own directory, if there is one.

        Where others lay the path, it has to be inside the root.
        """
        directory, checked = self.directory, self._hostile

        def act(kernel: Kernel, _: str) -> None:
            if directory is not None:
                posix.close(directory)
            if not checked:
                kernel.chdir(path)
                return
            kernel.chdir_by_text(path)
            self._check_directory(kernel, path)

        return Step(
            INIT,
            f"change to the directory {path}",
            f'fchdir(openat(AT_FDCWD, "{path}", O_PATH|O_NOFOLLOW))'
            if checked
            else f'chdir("{path}")',
            act,
            topic="change-directory-inside" if checked else "change-directory",
        )

    def _enter_directory(self, directory: int) -> Step:
        """Go to the target's directory, by its descriptor, which may be outside of its root."""

        def act(kernel: Kernel, _: str) -> None:
            kernel.fchdir(directory)
            posix.close(directory)
            if self._hostile:
                self._check_directory(kernel, None)

        return Step(
            INIT,
            "change to the target's directory",
            f"fchdir({directory})",
            act,
            topic="enter-directory",
        )

    def _check_directory(self, kernel: Kernel, path: str | None) -> None:
        try:
            inside = self._inside_root(kernel)
        finally:
            if self.asks_proc:
                posix.close(self._proc)
        if not inside:
            raise SetupError(
                "change to a directory that is outside of the root",
                stage=INIT,
                syscall="chdir",
                path=path,
                hint=f"name one that is inside: {mark('--workdir /')}",
            )

    def _inside_root(self, kernel: Kernel) -> bool:
        """Tell whether the way up from the working directory leads to the root.

        By descriptors: getcwd(3) would read directories where the kernel says "(unreachable)".
        """
        flags = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
        root = posix.open("/", flags)
        at = posix.open(".", flags)
        try:
            top, here = self.place(kernel, root), self.place(kernel, at)
            while here != top:
                below, at = at, posix.open("..", flags, dir_fd=at)
                posix.close(below)
                last, here = here, self.place(kernel, at)
                if here == last:
                    return False
        except SyscallError:
            raise
        except OSError as error:
            raise SyscallError("openat", error.errno or 0, "..") from None
        else:
            return True
        finally:
            posix.close(at)
            posix.close(root)

    def place(self, kernel: Kernel, descriptor: int) -> tuple[int, int, int]:
        """Return what tells a directory from all others: its mount, its device and its inode."""
        return self.mount(kernel, descriptor), *_identity(posix.fstat(descriptor))

    def mount(self, kernel: Kernel, descriptor: int) -> int:
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

    def is_root(self, kernel: Kernel, descriptor: int) -> bool:
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


def find(kernel: Kernel, spec: Spec, caller: Caller, lifelines: Iterable[int] = ()) -> Joined:
    """Return hold of all that `spec` joins; raises SetupError.

    `lifelines` are descriptors whose becoming readable ends the start.
    """
    place = attempt(
        LAUNCHER, "open /proc", lambda: kernel.open("/proc", posix.O_PATH | posix.O_DIRECTORY)
    )
    joins: Joins = spec.joins
    joined = Joined(spec, joins, caller, place)
    try:
        # Or /proc would be closed by the time that it's needed for that.
        attempt(LAUNCHER, "see which mount /proc is", lambda: joined.mount(kernel, place))
        _open(kernel, joined, frozenset(lifelines))
        if joined.enters_user:
            _choose_who(kernel, joined, caller, frozenset(lifelines))
        elif joins.may_enter_user:
            joined.groups_stay = proc.contents("/proc/self/setgroups").strip() == "deny"
    except BaseException:
        joined.let_go()
        raise
    return joined


def _open(kernel: Kernel, joined: Joined, lifelines: frozenset[int]) -> None:
    """Get hold of all; raises SetupError."""
    joins = joined.joins
    found: dict[str, int] = {}
    if joins.pid is not None:
        found = _of_process(kernel, joined, joins.pid, lifelines)
    found |= _of_paths(kernel, joined, lifelines)
    for kind in NAMESPACES:
        descriptor = found.get(kind)
        if descriptor is None:
            continue
        if _is_ours(descriptor, kind):
            joined.drop(descriptor)
        else:
            joined.namespaces[kind] = descriptor
    if joins.target is not None:
        _check_elsewhere(joined, joins)
    joined.privileged = bool(proc.holds(proc.status(), "CAP_SYS_ADMIN"))
    if joined.enters_user and not joined.privileged:
        joined.first = _below_ours(kernel, joined.namespaces["user"])
        if joined.first is not None:
            joined.hold(joined.first)


def _choose_who(kernel: Kernel, joined: Joined, caller: Caller, lifelines: frozenset[int]) -> None:
    """Find out who the program is in the user namespace; raises SetupError."""
    maps = joined.maps or _maps_of_file(kernel, joined, lifelines)
    drops = caller.user == 0 and joined.privileged and not joined.denied
    joined.who = ids.choose(joined.spec, caller, maps, drops=drops)


def _maps_of_file(kernel: Kernel, joined: Joined, lifelines: frozenset[int]) -> ids.Maps:
    """Return the maps of a user namespace of which no process is known; raises SetupError.

    A scout enters it, and shows them from there.
    """
    what = "join the user namespace"
    place = (
        [joined.namespaces["user"]]
        if joined.first is None
        else [joined.first, joined.namespaces["user"]]
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
        return joined.look_at_maps(str(scout.pid))
    except SyscallError as error:
        raise failed(LAUNCHER, what, error) from None
    finally:
        scout.close()


def look(where: str, path: str, flags: int) -> tuple[Look, ...]:
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


def _opening(where: str, path: str, what: str, flags: int) -> Look:
    names = "|".join(name for name, flag in _FLAG_NAMES if flags & flag) or "O_RDONLY"
    return where, one_line(what), one_line(f'openat(AT_FDCWD, "{path}", {names})')


def _check_elsewhere(joined: Joined, joins: Joins) -> None:
    """Refuse a target that isn't elsewhere, or only in part; raises SetupError.

    The program would run right here, or with half of what is in a container, where whoever named a
    target meant all of it.
    """
    what = f"join {joins.target}" if joins.pid is None else f"join process {joins.pid}"
    if not joined.namespaces and joined.root is None:
        which = "its namespaces" if joins.kinds is None else "the namespaces that are named"
        raise SetupError(
            f"{what}: {which} are yours as well",
            stage=LAUNCHER,
            hint="name a process of the container: `lsns -t pid` shows the first of each",
        )
    for kind in joined.ahead:
        if joins.kinds is None or kind not in joined.namespaces:
            raise SetupError(
                f"{what}: only its children are in the {kind} namespace that it has made",
                stage=LAUNCHER,
                hint="name one of them: `ps --ppid` shows them; or name the other namespaces by "
                f"their flags, {mark('--mount')} and so on",
            )


def _of_process(
    kernel: Kernel, joined: Joined, pid: int, lifelines: frozenset[int]
) -> dict[str, int]:
    """Return the namespaces of a process, and note its root, directory and environment."""
    joins = joined.joins
    what = f"join process {pid}"
    pidfd = attempt(LAUNCHER, what, lambda: kernel.pidfd_open(pid))
    try:
        place = _place(kernel, what, pid, pidfd)
        found = {}
        for kind in NAMESPACES if joins.kinds is None else sorted(joins.kinds):
            path = _file(f"{place}/ns", kind)
            try:
                found[kind] = joined.open(kernel, path, posix.O_RDONLY)
            except SyscallError as error:
                if error.errno != errno.ENOENT or joins.kinds is not None:
                    raise
        joined.ahead = [kind for kind in made_by(FORKER) if _is_ahead(place, kind, found.get(kind))]
        if "user" in found and not _is_ours(found["user"], "user"):
            joined.maps = joined.look_at_maps(place.rpartition("/")[2])
        if joins.kinds is None or "mount" in joins.kinds:
            flags = posix.O_PATH | posix.O_DIRECTORY
            root = joined.open(kernel, f"{place}/root", flags)
            if joined.is_root(kernel, root) and _is_ours(found["mount"], "mount"):
                joined.drop(root)
            else:
                joined.root = root
            joined.directory = joined.open(kernel, f"{place}/cwd", flags)
        if joins.environment:
            raw = _environment(kernel, joined, place, lifelines)
            joined.environment = _variables(raw)
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


def _environment(kernel: Kernel, joined: Joined, place: str, lifelines: frozenset[int]) -> bytes:
    """Return the environment of a process, by a scout; raises SetupError.

    It lies in the memory of the process, at which nobody gets while one of its threads hangs.
    """
    what = f"join process {joined.joins.pid}"
    scout = _scout(kernel, what, lambda: {"copy": joined.copy(f"{place}/environ")})
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
                hint="as a container does at its start: try again, if you know who it is",
            )


def _place(kernel: Kernel, what: str, pid: int, pidfd: int) -> str:
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
            hint="/proc is of another PID namespace, or mounted with hidepid: ask as root",
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


def _of_paths(kernel: Kernel, joined: Joined, lifelines: frozenset[int]) -> dict[str, int]:
    """Return the namespaces that are named by paths, which a scout opens; raises SetupError."""
    joins = joined.joins
    target = joins.target if joins.pid is None else None
    paths = [*([] if target is None else [target]), *(path for _, path in joins.files)]
    if not paths:
        return {}

    def place(name: str) -> str:
        if name in named:
            return named[name]
        return _file(target or "", name[:-1]) if name[-1] == "/" else target or ""

    def search() -> dict[str, int]:
        found = {} if target is None else _of_path(kernel, joined, target)
        for kind, path in joins.files:
            found[kind] = _of_file(kernel, joined, path, kind)
        _check_unchanged(what, {found[name]: place(name) for name in found})
        return found

    what = f"join {', '.join(paths)}"
    named = dict(joins.files)
    scout = _scout(kernel, what, search)
    try:
        found = scout.answer(lifelines)
    finally:
        scout.close()
    joined.looks.append((LAUNCHER, "fork a scout", "fork()"))
    for name, descriptor in found.items():
        joined.hold(descriptor)
        joined.looks += look(SCOUT, place(name), _FILE_FLAGS)
    return {name.rstrip("/"): descriptor for name, descriptor in found.items()}


def _scout(kernel: Kernel, what: str, task: Callable[[], dict[str, int]]) -> Scout:
    """Send a scout; a process that is joined needs none, and no socket either."""
    from spawner.joining import scout

    return scout.Scout(kernel, what, task)


def _of_path(kernel: Kernel, joined: Joined, path: str) -> dict[str, int]:
    """Return the namespaces of a file by its kind, or of files in a directory by kind and slash."""
    kinds = joined.joins.kinds
    what = f"join {path}"
    try:
        mode = posix.stat(path).st_mode
    except OSError as error:
        raise SetupError(
            what, stage=LAUNCHER, syscall="newfstatat", errno=error.errno, path=path
        ) from None
    if mode & _FORMAT != _DIRECTORY:
        descriptor = _of_file(kernel, joined, path, None)
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
            found[f"{kind}/"] = _of_file(kernel, joined, place, kind)
        except SetupError as error:
            if error.errno != errno.ENOENT or kinds is not None:
                raise
    if not found:
        names = ", ".join(KINDS[kind].file for kind in NAMESPACES)
        raise SetupError(
            f"{what}: there is no namespace in this directory",
            stage=LAUNCHER,
            path=path,
            hint=f"its files are called {names}, as `pyspawn --persist` and /proc/PID/ns have them",
        )
    return found


def _of_file(kernel: Kernel, joined: Joined, path: str, kind: str | None) -> int:
    """Return a descriptor of a namespace file, of this kind; raises SetupError."""
    what = f"join {path}"
    descriptor = joined.hold(attempt(LAUNCHER, what, lambda: kernel.open(path, _FILE_FLAGS)))
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
            hint=f"give it to {mark(f'--{actual}')}",
        )
    return descriptor


def _file(directory: str, kind: str) -> str:
    """Return the path of a namespace in a directory that has the names of /proc/PID/ns."""
    return f"{directory}/{KINDS[kind].file}"


def _is_kind(kernel: Kernel, descriptor: int, kind: str) -> bool:
    if posix.fstat(descriptor).st_mode & _FORMAT != _REGULAR:
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


def _below_ours(kernel: Kernel, descriptor: int) -> int | None:
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
                hint="only root, its maker and those above it can join a user namespace",
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


def _hide() -> Step:
    """Hide the processes that enter, before they do."""
    return Step(
        STAGE,
        "hide from those inside",
        "prctl(PR_SET_DUMPABLE, 0)",
        lambda kernel, _: kernel.hide(),
        topic="hide",
        makes=True,
    )


def _enter(kind: str, descriptor: int, where: str) -> Step:
    """Enter a namespace by its descriptor, setns(2)."""
    return Step(
        where,
        f"join the {kind} namespace",
        f"setns({descriptor}, {KINDS[kind].flag})",
        lambda kernel, _: kernel.setns(descriptor, KINDS[kind].number),
        topic=f"join-{kind}",
        makes=True,
    )


def _keep_descriptors_out(passed: frozenset[int]) -> Step:
    """Close what the caller had open, but for the standard ones and `passed`."""

    def act(_: Kernel, __: str) -> None:
        try:
            for name in posix.listdir("/proc/self/fd"):
                descriptor = int(name)
                if descriptor > 2 and descriptor not in passed:
                    _close_inherited(descriptor)
        except OSError as error:
            raise SyscallError("openat", error.errno or 0, "/proc/self/fd") from None

    return Step(
        INIT,
        "keep the caller's descriptors out",
        "close(3...)",
        act,
        topic="keep-descriptors-out",
        makes=True,
    )


def _close_inherited(descriptor: int) -> None:
    """Close what came over an exec, so what isn't ours."""
    try:
        if posix.get_inheritable(descriptor):
            posix.close(descriptor)
    except OSError as error:
        if error.errno != errno.EBADF:  # the listing's own
            raise


def _import_no_more() -> Step:
    """Read in what may be needed yet, and have nothing read in any more.

    What would be found from here on in the directories of our modules is theirs, not ours.
    """

    def act(_: Kernel, __: str) -> None:
        from pyinit import execerror, execvp, signames  # noqa: F401
        from spawner.host import paths  # noqa: F401

        execerror.text(b"\x1b")  # has the codec for what isn't printable read in
        built_in = ("BuiltinImporter", "FrozenImporter")
        sys.meta_path[:] = [
            each for each in sys.meta_path if getattr(each, "__name__", "") in built_in
        ]
        sys.path.clear()
        sys.path_hooks.clear()
        sys.path_importer_cache.clear()

    return Step(
        INIT,
        "import nothing from here on",
        "sys.meta_path",
        act,
        topic="import-no-more",
        makes=True,
    )


def _enter_root(root: int) -> Step:
    """Make the target's root ours, by its descriptor, chroot(2)."""

    def act(kernel: Kernel, _: str) -> None:
        kernel.fchdir(root)
        kernel.chroot()
        posix.close(root)

    return Step(
        INIT,
        "enter the target's root",
        f'fchdir({root}), chroot(".")',
        act,
        topic="enter-root",
    )


def _take_environment(variables: dict[bytes, bytes]) -> Step:
    """Give the program the variables of the target in place of ours."""

    def act(kernel: Kernel, _: str) -> None:
        kernel.clear_environment()
        for name, value in variables.items():
            posix.putenv(name, value)

    return Step(
        INIT,
        "take the target's environment",
        "clearenv(), setenv()",
        act,
        topic="take-environment",
    )
