"""Kill the processes that a container without a PID namespace of its own leaves behind.

With one, the kernel does it when the init dies. Without, orphans become children of the nearest
subreaper, prctl(2), and are killed there.

Who forks faster than somebody kills isn't caught by killing alone: each death makes room for the
next fork where there's a limit (pids.max, RLIMIT_NPROC). So all are stopped first, until a look
finds no new one, and then killed, and none is reaped before all are.
"""

import _signal
import errno
import posix
import time

from spawner.errors import LAUNCHER, SetupError
from spawner.host import ends, proc
from spawner.machine import LIMIT
from spawner.steps import attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

_LIST = "/proc/thread-self/children"
"""The file that lists this process's children, proc_pid_task(5)."""

_VFORK = 1.0
"""Seconds without a change after which a process in state D is taken to be in vfork(2)."""

_MOMENT = 0.001
"""Seconds between two checks whether a process has stopped."""

_LOOKS = 20
"""How often to look for new processes before killing those found."""


def children() -> set[int]:
    """Return the pids of this process's children, including zombies.

    Raises SetupError where /proc doesn't show them: then nobody could find what is to be killed.
    """
    what = "look for what the program might leave behind"
    if not attempt(LAUNCHER, what, proc.is_own):
        raise SetupError(what, stage=LAUNCHER, errno=errno.ESRCH, path="/proc/self")
    return set(_find())


def kill(spared: set[int], seconds: float = LIMIT) -> list[int]:
    """Kill and reap all descendants but the children in `spared`; return those that are left.

    That is who hasn't ended `seconds` after the last one that has. A process that we may not kill
    (a set-user-ID program) is left, too, and not waited for.
    """
    others = set(spared)
    killed: set[int] = set()
    below: set[int] = set()
    until = time.monotonic() + seconds
    while True:
        found = _stop_all(others | killed, killed, below)
        for pid in reversed(found):
            parent = found[pid]
            sent = _send(pid, parent, _signal.SIGKILL)
            if parent:
                below.add(pid)
            else:
                (killed if sent else others).add(pid)
        if found:
            until = time.monotonic() + seconds
            continue
        if not killed:
            return []
        reaped = {pid for pid in killed if _reap(pid)}
        killed -= reaped
        if reaped:
            until = time.monotonic() + seconds
        elif ends.wait(killed, until - time.monotonic()):
            held = {pid for pid in killed if ends.is_gone(pid) and not _reap(pid)}
            killed -= held  # by a tracer
            others |= held
        else:
            return sorted(pid for pid in killed if not ends.is_gone(pid))


def kill_tree(pid: int, pidfd: int = -1, seconds: float = LIMIT) -> list[int]:
    """Kill a process and all its descendants, whichever process adopts its orphans.

    Returns who of those below hasn't ended within `seconds`; the first isn't waited for.

    In a PID namespace that was joined they'd go to its PID 1. So each is stopped first, until
    there's no new one: who is stopped forks none, and reaps none, so that no pid is another's.
    The first of them is a child of ours, or else is known by `pidfd` to live: its parent is nobody
    whom we could stop, for if we died meanwhile it would stay so.
    """
    if pidfd >= 0 and proc.has_ended(pidfd):
        return []
    _kill(pid, _signal.SIGSTOP)
    found: dict[int, int] = {}
    unstopped: set[int] = set()
    for _ in range(_LOOKS):
        # What is stopped in a fork stops after it: then its child can be seen.
        had_stopped = _await_stops({pid: 0, **found}, unstopped)
        new = _stop_below((pid, *found), found)
        found |= new
        if had_stopped and not new:
            break
    killed = [each for each in reversed(found) if _send(each, found[each], _signal.SIGKILL)]
    if pidfd < 0 or not proc.has_ended(pidfd):
        _kill(pid)
    return _await(killed, seconds)


def _await(pids: list[int], seconds: float) -> list[int]:
    """Wait for the ends of processes that others reap; return those that haven't ended."""
    until = time.monotonic() + seconds
    for pid in pids:
        while not ends.is_gone(pid) and time.monotonic() < until:
            time.sleep(_MOMENT)
    return [pid for pid in pids if not ends.is_gone(pid)]


def _await_stops(pids: dict[int, int], unstopped: set[int]) -> bool:
    """Wait until processes have stopped, each given with its parent; tell whether all had before.

    On a busy host one that was sent a SIGSTOP may wait long for a processor, and before it stops it
    finishes its fork: in state D, where it waits for the memory that it copies. In state D is also
    one in vfork(2), which forks nobody: it waits for a child, which is stopped, too. Those that
    don't stop, LIMIT or _VFORK after the last one that has, are added to the `unstopped`, which are
    waited for no more. A stopped one may be continued by another: it's stopped again.
    """
    last = time.monotonic()
    running = pids.keys() - unstopped
    at_first = True
    while still := {pid: state for pid in running if (state := ends.state(pid)) in ("R", "S", "D")}:
        now = time.monotonic()
        if len(still) < len(running):
            last = now
        elif now - last >= (_VFORK if {*still.values()} == {"D"} else LIMIT):
            unstopped.update(still)
            break
        for pid in still:
            _send(pid, pids[pid], _signal.SIGSTOP)
        running, at_first = set(still), False
        time.sleep(_MOMENT)
    return at_first


def _stop_all(spared: set[int], dying: set[int], known: set[int]) -> dict[int, int]:
    """Stop all descendants but the children in `spared`; return the stopped, parents first.

    Each with its parent, 0 for us. Below the `dying` children may be others, if they aren't `known`
    already. Our own children are stopped at once, the newest first, so that one that forks and
    ends, over and over, doesn't outrun us. It can't hide meanwhile, since nobody but us reaps its
    dead, and we do so only between two looks. Every other look ends with the first new one, so that
    no rhythm of theirs stays in step with ours.
    """
    found: dict[int, int] = {}
    for look in range(_LOOKS):
        new: dict[int, int] = {}
        for pid in _find():
            if pid not in spared and pid not in found and _kill(pid, _signal.SIGSTOP):
                new[pid] = 0
                if len(new) == look % 4:
                    break
        if not new:
            new = _stop_below((*found, *dying), found.keys() | known)
        if not new:
            break
        found |= new
    return found


def _stop_below(parents: "Iterable[int]", known: "Container[int]") -> dict[int, int]:
    """Stop the descendants of processes that aren't `known`; return them with their parents."""
    found: dict[int, int] = {}
    parents = list(parents)
    seen = set(parents)
    everybody = None if _is_listed() else _search_all()
    for parent in parents:
        for pid in proc.children(parent) if everybody is None else everybody.get(parent, ()):
            if pid in seen:
                continue
            seen.add(pid)
            parents.append(pid)
            if pid not in known and _send(pid, parent, _signal.SIGSTOP):
                found[pid] = parent
    return found


def _send(pid: int, parent: int, number: int) -> bool:
    """Send a signal to a child of `parent` (0 for this process); tell whether it was sent.

    Another's child may be reaped at any time, and its pid be a stranger's then. So it's held by a
    pidfd while it's looked at whose child it is.
    """
    if not parent:
        return _kill(pid, number)
    try:
        descriptor = posix.pidfd_open(pid)
    except OSError:  # it's gone; or else, when its parent is, it will be ours
        return False
    try:
        found = proc.stat(pid)
        if not found or int(found[1]) not in (parent, posix.getpid()):
            return False
        _signal.pidfd_send_signal(descriptor, number)
    except OSError:
        return False
    finally:
        posix.close(descriptor)
    return True


def _find() -> "Iterable[int]":
    """Return the pids of this process's children, the newest first.

    By the list that the kernel has of them, proc_pid_task(5), `children`: nobody but us takes any
    out of it meanwhile. Not every kernel shows it.
    """
    try:
        listed = proc.read(_LIST)
    except OSError:
        return _search()
    return map(int, reversed(listed.split()))


def _is_listed() -> bool:
    """Tell whether this kernel has /proc/PID/task/TID/children."""
    try:
        posix.close(posix.open(_LIST, posix.O_RDONLY | posix.O_CLOEXEC))
    except OSError:
        return False
    return True


def _search_all() -> dict[int, list[int]]:
    """Return the children of every process, found by reading each process's parent."""
    found: dict[int, list[int]] = {}
    for name in posix.listdir("/proc"):
        if name.isdigit() and (fields := proc.stat(int(name))):
            found.setdefault(int(fields[1]), []).append(int(name))
    return found


def _search() -> "Iterator[int]":
    """Yield the pids of this process's children, in order, by testing each pid in /proc."""
    for name in reversed(posix.listdir("/proc")):
        if name.isdigit() and _is_child(int(name)):
            yield int(name)


def _is_child(pid: int) -> bool:
    """Tell whether a pid is a child of this process, dead or alive, without reading /proc."""
    try:
        posix.waitid(posix.P_PID, pid, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT | ends.WALL)
    except ChildProcessError:
        return False
    return True


def _reap(pid: int) -> bool:
    """Reap a child if it has ended; return whether it's gone."""
    try:
        return posix.waitpid(pid, posix.WNOHANG | ends.WALL)[0] == pid
    except ChildProcessError:
        return True


def _kill(pid: int, number: int = _signal.SIGKILL) -> bool:
    try:
        posix.kill(pid, number)
    except OSError:
        return False
    return True
