"""Latency of a forwarded signal: from the kill(2) of the init to the answer of its workload.

All inits stand side by side, each with the same workload: an interpreter that takes SIGUSR1 with
sigwaitinfo and answers on a pipe. The signals go round: one to each, again and again. The first
row is that workload without an init, so the difference to it is what an init costs.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from io import FileIO

from bench.contenders import PYSPAWN, bare_python, inits, pyspawns
from bench.context import Bench
from bench.rounds import interleave
from bench.spawn import TrialFailed, pipe, safety_net
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
    commands = {DIRECT: (_ANSWERER, pid1)}
    for init in inits(bench.peers, bench.ours):
        commands[init.label] = ((*(init.pid1 if pid1 else init.child), *_ANSWERER), pid1)
    if pid1:
        for label, argv in pyspawns(bench.ours).items():
            if label == PYSPAWN:
                commands[label] = ((*argv, *_ANSWERER), False)
    notes: list[str] = []
    trials: dict[str, Callable[[], float]] = {}
    with ExitStack() as stack:
        for label, (argv, as_pid1) in commands.items():
            reader, writer = stack.enter_context(pipe())
            child = stack.enter_context(bench.spawner.running(argv, pid1=as_pid1, fds={1: writer}))
            writer.close()
            try:
                with safety_net():
                    bench.spawner.hear(reader)
            except TrialFailed as error:
                notes.append(f"{label}: dropped out: {error}")
            else:
                trials[label] = _round_trip(bench, child.pid, reader)
        samples = interleave(KEY, bench.scale.signals, trials, notes)
    bench.spawner.reap_strangers()
    title = "a signal to the init until its workload answers, µs"
    return [of_samples(KEY, title, samples, DIRECT, notes)]


def _round_trip(bench: Bench, pid: int, reader: FileIO) -> Callable[[], float]:
    def trial() -> float:
        sent = time.perf_counter()
        os.kill(pid, signal.SIGUSR1)
        bench.spawner.hear(reader)
        return (time.perf_counter() - sent) * 1e6

    return trial
