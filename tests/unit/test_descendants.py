"""Children are found by the kernel's list of them, and without one by a search: the same ones.

And nobody gets away from a kill, on a process table of our own, whose processes fork and end at
once, over and over; fork as often as a limit allows; continue whom we have stopped; reap their own.
With each of our system calls one of theirs happens, on another processor.
"""

from __future__ import annotations

import contextlib
import errno
import posix
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import children as seen
from helpers.programs import PLACE
from hypothesis import example, given
from hypothesis import strategies as st

from spawner.host import ends
from spawner.life import descendants

FOREIGN = range(1, 200)
"""Processes that aren't ours."""

US = 500

LONGEST = 20_000
"""System calls after which somebody gets away."""


class Proc:
    """One process of a Table; what it does each time that `life` of its steps are over."""

    def __init__(self, pid: int, parent: int, kind: str, life: int, *, reaps: bool) -> None:
        self.pid = pid
        self.parent = parent
        self.kind = kind
        self.life = self.left = life
        self.reaps = reaps
        self.state = "S"
        self.stopping = False


class Table:
    """Processes as the kernel holds them: FOREIGN, and what is below US.

    `chains` fork and end, `bombs` fork as long as there's room for `limit`, `wakers` continue who
    was stopped last, `others` do nothing, `closed` can't be signalled, `stuck` don't die. Those
    that reap do so at once, as who ignores SIGCHLD has it.
    """

    P_PID, WEXITED, WNOHANG, WNOWAIT = posix.P_PID, posix.WEXITED, posix.WNOHANG, posix.WNOWAIT
    O_RDONLY, O_CLOEXEC, O_NONBLOCK = posix.O_RDONLY, posix.O_CLOEXEC, posix.O_NONBLOCK

    def __init__(
        self, kinds: dict[str, int], life: int, limit: int, *, listed: bool, reaps: bool
    ) -> None:
        self.listed = listed
        self.now = 0
        self.limit = limit
        self.pids = iter(range(1000, 10**9))
        self.procs: dict[int, Proc] = {}
        self.held: dict[int, Any] = {}
        self.descriptors = iter(range(3, 10**9))
        self.stopped: list[Proc] = []
        for kind, count in kinds.items():
            for _ in range(count):
                self._new(US, kind, life, reaps=reaps)
        self.spared = {pid for pid in self.of("others") if pid % 2}

    def of(self, kind: str) -> set[int]:
        return {pid for pid, proc in self.procs.items() if proc.kind == kind}

    def alive(self) -> set[int]:
        return {pid for pid, proc in self.procs.items() if proc.state != "Z"}

    def _new(self, parent: int, kind: str, life: int, *, reaps: bool) -> None:
        pid = next(self.pids)
        self.procs[pid] = Proc(pid, parent, kind, life, reaps=reaps)

    def _tick(self) -> None:
        self.now += 1
        assert self.now < LONGEST
        # The oldest is the next to have the processor: it goes on until its turn is over.
        for proc in self.procs.values():
            if proc.state == "S" and proc.kind in ("chains", "bombs", "wakers"):
                proc.left -= 1
                if not proc.left:
                    proc.left = proc.life
                    self._act(proc)
                    if proc.stopping and proc.state == "S":
                        self._stop(proc)
                    proc.stopping = False
                return

    def _act(self, proc: Proc) -> None:
        if proc.kind == "wakers":
            if self.stopped and self.stopped[-1].state == "T":
                self.stopped.pop().state = "S"
        elif proc.kind == "chains" or len(self.procs) < self.limit:
            self._new(proc.pid, proc.kind, proc.life, reaps=proc.reaps)
            if proc.kind == "chains":
                self._end(proc)
        del self.procs[proc.pid]  # to the end of the queue
        self.procs[proc.pid] = proc
        if proc.state == "gone":
            del self.procs[proc.pid]

    def _stop(self, proc: Proc) -> None:
        proc.state = "T"
        self.stopped.append(proc)

    def _end(self, proc: Proc) -> None:
        proc.state = "Z"
        for child in self.procs.values():
            if child.parent == proc.pid:
                child.parent = US
        parent = self.procs.get(proc.parent)
        if parent is not None and parent.reaps and parent.state != "Z":
            proc.state = "gone"
            self.procs.pop(proc.pid, None)

    def _below(self, pid: int) -> bytes:
        return b" ".join(
            b"%d" % each for each in sorted(self.procs) if self.procs[each].parent == pid
        )

    def _text(self, path: str) -> bytes:
        _, _, name, *rest = path.split("/")
        if rest[-1:] == ["children"]:
            if not self.listed:
                raise FileNotFoundError(errno.ENOENT, "not there")
            return self._below(US if name == "thread-self" else int(name))
        assert rest == ["stat"]
        if int(name) in FOREIGN:
            return b"%s (x) S 1 0 0" % name.encode()
        proc = self.procs.get(int(name))
        if proc is None:
            raise FileNotFoundError(errno.ENOENT, "gone")
        # In its fork it may wait for the memory that it copies.
        state = "D" if proc.stopping and proc.state == "S" else proc.state
        words = f"{proc.pid} (a) b) {state} {proc.parent}" + " 1" * 30
        return words.encode()

    def open(self, path: str, flags: int, dir_fd: None = None) -> int:
        self._tick()
        assert flags & posix.O_CLOEXEC
        text = self._text(path)
        descriptor = next(self.descriptors)
        self.held[descriptor] = [text]
        return descriptor

    def read(self, descriptor: int, size: int) -> bytes:
        assert size == 65536
        unread: list[bytes] = self.held[descriptor]
        return unread.pop() if unread else b""

    def close(self, descriptor: int) -> None:
        del self.held[descriptor]

    def getpid(self) -> int:
        return US

    def listdir(self, path: str) -> list[str]:
        self._tick()
        if path == "/proc":
            return ["self", "meminfo", *map(str, sorted({*FOREIGN, *self.procs}))]
        _, _, name, last = path.split("/")
        assert last == "task"
        if int(name) not in self.procs:
            raise FileNotFoundError(errno.ENOENT, "gone")
        return [name]

    def waitid(self, kind: int, pid: int, flags: int) -> None:
        self._tick()
        assert kind == posix.P_PID
        assert flags & posix.WNOHANG
        assert flags & posix.WNOWAIT
        if pid not in self.procs or self.procs[pid].parent != US:
            raise ChildProcessError

    def pidfd_open(self, pid: int) -> int:
        self._tick()
        if pid not in self.procs and pid not in FOREIGN:
            raise ProcessLookupError
        descriptor = next(self.descriptors)
        self.held[descriptor] = self.procs.get(pid)
        return descriptor

    def pidfd_send_signal(self, descriptor: int, number: int) -> None:
        proc = self.held[descriptor]
        assert proc is not None, "a stranger"
        if self.procs.get(proc.pid) is not proc:
            raise ProcessLookupError
        self.kill(proc.pid, number)

    def kill(self, pid: int, number: int) -> None:
        self._tick()
        assert number in (signal.SIGKILL, signal.SIGSTOP)
        assert pid not in FOREIGN
        proc = self.procs.get(pid)
        if proc is None:
            raise ProcessLookupError
        if proc.kind == "closed":
            raise PermissionError(errno.EPERM, "not permitted")
        if proc.state == "Z" or proc.kind == "stuck":
            return
        if number == signal.SIGKILL:
            self._end(proc)
        elif proc.state == "S" and proc.left == 1:
            proc.stopping = True  # in its fork, which it finishes
        elif proc.state == "S":
            self._stop(proc)

    def waitpid(self, pid: int, flags: int) -> tuple[int, int]:
        self._tick()
        assert flags & posix.WNOHANG, "it waits without an end"
        proc = self.procs.get(pid)
        if proc is None or proc.parent != US:
            raise ChildProcessError
        if proc.state != "Z":
            return 0, 0
        del self.procs[pid]
        return pid, signal.SIGKILL

    def wait(self, pids: set[int], seconds: float) -> bool:
        """Stand in for the wait for the end of one of `pids`, which are children."""
        self._tick()
        assert pids <= self.of("stuck"), "nobody else needs a wait"
        return False


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
from spawner.life import descendants
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


@contextlib.contextmanager
def on(table: Table, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Have what kills descendants see a table, and nothing of the machine."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("spawner.life.descendants", "spawner.host.ends", "spawner.host.proc"):
            patch.setattr(f"{module}.posix", table)
        patch.setattr(descendants, "time", SimpleNamespace(monotonic=clock, sleep=int))
        numbers = {"SIGKILL": signal.SIGKILL, "SIGSTOP": signal.SIGSTOP}
        acts = SimpleNamespace(pidfd_send_signal=table.pidfd_send_signal, **numbers)
        patch.setattr(descendants, "_signal", acts)
        patch.setattr(ends, "wait", table.wait)
        yield


COUNT = st.integers(0, 20)
KINDS = st.fixed_dictionaries(
    {
        "chains": COUNT,
        "bombs": st.integers(0, 3),
        "wakers": st.integers(0, 2),
        "others": COUNT,
        "closed": st.integers(0, 3),
        "stuck": st.integers(0, 2),
    }
)


# Whose rhythm was in step with that of looks which were all alike, for ever.
@example({"chains": 3, "closed": 3}, 4, 50, True, False)
@example({"chains": 20, "others": 1, "closed": 3}, 26, 50, False, False)
@example({"chains": 15, "others": 5, "closed": 2}, 26, 50, False, False)
@example({"chains": 18, "closed": 1}, 32, 50, False, False)
# Each death made room for the next fork.
@example({"bombs": 1}, 4, 50, True, True)
@example({"bombs": 2, "wakers": 2}, 4, 50, True, True)
@given(KINDS, st.integers(4, 50), st.integers(0, 60), st.booleans(), st.booleans())
def test_nobody_gets_away(
    kinds: dict[str, int], life: int, limit: int, listed: bool, reaps: bool
) -> None:
    table = Table(kinds, life, limit, listed=listed, reaps=reaps)
    stuck = table.of("stuck")
    with on(table):
        assert descendants.kill(table.spared) == sorted(stuck)
    assert set(table.procs) == table.spared | table.of("closed") | stuck
    assert table.held == {}


def test_a_pid_that_is_a_strangers_by_now_is_not_signalled() -> None:
    """Another's child may be reaped, and its pid given anew, between the look and the signal."""
    table = Table({"others": 1}, 4, 50, listed=True, reaps=False)
    with on(table):
        assert not descendants._send(FOREIGN[-1], max(table.procs), signal.SIGKILL)


def test_a_tree_in_another_pid_namespace_is_killed_whole() -> None:
    """Whose orphans would go to somebody else, and who continue each other."""
    table = Table({"bombs": 1, "wakers": 1, "others": 4}, 7, 60, listed=True, reaps=True)
    top, *rest = sorted(table.procs)
    for pid in rest:
        table.procs[pid].parent = top
    for _ in range(500):
        table._tick()
    with on(table):
        descendants.kill_tree(top)
    assert not table.alive()


class Busy(Table):
    """A table of a host that has a processor for our processes every `pause` system calls."""

    pause = 1

    def _tick(self) -> None:
        if self.now % self.pause:
            self.now += 1
        else:
            super()._tick()

    def clock(self) -> float:
        """Return the time in seconds: in each, our processes have the processor ten times."""
        return self.now / (10 * self.pause)


@pytest.mark.parametrize("pause", range(50, 130, 10))
@pytest.mark.parametrize("life", range(2, 12))
def test_a_tree_is_killed_whole_on_a_busy_host(life: int, pause: int) -> None:
    """Where some are in the middle of a fork for long, in state D, before they stop."""
    table = Busy({"bombs": 6, "others": 4}, life, 60, listed=True, reaps=True)
    top, *rest = sorted(table.procs)
    for pid in rest:
        table.procs[pid].parent = top
    table.pause = pause
    with on(table, table.clock):
        descendants.kill_tree(top)
    assert not table.alive()
