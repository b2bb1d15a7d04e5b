"""`run`, `Process` and so on for asyncio, without threads or polling, with the same exceptions.

The launcher is started as asyncio starts any process, by `subprocess.Popen`. What comes then is
awaited: its status pipe and its pidfd are readers of the event loop, and the program's streams are
asyncio's own. Cancelling kills: whoever leaves `run`, a start or an `async with` block by an
exception, CancelledError too, leaves no process behind. The wait for that end can't be cancelled
again; the kernel needs a moment for it, not the program's consent.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import sys
import warnings
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any, AnyStr, Generic, overload

from spawner.api import joined, keywords, words
from spawner.api.child import SPELL, Container
from spawner.api.exchange import BEGUN, decode, encode, ending, left, tell_whole_time
from spawner.api.process import CompletedProcess, _outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from subprocess import Popen
    from types import TracebackType
    from typing import Unpack

    from spawner.api.joined import Target
    from spawner.api.signatures import (
        Command,
        JoinBytes,
        JoinEither,
        JoinRunBytes,
        JoinRunEither,
        JoinRunText,
        JoinText,
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
    from spawner.api.ties import Pidfd

__all__ = ["JoinedProcess", "Process", "call", "check_call", "check_output", "join", "run"]

_LIMIT = 65536
"""Bytes that an asyncio stream buffers by default, as in asyncio.create_subprocess_exec."""

_NOT_STARTED = "the Process has not been started: await it"


class Process(Container, Generic[AnyStr]):
    """A program in namespaces of its own, with the interface of `asyncio.subprocess.Process`.

    `process = await Process(args, ...)` returns once the program's exec has happened, and
    `async with Process(args, ...) as process:` does too. Parameters, attributes and exceptions are
    those of `spawner.Process`. `stdin` is an asyncio.StreamWriter and `stdout` and `stderr` are
    asyncio.StreamReaders, of bytes; communicate() takes and gives text where `text`, `encoding` or
    `errors` ask for it. `limit` is that of the streams, in bytes.
    """

    stdin: asyncio.StreamWriter | None = None
    """The stream to the program's standard input, with stdin=PIPE."""

    stdout: asyncio.StreamReader | None = None
    """The stream from the program's standard output, with stdout=PIPE."""

    stderr: asyncio.StreamReader | None = None
    """The stream from the program's standard error, with stderr=PIPE."""

    _ended: asyncio.Future[None]
    _prepared = False
    _begun = False
    _fed = False

    @overload
    def __init__(
        self: Process[bytes], args: Command, *, limit: int = _LIMIT, **options: Unpack[StartBytes]
    ) -> None: ...
    @overload
    def __init__(
        self: Process[str], args: Command, *, limit: int = _LIMIT, **options: Unpack[StartText]
    ) -> None: ...
    @overload
    def __init__(
        self: Process[Any], args: Command, *, limit: int = _LIMIT, **options: Unpack[StartEither]
    ) -> None: ...
    def __init__(
        self, args: Command, *, limit: int = _LIMIT, **options: Unpack[StartEither]
    ) -> None:
        """Check what `await` or `async with` is to start; raises for what makes no sense."""
        words.check_names("Process", options)
        self._prepare(args, words.command(args, options), options, limit)

    def _prepare(
        self, args: Command, line: list[str], options: Mapping[str, Any], limit: int
    ) -> None:
        """Store the command line and the streams for the start."""
        if options.get("bufsize", -1) not in (-1, 0):
            raise ValueError("bufsize can't be set: asyncio's streams have their own limit")
        self.args = args
        self._line = line
        self._options = options
        self._streams = streams = {**keywords.streams(options), "bufsize": 0}
        # The streams are of bytes, and communicate() alone has text.
        text = streams.pop("text", None)
        coding = streams.pop("encoding", None), streams.pop("errors", None)
        self._start_timeout = keywords.duration("start_timeout", options.get("start_timeout"))
        self._limit = limit
        self._coding = coding if text or any(coding) else None
        self._blocks: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        self._transports: list[asyncio.BaseTransport] = []
        self._prepared = True

    def _check_owner(self) -> None:
        if not self._running and (not self._begun or self._report.closed):
            raise RuntimeError(_NOT_STARTED)
        super()._check_owner()

    def _check_started(self) -> None:
        """Raise RuntimeError unless the start has succeeded."""
        if not self._running:
            raise RuntimeError(_NOT_STARTED)
        self._check_owner()

    def __await__(self) -> Generator[Any, None, Process[AnyStr]]:
        return self._start().__await__()

    async def __aenter__(self) -> Process[AnyStr]:
        return self if self._running else await self

    async def __aexit__(
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
            await self._finish()
        finally:
            self._settle()

    async def _start(self) -> Process[AnyStr]:
        """Start the program and return once its exec has happened."""
        if self._begun:
            raise RuntimeError("a Process can be started only once")
        self._begun = True
        pass_fds = keywords.inherited(self._options)
        with contextlib.ExitStack() as undo:
            changes = self._options.get("changes")
            self._launch(undo, self._line, pass_fds, changes=changes, **self._streams)
            self._ended = asyncio.get_running_loop().create_future()
            undo.callback(_watch(self._end, self._launcher, self._ended))
            try:
                await self._connect()
                await self._await_start()
            except BaseException:
                self.kill()
                await self._finish()
                raise
            self._running = True
            undo.pop_all()
        return self

    async def _connect(self) -> None:
        """Connect asyncio streams to the program's pipes."""
        loop = asyncio.get_running_loop()

        def protocol() -> tuple[asyncio.StreamReader, asyncio.StreamReaderProtocol]:
            reader = asyncio.StreamReader(self._limit, loop)
            return reader, asyncio.StreamReaderProtocol(reader, loop=loop)

        launcher = self._launcher
        if launcher.stdin is not None:
            _, spoken = protocol()
            pipe = self._give("stdin", loop)
            writing, _ = await loop.connect_write_pipe(lambda: spoken, pipe)
            self._transports.append(writing)
            self.stdin = asyncio.StreamWriter(writing, spoken, None, loop)
        if launcher.stdout is not None:
            self.stdout, heard = protocol()
            pipe = self._give("stdout", loop)
            reading, _ = await loop.connect_read_pipe(lambda: heard, pipe)
            self._transports.append(reading)
        if launcher.stderr is not None:
            self.stderr, complained = protocol()
            pipe = self._give("stderr", loop)
            reading, _ = await loop.connect_read_pipe(lambda: complained, pipe)
            self._transports.append(reading)

    def _give(self, name: str, loop: asyncio.AbstractEventLoop) -> Any:
        """Hand a pipe over to the event loop, which closes it from then on."""
        pipe = getattr(self._launcher, name)
        if _closes_by_number(loop):
            number = fcntl.fcntl(pipe, fcntl.F_DUPFD_CLOEXEC, 3)
            pipe.close()
            pipe = _Given(number)
        setattr(self._launcher, name, None)
        return pipe

    async def _await_start(self) -> None:
        """Wait until the program's exec has happened; if it fails, raise the error."""
        loop = asyncio.get_running_loop()
        deadline = ending(self._start_timeout)
        while not self._report.ended and not self._has_started():
            news = loop.create_future()
            loop.add_reader(self._report.source, _resolve, news)
            try:
                come, _ = await asyncio.wait((news,), timeout=left(deadline))
            finally:
                loop.remove_reader(self._report.source)
            if not come:
                raise TimeoutExpired(self.args, self._start_timeout or 0)
            self._report.update()
        if self._report.ended:
            await asyncio.wait((self._ended,))
            self._has_started()

    async def _finish(self) -> None:
        """Close the streams and wait for the end; if cancelled, kill everything and still wait."""
        for stream in (*self._transports, *self._pipes()):
            stream.close()
        cancelled: asyncio.CancelledError | None = None
        while not self._ended.done():
            try:
                await asyncio.wait((self._ended,), timeout=SPELL if self._lifeline.closed else None)
                if self._lifeline.closed and not self._ended.done():
                    self._urge()
                if self._left:
                    break
            except asyncio.CancelledError as error:
                self.kill()
                cancelled = error
        if cancelled is not None:
            raise cancelled

    def _pipes(self) -> list[Any]:
        """Return the pipes that no transport has taken over."""
        launcher = self._launcher
        return [pipe for pipe in (launcher.stdin, launcher.stdout, launcher.stderr) if pipe]

    def poll(self) -> int | None:
        """Return the exit status if all of the container has ended, else None."""
        self._check_started()
        return self._settle() if self._ended.done() else self.returncode

    async def wait(self, timeout: float | None = None) -> int:
        """Wait until all of the container has ended and return the exit status.

        Raises `subprocess.TimeoutExpired` after `timeout` seconds. To cancel it changes nothing.
        """
        seconds = keywords.duration("timeout", timeout, from_now=True)
        self._check_started()
        if not self._ended.done():  # else nobody else has a turn, as in asyncio
            await self._wait_for((), timeout, seconds)
        return self._settle()

    async def communicate(
        self,
        input: AnyStr | None = None,  # noqa: A002  the name that subprocess gave it
        timeout: float | None = None,
    ) -> tuple[AnyStr | None, AnyStr | None]:
        """Send `input`, read stdout and stderr to their ends, and wait, as `Process.communicate`.

        Raises `subprocess.TimeoutExpired` after `timeout` seconds. Call it again to go on, without
        `input`, also when it was cancelled: nothing is lost.
        """
        seconds = keywords.duration("timeout", timeout, from_now=True)
        self._check_started()
        self._feed(input)
        await self._wait_for(("stdout", "stderr"), timeout, seconds)
        self._settle()
        output: list[Any] = [self._output(name) for name in self._blocks]
        return output[0], output[1]

    def _feed(self, data: Any) -> None:
        """Write the input by the loop, then close stdin."""
        if self._fed and data:
            raise ValueError(BEGUN)
        if self._fed or self.stdin is None:
            return
        if data:
            self.stdin.write(encode(data, *self._coding) if self._coding else memoryview(data))
        self.stdin.close()
        self._fed = True

    async def _drain(self, name: str, reader: asyncio.StreamReader) -> None:
        """Read a stream to its end; a cancellation keeps what was read."""
        while block := await reader.read(_LIMIT):
            self._blocks[name].append(block)

    async def _wait_for(
        self, names: tuple[str, ...], timeout: float | None, seconds: float | None
    ) -> None:
        """Wait for the ends of the streams and of the container; raises TimeoutExpired."""
        self._check_started()
        tasks: list[asyncio.Task[None]] = [
            asyncio.ensure_future(self._drain(name, getattr(self, name)))
            for name in names
            if getattr(self, name) is not None
        ]
        try:
            _, pending = await asyncio.wait((*tasks, self._ended), timeout=seconds)
        finally:
            for task in tasks:
                task.cancel()
            failed = await asyncio.gather(*tasks, return_exceptions=True)
        if pending:
            so_far = [b"".join(self._blocks[name]) or None for name in ("stdout", "stderr")]
            raise TimeoutExpired(self.args, timeout or 0, *so_far)
        for failure in failed:
            if failure is not None:
                raise failure

    def _output(self, name: str) -> Any:
        if getattr(self, name) is None:
            return None
        data = b"".join(self._blocks[name])
        return decode(data, *self._coding) if self._coding else data

    def __del__(self) -> None:
        """Kill a container that can't be waited for any more, and warn with a ResourceWarning.

        Of what was never started, say that, as of a coroutine.
        """
        if self._prepared and not self._begun:
            never = f"{self!r} was never awaited"
            warnings.warn(never, RuntimeWarning, source=self, stacklevel=2)
        if not self._running:
            return
        for transport in self._transports:
            try:
                transport.close()
            except RuntimeError:  # the event loop is closed
                transport.get_extra_info("pipe").close()
        if self._report.closed:
            return
        self.kill()
        for tie in (self._report, self._first):
            tie.close()
        if self._ended.get_loop().is_closed():
            self._launcher.wait()
            self._end.close()
        warnings.warn(f"{self!r} was not waited for", ResourceWarning, source=self, stacklevel=2)


class JoinedProcess(Process[AnyStr]):
    """A program in the namespaces of a target, as `spawner.JoinedProcess`, awaited as `Process`."""

    _subcommand = ("exec",)

    @overload
    def __init__(
        self: JoinedProcess[bytes],
        target: Target,
        args: Command,
        *,
        limit: int = _LIMIT,
        **options: Unpack[JoinBytes],
    ) -> None: ...
    @overload
    def __init__(
        self: JoinedProcess[str],
        target: Target,
        args: Command,
        *,
        limit: int = _LIMIT,
        **options: Unpack[JoinText],
    ) -> None: ...
    @overload
    def __init__(
        self: JoinedProcess[Any],
        target: Target,
        args: Command,
        *,
        limit: int = _LIMIT,
        **options: Unpack[JoinEither],
    ) -> None: ...
    def __init__(
        self,
        target: Target,
        args: Command,
        *,
        limit: int = _LIMIT,
        **options: Unpack[JoinEither],
    ) -> None:
        """Check what `await` or `async with` is to start; raises for what makes no sense."""
        joined.check_names("JoinedProcess", options)
        options["pass_fds"] = keywords.descriptors(options.get("pass_fds", ()))
        line = joined.command(target, args, options)
        self._prepare(args, line, options, limit)


class _Given:
    """A file whose descriptor belongs to the loop: closing the file does nothing."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number

    def close(self) -> None:
        pass


def _closes_by_number(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether an event loop closes a pipe's descriptor without telling the file object.

    libuv does, and then uvloop closes the file too, or, where it was cancelled, leaves that to us:
    by then the number may be another file's.
    """
    uvloop = sys.modules.get("uvloop")
    return uvloop is not None and isinstance(loop, uvloop.Loop)


def _watch(end: Pidfd, launcher: Popen[Any], ended: asyncio.Future[None]) -> Callable[[], None]:
    """Resolve the future `ended` when the launcher ends; return a function that stops watching.

    It holds no Process, which may be forgotten.
    """
    loop = ended.get_loop()
    watched = end.descriptor

    def leave() -> None:
        # Once only: later the number may be another file's.
        nonlocal watched
        if watched is not None:
            loop.remove_reader(watched)
        watched = None

    def see() -> None:
        leave()
        end.close()
        launcher.wait()  # to reap it
        _resolve(ended)

    if watched is None:
        see()
    else:
        loop.add_reader(watched, see)
    return leave


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@overload
async def run(args: Command, **options: Unpack[RunBytes]) -> CompletedProcess[bytes]: ...
@overload
async def run(args: Command, **options: Unpack[RunText]) -> CompletedProcess[str]: ...
@overload
async def run(args: Command, **options: Unpack[RunEither]) -> CompletedProcess[Any]: ...
async def run(
    args: Command,
    *,
    input: str | bytes | None = None,  # noqa: A002  the name that subprocess gave it
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Unpack[StartEither],
) -> CompletedProcess[Any]:
    """Run `args` in a container to its end and return how it went, as `spawner.run`.

    Whoever cancels it gets CancelledError once all of the container is gone.
    """
    words.check_names("run", options)
    keywords.pipe_streams(options, data=input, capture_output=capture_output)
    timeout = keywords.limit_start(options, timeout)
    deadline = ending(timeout)
    process = Process[Any](args, **options)
    return await _complete(process, input, timeout, deadline, check=check)


async def call(
    args: Command, *, timeout: float | None = None, **options: Unpack[StartEither]
) -> int:
    """Run `args` in a container to its end, as `spawner.call`."""
    keywords.check_call("call", options)
    return (await run(args, timeout=timeout, **options)).returncode


async def check_call(
    args: Command, *, timeout: float | None = None, **options: Unpack[StartEither]
) -> int:
    """Run `args` in a container to its end, as `spawner.check_call`."""
    keywords.check_call("check_call", options)
    return (await run(args, timeout=timeout, check=True, **options)).returncode


@overload
async def check_output(args: Command, **options: Unpack[OutputBytes]) -> bytes: ...
@overload
async def check_output(args: Command, **options: Unpack[OutputText]) -> str: ...
@overload
async def check_output(args: Command, **options: Unpack[OutputEither]) -> Any: ...
async def check_output(args: Command, **options: Unpack[OutputEither]) -> Any:
    """Run `args` in a container to its end, as `spawner.check_output`."""
    keywords.pipe_output(options)
    return (await run(args, check=True, **options)).stdout


@overload
async def join(
    target: Target, args: Command, **options: Unpack[JoinRunBytes]
) -> CompletedProcess[bytes]: ...
@overload
async def join(
    target: Target, args: Command, **options: Unpack[JoinRunText]
) -> CompletedProcess[str]: ...
@overload
async def join(
    target: Target, args: Command, **options: Unpack[JoinRunEither]
) -> CompletedProcess[Any]: ...
async def join(
    target: Target,
    args: Command,
    *,
    input: str | bytes | None = None,  # noqa: A002  the name that subprocess gave it
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Unpack[JoinEither],
) -> CompletedProcess[Any]:
    """Run `args` in the namespaces of `target` to its end, as `spawner.join`."""
    joined.check_names("join", options)
    keywords.pipe_streams(options, data=input, capture_output=capture_output)
    timeout = keywords.limit_start(options, timeout)
    deadline = ending(timeout)
    process = JoinedProcess[Any](target, args, **options)
    return await _complete(process, input, timeout, deadline, check=check)


async def _complete(
    process: Process[Any], data: Any, timeout: float | None, deadline: float | None, *, check: bool
) -> CompletedProcess[Any]:
    """Exchange data with a process until it ends; return its outcome."""
    async with process:
        try:
            stdout, stderr = await process.communicate(data, left(deadline))
        except TimeoutExpired as expired:
            tell_whole_time(expired, timeout)
            raise
    return _outcome(process, await process.wait(), stdout, stderr, check=check)
