"""The command line: prepare outside, run inside, clean up, and compare."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from enginetest import leftovers, materials, nest
from enginetest.materials import say
from enginetest.running import CommandError

ENGINES = ("podman", "rootless", "docker", "containerd", "kernel")
INSIDE = "--inside"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="docker-test",
        description="Hold pyinit to its promises under container engines and on a bare kernel.",
        epilog="Exit status 0 if everything is as promised and nothing was left behind. "
        "Where CI is set, an engine that can't be started is a failure too.",
    )
    parser.add_argument(
        "--engine",
        action="append",
        choices=ENGINES,
        help="only this one; repeatable",
    )
    parser.add_argument("--no-figures", action="store_true", help="leave out the measurements")
    parser.add_argument(INSIDE, type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return the exit status."""
    options = parse(arguments)
    names = [name for name in ENGINES if name in (options.engine or ENGINES)]
    if options.inside:
        from enginetest import inner

        return inner.main(
            options.inside,
            names,
            measured=not options.no_figures,
            skips_allowed="CI" not in os.environ,
        )
    if os.geteuid() != 0:
        say("needs root: it starts daemons, makes namespaces and cgroups")
        return 1
    try:
        return outside(names, figures=not options.no_figures)
    except CommandError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return nest.INTERRUPTED


def outside(names: Sequence[str], *, figures: bool) -> int:
    """Prepare, run the inner program in its nest, and see that nothing is left of it."""
    say("preparing")
    prepare(names)
    before = leftovers.Snapshot.take()
    with nest.run_directory() as place:
        materials.context(place / "context", materials.wheels())
        words = [word for name in names for word in ("--engine", name)]
        words += [] if figures else ["--no-figures"]
        program = str(materials.CHECKOUT / "docker-test")
        status = nest.enter([sys.executable, "-I", program, INSIDE, str(place), *words], place.name)
        nest.clean(place.name)
    left = leftovers.left(before, leftovers.Snapshot.take(), place.name)
    left += [f"directory {place}"] if place.exists() else []
    print("\nLeft behind:", "; ".join(left) or "no mount, cgroup, process or file", flush=True)
    say("done")
    return status or (1 if left else 0)


def prepare(names: Sequence[str]) -> None:
    """Have everything there that comes from outside: inside there is no network."""
    materials.install_packages()
    materials.base()
    if "containerd" in names:
        materials.dependencies()
    if "kernel" in names:
        materials.kernel()
