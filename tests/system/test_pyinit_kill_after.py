"""`--kill-after` kills everything that was asked to end and didn't; `--term-signal` asks."""

from __future__ import annotations

import signal

import pytest
from helpers import children
from helpers.leftovers import LONG, SHORT, left, leftovers
from helpers.places import Place
from helpers.programs import python, reporter
from helpers.sleeping import settle_to_wait, waits_without_timeout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_kill_after_kills_everything_when_the_time_is_over(place: Place, number: int) -> None:
    options = ("--kill-after", SHORT)
    with place.start(*options, "--", *leftovers("stubborn", "strange-stubborn")) as running:
        running.lines(2)
        running.send(number)
        assert running.wait() == 137
        assert running.out.rest() == b""


def test_kill_after_spares_what_ends_in_time(place: Place) -> None:
    script = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("up", flush=True)
signal.sigwait({signal.SIGTERM})
os._exit(22)
"""
    with place.start("--kill-after", LONG, "--", *python(script)) as running:
        assert running.line() == "up"
        running.send(signal.SIGTERM)
        assert running.wait() == 22


def test_kill_after_runs_only_once_an_end_was_asked_for(place: Place) -> None:
    with place.start("--kill-after", LONG, "-r", "HUP:0", "--", *reporter()) as running:
        running.line()
        for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGWINCH, signal.SIGALRM):
            running.send(number)
        settle_to_wait(running.pid)
        running.send(signal.SIGTERM)
        children.wait_until(lambda: has_timeout(running.pid), "a deadline")


def has_timeout(pid: int) -> bool:
    return children.state(pid) == "S" and not waits_without_timeout(pid)


def test_kill_after_counts_for_rewritten_signals(place: Place) -> None:
    for rewrite, sent in (("TERM:USR1", signal.SIGTERM), ("USR1:TERM", signal.SIGUSR1)):
        options = ("--kill-after", SHORT, "-r", rewrite)
        with place.start(*options, "--", *leftovers("stubborn")) as running:
            running.lines(1)
            running.send(sent)
            assert running.wait() == 137


def test_kill_after_holds_with_wait_too(place: Place) -> None:
    with left(place, "--wait", "--kill-after", SHORT, kinds=("stubborn",)) as running:
        running.send(signal.SIGTERM)
        assert running.wait() in (17, 137)
        assert running.out.rest() in (b"", b"stubborn 15\n")


def test_term_signal_is_what_is_sent_for_sigterm(place: Place) -> None:
    with place.start("--term-signal", "SIGRTMIN+2", "--", *leftovers("polite", last=36)) as running:
        running.lines(1)
        running.send(signal.SIGTERM)
        # The workload itself blocks all and reads: its end of input lets it go.
        running.close_input()
        assert running.wait() == 17


def test_the_workload_gets_the_term_signal(place: Place) -> None:
    with place.start("--term-signal", "INT", "--", *reporter()) as running:
        running.line()
        running.send(signal.SIGTERM)
        assert running.line().split()[1] == "2"
