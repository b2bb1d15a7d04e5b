"""What every engine can do for a check, whichever it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from enginetest.findings import Init
from enginetest.reading import WaitError
from enginetest.terminal import Terminal

APP = ("python3", "/app/app.py")


@dataclass(frozen=True)
class Hardening:
    """The root read-only, no capability, no way to a new one, and an id that no passwd names."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Order:
    """A container to be run."""

    image: str
    command: tuple[str, ...]
    init: Init = Init.PYINIT
    """Who is to be PID 1: ENGINE and PAUSE are the engine's to bring, the others the image's."""
    hardening: Hardening | None = None
    privileged: bool = False
    pids_limit: int | None = None
    health_check: tuple[str, ...] = ()


class RefusalError(Exception):
    """The engine could not do what it was asked."""


class Container(Protocol):
    """A container that was started."""

    def line(self) -> str | None:
        """Return the next line of its standard output, or None at the end of file."""

    def stop(self, seconds: int = 10) -> None:
        """Ask it to stop, as the engine's `stop` does: SIGKILL after so many seconds."""

    def wait(self) -> int:
        """Wait for its end and return its exit status."""

    def execute(self, argv: Sequence[str]) -> tuple[int, str]:
        """Run a command in it; return its exit status and standard output."""

    def check_health(self) -> None:
        """Return once its health check has run into the engine's time-out, twice or more."""

    def complaint(self) -> str:
        """Return what the engine said against it."""

    def remove(self) -> None:
        """End it and forget it; never raises for what is gone already."""


class Engine(Protocol):
    """A container engine, started for this test alone."""

    name: str
    inits: tuple[Init, ...]
    """Whom it can have as PID 1."""

    def size(self, image: str) -> int:
        """Return the bytes that an image holds."""

    def version(self) -> str:
        """Return a line that says what this is."""

    def start(self, order: Order) -> Container:
        """Start a container; raises RefusalError."""

    def lifetime(self, order: Order) -> float:
        """Run a container to its end; return the seconds from its start to its end."""

    def converse(self, order: Order) -> contextlib.AbstractContextManager[Conversation]:
        """Start a container with a terminal, as `run -it` does, and talk to it."""

    def tear_down(self) -> None:
        """End all that was started."""


class Conversation(Protocol):
    """A container at whose terminal one sits."""

    @property
    def terminal(self) -> Terminal:
        """The terminal."""

    def wait(self) -> int:
        """Wait for the container's end and return its exit status."""


@contextlib.contextmanager
def running(engine: Engine, order: Order) -> Iterator[Container]:
    """Start a container and remove it whatever happens."""
    container = engine.start(order)
    try:
        yield container
    finally:
        container.remove()


def said_by(container: Container) -> list[str]:
    """Return the lines before `ready`; raises WaitError where the container ends without."""
    lines: list[str] = []
    while (line := container.line()) != "ready":
        if line is None:
            why = container.complaint()
            raise WaitError(f"it ended with {container.wait()} before it was ready: {lines} {why}")
        lines.append(line)
    return lines
