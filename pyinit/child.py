"""The workload's process: the fork, the restored signal dispositions, the exec.

What a Python interpreter does to its process before any code runs, and what is undone here:
SIGPIPE and SIGXFSZ ignored, a handler for SIGINT (Python/pylifecycle.c, Modules/signalmodule.c),
LC_CTYPE set in the environment of a C locale (PEP 538).
"""

import _signal
import posix

from pyinit import OURS, errno_text, has_terminal, machine, signal_bits, status_of_exec_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


HANDOVER = b"--handover="
"""The beginning of the first word in a handover, docs/architecture.md."""


class Handover:
    """What the process that executed pyinit hands over to it, docs/architecture.md.

    `mask`, `ignored` and `pending` are sets of signals: blocked, ignored, and taken already on
    the workload's behalf. `foreground` says whether the launcher had the terminal's foreground;
    None leaves it to `pyinit` to find out. `notice` is the descriptor of a pipe to the launcher.
    """

    def __init__(
        self,
        mask: set[int],
        ignored: set[int],
        pending: set[int],
        foreground: bool | None = None,
        notice: int | None = None,
    ) -> None:
        self.mask = mask
        self.ignored = ignored
        self.pending = pending
        self.foreground = foreground
        self.notice = notice

    @classmethod
    def parse(cls, word: str) -> "Handover":
        """Return the handover written as `mask=HEX,ignored=HEX,foreground=0|1,notice=FD`.

        The sets are hexadecimal as in /proc/PID/status, proc(5); each field may be absent.
        Raises ValueError.
        """
        fields = dict(part.partition("=")[::2] for part in word.split(","))
        notice = fields.get("notice", "")
        return cls(
            _signals(fields.get("mask", "0")),
            _signals(fields.get("ignored", "0")),
            _signals(fields.get("pending", "0")),
            fields["foreground"] == "1" if "foreground" in fields else None,
            int(notice) if notice else None,
        )

    def __str__(self) -> str:
        """Return the word that `parse` accepts."""
        sets = {"mask": self.mask, "ignored": self.ignored, "pending": self.pending}
        word = ",".join(f"{name}={signal_bits(signals):x}" for name, signals in sets.items())
        if self.foreground is not None:
            word += f",foreground={self.foreground:d}"
        return word if self.notice is None else f"{word},notice={self.notice}"


def _signals(word: str) -> set[int]:
    bits = int(word, 16)
    return {number for number in _signal.valid_signals() if bits >> (number - 1) & 1}


class ExecFailed(Exception):  # noqa: N818  the words of the field
    """The workload's exec failed: errno, exit status, message, and hint or None."""

    def __init__(self, number: int, status: int, said: str, hint: str | None) -> None:
        super().__init__(number, status, said, hint)
        self.errno = number
        self.status = status
        self.said = said
        self.hint = hint


class ForkFailed(Exception):  # noqa: N818  the words of the field
    """The workload's fork failed; `error` says why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


class Workload:
    """The program to run, and how; `pid` is its process once it runs.

    `own_group` says whether it has a process group of its own, `foreground` whether that group gets
    the terminal's foreground now, `wants` whether it gets the foreground whenever our group has it,
    and `has_terminal` whether there is a foreground for us to care for.
    """

    def __init__(self, asked: machine.Settings, handover: Handover) -> None:
        self.program = asked.program
        self.pid = 0
        self.has_terminal = handover.foreground is None and has_terminal()
        self.own_group, self.foreground, self.wants = _place(asked, handover, self.has_terminal)
        self._own_session = asked.place == machine.OWN_SESSION
        # Without what can't be set: the C library's own signals, nptl(7). (No set operation, see
        # "Memory" in docs/start-up.md.)
        valid = _signal.valid_signals()
        self._mask = [number for number in handover.mask if number in valid]
        self._ignored = handover.ignored
        self._listens = b"LISTEN_PID" in posix.environ
        self._may_be_coerced = b"LC_CTYPE" in posix.environ
        if self._may_be_coerced:
            from pyinit import coercion  # noqa: F401  before the fork
        # By a slice, see "Memory" in docs/start-up.md.
        if self.program and self.program[0][:1] != b"/":
            from pyinit import execvp  # noqa: F401  before the fork
        # They are for us, not for the workload.
        self._private = [fd for fd in (asked.events, handover.notice) if fd is not None and fd > 2]

    def start(self, let_go: "Callable[[tuple[int, ...]], None]") -> None:
        """Fork and exec; return once the exec has happened.

        `let_go` closes all descriptors but those that it is given. It is called before the exec,
        since the program may look at what other processes hold open: so the child first waits for
        end of file on a pipe. Raises ForkFailed, ExecFailed, and OSError if dispositions can't be
        set.

        A close-on-exec pipe tells why an exec failed, in words of the child's, since only the child
        still has the working directory. End of file on that pipe tells that the exec has happened.
        Signals that arrive meanwhile stay pending on us, since all are blocked, until the caller
        takes them. (posix_spawn(3) would be cheaper, but glibc leaves signals 32 and 33 ignored in
        the new process.)
        """
        try:
            to_ignore = _set_dispositions(self._ignored)
        except OSError as error:
            reason = errno_text(error.errno or 0)
            raise OSError(error.errno, f"signal dispositions can't be set: {reason}") from None
        reader, writer = _pipe()  # without this pipe the child will speak for itself,
        waiting, holding = _pipe()  # and without this one it won't wait
        try:
            self.pid = posix.fork()
        except OSError as error:
            raise ForkFailed(error) from None
        if self.pid == 0:
            self._become(reader, writer, waiting, holding, to_ignore)
        if waiting >= 0:
            posix.close(waiting)
        if reader >= 0:
            posix.close(writer)
        let_go((reader, holding))
        if holding >= 0:
            posix.close(holding)
        said = b""
        if reader >= 0:
            while part := posix.read(reader, 4096):
                said += part
            posix.close(reader)
        if self.own_group:
            # Only now: a group made for it would keep the child from starting a session.
            self.own_group = _make_group(self.pid)
        if said:
            posix.waitpid(self.pid, 0)
            raise self._failure(said)

    def _failure(self, said: bytes) -> ExecFailed:
        """Return the failure that the child reported: ERRNO, then STATUS, TEXT and HINT.

        If the child couldn't even import the words for it, only the errno is there.
        """
        errno, _, rest = said.partition(b"\n")
        number = int(errno)
        if not rest:
            from pyinit import execerror

            line = f"{execerror.brief(self.program[0])}: {errno_text(number)}"
            return ExecFailed(number, status_of_exec_errno(number), line, None)
        status, text, hint = rest.decode().split("\n")
        return ExecFailed(number, int(status), text, hint or None)

    def _become(
        self, reader: int, writer: int, waiting: int, holding: int, to_ignore: list[int]
    ) -> "NoReturn":
        """Become the program, or report the failure to `writer`, or to stderr if that is -1.

        A page that is touched after a fork is copied, and every call touches some. So `start`
        prepares what it can, and a program that is named by its path is executed without a search.
        """
        code = OURS
        try:
            for fd in self._private:
                posix.close(fd)
            if self._own_session:
                from pyinit import session  # read by the parent already

                session.begin()
            if self.own_group:
                _make_group(0)
            if self.foreground:
                from pyinit import jobcontrol  # read by the parent already

                jobcontrol.set_foreground(posix.getpgrp())
            if self._may_be_coerced:
                from pyinit import coercion

                coercion.undo()
            # sd_listen_fds(3): the descriptors are meant for the pid that is named.
            if self._listens and posix.environ[b"LISTEN_PID"] == b"%d" % posix.getppid():
                posix.putenv(b"LISTEN_PID", b"%d" % posix.getpid())
            if waiting >= 0:
                posix.close(holding)
                posix.read(waiting, 1)  # the end of file: our parent has let go, or is dead
            for number in to_ignore:
                _signal.signal(number, _signal.SIG_IGN)
            _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)
            if writer >= 0:
                posix.close(reader)  # to read in a module takes a descriptor
            tried = self._execute()
            code = self._search(tried, writer)
        except OSError as error:
            code = self._tell(error.errno or 0, self.program[0], writer)
        finally:
            posix._exit(code)

    def _execute(self) -> int:
        """Execute a program that is named by its path; return the errno, or 0 for another one."""
        if b"/" in self.program[0]:
            try:
                posix.execv(self.program[0], self.program)
            except OSError as error:
                return error.errno or 0
            except ValueError:
                return 0
        return 0

    def _search(self, tried: int, writer: int) -> int:
        """Execute the program as execvp(3) does; where that fails, tell why, and return the status.

        `tried` is the errno with which it failed already, to be told where no module can be read.
        """
        try:
            from pyinit import execvp
        except (ImportError, OSError) as error:
            return self._tell(tried or getattr(error, "errno", 0) or 0, self.program[0], writer)
        try:
            execvp.execvp(self.program, posix.environ.get(b"PATH"))
        except execvp.ExecError as error:
            return self._tell(error.errno, error.path, writer)

    def _tell(self, number: int, path: bytes, writer: int) -> int:
        """Tell why the exec of `path` failed, and return the exit status."""
        if writer >= 0:
            posix.write(writer, b"%d\n" % number)
        from pyinit import execerror, execvp

        search = posix.environ.get(b"PATH")
        failure = execvp.ExecError(number, path)
        code, said, hint = execerror.line(self.program[0], failure, search)
        if writer >= 0:
            posix.write(writer, f"{code}\n{said}\n{hint or ''}".encode())
        else:
            from pyinit import report

            report.Report().fatal(f"{said}; {hint}" if hint else said)
        return code


def _pipe() -> tuple[int, int]:
    """Return both ends of a close-on-exec pipe, or -1 and -1 if no descriptor is left."""
    try:
        return posix.pipe()
    except OSError:
        return -1, -1


def _place(
    asked: machine.Settings, handover: Handover, has_terminal: bool
) -> tuple[bool, bool, bool]:
    """Return whether the workload gets its own group, the foreground now, and the foreground later.

    If we share the terminal with others of our job, it gets the foreground once it asks for that.
    """
    if asked.place != machine.OWN_GROUP:
        return asked.place == machine.OWN_SESSION, False, False
    if not has_terminal and not handover.foreground:
        return True, False, False
    from pyinit import jobcontrol

    if handover.foreground:
        return True, True, True
    group = posix.getpgrp()
    foreground = jobcontrol.foreground_group()
    if group == 0 and foreground is not None and asked.target != machine.GROUP:
        # Our group lies outside our PID namespace: whether it's in the foreground can't be told,
        # so the workload stays in it, and has the terminal exactly if we have.
        return False, False, False
    alone = jobcontrol.is_alone()
    return True, alone and foreground == group, alone


def _set_dispositions(ignored: set[int]) -> list[int]:
    """Reset signals that the workload doesn't ignore; return those that it has to ignore.

    Only that process may ignore them: to ignore a signal drops those that are pending, and once
    SIGCHLD is ignored, the kernel reaps and the status is lost, signal(7), wait(2). Raises OSError.
    """
    to_ignore = []
    for number in _signal.valid_signals():
        if number in (_signal.SIGKILL, _signal.SIGSTOP):
            continue  # they can't be set, and some kernels don't even let them be looked at
        disposition = _signal.getsignal(number)
        if number not in ignored or number == _signal.SIGCHLD:
            if disposition != _signal.SIG_DFL:
                _signal.signal(number, _signal.SIG_DFL)
        elif disposition != _signal.SIG_IGN:
            to_ignore.append(number)
    if _signal.SIGCHLD in ignored:
        to_ignore.append(_signal.SIGCHLD)
    return to_ignore


def _make_group(pid: int) -> bool:
    """Put process `pid` into a group of its own, setpgid(2); return whether it has one."""
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
