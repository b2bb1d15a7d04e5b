"""The cgroups that the containers of one run lie in: one directory in each hierarchy, by name.

The same on cgroup v1, where each controller has a hierarchy of its own, on v2, and on a mixture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def hierarchies() -> list[Path]:
    """Return the mount points of all cgroup hierarchies below ROOT."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] in ("cgroup", "cgroup2"):
            place = Path(before.split()[4])
            if place.is_relative_to(ROOT):
                found.append(place)
    return found


def directories() -> set[str]:
    """Return every cgroup there is."""
    return {str(path) for top in hierarchies() for path in _below(top)}


def limit_processes(name: str, limit: int) -> Path:
    """Make the cgroup `name` with its pids.max set; return its directory.

    On v2 the controller is handed down from the root first.
    """
    v1 = ROOT / "pids"
    if v1.is_dir():
        group = v1 / name
        group.mkdir(parents=True, exist_ok=True)
    else:
        group = ROOT
        for part in Path(name).parts:
            (group / "cgroup.subtree_control").write_text("+pids")
            group /= part
            group.mkdir(exist_ok=True)
    (group / "pids.max").write_text(f"{limit}\n")
    return group


def remove(name: str) -> None:
    """Remove the cgroup `name` and all below it from every hierarchy.

    Only what is empty can be removed, so this can't harm a process; raises OSError where there is
    one left.
    """
    for top in hierarchies():
        for group in sorted(_below(top / name), reverse=True):
            group.rmdir()


def _below(top: Path) -> Iterator[Path]:
    """Yield the directories of a tree; one may vanish meanwhile."""
    if not top.is_dir():
        return
    yield top
    with contextlib.suppress(FileNotFoundError):
        for entry in top.iterdir():
            if entry.is_dir():
                yield from _below(entry)
