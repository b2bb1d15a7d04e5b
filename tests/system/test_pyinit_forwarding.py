"""Every signal that can be caught reaches the workload, once, in order, whenever it comes."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.places import Place
from helpers.programs import BLOCK_ALL, READY, family, python, reporter
from helpers.running import Running
from helpers.seccomp import Held, Stepped

from pyinit import signames

FORWARDED = sorted(
    int(number)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
)
JOB_CONTROL = {signal.SIGCONT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
"""Of these the kernel drops pending ones when an opposite comes, so they can't wait together."""

PLAIN = [number for number in FORWARDED[:-1] if number not in JOB_CONTROL]

UNSEEN_EARLY = {signal.SIGPIPE, signal.SIGXFSZ}
"""A starting interpreter ignores these, and by that drops pending ones: so does our reporter."""

STANDARD = [number for number in PLAIN if number < signal.SIGRTMIN]
REAL_TIME = [number for number in FORWARDED if number >= signal.SIGRTMIN]
LAST = int(signal.SIGRTMAX)
"""The kernel takes pending signals lowest number first, so this one comes after all others."""


def reported(running: Running, *, by: str = "reporter", until: int = LAST) -> list[int]:
    """Return the numbers that a reporter says it got, up to and without `until`."""
    numbers: list[int] = []
    while True:
        tag, number = running.line().split()[:2]
        assert tag == by
        if int(number) == until:
            return numbers
        numbers.append(int(number))


def reported_by_all(running: Running, tags: set[str], until: int = LAST) -> dict[str, list[int]]:
    """Return what each of several reporters got, until all of them got `until`."""
    numbers: dict[str, list[int]] = {tag: [] for tag in tags}
    waiting = set(tags)
    while waiting:
        tag, number = running.line().split()[:2]
        if int(number) == until:
            waiting.discard(tag)
        else:
            numbers[tag].append(int(number))
    return numbers


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


# --- targets ---------------------------------------------------------------------------------


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


# --- rewriting -------------------------------------------------------------------------------


REWRITES = [
    (["-r", "TERM:INT"], signal.SIGTERM, [signal.SIGINT]),
    (["-r", "SIGTERM:SIGINT"], signal.SIGTERM, [signal.SIGINT]),
    (["-r15:2"], signal.SIGTERM, [signal.SIGINT]),
    (["--rewrite", "hup:quit"], signal.SIGHUP, [signal.SIGQUIT]),
    (["--rewrite=RTMIN+1:USR1"], signal.SIGRTMIN + 1, [signal.SIGUSR1]),
    (["-r", "USR1:SIGRTMAX-2"], signal.SIGUSR1, [signal.SIGRTMAX - 2]),
    (["-r", "36:37"], 36, [37]),
    (["-r", "WINCH:0"], signal.SIGWINCH, []),
    (["-r", "RTMIN:0"], signal.SIGRTMIN, []),
    (["-r", "TERM:INT"], signal.SIGHUP, [signal.SIGHUP]),
    # Rewriting is one step: what came out isn't rewritten again.
    (["-r", "TERM:INT", "-r", "INT:HUP"], signal.SIGTERM, [signal.SIGINT]),
    (["-r", "TERM:INT", "-r", "INT:TERM"], signal.SIGINT, [signal.SIGTERM]),
    (["-r", "TERM:INT", "-r", "TERM:HUP"], signal.SIGTERM, [signal.SIGHUP]),
    (["-r", "TERM:TERM"], signal.SIGTERM, [signal.SIGTERM]),
]


@pytest.mark.parametrize(
    ("options", "sent", "expected"),
    REWRITES,
    ids=[" ".join(options) + f" {int(sent)}" for options, sent, _ in REWRITES],
)
def test_a_signal_is_rewritten(
    outside: Place, options: list[str], sent: int, expected: list[int]
) -> None:
    with outside.start(*options, "--", *reporter()) as running:
        running.line()
        running.send(sent)
        running.send(LAST)
        assert reported(running) == expected


@pytest.mark.parametrize("target", ["", "-g", "--all"])
def test_rewriting_holds_in_every_target(inside: Place, target: str) -> None:
    options = [target] if target else []
    with inside.start(*options, "-r", "TERM:INT", "-r", "HUP:0", "--", *family()) as running:
        running.lines(3)
        for number in (signal.SIGTERM, signal.SIGHUP, LAST):
            running.send(number)
        tags = {"": {"leader"}, "-g": {"leader", "member"}}.get(
            target, {"leader", "member", "stranger"}
        )
        assert reported_by_all(running, tags) == {tag: [signal.SIGINT] for tag in tags}


def test_rewriting_comes_from_the_environment_too(outside: Place) -> None:
    environment = dict(os.environ, PYINIT_REWRITE="TERM:INT HUP:0,USR1:USR2")
    with outside.start("--", *reporter(), environment=environment) as running:
        running.line()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, LAST):
            running.send(number)
        assert sorted(reported(running)) == sorted([signal.SIGINT, signal.SIGUSR2])


# --- from the first moment on ----------------------------------------------------------------


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
    for _ in range(20):
        with place.start("--", *reporter(), prepare=BLOCK_ALL + READY) as running:
            assert running.line() == "starting"
            target = running.pid
            until = time.perf_counter() + moments.uniform(0, 0.03)
            while time.perf_counter() < until:
                pass
            os.kill(target, number)
            assert running.line().startswith("reporter ready")
            assert running.line().split()[1] == str(int(number))
            running.send(LAST)
            assert reported(running) == []


def start_in_steps(place: Place, at: int, numbers: list[int]) -> tuple[int, list[int]]:
    """Start a reporter, and send signals when the start stands at its system call `at`.

    Return how many calls the whole start made, and what the reporter got.
    """
    target = 0

    def send() -> None:
        for number in numbers:
            os.kill(target, number)

    with (
        Stepped(at, send) as steps,
        place.start("--", *reporter(), prepare=BLOCK_ALL + Stepped.code) as running,
    ):
        target = running.pid
        steps.watch(running)
        assert running.line().startswith("reporter ready")
        whole = steps.count
        running.send(LAST)
        return whole, reported(running)


def test_signals_at_any_system_call_of_the_start_are_not_lost(place: Place) -> None:
    """Each of these moments is one that a random sender would have to hit."""
    require("seccomp")
    whole, got = start_in_steps(place, -1, [])
    assert whole > 100
    assert got == []
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGRTMIN, signal.SIGRTMIN]
    for at in range(random.Random().randrange(8), whole - whole // 20, max(1, whole // 24)):
        _, got = start_in_steps(place, at, numbers)
        assert sorted(got) == sorted(map(int, numbers)), f"at system call {at} of {whole}"


def test_a_signal_at_a_random_moment_kills_or_is_forwarded(outside: Place) -> None:
    """Without a starter that blocks, only the interpreter's own start may die of it."""
    moments = random.Random(7)
    for _ in range(20):
        with outside.start("--", "/bin/sleep", "1000", prepare=READY) as running:
            assert running.line() == "starting"
            until = time.perf_counter() + moments.uniform(0, 0.03)
            while time.perf_counter() < until:
                pass
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


# --- faults ----------------------------------------------------------------------------------


FAULTS = (
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGABRT,
    signal.SIGTRAP,
    signal.SIGSYS,
)


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
