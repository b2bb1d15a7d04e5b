"""The controlling terminal as the launcher sees it: who has its foreground, and job control.

Only the launcher can tell: seen from a new PID namespace, process groups outside it read as 0.
All signals are blocked while this runs, so SIGTTOU doesn't stop us for a tcsetpgrp(3) from the
background. Nothing here fails: a terminal that is gone has no foreground to care for.
"""

import _signal
import posix


class Terminal:
    """A controlling terminal, by a descriptor of it."""

    __slots__ = ("descriptor", "group")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.group = 0
        """The process group that had the foreground when we took it last."""

    def is_ours(self) -> bool:
        """Tell whether our process group is the foreground."""
        return self._foreground() == posix.getpgrp()

    def take(self) -> None:
        """Make our process group the foreground, and remember whose it was: the program's.

        Unless the shell has it, which leads the session: it took it when somebody stopped us.
        """
        group = self._foreground()
        if group not in (posix.getpgrp(), _leader()):
            self.group = group
            self.give(posix.getpgrp())

    def give(self, group: int) -> None:
        """Make `group` the foreground."""
        try:
            posix.tcsetpgrp(self.descriptor, group)
        except OSError:  # the group or the terminal is gone
            return

    def _foreground(self) -> int:
        try:
            return posix.tcgetpgrp(self.descriptor)
        except OSError:
            return 0


def _leader() -> int:
    """Return who leads our session, 0 where getsid(2) is denied: then nobody is known to."""
    try:
        return posix.getsid(0)
    except OSError:
        return 0


def find() -> Terminal | None:
    """Return our controlling terminal, None where there is none.

    A standard descriptor serves if it's the terminal, else /dev/tty, opened for us alone.
    """
    for descriptor in (0, 1, 2):
        if posix.isatty(descriptor):
            try:
                posix.tcgetpgrp(descriptor)
            except OSError:  # somebody else's
                continue
            return Terminal(descriptor)
    try:
        descriptor = posix.open("/dev/tty", posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC)
    except OSError:
        return None
    return Terminal(descriptor)


def suspend(number: int, *, group: bool) -> bool:
    """Stop our process, or our whole group, by the default action of `number`.

    Returns True after SIGCONT, and False where the kernel discarded the stop.
    """
    posix.kill(0 if group else posix.getpid(), number)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {number})
    # Here we were stopped, and somebody continued us.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, {number})
    return _signal.sigtimedwait({_signal.SIGCONT}, 0) is not None


def continue_group(group: int) -> None:
    """Continue a process group, if it's still there."""
    try:
        posix.killpg(group, _signal.SIGCONT)
    except OSError:
        return


def program_group(init: int, inner: int | None) -> int | None:
    """Return the process group of the program, None where it can't be found.

    `init` is the first process of the container. Where pyinit is that, `inner` is the program's
    pid as pyinit sees it, looked for among pyinit's children: NSpid, proc_pid_status(5).
    """
    try:
        if inner is None:
            return posix.getpgid(init)
        for name in read(f"/proc/{init}/task/{init}/children").split():
            for line in read(f"/proc/{int(name)}/status").splitlines():
                if line.startswith(b"NSpid:") and int(line.split()[-1]) == inner:
                    return posix.getpgid(int(name))
    except OSError:  # it's gone, or this kernel has no such file
        return None
    return None


def read(path: str) -> bytes:
    """Return what is in a file of /proc; raises OSError."""
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return b"".join(iter(lambda: posix.read(descriptor, 65536), b""))
    finally:
        posix.close(descriptor)
