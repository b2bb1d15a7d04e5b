"""The two places in which pyinit runs: PID 1 of a namespace, or any process's child."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from helpers.capabilities import require
from helpers.events import Events
from helpers.programs import Word, as_pid1, prepared, pyinit
from helpers.running import Ended, Running, run


class Place:
    """Start pyinit as PID 1 (`inside`) or as a child; `prepare` is code that runs before it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inside = name == "pid1"
        if self.inside:
            require("pid1")

    def argv(self, *arguments: Word, prepare: str = "") -> list[Word]:
        """Return the whole argument vector that runs pyinit here with `arguments`."""
        return self._around(pyinit(*arguments), prepare)

    def _around(self, argv: list[Word], prepare: str) -> list[Word]:
        if prepare:
            argv = prepared(prepare, argv)
        return as_pid1(argv, "--kill-child") if self.inside else argv

    def start(self, *arguments: Word, prepare: str = "", **how: Any) -> Running:
        """Start pyinit with `arguments`."""
        return Running(self.argv(*arguments, prepare=prepare), inside=self.inside, **how)

    @contextmanager
    def telling(self, *arguments: Word, **how: Any) -> Iterator[tuple[Running, Events]]:
        """Start pyinit with `arguments`, and read the events that it tells."""
        with Events() as events:
            words = [*events.options, *arguments]
            with self.start(*words, pass_fds=[events.fileno], **how) as running:
                events.handed_over()
                yield running, events

    def run(self, *arguments: Word, prepare: str = "", **how: Any) -> Ended:
        """Run pyinit with `arguments` to its end."""
        return run(self.argv(*arguments, prepare=prepare), inside=self.inside, **how)

    def run_bare(self, *workload: Word, prepare: str = "", **how: Any) -> Ended:
        """Run a workload just there, without pyinit, to its end."""
        return run(self._around(list(workload), prepare), inside=self.inside, **how)
