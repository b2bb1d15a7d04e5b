"""Loss of a SIGTERM that is sent at a random moment of the start-up.

The moment is drawn evenly from the time between exec and the workload's first word, measured
first for each contender. SIGVTALRM follows, once the workload has spoken: the kernel and the inits
hand over pending signals by their number, lowest first, so a workload that ends by SIGVTALRM shows
that SIGTERM never came. A PID 1 loses what arrives before it has blocked or caught it, unless its
spawner blocked it before: the bare interpreter, whose first statement blocks, shows the least that
anything written in Python can lose. The window is the share lost times the time from which the
moments were drawn.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO

from bench.contenders import (
    BARE,
    PYSPAWN,
    PYSPAWN_LEAN,
    PYSPAWN_PID1,
    STATUS_FD,
    bare_python,
    inits,
    other_starts_of_pyinit,
    pyspawns,
)
from bench.context import Bench
from bench.rounds import interleave
from bench.spawn import TrialFailed, pipe, safety_net
from bench.table import Cell, Table

KEY = "loss"
LOST = "lost"
WINDOW = "window ms"

_CALIBRATIONS = 9
_MARKER = signal.SIGVTALRM
_MARKED = (128 + _MARKER, -_MARKER)
_TERMINATED = (128 + signal.SIGTERM, -signal.SIGTERM)
_WORKLOAD = ("/bin/sh", "-c", "printf .; read x")
_BARE_WORKLOAD = bare_python(
    "import _signal,posix;_signal.pthread_sigmask(0,{15,26});posix.write(1,b'.');"
    "posix._exit(128+_signal.sigwaitinfo({15,26}).si_signo)"
)


@dataclass(frozen=True)
class _Contender:
    argv: tuple[str, ...]
    pid1: bool
    reports: bool = False
    """It says on descriptor 3 which process is the PID 1 to aim at."""


def run(bench: Bench) -> list[Table]:
    """Measure the inits as PID 1 of a plain spawner, and `pyspawn --init`."""
    if not bench.spawner.can_pid1:
        return []
    notes: list[str] = []
    spans: dict[str, float] = {}
    trials: dict[str, Callable[[], bool]] = {}
    for label, contender in _contenders(bench).items():
        try:
            with safety_net():
                spans[label] = statistics.median(
                    _time_to_ready(bench, contender) for _ in range(_CALIBRATIONS)
                )
        except TrialFailed as error:
            notes.append(f"{label}: dropped out: {error}")
        else:
            trials[label] = _at_random(bench, contender, spans[label])
    outcomes = interleave(KEY, bench.scale.moments, trials, notes)
    rows: dict[str, tuple[Cell, ...]] = {}
    for label, lost in outcomes.items():
        span = spans[label] * 1e3
        share = sum(lost) / len(lost)
        rows[label] = (sum(lost), len(lost), share * 100, span, share * span)
    title = "SIGTERM at a random moment of the start-up"
    return [Table(KEY, title, (LOST, "of", "%", "start-up ms", WINDOW), rows, tuple(notes))]


def _contenders(bench: Bench) -> dict[str, _Contender]:
    found = {BARE: _Contender(_BARE_WORKLOAD, pid1=True)}
    for init in inits(bench.peers, bench.ours) + other_starts_of_pyinit(bench.ours):
        found[init.label] = _Contender((*init.as_pid1, *_WORKLOAD), pid1=True)
    for label, argv in pyspawns(bench.ours, PYSPAWN, PYSPAWN_LEAN, PYSPAWN_PID1).items():
        reports = label == PYSPAWN_PID1
        found[label] = _Contender((*argv, *_WORKLOAD), pid1=False, reports=reports)
    return found


class _Start:
    """A contender that is starting: the process to aim at, and since when."""

    def __init__(self, bench: Bench, contender: _Contender, stack: ExitStack) -> None:
        self.ready, says = stack.enter_context(pipe())
        stdin, _ = stack.enter_context(pipe())
        status, reports = stack.enter_context(pipe())
        fds = {0: stdin, 1: says}
        if contender.reports:
            fds[STATUS_FD] = reports
        self.child = stack.enter_context(
            bench.spawner.running(contender.argv, pid1=contender.pid1, fds=fds)
        )
        says.close()
        reports.close()
        self.target = self.child.pid
        self.since = self.child.executed
        if contender.reports:
            self.target = _created(status)
            self.since = time.perf_counter()


def _time_to_ready(bench: Bench, contender: _Contender) -> float:
    """Return the seconds from the moment we can aim to the workload's first word."""
    with ExitStack() as stack:
        start = _Start(bench, contender, stack)
        bench.spawner.hear(start.ready)
        return time.perf_counter() - start.since


def _at_random(bench: Bench, contender: _Contender, span: float) -> Callable[[], bool]:
    def trial() -> bool:
        with ExitStack() as stack:
            start = _Start(bench, contender, stack)
            moment = start.since + random.uniform(0, span)
            time.sleep(max(0, moment - time.perf_counter()))
            os.kill(start.target, signal.SIGTERM)
            if start.ready.read(1):
                start.child.send(_MARKER)
            status = start.child.wait()
            # The end of file shows that nothing of it is left.
            while start.ready.read(1):
                pass
        bench.spawner.reap_strangers()
        if status not in _MARKED + _TERMINATED:
            raise TrialFailed(f"status {status}: {bench.spawner.complaint()}")
        return status in _MARKED

    return trial


def _created(status: FileIO) -> int:
    """Return the pid of the init from the stream of `--json-status`."""
    for line in status:
        event = json.loads(line)
        if event["event"] == "created":
            return int(event["host_pid"])
    raise TrialFailed("no init was created")
