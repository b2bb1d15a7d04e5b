"""Hold what every test may rely on: named capabilities, and no process left behind."""

from __future__ import annotations

import contextlib
import os
import posix
import resource
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import children, descriptors, loops
from helpers.capabilities import MISSING, require
from helpers.joining import container
from helpers.places import Place
from helpers.terminal import Shell, Terminal
from helpers.trees import Tree
from hypothesis import HealthCheck, settings
from hypothesis.database import InMemoryExampleDatabase

__all__ = ["require"]

pytest_plugins = ["helpers.side_by_side"]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # A directory of the run's own: pytest's common one is moved, closed to other users and cleared
    # away by every run beside this one, and may hold what this one has no right to remove.
    if config.option.basetemp is None:
        place = tempfile.mkdtemp(prefix="pidone-tests-")
        config.option.basetemp = Path(place, "pytest")
        owner = os.getpid()
        config.add_cleanup(lambda: _remove(place, owner))
    # Nothing is kept between runs: a checkout need not be writable by who runs its tests.
    # And no property is timed: the host may be busy, and a test is of what is done.
    settings.register_profile(
        "tests",
        database=InMemoryExampleDatabase(),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("tests")
    # Somebody may have us ignore signals: a shell without job control SIGINT and SIGQUIT, where it
    # starts us in the background; nohup(1) SIGHUP. Two are the interpreter's own doing.
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Orphans of a test become ours, so that none can hide from `no_process_left`; and a fault
    # provoked on purpose must not leave a core file in the checkout.
    children.become_subreaper()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _remove(place: str, owner: int) -> None:
    """Remove the directory of a run, at the end of the process that made it."""
    if os.getpid() == owner:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Give back the dispositions and the mask that a test changes in this process.

    Else a later one dies of its SIGINT, which is for a Python interpreter's handler.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield
    for number, disposition in before.items():
        if disposition is not None and signal.getsignal(number) != disposition:
            signal.signal(number, disposition)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Fail a test that leaves a living process behind, once that process is gone."""
    before = children.of(os.getpid())
    yield
    left = children.settle(before)
    if left:
        pytest.fail(f"left behind: {', '.join(left)}", pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which capabilities this machine lacked, and how many tests each one cost."""
    counts = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple)
    )
    lines = [f"{count:4d}  {reason}" for reason, count in counts.items() if MISSING in reason]
    if lines:
        terminalreporter.section("skipped for want of a capability")
        for line in sorted(lines, reverse=True):
            terminalreporter.write_line(line)


@pytest.fixture(params=["pid1", "child"])
def place(request: pytest.FixtureRequest) -> Place:
    """Run the test twice: pyinit as PID 1 of a namespace, and as any process's child."""
    return Place(request.param)


@pytest.fixture(params=loops.KINDS)
def each_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test once for each kind of event loop."""
    kind: str = request.param
    loops.install(kind, monkeypatch)
    return kind


@pytest.fixture
def inside() -> Place:
    """Give the place where pyinit is PID 1."""
    return Place("pid1")


@pytest.fixture
def outside() -> Place:
    """Give the place where pyinit is a child like any other."""
    return Place("child")


@pytest.fixture
def no_descriptor_left() -> Iterator[None]:
    """Fail a test that leaves a descriptor open, once the garbage is collected."""
    with descriptors.none_left():
        yield


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail a test that leaves a descriptor open, be it to the garbage collector, or a process."""
    before = descriptors.held(), children.of(os.getpid())
    yield
    assert (descriptors.held(), children.of(os.getpid())) == before


@pytest.fixture
def pidns() -> None:
    """Skip where a test can't have namespaces of its own."""
    require("pidns")


@pytest.fixture
def overlays() -> None:
    """Skip where the kernel has no overlays."""
    require("overlay")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """Give a terminal that nobody uses yet."""
    with Terminal() as made:
        yield made


@pytest.fixture
def shell(terminal: Terminal) -> Iterator[Shell]:
    """Give a shell with job control on the terminal."""
    with Shell(terminal) as made:
        yield made


@pytest.fixture
def tree() -> Iterator[Tree]:
    """Give a tree of processes that is not started yet."""
    with contextlib.closing(Tree()) as made:
        yield made


@pytest.fixture
def no_twin_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the variables away that any of the tools heeds."""
    for name in list(posix.environ):
        if name.startswith((b"TINI_", b"DUMB_INIT_", b"CATATONIT_", b"POSIXLY_CORRECT")):
            monkeypatch.delitem(posix.environ, name)
    monkeypatch.delenv("POSIXLY_CORRECT", raising=False)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    """A container of the ordinary user's, by its program's pid."""
    require("unshare")
    with container("unshare", tmp_path) as pid:
        yield pid
