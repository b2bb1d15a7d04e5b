"""A scout: what it finds, and that nobody waits for ever for one that doesn't come back."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import children
from helpers.kernels import open_descriptors

from spawner import making
from spawner.errors import LAUNCHER, SetupError, SyscallError
from spawner.joining import scout
from spawner.linux import Kernel


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before, open_before = children.of(os.getpid()), open_descriptors()
    yield
    assert children.of(os.getpid()) == before
    assert open_descriptors() == open_before


def send(task: Callable[[], dict[str, int]], *watched: int) -> dict[str, int]:
    sent = scout.Scout(Kernel(), "look", task)
    try:
        return sent.answer(watched)
    finally:
        assert sent.close() == 0


def test_descriptors_come_back() -> None:
    found = send(lambda: {"null": os.open("/dev/null", os.O_RDONLY), "root": os.open("/", 0)})
    for name, path in (("null", "/dev/null"), ("root", "/")):
        assert os.path.samestat(os.fstat(found[name]), os.stat(path))
        assert not os.get_inheritable(found[name])
        os.close(found[name])
    assert send(dict) == {}


def failing(error: Exception) -> Callable[[], dict[str, int]]:
    def fail() -> dict[str, int]:
        raise error

    return fail


def test_so_do_errors() -> None:
    error = SetupError("look", stage=LAUNCHER, syscall="openat", errno=errno.EIO, path="/x y")
    for each in (error, SyscallError("openat", errno.EIO, "/x y")):
        with pytest.raises(SetupError) as caught:
            send(failing(each))
        found = caught.value
        assert (found.step, found.syscall, found.errno, found.path) == (
            "look", "openat", errno.EIO, "/x y",
        )  # fmt: skip
    with pytest.raises(SetupError, match="unexpected ValueError: what"):
        send(failing(ValueError("what")))


def wait_for_ever() -> dict[str, int]:
    signal.pause()
    return {}


def test_one_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scout, "ANSWER", 0.1)
    with pytest.raises(SetupError, match=r"look: no answer within 0\.1 s") as caught:
        send(wait_for_ever)
    assert "doesn't answer" in str(caught.value.hint)


def test_one_that_is_killed() -> None:
    def end() -> dict[str, int]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    with pytest.raises(
        SetupError, match="look: the process that pyspawn forked to open it was killed"
    ):
        send(end)


def test_one_that_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is in a namespace that it enters may do that."""
    monkeypatch.setattr(scout, "ANSWER", 0.1)

    def stop() -> dict[str, int]:
        os.kill(os.getpid(), signal.SIGSTOP)
        return {}

    with pytest.raises(SetupError, match="no answer"):
        send(stop)


def test_the_end_of_the_caller() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    with pytest.raises(SetupError, match="look: pyspawn was told to end before this step was done"):
        send(wait_for_ever, reader)
    os.close(reader)


@pytest.mark.parametrize("answers", [False, True])
def test_a_signal_to_end(monkeypatch: pytest.MonkeyPatch, answers: bool) -> None:
    """It is left for whoever forwards it, if there is an answer in time."""
    monkeypatch.setattr(making, "PATIENCE", 60 if answers else 0.1)
    sent_by_now = os.eventfd(0)  # which stays open over there, other than a pipe

    def look() -> dict[str, int]:
        os.eventfd_read(sent_by_now)
        return {} if answers else wait_for_ever()

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        sent = scout.Scout(Kernel(), "look", look)
        os.kill(os.getpid(), signal.SIGTERM)
        os.eventfd_write(sent_by_now, 1)
        if answers:
            assert sent.answer() == {}
        else:
            with pytest.raises(
                SetupError, match="look: got SIGTERM before this step was done"
            ) as caught:
                sent.answer()
            assert caught.value.status == 128 + signal.SIGTERM
        assert sent.close() == 0
        assert signal.sigtimedwait({signal.SIGTERM}, 0) is not None
    finally:
        os.close(sent_by_now)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def test_it_holds_no_pipe_of_the_callers(tmp_path: Path) -> None:
    """Whoever reads one waits for its end, and the scout may hang; a file may be what is named."""
    reader, writer = os.pipe()
    file = os.open(tmp_path, os.O_RDONLY)
    sent = scout.Scout(Kernel(), "look", lambda: {"file": os.open(f"/dev/fd/{file}", os.O_RDONLY)})
    try:
        os.close(writer)
        found = sent.answer()["file"]
        assert children.wait_readable(reader)
        assert os.path.samestat(os.fstat(found), os.fstat(file))
        os.close(found)
    finally:
        assert sent.close() == 0
        for descriptor in (reader, file):
            os.close(descriptor)
