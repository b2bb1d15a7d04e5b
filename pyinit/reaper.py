"""Children: their changes of state, their names, and all descendants.

A child is any process whose parent we are: the workload, orphans that were re-parented to us,
children that came with an exec, children of whoever joined the namespace.
"""

import posix

# __WALL (linux/wait.h) also takes children that a clone(2) made with another exit signal.
_FLAGS = posix.WNOHANG | posix.WUNTRACED | posix.WCONTINUED | 0x40000000


class Usage:
    """What a child used: CPU times in seconds, the largest resident set in bytes."""

    __slots__ = ("max_rss_bytes", "system_seconds", "user_seconds")

    def __init__(self, user_seconds: float, system_seconds: float, max_rss_bytes: int) -> None:
        self.user_seconds = user_seconds
        self.system_seconds = system_seconds
        self.max_rss_bytes = max_rss_bytes


def next_change() -> tuple[int, int]:
    """Return (pid, wait status) of a child that changed state; pid 0 while none has.

    Reaps it where it's dead, wait(2). Raises ChildProcessError when there's no child at all.
    """
    return posix.waitpid(-1, _FLAGS)


def next_change_in_full() -> tuple[int, int, bytes, Usage | None]:
    """Return as `next_change`, with the child's command name and what it used.

    The name is read before the reaping, while /proc still has it.
    """
    try:
        info = posix.waitid(
            posix.P_ALL,
            0,
            posix.WEXITED | posix.WSTOPPED | posix.WCONTINUED | posix.WNOHANG | posix.WNOWAIT,
        )
    except ChildProcessError:
        info = None  # perhaps only children that need __WALL: the next call knows
    name = command_name(info.si_pid) if info else b""
    wanted = info.si_pid if info else -1
    try:
        pid, status, used = posix.wait4(wanted, _FLAGS)
    except ImportError:  # wait4 wants the `resource` module, which a small Python may lack
        pid, status = posix.waitpid(wanted, _FLAGS)
        return pid, status, name, None
    usage = Usage(used.ru_utime, used.ru_stime, used.ru_maxrss * 1024)
    return pid, status, name, usage


def command_name(pid: int) -> bytes:
    """Return the command name of a process, dead or alive, proc_pid_comm(5); empty if unknown."""
    return read_file(f"/proc/{pid}/comm")[:-1]


def descendants(pid: int) -> list[int]:
    """Return all that descend from `pid`, nearest first, from /proc/PID/task/TID/children.

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


def send_to_all(number: int) -> None:
    """Send a signal to every process but ourselves: those of our PID namespace, or descendants.

    As PID 1 it's one kill(-1), which misses nobody; elsewhere that would mean the whole machine.
    """
    own = posix.getpid()
    if own == 1:
        _kill(-1, number)
        return
    for pid in descendants(own):
        _kill(pid, number)


def _kill(pid: int, number: int) -> None:
    try:
        posix.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        # Gone meanwhile; or a set-user-ID descendant, which we can't end and must outlive.
        return


def read_file(path: str) -> bytes:
    """Return a small file of /proc whole, or nothing if it's gone or not readable."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        data = b""
        while part := posix.read(fd, 65536):
            data += part
    except OSError:
        return b""
    else:
        return data
    finally:
        posix.close(fd)
