"""Start to exit of `true` in a container that runs: `pyspawn exec` beside `nsenter`.

The container is unshare's: all namespaces but the user namespace, and a `sleep`. As root pyspawn
starts anew from a sealed copy of its interpreter first, so two bare interpreters are the measure.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench.contenders import TRUE, bare_python
from bench.context import Bench
from bench.installed import find
from bench.launch import TWO_BARE
from bench.rounds import interleave
from bench.spawn import STUCK_AFTER, TrialFailed
from bench.table import Table, of_samples

KEY = "join"
PYSPAWN = "pyspawn exec"
NSENTER = "nsenter --all"

_ALL = ("--fork", "--kill-child", "--pid", "--mount-proc", "--ipc", "--uts", "--net", "--cgroup")


def run(bench: Bench) -> list[Table]:
    """Measure what can be started here, or say why nothing can."""
    title = "start to exit of `true` in a container that runs, ms"
    sleep = find("sleep")
    if os.geteuid() != 0 or "unshare" not in bench.peers or sleep is None:
        return [Table(KEY, title, (), {}, ("skipped: it takes root, unshare and sleep",))]
    notes: list[str] = []
    with bench.spawner.running((bench.peers["unshare"], *_ALL, "--", sleep, "3600")) as container:
        target = _child(container.pid)
        trials = {TWO_BARE: bench.start_to_exit(bare_python("pass"), times=2)}
        for label, prefix in bench.working(_prefixes(bench, target), notes).items():
            trials[label] = bench.start_to_exit((*prefix, *TRUE))
        samples = interleave(KEY, bench.scale.runs, trials, notes)
    return [of_samples(KEY, title, samples, TWO_BARE, notes)]


def _child(pid: int) -> int:
    """Return the pid of the program that unshare runs, once it has its /proc."""
    deadline = time.monotonic() + STUCK_AFTER
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == "sleep":
                return int(child)
        os.sched_yield()
    raise TrialFailed("unshare has no child")


def _prefixes(bench: Bench, target: int) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    if bench.ours:
        found[PYSPAWN] = (bench.ours.pyspawn, "exec", str(target), "--")
    nsenter = find("nsenter")
    if nsenter is not None:
        found[NSENTER] = (nsenter, "--target", str(target), "--all", "--")
    return found
