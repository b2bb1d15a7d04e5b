"""Install the built wheel into environments that have nothing else."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def succeed(*argv: str | Path, cwd: Path | None = None) -> str:
    """Run a command that has to succeed and return what it printed."""
    ended = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ended.returncode == 0, f"{argv}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


class Environment:
    """A virtual environment with the wheel in it."""

    def __init__(self, directory: Path, wheel: Path, options: Sequence[str] = ()) -> None:
        self.directory = directory
        venv.create(directory, with_pip=False)
        # pip from outside, so that the environment has nothing but the wheel.
        pip = (sys.executable, "-m", "pip", "--python", str(self.python))
        succeed(*pip, "install", "--quiet", "--no-input", *options, wheel, cwd=directory)

    @property
    def python(self) -> Path:
        return self.directory / "bin" / "python"

    @property
    def packages(self) -> Path:
        """The directory that the packages were installed into."""
        return next(self.directory.glob("lib/python*/site-packages"))

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment from a directory that has no packages in it."""
        return subprocess.run(
            [self.directory / "bin" / command, *arguments],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
