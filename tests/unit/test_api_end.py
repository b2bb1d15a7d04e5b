"""However a launcher ends, the API tells the truth, keeps nothing, and leaves nothing."""

from __future__ import annotations

import ctypes
import errno
import gc
import io
import math
import os
import signal
import subprocess
from unittest import mock

import pytest
from helpers import children
from helpers.fake_launcher import COUNTER, PATIENT, launcher

import spawner
from spawner import SetupError, TimeoutExpired

pytestmark = pytest.mark.usefixtures("no_descriptor_left")


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
