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
from bench.fleet import Command, Standing, stand
from bench.rounds import Progress
from bench.table import Table, of_samples

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
    commands = _commands(bench)
    notes: list[str] = []
    rss: dict[str, list[float]] = {}
    private: dict[str, list[float]] = {}
    progress = Progress("idle", bench.scale.fleets)
    for turn in range(bench.scale.fleets):
        with ExitStack() as stack:
            fleet = stand(bench, commands, stack, notes)
            commands = {label: commands[label] for label in fleet}
            time.sleep(_SETTLE)
            for label, standing in fleet.items():
                memory = _memory(standing.child.pid)
                rss.setdefault(label, []).append(memory["Rss"])
                private.setdefault(label, []).append(memory["Private_Dirty"])
            if turn == bench.scale.fleets - 1:
                wakeups = _wakeups(fleet, bench.scale.idle_seconds)
        bench.spawner.reap_strangers()
        progress.show(turn + 1)
    progress.clear()
    return [
        of_samples(RSS, "memory when idle, resident, kB", rss, BARE, notes),
        of_samples(PRIVATE, "memory when idle, private dirty, kB", private, BARE),
        Table(
            WAKEUPS,
            f"wake-ups in {bench.scale.idle_seconds:.0f} idle seconds",
            (COUNT,),
            {label: (count,) for label, count in wakeups.items()},
        ),
    ]


def _commands(bench: Bench) -> dict[str, Command]:
    pid1 = bench.spawner.can_pid1
    commands = {BARE: Command(_BARE_WAITER, pid1)}
    for init in inits(bench.peers, bench.ours) + other_starts_of_pyinit(bench.ours):
        commands[init.label] = Command((*init.argv(pid1), *_SLEEPER), pid1)
    if pid1:
        outside = launchers(bench.peers) | pyspawns(bench.ours, PYSPAWN)
        for label, argv in outside.items():
            commands[f"{label}: launcher"] = Command((*argv, *_SLEEPER), pid1=False)
    return commands


def _memory(pid: int) -> dict[str, int]:
    """Return the sums of /proc/PID/smaps_rollup, in kB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {
        name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)
    }


def _wakeups(fleet: dict[str, Standing], seconds: float) -> dict[str, int]:
    """Count the context switches of each process in so many seconds."""
    before = {label: _switches(standing.child.pid) for label, standing in fleet.items()}
    time.sleep(seconds)
    return {
        label: _switches(standing.child.pid) - before[label] for label, standing in fleet.items()
    }


def _switches(pid: int) -> int:
    """Return the context switches so far of all threads of a process, proc_pid_status(5)."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.endswith("voluntary_ctxt_switches"):
                total += int(value)
    return total
