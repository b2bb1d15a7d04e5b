"""Start a program under test, talk with it by lines and signals, and leave nothing of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import IO, Self

from helpers import children
from helpers.programs import Word


class StuckError(AssertionError):
    """The safety net was reached: what the test waits for doesn't come."""


class Lines:
    """Read a pipe or terminal line by line, never waiting longer than the safety net."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._held = b""
        self.ended = False

    def _more(self) -> None:
        if not children.wait_readable(self._descriptor):
            raise StuckError(f"nothing more came after {self._held!r}")
        try:
            block = os.read(self._descriptor, 65536)
        except OSError:  # EIO: the last holder of a terminal is gone
            block = b""
        self._held += block
        self.ended = not block

    def raw(self) -> bytes:
        """Return the next line without its end; b"" once the writers are gone."""
        while b"\n" not in self._held and not self.ended:
            self._more()
        line, _, self._held = self._held.partition(b"\n")
        return line

    def next(self) -> str:
        """Return the next line as text."""
        return self.raw().decode("utf-8", "surrogateescape")

    def rest(self) -> bytes:
        """Return all that comes until the writers are gone."""
        while not self.ended:
            self._more()
        rest, self._held = self._held, b""
        return rest

    def until(self, wanted: bytes) -> bytes:
        """Return all up to and with `wanted`, which need not end a line."""
        while wanted not in self._held:
            if self.ended:
                raise StuckError(f"no {wanted!r} in {self._held!r}")
            self._more()
        before, _, self._held = self._held.partition(wanted)
        return before + wanted


class Running:
    """A started program: `out` are its lines, `write` its standard input, `errors()` its stderr.

    `pid` is the host pid of the program itself; `inside` says that unshare stands in front of
    it. The end of the `with` block kills what is left of it.
    """

    def __init__(
        self,
        argv: Sequence[Word],
        *,
        inside: bool = False,
        environment: Mapping[str, str] | None = None,
        directory: str | None = None,
        pass_fds: Iterable[int] = (),
        stdin: int | IO[bytes] = subprocess.PIPE,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] | None = None,
        session: bool = True,
    ) -> None:
        self._before = children.of(os.getpid())
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
        self.inside = inside
        self._process = subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=stdout,
            stderr=self._errors if stderr is None else stderr,
            env=environment,
            cwd=directory,
            pass_fds=tuple(pass_fds),
            start_new_session=session,
        )
        if self._process.stdout is not None:
            self.out = Lines(self._process.stdout.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            error.add_note(f"its stderr: {self.errors()!r}")
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._errors.close()
        children.kill_all(self._before)
        self._process.poll()  # reaped just now: tell Popen

    @property
    def pid(self) -> int:
        """The host pid of the program: it's known once unshare has forked."""
        if not self.inside:
            return self._process.pid
        deadline = time.monotonic() + children.SAFETY_SECONDS
        while time.monotonic() < deadline:
            for child in children.of(self._process.pid):
                return child
            os.sched_yield()
        raise StuckError("unshare has no child")

    @property
    def starter(self) -> int:
        """The pid of the process that this test started: unshare, or the program itself."""
        return self._process.pid

    def line(self) -> str:
        """Return the next line of standard output."""
        return self.out.next()

    def lines(self, count: int) -> list[str]:
        """Return the next `count` lines of standard output."""
        return [self.out.next() for _ in range(count)]

    def write(self, text: bytes) -> None:
        """Write to standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def close_input(self) -> None:
        """End standard input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def send(self, number: int) -> None:
        """Send a signal to the program."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for the end; return the exit status, or -SIGNAL."""
        try:
            return self._process.wait(children.SAFETY_SECONDS)
        except subprocess.TimeoutExpired:
            raise StuckError("it does not end") from None

    def errors(self) -> str:
        """Return what came on standard error so far."""
        # The program shares our offset in the file, so it isn't to be moved.
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), size, 0).decode("utf-8", "surrogateescape")


class Ended:
    """What `run` returns: the exit status (or -SIGNAL), and both streams."""

    def __init__(self, status: int, out: bytes, errors: str) -> None:
        self.status = status
        self.out = out
        self.errors = errors

    def __repr__(self) -> str:
        return f"Ended({self.status}, {self.out!r}, {self.errors!r})"


def run(argv: Sequence[Word], *, typed: bytes = b"", **how: object) -> Ended:
    """Run a program to its end, and to the end of all that holds its standard output."""
    with Running(argv, **how) as running:  # type: ignore[arg-type]
        if typed:
            running.write(typed)
        running.close_input()
        out = running.out.rest()
        return Ended(running.wait(), out, running.errors())
