"""Job control: the terminal's foreground, and stopping together with the workload.

tcsetpgrp(3), credentials(7). Nothing here fails: a terminal that is gone, an ioctl that is denied,
standard descriptors that are closed only mean that there's no foreground to care for. All signals
are blocked while this runs, so SIGTTOU never stops us (a blocked SIGTTOU permits tcsetpgrp from the
background).
"""

import _signal
import posix

from pyinit import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_KIND, _FIFO, _SOCKET = 0o170000, 0o010000, 0o140000
"""Bits of st_mode, inode(7): S_IFMT, S_IFIFO, S_IFSOCK."""


def foreground_group() -> int | None:
    """Return the terminal's foreground process group, or None if there is no terminal.

    A group outside our PID namespace reads as 0.
    """
    return _on_terminal(posix.tcgetpgrp)


def set_foreground(group: int) -> bool:
    """Make `group` the terminal's foreground; return whether that worked."""

    def set_group(fd: int) -> int:
        posix.tcsetpgrp(fd, group)
        return group

    return _on_terminal(set_group) is not None


def is_alone() -> bool:
    """Tell whether this job consists of pyinit only, so that nobody else in it uses the terminal.

    In a job that a shell has made we are alone if we lead the process group and no pipe joins us to
    other processes, which may come a moment later. In the session's first job, only children count
    as others; and so do those, anywhere, that came with our exec.
    """
    own = posix.getpid()
    if posix.getpgrp() != own or (leader() != own and any(map(is_pipe, (0, 1, 2)))):
        return False
    try:
        posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
    except ChildProcessError:
        return True
    except OSError:  # denied
        return False
    return False


def is_pipe(fd: int) -> bool:
    """Tell whether a descriptor is a pipe, or a socket that serves as one."""
    try:
        return posix.fstat(fd).st_mode & _KIND in (_FIFO, _SOCKET)
    except OSError:  # it's closed
        return False


def leader() -> int:
    """Return the pid of the session's leader, or -1 if getsid(2) is denied."""
    try:
        return posix.getsid(0)
    except OSError:
        return -1


def _on_terminal(call: "Callable[[int], int]") -> int | None:
    """Return the result of `call` for the first descriptor of the terminal, or None.

    Standard descriptors first; /dev/tty for a job whose streams all lead elsewhere.
    """
    for fd in (0, 1, 2):
        try:
            return call(fd)
        except OSError:  # not open, not a terminal, not ours, or an ioctl that is denied
            continue
    try:
        fd = posix.open("/dev/tty", posix.O_RDWR | posix.O_CLOEXEC | posix.O_NOCTTY)
    except OSError:
        return None
    try:
        return call(fd)
    except OSError:
        return None
    finally:
        posix.close(fd)


def pass_on(group: int) -> bool:
    """Pass the foreground on to `group` if this group has it; return whether that worked."""
    own = posix.getpgrp()
    return own != 0 and foreground_group() == own and set_foreground(group)


def is_with_shell() -> bool:
    """Tell whether the shell that leads the session has the foreground.

    The shell takes the foreground when somebody stops us. A leader or a group outside our PID
    namespace reads as 0.
    """
    return foreground_group() == leader() != posix.getpgrp()


def take_back() -> bool:
    """Take the foreground back from the workload for this process group.

    Returns whether the workload had it: after somebody stopped us, another job may have it.
    """
    group = foreground_group()
    if group is None or group == posix.getpgrp() or is_with_shell() or not is_below_us(group):
        return False
    return set_foreground(posix.getpgrp())


def is_below_us(group: int) -> bool:
    """Tell whether a process group descends from this process, or has no leader any more."""
    if group == 0:  # outside of our PID namespace
        return False
    try:
        posix.killpg(group, 0)
    except ProcessLookupError:
        return True
    except OSError:  # not ours to signal: it may be set-user-ID
        pass
    own, pid = posix.getpid(), group
    while pid > 1:
        # State and parent, proc_pid_stat(5), after the name.
        fields = read_file(f"/proc/{pid}/stat").rpartition(b") ")[2].split(b" ", 2)
        if len(fields) < 2 or fields[0] in (b"Z", b"X"):
            return True  # its leader has ended before it, or there's no /proc: nobody knows
        pid = int(fields[1])
        if pid == own:
            return True
    return False


def is_continued() -> bool:
    """Tell whether a SIGCONT is pending for this process."""
    return _signal.SIGCONT in _signal.sigpending()


def stop(pid: int, number: int) -> bool:
    """Stop this process (or its group, if `pid` is 0) by the default action of signal `number`.

    Returns True once somebody sent SIGCONT (which stays pending), False if the kernel discarded
    the stop, since no shell could continue us: an orphaned group, credentials(7), or PID 1.
    """
    _signal.signal(number, _signal.SIG_DFL)  # it may have come ignored
    posix.kill(pid, number)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {number})
    # Here we were stopped, and somebody continued us.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, {number})
    return is_continued()
