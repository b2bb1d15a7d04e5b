"""What podman and Docker have in common: their command line."""

from __future__ import annotations

import abc
import contextlib
import itertools
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from enginetest.engine import Order
from enginetest.findings import Init
from enginetest.reading import SAFETY_NET, LineReader, WaitError
from enginetest.running import CommandError, complete, succeed
from enginetest.terminal import Pty, Terminal

PYTHON = "docker.io/library/python:3-slim"
"""The name of the image that the others start from, see images/index.Dockerfile."""

PROBE_TIMEOUT = "2"
"""Seconds that a health check is given: enough for it to begin to hang."""


class ClientEngine(abc.ABC):
    """An engine that is spoken to through a command line like Docker's."""

    name = ""
    inits: tuple[Init, ...] = (Init.PYINIT, Init.NONE, Init.ENGINE)
    run_options: tuple[str, ...] = ()
    build_options: tuple[str, ...] = ()

    def __init__(self, state: Path) -> None:
        self.state = state
        self._counter = itertools.count(1)
        self._lock = threading.Lock()

    @abc.abstractmethod
    def client(self) -> list[str]:
        """Return the words that every command of the client starts with."""

    @abc.abstractmethod
    def environment(self) -> dict[str, str]:
        """Return the environment of the client."""

    @abc.abstractmethod
    def version(self) -> str:
        """Return a line that says what this is."""

    @abc.abstractmethod
    def health_words(self, command: Sequence[str]) -> list[str]:
        """Return the options that give a container a health check."""

    @abc.abstractmethod
    def check_health(self, name: str) -> None:
        """Return once the health check of a container has timed out twice."""

    @abc.abstractmethod
    def tear_down(self) -> None:
        """End all that was started."""

    def cli(self, *words: str | Path, patience: float = 300) -> str:
        """Run a command of the client that has to succeed and return what it printed."""
        return succeed(*self.client(), *words, env=self.environment(), patience=patience)

    def try_cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the client to its end."""
        return complete([*self.client(), *words], env=self.environment())

    def import_base(self, archive: Path, context: Path) -> None:
        """Make the image that stands for Docker's library's python out of a root filesystem."""
        self.cli("import", archive, "base")
        self.build_as(PYTHON, "index", context)

    def build(self, name: str, context: Path) -> None:
        """Build the image of images/NAME.Dockerfile."""
        self.build_as(image(name), name, context)

    def build_as(self, tag: str, name: str, context: Path) -> None:
        """Build the image of images/NAME.Dockerfile under a tag of its own."""
        dockerfile = context / f"{name}.Dockerfile"
        self.cli(
            *("build", "--network", "none", *self.build_options),
            *("--file", dockerfile, "--tag", tag, context),
        )

    def size(self, image_name: str) -> int:
        """Return the bytes of an image with all its layers."""
        return int(self.cli("image", "inspect", "--format", "{{.Size}}", image(image_name)))

    def words(self, order: Order, name: str, *options: str) -> list[str]:
        """Return the command that runs an order."""
        words = [*self.client(), "run", "--name", name, "--network", "none", *self.run_options]
        words += options
        if order.init is Init.ENGINE:
            words.append("--init")
        if order.hardening:
            words += ["--user", f"{order.hardening.uid}:{order.hardening.gid}", "--read-only"]
            words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        if order.privileged:
            words.append("--privileged")
        if order.pids_limit:
            words += self.limit_words(order.pids_limit)
        if order.health_check:
            words += self.health_words(order.health_check)
        return [*words, image(order.image), *order.command]

    def limit_words(self, limit: int) -> list[str]:
        """Return the options that limit the processes of a container."""
        return ["--pids-limit", str(limit)]

    def next_name(self) -> str:
        """Return a name for a container."""
        with self._lock:
            return f"promise-{next(self._counter)}"

    def start(self, order: Order) -> ClientContainer:
        """Start a container, attached."""
        name = self.next_name()
        return self.attach(self.words(order, name, "--sig-proxy=false"), name)

    def attach(self, words: list[str], name: str) -> ClientContainer:
        """Start the client that starts a container and stays attached to it."""
        errors = (self.state / f"{name}.stderr").open("w+")
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=self.environment(),
        )
        return ClientContainer(self, name, process, errors)

    def lifetime(self, order: Order) -> float:
        """Return the seconds that `run` takes, start to end, as its user sees it."""
        name = self.next_name()
        words = self.words(order, name)
        started = time.monotonic()
        succeed(*words, env=self.environment())
        took = time.monotonic() - started
        self.cli("rm", name)
        return took

    @contextlib.contextmanager
    def converse(self, order: Order) -> Iterator[ClientConversation]:
        """Start a container with `-it` at a pseudo-terminal."""
        name = self.next_name()
        master, slave = os.openpty()
        # setsid --ctty makes the terminal the client's own, as a login does.
        words = ["setsid", "--ctty", "--wait", *self.words(order, name, "-it")]
        process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, env=self.environment()
        )
        os.close(slave)
        try:
            yield ClientConversation(process, Terminal(Pty(master)))
        finally:
            self.try_cli("rm", "--force", name)
            process.kill()
            process.wait()
            os.close(master)


def image(name: str) -> str:
    """Return the full name of one of our images."""
    return f"docker.io/library/promise-{name}"


class ClientContainer:
    """A container that the client was told to run, and its client."""

    def __init__(
        self, engine: ClientEngine, name: str, process: subprocess.Popen[bytes], errors: IO[str]
    ) -> None:
        assert process.stdout is not None
        self._engine = engine
        self._name = name
        self._process = process
        self._errors = errors
        self._lines = LineReader(process.stdout.fileno(), f"{engine.name} {name}")

    def line(self) -> str | None:
        """Return the next line of output."""
        return self._lines.line()

    def stop(self, seconds: int = 10) -> None:
        """Stop it as a user does."""
        self._engine.cli("stop", "-t", str(seconds), self._name)

    def wait(self) -> int:
        """Return the status that the attached client passed on; raises WaitError."""
        try:
            return self._process.wait(SAFETY_NET)
        except subprocess.TimeoutExpired:
            raise WaitError(f"{self._name} does not end") from None

    def execute(self, argv: Sequence[str]) -> tuple[int, str]:
        """Run a command in it."""
        ended = self._engine.try_cli("exec", self._name, *argv)
        if ended.returncode in (125, 126, 127):
            raise CommandError(f"exec: {ended.stderr.strip()}")
        return ended.returncode, ended.stdout

    def check_health(self) -> None:
        """Let its health check time out."""
        self._engine.check_health(self._name)

    def complaint(self) -> str:
        """Return what the client said on its standard error."""
        self._errors.seek(0)
        return self._errors.read().strip()

    def remove(self) -> None:
        """Remove it, and end its client."""
        if self._process.poll() is None:
            self._engine.try_cli("kill", self._name)
        self._engine.try_cli("rm", "--force", self._name)
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()


class ClientConversation:
    """A client that sits at our pseudo-terminal."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: Terminal) -> None:
        self._process = process
        self.terminal = terminal

    def wait(self) -> int:
        """Return the client's exit status; raises WaitError."""
        try:
            return self._process.wait(SAFETY_NET)
        except subprocess.TimeoutExpired:
            raise WaitError("the client does not end") from None
