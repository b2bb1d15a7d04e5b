"""Run other programs and say what went wrong."""

from __future__ import annotations

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
    try:
        return subprocess.run(
            argv,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience,
        )
    except subprocess.TimeoutExpired:
        raise CommandError(f"{' '.join(map(str, argv))}: not done after {patience:.0f} s") from None
