"""Start to exit of `true` under each init, beside a bare interpreter that does nothing.

The clock runs from just before the vfork to the return of waitpid: exec, the init's own start,
its fork and exec of `true`, its end. As PID 1 that includes the kernel's clearing away of the
PID namespace, for the bare interpreter too; making the namespace isn't included.
"""

from __future__ import annotations

from bench.contenders import BARE, TRUE, bare_python, inits, other_starts_of_pyinit
from bench.context import Bench
from bench.rounds import interleave
from bench.table import Table, of_samples

PID1 = "start as PID 1"
CHILD = "start not as PID 1"


def run(bench: Bench) -> list[Table]:
    """Measure as PID 1, where a PID namespace can be had, and not as PID 1."""
    tables = []
    for place in (PID1, CHILD) if bench.spawner.can_pid1 else (CHILD,):
        pid1 = place == PID1
        notes: list[str] = []
        everyone = inits(bench.peers, bench.ours) + other_starts_of_pyinit(bench.ours)
        prefixes = {init.label: init.argv(pid1) for init in everyone}
        commands = {BARE: bare_python("pass"), "`true` alone": TRUE}
        for label, prefix in bench.working(prefixes, notes, pid1=pid1).items():
            commands[label] = (*prefix, *TRUE)
        trials = {label: bench.start_to_exit(argv, pid1=pid1) for label, argv in commands.items()}
        samples = interleave(place, bench.scale.starts, trials, notes)
        tables.append(of_samples(place, f"{place} to exit of `true`, ms", samples, BARE, notes))
    return tables
