"""Latency of a forwarded signal: from the kill(2) of the init to the answer of its workload.

All inits stand side by side, each with the same workload: an interpreter that takes SIGUSR1 with
sigwaitinfo and answers on a pipe. The signals go round: one to each, again and again. The first
row is that workload without an init, so the difference to it is what an init costs.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import ExitStack

from bench.contenders import PYSPAWN, bare_python, inits, pyspawns
from bench.context import Bench
from bench.fleet import Command, Standing, stand
from bench.rounds import interleave
from bench.table import Table, of_samples

KEY = "forward"
DIRECT = "no init"

_ANSWERER = bare_python(
    "import _signal,posix\n"
    "_signal.pthread_sigmask(0,{10})\n"
    "posix.write(1,b'.')\n"
    "while 1: _signal.sigwaitinfo({10}); posix.write(1,b'.')"
)


def run(bench: Bench) -> list[Table]:
    """Measure each init as PID 1, and `pyspawn` with `pyinit` below it."""
    pid1 = bench.spawner.can_pid1
    commands = {DIRECT: Command(_ANSWERER, pid1)}
    for init in inits(bench.peers, bench.ours):
        commands[init.label] = Command((*init.argv(pid1), *_ANSWERER), pid1)
    if pid1:
        for label, argv in pyspawns(bench.ours, PYSPAWN).items():
            commands[label] = Command((*argv, *_ANSWERER), pid1=False)
    notes: list[str] = []
    with ExitStack() as stack:
        fleet = stand(bench, commands, stack, notes)
        trials = {label: _round_trip(bench, standing) for label, standing in fleet.items()}
        samples = interleave(KEY, bench.scale.signals, trials, notes)
    bench.spawner.reap_strangers()
    title = "a signal to the init until its workload answers, µs"
    return [of_samples(KEY, title, samples, DIRECT, notes)]


def _round_trip(bench: Bench, standing: Standing) -> Callable[[], float]:
    def trial() -> float:
        sent = time.perf_counter()
        standing.child.send(signal.SIGUSR1)
        bench.spawner.hear(standing.stdout)
        return (time.perf_counter() - sent) * 1e6

    return trial
