"""The launcher's controlling terminal: its foreground, and job control.

Only the launcher can tell: seen from a new PID namespace, process groups outside it read as 0.
All signals are blocked while this runs, so SIGTTOU doesn't stop us for a tcsetpgrp(3) from the
background. Nothing here fails: a terminal that is gone has no foreground to care for.
"""

import _signal
import posix

from pyinit.jobcontrol import is_below_us, leader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SHELLS = ("ash", "bash", "dash", "fish", "ksh", "mksh", "sh", "yash", "zsh")


class Terminal:
    """A controlling terminal, by a descriptor."""

    __slots__ = ("descriptor", "group", "inner", "refused")
    apart = False
    """Whether the program is in another session, where this isn't its terminal."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.group = 0
        """The process group that had the foreground when we took it last."""
        self.inner: int | None = None
        """The descriptor of its own terminal that a program in another session has."""
        self.refused = False
        """Whether we can't pass the foreground on: then it counts as not ours."""

    def is_ours(self) -> bool:
        """Tell whether this process group has the foreground, and can pass it on."""
        return not self.refused and self._foreground() == posix.getpgrp()

    def is_lent(self) -> bool:
        """Tell whether the program has the foreground.

        Nor another job of the shell's, which may have it after somebody stopped us.
        """
        group = self._foreground()
        return group not in (posix.getpgrp(), leader()) and is_below_us(group)

    def take(self) -> None:
        """Take the foreground back from the program's process group.

        Unless the shell has it, which leads the session: it took it when somebody stopped us.
        """
        if self.is_lent():
            self.group = self._foreground()
            self.give(posix.getpgrp())

    def give(self, group: int) -> bool:
        """Make `group` the foreground; return whether that worked."""
        try:
            posix.tcsetpgrp(self.descriptor, group)
        except OSError:  # the group or the terminal is gone, or the call is denied
            return False
        return True

    def _foreground(self) -> int:
        try:
            return posix.tcgetpgrp(self.descriptor)
        except OSError:
            return 0


def find() -> Terminal | None:
    """Return the controlling terminal, or None.

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


def can_be_asked() -> bool:
    """Tell whether the program will be found when it asks for the terminal."""
    return posix.access(f"/proc/self/task/{posix.getpid()}/children", posix.R_OK)


def is_interactive_shell(words: "Sequence[str]") -> bool:
    """Tell whether a command line looks like that of an interactive shell."""
    if words[0].rpartition("/")[2].lstrip("-") not in _SHELLS:
        return False
    options = [word for word in words[1:] if word[:1] in ("-", "+")]
    letters = "".join(word for word in options if word[:2] != "--")
    return "i" in letters or ("c" not in letters and len(options) == len(words) - 1)


def suspend(number: int, *, group: bool) -> bool:
    """Stop this process, or its whole group, by the default action of `number`.

    Returns True after SIGCONT, and False where the kernel discarded the stop.
    """
    posix.kill(0 if group else posix.getpid(), number)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {number})
    # Here we were stopped, and somebody continued us.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, {number})
    return _signal.sigtimedwait({_signal.SIGCONT}, 0) is not None


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group, if that still exists."""
    try:
        posix.killpg(group, number)
    except OSError:  # it's gone, or nobody of it is ours to signal
        return


def program(init: int, inner: int | None) -> int | None:
    """Return the program's pid, or None.

    `init` is the first process of the container. Where pyinit is that, `inner` is the program's
    pid as pyinit sees it, looked for among pyinit's children: NSpid, proc_pid_status(5).
    """
    if inner is None:
        return init
    from spawner.host import proc

    try:
        for pid in proc.children(init):
            status = proc.fields(proc.text(f"/proc/{pid}/status"))
            if status.get("NSpid", "").split()[-1:] == [str(inner)]:
                return pid
    except OSError:  # it's gone
        return None
    return None


def program_group(init: int, inner: int | None) -> int | None:
    """Return the program's process group, or None."""
    pid = program(init, inner)
    try:
        return None if pid is None else posix.getpgid(pid)
    except OSError:  # it's gone
        return None


def is_stopped(pid: int) -> bool:
    """Tell whether a process is stopped, proc_pid_stat(5)."""
    from spawner.host import proc

    return proc.stat(pid)[:1] in ([], ["T"], ["t"])
