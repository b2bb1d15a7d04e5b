"""The process that connects a network: each way in which its start fails leaves nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest
from helpers import children
from helpers.backends import Acting

from spawner.errors import SetupError, SyscallError
from spawner.linux import Kernel
from spawner.net import aside
from spawner.net.aside import Ends

pytestmark = pytest.mark.usefixtures("nothing_left")


class Refusing(Kernel):
    """The machine's kernel, which refuses one call of one method."""

    __slots__ = ("_left", "_name")

    def __init__(self, name: str, turn: int) -> None:
        self._name = name
        self._left = turn

    def _asked(self, name: str) -> None:
        if name == self._name:
            self._left -= 1
            if self._left == 0:
                raise SyscallError(name, errno.ENOMEM)

    def pipe(self) -> tuple[int, int]:
        self._asked("pipe")
        return super().pipe()

    def fork_aside(self, purpose: str = "") -> int:
        self._asked("fork_aside")
        return super().fork_aside(purpose)


def started(act: Callable[[Ends], object], *words: str) -> str:
    """Start a process, and stop it; return why that failed, "" if it didn't."""
    found = Acting(act)
    found.begin(Kernel())
    try:
        found.start(*words)
    except SetupError as error:
        return str(error)
    finally:
        found.stop()
    return ""


def test_words_go_there_and_a_number_comes_back() -> None:
    def serve(ends: Ends) -> None:
        assert aside.read_words(ends.words) == [b"one", b"two \xff"]
        os.write(ends.ready, b"1\n")
        os.read(ends.end, 1)

    assert started(serve, "one", "two \udcff") == ""


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda _: None, "it ended with status 127"),
        (lambda _: aside.complain("first\nthe last line\n"), "the last line"),
        (lambda _: aside.complain("1795612906.5006: no time"), "no time"),
        (lambda _: os.kill(os.getpid(), 9), "it was killed by SIGKILL"),
        (lambda ends: os.write(ends.ready, b"not yet"), "it ended with status 127"),
        (lambda _: os.open("/nosuch", os.O_RDONLY), "No such file or directory"),
        (lambda _: 1 // 0, "unexpected ZeroDivisionError: integer division or modulo by zero"),
    ],
)
def test_a_process_that_ends_is_told_with_its_reason(
    act: Callable[[Ends], object], why: str
) -> None:
    # Words are read first, or the launcher may meet a broken pipe; both are told the same.
    def serve(ends: Ends) -> None:
        aside.read_words(ends.words)
        act(ends)

    assert started(serve, "word") == f"start pasta: {why}"
    assert started(act, "word") == f"start pasta: {why}"


def test_a_process_that_is_never_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "READY", 0.01)
    why = started(lambda ends: os.read(ends.end, 1), "word")
    assert why == "start pasta: it wasn't ready after 0.01 seconds"


def test_the_end_of_the_container_ends_the_wait() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    found = Acting(lambda ends: os.read(ends.end, 1))
    found.watched = frozenset({reader})
    found.begin(Kernel())
    with pytest.raises(SetupError, match="pyspawn was told to end before this step was done"):
        found.start("word")
    found.stop()
    os.close(reader)


def test_one_that_waits_for_words_ends_too() -> None:
    found = Acting(lambda ends: aside.read_words(ends.words))
    found.begin(Kernel())
    found.stop()


def test_it_ends_by_itself_when_the_launcher_is_gone() -> None:
    """All that it holds of the launcher are pipes, and they are at their end."""

    def serve(ends: Ends) -> None:
        assert os.read(ends.end, 1) == b""

    found = Acting(serve)
    found.begin(Kernel())
    pidfd = os.pidfd_open(found.pid)
    for descriptor in found.descriptors:
        os.close(descriptor)
    assert children.wait_readable(pidfd)
    os.close(pidfd)
    os.waitpid(found.pid, 0)


@pytest.mark.parametrize(("name", "turn"), [*(("pipe", n) for n in range(1, 5)), ("fork_aside", 1)])
def test_a_start_that_the_kernel_refuses(name: str, turn: int) -> None:
    found = Acting(lambda _: None)
    with pytest.raises(SetupError, match=r"fork for the network pasta: .*ENOMEM"):
        found.begin(Refusing(name, turn))
    found.stop()
