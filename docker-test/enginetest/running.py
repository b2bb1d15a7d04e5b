"""Run other programs and say what went wrong."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class CommandError(Exception):
    """A program that had to succeed did not."""


def succeed(
    *argv: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    patience: float = 300,
) -> str:
    """Run a program that has to succeed and return what it printed; raises CommandError."""
    ended = complete(argv, env=env, cwd=cwd, patience=patience)
    if ended.returncode:
        said = (ended.stderr.strip() or ended.stdout.strip())[-2000:]
        raise CommandError(f"{' '.join(map(str, argv))}: status {ended.returncode}: {said}")
    return ended.stdout


def complete(
    argv: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    patience: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with nothing to read, and return what became of it.

    Raises CommandError where it takes more than `patience` seconds.
    """
    with subprocess.Popen(
        argv,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            output, errors = process.communicate(timeout=patience)
        except BaseException as error:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=10)  # to the end of file: what it started ends too
            if isinstance(error, subprocess.TimeoutExpired):
                said = f"{' '.join(map(str, argv))}: not done after {patience:.0f} s"
                raise CommandError(said) from None
            raise
    return subprocess.CompletedProcess(argv, process.returncode, output, errors)
