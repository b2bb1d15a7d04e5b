"""Whether a signal does nothing to a program, by what /proc tells of it between its steps."""

import os
import signal

import pytest

from spawner.host import proc, waits
from spawner.terminal import witness

READS = 6
"""More than are made: status and the thread's syscall, twice."""


STATES = {"waits": (0, 0), "woken": (0, 1), "runs": (1, 0)}
"""Whether the signal reads as blocked and as pending."""


def _read(state: str, path: str) -> bytes:
    if path.endswith("/status"):
        blocked, pending = (bit << (signal.SIGQUIT - 1) for bit in STATES[state])
        text = f"State:\tS (sleeping)\nSigPnd:\t0\nShdPnd:\t{pending:x}\nSigBlk:\t{blocked:x}\n"
        return text.encode() + b"SigIgn:\t0\nSigCgt:\t0\n"
    number = waits._SIGTIMEDWAIT[os.uname().machine][0]
    return number + b" 0x0" if state == "waits" else b"running\n"


@pytest.mark.parametrize("first", range(READS))
@pytest.mark.parametrize("woken", range(READS))
@pytest.mark.parametrize("length", range(READS))
def test_a_program_that_wakes_and_waits_again_between_two_reads_handles_the_signal(
    monkeypatch: pytest.MonkeyPatch, first: int, woken: int, length: int
) -> None:
    """As one that is woken and has to wait for a CPU still reads as not blocking the signal."""
    course = ["waits"] * first + ["woken"] * woken + ["runs"] * length + ["waits"] * READS
    states = iter(course)
    monkeypatch.setattr(proc, "read", lambda path: _read(next(states), path))
    assert not witness.is_spared(os.getpid(), signal.SIGQUIT)


def test_a_program_that_neither_waits_nor_blocks_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: str) -> bytes:
        if path.endswith("/status"):
            return b"State:\tR (running)\nSigBlk:\t0\nSigIgn:\t0\nSigCgt:\t0\n"
        return b"running\n"

    monkeypatch.setattr(proc, "read", read)
    assert witness.is_spared(os.getpid(), signal.SIGQUIT)


def test_a_thread_of_which_nothing_is_told_waits_for_no_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proc, "read", lambda path: b"")
    assert not waits.awaits_signals(os.getpid())
    assert waits.awaited(os.getpid(), os.getpid()) == 0
