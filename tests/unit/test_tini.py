"""tini's command line and variables become the settings that stand for its behaviour."""

from __future__ import annotations

import errno
import os
import signal

import pytest
from helpers.twin_words import answered, parsed, twin_of, variable

from pyinit import TWINS, machine
from pyinit.twins import twin

pytestmark = pytest.mark.usefixtures("no_twin_variables")


@pytest.mark.parametrize("tool", ["tini", "docker-init"])
def test_tini_by_default(tool: str) -> None:
    asked = parsed(tool, "app")
    assert asked.target == machine.PROCESS
    assert asked.place == machine.OWN_GROUP
    assert asked.exit_codes == {}
    assert twin_of(asked).verbosity == twin.WARNING


def test_tini_joins_and_permutes() -> None:
    asked = parsed("tini", "app", "-vgw", "-e3", "word", "-e", "143", "-pSIGHUP", "--", "-v")
    assert asked.program == [b"app", b"word", b"-v"]
    assert asked.target == machine.GROUP
    assert asked.warn_orphans
    assert asked.exit_codes == {3: 0, 143: 0}
    assert asked.parent_death == signal.SIGHUP
    assert asked.verbose == 1


@pytest.mark.parametrize(
    ("tool", "option"), [("tini", "-v"), ("docker-init", "-g"), ("catatonit", "-V")]
)
def test_posixly_correct_ends_the_options_at_the_program(
    monkeypatch: pytest.MonkeyPatch, tool: str, option: str
) -> None:
    variable(monkeypatch, "POSIXLY_CORRECT", "")
    assert parsed(tool, "app", option).program == [b"app", option.encode()]


@pytest.mark.parametrize("value", ["", "0", "1"])
def test_tini_process_group_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    variable(monkeypatch, "TINI_KILL_PROCESS_GROUP", value)
    assert parsed("tini", "app").target == machine.GROUP


@pytest.mark.parametrize(
    ("value", "verbosity"), [("0", 0), ("3", 3), ("", 0), ("2x", 2), ("no", 0), ("1", 1)]
)
def test_tini_verbosity_from_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, value: str, verbosity: int
) -> None:
    variable(monkeypatch, "TINI_VERBOSITY", value)
    asked = parsed("tini", "-vv", "-w", "app")
    assert twin_of(asked).verbosity == verbosity
    assert asked.warn_orphans == (verbosity > 0)
    assert asked.verbose == max(0, verbosity - 1)


@pytest.mark.parametrize(
    ("word", "code"), [("0", 0), ("255", 255), (" 12", 12), ("+7", 7), ("", 0)]
)
def test_tini_exit_codes(word: str, code: int) -> None:
    assert parsed("tini", "-e", word, "app").exit_codes == {code: 0}


@pytest.mark.parametrize(
    "given_words", [["-e", "256"], ["-e", "-1"], ["-e", "x"], ["-e", "1x"], ["-p", "TERM"],
                    ["-p", "15"], ["-p", "SIGNOPE"], ["-p", ""], ["-p", "SIG"]]
)  # fmt: skip
def test_tini_refuses_values(capfd: pytest.CaptureFixture[str], given_words: list[str]) -> None:
    status, out, errors = answered(capfd, "tini", *given_words, "app")
    assert (status, out) == (1, "")
    assert errors.startswith(f"[FATAL tini ({os.getpid()})] ")
    assert errors.count("\n") == 1
    assert given_words[0] in errors


@pytest.mark.parametrize("name", ["SIGSTKFLT", "SIGIO", "SIGPWR", "SIGRTMIN+1", "SIGRTMAX"])
def test_tini_takes_more_signals(name: str) -> None:
    assert parsed("tini", "-p", name, "app").parent_death in signal.valid_signals()


def test_tini_statuses_of_a_failed_exec() -> None:
    of_tool = twin_of(parsed("tini", "app"))
    statuses = {errno.ENOENT: 127, errno.EACCES: 126, errno.ENOTDIR: 1, errno.ELOOP: 1}
    assert {number: of_tool.exec_status(number) for number in statuses} == statuses


def test_usage_goes_by_the_name(capfd: pytest.CaptureFixture[str]) -> None:
    for tool in TWINS:
        status, out, errors = answered(capfd, tool, "-?")
        assert (status, out) == (1, "")
        assert errors.startswith(f"{tool}: invalid option -- '?'\n")
        assert f"sage: {tool} " in errors
