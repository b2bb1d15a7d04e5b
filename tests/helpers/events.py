"""Read what pyinit tells programs (`--events FD`): a JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from helpers.running import Lines, StuckError

Event = dict[str, Any]


class Events:
    """A pipe for `--events`: give `fileno` to the program, then `handed_over`, then read."""

    def __init__(self) -> None:
        self._reading, self.fileno = os.pipe()
        self._lines = Lines(self._reading)
        self._writing_is_ours = True

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *error: object) -> None:
        self.handed_over()
        os.close(self._reading)

    @property
    def options(self) -> list[str]:
        """The options that make pyinit write here."""
        return ["--events", str(self.fileno)]

    def handed_over(self) -> None:
        """Close our copy of the writing end, so that the last writer's death is the end."""
        if self._writing_is_ours:
            os.close(self.fileno)
            self._writing_is_ours = False

    def next(self) -> Event:
        """Return the next event."""
        line = self._lines.raw()
        if not line:
            raise StuckError("no more events come")
        event: Event = json.loads(line)
        return event

    def wait_for(self, kind: str, **members: object) -> Event:
        """Return the next event of a kind with these members; skip others."""
        while True:
            event = self.next()
            if event["event"] == kind and members.items() <= event.items():
                return event

    def all(self) -> list[Event]:
        """Return all events until the end."""
        self.handed_over()
        return list(self._until_end())

    def _until_end(self) -> Iterator[Event]:
        for line in self._lines.rest().splitlines():
            yield json.loads(line)
