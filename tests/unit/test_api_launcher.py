"""Whatever a launcher does, the API tells the truth, keeps nothing, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import gc
import io
import math
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from helpers import children, descriptors
from helpers.fake_launcher import COUNTER, PATIENT, launcher

import spawner
from spawner import SetupError, TimeoutExpired, aio


@pytest.fixture(autouse=True)
def _no_descriptor_left() -> Iterator[None]:
    with descriptors.none_left():
        yield


# The start


def test_it_returns_when_the_exec_has_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "started(); until_cut(); exited(137, 'SIGKILL')")
    with spawner.Process(["app"]) as process:
        assert process.pid > 0
        assert process.namespaces == {"pid": 4026531836}
        assert process.missing == {}
        assert process.poll() is process.returncode is process.signal is None
        process.kill()
    assert (process.returncode, process.signal) == (137, 9)


def test_news_may_come_in_any_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import time
tell(b'{"event": "crea'); time.sleep(0.01); tell(b'ted", "host_pid": 1, "namespaces": {}}\\n{"ev')
time.sleep(0.01)
tell(b'ent": "from a later version"}\\n{"event": "started"}\\n{"event": "exited", "status"')
tell(b': 7, "signal": null}\\n')
"""
    launcher(monkeypatch, code)
    assert spawner.run(["app"]).returncode == 7


@pytest.mark.parametrize("first", ["", "created()", "tell(b'{\"event')"])
def test_a_launcher_that_ends_without_a_word(monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    launcher(monkeypatch, f"{first}\nos._exit(3)")
    with pytest.raises(SetupError, match=r"launcher ended early, with status 3$") as caught:
        spawner.run(["app"], capture_output=True)
    assert caught.value.stage == "launcher"


def test_a_launcher_that_is_killed_during_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(SetupError, match="status -9"):
        spawner.Process(["app"], stdin=spawner.PIPE)


def test_a_start_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"stage": "init", "syscall": "execve", "errno": "EACCES", "path": "app"}
    failed |= {"message": "app: no", "hint": "chmod +x app", "status": 126}
    launcher(monkeypatch, f"created(); say('failed', **{failed!r})")
    with pytest.raises(PermissionError, match="app: no") as caught:
        spawner.run(["app"], capture_output=True)
    assert isinstance(caught.value, spawner.ExecError)
    assert (caught.value.hint, caught.value.status) == ("chmod +x app", 126)


@pytest.mark.parametrize(
    "start",
    [
        lambda: spawner.run(["app"], timeout=0.02, capture_output=True),
        lambda: spawner.Process(["app"], start_timeout=0.02),
    ],
)
def test_a_start_that_takes_too_long(
    monkeypatch: pytest.MonkeyPatch, start: Callable[[], object]
) -> None:
    launcher(monkeypatch, "created(); until_cut()")
    with pytest.raises(TimeoutExpired) as caught:
        start()
    assert (caught.value.cmd, caught.value.timeout) == (["app"], 0.02)


def test_an_interrupt_during_the_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "os.kill(os.getppid(), signal.SIGINT); until_cut()")
    with pytest.raises(KeyboardInterrupt):
        spawner.Process(["app"], stdout=spawner.PIPE)


def test_an_interpreter_that_is_gone_is_not_a_missing_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nosuch/python3")
    with pytest.raises(SetupError, match="/nosuch/python3") as caught:
        spawner.run(["app"])
    assert not isinstance(caught.value, FileNotFoundError)


def test_descriptors_that_run_out_anywhere_in_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "started(); exited(0)")
    before = descriptors.held()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    reasons = []
    for spare in range(64):
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + spare, limits[1]))
        try:
            # One stream: subprocess itself forgets one of two pipes then, before Python 3.12.
            spawner.run(["app"], stdout=spawner.PIPE)
            break
        except OSError as error:
            reasons.append(error.errno)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert descriptors.held() == before
    assert 4 <= len(reasons) < 64
    assert set(reasons) <= {errno.EMFILE, None}  # None: the launcher ran out of them


# The end


def test_signals_go_through_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
numbers = {signal.SIGTERM, signal.SIGUSR1, signal.SIGRTMIN}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
started()
for _ in numbers:
    os.write(1, b"%d\\n" % signal.sigwait(numbers))
exited(0)
"""
    launcher(monkeypatch, code)
    with spawner.Process(["app"], stdout=spawner.PIPE) as process:
        assert process.stdout is not None
        for number in (signal.SIGUSR1, signal.SIGRTMIN):
            process.send_signal(number)
            assert int(process.stdout.readline()) == number
        process.terminate()
        assert int(process.stdout.readline()) == signal.SIGTERM
    assert process.returncode == 0
    process.send_signal(signal.SIGTERM)  # as in subprocess: of no consequence after the end
    process.kill()


def test_stop_cannot_be_forwarded(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, PATIENT)
    with spawner.Process(["app"]) as process:
        with pytest.raises(ValueError, match="SIGTSTP"):
            process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == 137


def test_kill_reaches_a_launcher_that_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "started(); os.kill(os.getpid(), signal.SIGSTOP); exited(137, 'SIGKILL')")
    process = spawner.Process(["app"])
    launcher_pid = process._launcher.pid
    os.waitid(os.P_PID, launcher_pid, os.WSTOPPED | os.WNOWAIT)
    process.kill()
    assert process.wait() == 137


def test_kill_does_not_rely_on_the_end_of_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork made in C runs no callback of ours, and keeps a copy of every descriptor."""
    launcher(monkeypatch, PATIENT)
    process = spawner.Process(["app"])
    libc = ctypes.PyDLL(None)
    copy = libc.fork()
    if copy == 0:
        libc.pause()
        os._exit(0)
    try:
        process.kill()
        assert process.wait() == 137
    finally:
        os.kill(copy, signal.SIGKILL)
        os.waitpid(copy, 0)


def test_a_launcher_that_is_killed_takes_its_container_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with subprocess.Popen(["sleep", "inf"]) as first:
        launcher(monkeypatch, f"started({first.pid}); os.kill(os.getpid(), signal.SIGKILL)")
        process = spawner.Process(["app"])
        assert process.wait() == 137
        assert process.signal == signal.SIGKILL
        # It had ended before wait() returned, and not just soon after.
        assert children.state(first.pid) == "Z"
    assert first.returncode == -signal.SIGKILL


def test_the_status_is_the_reports_where_others_reap(monkeypatch: pytest.MonkeyPatch) -> None:
    """subprocess takes a child that somebody else has reaped for one that exited 0."""
    launcher(monkeypatch, "started(); exited(42)")
    process = spawner.Process(["app"])
    os.waitpid(process._launcher.pid, 0)
    assert process.wait() == 42


def test_an_ignored_sigchld_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "started(); exited(42)")
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert spawner.run(["app"]).returncode == 42
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_time_outs_are_those_of_subprocess(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "os.write(1, b'half'); started(); until_cut(); exited(137, 'SIGKILL')")
    with pytest.raises(TimeoutExpired) as caught:
        spawner.run(["app"], timeout=0.2, capture_output=True)
    assert (caught.value.cmd, caught.value.timeout) == (["app"], 0.2)
    assert repr(caught.value).startswith("TimeoutExpired(['app'], 0.2")
    assert caught.value.output in (b"half", None)  # None where the start took all of it
    with spawner.Process(["app"], stdout=spawner.PIPE) as process:
        with pytest.raises(TimeoutExpired):
            process.wait(timeout=0.01)
        with pytest.raises(TimeoutExpired) as caught:
            process.communicate(timeout=0.01)
        assert caught.value.output == b"half"
        assert process.poll() is None
        process.kill()
        assert process.communicate() == (b"half", None)


def test_check_raises_what_subprocess_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "os.write(1, b'out'); os.write(2, b'err'); started(); exited(3)")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        spawner.run(["app", "x"], check=True, capture_output=True, text=True)
    error = caught.value
    assert (error.returncode, error.cmd) == (3, ["app", "x"])
    assert (error.stdout, error.stderr) == ("out", "err")


def test_an_exception_in_the_context_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, PATIENT)
    with pytest.raises(LookupError), spawner.Process(["app"], stdin=spawner.PIPE) as process:
        raise LookupError
    assert process.returncode == 137
    assert process.stdin is not None
    assert process.stdin.closed


def test_leaving_the_context_closes_the_streams_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "started(); exited(len(sys.stdin.read()))")
    with spawner.Process(["app"], stdin=spawner.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write("five!")
    assert process.returncode == 5


def test_an_interrupted_wait_is_that_of_subprocess(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
started()
sys.stdin.buffer.read(1)
os.kill(os.getppid(), signal.SIGINT)
until_cut(); exited(137, 'SIGKILL')
"""
    launcher(monkeypatch, code)
    with spawner.Process(["app"], stdin=spawner.PIPE, bufsize=0) as process:

        def provoke_and_wait() -> None:
            assert process.stdin is not None
            process.stdin.write(b"!")
            process.wait()

        with pytest.raises(KeyboardInterrupt):
            provoke_and_wait()
        assert process.poll() is None
        process.kill()
    with pytest.raises(KeyboardInterrupt):
        spawner.run(["app"], input=b"!")


def test_output_outlives_time_outs_and_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before a time-out isn't lost, on both streams, with input underway."""
    launcher(monkeypatch, COUNTER)
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), spawner.PIPE)
    process = spawner.Process(["app"], **pipes)
    data = b"x" * 1_000_000
    with pytest.raises(TimeoutExpired):
        process.communicate(data, timeout=0)
    with pytest.raises(ValueError, match="Cannot send input after"):
        process.communicate(data)
    for _ in range(2):
        assert process.communicate() == (b"one 1000000", b"un deux")
    assert process.communicate(timeout=-1) == (b"one 1000000", b"un deux")


def test_time_outs_without_streams_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """No poll stands between the end and who waits for it with a time-out."""
    launcher(monkeypatch, "started(); sys.stdin.buffer.read(1); exited(0)")
    slept: list[float] = []
    monkeypatch.setattr(subprocess.time, "sleep", slept.append)  # type: ignore[attr-defined]
    with spawner.Process(["app"], stdin=spawner.PIPE) as process:
        with pytest.raises(TimeoutExpired):
            process.wait(0.01)
        assert process.stdin is not None
        process.stdin.write(b"!")
        process.stdin.close()
        assert process.wait(60) == 0
    assert slept == []


@pytest.mark.parametrize("seconds", [math.nan, math.inf])
def test_a_wait_for_no_time_is_refused(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    launcher(monkeypatch, PATIENT)
    with pytest.raises(ValueError, match="isn't a number"), spawner.Process(["app"]) as process:
        process.wait(seconds)
    with pytest.raises(ValueError, match="isn't a number"), spawner.Process(["app"]) as process:
        process.communicate(timeout=seconds)
    with pytest.raises(TimeoutExpired), spawner.Process(["app"]) as process:
        process.wait(-1)  # what is left of a time may be less than nothing, as in subprocess


def test_arguments_that_are_too_long_are_not_the_interpreters_fault() -> None:
    with pytest.raises(SetupError, match="E2BIG") as caught:
        spawner.run(["app", "x" * 4_000_000])
    assert caught.value.errno == errno.E2BIG
    assert "too long" in (caught.value.hint or "")


@pytest.mark.parametrize("timeout", [None, 60])
def test_a_stream_that_was_put_away_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, timeout: float | None
) -> None:
    launcher(monkeypatch, "started(); os.write(1, b'out'); os.write(2, b'err'); exited(0)")
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), spawner.PIPE)
    with spawner.Process(["app"], **pipes) as process:
        kept = process.stdin, process.stderr
        process.stdin = process.stderr = None
        assert process.communicate(timeout=timeout) == (b"out", None)
    for stream in kept:
        assert stream is not None
        assert not stream.closed
        stream.close()


def test_a_stream_may_be_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    """As CPython's own tests do; and what it was is there again after that."""
    launcher(monkeypatch, "started(); exited(0)")
    with spawner.Process(["app"], stdin=spawner.PIPE) as process:
        before = process.stdin
        with mock.patch.object(process, "stdin") as stdin:
            stdin.close.side_effect = BrokenPipeError
            process.communicate(b"data")
            stdin.close.assert_called()
        assert process.stdin is before


def test_another_stream_in_the_place_of_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "started(); exited(0)")
    with spawner.Process(["app"], stdout=spawner.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = io.BytesIO(b"theirs")
        assert process.communicate() == (b"theirs", None)


# Threads


def test_all_threads_that_communicate_get_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "started(); os.write(1, b'out' + sys.stdin.buffer.read()); exited(3)")
    process = spawner.Process(["app"], stdin=spawner.PIPE, stdout=spawner.PIPE)
    results: list[object] = []

    def talk() -> None:
        results.append(process.communicate())

    def wait() -> None:
        results.append(process.wait(60))

    threads = [threading.Thread(target=work) for work in (talk, wait, talk, wait, talk)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, results)) == ["(b'out', None)"] * 3 + ["3"] * 2


def test_a_second_thread_waits_its_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, PATIENT)
    process = spawner.Process(["app"], stdout=spawner.PIPE)
    results: list[object] = []
    talking = threading.Event()

    def talk() -> None:
        talking.set()
        results.append(process.communicate())

    thread = threading.Thread(target=talk)
    thread.start()
    talking.wait()
    with pytest.raises(TimeoutExpired):
        process.communicate(timeout=0.01)
    process.kill()
    thread.join()
    assert results == [(b"", None)]
    assert process.returncode == 137


# The garbage collector


def test_a_forgotten_process_is_killed_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, PATIENT)
    held = [spawner.Process(["app"])]
    pid = held[0].pid
    with pytest.warns(ResourceWarning, match=r"\['app'\].*was not waited for") as caught:
        held.clear()
    assert len(caught) == 1
    assert children.state(pid) == ""


def test_a_process_that_was_waited_for_makes_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "started(); exited(0)")
    process = spawner.Process(["app"])
    process.wait()
    del process
    gc.collect()  # the suite makes errors of warnings


@pytest.mark.filterwarnings("error")
def test_wrong_arguments_make_no_second_error(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, PATIENT)
    for arguments, error in (({"args": 7}, TypeError), ({"args": ["a\0b"]}, ValueError)):
        with pytest.raises(error):
            spawner.Process(**arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        spawner.Process(["app"], no_such_option=1)  # type: ignore[call-overload]
    gc.collect()


# Other threads, other processes


def test_a_fork_keeps_nothing_and_can_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, PATIENT)
    before = descriptors.held()
    process = spawner.Process(["app"])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        now = descriptors.held()  # where libuv was used, it makes its own anew
        problems = [f"kept {number}: {now[number]}" for number in now.keys() - before.keys()]
        for method in (
            *(process.poll, process.wait, process.communicate, process.terminate, process.kill),
            lambda: process.__exit__(None, None, None),
        ):
            with contextlib.suppress(ChildProcessError):
                problems.append(f"{method} gave {method()}")
        process.__del__()  # of no effect
        os.write(writer, repr(problems).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader) as told:
        problems = [
            word for word in eval(told.read()) if f"pipe:[{os.fstat(reader).st_ino}]" not in word
        ]
    assert problems == []
    assert process.poll() is None
    process.kill()
    assert process.wait() == 137


# What subprocess has besides


def test_a_start_has_a_limit_of_its_own_in_run(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "created(); until_cut()")
    for limits, seconds in (
        ({"start_timeout": 0.02, "timeout": 60}, 0.02),
        ({"start_timeout": 60, "timeout": 0.02}, 0.02),
        ({"start_timeout": 0.02}, 0.02),
    ):
        for call in (
            spawner.run,
            spawner.check_output,
            spawner.call,
            lambda args, **limits: spawner.join(os.getpid(), args, **limits),
            lambda args, **limits: asyncio.run(aio.run(args, **limits)),
            lambda args, **limits: asyncio.run(aio.join(os.getpid(), args, **limits)),
        ):
            with pytest.raises(TimeoutExpired) as caught:
                call(["app"], **limits)  # type: ignore[operator]
            assert caught.value.timeout == seconds
    launcher(monkeypatch, "started(); sys.stdin.read(1); exited(3)")
    assert spawner.run(["app"], input=b"x", start_timeout=60).returncode == 3


def calls() -> list[tuple[str, Callable[..., object]]]:
    return [
        ("spawner", lambda name, *a, **k: getattr(spawner, name)(*a, **k)),
        ("aio", lambda name, *a, **k: asyncio.run(getattr(aio, name)(*a, **k))),
    ]


@pytest.mark.parametrize(("twin", "do"), calls(), ids=lambda each: str(each)[:7])
def test_the_short_ways_are_those_of_subprocess(
    monkeypatch: pytest.MonkeyPatch, twin: str, do: Callable[..., object]
) -> None:
    """What each returns and raises, for a program that echoes its input and ends with 0 or 3."""
    code = "started(); os.write(1, b'out:' + sys.stdin.buffer.read()); exited(int(program[-1]))"
    launcher(monkeypatch, code)
    ours, theirs = (
        ["app", "0"],
        [sys.executable, "-Sc", "import sys; print(end='out:'+sys.stdin.read())"],
    )
    for options in ({"input": b"x"}, {"input": None}, {"input": "x", "text": True},
                    {"input": None, "text": True}, {"input": None, "encoding": "utf-8"},
                    {"input": None, "universal_newlines": True}):  # fmt: skip
        said: dict[str, Any] = options  # type: ignore[assignment]
        assert do("check_output", ours, **said) == subprocess.check_output(theirs, **said)
    quiet = {"stdin": spawner.DEVNULL, "stdout": spawner.DEVNULL}
    assert do("call", ["app", "3"], **quiet) == 3
    assert do("check_call", ours, **quiet) == 0
    for name in ("check_call", "check_output"):
        with pytest.raises(spawner.CalledProcessError) as caught:
            do(name, ["app", "3"], stdin=spawner.DEVNULL)
        assert (caught.value.returncode, caught.value.cmd) == (3, ["app", "3"])
    assert caught.value.output == b"out:"
    for options in ({"stdout": -1}, {"check": True}):
        with pytest.raises(ValueError, match="argument not allowed, it will be overridden"):
            do("check_output", ours, **options)


@pytest.mark.parametrize(("twin", "do"), calls(), ids=lambda each: str(each)[:7])
def test_umask_and_pipesize(
    monkeypatch: pytest.MonkeyPatch, twin: str, do: Callable[..., object]
) -> None:
    code = """
import fcntl
started()
mask = os.umask(0)
os.write(1, b"%o %d" % (mask, fcntl.fcntl(1, fcntl.F_GETPIPE_SZ)))
exited(0)
"""
    launcher(monkeypatch, code)
    before = os.umask(0o022)
    try:
        assert do("check_output", ["app"]) == b"22 65536"
        assert do("check_output", ["app"], umask=0o077, pipesize=4096) == b"77 4096"
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
