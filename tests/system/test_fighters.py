"""A program in sight of its launcher stops it, once or over and over: that wedges nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.programs import PLACE, Word, python
from helpers.running import Lines, Running

import spawner
from spawner import aio

FIGHTER = """
import os, signal, sys, time
def parent(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
keeper = os.getppid()
launcher = parent(keeper)
end = int(sys.argv[1])
os.read(int(sys.argv[3]), 1)  # or the launcher couldn't even say that we have started
os.kill(launcher, signal.SIGSTOP)
os.write(end, b"on\\n")
if sys.argv[2] == "over and over":
    os.fork()
    os.fork()
    over = time.monotonic() + 100
    while time.monotonic() < over:
        os.kill(launcher, signal.SIGSTOP)
signal.pause()
"""


class End:
    """A pipe that a program holds: its end of file is the program's end.

    Another one's end of file has it begin to fight; both go along with it, as `passed`.
    """

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.gate, self.hold = os.pipe()
        self.passed = [self.writer, self.gate]
        self.lines = Lines(self.reader)

    def fighter(self, how: str) -> list[Word]:
        return python(FIGHTER, str(self.writer), how, str(self.gate))

    def started(self) -> None:
        """Let a program fight whose start is over, and wait until it does."""
        for descriptor in (self.hold, *self.passed):
            os.close(descriptor)
        self.hold, self.passed = -1, []
        assert self.lines.next() == "on"

    def close(self) -> None:
        for descriptor in (self.reader, self.hold, *self.passed):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def end() -> Iterator[End]:
    require("pidns")
    found = End()
    yield found
    found.close()


@pytest.mark.parametrize("how", ["once", "over and over"])
def test_a_time_out_ends_it(end: End, how: str) -> None:
    process = spawner.Process(end.fighter(how), share="pid", init=False, pass_fds=end.passed)
    end.started()
    with pytest.raises(spawner.TimeoutExpired):
        talk(process)
    assert (process.returncode, process.signal) == (137, signal.SIGKILL)
    assert end.lines.rest() == b""


def talk(process: spawner.Process[Any]) -> None:
    with process:
        process.communicate(timeout=0.1)


@pytest.mark.parametrize("how", ["once", "over and over"])
def test_kill_and_wait(end: End, how: str) -> None:
    process = spawner.Process(end.fighter(how), share="pid", init=False, pass_fds=end.passed)
    end.started()
    process.kill()
    assert process.wait(60) == 137
    assert end.lines.rest() == b""


def test_aio(end: End) -> None:
    async def fight() -> None:
        options: dict[str, Any] = {"share": "pid", "init": False, "pass_fds": end.passed}
        async with aio.Process[Any](end.fighter("over and over"), **options):
            end.started()
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(fight())
    assert end.lines.rest() == b""


CALLER = f"""
import os, signal, sys
sys.path[:0] = [{PLACE!r}]
import spawner
passed = [int(word) for word in sys.argv[1].split(",")]
process = spawner.Process(sys.argv[2:], share="pid", init=False, pass_fds=passed)
os.write(1, b"started\\n")
signal.pause()
"""


def test_the_end_of_the_caller_ends_it_though_the_launcher_is_stopped(end: End) -> None:
    argv = python(CALLER, ",".join(map(str, end.passed)), *end.fighter("once"))
    with Running(argv, pass_fds=end.passed) as running:
        assert running.line() == "started"
        end.started()
        (launcher,) = children.of(running.pid)
        children.wait_state(launcher, "T")
        running.send(signal.SIGKILL)
        assert end.lines.rest() == b""
