"""What becomes of a signal, by how a process treats it, without a process."""

from __future__ import annotations

import dataclasses
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.command import signals as command
from spawner.host import signals
from spawner.host.signals import Process, Thread

NONE: frozenset[int] = frozenset()
EVERY = range(1, 65)
SETS = st.frozensets(st.sampled_from(EVERY))

THREAD = Thread(7, "app", NONE, NONE, NONE)
PLAIN = Process(7, "app", "S", False, 0, NONE, NONE, NONE, NONE, (THREAD,))


def process(**changes: object) -> Process:
    """Return a process that treats all signals by default, with these differences."""
    return dataclasses.replace(PLAIN, **changes)  # type: ignore[arg-type]


def blocking(*numbers: int, waits_for: tuple[int, ...] = ()) -> Thread:
    return Thread(8, "app", frozenset(numbers), NONE, frozenset(waits_for))


TERM, CHLD, TSTP, CONT = signal.SIGTERM, signal.SIGCHLD, signal.SIGTSTP, signal.SIGCONT


@pytest.mark.parametrize(
    ("looked_at", "number", "what"),
    [
        (process(), TERM, signals.ENDS),
        (process(), CHLD, signals.DROPPED),
        (process(), TSTP, signals.STOPS),
        (process(), CONT, signals.CONTINUES),
        (process(), signal.SIGRTMIN + 3, signals.ENDS),
        (process(init=True), TERM, signals.DROPPED),
        (process(init=True), TSTP, signals.DROPPED),
        (process(init=True), CONT, signals.CONTINUES),
        (process(init=True, caught=frozenset({TERM})), TERM, signals.CAUGHT),
        (process(init=True, threads=(blocking(TERM),)), TERM, signals.WAITS),
        (process(init=True, threads=(blocking(waits_for=(TERM,)),)), TERM, signals.TAKEN),
        (process(init=True), signal.SIGKILL, signals.ENDS),
        (process(ignored=frozenset({TERM})), TERM, signals.DROPPED),
        (process(ignored=frozenset({CHLD})), CHLD, signals.DROPPED),
        (process(threads=(THREAD, blocking(TERM))), TERM, signals.ENDS),
        (process(threads=(blocking(TERM),), by_descriptor=frozenset({TERM})), TERM, signals.TAKEN),
        (process(by_descriptor=frozenset({TERM})), TERM, signals.ENDS),
        (process(state="T"), TERM, signals.WAITS),
        (process(state="Z", threads=()), TERM, signals.DROPPED),
    ],
)
def test_the_fate_of_a_signal(looked_at: Process, number: int, what: str) -> None:
    assert looked_at.fate(number).what == what


def test_who_ignores_sigchld_is_told_that_the_kernel_reaps() -> None:
    assert "the kernel reaps" in process(ignored=frozenset({CHLD})).fate(CHLD).why
    assert "the kernel reaps" not in process().fate(CHLD).why


@given(ignored=SETS, caught=SETS, blocked=SETS, number=st.sampled_from(EVERY), init=st.booleans())
def test_kill_always_ends_and_a_process_1_is_never_ended_by_anything_else(
    ignored: frozenset[int],
    caught: frozenset[int],
    blocked: frozenset[int],
    number: int,
    init: bool,
) -> None:
    looked_at = process(init=init, ignored=ignored, caught=caught, threads=(blocking(*blocked),))
    ends = looked_at.fate(number).what == signals.ENDS
    assert looked_at.fate(signal.SIGKILL).what == signals.ENDS
    assert not (ends and init and number != signal.SIGKILL)
    assert not (ends and number in ignored | caught | blocked and number != signal.SIGKILL)


@given(SETS)
def test_names_stand_for_the_signals_they_came_from(numbers: frozenset[int]) -> None:
    from pyinit import signames

    valid = {int(number) for number in signal.valid_signals()}
    words = command._names(numbers & valid).split()
    if words[:1] == ["all"]:
        named = valid - {signames.number(word) for word in words[2:]}
    else:
        named = set() if words == ["none"] else {signames.number(word) for word in words}
    assert named - {9, 19} == (numbers & valid) - {9, 19}
