"""Inside the nest: start each engine, hold it to the promises, measure, print the tables."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from enginetest import documented as pages
from enginetest import leftovers, materials, measure, nest, report
from enginetest.client import ClientEngine
from enginetest.docker import Docker
from enginetest.engine import Engine, RefusalError
from enginetest.findings import Finding, Init
from enginetest.kernel import Machine
from enginetest.materials import say
from enginetest.podman import Podman, RootlessPodman
from enginetest.promises import PROMISES, Promise
from enginetest.reading import WaitError
from enginetest.report import Column
from enginetest.running import CommandError

SIDE_BY_SIDE = 4
"""Checks at a time: most of what they do is wait."""

IMAGES = (
    *("plain", "pip", "group", "copied", "as-tini", "as-dumb-init", "multi-stage"),
    *("pause", "tini"),
)

ERRORS = (CommandError, WaitError, RefusalError, OSError, ValueError)
"""How a check can fail without having found anything."""


@dataclass
class Place:
    """The run's directory, and what it is furnished with."""

    directory: Path
    measured: bool
    quick: bool
    broken: str | None = None
    """How pyinit was broken; then only containers that have it are looked at."""

    @property
    def run(self) -> str:
        """The run's name, which is also that of its cgroups."""
        return self.directory.name

    @property
    def context(self) -> Path:
        """What images are built from."""
        return self.directory / "context"

    def state(self, name: str) -> tuple[Path, Path]:
        """Return a directory for an engine's state, and one on a tmpfs for its sockets."""
        return self.directory / name, Path("/run") / name

    @functools.cached_property
    def podman(self) -> Podman:
        """Podman as root, with all images: an engine, and the builder for one that has none."""
        engine = Podman(*self.state("podman"), self.run)
        engine.set_up(archive=materials.base(), context=self.context)
        return engine

    @functools.cached_property
    def archive(self) -> Path:
        """An archive of all images."""
        place = self.directory / "images.tar"
        failed = build(self.podman, self.context)
        self.podman.save([name for name in IMAGES if name not in failed], place)
        return place


def main(
    directory: Path,
    names: Sequence[str],
    *,
    measured: bool,
    quick: bool,
    broken: str | None,
    skips_allowed: bool,
) -> int:
    """Look at each engine by name, print the tables; return 0 if everything is as promised.

    Of a broken pyinit it is promised that it breaks what hangs on it.
    """
    place = Place(directory, measured, quick, broken)
    nest.furnish(directory)
    columns = [look_at(name, place) for name in names]
    print(report.text(columns), flush=True)
    if broken:
        print(f"\nBroken on purpose: {broken}\n{report.breakage(columns, broken)}", flush=True)
        return 0 if report.breaks(columns, broken) else 1
    return 0 if report.kept(columns, skips_allowed=skips_allowed) else 1


def look_at(name: str, place: Place) -> Column:
    """Look at one engine, and give up on it, not on the others, where it can't be started."""
    column = Column(name)
    try:
        LOOKS[name](place, column)
    except ERRORS as error:
        column.missing = str(error) if not column.found else None
        column.failure = str(error)
        say(f"{name}: {error}")
    return column


def _podman(place: Place, column: Column) -> None:
    hold_client(place.podman, place, column, documented=True)


def _rootless(place: Place, column: Column) -> None:
    engine = RootlessPodman(*place.state("rootless"), place.run, leftovers.USER)
    engine.set_up(archive=materials.base(), context=place.context)
    hold_client(engine, place, column)


def _docker(place: Place, column: Column) -> None:
    engine = Docker(*place.state("docker"), place.run)
    try:
        engine.set_up(archive=materials.base(), context=place.context)
        hold_client(engine, place, column, documented=True)
    finally:
        engine.tear_down()


def _containerd(place: Place, column: Column) -> None:
    materials.dependencies()
    from enginetest.containerd import Containerd

    engine = Containerd(*place.state("containerd"), place.run)
    try:
        engine.set_up(images=place.archive)
        hold(engine, place, column)
    finally:
        engine.tear_down()


def _kernel(place: Place, column: Column) -> None:
    machine = Machine(place.directory / "kernel", materials.kernel())
    machine.set_up(archive=materials.base(), context=place.context)
    column.about = machine.version()
    found = machine.findings()
    promised = {promise.key for promise in PROMISES}
    column.found = {key: seen for key, seen in found.items() if key in promised}
    column.extras = {key: seen[Init.PYINIT] for key, seen in found.items() if key not in promised}
    for key, seen in found.items():
        for init, one in seen.items():
            tell("kernel", key, init, one)


LOOKS: dict[str, Callable[[Place, Column], None]] = {
    "podman": _podman,
    "rootless": _rootless,
    "docker": _docker,
    "containerd": _containerd,
    "kernel": _kernel,
}
"""The engines by the name on the command line, the whole kernel last."""


def build(engine: ClientEngine, context: Path) -> dict[str, str]:
    """Build every image; return why, for those that could not be built."""
    failed = {}
    for name in IMAGES:
        try:
            engine.build(name, context)
        except CommandError as error:
            failed[name] = f"not built: {error}"
    return failed


def hold_client(
    engine: ClientEngine, place: Place, column: Column, *, documented: bool = False
) -> None:
    """Hold an engine that builds its images itself to the promises, and to what the pages show."""
    say(f"{engine.name}: building images")
    failed = build(engine, place.context)
    try:
        hold(engine, place, column)
        if documented and not place.broken:
            hold_to_the_pages(engine, place, column)
    finally:
        engine.tear_down()
    for name, reason in failed.items():
        column.found[name] = {Init.PYINIT: Finding(False, reason)}


def hold_to_the_pages(engine: ClientEngine, place: Place, column: Column) -> None:
    """Do what the documentation shows for an engine."""
    for name, look in pages.besides(engine, place.directory / "documented"):
        try:
            column.extras[name] = look()
        except ERRORS as error:
            column.extras[name] = Finding(False, f"{type(error).__name__}: {error}")
        tell(engine.name, name, Init.PYINIT, column.extras[name])


def hold(engine: Engine, place: Place, column: Column) -> None:
    """Hold an engine to every promise with every kind of PID 1, several at a time; measure."""
    column.about = engine.version()
    say(f"{engine.name}: {column.about}")
    asked = [
        (promise, init)
        for promise in PROMISES
        for init in engine.inits
        if init in promise.inits and not (place.broken and init in (Init.NONE, Init.ENGINE))
    ]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        seen = pool.map(lambda one: (*one, check(engine, *one)), asked)
        for promise, init, one in seen:
            column.found.setdefault(promise.key, {})[init] = one
            tell(engine.name, promise.key, init, one)
    if place.measured:
        say(f"{engine.name}: measuring")
        column.figures = measure.measure(engine, quick=place.quick)


def check(engine: Engine, promise: Promise, init: Init) -> Finding:
    """Check one promise with one kind of PID 1; what goes wrong is a promise not kept."""
    try:
        return promise.check(engine, init)
    except ERRORS as error:
        return Finding(False, f"{type(error).__name__}: {error}")


def tell(name: str, key: str, init: Init, seen: Finding) -> None:
    """Say what was found as soon as it is."""
    say(f"{name}: {key}, {init.value}: {'yes' if seen.kept else 'no'}: {seen.detail}")
