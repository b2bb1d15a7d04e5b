"""What SIGKILL doesn't end holds nobody up: it's awaited for a while, left, and told.

A frozen cgroup stands for a file system that doesn't answer: what is in it is in state D. And a
tracer that doesn't wait, here the test, keeps what has ended from being reaped.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from helpers import cgroups, children, tracing
from helpers.capabilities import require
from helpers.programs import PLACE, Word, python
from helpers.running import Running

import spawner
from spawner import lean

LIMIT = 0.5
"""Seconds, in place of those that pyspawn has, spawner.machine.LIMIT."""

SHAPES = {
    "the program is PID 1": [],
    "pyinit is PID 1": ["--init"],
    "keeper": ["--share=pid"],
    "keeper and pyinit": ["--share=pid", "--init"],
    "a stage": ["--user", "--init"],
}

each_shape = pytest.mark.parametrize("options", SHAPES.values(), ids=list(SHAPES))


def impatient() -> list[str]:
    """Return the argv of a pyspawn that awaits what it has killed for LIMIT."""
    return lean.lean(
        f"import spawner.machine;spawner.machine.LIMIT={LIMIT};"
        "from spawner.__main__ import main;main()"
    )


SLEEPER = """
import os, signal, sys
if os.fork() == 0:
    os.write(int(sys.argv[1]), b"%d" % os.getpid())
    os.close(0)
    os.close(1)
    os.write(int(sys.argv[2]), b"inside\\n")
    signal.pause()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.close(int(sys.argv[2]))
os.read(0, 1)
os._exit(3)
"""


class Freezer:
    """A cgroup; a program of ours has its child enter it, and only that is frozen."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self.entrance = os.open(place / "cgroup.procs", os.O_WRONLY)
        self.reader, self.writer = os.pipe()
        self.passed = (self.entrance, self.writer)
        self.program = python(SLEEPER, str(self.entrance), str(self.writer))

    def freeze(self) -> int:
        """Freeze the child once it's there; return its pid."""
        assert children.wait_readable(self.reader)
        assert os.read(self.reader, 100) == b"inside\n"
        (pid,) = map(int, (self._place / "cgroup.procs").read_text().split())
        (self._place / "freezer.state").write_text("FROZEN")
        state = self._place / "freezer.state"
        children.wait_until(lambda: state.read_text() == "FROZEN\n", "the frost")
        assert children.state(pid) == "D"
        return pid

    def thaw(self) -> None:
        (self._place / "freezer.state").write_text("THAWED")

    def close(self) -> None:
        self.thaw()
        for descriptor in (self.entrance, self.reader, self.writer):
            os.close(descriptor)


@pytest.fixture
def freezer() -> Iterator[Freezer]:
    require("root", "freezer-cgroup", "pidns")
    with cgroups.below("freezer") as place:
        found = Freezer(place)
        try:
            yield found
        finally:
            found.close()


@contextmanager
def running(freezer: Freezer, *words: Word) -> Iterator[Running]:
    argv = [*impatient(), *words, "--", *freezer.program]
    with Running(argv, pass_fds=freezer.passed) as program:
        try:
            yield program
        finally:
            freezer.thaw()


@each_shape
def test_the_stop_time_out_leaves_and_tells_it(freezer: Freezer, options: list[str]) -> None:
    with running(freezer, "--stop-timeout=0.1", *options) as program:
        pid = freezer.freeze()
        program.send(signal.SIGTERM)
        assert program.wait() == 137
        (line,) = program.errors().splitlines()
        assert line.startswith(f"pyspawn: process {pid} (python")
        assert line.endswith(
            "is left behind: it was killed, but is in an uninterruptible sleep (state D)"
        )


@pytest.mark.parametrize(
    "options", [["--init"], ["--share=pid"], ["--share=pid", "--init"], ["--user", "--init"]]
)
def test_the_end_of_the_program_leaves_and_tells_it(freezer: Freezer, options: list[str]) -> None:
    """The status is the program's."""
    with running(freezer, *options) as program:
        pid = freezer.freeze()
        program.close_input()
        assert program.wait() == 3
        (line,) = program.errors().splitlines()
        assert line.startswith(f"pyspawn: process {pid} (python")


@pytest.mark.parametrize("options", [{}, {"init": False}, {"share": "pid"}])
def test_so_does_a_time_out_of_the_api(
    freezer: Freezer, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lean, "pyspawn", impatient)
    reader, writer = os.pipe()
    process = spawner.Process(freezer.program, stdin=reader, pass_fds=freezer.passed, **options)
    freezer.freeze()
    try:
        with pytest.raises(spawner.TimeoutExpired):
            _communicate(process)
        assert process.returncode == 137
    finally:
        freezer.thaw()
        os.close(reader)
        os.close(writer)


def _communicate(process: spawner.Process[bytes]) -> None:
    with process:
        process.communicate(timeout=0.1)


def test_programs_are_told(freezer: Freezer) -> None:
    reader, writer = os.pipe()
    words = ["--stop-timeout=0.1", "--quiet", f"--json-status={writer}", "--init", "--"]
    argv = [*impatient(), *words, *freezer.program]
    with Running(argv, pass_fds=(*freezer.passed, writer)) as program:
        os.close(writer)
        pid = freezer.freeze()
        program.send(signal.SIGTERM)
        with open(reader) as told:
            events = {event["event"]: event for event in map(json.loads, told)}
        freezer.thaw()
    assert events["left"]["host_pid"] == pid
    assert events["exited"] == {
        "event": "exited",
        "status": 137,
        "signal": "SIGKILL",
        "limit": None,
    }


@contextmanager
def held(pid: int) -> Iterator[None]:
    """Trace a process, and don't wait for it; the test has to see it end."""
    require("ptrace")
    tracing.hold(pid)
    try:
        yield
    finally:
        with suppress(ChildProcessError):
            tracing.let_go(pid)


def first(pid: int) -> int:
    """Return the container's first process, seen from here."""
    found = [pid]
    while found[-1] and (below := sorted(children.of(found[-1]))):
        found.append(below[0])
    return found[-1]


PROGRAM = "trap '' TERM; echo on; read word; exit 3"


@each_shape
def test_a_killed_one_that_is_traced_holds_nobody_up(options: list[str]) -> None:
    require("pidns", "ptrace")
    argv = [*impatient(), "--stop-timeout=0.1", *options, "--", "/bin/sh", "-c", PROGRAM]
    with Running(argv) as program:
        assert program.line() == "on"
        top = first(program.pid)
        if options == ["--init"]:
            top = children.below(program.pid)[0]
        with held(top):
            program.send(signal.SIGTERM)
            assert program.wait() == 137
            told = program.errors()
    if options == ["--user", "--init"]:  # of those, the PID 1 can't end before the other is reaped
        assert "waiting for a process that has ended and is held by a tracer" in told
    else:
        assert told == ""


DAEMON = f"""
import ctypes, os, signal, sys
sys.path[:0] = {[PLACE, str(Path(tracing.__file__).parents[1])]!r}
program = os.getpid()
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.CDLL(None).ptrace(0x4206, program, None, None)
    os.write(writer, b".")
    print("on", flush=True)
    os.close(1)
    signal.pause()
os.wait()
os.read(reader, 1)
signal.pause()
"""


def test_the_tracer_may_have_got_away_into_a_joined_namespace() -> None:
    """There its parent is the PID 1, and it isn't found: neither is it waited for."""
    require("pidns", "ptrace")
    with spawner.Process(["cat"], stdin=spawner.PIPE) as box:
        before = children.of(os.getpid())
        with pytest.raises(spawner.TimeoutExpired):
            spawner.join(box, python(DAEMON), timeout=1, stdout=spawner.DEVNULL)
        box.kill()
        for pid in children.of(os.getpid()) - before:  # the tracer is dead, the traced is ours
            os.waitpid(pid, 0)
