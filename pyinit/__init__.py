"""A PID 1 for containers: forwards signals, reaps orphans, tells how the workload ended.

The package runs as a program (`pyinit`, `python -m pyinit`). It imports built-in and frozen
modules only, so that PID 1 starts in the time of a bare interpreter and stays as small.

This module holds what every start needs, and the spawner too: the exit-status rule (the convention
of the shells and of env(1)), the words for an errno, what ps(1) shows of us. A module more would
cost a start 0.07 ms.
"""

import _signal
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__version__ = "0.1.0"

OURS = 125
"""The exit status for a failure of pyinit or pyspawn itself, such as bad usage."""

NOT_EXECUTABLE = 126
"""The exit status for a program that was found but couldn't be executed."""

NOT_FOUND = 127
"""The exit status for a program (or its interpreter) that doesn't exist."""

SIGNALLED = 128
"""Added to the number of the signal that killed the workload, for its exit status."""

SI_KERNEL = 0x80
"""The si_code of signals that the kernel sends, such as a terminal's ^C, siginfo.h."""

SI_PASSED_ON = -0x80
"""The si_code of signals that `pyspawn` passes on to pyinit from its terminal.

A process may only send signals with a negative code, rt_sigqueueinfo(2); of those, the kernel and
the C library use others.
"""


# The interpreter sets these to be ignored before anybody can look.
_UNKNOWN = (_signal.SIGPIPE, _signal.SIGXFSZ)


def ignored_signals() -> set[int]:
    """Return the signals that this process was started to ignore, as far as can be told.

    SIGPIPE and SIGXFSZ count as not ignored.
    """
    return {
        number
        for number in _signal.valid_signals()
        if number not in _UNKNOWN and _signal.getsignal(number) == _signal.SIG_IGN
    }


def signal_bits(signals: "Iterable[int]") -> int:
    """Return a set of signals as a number, as in SigBlk and SigIgn of proc_pid_status(5)."""
    return sum(1 << (number - 1) for number in signals)


def be_interrupted(pid: int) -> None:
    """Die of SIGINT, alone or (`pid` 0) with the process group; return if that is denied."""
    try:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
        posix.kill(pid, _signal.SIGINT)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGINT,))
    except OSError:
        return


TWINS = ("tini", "docker-init", "dumb-init", "catatonit")
"""The names of other inits that pyinit can stand in for, `twins`."""

PIPE_BUF = 4096
"""The most bytes that a write to a pipe keeps together, pipe(7), linux/limits.h."""

STOPS = (_signal.SIGTSTP, _signal.SIGTTIN, _signal.SIGTTOU)
"""The terminal's stop signals, which a program may catch."""

FOR_WANT_OF_TERMINAL = (_signal.SIGTTIN, _signal.SIGTTOU)
"""Signals to background process groups that read from or configure the terminal."""


class AnsweredError(Exception):
    """Raised when the command line was answered at once; pyinit exits with `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def status_of_signal(signal: int) -> int:
    """Return the exit status that stands for a death by `signal`."""
    return SIGNALLED + signal


def status_of_wait(wait_status: int) -> tuple[int, int | None]:
    """Return (exit status, signal or None) for a wait status, wait(2)."""
    if posix.WIFSIGNALED(wait_status):
        signal = posix.WTERMSIG(wait_status)
        return status_of_signal(signal), signal
    return posix.WEXITSTATUS(wait_status), None


def status_of_exec_errno(number: int) -> int:
    """Return the exit status for an exec that failed with errno `number`."""
    import errno  # built in, and needed only after a failure

    return NOT_FOUND if number in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE


def errno_name(number: int) -> str:
    """Return the name of an errno, such as "EPERM", or its digits if it has no name."""
    import errno

    return errno.errorcode.get(number, str(number))


def errno_text(number: int) -> str:
    """Return what an errno means and its name: "Operation not permitted (EPERM)"."""
    return f"{posix.strerror(number)} ({errno_name(number)})"


def has_terminal() -> bool:
    """Tell whether there may be a controlling terminal."""
    if posix.isatty(0) or posix.isatty(1) or posix.isatty(2):
        return True
    try:
        posix.close(posix.open("/dev/tty", posix.O_RDWR | posix.O_CLOEXEC | posix.O_NOCTTY))
    except OSError:
        return False
    return True


def read_file(path: str | bytes, most: int = 1 << 24) -> bytes:
    """Return a file's content, at most its first `most` bytes; empty if it can't be read."""
    try:
        # O_NONBLOCK: a FIFO in the place of a file must not hold us.
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY)
    except (OSError, ValueError):
        return b""
    try:
        data = b""
        while part := posix.read(fd, min(most - len(data), 65536)):
            data += part
    except OSError:
        return b""
    else:
        return data
    finally:
        posix.close(fd)


def show(name: bytes, words: list[bytes]) -> None:
    """Have ps(1) show this process as `name` with the arguments `words`, if there is a /proc."""
    # As its command name, proc_pid_comm(5), and its command line, proc_pid_cmdline(5). That is the
    # memory in which execve(2) has left our own arguments, and its borders take a right to move:
    # what is left of it reads as empty arguments at the end.
    try:
        _write(b"comm", name, 0)
        # The last of 52 fields: arg_start, arg_end, env_start, env_end, exit_code.
        fields = _read(b"stat", b" ", 5)
        start, end = _number(fields[1]), _number(fields[2])
        text = b"\0".join([name, *words])
        if start and len(text) < end - start:
            _write(b"mem", text.ljust(end - start, b"\0"), start)
    except OSError:
        return


def table_size(otherwise: int) -> int:
    """Return the size of the descriptor table, proc_pid_status(5), above all descriptors."""
    try:
        return _number(_read(b"status", b"\nFDSize:\t", 1)[-1]) or otherwise
    except OSError:
        return otherwise


def _read(file: bytes, before: bytes, most: int) -> list[bytes]:
    """Return a /proc/self file, split at the last `most` places of `before`; raises OSError."""
    # By no other calls, and without int() of decimal digits: see "Memory" in docs/start-up.md.
    descriptor = posix.open(b"/proc/self/" + file, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(descriptor, 4096).rsplit(before, most)
    finally:
        posix.close(descriptor)


def _number(digits: bytes) -> int:
    """Return the number at the beginning of `digits`, or 0."""
    found = 0
    for digit in digits:
        if not 48 <= digit < 58:
            break
        found = found * 10 + digit - 48
    return found


def _write(file: bytes, data: bytes, offset: int) -> None:
    """Write `data` to a file of /proc/self, at `offset`; raises OSError."""
    descriptor = posix.open(b"/proc/self/" + file, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        if offset:
            posix.lseek(descriptor, offset, 0)
        posix.write(descriptor, data)
    finally:
        posix.close(descriptor)
