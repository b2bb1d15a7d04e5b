"""catatonit's command line and variables become the settings that stand for its behaviour."""

from __future__ import annotations

import errno

import pytest
from helpers.twin_words import parsed, twin_of, variable

from pyinit import machine
from pyinit.twins import twin

pytestmark = pytest.mark.usefixtures("no_twin_variables")


def test_catatonit_by_default() -> None:
    asked = parsed("catatonit", "app")
    assert asked.target == machine.PROCESS
    assert asked.place == machine.OWN_GROUP
    assert twin_of(asked).verbosity == twin.FATAL
    assert {twin_of(asked).exec_status(number) for number in errno.errorcode} == {1}


def test_catatonit_joins_and_permutes() -> None:
    asked = parsed("catatonit", "app", "-g", "--", "-V")
    assert asked.program == [b"app", b"-V"]
    assert asked.target == machine.GROUP


def test_catatonit_pause_overlooks_a_program() -> None:
    for given_words in (["-P"], ["-P", "app"], ["app", "-gP"]):
        asked = parsed("catatonit", *given_words)
        assert asked.pause
        assert asked.program == []


def test_catatonit_debug_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    variable(monkeypatch, "CATATONIT_DEBUG", "")
    assert parsed("catatonit", "app").tells_all
