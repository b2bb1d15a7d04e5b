"""System calls that are denied or missing: pyinit goes on with what it has."""

from __future__ import annotations

import errno
import os
import signal

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.events import Events
from helpers.exercise import exercise
from helpers.places import Place
from helpers.programs import orphans, pyinit, python, reporter
from helpers.reporters import LAST
from helpers.running import run
from helpers.seccomp import Call, deny


@pytest.mark.parametrize("missing", ["ENOSYS", "EPERM"])
def test_few_calls_take_the_place_of_one_that_is_missing(missing: str) -> None:
    """Of as many descriptors as there could be, to close each would take a third of a second."""
    require("strace")
    strace = [
        "strace",
        "-f",
        "-qq",
        "-e",
        f"inject=close_range:error={missing}",
        "-e",
        "trace=close,close_range",
    ]
    ended = run([*strace, *pyinit("--", "/bin/true")])
    assert ended.status == 0
    assert 100 < ended.errors.count("close(") < 20_000


DISPENSABLE = [
    "prctl",
    "setpgid",
    "setsid",
    "ioctl",
    "signalfd4",
    "close_range",
    "pidfd_open",
    "pidfd_send_signal",
    "chdir",
    "pipe2",
    "poll",
]


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
@pytest.mark.parametrize("call", DISPENSABLE)
def test_a_denied_system_call_is_survived(place: Place, call: str, reason: int) -> None:
    require("seccomp")
    adopts = place.inside or call != "prctl"
    says = {"prctl": "" if adopts else "prctl", "chdir": "working directory"}.get(call, "")
    exercise(place, deny(reason, call), reaps=adopts, says=says)


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_all_of_them_denied_at_once_are_survived(place: Place, reason: int) -> None:
    require("seccomp")
    calls = deny(reason, *DISPENSABLE, "signalfd", "getpgid", "getsid", "fchdir")
    exercise(place, calls, reaps=place.inside, says="pyinit[")


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_events_are_told_with_all_of_them_denied(place: Place, reason: int) -> None:
    """The workload doesn't get their descriptor, for all that."""
    require("seccomp")
    calls = deny(reason, *DISPENSABLE, "signalfd", "getpgid", "getsid", "fchdir")
    with Events() as events:
        script = f"test ! -e /proc/self/fd/{events.fileno}; exit $?"
        argv = [*events.options, "--", "/bin/sh", "-c", script]
        ended = place.run(*argv, prepare=calls, pass_fds=[events.fileno])
        assert ended.status == 0
        assert [event["event"] for event in events.all()] == ["started", "reaped", "exited"]


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_where_signals_cannot_be_sent_the_status_is_still_told(place: Place, reason: int) -> None:
    require("seccomp")
    prepare = deny(reason, "kill")
    with place.start(
        "-g", "--kill-after", "1000", *orphans(10, status=42), prepare=prepare
    ) as running:
        assert running.line() == "made"
        running.send(signal.SIGTERM)
        running.send(signal.SIGUSR1)
        running.close_input()
        assert running.wait() == 42


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_where_signals_cannot_be_waited_for_the_status_is_still_told(
    place: Place, reason: int
) -> None:
    require("seccomp")
    with place.start(*orphans(10, status=42), prepare=deny(reason, "rt_sigtimedwait")) as running:
        assert running.line() == "made"
        running.close_input()
        assert running.wait() == 42
        assert running.errors().count("\n") < 20


LATE = """
import posix
# The workload ends when the test lets it, and the orphan when it lets that.
if posix.fork() == 0:
    posix.read(3, 1)
    posix.write(1, b"last\\n")
    posix._exit(0)
posix.read(0, 1)
posix._exit(42)
"""


def test_where_signals_cannot_be_waited_for_wait_and_exit_code_still_count(place: Place) -> None:
    require("seccomp")
    reader, writer = os.pipe()
    prepare = f"os.dup2(1, 2); os.dup2({reader}, 3)\n" + deny(errno.EPERM, "rt_sigtimedwait")
    argv = ["--wait", "-e", "42:43", "--", *python(LATE)]
    with place.start(*argv, prepare=prepare, pass_fds=[reader]) as running:
        os.close(reader)
        while "only reap" not in running.line():
            continue
        running.close_input()
        children.wait_until(lambda: len(children.of(running.pid)) == 1, "the workload's reaping")
        os.close(writer)
        assert running.line() == "last"
        assert running.wait() == 43


def test_where_no_disposition_can_be_set_nothing_is_started(place: Place) -> None:
    """The workload would ignore signals that it isn't told of."""
    require("seccomp")
    ended = place.run("--", "/bin/echo", "ran", prepare=deny(errno.EPERM, "rt_sigaction"))
    assert (ended.status, ended.out) == (125, b"")
    assert "signal dispositions can't be set: Operation not permitted (EPERM)" in ended.errors
    assert ended.errors.count("\n") == 1


def test_a_kernel_that_hides_the_dispositions_nobody_can_set_is_enough(place: Place) -> None:
    require("seccomp")
    fixed = [Call("rt_sigaction", 0, number) for number in (signal.SIGKILL, signal.SIGSTOP)]
    ended = place.run("--", "/bin/echo", "ran", prepare=deny(errno.EINVAL, *fixed))
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")


def test_a_setpgid_that_is_denied_makes_group_the_workload(place: Place) -> None:
    require("seccomp")
    with place.start("-g", "--", *reporter(), prepare=deny(errno.EPERM, "setpgid")) as running:
        running.line()
        for number in (signal.SIGTERM, LAST):
            running.send(number)
            assert running.line().split()[1] == str(int(number))


def test_parent_death_that_cannot_be_had_is_said_at_the_start(place: Place) -> None:
    require("seccomp")
    ended = place.run(
        "-p", "TERM", "--", "/bin/echo", "x", prepare=deny(errno.EPERM, Call("prctl", 0, 1))
    )
    assert (ended.status, ended.out) == (125, b"")
    assert "prctl" in ended.errors
    assert "EPERM" in ended.errors
    assert "--parent-death" in ended.errors or "-p" in ended.errors
