"""Who forks without an end is ended all the same, in every way that ends what is below us.

Each bomb has a limit of its own, and is out of reach of what tests leave: `cgroups.below` ends it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from helpers import cgroups, children
from helpers.capabilities import require
from helpers.programs import PLACE, Word, pyinit, python
from helpers.running import Running

from spawner import lean

LIMIT = 50

BOMB = """
import os, signal, sys, time
group, ready, how = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.write(group, b"%d" % os.getpid())
if how == "ignoring":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that a death makes room at once
if how == "leaving" and os.fork():
    os.read(ready, 1)
    os._exit(3)
told, end = False, time.monotonic() + 200
while time.monotonic() < end:
    try:
        if os.fork() == 0:
            told = True
            if how == "daemons":
                os.setsid()
    except OSError:
        if not told:
            print("full", flush=True)
            os.read(ready, 1)
        told = True
        time.sleep(0.001)
"""
"""Forks until there's no more room; says so, waits for a word, and goes on."""

HOW = ["plain", "ignoring", "daemons"]


class Group:
    """The limited cgroup, by a descriptor of its entrance, and the pipe by which a bomb goes on."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.entrance = os.open(place / "cgroup.procs", os.O_WRONLY)
        self.reader, self.writer = os.pipe()
        self.passed = (self.entrance, self.reader)

    def bomb(self, how: str) -> list[Word]:
        return python(BOMB, str(self.entrance), str(self.reader), how)

    @contextlib.contextmanager
    def running(self, argv: Sequence[Word]) -> Iterator[Running]:
        """Run what starts a bomb; whatever happens, the bomb doesn't outlive this."""
        with Running(argv, pass_fds=self.passed) as running:
            try:
                yield running
            finally:
                cgroups.kill_all(self.place)

    def go(self) -> None:
        """Let the bomb go on, and forget about the room that it has."""
        os.write(self.writer, b".")

    def is_empty(self) -> bool:
        return not (self.place / "cgroup.procs").read_text()

    def close(self) -> None:
        for descriptor in (self.entrance, self.reader, self.writer):
            os.close(descriptor)


@pytest.fixture
def group() -> Iterator[Group]:
    require("root", "pids-cgroup")
    with cgroups.below("pids", pids_max=str(LIMIT)) as place:
        found = Group(place)
        try:
            yield found
        finally:
            found.close()


CALLER = """
import sys
sys.path[:0] = [sys.argv[1]]
import spawner
fds = [int(word) for word in sys.argv[2].split(",")]
try:
    with eval(sys.argv[3], {"spawner": spawner, "fds": fds, "args": sys.argv[4:]}) as process:
        sys.stdin.read()
        print(process.communicate(timeout=0.5))
except spawner.TimeoutExpired:
    print("time is over")
"""


def ends_in_time(group: Group, how: str, what: str) -> None:
    """Check that a time-out of the API ends the bomb that `what` has started.

    A process of its own starts it: one that hangs hangs alone.
    """
    passed = ",".join(map(str, group.passed))
    with group.running(python(CALLER, PLACE, passed, what, *group.bomb(how))) as running:
        assert running.line() == "full"
        group.go()
        running.close_input()
        assert running.line() == "time is over"
        assert group.is_empty()


@pytest.mark.parametrize("how", HOW)
def test_a_time_out_ends_a_bomb(group: Group, how: str) -> None:
    ends_in_time(group, how, "spawner.Process(args, pass_fds=fds, share='pid')")


@pytest.mark.parametrize("how", HOW)
def test_a_time_out_ends_a_bomb_that_has_joined(group: Group, how: str) -> None:
    """Without the namespace of processes: its orphans come to the keeper."""
    with Running([*lean.pyspawn(), "--uts", "--", "cat"]) as target:
        target.write(b"here\n")
        assert target.line() == "here"
        (pid,) = children.of(target.pid)
        what = f"spawner.JoinedProcess({pid}, args, pass_fds=fds, namespaces=['uts'])"
        ends_in_time(group, how, what)


def test_a_time_out_ends_a_bomb_in_another_pid_namespace(group: Group) -> None:
    """Whose orphans are out of our reach: but nobody of it ends before all are killed."""
    with Running([*lean.pyspawn(), "--init", "--", "cat"]) as target:
        target.write(b"here\n")
        assert target.line() == "here"
        (pid,) = children.of(target.pid)
        what = f"spawner.JoinedProcess({pid}, args, pass_fds=fds)"
        ends_in_time(group, "plain", what)


@pytest.mark.parametrize("init", [[], ["--init"]])
@pytest.mark.parametrize("how", HOW)
def test_the_stop_time_out_ends_a_bomb(group: Group, how: str, init: list[str]) -> None:
    words = ["--share=pid", *init, "--stop-timeout=0.2", "--", *group.bomb(how)]
    with group.running([*lean.pyspawn(), *words]) as running:
        assert running.line() == "full"
        group.go()
        running.send(signal.SIGTERM)
        assert running.wait() == 137
        assert group.is_empty()


def test_the_end_of_the_program_ends_the_bomb_that_it_leaves(group: Group) -> None:
    words = ["--share=pid", "--", *group.bomb("leaving")]
    with group.running([*lean.pyspawn(), *words]) as running:
        assert running.line() == "full"
        group.go()
        group.go()
        assert running.wait() == 3
        assert group.is_empty()


def test_the_end_of_the_launcher_ends_a_bomb(group: Group) -> None:
    words = ["--share=pid", "--", *group.bomb("ignoring")]
    with group.running([*lean.pyspawn(), *words]) as running:
        assert running.line() == "full"
        group.go()
        running.send(signal.SIGKILL)
        assert running.out.rest() == b""
        children.wait_until(group.is_empty, "the end of the bomb")


@pytest.mark.parametrize("how", HOW)
def test_kill_after_ends_a_bomb_where_pyinit_is_not_pid_1(group: Group, how: str) -> None:
    argv = pyinit("--kill-after=0.2", "--wait", "--", *group.bomb(how))
    with group.running(argv) as running:
        assert running.line() == "full"
        group.go()
        running.send(signal.SIGTERM)
        assert running.wait() == 137
        assert group.is_empty()


def test_so_does_a_drain(group: Group) -> None:
    argv = pyinit("--drain=0.2", "--", *group.bomb("leaving"))
    with group.running(argv) as running:
        assert running.line() == "full"
        group.go()
        group.go()
        assert running.wait() == 3
        assert group.is_empty()
