"""A daemon of our own, with its log."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from enginetest.reading import eventually
from enginetest.running import CommandError


class Daemon:
    """A program that runs until it is told to end."""

    def __init__(self, argv: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return once the daemon is ready; raises CommandError where it ends instead."""

        def ready_or_ended() -> bool:
            return self._process.poll() is not None or ready()

        eventually(ready_or_ended, f"{self._process.args!r} ready")
        if self._process.poll() is not None:
            end = "\n".join(self._log.read_text(errors="replace").splitlines()[-5:])
            raise CommandError(f"{self._process.args!r} ended at once: {end}")

    def end(self) -> None:
        """Ask the daemon to end; kill it where it takes too long over it."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
