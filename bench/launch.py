"""Start to exit of `true` in namespaces of its own: `pyspawn` beside its peers.

Each makes the same namespaces (PID, mount with its own /proc, IPC, UTS, cgroup; user too for an
ordinary user) and is timed whole, as a user would: from the vfork of the launcher to its end.
`pyspawn --init` starts two interpreters, so two bare ones in a row are the measure.
"""

from __future__ import annotations

from bench.contenders import (
    PYSPAWN,
    PYSPAWN_ALONE,
    PYSPAWN_LEAN,
    TRUE,
    bare_python,
    launchers,
    oci_runtimes,
    pyspawns,
)
from bench.context import Bench
from bench.rounds import interleave
from bench.table import Table, of_samples

KEY = "launch"
TWO_BARE = "two bare pythons"


def run(bench: Bench) -> list[Table]:
    """Measure what can be started here."""
    if not bench.spawner.can_pid1:
        return []
    notes: list[str] = []
    trials = {TWO_BARE: bench.start_to_exit(bare_python("pass"), times=2)}
    prefixes = pyspawns(bench.ours, PYSPAWN, PYSPAWN_LEAN, PYSPAWN_ALONE) | launchers(bench.peers)
    for label, prefix in bench.working(prefixes, notes).items():
        trials[label] = bench.start_to_exit((*prefix, *TRUE))
    for label, argv in oci_runtimes(bench.nest, bench.peers, TRUE).items():
        trials[label] = bench.start_to_exit(argv)
    samples = interleave(KEY, bench.scale.runs, trials, notes)
    title = "start to exit of `true` in namespaces of its own, ms"
    return [of_samples(KEY, title, samples, TWO_BARE, notes)]
