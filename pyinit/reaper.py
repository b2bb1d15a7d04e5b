"""Details about children: their names and resource usage; and all descendants.

A child is any process whose parent we are: the workload, orphans that were re-parented to us,
children that came with an exec, children of processes that joined the namespace.
"""

import _signal
import posix
import sys

from pyinit import read_file

_LOOKS = 20
"""The most searches for new descendants before those found are killed."""


class Usage:
    """What a child used: CPU times in seconds, and the largest resident set in bytes."""

    def __init__(self, user_seconds: float, system_seconds: float, max_rss_bytes: int) -> None:
        self.user_seconds = user_seconds
        self.system_seconds = system_seconds
        self.max_rss_bytes = max_rss_bytes


def get_ready() -> None:
    """Import the module that wait4 needs, before it is called.

    Called while the module can be found: later, the root may have changed, or no descriptor may be
    left to read it. A small Python may lack it.
    """
    try:
        import resource  # noqa: F401
    except (ImportError, OSError):
        return


def next_change_in_full(flags: int) -> tuple[int, int, bytes, Usage | None]:
    """Return what waitpid(-1, flags) does, with the child's command name and usage.

    The name is read before the reaping, while /proc still has it. Raises ChildProcessError.
    """
    info = posix.waitid(posix.P_ALL, 0, flags | posix.WEXITED | posix.WNOWAIT)
    if info is None:
        return 0, 0, b"", None
    name = command_name(info.si_pid)
    if sys.modules.get("resource") is None:
        pid, status = posix.waitpid(info.si_pid, flags)
        return pid, status, name, None
    pid, status, used = posix.wait4(info.si_pid, flags)
    usage = Usage(used.ru_utime, used.ru_stime, used.ru_maxrss * 1024)
    return pid, status, name, usage


def command_name(pid: int) -> bytes:
    """Return the command name of a process, dead or alive, proc_pid_comm(5); empty if unknown."""
    return read_file(f"/proc/{pid}/comm")[:-1]


def descendants(pid: int) -> list[int]:
    """Return all descendants of `pid`, nearest first, from /proc/PID/task/TID/children.

    Empty where /proc or the kernel (CONFIG_PROC_CHILDREN) doesn't tell.
    """
    found: list[int] = []
    parents = [pid]
    while parents:
        parent = parents.pop()
        try:
            threads = posix.listdir(f"/proc/{parent}/task")
        except OSError:  # gone meanwhile, or no /proc
            continue
        for thread in threads:
            children = [int(n) for n in read_file(f"/proc/{parent}/task/{thread}/children").split()]
            found += children
            parents += children
    return found


def send_to_descendants(number: int) -> None:
    """Send a signal to all descendants of this process.

    This is for when we aren't PID 1, since kill(-1) would then mean the whole host. Before a
    SIGKILL all are stopped, until a look finds no new one. Otherwise, where processes are limited,
    each death would make room for a fork bomb's next fork.
    """
    found: list[int] = []
    if number == _signal.SIGKILL:
        known: set[int] = set()
        for _ in range(_LOOKS):
            new = [pid for pid in descendants(posix.getpid()) if pid not in known]
            if not new:
                break
            for pid in new:
                _send(pid, _signal.SIGSTOP)
            found += new
            known.update(new)
        # Children before their parents, which are stopped and can't reap: so no pid is reused.
        found.reverse()
    for pid in found or descendants(posix.getpid()):
        _send(pid, number)


def _send(pid: int, number: int) -> None:
    try:
        posix.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        # Gone meanwhile; or a set-user-ID descendant, which we can't end and must outlive.
        return
