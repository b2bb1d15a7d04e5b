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
    return outside(names, figures=not options.no_figures)


def outside(names: Sequence[str], *, figures: bool) -> int:
    """Prepare, run the inner program in its nest, and see that nothing is left of it."""
    nest.interruptible()
    nest.sweep()
    try:
        materials.install_packages()  # what they bring is theirs, not left behind
    except CommandError as error:
        say(str(error))
        return 1
    before = leftovers.Snapshot.take()
    with nest.run_directory() as place:
        try:
            status = run(names, place, figures=figures)
        except CommandError as error:
            say(str(error))
            status = 1
        except KeyboardInterrupt as interrupt:
            say("interrupted; what runs is ended")
            status = 128 + int(interrupt.args[0])
    left = leftovers.left(before, leftovers.Snapshot.take(), place.name)
    print("\nLeft behind:", "; ".join(left) or leftovers.NOTHING, flush=True)
    say("done")
    return status or (1 if left else 0)


def run(names: Sequence[str], place: Path, *, figures: bool) -> int:
    """Prepare, and run the inner program with the run's directory; return its exit status."""
    temporary = place / "tmp"
    temporary.mkdir()
    # All that is started now bears the run's name, and puts its temporary files where they go.
    os.environ.update({leftovers.MARK: place.name, "TMPDIR": str(temporary)})
    say("preparing")
    prepare(names)
    materials.context(place / "context", materials.wheels())
    words = [word for name in names for word in ("--engine", name)]
    words += [] if figures else ["--no-figures"]
    program = str(materials.CHECKOUT / "docker-test")
    return nest.enter([sys.executable, "-I", program, INSIDE, str(place), *words])


def prepare(names: Sequence[str]) -> None:
    """Have everything there that comes from outside: inside there is no network."""
    materials.base()
    if "containerd" in names:
        materials.dependencies()
    if "kernel" in names:
        materials.kernel()
