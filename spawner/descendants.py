"""Kill what a container without a PID namespace of its own leaves behind.

With one, the kernel does it when the init dies. Without, orphans become children of the nearest
subreaper, prctl(2), and are killed there one generation after the other.
"""

import _signal
import posix
import select


def children() -> set[int]:
    """Return the pids of our children, dead ones too.

    By the list that the kernel has of them, proc_pid_task(5), `children`: nobody but us takes any
    out of it meanwhile. Not every kernel shows it.
    """
    try:
        text = _read("/proc/thread-self/children")
    except OSError:
        return _search()
    return set(map(int, text.split()))


def _search() -> set[int]:
    """Return the pids of our children by who is whose parent in /proc."""
    found = set()
    own = posix.getpid()
    for name in posix.listdir("/proc"):
        if name.isdigit() and _parent(name) == own:
            found.add(int(name))
    return found


def kill(spared: set[int]) -> None:
    """Kill and reap all our descendants, but not the children in `spared`.

    A process that we may not kill (a set-user-ID program) is left.
    """
    while True:
        killed = [pid for pid in children() - spared if _kill(pid)]
        if not killed:
            return
        for pid in killed:
            try:
                posix.waitpid(pid, 0)
            except ChildProcessError:
                continue


def kill_tree(pid: int) -> None:
    """Kill a process and all that is below it now, wherever orphans of it would go.

    In a PID namespace that was joined they'd go to its PID 1. So each is stopped first, until
    there's no new one: who is stopped forks none, and reaps none, so that no pid is another's.
    """
    found: set[int] = set()
    new = {pid}
    while new:
        for each in new:
            _kill(each, _signal.SIGSTOP)
        found |= new
        listed = [int(name) for name in posix.listdir("/proc") if name.isdigit()]
        new = {each for each in listed if _parent(str(each)) in found} - found
    for each in found:
        _kill(each)


def kill_kept(keeper: int, init: int, pidfd: int) -> None:
    """Kill the tree of an init whose parent is a keeper, which is our child.

    The keeper is stopped first: an init that it has reaped could be another process by now.
    """
    if not _kill(keeper, _signal.SIGSTOP):
        return
    posix.waitid(posix.P_PID, keeper, posix.WSTOPPED | posix.WEXITED | posix.WNOWAIT)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(0):
        kill_tree(init)


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
