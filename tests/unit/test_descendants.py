"""Children are found by the kernel's list of them, and without one by a search: the same ones."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from helpers import children as seen
from helpers.programs import PLACE

from spawner import descendants


@pytest.mark.parametrize("how", ["children", "_search"])
def test_all_children_are_found_dead_ones_too(how: str) -> None:
    before = getattr(descendants, how)()
    with subprocess.Popen(["sleep", "1000"]) as living, subprocess.Popen(["true"]) as dead:
        seen.wait_state(dead.pid, "Z")
        assert getattr(descendants, how)() - before == {living.pid, dead.pid}
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
    descendants.children = descendants._search
descendants.kill(set())
os.close(writer)
assert os.read(reader, 1) == b""
assert descendants._search() == set()
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
