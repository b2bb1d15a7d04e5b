"""Kill what a container without a PID namespace of its own leaves behind.

With one, the kernel does it when the init dies. Without, orphans become children of the nearest
subreaper, prctl(2), and are killed there one generation after the other.
"""

import _signal
import errno
import posix
import select

from spawner.errors import LAUNCHER, SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_WALL = 0x40000000
"""Also children whose clone(2) asked for another signal than SIGCHLD at their end, linux/wait.h."""


def children() -> set[int]:
    """Return the pids of our children, dead ones too.

    Raises SetupError where /proc doesn't show them: then nobody could find what is to be killed.
    """
    what = "look for what the program might leave behind"
    try:
        shown = posix.readlink("/proc/self") == str(posix.getpid())
    except OSError as error:
        raise SetupError(
            what, stage=LAUNCHER, syscall="readlink", errno=error.errno, path="/proc/self"
        ) from None
    if not shown:
        raise SetupError(what, stage=LAUNCHER, errno=errno.ESRCH, path="/proc/self")
    return set(_find())


def kill(spared: set[int]) -> None:
    """Kill and reap all our descendants, but not the children in `spared`.

    A process that we may not kill (a set-user-ID program) is left. One that forks and ends, over
    and over, never lives long: so who is found is killed at once, the newest first, and nobody is
    waited for before no new one is found. It can't hide meanwhile, since nobody but us reaps its
    dead, and we do so only between two looks. Every other look ends with the first new one, so that
    no rhythm of theirs stays in step with ours.
    """
    killed: set[int] = set()
    short = False
    while True:
        new = 0
        for pid in _find():
            if pid not in spared and pid not in killed and _kill(pid):
                killed.add(pid)
                new += 1
                if short:
                    break
        if not killed:
            return
        if not new:
            _reap(killed.pop(), 0)
        killed = {pid for pid in killed if not _reap(pid, posix.WNOHANG)}
        short = not short


def kill_tree(pid: int, pidfd: int = -1) -> None:
    """Kill a process and all that is below it now, wherever orphans of it would go.

    In a PID namespace that was joined they'd go to its PID 1. So each is stopped first, until
    there's no new one: who is stopped forks none, and reaps none, so that no pid is another's.
    The first of them is a child of ours, or else is known by `pidfd` to live: its parent is nobody
    whom we could stop, for if we died meanwhile it would stay so.
    """
    found: set[int] = set()
    new = {pid}
    while new and not _has_ended(pidfd):
        for each in new:
            _kill(each, _signal.SIGSTOP)
        found |= new
        listed = [int(name) for name in posix.listdir("/proc") if name.isdigit()]
        new = {each for each in listed if _parent(str(each)) in found} - found
    for each in found - {pid}:
        _kill(each)
    if not _has_ended(pidfd):
        _kill(pid)


def _has_ended(pidfd: int) -> bool:
    """Tell whether the process of a pidfd has ended, pidfd_open(2); False for -1."""
    if pidfd < 0:
        return False
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _find() -> "Iterable[int]":
    """Return the pids of our children, the newest first.

    By the list that the kernel has of them, proc_pid_task(5), `children`: nobody but us takes any
    out of it meanwhile. Not every kernel shows it.
    """
    try:
        text = _read("/proc/thread-self/children")
    except OSError:
        return _search()
    return map(int, reversed(text.split()))


def _search() -> "Iterator[int]":
    """Yield the pids of our children, by asking of each process; /proc has them in their order."""
    for name in reversed(posix.listdir("/proc")):
        if name.isdigit() and _is_child(int(name)):
            yield int(name)


def _is_child(pid: int) -> bool:
    """Tell whether a process is a child of ours, dead or alive; much faster than /proc would."""
    try:
        posix.waitid(posix.P_PID, pid, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT | _WALL)
    except ChildProcessError:
        return False
    return True


def _reap(pid: int, flags: int) -> bool:
    """Reap a child; return whether it's gone, which without WNOHANG it is."""
    try:
        return posix.waitpid(pid, flags | _WALL)[0] == pid
    except ChildProcessError:
        return True


def _kill(pid: int, number: int = _signal.SIGKILL) -> bool:
    try:
        posix.kill(pid, number)
    except OSError:
        return False
    return True


def _parent(pid: str) -> int:
    """Return the parent of a process, 0 once it is gone, proc_pid_stat(5)."""
    try:
        line = _read(f"/proc/{pid}/stat")
    except OSError:
        return 0
    # The command name, in parentheses, may hold anything.
    return int(line[line.rindex(b")") + 2 :].split()[1])


def _read(path: str) -> bytes:
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return b"".join(iter(lambda: posix.read(descriptor, 65536), b""))
    finally:
        posix.close(descriptor)
