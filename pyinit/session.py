"""Start a session for the workload, with its controlling terminal, credentials(7).

Only a session leader can take a terminal, and only a terminal that no other session has: so the
leader of the session that has it lets go of it first.
"""

import _signal
import posix

_STDIN = 0


def release_terminal() -> set[int]:
    """Give up the terminal on standard input; return pending signals for the workload.

    To a session leader's foreground group, and so to us, the kernel sends SIGHUP and SIGCONT,
    ioctl_tty(2), TIOCNOTTY: in our own name, so that they can be told from others'. They are taken
    here at once, for one that comes while they are pending is merged with it.
    """
    genuine = set()
    if _ioctl("TIOCNOTTY"):
        for number in (_signal.SIGHUP, _signal.SIGCONT):
            info = _signal.sigtimedwait({number}, 0)
            if info is not None and info.si_pid != posix.getpid():
                genuine.add(int(number))
    return genuine


def begin() -> None:
    """Start a session in the child, with the terminal on standard input if that is free.

    If setsid(2) is denied, the child goes on without a session of its own.
    """
    try:
        posix.setsid()
    except OSError:
        return
    _ioctl("TIOCSCTTY")


def _ioctl(name: str) -> bool:
    """Call the ioctl `name` on standard input; return whether that worked."""
    try:
        import fcntl
        import termios

        fcntl.ioctl(_STDIN, getattr(termios, name), 0)
    except (OSError, ImportError):
        return False
    return True
