"""Make a cgroup below our own, limit it, and take it away again, cgroups(7)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
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
    """Make a cgroup with `limits` (pids_max="4" for pids.max); in the end remove it.

    What is still in there is killed, and nothing more can be forked meanwhile.
    """
    place = home(controller)
    assert place is not None
    made = place / f"pidone-test-{os.getpid()}"
    made.mkdir()
    try:
        for name, value in limits.items():
            (made / name.replace("_", ".")).write_text(value)
        yield made
    finally:
        kill_all(made)
        made.rmdir()


def kill_all(group: Path) -> None:
    """Kill what is in a cgroup, which may fork no more, and wait until it's gone."""
    if (group / "pids.max").exists():
        (group / "pids.max").write_text("0")
    deadline = time.monotonic() + 60
    while pids := (group / "cgroup.procs").read_text().split():
        assert time.monotonic() < deadline, f"{group} doesn't empty"
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(int(pid), os.WNOHANG)
        os.sched_yield()
