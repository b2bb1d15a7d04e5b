"""`--drain` asks what is left to end, and kills what doesn't."""

from __future__ import annotations

import signal

import pytest
from helpers.leftovers import LONG, SHORT, left
from helpers.places import Place
from helpers.programs import python


def test_drain_asks_what_is_left_to_end_and_waits_for_it(place: Place) -> None:
    with left(place, "--drain", LONG, kinds=("polite", "strange-polite")) as running:
        assert sorted(running.lines(2)) == ["polite 15", "strange-polite 15"]
        assert running.wait() == 17
        assert running.out.rest() == b""


@pytest.mark.parametrize("seconds", ["0", SHORT])
def test_drain_kills_what_does_not_end(place: Place, seconds: str) -> None:
    kinds = ("polite", "stubborn", "strange-stubborn")
    with left(place, "--drain", seconds, kinds=kinds) as running:
        assert running.wait() == 17
        said = set(running.out.rest().decode().split("\n")) - {""}
        assert said <= {"polite 15", "stubborn 15", "strange-stubborn 15"}


def test_drain_kills_the_stopped_too(place: Place) -> None:
    script = "sh -c 'echo up; kill -STOP $$; echo never' & read word; exit 20"
    with place.start("--drain", SHORT, "--", "/bin/sh", "-c", script) as running:
        assert running.line() == "up"
        running.close_input()
        assert running.wait() == 20
        assert running.out.rest() == b""


MULTIPLY = """
import _signal, posix
# What is left doesn't end on SIGTERM, but becomes many, each in a session of its own.
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
if posix.fork():
    posix.read(0, 1)
    posix._exit(21)
posix.write(1, b"ready\\n")
_signal.sigwaitinfo({_signal.SIGTERM})
for _ in range(20):
    if posix.fork() == 0:
        posix.setsid()
        if posix.fork():
            posix._exit(0)
        break
_signal.sigwaitinfo({_signal.SIGUSR1})
"""


def test_drain_kills_what_was_born_meanwhile(place: Place) -> None:
    with place.start("--drain", SHORT, "--", *python(MULTIPLY)) as running:
        assert running.line() == "ready"
        running.close_input()
        assert running.wait() == 21
        assert running.out.rest() == b""


def test_drain_sends_the_term_signal_that_was_asked_for(place: Place) -> None:
    options = ("--drain", LONG, "--term-signal", "QUIT")
    with left(place, *options, kinds=("polite",), last=signal.SIGQUIT) as running:
        assert running.line() == "polite 3"
        assert running.wait() == 17


def test_a_signal_while_draining_goes_to_all_that_is_left(place: Place) -> None:
    with left(place, "--drain", LONG, kinds=("polite", "strange-polite"), last=10) as running:
        assert sorted(running.lines(2)) == ["polite 15", "strange-polite 15"]
        running.send(signal.SIGUSR1)
        assert sorted(running.lines(2)) == ["polite 10", "strange-polite 10"]
        assert running.wait() == 17


@pytest.mark.parametrize("seconds", ["9" * 20, "9" * 400, "1" + "0" * 10, "0.000000000001"])
def test_any_number_of_seconds_is_a_number_of_seconds(place: Place, seconds: str) -> None:
    options = ("--drain", seconds, "--kill-after", seconds)
    with left(place, *options, kinds=("polite",)) as running:
        if float(seconds) > 1:
            assert running.line() == "polite 15"
        assert running.wait() == 17
        assert running.errors() == ""
