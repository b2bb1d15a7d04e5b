"""What only a twin asks of the machine: stop signals, and the rest of a session."""

from __future__ import annotations

import signal

import pytest
from helpers.reporters import STOPS
from helpers.twin_words import parsed
from hypothesis import given
from hypothesis import strategies as st

from pyinit import machine

pytestmark = pytest.mark.usefixtures("no_twin_variables")

PID, OWN_PID = 100, 50


def of_dumb_init(*given_words: str) -> machine.Machine:
    asked = parsed("dumb-init", *given_words, "app")
    own_group = asked.place == machine.OWN_SESSION
    return machine.Machine(asked, own_pid=OWN_PID, pid=PID, own_group=own_group)


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_signal_stops_both(number: int) -> None:
    for given_words, sent, target in (
        ([], signal.SIGSTOP, machine.GROUP),
        (["-c"], number, machine.PROCESS),
        (["-r", f"{int(number)}:10"], 10, machine.GROUP),
    ):
        ours = (machine.SEND, signal.SIGSTOP, machine.OURSELVES)
        actions = of_dumb_init(*given_words).signal(number, 0, 0.0)
        assert actions == [(machine.SEND, sent, target), ours]


def test_a_stop_that_is_dropped_still_stops_us() -> None:
    actions = of_dumb_init("-r", "20:0").signal(signal.SIGTSTP, 0, 0.0)
    assert actions == [(machine.SEND, signal.SIGSTOP, machine.OURSELVES)]


def test_a_key_that_stops_the_whole_group_is_not_sent_twice() -> None:
    actions = of_dumb_init("-c").signal(signal.SIGTSTP, machine.SI_KERNEL, 0.0)
    assert actions == [(machine.SEND, signal.SIGSTOP, machine.OURSELVES)]


@pytest.mark.parametrize("given_words", [[], ["-c"]])
@given(st.sets(st.sampled_from([*STOPS, signal.SIGSTOP])))
def test_the_workloads_own_stop_does_not_stop_us(
    given_words: list[str], sent: set[signal.Signals]
) -> None:
    supervision = of_dumb_init(*given_words)
    for number in sent:
        supervision.signal(number, 0, 0.0)
    for number in (*STOPS, signal.SIGSTOP):
        assert supervision.stopped_by(PID, number) == []


def test_what_is_left_of_the_session_is_asked_to_end() -> None:
    exits = (machine.EXIT, 3, "")
    for given_words, parting in (([], 15), (["-r15:10"], 10)):
        actions = of_dumb_init(*given_words).ended(PID, 3 << 8, 0.0)
        assert actions == [(machine.SEND, parting, machine.GROUP), exits]
    for given_words in (["-c"], ["-r15:0"]):
        assert of_dumb_init(*given_words).ended(PID, 3 << 8, 0.0) == [exits]


def test_nothing_is_left_to_a_group_that_is_ours_too() -> None:
    asked = parsed("dumb-init", "app")
    supervision = machine.Machine(asked, own_pid=OWN_PID, pid=PID, own_group=False)
    assert supervision.ended(PID, 0, 0.0) == [(machine.EXIT, 0, "")]
