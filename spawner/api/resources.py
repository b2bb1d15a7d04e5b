"""What a container has used, as its control group has counted it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner.spec import Frozen

if TYPE_CHECKING:
    from typing import Any


class Resources(Frozen):
    """What the processes of a container have used together; None where the kernel didn't tell.

    `cgroup` is the version of the control groups, "v1" or "v2". `memory_peak` is the most memory in
    bytes, and `oom_kills` how many processes were killed for want of it. `pids_peak` is the most
    processes and threads, and `pids_refused` how many times one more was refused. `cpu_seconds` is
    the processor time. `zombies` is how many of the processes had ended and weren't reaped when the
    first was refused, with a limit on `pids`.
    """

    cgroup: str
    memory_peak: int | None
    oom_kills: int | None
    pids_peak: int | None
    pids_refused: int | None
    cpu_seconds: float | None
    zombies: int | None


def told(event: dict[str, Any] | None) -> Resources | None:
    """Return what the `resources` event of a launcher tells, None without one."""
    if event is None:
        return None
    return Resources(**{name: event[name] for name in Resources._fields})
