"""However it ends, nothing stays: no process of the tree, though the caller itself ends."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import children
from helpers.running import Lines
from helpers.trees import STUBBORN, Tree, python

import spawner
from spawner import PIPE, Process, run

pytestmark = pytest.mark.usefixtures("pidns")


@pytest.mark.parametrize("options", [{}, {"init": False}, {"share": "pid"}, {"share": "all"}])
def test_a_time_out_leaves_nothing(options: dict[str, Any]) -> None:
    for seconds in (0.5, 2, 8, 30):
        with contextlib.closing(Tree()) as tree:
            with pytest.raises(spawner.TimeoutExpired) as caught:
                run(tree.args, timeout=seconds, **tree.options, **options)
            assert caught.value.timeout == seconds
            os.close(tree.writer)
            tree.writer = -1
            # When the exception arrives they have ended, so this read never waits.
            os.set_blocking(tree.reader, False)
            told = os.read(tree.reader, 4096)
            assert not told or os.read(tree.reader, 1) == b""
        if told == b"ready\n" * 4:  # else it was not yet complete when its time was over
            return
    pytest.fail(f"never ready in time: {told!r}")


@pytest.mark.parametrize("options", [{}, {"init": False}, {"share": "pid"}])
def test_kill_leaves_nothing(tree: Tree, options: dict[str, Any]) -> None:
    process = tree.start(**options)
    process.kill()
    assert (process.wait(), process.signal) == (137, 9)
    assert tree.is_gone()


def test_a_failed_with_block_leaves_nothing(tree: Tree) -> None:
    with pytest.raises(LookupError):  # noqa: SIM117  the order matters
        with tree.start():
            raise LookupError
    assert tree.is_gone()


def test_the_programs_end_is_the_end_of_all() -> None:
    reader, writer = os.pipe()
    script = "exec 3<&0; setsid sh -c 'echo ready; exec sleep inf' & read -r line <&3; exit 5"
    process = Process(["sh", "-c", script], stdin=PIPE, stdout=writer)
    os.close(writer)
    assert Lines(reader).next() == "ready"
    process.communicate(b"go\n")
    assert process.returncode == 5
    os.set_blocking(reader, False)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_a_forgotten_process_leaves_nothing(tree: Tree) -> None:
    held = [tree.start()]
    with pytest.warns(ResourceWarning, match="was not waited for"):
        held.clear()
    gc.collect()
    assert tree.is_gone()


def test_a_killed_launcher_leaves_nothing(tree: Tree) -> None:
    process = tree.start()
    os.kill(process._launcher.pid, signal.SIGKILL)
    assert (process.wait(), process.signal) == (137, 9)
    assert tree.is_gone()


def test_an_interrupted_run_leaves_nothing(tree: Tree) -> None:
    """KeyboardInterrupt, as by a ^C that only this process got, when the tree is complete."""
    interrupt = f"import os, signal\nos.kill({os.getpid()}, signal.SIGINT)\n"
    args = python(
        STUBBORN.rpartition("signal.pause()")[0] + interrupt + "signal.pause()", *tree.args[-1:]
    )
    with pytest.raises(KeyboardInterrupt):
        run(args, share="pid", **tree.options)
    assert tree.is_gone()


CALLER = """
import os, signal, sys
sys.path[:0] = [sys.argv[1]]
import spawner
writer, how = int(sys.argv[2]), sys.argv[3]
made = spawner.Process(sys.argv[4:], pass_fds=[writer])
"""


WAYS = {
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "left": "os._exit(0)",
    "raised": "import warnings; warnings.simplefilter('ignore'); raise SystemExit(0)",
    "killed, with a fork that lives": """
if os.fork() == 0:
    os.close(writer)
    signal.pause()
os.kill(os.getpid(), signal.SIGKILL)
""",
    "killed, with a worker of multiprocessing that lives": """
import multiprocessing
def work():
    os.close(writer)
    signal.pause()
multiprocessing.get_context("fork").Process(target=work).start()
os.kill(os.getpid(), signal.SIGKILL)
""",
    "killed, with a fork made in C that lives": """
import ctypes
libc = ctypes.PyDLL(None)
if libc.fork() == 0:
    os.close(writer)
    libc.pause()
os.kill(os.getpid(), signal.SIGKILL)
""",
}


@pytest.mark.parametrize("way", WAYS)
def test_the_end_of_the_caller_leaves_nothing(tree: Tree, way: str) -> None:
    place = str(Path(spawner.__file__).parent.parent)
    # The caller waits until the tree is complete, for the end of its standard input.
    code = f"{CALLER}sys.stdin.read()\n{WAYS[way]}"
    before = children.of(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", code, place, str(tree.writer), way, *tree.args],
        stdin=PIPE,
        pass_fds=[tree.writer],
    ) as caller:
        tree.started()
        assert caller.stdin is not None
        caller.stdin.close()
        caller.wait()
        assert tree.lines.rest() == b""
    children.kill_all(before)  # the forks


@pytest.mark.parametrize("seconds", [2.2e6, 1e300])
def test_a_time_out_of_months_is_one(seconds: float) -> None:
    """Of more than the 24 days that poll(2) can be told at once."""
    ended = run(["echo", "out"], capture_output=True, timeout=seconds)
    assert ended.stdout == b"out\n"
    with Process(["true"], start_timeout=seconds, stop_timeout=seconds) as process:
        assert process.wait(timeout=seconds) == 0
