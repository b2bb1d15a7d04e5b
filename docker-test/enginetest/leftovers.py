"""What a run has left on the machine: compared before and after, mounts, cgroups, processes.

Others may use the machine meanwhile. So a mount, which only the outer process could have left, is
laid to our charge whoever made it; a cgroup or a process is when it bears the run's name: in its
path, in its environment, or in the places that it holds.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from enginetest import cgroups

MARK = "PIDONE_DOCKER_TEST"
"""The environment variable that names the run to all that it starts."""


@dataclass(frozen=True)
class Snapshot:
    """What there is at one moment."""

    mounts: frozenset[str]
    cgroups: frozenset[str]
    processes: frozenset[tuple[int, str]]
    """(pid, start time), since a pid may be used again."""

    @classmethod
    def take(cls) -> Snapshot:
        """Look at the machine."""
        mountinfo = Path("/proc/self/mountinfo").read_text()
        return cls(
            frozenset(line.split()[4] for line in mountinfo.splitlines()),
            frozenset(cgroups.directories()),
            frozenset(_processes()),
        )


def left(before: Snapshot, after: Snapshot, run: str) -> list[str]:
    """Return what this run has left, in words."""
    found = [f"mount {place}" for place in sorted(after.mounts - before.mounts)]
    found += [f"cgroup {name}" for name in sorted(after.cgroups - before.cgroups) if run in name]
    for pid, started in sorted(after.processes - before.processes):
        why = _ours(pid, run)
        if why and (pid, started) in set(_processes()):
            found.append(f"process {pid}: {why}")
    return found


def _processes() -> set[tuple[int, str]]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                found.add((int(entry.name), fields[19]))
    return found


def _ours(pid: int, run: str) -> str | None:
    """Return how a process shows that it belongs to a run, or None."""
    place = Path("/proc") / str(pid)
    if pid == os.getpid():
        return None
    for name in ("environ", "cgroup", "cmdline"):
        with contextlib.suppress(OSError):
            if run.encode() in (place / name).read_bytes():
                return f"the run's name is in its {name}"
    for name in ("root", "cwd", "exe"):
        with contextlib.suppress(OSError):
            if run in os.readlink(place / name):
                return f"its {name} is in the run's directory"
    return None
