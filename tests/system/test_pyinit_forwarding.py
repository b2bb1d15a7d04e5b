"""Every signal that can be caught reaches the workload, or its group, once and in order."""

from __future__ import annotations

import random
import signal

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.places import Place
from helpers.programs import family, python, reporter
from helpers.reporters import FAULTS, FORWARDED, LAST, PLAIN, STANDARD, reported, reported_by_all
from helpers.running import Running

REAL_TIME = [number for number in FORWARDED if number >= signal.SIGRTMIN]


def frozen(running: Running, numbers: list[int]) -> None:
    """Send signals to a pyinit that stands still, so that all of them are pending at once."""
    running.send(signal.SIGSTOP)
    children.wait_state(running.pid, "T")
    for number in numbers:
        running.send(number)
    running.send(signal.SIGCONT)


def test_every_signal_that_can_be_caught_is_forwarded(place: Place) -> None:
    with place.start("--", *reporter()) as running:
        running.line()
        for number in FORWARDED:
            running.send(number)
            tag, got, _, sender = running.line().split()
            assert (tag, int(got)) == ("reporter", number)
            # The workload hears it from pyinit, its parent, alone.
            assert int(sender) == (1 if place.inside else running.pid)


def test_sigchld_is_ours_and_is_not_forwarded(place: Place) -> None:
    # A reporter of everything, SIGCHLD too, that tells it apart from the death of a child: it
    # has none.
    watch = """
import _signal, posix
everything = _signal.valid_signals()
_signal.pthread_sigmask(_signal.SIG_BLOCK, everything)
posix.write(1, b"ready\\n")
while True:
    posix.write(1, b"reporter %d\\n" % _signal.sigwaitinfo(everything).si_signo)
"""
    with place.start("--", *python(watch)) as running:
        running.line()
        running.send(signal.SIGCHLD)
        running.send(signal.SIGUSR1)
        running.send(LAST)
        assert reported(running) == [signal.SIGUSR1]


def test_queued_real_time_signals_all_arrive_in_order(place: Place) -> None:
    sent = REAL_TIME[:-1] * 5
    random.Random(1).shuffle(sent)
    with place.start("--", *reporter()) as running:
        running.line()
        frozen(running, [*sent, LAST])
        assert reported(running) == [signal.SIGCONT, *sorted(sent)]


def test_a_thousand_real_time_signals_are_not_lost(place: Place) -> None:
    with place.start("--", *reporter()) as running:
        running.line()
        for _ in range(1000):
            running.send(signal.SIGRTMIN)
        running.send(LAST)
        assert reported(running) == [signal.SIGRTMIN] * 1000


def test_standard_signals_that_are_pending_together_arrive_once_each(place: Place) -> None:
    with place.start("--", *reporter()) as running:
        running.line()
        frozen(running, [*STANDARD, *STANDARD, LAST])
        assert sorted(reported(running)) == sorted([*STANDARD, signal.SIGCONT])


def test_a_signal_from_the_workload_itself_comes_back(place: Place) -> None:
    ask = """
import _signal, posix
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
posix.kill(posix.getppid(), _signal.SIGHUP)
posix.write(1, b"%d" % _signal.sigwaitinfo(_signal.valid_signals()).si_signo)
"""
    ended = place.run("--", *python(ask))
    assert (ended.status, ended.out) == (0, b"1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGRTMIN])
def test_by_default_only_the_workload_gets_a_signal(place: Place, number: int) -> None:
    with place.start("--", *family()) as running:
        running.lines(3)
        running.send(number)
        running.send(LAST)
        assert reported(running, by="leader") == [number]


@pytest.mark.parametrize("flag", ["-g", "--group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGRTMIN])
def test_with_group_the_workloads_process_group_gets_it(
    place: Place, flag: str, number: int
) -> None:
    with place.start(flag, "--", *family()) as running:
        running.lines(3)
        running.send(number)
        running.send(LAST)
        got = reported_by_all(running, {"leader", "member"})
        assert got == {"leader": [number], "member": [number]}


def test_with_group_every_signal_arrives_once_in_each_process(place: Place) -> None:
    with place.start("-g", "--", *family()) as running:
        running.lines(3)
        frozen(running, [*PLAIN, LAST])
        got = reported_by_all(running, {"leader", "member"})
        assert {tag: sorted(numbers) for tag, numbers in got.items()} == {
            "leader": sorted([*PLAIN, signal.SIGCONT]),
            "member": sorted([*PLAIN, signal.SIGCONT]),
        }


def test_with_all_every_process_of_the_namespace_gets_it_once(inside: Place) -> None:
    with inside.start("--all", "--", *family()) as running:
        running.lines(3)
        frozen(running, [*PLAIN, LAST])
        got = reported_by_all(running, {"leader", "member", "stranger"})
        assert {tag: sorted(numbers) for tag, numbers in got.items()} == {
            tag: sorted([*PLAIN, signal.SIGCONT]) for tag in ("leader", "member", "stranger")
        }


def test_all_is_refused_where_it_would_mean_the_whole_machine(outside: Place) -> None:
    ended = outside.run("--all", "--", "/bin/echo", "started")
    assert ended.status == 125
    assert ended.out == b""
    assert "--all" in ended.errors
    assert "PID 1" in ended.errors
    assert ended.errors.count("\n") == 1


@pytest.mark.parametrize("number", FAULTS)
def test_a_fault_signal_that_was_sent_is_forwarded(place: Place, number: int) -> None:
    with place.start("--", *reporter()) as running:
        running.line()
        running.send(number)
        running.send(LAST)
        assert reported(running) == [number]


def test_a_genuine_fault_kills_pyinit(place: Place) -> None:
    require("x86_64")
    from helpers.tracing import jump_to_nowhere

    with place.start("--", *reporter()) as running:
        running.line()
        running.send(signal.SIGUSR1)
        running.line()
        jump_to_nowhere(running.pid)
        # As PID 1 it takes unshare with it, by the same signal.
        assert running.wait() == -signal.SIGSEGV
