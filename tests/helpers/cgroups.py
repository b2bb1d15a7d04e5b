"""Make a cgroup below our own, limit it, and take it away again, cgroups(7)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def home(controller: str) -> Path | None:
    """Return the directory of our own cgroup where `controller` is to be had, v1 or v2."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            place = Path(f"/sys/fs/cgroup/{controllers}{path}")
        elif not controllers:
            place = Path(f"/sys/fs/cgroup{path}")
            enabled = place / "cgroup.subtree_control"
            if not enabled.exists() or controller not in enabled.read_text().split():
                continue
        else:
            continue
        if place.is_dir():
            return place
    return None


@contextlib.contextmanager
def below(controller: str, **limits: str) -> Iterator[Path]:
    """Make a cgroup with `limits` (pids_max="4" for pids.max); remove it once it's empty."""
    place = home(controller)
    assert place is not None
    made = place / f"pidone-test-{os.getpid()}"
    made.mkdir()
    try:
        for name, value in limits.items():
            (made / name.replace("_", ".")).write_text(value)
        yield made
    finally:
        made.rmdir()
