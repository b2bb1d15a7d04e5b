"""Job control: who has the terminal's foreground, and stopping and going on with the workload.

tcsetpgrp(3), credentials(7). Nothing here fails: a terminal that is gone, an ioctl that is denied,
standard descriptors that are closed only mean that there's no foreground to care for. All signals
are blocked while this runs, so SIGTTOU never stops us (a blocked SIGTTOU permits tcsetpgrp from the
background).
"""

import _signal
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def foreground_group() -> int | None:
    """Return the terminal's foreground process group, or None without a terminal.

    It reads as 0 where the group lies outside our PID namespace.
    """
    return _on_terminal(posix.tcgetpgrp)


def set_foreground(group: int) -> bool:
    """Make `group` the terminal's foreground; return whether that worked."""

    def set_group(fd: int) -> int:
        posix.tcsetpgrp(fd, group)
        return group

    return _on_terminal(set_group) is not None


def _on_terminal(call: "Callable[[int], int]") -> int | None:
    """Return what `call` says of the first descriptor that is our terminal, None if none is.

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
    """Pass the foreground on to `group` if we were continued into it; return whether we were."""
    own = posix.getpgrp()
    return own != 0 and foreground_group() == own and set_foreground(group)


def is_with_shell() -> bool:
    """Tell whether the shell that leads our session has the foreground, and it isn't ours.

    It took it if somebody stopped us. Leader and group read as 0 outside our PID namespace.
    """
    try:
        leader = posix.getsid(0)
    except OSError:  # denied
        return False
    return foreground_group() == leader != posix.getpgrp()


def take_back() -> None:
    """Take the foreground back from the workload, for whoever had it before."""
    if not is_with_shell():
        set_foreground(posix.getpgrp())


def stop(pid: int, number: int) -> bool:
    """Stop process `pid` (0: our group), us among them, by the default action of `number`.

    Returns True once somebody sent SIGCONT (which stays pending), False if the kernel discarded
    the stop, since no shell could continue us: an orphaned group, credentials(7), or PID 1.
    """
    _signal.signal(number, _signal.SIG_DFL)  # it may have come ignored
    posix.kill(pid, number)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {number})
    # Here we were stopped, and somebody continued us.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, {number})
    return _signal.SIGCONT in _signal.sigpending()
