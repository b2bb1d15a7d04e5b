"""`python -m bench`: run the experiments, print the tables, judge the budgets."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from bench import api, forward, idle, join, launch, loss, mapping, nest, reap, sandbox, start
from bench.budgets import judge
from bench.context import FULL, QUICK, Bench
from bench.installed import PEERS, NotMeasurable, Ours, find_ours, find_peers, version
from bench.nest import Nest
from bench.spawn import Spawner
from bench.table import Table, render

EXPERIMENTS: dict[str, Callable[[Bench], list[Table]]] = {
    "start": start.run,
    "launch": launch.run,
    "sandbox": sandbox.run,
    "mapping": mapping.run,
    "join": join.run,
    "api": api.run,
    "idle": idle.run,
    "forward": forward.run,
    "reap": reap.run,
    "loss": loss.run,
}


_QUIET = 0.5
"""The load, for each CPU, up to which a machine is quiet."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure pyinit and pyspawn beside their peers, interleaved in one run.",
    )
    parser.add_argument("--quick", action="store_true", help="a few rounds of everything")
    parser.add_argument(
        "--only",
        action="append",
        choices=EXPERIMENTS,
        metavar="NAME",
        help=f"one experiment ({', '.join(EXPERIMENTS)}); repeatable",
    )
    parser.add_argument("--rounds", type=_positive, metavar="N", help="N rounds of everything")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 if a budget was missed")
    return parser.parse_args(arguments)


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def main() -> int:
    """Run the experiments in a nest of their own; returns the exit status."""
    options = parse()
    return nest.run(lambda place: measure(options, place))


def measure(options: argparse.Namespace, place: Nest) -> int:
    """Run the experiments that were asked for and print what they found."""
    scale = QUICK if options.quick else FULL
    if options.rounds:
        scale = scale.with_rounds(options.rounds)
    ours = _ours()
    bench = Bench(place, Spawner(place), find_peers(), ours, scale)
    _introduce(bench)
    names = options.only or list(EXPERIMENTS)
    tables: dict[str, Table] = {}
    for name in names:
        for table in EXPERIMENTS[name](bench):
            tables[table.key] = table
            print(render(table), end="\n\n", flush=True)
    verdicts, kept = judge(tables, names)
    print(render(verdicts))
    if options.json:
        every = [asdict(table) for table in (*tables.values(), verdicts)]
        options.json.write_text(json.dumps(every, indent=1))
    return 1 if options.check and not kept else 0


def _ours() -> Ours | None:
    try:
        return find_ours()
    except NotMeasurable as reason:
        print(f"bench: the peers alone are measured: {reason}", file=sys.stderr)
        return None


def _introduce(bench: Bench) -> None:
    """Say what stands side by side, where, and what is missing."""
    print(f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} CPUs,")
    load = os.getloadavg()[0]
    print(f"user {os.geteuid()}, load {load:.2f}")
    if load > _QUIET * (os.cpu_count() or 1):
        print("the machine has other work to do: take these figures as rough")
    for name in PEERS:
        path = bench.peers.get(name)
        print(f"{name}: {version(path) if path else 'not installed'}")
    if bench.nest.denied:
        print(f"no PID namespace ({bench.nest.denied}): nothing is measured as PID 1")
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
