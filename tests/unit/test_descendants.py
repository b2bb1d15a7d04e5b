"""Children are found by the kernel's list of them, and without one by a search: the same ones.

And nobody gets away from a kill, on a process table of our own: a process of a chain forks and ends
at once, over and over. Whoever looks first, and kills then, comes too late. With each of our system
calls one of theirs happens, on another processor.
"""

from __future__ import annotations

import errno
import posix
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from helpers import children as seen
from helpers.programs import PLACE
from hypothesis import example, given
from hypothesis import strategies as st

from spawner import descendants

FOREIGN = range(1, 200)
"""Processes that aren't ours."""

LONGEST = 20_000
"""System calls after which somebody gets away."""


class Table:
    """Processes as the kernel holds them; all that aren't FOREIGN are our children."""

    P_PID, WEXITED, WNOHANG, WNOWAIT = posix.P_PID, posix.WEXITED, posix.WNOHANG, posix.WNOWAIT
    O_RDONLY, O_CLOEXEC = posix.O_RDONLY, posix.O_CLOEXEC

    def __init__(self, chains: int, life: int, others: int, closed: int, *, listed: bool) -> None:
        self.listed = listed
        self.now = 0
        self.life = life
        pids: Iterator[int] = iter(range(1000, 10**9))
        self.pids = pids
        self.dead: set[int] = set()
        self.closed = {next(pids) for _ in range(closed)}
        self.alive = {next(pids) for _ in range(others)} | self.closed
        self.chains = {next(pids): life for _ in range(chains)}
        self.alive |= set(self.chains)
        self.spared = set(sorted(self.alive - set(self.chains) - self.closed)[: others // 2])

    def _tick(self) -> None:
        self.now += 1
        assert self.now < LONGEST
        if not self.chains:
            return
        # The oldest is the next to have the processor: it goes on until its child has it.
        pid = next(iter(self.chains))
        self.chains[pid] -= 1
        if not self.chains[pid]:
            del self.chains[pid]
            self._end(pid)
            new = next(self.pids)
            self.chains[new] = self.life
            self.alive.add(new)

    def _end(self, pid: int) -> None:
        self.alive.discard(pid)
        self.dead.add(pid)

    def open(self, path: str, flags: int) -> int:
        self._tick()
        assert path == "/proc/thread-self/children"
        assert flags & posix.O_CLOEXEC
        if not self.listed:
            raise FileNotFoundError(errno.ENOENT, "not there")
        self.unread = [b" ".join(b"%d" % pid for pid in sorted(self.alive | self.dead))]
        return 3

    def read(self, descriptor: int, size: int) -> bytes:
        assert (descriptor, size) == (3, 65536)
        return self.unread.pop() if self.unread else b""

    def close(self, descriptor: int) -> None:
        assert descriptor == 3

    def listdir(self, path: str) -> list[str]:
        self._tick()
        assert path == "/proc"
        return ["self", "meminfo", *map(str, sorted({*FOREIGN, *self.alive, *self.dead}))]

    def waitid(self, kind: int, pid: int, flags: int) -> None:
        self._tick()
        assert kind == posix.P_PID
        assert flags & posix.WNOHANG
        assert flags & posix.WNOWAIT
        if pid not in self.alive | self.dead:
            raise ChildProcessError

    def kill(self, pid: int, number: int) -> None:
        self._tick()
        assert number == signal.SIGKILL
        assert pid not in FOREIGN
        if pid in self.closed:
            raise PermissionError(errno.EPERM, "not permitted")
        if pid in self.alive:
            self.chains.pop(pid, None)
            self._end(pid)

    def waitpid(self, pid: int, flags: int) -> tuple[int, int]:
        self._tick()
        if pid in self.dead:
            self.dead.discard(pid)
            return pid, signal.SIGKILL
        if pid not in self.alive:
            raise ChildProcessError
        assert flags & posix.WNOHANG, "it waits for who lives on"
        return 0, 0


@pytest.mark.parametrize("how", ["_find", "_search"])
def test_all_children_are_found_dead_ones_too(how: str) -> None:
    before = set(getattr(descendants, how)())
    with subprocess.Popen(["sleep", "1000"]) as living, subprocess.Popen(["true"]) as dead:
        seen.wait_state(dead.pid, "Z")
        assert set(getattr(descendants, how)()) - before == {living.pid, dead.pid}
        living.kill()


@pytest.mark.parametrize("listed", [True, False])
def test_nothing_below_survives(listed: bool) -> None:
    """Orphans come to us, a subreaper, generation after generation."""
    code = f"""
import ctypes, os, signal, sys
sys.path[:0] = [{PLACE!r}]
from spawner import descendants
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
reader, writer = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        for _ in range(4):
            if os.fork():
                break
        os.write(writer, b"x")
        signal.pause()
        os._exit(1)
for _ in range(15):
    assert os.read(reader, 1)
if not {listed}:
    descendants._find = descendants._search
descendants.kill(set())
os.close(writer)
assert os.read(reader, 1) == b""
assert set(descendants._search()) == set()
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], timeout=60, check=False)
    assert done.returncode == 0


def test_a_tree_is_killed_whole() -> None:
    code = """
import os, signal
for _ in range(5):
    if os.fork():
        break
print("up", flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdout=subprocess.PIPE) as top:
        assert top.stdout is not None
        for _ in range(6):
            assert top.stdout.readline() == b"up\n"
        tree = [top.pid, *seen.below(top.pid)]
        assert len(tree) == 6
        descendants.kill_tree(top.pid)
        assert top.stdout.read() == b""  # the end of file: all are gone
        assert top.wait() == -signal.SIGKILL


# Whose rhythm was in step with that of looks which were all alike, for ever.
@example(chains=3, life=4, others=0, closed=3, listed=True)
@example(chains=20, life=26, others=1, closed=3, listed=False)
@example(chains=15, life=26, others=5, closed=2, listed=False)
@example(chains=18, life=32, others=0, closed=1, listed=False)
@given(st.integers(0, 20), st.integers(4, 50), st.integers(0, 20), st.integers(0, 3), st.booleans())
def test_nobody_gets_away(chains: int, life: int, others: int, closed: int, listed: bool) -> None:
    table = Table(chains, life, others, closed, listed=listed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(descendants, "posix", table)
        descendants.kill(table.spared)
    assert table.alive == table.spared | table.closed
    assert table.dead == set()
