"""Make the control group of a container, one directory in each hierarchy, and remove it again.

1. What launchers have left that were killed is swept: groups beside ours whose names say that they
   are pyspawn's, of a launcher that is gone. Only empty ones can be removed, rmdir(2).
2. The directories are made, and the limits are written and read back, before anything is forked.
3. The init enters, by descriptors that the launcher has opened: what counts is who has opened them,
   cgroup-v2.rst. It does so before it makes its cgroup namespace, whose root the group then is.
4. When all of the container has ended, what it has used is read, and the directories are removed,
   with all that were made in them. What is still in there is killed first.
"""

import _signal
import errno
import posix
import time

from spawner.errors import LAUNCHER, SetupError, SyscallError
from spawner.host import ends, proc
from spawner.limit import settings, usage, zombies
from spawner.machine import LIMIT
from spawner.steps import attempt, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spawner.limit.places import Place
    from spawner.limit.settings import Setting
    from spawner.limit.usage import Used
    from spawner.linux import Kernel

PREFIX = "pyspawn-"

_START = 19
"""Where the time of the start stands among the fields after the name, proc_pid_stat(5)."""

_AGAIN = 0.002
"""Seconds between two attempts to remove a group that an ended process still holds."""


def name() -> str:
    """Return the name for the group of this process: its pid, its start, and its PID namespace.

    The same pid may be a later process's, or one of another PID namespace.
    """
    # As /proc/self: it may be the /proc of another PID namespace, in which we have another pid.
    start = proc.after_name(proc.read("/proc/self/stat"))[_START]
    return f"{PREFIX}{posix.getpid()}-{start}-{_namespace()}"


def _start(pid: int) -> str:
    """Return when a process has started, "" if it's gone, proc_pid_stat(5)."""
    found = proc.stat(pid)
    return found[_START] if found else ""


def _namespace() -> int:
    return posix.stat("/proc/self/ns/pid").st_ino


def is_left(directory: str) -> bool:
    """Tell whether a directory's name says that its launcher is gone."""
    words = directory.removeprefix(PREFIX).split("-")
    if not directory.startswith(PREFIX) or len(words) != 3 or not all(map(str.isdigit, words)):
        return False
    return words[2] == str(_namespace()) and _start(int(words[0])) != words[1]


class Group:
    """A container's control group: a directory in each place.

    `directories` are those that were made, with their places, and `entrances` the files by which
    the init enters: descriptor and path.
    """

    def __init__(self, kernel: "Kernel", own: str) -> None:
        self.directories: list[tuple[Place, str]] = []
        self.entrances: list[tuple[int, str]] = []
        self._kernel = kernel
        self._own = own

    def make(self, place: "Place") -> None:
        """Make the directory in one place; raises SetupError."""
        path = f"{place.parent}/{self._own}"
        try:
            sweep(place.parent)
            for each in place.enables:
                self._pass_on(place.parent, each)
            self._kernel.mkdir(path)
        except SyscallError as error:
            if not place.needed:
                return
            raise failed(LAUNCHER, f"make the control group {path}", error) from None
        self.directories.append((place, path))

    def _pass_on(self, parent: str, controller: str) -> None:
        """Have a group pass a controller on to those below; raises SetupError."""
        what = f"have the control group {parent} pass on the controller {controller}"
        control = f"{parent}/cgroup.subtree_control"
        attempt(
            LAUNCHER, what, lambda: self._kernel.write_file(control, b"+" + controller.encode())
        )

    def limit(self, wanted: "Iterable[tuple[Place, Setting]]") -> None:
        """Write the limits, and read each back; raises SetupError."""
        paths = dict(self.directories)
        for place, setting in wanted:
            self._set(f"{paths[place]}/{setting.file}", place, setting)

    def _set(self, path: str, place: "Place", setting: "Setting") -> None:
        value = setting.value
        what = f"set {setting.file} of the control group to {value}"
        try:
            if value == settings.INHERITED:
                value = self._kernel.read_file(f"{place.parent}/{setting.file}").decode().strip()
            self._kernel.write_file(path, value.encode())
            found = self._kernel.read_file(path).decode()
            if setting.file == "cpuset.cpus" and place.version == 2:
                found = self._kernel.read_file(f"{path}.effective").decode()
        except SyscallError as error:
            if error.errno == errno.ENOENT and setting.file in settings.SWAP and not _has_swap():
                return
            raise failed(LAUNCHER, what, error) from None
        if not settings.is_same(setting.file, value, found):
            raise SetupError(
                f"{what}: the kernel set {found.strip()!r} instead", stage=LAUNCHER, path=path
            )

    def open(self) -> None:
        """Open the files by which the init enters; raises SetupError."""
        for _, path in self.directories:
            self.entrances.append(self._entrance(f"{path}/cgroup.procs"))

    def _entrance(self, path: str) -> tuple[int, str]:
        held = attempt(LAUNCHER, f"open {path}", lambda: self._kernel.open(path, posix.O_WRONLY))
        return held, path

    def close(self) -> None:
        """Close the files by which the init enters."""
        entrances, self.entrances = self.entrances, []
        for held, _ in entrances:
            posix.close(held)

    def enter(self) -> None:
        """Move this process into the group; raises SyscallError."""
        for held, path in self.entrances:
            try:
                posix.write(held, b"0")
            except OSError as error:
                raise SyscallError("write", error.errno or 0, path) from None

    def watch(self) -> int:
        """Return a descriptor that becomes readable when a fork is refused, -1 without one."""
        for place, path in self.directories:
            if "pids" in place.controllers:
                return zombies.watch(f"{path}/pids.events")
        return -1

    def zombies(self) -> tuple[int, str]:
        """Return how many zombies there are, and whose most of them are."""
        members = {pid for _, path in self.directories for pid in _members(path)}
        return zombies.count(sorted(members))

    def used(self) -> "Used":
        """Return what the processes in it have used."""
        return usage.read(self.directories)

    def remove(self) -> "list[int]":
        """Remove the directories; return processes in there that outlive their SIGKILL.

        Raises SetupError.
        """
        left: list[int] = []
        while self.directories:
            _, path = self.directories.pop()
            left += remove(path)
        return left


def _has_swap() -> bool:
    return len(proc.contents("/proc/swaps").splitlines()) > 1


def sweep(parent: str) -> None:
    """Remove the empty groups below `parent` that killed launchers have left.

    Whether they are gone, only the /proc of our own PID namespace can tell.
    """
    if not proc.is_own():
        return
    try:
        found = posix.listdir(parent)
    except OSError as error:
        raise SyscallError("getdents64", error.errno or 0, parent) from None
    for each in filter(is_left, found):
        try:
            _remove_tree(f"{parent}/{each}")
        except OSError:  # it isn't empty, it isn't ours to remove, or another start was faster
            continue


def remove(path: str) -> "list[int]":
    """Remove a group with all below it, after killing what is still in there.

    Returns the processes that outlive their SIGKILL, which keep the group. Raises SetupError.
    """
    until = time.monotonic() + LIMIT
    while (refused := _refusal(path)) is not None:
        busy = refused.errno == errno.EBUSY
        if not busy or time.monotonic() > until:
            if busy and (members := list(_members(path))):
                return members
            raise failed(LAUNCHER, f"remove the control group {path}", refused)
        members = [pid for pid in _members(path) if _kill(pid, path)]
        if members:
            ends.wait(members, until - time.monotonic())
        else:
            time.sleep(_AGAIN)
    return []


def _refusal(path: str) -> SyscallError | None:
    """Remove a group with all below it; return why that failed, None if it's gone."""
    try:
        _remove_tree(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return SyscallError("rmdir", error.errno or 0, path)
    return None


def _remove_tree(path: str) -> None:
    """Remove a group's directories, from the lowest up; raises OSError."""
    for each in reversed(list(_tree(path))):
        posix.rmdir(each)


def _tree(top: str) -> "Iterator[str]":
    """Yield the directory of a group and those of all below it, each before what is in it."""
    found = [top]
    for path in found:
        yield path
        with posix.scandir(path) as entries:
            found += [each.path for each in entries if each.is_dir(follow_symlinks=False)]


def _members(path: str) -> "Iterator[int]":
    """Yield the processes in a group and below it, as far as they have a pid here."""
    for each in _tree(path):
        try:
            found = proc.read(f"{each}/cgroup.procs").split()
        except SyscallError:  # it's gone, or of a kind that lists threads alone
            continue
        yield from (int(pid) for pid in found if pid != b"0")


def _kill(pid: int, path: str) -> bool:
    """Kill a process if it's in a group; tell whether it is."""
    try:
        pidfd = posix.pidfd_open(pid)
    except OSError:  # it has ended
        return False
    try:
        # By now the pid may be another's, but the descriptor's process has it as long as it lives.
        if pid not in _members(path):
            return False
        _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
    except OSError:  # it has ended, and its group may be gone
        return False
    finally:
        posix.close(pidfd)
    return True
