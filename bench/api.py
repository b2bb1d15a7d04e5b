"""The Python API: from the call to the exit of `true`, in a process that has just started.

A fresh interpreter for each trial measures itself: the import of the module, and the first call.
The second call, in the same process, shows what of that is paid once. `subprocess.run` is the
measure, which makes no namespaces; with `pyspawn --init` it is what programs do without the API.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from bench.contenders import PYSPAWN, TRUE, pyspawns
from bench.context import Bench
from bench.rounds import interleave
from bench.spawn import TrialFailed, pipe
from bench.table import Table, of_samples

KEY = "api"
BASE = "subprocess.run"
COLD = "spawner.run"
WARM = "spawner.run, 2nd call"

_SELF_TIMED = """
import time
start = time.perf_counter()
import {module}
for _ in range({calls}):
    {module}.run({argv!r}, check=True)
    end = time.perf_counter()
    elapsed, start = end - start, end
print(elapsed * 1e3)
"""


def run(bench: Bench) -> list[Table]:
    """Measure what can be called here."""
    notes: list[str] = []
    trials = {BASE: _trial(bench, "subprocess", TRUE)}
    if bench.ours and bench.spawner.can_pid1:
        trials[COLD] = _trial(bench, "spawner", TRUE)
        trials[WARM] = _trial(bench, "spawner", TRUE, calls=2)
        for label, prefix in pyspawns(bench.ours, PYSPAWN).items():
            trials[f"{BASE} of {label}"] = _trial(bench, "subprocess", (*prefix, *TRUE))
    samples = interleave(KEY, bench.scale.runs, trials, notes)
    title = "a call in a fresh process to the exit of `true`, ms"
    return [of_samples(KEY, title, samples, BASE, notes)]


def _trial(bench: Bench, module: str, argv: tuple[str, ...], calls: int = 1) -> Callable[[], float]:
    code = _SELF_TIMED.format(module=module, argv=list(argv), calls=calls)

    def trial() -> float:
        with pipe() as (reader, writer):
            child = bench.spawner.spawn((sys.executable, "-I", "-c", code), fds={1: writer})
            if child.wait() != 0:
                raise TrialFailed(f"status {child.status}: {bench.spawner.complaint()}")
            bench.spawner.reap_strangers()
            return float(reader.read(64))

    return trial
