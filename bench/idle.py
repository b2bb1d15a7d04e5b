"""Memory and wake-ups of an init that has nothing to do.

All contenders stand idle side by side, as PID 1 of a namespace each, with a `sleep` to look
after; a bare interpreter that waits for a signal stands beside them. Memory is that of the init
alone, from /proc/PID/smaps_rollup: RSS counts pages shared with others whole, private dirty are
the pages that this process alone costs. A wake-up is a context switch of any thread, voluntary
or not, while all of them idle through the same seconds.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from bench.contenders import (
    BARE,
    PYSPAWN,
    bare_python,
    inits,
    launchers,
    other_starts_of_pyinit,
    pyspawns,
)
from bench.context import Bench
from bench.rounds import Progress
from bench.spawn import Child, TrialFailed, pipe, safety_net
from bench.table import Cell, Table, of_samples

RSS = "idle RSS"
PRIVATE = "idle private"
WAKEUPS = "idle wake-ups"
COUNT = "wake-ups"

_BARE_WAITER = bare_python(
    "import _signal,posix;_signal.pthread_sigmask(0,{15});posix.write(1,b'.');"
    "_signal.sigwaitinfo({15})"
)
_SLEEPER = ("/bin/sh", "-c", "printf .; exec sleep 1000000")
_SETTLE = 0.5
"""Seconds in which a fleet that has said it is ready comes to rest."""


def run(bench: Bench) -> list[Table]:
    """Measure the memory of several fleets one after the other, and the wake-ups of the last."""
    fleet = _fleet(bench)
    notes: list[str] = []
    rss: dict[str, list[float]] = {label: [] for label in fleet}
    private: dict[str, list[float]] = {label: [] for label in fleet}
    progress = Progress("idle", bench.scale.fleets)
    for turn in range(bench.scale.fleets):
        with ExitStack() as stack:
            running = _start(bench, fleet, stack, notes)
            time.sleep(_SETTLE)
            for label, child in running.items():
                memory = _memory(child.pid)
                rss[label].append(memory["Rss"])
                private[label].append(memory["Private_Dirty"])
            if turn == bench.scale.fleets - 1:
                wakeups = _wakeups(running, bench.scale.idle_seconds)
        bench.spawner.reap_strangers()
        progress.show(turn + 1)
    progress.clear()
    rows: dict[str, tuple[Cell, ...]] = {label: (count,) for label, count in wakeups.items()}
    return [
        of_samples(RSS, "memory when idle, resident, kB", _measured(rss), BARE, notes),
        of_samples(PRIVATE, "memory when idle, private dirty, kB", _measured(private), BARE),
        Table(
            WAKEUPS,
            f"wake-ups in {bench.scale.idle_seconds:.0f} idle seconds",
            (COUNT,),
            rows,
        ),
    ]


def _fleet(bench: Bench) -> dict[str, tuple[tuple[str, ...], bool]]:
    """Return the command lines by label, and whether each is to be PID 1."""
    pid1 = bench.spawner.can_pid1
    fleet = {BARE: (_BARE_WAITER, pid1)}
    for init in inits(bench.peers, bench.ours) + other_starts_of_pyinit(bench.ours):
        fleet[init.label] = ((*(init.pid1 if pid1 else init.child), *_SLEEPER), pid1)
    if pid1:
        outside = launchers(bench.peers)
        outside |= {label: argv for label, argv in pyspawns(bench.ours).items() if label == PYSPAWN}
        for label, argv in outside.items():
            fleet[f"{label}: launcher"] = ((*argv, *_SLEEPER), False)
    return fleet


def _start(
    bench: Bench,
    fleet: dict[str, tuple[tuple[str, ...], bool]],
    stack: ExitStack,
    notes: list[str],
) -> dict[str, Child]:
    """Start the fleet and wait until each workload has said that it runs."""
    running = {}
    for label, (argv, pid1) in list(fleet.items()):
        reader, writer = stack.enter_context(pipe())
        child = stack.enter_context(bench.spawner.running(argv, pid1=pid1, fds={1: writer}))
        writer.close()
        try:
            with safety_net():
                bench.spawner.hear(reader)
        except TrialFailed as error:
            notes.append(f"{label}: dropped out: {error}")
            del fleet[label]
        else:
            running[label] = child
    return running


def _measured(samples: dict[str, list[float]]) -> dict[str, list[float]]:
    return {label: values for label, values in samples.items() if values}


def _memory(pid: int) -> dict[str, int]:
    """Return the sums of /proc/PID/smaps_rollup, in kB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {
        name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)
    }


def _wakeups(running: dict[str, Child], seconds: float) -> dict[str, int]:
    """Count the context switches of each process in so many seconds."""
    before = {label: _switches(child.pid) for label, child in running.items()}
    time.sleep(seconds)
    return {label: _switches(child.pid) - before[label] for label, child in running.items()}


def _switches(pid: int) -> int:
    """Return the context switches so far of all threads of a process, proc_pid_status(5)."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.endswith("voluntary_ctxt_switches"):
                total += int(value)
    return total
