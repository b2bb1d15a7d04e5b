"""dumb-init's command line and variables become the settings that stand for its behaviour."""

from __future__ import annotations

import errno
import signal

import pytest
from helpers.reporters import STOPS
from helpers.twin_words import answered, parsed, twin_of, variable

from pyinit import machine

pytestmark = pytest.mark.usefixtures("no_twin_variables")


def test_dumb_init_by_default() -> None:
    asked = parsed("dumb-init", "app", "-c")
    assert asked.program == [b"app", b"-c"]
    assert asked.place == machine.OWN_SESSION
    assert asked.target == machine.GROUP
    assert asked.suspends
    assert asked.parting == signal.SIGTERM
    assert asked.rewrite == dict.fromkeys(STOPS, signal.SIGSTOP)


@pytest.mark.parametrize("option", ["-c", "--single-child", "--s"])
def test_dumb_init_single_child(option: str) -> None:
    asked = parsed("dumb-init", option, "app")
    assert asked.place == machine.OUR_GROUP
    assert asked.target == machine.PROCESS
    assert asked.suspends
    assert asked.parting == 0
    assert asked.rewrite == {}


@pytest.mark.parametrize(("value", "own"), [("0", False), ("1", True), ("", True), ("00", True)])
def test_dumb_init_setsid_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, own: bool
) -> None:
    variable(monkeypatch, "DUMB_INIT_SETSID", value)
    assert (parsed("dumb-init", "app").place == machine.OWN_SESSION) == own


@pytest.mark.parametrize(("value", "says"), [("1", True), ("0", False), ("", False), ("2", False)])
def test_dumb_init_debug_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, says: bool
) -> None:
    variable(monkeypatch, "DUMB_INIT_DEBUG", value)
    assert parsed("dumb-init", "app").tells_all == says


def test_dumb_init_rewrites() -> None:
    asked = parsed("dumb-init", "-r15:3", "--rewrite=1:0", "--rew", "20:20", "-r", " 2: +9x", "app")
    assert asked.rewrite == {15: 3, 1: 0, 20: 20, 2: 9, 21: 19, 22: 19}
    assert asked.parting == 3
    assert parsed("dumb-init", "-r", "15:0", "app").parting == 0


@pytest.mark.parametrize(
    "value", ["", "15", "15:", ":15", "0:15", "32:15", "15:32", "15:-1", "TERM:INT", "15;3", "1 :2"]
)
def test_dumb_init_refuses_rewrites(capfd: pytest.CaptureFixture[str], value: str) -> None:
    status, out, errors = answered(capfd, "dumb-init", "-r", value, "app")
    assert (status, out) == (1, "")
    assert errors.startswith("[dumb-init] -r: ")


def test_dumb_init_status_of_a_failed_exec() -> None:
    of_tool = twin_of(parsed("dumb-init", "app"))
    assert {of_tool.exec_status(number) for number in errno.errorcode} == {2}
