"""A signal at any moment of the start reaches the workload, once; at its end it changes nothing."""

from __future__ import annotations

import contextlib
import os
import random
import signal

import pytest
from helpers.capabilities import require
from helpers.places import Place
from helpers.programs import BLOCK_ALL, READY, reporter
from helpers.reporters import LAST, PLAIN, STANDARD, arrive_at_any_call, reported
from helpers.seccomp import Held
from helpers.sleeping import spin

from pyinit import signames

UNSEEN_EARLY = {signal.SIGPIPE, signal.SIGXFSZ}
"""A starting interpreter ignores these, and by that drops pending ones: so does our reporter."""


@pytest.mark.parametrize(
    ("where", "options"),
    [("pid1", []), ("pid1", ["-g"]), ("pid1", ["--all"]), ("child", []), ("child", ["-g"])],
    ids="".join,
)
def test_signals_between_fork_and_exec_arrive_once(where: str, options: list[str]) -> None:
    require("seccomp")
    place = Place(where)
    with Held("execve") as held:
        prepare = BLOCK_ALL + held.code
        with place.start(
            *options, "--", *reporter(), prepare=prepare, pass_fds=[held.fileno]
        ) as running:
            held.let_go(held.catch())  # the exec of pyinit itself
            workload = held.catch()
            assert workload.pid != running.pid
            early = [number for number in PLAIN if number not in UNSEEN_EARLY]
            for number in [*early, LAST]:
                running.send(number)
            held.let_go(workload)
            assert running.line().startswith("reporter ready")
            assert sorted(reported(running)) == early


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_workloads_group_before_its_exec_ends_it(place: Place, number: int) -> None:
    """As a ^C does, once the group has the foreground: by the workload's disposition, not ours."""
    require("seccomp")
    with Held("setpgid") as held:
        argv = ["--", "/bin/sleep", "1000"]
        with place.start(*argv, prepare=held.code, pass_fds=[held.fileno]) as running:
            workload = held.catch()
            assert workload.pid != running.pid
            os.kill(workload.pid, number)
            held.let_go(workload)
            held.let_go(held.catch())  # pyinit's own, for the same group
            assert running.wait() == 128 + number


def test_what_a_process_sent_to_itself_before_it_became_pyinit_arrives(place: Place) -> None:
    """Its pid is ours, but the signals are not of our making."""
    early = [number for number in PLAIN if number not in UNSEEN_EARLY]
    prepare = BLOCK_ALL + f"for number in {early}:\n    os.kill(os.getpid(), number)\n"
    with place.start("--", *reporter(), prepare=prepare) as running:
        running.line()
        running.send(LAST)
        assert sorted(reported(running)) == early


def test_signals_before_the_fork_arrive_once(place: Place) -> None:
    require("seccomp")
    with Held("execve", "clone", "clone3", "fork", "vfork") as held:
        prepare = BLOCK_ALL + held.code
        with place.start("--", *reporter(), prepare=prepare, pass_fds=[held.fileno]) as running:
            early = [number for number in PLAIN if number not in UNSEEN_EARLY]
            for _ in range(2):  # the exec of pyinit, then its fork
                moment = held.catch()
                for number in early:
                    running.send(number)
                held.let_go(moment)
            held.let_go(held.catch())
            assert running.line().startswith("reporter ready")
            running.send(LAST)
            # Twice sent before anybody looked: standard ones are one, real-time ones are two.
            twice = [number for number in early if number >= signal.SIGRTMIN]
            assert sorted(reported(running)) == sorted(early + twice)


@pytest.mark.parametrize("ignored", [[], STANDARD], ids=["default", "ignored"])
def test_setting_dispositions_drops_nothing_that_is_pending(
    outside: Place, ignored: list[int]
) -> None:
    """A signal that gets ignored is dropped, also one that is blocked, signal(7)."""
    require("seccomp")
    with Held("prctl", "clone", "clone3", "fork", "vfork") as held:
        ignore = f"for number in {ignored}: signal.signal(number, signal.SIG_IGN)\n"
        prepare = ignore + BLOCK_ALL + held.code
        with outside.start(
            *("-v", "--", *reporter()), prepare=prepare, pass_fds=[held.fileno]
        ) as running:
            moment = held.catch()  # of PR_SET_CHILD_SUBREAPER, before any disposition is set
            for number in PLAIN:
                running.send(number)
            held.let_go(moment)
            held.let_go(held.catch())  # the fork
            workload = int(running.line().removeprefix("reporter ready "))
            running.send(LAST)
            seen = set(PLAIN) - UNSEEN_EARLY
            assert set(reported(running)) - UNSEEN_EARLY == seen
            os.kill(workload, signal.SIGKILL)
            running.wait()
            errors = running.errors()
            for number in STANDARD:
                assert f" {signames.name(number)} from {os.getpid()}: " in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGRTMIN + 4])
def test_a_signal_at_a_random_moment_of_the_start_is_not_lost(place: Place, number: int) -> None:
    moments = random.Random(number)
    for _ in range(12):
        with place.start("--", *reporter(), prepare=BLOCK_ALL + READY) as running:
            assert running.line() == "starting"
            target = running.pid
            spin(moments.uniform(0, 0.03))
            os.kill(target, number)
            assert running.line().startswith("reporter ready")
            assert running.line().split()[1] == str(int(number))
            running.send(LAST)
            assert reported(running) == []


def test_signals_at_any_system_call_of_the_start_are_not_lost(place: Place) -> None:
    """Each of these moments is one that a random sender would have to hit."""
    require("seccomp")
    arrive_at_any_call(
        lambda prepare: place.start("--", *reporter(), prepare=prepare), least=100, moments=24
    )


def test_a_signal_at_a_random_moment_kills_or_is_forwarded(outside: Place) -> None:
    """Without a starter that blocks, only the interpreter's own start may die of it."""
    moments = random.Random(7)
    for _ in range(20):
        with outside.start("--", "/bin/sleep", "1000", prepare=READY) as running:
            assert running.line() == "starting"
            spin(moments.uniform(0, 0.03))
            running.send(signal.SIGTERM)
            assert running.wait() in (143, -signal.SIGTERM)


def test_a_signal_right_before_the_end_does_not_change_the_status(place: Place) -> None:
    for _ in range(10):
        with place.start("--", "/bin/sh", "-c", "echo up; read word; exit 7") as running:
            running.line()
            pid = running.pid
            running.close_input()
            with contextlib.suppress(ProcessLookupError):
                for _ in range(50):
                    os.kill(pid, signal.SIGWINCH)
            assert running.wait() == 7
