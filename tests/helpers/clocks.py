"""A clock that a test sets."""

from __future__ import annotations


class Clock:
    """A clock in the place of the module `time`, which shows `now`."""

    def __init__(self, now: float) -> None:
        self.now = now

    def monotonic(self) -> float:
        """Return the time that the test has set."""
        return self.now
