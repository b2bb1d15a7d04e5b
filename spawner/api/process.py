"""Run programs in namespaces of their own, as `subprocess` would run them.

`container` says who does what. Any thread may call any method: two that wait both get the status,
and two that communicate get the same output.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import warnings
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any, AnyStr, Generic, overload

from pyinit import signames
from spawner.api import keywords, words
from spawner.api.child import ByKind, Container, cooperative
from spawner.api.exchange import BEGUN, Exchange, ending, left, tell_whole_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import IO, Unpack

    from spawner.api.changed import Change
    from spawner.api.resources import Resources
    from spawner.api.signatures import (
        Command,
        OutputBytes,
        OutputEither,
        OutputText,
        RunBytes,
        RunEither,
        RunText,
        StartBytes,
        StartEither,
        StartText,
    )


class CompletedProcess(subprocess.CompletedProcess[AnyStr]):
    """The result of `run`: as in subprocess, with `signal`, `limit` and so on of `Process`."""

    def __init__(
        self,
        args: Command,
        returncode: int,
        stdout: Any = None,
        stderr: Any = None,
        signal: int | None = None,
        missing: Mapping[str, str] | None = None,
        limit: str | None = None,
        resources: Resources | None = None,
        changes: tuple[Change, ...] | None = None,
    ) -> None:
        super().__init__(args, returncode, stdout, stderr)
        self.signal = signal
        """The number of the signal that the program died of, or None."""
        self.limit = limit
        """The limit that ended the program: "time", "memory", "pids", or None."""
        self.resources = resources
        """What the container has used, where `limits` took a control group, else None."""
        self.changes = changes
        """What has become of the files in overlays, where `changes` asked for it, else None."""
        self.missing: dict[str, str] = ByKind(missing or {})
        """Why each of `unshare_try` that could not be made is not there, by name."""

    def check_returncode(self) -> None:
        """Raise CalledProcessError for a status other than 0."""
        if self.returncode:
            raise CalledProcessError(
                self.returncode, self.args, self.stdout, self.stderr, self.signal, self.limit
            )


class CalledProcessError(subprocess.CalledProcessError):
    """The error for a status other than 0: as in subprocess, with `signal` and `limit`."""

    def __init__(
        self,
        returncode: int,
        cmd: Command,
        output: Any = None,
        stderr: Any = None,
        signal: int | None = None,
        limit: str | None = None,
    ) -> None:
        super().__init__(returncode, cmd, output, stderr)
        self.signal = signal
        """The number of the signal that the program died of, or None."""
        self.limit = limit
        """The limit that ended the program, "time", "memory" or "pids", or None."""

    def __str__(self) -> str:
        if self.limit is not None:
            return f"Command '{self.cmd}' was ended by its limit on {self.limit}."
        if self.signal is None:
            return super().__str__()
        return f"Command '{self.cmd}' was killed by {signames.name(self.signal)}."


class Process(Container, Generic[AnyStr]):
    """A program in namespaces of its own, with the interface of `subprocess.Popen`.

    The constructor returns once the program's exec has happened. It raises ExecError where the
    program could not be executed (which is also the FileNotFoundError, PermissionError, ... that
    subprocess would raise), SetupError where the container could not be made, SpecError where
    what was asked for makes no sense, and `subprocess.TimeoutExpired` where `start_timeout`
    seconds were not enough. Nothing is left then.

    `pid` is the container's first process, as seen from here. `namespaces` holds the inode number
    of each of its namespaces by name, and `missing` the reason for each of `unshare_try` that
    could not be made. `returncode` is the program's exit status, 0 to 255; after a death by signal
    n it is 128 + n, and `signal` is n. `limit` names the one of `limits` that ended it, "time",
    "memory" or "pids", or is "output" where `max_output` did; and `resources` is what the container
    has used, where that was counted. `changes` are what the keyword asked for, at the end.
    """

    stdin: IO[AnyStr] | None
    """The stream to the program's standard input, with stdin=PIPE."""

    stdout: IO[AnyStr] | None
    """The stream from the program's standard output, with stdout=PIPE."""

    stderr: IO[AnyStr] | None
    """The stream from the program's standard error, with stderr=PIPE."""

    _exchange: Exchange | None = None
    _output: tuple[AnyStr | None, AnyStr | None] | None = None

    @overload
    def __init__(self: Process[bytes], args: Command, **options: Unpack[StartBytes]) -> None: ...
    @overload
    def __init__(self: Process[str], args: Command, **options: Unpack[StartText]) -> None: ...
    @overload
    def __init__(self: Process[Any], args: Command, **options: Unpack[StartEither]) -> None: ...
    def __init__(self, args: Command, **options: Unpack[StartEither]) -> None:
        """Start `args` and return once it runs.

        `args`, `stdin`, `stdout`, `stderr`, `text` (or `universal_newlines`), `encoding`, `errors`,
        `bufsize`, `pipesize`, `close_fds` (which is True), `umask`, `env` and `pass_fds` are as in
        subprocess.Popen; `cwd` is a directory inside. With `sandbox` nothing of the host can be
        reached but its programs, and what other keywords give. `init` puts another init than pyinit
        in front as PID 1, by its path; False makes the program itself PID 1.

        `unshare`, `share` and `unshare_try` name namespaces (or "all") that are to be new, the
        caller's, and new if possible; `namespaces` says exactly which are, instead. `map` says who
        the caller is in a new user namespace; "auto" is root, and all of the caller's subordinate
        ids as well. `map_users` and `map_groups` are whole maps: an IdMap, or (inner, outer, count)
        or "INNER:OUTER:COUNT" in a list, or "auto"; `setgroups` allows or denies setgroups(2) in
        the container, whose name is `hostname`. `network` is a Network, or what --network accepts,
        and `publish` are ports of this host's that lead into the container: a number, what
        --publish accepts, a Publish, or several. `propagation` says how mounts spread, and
        `mount_proc` that proc is mounted, or where; `mounts` are binds and file systems in memory;
        with `changes`, what was added, changed and deleted in overlays is told at the end.
        `user`, `group` and `extra_groups` say who the program is, by ids as seen in the container.
        `limits` says what each process can be given, `max_output` how many bytes the program may
        write to its stdout and stderr before everything is killed, and `rights` what it may do.
        With `new_session` it has a session, and in the caller's terminal's place a terminal, of its
        own.
        `monotonic` and `boottime` move the clocks by whole seconds and need a new time namespace.
        `stop_signal` is what terminate() sends, if not SIGTERM, and `stop_timeout` the seconds from
        then to a SIGKILL for everything, if not 10 (None: no end). `start_timeout` are the seconds
        that the start may take, without limit unless said. What the command line accepts as text
        may be text here.

        Raises TypeError for a value of a wrong type, before anything is started.
        """
        words.check_names("Process", options)
        self._begin(args, words.command(args, options), options)

    def _begin(self, args: Command, line: list[str], options: Mapping[str, Any]) -> None:
        """Start the launcher with this command line, and return once the program runs."""
        streams = keywords.streams(options)
        pass_fds = keywords.inherited(options)
        start_timeout = keywords.duration("start_timeout", options.get("start_timeout"))
        self.args = args
        self._talking = threading.RLock()
        with contextlib.ExitStack() as undo:
            self._launch(undo, line, pass_fds, changes=options.get("changes"), **streams)
            self.stdin = self._launcher.stdin
            self.stdout = self._launcher.stdout
            self.stderr = self._launcher.stderr
            self._await_start(start_timeout)
            self._running = True
            undo.pop_all()

    def _lend_streams(self) -> None:
        """Point the launcher at the current sys.stdin and so on, which may have been replaced."""
        for name in ("stdin", "stdout", "stderr"):
            if name in vars(self):
                setattr(self._launcher, name, vars(self)[name])

    def _close_and_wait(self) -> None:
        self._lend_streams()
        super()._close_and_wait()

    def _await_start(self, seconds: float | None) -> None:
        """Wait until the program's exec has happened; if it fails, raise the error."""
        deadline = ending(seconds)
        while not self._has_started():
            if not self._report.wait(left(deadline)):
                raise TimeoutExpired(self.args, seconds or 0)

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
        seconds = keywords.duration("timeout", timeout, from_now=True)
        if not self._wait_end(seconds):
            raise TimeoutExpired(self.args, timeout or 0)
        return self._settle()

    def communicate(
        self,
        input: AnyStr | None = None,  # noqa: A002  the name that subprocess gave it
        timeout: float | None = None,
    ) -> tuple[AnyStr | None, AnyStr | None]:
        """Send `input`, read stdout and stderr to their ends, and wait, as Popen.communicate.

        Raises `subprocess.TimeoutExpired` after `timeout` seconds; call it again to go on, without
        `input`. All of the output comes then, and comes again in every later call.
        """
        self._check_owner()
        deadline = ending(keywords.duration("timeout", timeout, from_now=True))
        try:
            if not self._talking.acquire(timeout=-1 if deadline is None else left(deadline) or 0):
                raise TimeoutExpired(self.args, timeout or 0)
            if self._output is None:
                self._output = self._communicate(input, timeout, deadline)
            elif input:
                raise ValueError(BEGUN)
        finally:
            # An interrupt may have come before it was acquired or right after; and another one may
            # come before suppress() has begun.
            try:  # noqa: SIM105
                self._talking.release()
            except RuntimeError:
                pass
        return self._output

    def _communicate(
        self, data: AnyStr | None, timeout: float | None, deadline: float | None
    ) -> tuple[AnyStr | None, AnyStr | None]:
        if self._exchange is not None and data:
            raise ValueError(BEGUN)
        if self._exchange is None and deadline is None and not cooperative():
            self._lend_streams()
            output: tuple[AnyStr | None, AnyStr | None] = self._launcher.communicate(data)
            self._settle()
            return output
        if self._exchange is None:
            self._exchange = Exchange(data, self.stdin, (self.stdout, self.stderr))
        if not (self._exchange.go_on(deadline) and self._wait_end(left(deadline))):
            stdout, stderr = self._exchange.raw
            raise TimeoutExpired(self.args, timeout or 0, stdout or None, stderr or None)
        self._settle()
        stdout, stderr = self._exchange.output
        return stdout, stderr

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
        try:
            if kind is None:
                self._close_and_wait()
            else:
                self._kill_and_wait()
        except BaseException:
            self._kill_and_wait()
            raise
        finally:
            self._settle()

    def __del__(self) -> None:
        """Kill a container that can't be waited for any more, and warn with a ResourceWarning."""
        if not self._running or self._report.closed:
            return
        self.kill()
        self.wait()
        warnings.warn(f"{self!r} was not waited for", ResourceWarning, source=self, stacklevel=2)


@overload
def run(args: Command, **options: Unpack[RunBytes]) -> CompletedProcess[bytes]: ...
@overload
def run(args: Command, **options: Unpack[RunText]) -> CompletedProcess[str]: ...
@overload
def run(args: Command, **options: Unpack[RunEither]) -> CompletedProcess[Any]: ...
def run(
    args: Command,
    *,
    input: str | bytes | None = None,  # noqa: A002  the name that subprocess gave it
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Unpack[StartEither],
) -> CompletedProcess[Any]:
    """Run `args` in a container to its end, as `subprocess.run`, and return how it went.

    After `timeout` seconds, the start included, everything in the container is killed, and once it
    is gone `subprocess.TimeoutExpired` is raised. With `check`, a status other than 0 raises
    CalledProcessError, which is a `subprocess.CalledProcessError`. Raises what `Process` raises
    where the program could not be started.

    The `options` are those of `Process`, which explains them:

    * as in subprocess: stdin, stdout, stderr, text (or universal_newlines), encoding, errors,
      bufsize, pipesize, close_fds, umask, cwd, env, pass_fds;
    * what is new: namespaces, or unshare, share and unshare_try; init, hostname, network, publish,
      propagation, mount_proc, mounts, changes, monotonic, boottime; new_session; sandbox;
    * who is who: map, map_users, map_groups, setgroups, user, group, extra_groups; limits, rights,
      max_output;
    * the start and the end: start_timeout, stop_signal, stop_timeout.
    """
    words.check_names("run", options)
    keywords.pipe_streams(options, data=input, capture_output=capture_output)
    timeout = keywords.limit_start(options, timeout)
    deadline = ending(timeout)
    process = Process[Any](args, **options)
    return _finish(process, input, timeout, deadline, check=check)


def call(args: Command, *, timeout: float | None = None, **options: Unpack[StartEither]) -> int:
    """Run `args` in a container to its end, as `run`, and return the status."""
    keywords.check_call("call", options)
    return run(args, timeout=timeout, **options).returncode


def check_call(
    args: Command, *, timeout: float | None = None, **options: Unpack[StartEither]
) -> int:
    """Run `args` as `call` does; raises CalledProcessError for a status other than 0."""
    keywords.check_call("check_call", options)
    return run(args, timeout=timeout, check=True, **options).returncode


@overload
def check_output(args: Command, **options: Unpack[OutputBytes]) -> bytes: ...
@overload
def check_output(args: Command, **options: Unpack[OutputText]) -> str: ...
@overload
def check_output(args: Command, **options: Unpack[OutputEither]) -> Any: ...
def check_output(args: Command, **options: Unpack[OutputEither]) -> Any:
    """Run `args` in a container to its end, as `run`, and return what it wrote to stdout.

    Raises CalledProcessError for a status other than 0. There may be `input`.
    """
    keywords.pipe_output(options)
    return run(args, check=True, **options).stdout


def _finish(
    process: Process[Any], data: Any, timeout: float | None, deadline: float | None, *, check: bool
) -> CompletedProcess[Any]:
    """Exchange data with a process until it ends; return its outcome."""
    with process:
        try:
            stdout, stderr = process.communicate(data, left(deadline))
        except TimeoutExpired as expired:
            tell_whole_time(expired, timeout)
            raise
    return _outcome(process, process.wait(), stdout, stderr, check=check)


def _outcome(
    process: Container, status: int, stdout: Any, stderr: Any, *, check: bool
) -> CompletedProcess[Any]:
    """Return how a process went; raises CalledProcessError for a failure, with `check`."""
    ended = CompletedProcess(
        process.args,
        status,
        stdout,
        stderr,
        process.signal,
        process.missing,
        process.limit,
        process.resources,
        process.changes,
    )
    if check:
        ended.check_returncode()
    return ended
