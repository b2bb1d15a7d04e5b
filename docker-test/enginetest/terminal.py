"""Sit at a terminal: send keys, and wait for what appears."""

from __future__ import annotations

import os
import re
import select
import time
from typing import Protocol

from enginetest.reading import SAFETY_NET, WaitError

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

CTRL_C = "\x03"
CTRL_Z = "\x1a"


class Line(Protocol):
    """Where the terminal's bytes come from and go to."""

    def receive(self, seconds: float) -> bytes | None:
        """Return some bytes, b"" when none came in time, None at the end."""

    def send(self, data: bytes) -> None:
        """Send bytes."""


class Pty:
    """The master of a pseudo-terminal."""

    def __init__(self, master: int) -> None:
        self._master = master

    def receive(self, seconds: float) -> bytes | None:
        """Return some bytes, b"" when none came in time, None once the other side is closed."""
        if not select.select([self._master], [], [], seconds)[0]:
            return b""
        try:
            return os.read(self._master, 65536) or None
        except OSError:  # EIO: nobody holds the slave any more, pty(7)
            return None

    def send(self, data: bytes) -> None:
        """Type."""
        os.write(self._master, data)


class Terminal:
    """A terminal with its memory of what appeared."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.screen = ""
        """All that has appeared, escape sequences left out."""
        self._read = 0

    def type(self, text: str) -> None:
        """Type text."""
        self._line.send(text.encode())

    def expect(self, pattern: str, patience: float = SAFETY_NET) -> re.Match[str]:
        """Wait for the pattern to appear after the last one; raises WaitError."""
        deadline = time.monotonic() + patience
        while True:
            found = re.compile(pattern, re.MULTILINE).search(self.screen, self._read)
            if found:
                self._read = found.end()
                return found
            left = deadline - time.monotonic()
            if left <= 0:
                raise WaitError(f"no {pattern!r} at the terminal; {self.tail()}")
            data = self._line.receive(left)
            if data is None:
                raise WaitError(f"the terminal ended before {pattern!r}; {self.tail()}")
            self.screen += ESCAPES.sub("", data.decode(errors="replace").replace("\r", ""))

    def drain(self) -> None:
        """Read to the end of the terminal; raises WaitError where there is none."""
        deadline = time.monotonic() + SAFETY_NET
        while (data := self._line.receive(max(0, deadline - time.monotonic()))) is not None:
            if not data:
                raise WaitError(f"the terminal does not end; {self.tail()}")
            self.screen += ESCAPES.sub("", data.decode(errors="replace").replace("\r", ""))

    def tail(self) -> str:
        """Return the end of what appeared, for a message."""
        return f"it shows: {self.screen[-300:]!r}"
