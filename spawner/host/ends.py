"""Wait for the end of what was killed, but not for ever.

SIGKILL ends every process but those that the kernel can't take out of what they are in: an
uninterruptible sleep (state D, as for a file system whose server is dead), a freezer, or a tracer
that holds it at its exit. What is still there after LIMIT is left, and told.

A process in state Z or X is gone, also where a tracer that never waits keeps its parent from
reaping it, ptrace(2).
"""

import _signal
import posix
import select
import time

from spawner.host.proc import children, stat, text
from spawner.machine import LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

WALL = 0x40000000
"""Also children whose clone(2) asked for another signal than SIGCHLD at their end, linux/wait.h."""

_THREADS = 17
"""Where the number of threads stands in `stat`: the first of them may end before the others."""

_EXIT_CODE = 49
"""Where the wait status stands in it, for who may trace the process."""

_TRACER = 1.0
"""Seconds that a tracer has to wait for a process that has ended."""

_AGAIN = 0.05
"""Seconds between two looks, where no descriptor tells of an end."""

_MOST = 64
"""Processes that are waited for at a time: a descriptor for each."""


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended, with all of its threads, reaped or not."""
    found = stat(pid)
    return not found or (found[0] in ("Z", "X") and int(found[_THREADS]) <= 1)


def state(pid: int) -> str:
    """Return the one-letter state of a process, "" where there's none, proc_pid_stat(5)."""
    found = stat(pid)
    return found[0] if found else ""


def wait(pids: "Iterable[int]", seconds: float) -> bool:
    """Wait until one of these processes has ended; False when the time is over.

    They are children of ours that weren't reaped. Not every machine has pidfd_open(2).
    """
    poll = select.poll()
    opened = []
    try:
        for pid in sorted(pids)[:_MOST]:
            descriptor = posix.pidfd_open(pid)
            opened.append(descriptor)
            poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(max(seconds, 0) * 1000))
    except OSError:
        time.sleep(min(max(seconds, 0), _AGAIN))
        return seconds > 0
    finally:
        for descriptor in opened:
            posix.close(descriptor)


def reap(pid: int, seconds: float = LIMIT) -> int | None:
    """Reap a child that is to end, within so many seconds; return its wait status.

    None where it lives on, or somebody else has reaped it.
    """
    until = time.monotonic() + seconds
    while (reaped := _reap(pid)) is None:
        if is_gone(pid):
            return reap_gone(pid)
        if not wait((pid,), until - time.monotonic()):
            return None
    return reaped[0]


def _reap(pid: int) -> tuple[int | None] | None:
    """Return the wait status of a child that has ended, None for one that hasn't.

    In place of a status there's None where somebody else has reaped it.
    """
    try:
        found, changed = posix.waitpid(pid, posix.WNOHANG | WALL)
    except ChildProcessError:
        return (None,)
    return (changed,) if found == pid else None


def reap_gone(pid: int) -> int | None:
    """Reap a child that has ended, though a tracer holds it; return its wait status.

    A tracer that waits for it, as strace(1) does, has a moment to do so. Of one that doesn't, the
    status is read from what everybody may read. None where somebody else has reaped it.
    """
    until = time.monotonic() + _TRACER
    while (reaped := _reap(pid)) is None:
        if time.monotonic() >= until:
            return _exit_code(pid)
        time.sleep(_AGAIN)
    return reaped[0]


def _exit_code(pid: int) -> int:
    """Return the wait status of a zombie, that of a SIGKILL where we may not know it."""
    found = stat(pid)
    try:
        ours = posix.stat(f"/proc/{pid}/task/{pid}").st_uid == posix.geteuid()
    except OSError:
        ours = False
    if not found or not (ours or posix.geteuid() == 0):
        return _signal.SIGKILL
    return int(found[_EXIT_CODE])


def stuck(top: int) -> list[int]:
    """Return who keeps a process from ending that was killed: those below it, or itself.

    The first process of a PID namespace ends after all others, pid_namespaces(7).
    """
    found = [top]
    for parent in found:
        found += [pid for pid in children(parent) if pid not in found]
    held = [pid for pid in found[1:] if not is_gone(pid)]
    return held or [pid for pid in found[:1] if not is_gone(pid)]


def told(pid: int) -> str:
    """Say of a process that it outlives SIGKILL, and why."""
    name = _name(pid)
    why = {
        "D": "in an uninterruptible sleep (state D)",
        "t": "held by a tracer (state t)",
        "S": "waiting for a process that has ended and is held by a tracer (state S)",
    }.get(state(pid), f"in state {state(pid) or 'X'}")
    return f"{pid} ({name}) is left behind: it was killed, but is {why}"


def _name(pid: int) -> str:
    try:
        return text(f"/proc/{pid}/comm").rstrip("\n")
    except OSError:
        return "?"
