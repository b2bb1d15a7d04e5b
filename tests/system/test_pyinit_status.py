"""The exit status is the workload's own, or the one that was asked for in its place."""

from __future__ import annotations

import os
import signal

import pytest
from helpers.places import Place
from helpers.programs import Word, pyinit
from helpers.running import Running, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BATCH = 16

HARMLESS = {
    signal.SIGCHLD,
    signal.SIGCONT,
    signal.SIGURG,
    signal.SIGWINCH,
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
}

DEADLY = sorted(int(number) for number in signal.valid_signals() - HARMLESS)


def statuses(argvs: list[list[Word]]) -> list[int]:
    """Run many programs, some at a time, and return their exit statuses in order."""
    found: list[int] = []
    for start in range(0, len(argvs), BATCH):
        batch = [Running(argv) for argv in argvs[start : start + BATCH]]
        found += [running.wait() for running in batch]
        for running in reversed(batch):
            running.__exit__(None, None, None)
    return found


def test_every_exit_status_is_passed(place: Place) -> None:
    argvs = [place.argv("--", "/bin/sh", "-c", f"exit {code}") for code in range(256)]
    assert statuses(argvs) == list(range(256))


def test_every_deadly_signal_is_128_and_its_number(place: Place) -> None:
    argvs = [place.argv("--", "/bin/sh", "-c", f"kill -{number} $$") for number in DEADLY]
    assert statuses(argvs) == [128 + number for number in DEADLY]


codes = st.integers(0, 255)


@settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(ends=codes, changes=st.dictionaries(codes, st.none() | codes, max_size=4))
def test_exit_codes_are_changed_as_asked(ends: int, changes: dict[int, int | None]) -> None:
    options = [
        word
        for code, new in changes.items()
        for word in ("-e", f"{code}" if new is None else f"{code}:{new}")
    ]
    ended = run(pyinit(*options, "--", "/bin/sh", "-c", f"exit {ends}"))
    assert ended.status == (changes.get(ends, ends) or 0)


@pytest.mark.parametrize(
    ("options", "script", "status"),
    [
        (["-e", "143"], "kill -TERM $$", 0),
        (["--exit-code", "137:7"], "kill -KILL $$", 7),
        (["-e1:2", "-e2:3"], "exit 1", 2),
        (["-e", "5:6", "-e", "5:7"], "exit 5", 7),
        (["-e", "0:9"], "exit 0", 9),
    ],
)
def test_exit_codes_of_signals_are_changed_too(
    place: Place, options: list[str], script: str, status: int
) -> None:
    assert place.run(*options, "--", "/bin/sh", "-c", script).status == status


def test_exit_codes_come_from_the_environment_too(place: Place) -> None:
    environment = dict(os.environ, PYINIT_EXIT_CODE="3 4:5")
    for ends, status in ((3, 0), (4, 5), (6, 6)):
        ended = place.run("--", "/bin/sh", "-c", f"exit {ends}", environment=environment)
        assert ended.status == status
