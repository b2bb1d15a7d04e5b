"""The supervisor as a machine: every order of signals, deaths, stops and deadlines."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from pyinit import machine

OWN_PID = 7
WORKLOAD = 100
ORPHANS = st.integers(min_value=101, max_value=103)
CATCHABLE = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD})
SIGNALS = st.sampled_from(CATCHABLE).map(int)
TARGETS = st.sampled_from([{}, {"group": True}, {"all": True}])
CODES = st.sampled_from([0, -1, -6, machine.SI_KERNEL, machine.SI_PASSED_ON])
WAIT_STATUSES = st.one_of(
    st.integers(0, 255).map(lambda code: code << 8),
    st.sampled_from([int(s) for s in CATCHABLE] + [9]).map(int),
)


def make(values: dict[str, object] | None = None, **more: object) -> machine.Machine:
    asked = machine.Settings(values or {}, [b"program"])
    return machine.Machine(asked, own_pid=OWN_PID, pid=WORKLOAD, **more)  # type: ignore[arg-type]


class Supervision(RuleBasedStateMachine):
    """Random life of a workload; after each event the promises are checked."""

    @initialize(
        where=TARGETS,
        wait=st.booleans(),
        drain=st.none() | st.floats(0, 100),
        kill_after=st.none() | st.floats(0, 100),
        rewrite=st.dictionaries(SIGNALS, st.just(0) | SIGNALS, max_size=3),
        exit_codes=st.dictionaries(st.integers(0, 255), st.integers(0, 255), max_size=3),
        term_signal=SIGNALS,
        own_group=st.booleans(),
        own_pid=st.sampled_from([1, OWN_PID]),
    )
    def start(
        self, where, wait, drain, kill_after, rewrite, exit_codes, term_signal, own_group, own_pid
    ):  # type: ignore[no-untyped-def]
        self.asked = machine.Settings(
            {
                **where,
                "wait": wait,
                "drain": drain,
                "kill_after": kill_after,
                "rewrite": rewrite,
                "exit_code": exit_codes,
                "term_signal": term_signal,
            },
            [b"program"],
        )
        self.own_pid = own_pid
        self.machine = machine.Machine(
            self.asked, own_pid=own_pid, pid=WORKLOAD, own_group=own_group
        )
        self.own_group = own_group
        self.alive = {WORKLOAD}
        self.now = 0.0
        self.asked_to_end = False
        self.expected: int | None = None
        self.exited: int | None = None

    def take(self, actions: list[machine.Action]) -> list[machine.Action]:
        """Check what holds of all actions."""
        for kind, number, _ in actions:
            if kind == machine.EXIT:
                assert self.exited is None, "nothing follows an exit"
                self.exited = number
        if self.exited is not None:
            assert actions[-1][0] == machine.EXIT
            assert self.exited == self.expected
        if self.machine.deadline is not None:
            assert self.asked_to_end
            assert not self.machine.killing
        return actions

    @precondition(lambda self: self.exited is None)
    @rule(number=SIGNALS, code=CODES, lent=st.booleans())
    def arrival(self, number: int, code: int, lent: bool) -> None:
        running = WORKLOAD in self.alive
        actions = self.machine.signal(number, code, self.now, lent=lent)
        shared = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH}
        if code == machine.SI_KERNEL and not self.own_group and number in shared:
            assert actions == []
            return
        of_terminal = code in (machine.SI_KERNEL, machine.SI_PASSED_ON)
        if of_terminal and lent and number in (signal.SIGTTIN, signal.SIGTTOU):
            assert actions == [(machine.YIELD, signal.SIGCONT, "")]
            return
        sent = self.asked.rewrite.get(number, number)
        if number == signal.SIGTERM and number not in self.asked.rewrite:
            sent = self.asked.term_signal
        asks = {number, sent} & {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
        if sent and asks and self.asked.kill_after is not None:
            self.asked_to_end = True
        self.take(actions)
        if not sent:
            assert actions == []
            return
        assert len(actions) == 1, "exactly once"
        kind, what, target = actions[0]
        assert what == sent
        if not running:
            assert (kind, target) == (machine.SEND, machine.EVERYTHING)
        elif sent == signal.SIGCONT:
            assert kind == machine.CONTINUE
            assert target in (self.asked.target, machine.GROUP)
        elif of_terminal and self.own_group and number in shared and target == machine.GROUP:
            assert (kind, self.asked.target) in ((machine.SEND, machine.PROCESS), (kind, target))
        elif of_terminal and number == signal.SIGHUP and not lent and self.own_group:
            assert kind == machine.SEND
        else:
            assert (kind, target) == (machine.SEND, self.asked.target)

    @precondition(lambda self: self.exited is None)
    @rule(pid=ORPHANS)
    def orphan(self, pid: int) -> None:
        self.alive.add(pid)

    @precondition(lambda self: self.exited is None and len(self.alive) > 0)
    @rule(data=st.data(), status=WAIT_STATUSES)
    def death(self, data: st.DataObject, status: int) -> None:
        pid = data.draw(st.sampled_from(sorted(self.alive)))
        self.alive.discard(pid)
        killing = self.machine.killing
        if pid == WORKLOAD:
            code = 128 + status if 0 < status < 128 else status >> 8
            self.expected = self.asked.exit_codes.get(code, code)
            if self.asked.drain is not None:
                self.asked_to_end = True
        actions = self.take(self.machine.ended(pid, status, self.now))
        if pid == WORKLOAD and not self.asked.wait and self.asked.drain is None:
            assert self.exited == self.expected
            return
        if pid == WORKLOAD and self.asked.drain is not None and not killing:
            assert actions == [(machine.SEND, self.asked.term_signal, machine.EVERYTHING)]
        elif killing and self.own_pid != 1:
            assert actions == [(machine.SEND, signal.SIGKILL, machine.EVERYTHING)]
        else:
            assert actions == []
        if not self.alive:
            self.take(self.machine.childless())
            assert self.exited == self.expected, "the last one's death ends it"

    @precondition(lambda self: self.exited is None and self.machine.deadline is not None)
    @rule()
    def time_is_over(self) -> None:
        assert self.machine.deadline is not None
        self.now = max(self.now, self.machine.deadline)
        actions = self.take(self.machine.expired())
        assert actions == [(machine.SEND, signal.SIGKILL, machine.EVERYTHING)]
        assert self.machine.deadline is None

    @precondition(lambda self: self.exited is None)
    @rule(
        pid=st.sampled_from([WORKLOAD, 101]),
        number=st.sampled_from([signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU]),
    )
    def stop(self, pid: int, number: int) -> None:
        actions = self.take(self.machine.stopped_by(pid, number))
        if pid != WORKLOAD or WORKLOAD not in self.alive or number == signal.SIGSTOP:
            assert actions == []
        else:
            assert len(actions) == 1
            assert actions[0][:2] == (machine.SUSPEND, number)

    @precondition(lambda self: self.exited is None)
    @rule(pid=st.sampled_from([WORKLOAD, 101]))
    def go_on(self, pid: int) -> None:
        self.machine.continued(pid)

    @rule()
    def nothing_happens(self) -> None:
        """Keep a rule that can always run, also after the exit."""


TestSupervision = Supervision.TestCase


def test_a_stop_at_the_terminal_is_continued_in_the_whole_group() -> None:
    supervisor = make()
    assert supervisor.stopped_by(WORKLOAD, signal.SIGTSTP) == [
        (machine.SUSPEND, signal.SIGTSTP, "")
    ]
    assert supervisor.signal(signal.SIGCONT, 0, 0) == [
        (machine.CONTINUE, signal.SIGCONT, machine.GROUP)
    ]
    assert supervisor.signal(signal.SIGCONT, 0, 0) == [
        (machine.CONTINUE, signal.SIGCONT, machine.PROCESS)
    ]


def test_a_stop_that_was_forwarded_was_asked_for() -> None:
    supervisor = make()
    supervisor.signal(signal.SIGTSTP, 0, 0)
    assert supervisor.stopped_by(WORKLOAD, signal.SIGTSTP) == [
        (machine.SUSPEND, signal.SIGTSTP, machine.ASKED)
    ]


@pytest.mark.parametrize("told", ["before", "after", "never"])
@pytest.mark.parametrize("known", [True, False], ids=["stopped", "stop unknown"])
def test_a_stop_may_overtake_the_news_that_the_workload_was_continued(
    told: str, known: bool
) -> None:
    """As a ^Z right after a `fg`: it was asked for, whatever is read first."""
    supervisor = make()
    supervisor.signal(signal.SIGTSTP, machine.SI_KERNEL, 0)
    if known:
        supervisor.stopped_by(WORKLOAD, signal.SIGTSTP)
    supervisor.signal(signal.SIGCONT, 0, 0)
    if told == "before":
        supervisor.continued(WORKLOAD)
    supervisor.signal(signal.SIGTSTP, machine.SI_KERNEL, 0)
    if told == "after":
        supervisor.continued(WORKLOAD)
    assert supervisor.stopped_by(WORKLOAD, signal.SIGTSTP) == [
        (machine.SUSPEND, signal.SIGTSTP, machine.ASKED)
    ]


def test_a_stop_behind_our_back_is_not_one_that_others_have_ended() -> None:
    supervisor = make()
    supervisor.signal(signal.SIGTSTP, machine.SI_KERNEL, 0)
    supervisor.continued(WORKLOAD)
    assert supervisor.stopped_by(WORKLOAD, signal.SIGTSTP) == [
        (machine.SUSPEND, signal.SIGTSTP, "")
    ]


@given(number=SIGNALS)
def test_pause_ends_on_term_and_int_only(number: int) -> None:
    paused = machine.Machine(machine.Settings({"pause": True}), own_pid=1)
    expected = [(machine.EXIT, 0, "")] if number in (signal.SIGTERM, signal.SIGINT) else []
    assert paused.signal(number, 0, 0) == expected
    assert paused.childless() == []


def test_a_signal_that_becomes_an_end_sets_the_deadline() -> None:
    supervisor = make({"kill_after": 5.0, "rewrite": {signal.SIGHUP: signal.SIGTERM}})
    supervisor.signal(signal.SIGHUP, 0, 10.0)
    assert supervisor.deadline == 15.0


def test_an_earlier_deadline_stays() -> None:
    supervisor = make({"kill_after": 5.0})
    supervisor.signal(signal.SIGTERM, 0, 10.0)
    supervisor.signal(signal.SIGTERM, 0, 12.0)
    assert supervisor.deadline == 15.0


@pytest.mark.parametrize("code", [machine.SI_KERNEL, machine.SI_PASSED_ON])
def test_what_the_terminal_sends_to_our_group_goes_to_the_workloads(code: int) -> None:
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH, signal.SIGHUP):
        supervisor = make()
        sent = supervisor.signal(number, code, 0)
        assert sent == [(machine.SEND, number, machine.GROUP)]
        assert supervisor.signal(number, 0, 0) == [(machine.SEND, number, machine.PROCESS)]
    # Where the workload's group has the terminal, a hang-up is for the session's leader.
    hang_up = make().signal(signal.SIGHUP, code, 0, lent=True)
    assert hang_up == [(machine.SEND, signal.SIGHUP, machine.PROCESS)]


def test_who_else_of_the_job_asks_has_the_terminal_back() -> None:
    asked = make().signal(signal.SIGTTIN, machine.SI_KERNEL, 0, lent=True)
    assert asked == [(machine.YIELD, signal.SIGCONT, "")]


def test_a_continue_that_overtakes_the_stop_is_for_the_whole_group() -> None:
    supervisor = make()
    supervisor.signal(signal.SIGTSTP, machine.SI_KERNEL, 0)
    assert supervisor.signal(signal.SIGCONT, 0, 0)[0][2] == machine.GROUP
    assert supervisor.signal(signal.SIGCONT, 0, 0)[0][2] == machine.PROCESS
