"""Nothing of ours piles up or is lost: no descriptor, no zombie, no stream of the caller's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import children
from helpers.trees import python

import spawner
from spawner import PIPE, Process, run

pytestmark = pytest.mark.usefixtures("pidns")


def test_sixty_runs_leave_no_descriptor_and_no_zombie() -> None:
    before = os.listdir("/proc/self/fd"), children.of(os.getpid())
    for turn in range(60):
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
