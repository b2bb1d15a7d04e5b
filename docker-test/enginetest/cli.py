"""The command line: prepare outside, run inside, clean up, and compare."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from enginetest import breaks, documented, leftovers, materials, nest
from enginetest.breaks import BREAKS
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
    parser.add_argument("--quick", action="store_true", help="measure everything just twice")
    parser.add_argument(
        "--break",
        dest="broken",
        choices=BREAKS,
        help="break pyinit on purpose: exit status 0 if just the promises that hang on this fail",
    )
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
            measured=not (options.no_figures or options.broken),
            quick=options.quick,
            broken=options.broken,
            skips_allowed="CI" not in os.environ,
        )
    if os.geteuid() != 0:
        say("needs root: it starts daemons, makes namespaces and cgroups")
        return 1
    words = [word for name in names for word in ("--engine", name)]
    words += ["--no-figures"] if options.no_figures else []
    words += ["--quick"] if options.quick else []
    words += ["--break", options.broken] if options.broken else []
    return outside(names, words, options.broken)


def outside(names: Sequence[str], words: Sequence[str], broken: str | None) -> int:
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
            status = run(names, words, broken, place)
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


def run(names: Sequence[str], words: Sequence[str], broken: str | None, place: Path) -> int:
    """Prepare, and run the inner program with these words; return its exit status."""
    temporary = place / "tmp"
    temporary.mkdir()
    # All that is started now bears the run's name, and puts its temporary files where they go.
    os.environ.update({leftovers.MARK: place.name, "TMPDIR": str(temporary)})
    say("preparing")
    prepare(names)
    source = materials.CHECKOUT
    if broken:
        source = breaks.apply(broken, source, place / "source")
    materials.context(place / "context", source)
    if not broken:
        documented.lay_out(place / "documented", place / "context")
    program = str(materials.CHECKOUT / "docker-test")
    return nest.enter([sys.executable, "-I", program, INSIDE, str(place), *words])


def prepare(names: Sequence[str]) -> None:
    """Have everything there that comes from outside: inside there is no network."""
    materials.base()
    if "containerd" in names:
        materials.dependencies()
    if "kernel" in names:
        materials.kernel()
