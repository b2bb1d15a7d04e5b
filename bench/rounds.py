"""Runs trials in turns, so that the noise of the machine hits all contenders alike."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from bench.spawn import TrialFailed, safety_net

T = TypeVar("T")


def interleave(
    what: str, rounds: int, trials: Mapping[str, Callable[[], T]], notes: list[str]
) -> dict[str, list[T]]:
    """Run each trial once a round and return what they measured.

    One round that doesn't count warms the caches. The order is turned on by one each round, so
    that nobody always follows the same neighbour. A contender whose trial fails drops out, and a
    note says why.
    """
    samples: dict[str, list[T]] = {label: [] for label in trials}
    progress = Progress(what, rounds)
    for turn in range(-1, rounds):
        labels = list(samples)
        start = turn % len(labels) if labels else 0
        for label in labels[start:] + labels[:start]:
            try:
                with safety_net():
                    value = trials[label]()
            except (TrialFailed, OSError) as error:
                notes.append(f"{label}: dropped out: {error}")
                del samples[label]
                continue
            if turn >= 0:
                samples[label].append(value)
        progress.show(turn + 1)
    progress.clear()
    return samples


class Progress:
    """One line on a terminal's stderr that says how far an experiment is."""

    def __init__(self, what: str, rounds: int) -> None:
        self._what = what
        self._rounds = rounds
        self._shown = 0.0
        self._on = sys.stderr.isatty()

    def show(self, done: int) -> None:
        """Say how many rounds are done, a few times a second at most."""
        now = time.monotonic()
        if self._on and now - self._shown > 0.3:
            self._shown = now
            print(f"\r\033[K{self._what}: {done} of {self._rounds}", end="", file=sys.stderr)
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._on:
            print("\r\033[K", end="", file=sys.stderr)
            sys.stderr.flush()
