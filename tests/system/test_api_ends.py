"""However it ends, nothing stays: no process of the tree, no descriptor, no zombie of ours."""

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


# The calling process ends

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


# Nothing of ours piles up


def test_two_hundred_runs_leave_no_descriptor_and_no_zombie() -> None:
    before = os.listdir("/proc/self/fd"), children.of(os.getpid())
    for turn in range(200):
        if turn % 4 == 3:
            with pytest.raises(FileNotFoundError):
                run(["/nosuch"], capture_output=True)
        else:
            assert run(["true"], capture_output=turn % 2 == 0).returncode == 0
    assert (os.listdir("/proc/self/fd"), children.of(os.getpid())) == before


def script(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program that uses the API in an interpreter of its own."""
    place = str(Path(spawner.__file__).parent.parent)
    head = f"import sys; sys.path[:0] = [{place!r}]\nimport os, signal, spawner, threading\n"
    return subprocess.run(
        [sys.executable, "-c", head + code, *arguments], capture_output=True, text=True, **options
    )


def test_a_start_without_descriptors_leaves_none() -> None:
    """Whatever the limit, so at every pipe that is made: it succeeds or all is closed again."""
    code = """
import gc, resource
spawner.run(["true"])
streams = [{"capture_output": True}, {"input": b"", "stderr": spawner.DEVNULL}, {}]
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
before = os.listdir("/proc/self/fd")
statuses = set()
for limit in range(4, 40):
    for options in streams:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            statuses.add(spawner.run(["true"], **options).returncode)
        except (OSError, spawner.SetupError) as error:
            statuses.add(error.errno)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        gc.collect()
        assert os.listdir("/proc/self/fd") == before, (limit, options)
print(sorted(statuses))
"""
    ended = script(code, stdin=subprocess.DEVNULL)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[0, 24]\n", "")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_is_no_file_leaves_no_descriptor(name: str) -> None:
    before = os.listdir("/proc/self/fd")
    streams: dict[str, Any] = {"stdin": PIPE, name: object()}
    with pytest.raises(AttributeError, match="fileno"):
        Process(["true"], **streams)
    assert os.listdir("/proc/self/fd") == before


def test_stderr_goes_to_stdout_though_python_knows_none() -> None:
    ended = script(
        "sys.__stdout__ = None\n"
        "spawner.run(['sh', '-c', 'echo out; echo errors >&2'], stderr=spawner.STDOUT)"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "out\nerrors\n", "")


def test_forks_in_other_threads_keep_nothing() -> None:
    """Forks at every moment of a start, with the worst moments made long."""
    code = """
import sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of fork() in a program with threads
pipe, tied, done = os.pipe, set(), threading.Event()

def slow_pipe():
    ends = pipe()
    if sys._getframe(1).f_globals["__name__"] == "spawner.api.ties":
        tied.update(os.readlink(f"/proc/self/fd/{end}") for end in ends)
        time.sleep(0.001)
    return ends

def kept():
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") in tied:
                return True
        except FileNotFoundError:  # the listing's own
            continue
    return False

def start():
    try:
        for _ in range(20):
            spawner.run(["true"])
    finally:
        done.set()

os.pipe = slow_pipe
thread = threading.Thread(target=start)
thread.start()
forks = guilty = 0
while not done.is_set():
    forks += 1
    child = os.fork()
    if child == 0:
        os._exit(kept())
    guilty += os.waitpid(child, 0)[1] != 0
    time.sleep(0.001)  # a lock isn't fair: without, the other thread hardly ever gets it
thread.join()
print(len(tied) == 40, forks > 20, guilty)
"""
    ended = script(code)
    assert (ended.stdout, ended.stderr) == ("True True 0\n", "")


def test_a_broken_pipe_does_not_kill_a_caller_with_the_default_sigpipe() -> None:
    code = """
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
process = spawner.Process(["sleep", "inf"])
os.kill(process._launcher.pid, signal.SIGKILL)
os.waitid(os.P_PID, process._launcher.pid, os.WEXITED | os.WNOWAIT)
process.kill()
print(process.wait())
"""
    ended = script(code)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "137\n", "")


OPEN_ONES = """
import os
for fd in range(64):
    try:
        os.fstat(fd)
    except OSError:
        continue
    print(fd)
"""


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_standard_streams(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """They stay closed for the program, and nothing of ours takes their place."""
    code = f"""
for fd in {closed}: os.close(fd)
ended = spawner.run(["sh", "-c", "read -r word; echo out $word; exit 3"], input=b"in\\n", stdout=-1)
plain = spawner.run({python(OPEN_ONES)}, stdout=-1)
with open(sys.argv[1], "w") as file:
    print(ended.returncode, ended.stdout, plain.stdout.split(), file=file)
"""
    script(code, str(tmp_path / "told"))
    told = (tmp_path / "told").read_text()
    open_ones = [str(fd).encode() for fd in range(3) if fd not in closed or fd == 1]
    assert told == f"3 {b'out in' + bytes([10])!r} {open_ones}\n"


def test_a_caller_that_ignores_sigchld() -> None:
    code = (
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nprint(spawner.run(['sh','-c','exit 42']))"
    )
    ended = script(code)
    assert "returncode=42" in ended.stdout, ended.stderr


def test_a_fork_that_is_under_way_at_the_import_keeps_its_peace() -> None:
    """Another thread's fork can be between its handlers: it has acquired nothing to release."""
    code = """
import os

def meanwhile():
    import spawner.api.ties

os.register_at_fork(before=meanwhile)
child = os.fork()
import spawner
status = spawner.run(["sh", "-c", "exit 3"]).returncode
if child == 0:
    os._exit(status)
print(status, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    ended = script(code)
    assert (ended.stdout, ended.stderr) == ("3 3\n", "")
