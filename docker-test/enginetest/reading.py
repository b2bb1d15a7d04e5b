"""Read lines from a descriptor, and give up at a deadline instead of waiting for ever."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator

SAFETY_NET = 60.0
"""Seconds, far beyond what anything here takes: it ends a wait for what never comes."""


class WaitError(Exception):
    """What was waited for did not come."""


class LineReader:
    """The lines that a process writes, one by one."""

    def __init__(self, descriptor: int, who: str) -> None:
        self._descriptor = descriptor
        self._who = who
        self._buffer = b""
        self.seen: list[str] = []
        """Every line so far."""

    def line(self, patience: float = SAFETY_NET) -> str | None:
        """Return the next line without its end, or None at the end of file.

        Raises WaitError after `patience` seconds.
        """
        deadline = time.monotonic() + patience
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
                raise WaitError(f"{self._who}: no line after {patience:.0f} s; so far: {self.seen}")
            more = os.read(self._descriptor, 65536)
            if not more:
                if not self._buffer:
                    return None
                more = b"\n"
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        text = line.decode(errors="replace").rstrip("\r")
        self.seen.append(text)
        return text

    def until(self, wanted: Callable[[str], bool]) -> str:
        """Return the next line that is wanted; raises WaitError when the lines end before."""
        for line in self.rest():
            if wanted(line):
                return line
        raise WaitError(f"{self._who}: it ended; it said: {self.seen}")

    def rest(self) -> Iterator[str]:
        """Yield the lines that are left."""
        while (line := self.line()) is not None:
            yield line


def eventually(holds: Callable[[], bool], what: str, patience: float = SAFETY_NET) -> None:
    """Return once `holds()`; for what tells nobody when it happens. Raises WaitError."""
    deadline = time.monotonic() + patience
    while not holds():
        if time.monotonic() > deadline:
            raise WaitError(f"not within {patience:.0f} s: {what}")
        time.sleep(0.02)
