"""Exchange input and output with a program through pipes, as bytes until the end.

subprocess forgets what is left of the input where a time-out interrupts `communicate` (before
Python 3.14), and then waits forever for a program that waits for the end of its input. Here all is
kept.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import select
import time
from typing import TYPE_CHECKING, Any

from spawner.spec import LONGEST_POLL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from subprocess import TimeoutExpired
_BLOCK = 65536
"""The capacity of a pipe in bytes, pipe(7)."""

_LATE = 2
"""Rounds after the deadline: one for data left in the pipes, and one for their ends."""

BEGUN = "Cannot send input after starting communication"
"""The error message of subprocess for input that is given twice."""


def encode(data: Any, encoding: str | None, errors: str | None) -> bytes:
    """Return text as the bytes that a subprocess stream would write; raises TypeError."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors=errors, newline="")
    stream.write(data)
    stream.flush()
    return raw.getvalue()


def decode(data: bytes, encoding: str | None, errors: str | None) -> str:
    """Return the text that a subprocess stream would read, with universal newlines."""
    return io.TextIOWrapper(io.BytesIO(data), encoding=encoding, errors=errors).read()


class Exchange:
    """An exchange of input and output with a program, which can be interrupted and continued."""

    def __init__(self, data: Any, stdin: Any, outputs: Sequence[Any]) -> None:
        """Begin an exchange: `data` is written to `stdin`, and `outputs` are stdout and stderr."""
        self._left = memoryview(b"")
        self._stdin = None if stdin is None or stdin.closed else stdin
        self._outputs = outputs
        self._open = [stream for stream in outputs if stream is not None and not stream.closed]
        self._blocks: dict[Any, list[bytes]] = {stream: [] for stream in self._open}
        if data and self._stdin is not None:
            if isinstance(self._stdin, io.TextIOBase):
                data = encode(data, self._stdin.encoding, self._stdin.errors)
            self._left = memoryview(data).cast("B")
        if self._stdin is not None:
            try:
                self._stdin.flush()
            except BrokenPipeError:
                self._left = memoryview(b"")
            if not self._left:
                self._end(self._stdin)

    @property
    def raw(self) -> list[bytes | None]:
        """The bytes read so far from each output; None for an output that isn't a pipe."""
        return [
            None if stream is None else b"".join(self._blocks.get(stream, ()))
            for stream in self._outputs
        ]

    @property
    def output(self) -> list[Any]:
        """The output read so far, decoded where the stream is a text stream."""
        return [
            decode(data, stream.encoding, stream.errors)
            if isinstance(stream, io.TextIOBase) and data is not None
            else data
            for stream, data in zip(self._outputs, self.raw, strict=True)
        ]

    def go_on(self, deadline: float | None) -> bool:
        """Write and read until all streams end; return False at the (monotonic) deadline.

        What is in the pipes by then is taken, and an end after it; but no more, for a program that
        never stops writing.
        """
        late = 0
        poller = select.poll()
        streams: dict[int, Any] = {}
        for stream in self._open:
            streams[stream.fileno()] = stream
            poller.register(stream, select.POLLIN)
        if self._stdin is not None:
            streams[self._stdin.fileno()] = self._stdin
            poller.register(self._stdin, select.POLLOUT)
        while streams:
            seconds = None if deadline is None else deadline - time.monotonic()
            part = None if seconds is None else min(max(seconds, 0), LONGEST_POLL)
            ready = poller.poll(None if part is None else math.ceil(part * 1000))
            for number, _ in ready:
                stream = streams[number]
                if self._write(stream) if stream is self._stdin else self._read(stream):
                    poller.unregister(number)
                    del streams[number]
                    self._end(stream)
            if seconds is not None and seconds <= 0:
                late += 1
                if not ready or late > _LATE:
                    return False
        return True

    def _read(self, stream: Any) -> bool:
        """Read what a stream holds; return whether it is at its end."""
        block = os.read(stream.fileno(), _BLOCK)
        self._blocks[stream].append(block)
        return not block

    def _write(self, stream: Any) -> bool:
        """Write as much as doesn't block; return whether everything is written."""
        try:
            written = os.write(stream.fileno(), self._left[: select.PIPE_BUF])
        except BrokenPipeError:
            written = len(self._left)
        self._left = self._left[written:]
        return not self._left

    def _end(self, stream: Any) -> None:
        """Close a stream that is at its end."""
        if stream is self._stdin:
            self._stdin = None
        else:
            self._open.remove(stream)
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def ending(seconds: float | None) -> float | None:
    """Return the (monotonic) time `seconds` from now, or None for no limit."""
    return None if seconds is None else time.monotonic() + seconds


def left(deadline: float | None) -> float | None:
    """Return the seconds until `deadline`, not less than 0; None for no deadline."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def tell_whole_time(expired: TimeoutExpired, timeout: float | None) -> None:
    """Have an error tell of the whole time-out, in seconds, not of what the start had left of it.

    Its `args` are what repr and a log show.
    """
    expired.timeout = timeout or 0.0
    expired.args = (expired.cmd, expired.timeout, *expired.args[2:])
