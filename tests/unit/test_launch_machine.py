"""The launcher's waiting side as a machine: every order of signals, stops, deadlines and ends."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from spawner import machine
from spawner.machine import (
    CONTINUE,
    CONTINUE_GROUP,
    GIVE,
    KILL,
    SEND,
    SEND_TYPED,
    STOPS,
    SUSPEND,
    SUSPEND_GROUP,
    TAKE,
    Machine,
)

FORWARDED = sorted(
    int(n) for n in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
)
SIGNALS = st.sampled_from(FORWARDED)
NOW = 1000.0
CONT = int(signal.SIGCONT)
TERM = int(signal.SIGTERM)
TSTP = int(signal.SIGTSTP)
TTIN = int(signal.SIGTTIN)


def make(
    *,
    stop_signal: int = TERM,
    stop_timeout: float | None = 10.0,
    terminal: bool = False,
    foreground: bool = False,
    wants: bool = False,
    executed: bool = True,
) -> Machine:
    made = Machine(
        stop_signal=stop_signal,
        stop_timeout=stop_timeout,
        terminal=terminal,
        foreground=foreground,
        wants=wants,
    )
    if executed:
        assert made.executed() == []
    return made


class Waiting(RuleBasedStateMachine):
    """A random life of a container; the promises are checked after each event."""

    @initialize(
        stop_signal=st.sampled_from([*FORWARDED, int(signal.SIGKILL)]),
        stop_timeout=st.none() | st.floats(0, 100),
        terminal=st.booleans(),
        foreground=st.booleans(),
        wants=st.booleans(),
    )
    def start(
        self,
        stop_signal: int,
        stop_timeout: float | None,
        terminal: bool,
        foreground: bool,
        wants: bool,
    ) -> None:
        self.machine = make(
            stop_signal=stop_signal,
            stop_timeout=stop_timeout,
            terminal=terminal,
            foreground=terminal and foreground,
            wants=terminal and wants,
            executed=False,
        )
        self.terminal = terminal
        self.ours = False  # whether our process group has the terminal
        self.holds = terminal and foreground  # whether the program has the terminal
        self.due: list[int] = []  # what has to reach the program, in order
        self.sent: list[int] = []
        self.executed_ = False
        self.killed = False
        self.asked_to_stop = False
        self.suspended = 0

    def carry(self, actions: list[machine.Action]) -> None:
        for kind, number in actions:
            if kind in (SEND, SEND_TYPED, CONTINUE):
                assert self.executed_, "nobody is there yet"
                self.sent.append(number)
            elif kind == KILL:
                assert number == signal.SIGKILL
                self.killed = True
            elif kind == TAKE:
                self.holds = False
            elif kind == CONTINUE_GROUP:
                assert not self.holds, "who goes on is to have the terminal"
            elif kind == GIVE:
                assert self.terminal
                assert self.machine.wants
                assert self.ours, "nobody gives what isn't there"
                self.holds = True
            else:
                assert kind in (SUSPEND, SUSPEND_GROUP)
                assert self.terminal, "without job control nobody would continue us"
                assert not self.holds, "who is suspended can't hold up the terminal"
                self.suspended += 1
        assert self.machine.foreground == self.holds
        assert self.machine.killing == self.killed
        if self.killed:
            assert self.machine.deadline is None

    @rule(number=SIGNALS, in_foreground=st.booleans(), typed=st.booleans(), lent=st.booleans())
    def signalled(self, number: int, in_foreground: bool, typed: bool, lent: bool) -> None:
        # Though the program holds it: somebody stopped us, and the shell gave us the terminal.
        self.ours = in_foreground
        before = self.machine.deadline
        held = self.holds
        self.carry(
            self.machine.signal(number, NOW, in_foreground=in_foreground, typed=typed, lent=lent)
        )
        if typed and lent and held and self.executed_ and number in (TTIN, signal.SIGTTOU):
            assert not self.holds, "another of our job needs it"
            return
        if number == TERM:
            self.asked_to_stop = True
            number = self.machine.stop_signal
            timeout = self.machine.stop_timeout
            if not self.killed:
                expected = NOW + timeout if timeout is not None else None
                assert self.machine.deadline == (before if before is not None else expected)
        else:
            assert self.machine.deadline == before or self.killed
        if number != signal.SIGKILL:
            self.due.append(number)
        self.check()

    @precondition(lambda self: not self.executed_)
    @rule(in_foreground=st.booleans())
    def executed(self, in_foreground: bool) -> None:
        self.executed_ = True
        self.ours = in_foreground
        self.carry(self.machine.executed(in_foreground=in_foreground))
        self.check()

    def check(self) -> None:
        """Each signal once, in order, none before there is somebody to get it."""
        assert self.sent == (self.due if self.executed_ else [])

    @precondition(lambda self: self.executed_)
    @rule(number=st.sampled_from([*STOPS, signal.SIGSTOP]), ours=st.booleans(), ok=st.booleans())
    def stopped(self, number: int, ours: bool, ok: bool) -> None:
        suspended = self.suspended
        self.ours = ours
        actions = self.machine.stopped_by(int(number), in_foreground=ours)
        self.due += [n for kind, n in actions if kind == CONTINUE]
        self.carry(actions)
        if self.suspended > suspended:
            again = self.machine.resumed(continued=ok, in_foreground=ours)
            self.due += [n for kind, n in again if kind == CONTINUE]
            if ok:
                assert again[-1] == (CONTINUE, CONT)
                assert self.machine.foreground == (ours and self.machine.wants)
            self.carry(again)
        self.check()

    @precondition(lambda self: self.machine.deadline is not None)
    @rule()
    def expired(self) -> None:
        assert self.asked_to_stop
        self.carry(self.machine.expired())
        assert self.killed

    @rule()
    def lost(self) -> None:
        self.carry(self.machine.lost())
        assert self.killed


TestWaiting = Waiting.TestCase


@given(st.lists(SIGNALS))
def test_what_comes_before_the_exec_is_sent_after_it_in_order(numbers: list[int]) -> None:
    made = make(executed=False)
    for number in numbers:
        assert made.signal(number, NOW) == []
    assert [number for _, number in made.executed()] == numbers


def test_the_stop_signal_and_its_deadline() -> None:
    made = make(stop_signal=signal.SIGINT, stop_timeout=3)
    assert made.signal(TERM, NOW) == [(SEND, signal.SIGINT)]
    assert made.deadline == NOW + 3
    # A second one doesn't put it off.
    assert made.signal(TERM, NOW + 2) == [(SEND, signal.SIGINT)]
    assert made.deadline == NOW + 3
    assert made.expired() == [(KILL, signal.SIGKILL)]
    assert made.signal(TERM, NOW + 4) == [(SEND, signal.SIGINT)]
    assert made.deadline is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
def test_only_sigterm_starts_the_deadline(number: int) -> None:
    made = make()
    assert made.signal(number, NOW) == [(SEND, number)]
    assert made.deadline is None


def test_the_deadline_runs_during_the_set_up_too() -> None:
    made = make(executed=False, stop_timeout=0)
    assert made.signal(TERM, NOW) == []
    assert made.deadline == NOW
    assert made.expired() == [(KILL, signal.SIGKILL)]


def test_sigkill_as_the_stop_signal_kills_everything() -> None:
    made = make(stop_signal=signal.SIGKILL)
    assert made.signal(TERM, NOW) == [(KILL, signal.SIGKILL)]


def test_stopped_at_the_terminal_and_continued_in_the_foreground() -> None:
    made = make(terminal=True, foreground=True)
    assert made.stopped_by(TSTP, in_foreground=False) == [(TAKE, 0), (SUSPEND_GROUP, TSTP)]
    assert made.resumed(continued=True, in_foreground=True) == [(GIVE, 0), (CONTINUE, CONT)]
    assert made.foreground


def test_continued_in_the_background_it_leaves_the_terminal_alone() -> None:
    made = make(terminal=True, foreground=True)
    made.stopped_by(TSTP, in_foreground=False)
    assert made.resumed(continued=True, in_foreground=False) == [(CONTINUE, CONT)]
    assert not made.foreground


def test_a_stop_that_the_kernel_discards_wedges_nothing() -> None:
    made = make(terminal=True, foreground=True)
    made.stopped_by(TSTP, in_foreground=False)
    assert made.resumed(continued=False, in_foreground=True) == [(GIVE, 0), (CONTINUE, CONT)]


def test_a_stop_that_was_sent_through_us_stops_us_alone() -> None:
    """Whoever sent it continues us; our process group has had no part in it."""
    made = make(terminal=True, foreground=True)
    assert made.signal(TSTP, NOW) == [(SEND, TSTP)]
    assert made.stopped_by(TSTP, in_foreground=False) == [(TAKE, 0), (SUSPEND, TSTP)]
    # Discarded: the program stays stopped, as it was told, until the SIGCONT.
    assert made.resumed(continued=False, in_foreground=True) == [(GIVE, 0)]
    assert made.signal(CONT, NOW) == [(CONTINUE, CONT)]


def test_a_stop_that_was_sent_through_us_is_over_with_its_stop() -> None:
    made = make(terminal=True, foreground=True)
    made.signal(TSTP, NOW)
    made.stopped_by(TSTP, in_foreground=False)
    made.resumed(continued=True, in_foreground=True)
    # The next one is the keyboard's.
    assert made.stopped_by(TSTP, in_foreground=False) == [(TAKE, 0), (SUSPEND_GROUP, TSTP)]


def test_without_a_terminal_a_stop_is_left_to_who_sent_it() -> None:
    made = make()
    assert made.stopped_by(TSTP, in_foreground=False) == []
    assert made.signal(CONT, NOW) == [(CONTINUE, CONT)]
    assert made.signal(CONT, NOW) == [(SEND, CONT)]


def test_in_the_background_a_reader_of_the_terminal_stops_us_with_it() -> None:
    made = make(terminal=True)
    assert made.stopped_by(TTIN, in_foreground=False) == [(SUSPEND_GROUP, TTIN)]
    # `fg`: we have the terminal now, and pass it on.
    assert made.resumed(continued=True, in_foreground=True) == [(GIVE, 0), (CONTINUE, CONT)]


@pytest.mark.parametrize("foreground", [False, True], ids=["background", "taken by the shell"])
def test_brought_to_the_foreground_while_running_it_gets_the_terminal_when_it_asks(
    foreground: bool,
) -> None:
    made = make(terminal=True, foreground=foreground)
    assert made.stopped_by(TTIN, in_foreground=True) == [(GIVE, 0), (CONTINUE, CONT)]


@pytest.mark.parametrize("foreground", [False, True], ids=["background", "taken by the shell"])
def test_sigcont_in_the_foreground_passes_the_terminal_on(foreground: bool) -> None:
    made = make(terminal=True, foreground=foreground, wants=True)
    assert made.signal(CONT, NOW, in_foreground=True) == [(GIVE, 0), (SEND, CONT)]
    made = make(terminal=True, foreground=foreground, wants=True, executed=False)
    assert made.signal(CONT, NOW, in_foreground=True) == []
    assert made.executed(in_foreground=True) == [(GIVE, 0), (SEND, CONT)]


def test_sigstop_is_nobodys_job_control() -> None:
    made = make(terminal=True, foreground=True)
    assert made.stopped_by(signal.SIGSTOP, in_foreground=False) == []


def test_where_it_shares_the_terminal_it_gets_it_when_it_asks() -> None:
    made = make(terminal=True)
    assert made.signal(CONT, NOW, in_foreground=True) == [(SEND, CONT)]
    assert made.stopped_by(TTIN, in_foreground=True) == [(GIVE, 0), (CONTINUE, CONT)]
    assert made.stopped_by(TSTP, in_foreground=False) == [(TAKE, 0), (SUSPEND_GROUP, TSTP)]
    # `fg`: it has asked, and once is enough.
    assert made.resumed(continued=True, in_foreground=True) == [(GIVE, 0), (CONTINUE, CONT)]


def test_who_else_of_the_job_asks_has_the_terminal_back() -> None:
    made = make(terminal=True, foreground=True)
    asked = made.signal(TTIN, NOW, typed=True, lent=True)
    assert asked == [(TAKE, 0), (CONTINUE_GROUP, CONT)]
    assert made.signal(CONT, NOW, in_foreground=True) == [(SEND, CONT)]
    # In the shell's background nobody has it: the program stops with the rest.
    made = make(terminal=True, foreground=True)
    assert made.signal(TTIN, NOW, typed=True) == [(SEND_TYPED, TTIN)]


def test_what_the_terminal_sends_goes_to_the_programs_group() -> None:
    made = make(terminal=True, executed=False)
    assert made.signal(signal.SIGINT, NOW, typed=True) == []
    assert made.executed() == [(SEND_TYPED, signal.SIGINT)]
    assert made.interrupted


def test_a_continue_that_overtakes_the_news_of_a_stop_continues_at_once() -> None:
    made = make(terminal=True)
    assert made.signal(TSTP, NOW, typed=True) == [(SEND_TYPED, TSTP)]
    assert made.signal(CONT, NOW) == [(CONTINUE, CONT)]
    assert made.signal(CONT, NOW) == [(SEND, CONT)]


def test_what_would_end_any_other_program_starts_the_deadline() -> None:
    made = make(stop_timeout=3)
    made.end_by(NOW)
    made.end_by(NOW + 1)
    assert made.deadline == NOW + 3
    made = make(stop_timeout=None)
    made.end_by(NOW)
    assert made.deadline is None
