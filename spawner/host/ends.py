"""Wait for killed processes to end, but not forever.

SIGKILL ends every process but those that the kernel can't take out of what they are in: an
uninterruptible sleep (state D, as for a file system whose server is dead), a freezer, or a tracer
that holds it at its exit. What is still there after LIMIT is left, and told.

A process in state Z or X is gone, also where a tracer keeps its parent from reaping it, ptrace(2).
"""

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

_AGAIN = 0.05
"""Seconds between two checks where no descriptor reports the end."""

_MOST = 64
"""The most processes to wait for at a time, with a descriptor for each."""


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

    They are children of ours that weren't reaped. Not every host has pidfd_open(2).
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
    """Reap a child within some seconds; return its wait status, or None if it doesn't end.

    None where it lives on, or somebody else has reaped it, or a tracer holds it.
    """
    until = time.monotonic() + seconds
    while True:
        gone = is_gone(pid)
        try:
            found, changed = posix.waitpid(pid, posix.WNOHANG | WALL)
        except ChildProcessError:
            return None
        if found == pid:
            return changed
        if gone or not wait((pid,), until - time.monotonic()):
            return None


def stuck(top: int) -> list[int]:
    """Return the processes that keep a killed process from ending: its descendants, or itself.

    The first process of a PID namespace ends after all others, pid_namespaces(7).
    """
    found = [top]
    for parent in found:
        found += [pid for pid in children(parent) if pid not in found]
    held = [pid for pid in found[1:] if not is_gone(pid)]
    return held or [pid for pid in found[:1] if not is_gone(pid)]


def told(pid: int) -> str:
    """Return a message that a process outlives its SIGKILL, and why."""
    called = name(pid)
    why = {
        "D": "in an uninterruptible sleep (state D)",
        "t": "held by a tracer (state t)",
        "S": "waiting for a process that has ended and is held by a tracer (state S)",
    }.get(state(pid), f"in state {state(pid) or 'X'}")
    return f"process {pid} ({called}) is left behind: it was killed, but is {why}"


def name(pid: int) -> str:
    """Return the name of a process, "?" if it's gone, proc_pid_comm(5)."""
    try:
        return text(f"/proc/{pid}/comm").rstrip("\n")
    except OSError:
        return "?"
