"""Whatever a launcher does while it starts, the API tells the truth and keeps nothing."""

from __future__ import annotations

import errno
import os
import resource
import sys
from collections.abc import Callable

import pytest
from helpers import descriptors
from helpers.fake_launcher import launcher

import spawner
from spawner import SetupError, TimeoutExpired

pytestmark = pytest.mark.usefixtures("no_descriptor_left")


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
