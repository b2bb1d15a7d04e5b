"""Reaping: wall time and the init's own CPU time for each orphan, and the zombies it leaves.

The makers are the same shell scripts under every init. In the *stream* each process forks the
next and exits, so each is an orphan of the init when it dies, at the price of one fork: some
hundreds at a time to each init in turn (dash recurses 1000 times at most), each init living
through all of them. In the *burst*
thousands of orphans wait on one pipe; its end kills all at once, and only their dying and reaping
is timed. The clock stops when the init has no child left but the maker. CPU time is the init's
utime + stime, in nanoseconds, from /proc/PID/schedstat.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from bench.contenders import Init, inits
from bench.context import Bench
from bench.fleet import Command, Standing, stand
from bench.rounds import interleave
from bench.spawn import Child, pipe
from bench.table import Table, of_samples

STREAM = "stream"
BURST = "burst"
WALL = "wall"
CPU = "CPU"
ZOMBIES = "zombies"

_STREAM_MAKER = """
chain() { n=$((n - 1)); if [ $n -gt 0 ]; then chain & else printf .; fi; }
printf .
while read n; do chain; wait; done
"""
_BURST_MAKER = """
hundred() { i=0; while [ $i -lt 100 ]; do read x <&8 & i=$((i + 1)); done; }
exec 9>"$1"
hundreds=0
while [ $hundreds -lt "$2" ]; do ( hundred ); hundreds=$((hundreds + 1)); done
exec 9>&-
printf .
read x
"""
_RELEASE = 8
_GRACE = 5.0
"""Seconds after which a child that isn't reaped counts as a zombie left."""


@dataclass(frozen=True)
class Reaped:
    """What one trial measured: µs of wall and of CPU time per orphan, and zombies left."""

    wall: float
    cpu: float
    zombies: int


def run(bench: Bench) -> list[Table]:
    """Measure each init as PID 1."""
    if not bench.spawner.can_pid1:
        return []
    scale = bench.scale
    streamed = scale.stream_legs * scale.stream_leg
    return [
        *_tables(STREAM, f"{streamed} streamed orphans", *_stream(bench)),
        *_tables(BURST, f"{scale.burst} orphans that die at once", *_burst(bench)),
    ]


def _tables(
    key: str, title: str, samples: dict[str, list[Reaped]], notes: list[str]
) -> list[Table]:
    wall = {label: [trial.wall for trial in trials] for label, trials in samples.items()}
    cpu = {label: [trial.cpu for trial in trials] for label, trials in samples.items()}
    left = {label: (sum(t.zombies for t in trials),) for label, trials in samples.items()}
    return [
        of_samples(f"{key} {WALL}", f"{title}: wall time for each, µs", wall, "tini", notes),
        of_samples(f"{key} {CPU}", f"{title}: CPU time of the init for each, µs", cpu, "tini"),
        Table(f"{key} {ZOMBIES}", f"{title}: zombies left", (ZOMBIES,), left),
    ]


def _stream(bench: Bench) -> tuple[dict[str, list[Reaped]], list[str]]:
    commands = {
        init.label: Command((*init.as_pid1, "/bin/sh", "-c", _STREAM_MAKER), pid1=True)
        for init in inits(bench.peers, bench.ours)
    }
    notes: list[str] = []
    with ExitStack() as stack:
        fleet = stand(bench, commands, stack, notes)
        trials = {label: _leg(bench, standing) for label, standing in fleet.items()}
        samples = interleave(STREAM, bench.scale.stream_legs, trials, notes)
    bench.spawner.reap_strangers()
    return samples, notes


def _leg(bench: Bench, standing: Standing) -> Callable[[], Reaped]:
    orphans = bench.scale.stream_leg

    def work() -> None:
        # The first process of a chain is the maker's own child, and the count's last makes none.
        standing.stdin.write(b"%d\n" % (orphans + 2))
        bench.spawner.hear(standing.stdout)

    return lambda: _measure(standing.child, orphans, work)


def _burst(bench: Bench) -> tuple[dict[str, list[Reaped]], list[str]]:
    notes: list[str] = []
    trials = {init.label: _one_burst(bench, init) for init in inits(bench.peers, bench.ours)}
    return interleave(BURST, bench.scale.bursts, trials, notes), notes


def _one_burst(bench: Bench, init: Init) -> Callable[[], Reaped]:
    orphans = bench.scale.burst
    fifo = bench.nest.scratch / f"alive-{init.label}"
    argv = (*init.as_pid1, "/bin/sh", "-c", _BURST_MAKER, "sh", str(fifo), str(orphans // 100))

    def trial() -> Reaped:
        # A FIFO that the maker opens, so that the init never holds it: its end says that all
        # orphans are dead.
        os.mkfifo(fifo)
        with ExitStack() as stack:
            stack.callback(fifo.unlink)
            alive = stack.enter_context(
                FileIO(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            )
            os.set_blocking(alive.fileno(), True)
            waiting, release = stack.enter_context(pipe())
            answers, writer = stack.enter_context(pipe())
            stdin, _ = stack.enter_context(pipe())
            fds = {0: stdin, 1: writer, _RELEASE: waiting}
            child = stack.enter_context(bench.spawner.running(argv, pid1=True, fds=fds))
            writer.close()
            bench.spawner.hear(answers)

            def work() -> None:
                release.close()
                alive.read(1)

            reaped = _measure(child, orphans, work)
        bench.spawner.reap_strangers()
        return reaped

    return trial


def _measure(init: Child, orphans: int, work: Callable[[], None]) -> Reaped:
    """Time `work` and the reaping that it leaves to the init."""
    cpu = _cpu_ns(init.pid)
    started = time.perf_counter()
    work()
    left = _wait_for_reaping(init.pid)
    wall = time.perf_counter() - started
    return Reaped(wall / orphans * 1e6, (_cpu_ns(init.pid) - cpu) / orphans / 1e3, left)


def _wait_for_reaping(pid: int) -> int:
    """Wait until the maker is the only child of the init; returns how many others stay."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    end = time.perf_counter() + _GRACE
    while (left := len(children.read_text().split()) - 1) > 0 and time.perf_counter() < end:
        time.sleep(2e-4)
    return left


def _cpu_ns(pid: int) -> int:
    """Return the time on a CPU of a single-threaded process, in nanoseconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
