"""The workload's process: fork, give back what the interpreter took, exec.

What a Python interpreter does to its process before any code runs, and what is undone here:
SIGPIPE and SIGXFSZ ignored, a handler for SIGINT (Python/pylifecycle.c, Modules/signalmodule.c),
LC_CTYPE set in the environment of a C locale (PEP 538).
"""

import _signal
import posix

from pyinit import execvp, reaper, status, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# The interpreter overwrote what these were before anybody could look.
_UNKNOWN = (_signal.SIGPIPE, _signal.SIGXFSZ)
# What PEP 538 may set LC_CTYPE to (Python/pylifecycle.c, _TARGET_LOCALES).
_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")


def ignored_signals() -> set[int]:
    """Return the signals that are ignored now: what we inherited, so far as it can be known.

    SIGPIPE and SIGXFSZ count as not ignored.
    """
    return {
        number
        for number in _signal.valid_signals()
        if number not in _UNKNOWN and _signal.getsignal(number) == _signal.SIG_IGN
    }


def restore_locale() -> None:
    """Put LC_CTYPE back to what the process was started with, in the C library's environment.

    Where /proc/self/environ can't be read, a coerced-looking value in the last place is taken for
    the interpreter's, which appends.
    """
    value = posix.environ.get(b"LC_CTYPE")
    if value not in _COERCED:
        return
    entries = _initial_environment()
    if entries is None:
        if list(posix.environ)[-1] == b"LC_CTYPE":
            posix.unsetenv(b"LC_CTYPE")
        return
    for entry in entries:
        if entry.startswith(b"LC_CTYPE="):
            posix.putenv(b"LC_CTYPE", entry[9:])
            return
    posix.unsetenv(b"LC_CTYPE")


def _initial_environment() -> list[bytes] | None:
    """Return the environment as execve(2) left it, from /proc/self/environ; None if unreadable."""
    raw = reaper.read_file("/proc/self/environ")
    return raw.split(b"\0")[:-1] if raw.endswith(b"\0") else None


class ExecFailed(Exception):  # noqa: N818  the words of the field
    """The workload's exec failed: `error` says for which path and why."""

    def __init__(self, error: execvp.ExecError) -> None:
        super().__init__(error)
        self.error = error


class ForkFailed(Exception):  # noqa: N818  the words of the field
    """No process could be made for the workload; `error` says why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


class Child:
    """How to start the workload: its argv, and the signals to block and to ignore in it."""

    def __init__(
        self,
        program: list[bytes],
        *,
        mask: set[int],
        ignored: set[int],
        own_group: bool,
        foreground: bool,
    ) -> None:
        self.program = program
        self.mask = mask
        self.ignored = ignored
        self.own_group = own_group
        self.foreground = foreground

    def start(self) -> int:
        """Start the workload by fork and exec; return its pid once the exec has happened.

        A close-on-exec pipe tells of a failed exec; its end of file, that it happened.

        Signals that arrive meanwhile stay pending on us, since all are blocked. (posix_spawn(3)
        would save half a millisecond, but glibc leaves signals 32 and 33 ignored in the new
        process.) Raises ExecFailed, with the child reaped, and ForkFailed.
        """
        try:
            reader, writer = posix.pipe()
        except OSError:  # no descriptor left: the child will speak for itself
            reader = writer = -1
        try:
            pid = posix.fork()
        except OSError as error:
            raise ForkFailed(error) from None
        if pid == 0:
            self._become(writer)
        if self.own_group:
            # Also by the parent, so that a signal to the group can't come too early.
            self.own_group = _make_group(pid)
        if reader < 0:
            return pid
        posix.close(writer)
        said = _read_all(reader)
        posix.close(reader)
        if said:
            posix.waitpid(pid, 0)
            number, _, path = said.partition(b" ")
            raise ExecFailed(execvp.ExecError(int(number), path))
        return pid

    def _become(self, writer: int) -> "NoReturn":
        """Become the program, or tell `writer` why not."""
        code = status.OURS
        try:
            if self.own_group:
                _make_group(0)
            if self.foreground:
                terminal.set_foreground(posix.getpgrp())
            self._give_back()
            execvp.execvp(self.program, posix.environ.get(b"PATH"))
        except (execvp.ExecError, OSError) as error:
            code = status.of_exec_errno(error.errno or 0)
            path = error.path if isinstance(error, execvp.ExecError) else self.program[0]
            posix.write(writer if writer >= 0 else 2, b"%d %b" % (error.errno or 0, path[:3000]))
        finally:
            posix._exit(code)

    def _give_back(self) -> None:
        """Give the workload the environment, dispositions and mask that it would have had."""
        restore_locale()
        # sd_listen_fds(3): the descriptors are meant for the pid that is named.
        if posix.environ.get(b"LISTEN_PID") == b"%d" % posix.getppid():
            posix.putenv(b"LISTEN_PID", b"%d" % posix.getpid())
        for number in _signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP}:
            wanted = _signal.SIG_IGN if number in self.ignored else _signal.SIG_DFL
            if _signal.getsignal(number) != wanted:
                _signal.signal(number, wanted)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self.mask)


def _make_group(pid: int) -> bool:
    """Put a process into a group of its own; return whether it has one, setpgid(2)."""
    try:
        posix.setpgid(pid, pid)
    except OSError:
        # The child did it before its exec (EACCES) or is dead already (ESRCH): then it has its
        # group. Or the call is denied to both of us: then it shares ours.
        try:
            return posix.getpgid(pid) == (pid or posix.getpid())
        except OSError:
            return True
    return True


def _read_all(fd: int) -> bytes:
    data = b""
    while part := posix.read(fd, 4096):
        data += part
    return data
