"""Run programs in namespaces of their own, with the manners of `subprocess`.

Who does what:

1. Each call execs one lean `pyspawn`, the launcher, by `subprocess.Popen`. The caller may have
   threads, so its process is never unshared (unshare(CLONE_NEWUSER) would be refused) and never
   forked to run Python.
2. The *status* pipe carries the launcher's JSON lines (docs/architecture.md). The constructor reads
   it up to `started` or `failed`; `exited` stays in the pipe until the launcher's end, so no thread
   has to read.
3. The *lifeline* pipe ends the container: the launcher kills all of it at the first byte or at the
   end of file. Only this process holds the write end, so the container dies with it, also by
   SIGKILL. kill() writes a byte, because EOF can't come while a fork that ran no callback of ours
   (one made in C) has a copy of that end.
4. The launcher ends after everything in the container has, so to wait for it is to wait for the
   whole tree.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import threading
import time
import warnings
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from subprocess import PIPE, TimeoutExpired
from typing import TYPE_CHECKING, Any, AnyStr, Generic, overload

from pyinit.status import of_signal
from spawner import initpath, keywords, spec, ties
from spawner.errors import LAUNCHER, SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import IO, Literal, Unpack

    from spawner.keywords import Command, Environment, Extents, Names, Options, Stream, Word
    from spawner.spec import Namespaces


class CompletedProcess(subprocess.CompletedProcess[AnyStr]):
    """What `run` returns: as in subprocess, and `signal` and `missing` as in `Process`."""

    def __init__(
        self,
        args: Command,
        returncode: int,
        stdout: Any = None,
        stderr: Any = None,
        signal: int | None = None,
        missing: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(args, returncode, stdout, stderr)
        self.signal = signal
        self.missing = dict(missing or {})


class Process(Generic[AnyStr]):
    """A program in namespaces of its own, with the interface of `subprocess.Popen`.

    The constructor returns once the program's exec has happened. It raises ExecError where the
    program could not be executed (which is also the FileNotFoundError, PermissionError, ... that
    subprocess would raise), SetupError where the container could not be made, SpecError where
    what was asked for makes no sense, and `subprocess.TimeoutExpired` where `start_timeout`
    seconds were not enough. Nothing is left then.

    `pid` is the container's first process, as seen from here. `namespaces` holds the inode number
    of each of its namespaces by name, and `missing` the reason for each of `unshare_try` that
    could not be made. `returncode` is the program's exit status, 0 to 255; after a death by signal
    n it is 128 + n, and `signal` is n.
    """

    args: Command
    pid: int
    namespaces: dict[str, int]
    missing: dict[str, str]
    returncode: int | None
    signal: int | None
    stdin: IO[AnyStr] | None
    stdout: IO[AnyStr] | None
    stderr: IO[AnyStr] | None

    _launcher: subprocess.Popen[Any]
    _lifeline: ties.Lifeline
    _report: ties.Report
    _first: ties.FirstProcess
    _settling: contextlib.AbstractContextManager[bool]
    _running = False  # until the start has succeeded, for __del__

    @overload
    def __init__(
        self: Process[str],
        args: Command,
        *,
        text: Literal[True],
        encoding: str | None = None,
        errors: str | None = None,
        start_timeout: float | None = None,
        **options: Unpack[Options],
    ) -> None: ...
    @overload
    def __init__(
        self: Process[str],
        args: Command,
        *,
        text: bool | None = None,
        encoding: str,
        errors: str | None = None,
        start_timeout: float | None = None,
        **options: Unpack[Options],
    ) -> None: ...
    @overload
    def __init__(
        self: Process[str],
        args: Command,
        *,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str,
        start_timeout: float | None = None,
        **options: Unpack[Options],
    ) -> None: ...
    @overload
    def __init__(
        self: Process[bytes],
        args: Command,
        *,
        text: Literal[False] | None = None,
        encoding: None = None,
        errors: None = None,
        start_timeout: float | None = None,
        **options: Unpack[Options],
    ) -> None: ...
    @overload
    def __init__(
        self: Process[Any],
        args: Command,
        *,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        start_timeout: float | None = None,
        **options: Unpack[Options],
    ) -> None: ...
    def __init__(
        self,
        args: Command,
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        bufsize: int = -1,
        cwd: Word | None = None,
        env: Environment | None = None,
        pass_fds: Iterable[int] = (),
        init: bool | str | os.PathLike[str] = True,
        namespaces: Namespaces | None = None,
        unshare: Names = (),
        share: Names = (),
        unshare_try: Names = (),
        hostname: str | None = None,
        map: Literal["root", "current", "auto"] | None = None,  # noqa: A002  as the man page
        map_users: Extents | None = None,
        map_groups: Extents | None = None,
        setgroups: Literal["allow", "deny"] | None = None,
        user: int | str | None = None,
        group: int | str | None = None,
        extra_groups: str | Iterable[int | str] | None = None,
        monotonic: int | str | None = None,
        boottime: int | str | None = None,
        stop_signal: int | str = SIGTERM,
        stop_timeout: float | str | None = spec.STOP_TIMEOUT,
        start_timeout: float | None = None,
    ) -> None:
        """Start `args` and return once it runs.

        `args`, the streams, `text`, `encoding`, `errors`, `bufsize`, `env` and `pass_fds` are as
        in subprocess.Popen; `cwd` is a directory inside. `init` puts pyinit in front as PID 1, or
        another init by its path; False makes the program itself PID 1.

        `unshare`, `share` and `unshare_try` name namespaces (or "all") that are to be new, the
        caller's, and new if possible; `namespaces` says exactly which are, instead. `map` says who
        the caller is in a new user namespace; "auto" is root, and all of the caller's subordinate
        ids as well. `map_users` and `map_groups` are whole maps: an IdMap, or (inner, outer, count)
        or "INNER:OUTER:COUNT" in a list, or "auto"; `setgroups` allows or denies setgroups(2)
        inside. `user`, `group` and `extra_groups` say who the program is, by ids as seen inside.
        `monotonic` and `boottime` move the clocks by whole seconds and need a new time namespace.
        `stop_signal` is what terminate() sends, and `stop_timeout` the seconds from then to a
        SIGKILL for everything (None: no end). What the command line takes as text may be text here.

        Raises TypeError for a value of a wrong type, before anything is started.
        """
        words: list[str] = keywords.words(args, locals())
        pass_fds = keywords.descriptors(pass_fds)
        start_timeout = keywords.duration("start_timeout", start_timeout)
        self.args = args
        self.returncode = self.signal = None
        self._settling = threading.RLock()
        with contextlib.ExitStack() as undo:
            self._lifeline = undo.enter_context(contextlib.closing(ties.Lifeline()))
            self._report = undo.enter_context(contextlib.closing(ties.Report()))
            tied: dict[str, int] = {"lifeline": self._lifeline.end, "json-status": self._report.end}
            argv = [*initpath.pyspawn(), *(f"--{tie}={end}" for tie, end in tied.items()), *words]
            try:
                self._launcher = subprocess.Popen(
                    argv,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    text=text,
                    encoding=encoding,
                    errors=errors,
                    bufsize=bufsize,
                    env=env,
                    pass_fds=(*pass_fds, *tied.values()),
                )
            except OSError as error:
                if error.filename != argv[0]:
                    raise
                raise _no_launcher(error) from error
            undo.callback(self._abandon)
            self._launcher.args = args  # what a TimeoutExpired of its shows
            self.stdin = self._launcher.stdin
            self.stdout = self._launcher.stdout
            self.stderr = self._launcher.stderr
            self._await_start(start_timeout)
            self._running = True
            undo.pop_all()

    def _await_start(self, seconds: float | None) -> None:
        """Return once the program's exec has happened, or raise what happened instead."""
        deadline = None if seconds is None else time.monotonic() + seconds
        events = self._report.events
        self._report.launched()
        while "started" not in events:
            if not self._report.wait(_left(deadline)):
                raise TimeoutExpired(self.args, seconds or 0)
            if "failed" in events:
                raise ties.failure(events["failed"])
            if self._report.ended and "started" not in events:
                status = self._launcher.wait()
                raise SetupError(f"the launcher ended early, with status {status}", stage=LAUNCHER)
        self.pid = events["created"]["host_pid"]
        self.namespaces = events["created"]["namespaces"]
        self.missing = events.get("missing", {}).get("namespaces", {})
        self._first = ties.FirstProcess(self.pid)

    def _abandon(self) -> None:
        """Kill what a failed start may have made, and wait until it's gone."""
        self.kill()
        self._close_and_wait()

    def _close_and_wait(self) -> None:
        with self._launcher:  # Popen closes the streams, then waits
            pass

    def poll(self) -> int | None:
        """Return the exit status if all of the container has ended, else None."""
        self._check_owner()
        if self._launcher.poll() is not None:
            self._settle()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all of the container has ended and return the exit status.

        Raises `subprocess.TimeoutExpired` after `timeout` seconds.
        """
        self._check_owner()
        self._launcher.wait(keywords.duration("timeout", timeout, from_now=True))
        return self._settle()

    def communicate(
        self,
        input: AnyStr | None = None,  # noqa: A002  the name that subprocess gave it
        timeout: float | None = None,
    ) -> tuple[AnyStr | None, AnyStr | None]:
        """Send `input`, read stdout and stderr to their ends, and wait, as Popen.communicate.

        Raises `subprocess.TimeoutExpired` after `timeout` seconds; call it again to go on.
        """
        self._check_owner()
        timeout = keywords.duration("timeout", timeout, from_now=True)
        output: tuple[AnyStr | None, AnyStr | None] = self._launcher.communicate(input, timeout)
        self._settle()
        return output

    def send_signal(self, sig: int) -> None:
        """Send a signal to the program, through the launcher; SIGKILL is kill().

        Raises ValueError for SIGSTOP, which would stop the launcher only.
        """
        self._check_owner()
        if sig == SIGKILL:
            self.kill()
        elif sig == SIGSTOP:
            raise ValueError("SIGSTOP can't be forwarded: send SIGTSTP")
        else:
            self._launcher.send_signal(sig)

    def terminate(self) -> None:
        """Stop the program: `stop_signal`, and `stop_timeout` later SIGKILL for everything."""
        self.send_signal(SIGTERM)

    def kill(self) -> None:
        """Kill everything in the container; wait() returns when all of it is gone."""
        self._check_owner()
        with self._settling:
            if self._lifeline.closed:
                return
            self._lifeline.cut()
        # A launcher that was stopped together with its terminal's job would not see it.
        self._launcher.send_signal(SIGCONT)

    def _check_owner(self) -> None:
        """Raise ChildProcessError in a fork of the process that started the container."""
        # In this order: another thread that settles sets the return code, then closes.
        if self._report.closed and self.returncode is None:
            raise ChildProcessError(errno.ECHILD, "another process started this container")

    def _settle(self) -> int:
        """Take over the status from the report of the launcher, which has ended; return it."""
        with self._settling:
            if self.returncode is not None:
                return self.returncode
            self._report.update()
            exited = self._report.events.get("exited")
            if exited is None:
                # Somebody killed the launcher, so the kernel kills the container, prctl(2).
                self._first.kill()
                exited = {"signal": SIGKILL, "status": of_signal(SIGKILL)}
            self.signal = exited["signal"]
            self.returncode = status = int(exited["status"])
            for tie in (self._lifeline, self._report, self._first):
                tie.close()
            return status

    def __enter__(self) -> Process[AnyStr]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the streams and wait for the end; an exception kills everything first."""
        self._check_owner()
        if kind is not None:
            self.kill()
        try:
            self._close_and_wait()
        finally:
            self._settle()

    def __del__(self) -> None:
        """Kill what nobody can wait for any more, and say so with a ResourceWarning."""
        if not self._running or self._report.closed:
            return
        self.kill()
        self.wait()
        warnings.warn(f"{self!r} was not waited for", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: returncode: {self.returncode} args: {self.args!r}>"


@overload
def run(
    args: Command,
    *,
    text: Literal[True],
    encoding: str | None = None,
    errors: str | None = None,
    input: str | None = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Unpack[Options],
) -> CompletedProcess[str]: ...
@overload
def run(
    args: Command,
    *,
    text: bool | None = None,
    encoding: str,
    errors: str | None = None,
    input: str | None = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Unpack[Options],
) -> CompletedProcess[str]: ...
@overload
def run(
    args: Command,
    *,
    text: bool | None = None,
    encoding: str | None = None,
    errors: str,
    input: str | None = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Unpack[Options],
) -> CompletedProcess[str]: ...
@overload
def run(
    args: Command,
    *,
    text: Literal[False] | None = None,
    encoding: None = None,
    errors: None = None,
    input: bytes | None = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Unpack[Options],
) -> CompletedProcess[bytes]: ...
@overload
def run(
    args: Command,
    *,
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    input: str | bytes | None = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Unpack[Options],
) -> CompletedProcess[Any]: ...
def run(
    args: Command,
    *,
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    input: str | bytes | None = None,  # noqa: A002  the name that subprocess gave it
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Unpack[Options],
) -> CompletedProcess[Any]:
    """Run `args` in a container to its end, as `subprocess.run`, and return how it went.

    The `options` are those of `Process`. After `timeout` seconds, the start included, everything
    in the container is killed, and once it is gone `subprocess.TimeoutExpired` is raised. With
    `check`, a status other than 0 raises `subprocess.CalledProcessError`. Raises what `Process`
    raises where the program could not be started.
    """
    if input is not None:
        if options.get("stdin") is not None:
            raise ValueError("stdin and input arguments may not both be used.")
        options["stdin"] = PIPE
    if capture_output:
        if options.get("stdout") is not None or options.get("stderr") is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        options["stdout"] = options["stderr"] = PIPE
    timeout = keywords.duration("timeout", timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    with Process[Any](
        args, text=text, encoding=encoding, errors=errors, start_timeout=timeout, **options
    ) as process:
        try:
            stdout, stderr = process.communicate(input, _left(deadline))
        except TimeoutExpired as expired:
            expired.timeout = timeout or 0.0
            raise
    ended = CompletedProcess(args, process.wait(), stdout, stderr, process.signal, process.missing)
    if check:
        ended.check_returncode()
    return ended


def _no_launcher(error: OSError) -> SetupError:
    """Return the error for an interpreter that can't be executed: not the program's fault."""
    return SetupError(
        f"start the launcher with {error.filename}",
        stage=LAUNCHER,
        syscall="execve",
        errno=error.errno,
        path=error.filename,
        hint="sys.executable has to be the path of a Python interpreter",
    )


def _left(deadline: float | None) -> float | None:
    """Return the seconds until `deadline`, not less than 0; None for no deadline."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
