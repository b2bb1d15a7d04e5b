"""pyinit broken on purpose, to see the promises fail: what nothing can break shows nothing.

Each break is a change of a few words in a copy of the sources, of which wheel and images are made.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

IMAGES = frozenset({"copied", "as-tini", "as-dumb-init", "multi-stage"})
"""Promises on images: each is held to reaping and to stopping."""

REAPING = frozenset({"storm", "health", "exec", "pids", "hardened"}) | IMAGES
STOPPING = frozenset({"stop", "shell", "hardened"}) | IMAGES


@dataclass(frozen=True)
class Break:
    """A change to a file, and the promises that must not be kept any more, by their keys."""

    file: str
    old: str
    new: str
    promises: frozenset[str]
    on_kernel: frozenset[str]
    """On the booted kernel, which stops a machine in place of a service."""

    def expected(self, engine: str) -> frozenset[str]:
        """Return the promises that must not be kept under an engine, by its name."""
        return self.on_kernel if engine == "kernel" else self.promises


BREAKS = {
    "reaping": Break(
        "pyinit/supervisor.py",
        "pid, changed = posix.waitpid(-1, _WAIT_FLAGS)",
        # After the program's end it reaps: --wait, which is no part of this, hangs on it.
        "child = -1 if self.machine.phase == machine.LEFT else self.pid; "
        "pid, changed = posix.waitpid(child, _WAIT_FLAGS) if self.pid else (0, 0)",
        REAPING,
        REAPING,
    ),
    "forwarding": Break(
        "pyinit/supervisor.py",
        "            posix.kill(pid, number)\n",
        "            posix.kill(pid, 0)\n",
        STOPPING,
        STOPPING,
    ),
    "group": Break(
        "pyinit/supervisor.py",
        "elif target == machine.GROUP and self._workload.own_group:",
        "elif not self.pid:",
        frozenset({"shell"}),
        frozenset({"shell"}),
    ),
    "status": Break(
        "pyinit/__init__.py",
        "return SIGNALLED + signal",
        "return signal",
        frozenset({"stop", "status", "hardened"}) | IMAGES,
        frozenset({"status", "hardened", "pids"}),
    ),
    "terminal": Break(
        "pyinit/jobcontrol.py",
        "posix.tcsetpgrp(fd, group)",
        "posix.isatty(fd)",
        frozenset({"terminal"}),
        frozenset(),  # there it is pyspawn that hands the terminal over
    ),
}


def apply(name: str, checkout: Path, place: Path) -> Path:
    """Make a copy of a checkout at `place` with a break in it; return it."""
    made = BREAKS[name]
    shutil.copytree(
        checkout,
        place,
        symlinks=True,
        ignore=shutil.ignore_patterns(".*", "build", "dist", "__pycache__"),
    )
    file = place / made.file
    text = file.read_text()
    if text.count(made.old) != 1:
        raise ValueError(f"{made.file} has not one {made.old!r}")
    file.write_text(text.replace(made.old, made.new))
    return place
