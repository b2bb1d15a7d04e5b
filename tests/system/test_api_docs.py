"""The examples of docs/api.md do what they say."""

from __future__ import annotations

import doctest
import inspect
import re
from pathlib import Path

import pytest
from helpers.capabilities import require

import spawner
from spawner.api import signatures

pytest_plugins = ["pytester"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"


def test_the_examples_are_true(monkeypatch: pytest.MonkeyPatch) -> None:
    require("pidns", "hostname", "setsid")
    # In a directory that may not be searched a program is not missing, but denied.
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    failures, attempts = doctest.testfile(
        str(DOCUMENT), module_relative=False, optionflags=doctest.IGNORE_EXCEPTION_DETAIL
    )
    assert attempts > 15
    assert failures == 0


def test_the_examples_for_pytest_are_true(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("pidns")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    conftest, tests = blocks
    pytester.makeconftest(conftest)
    pytester.makepyfile(tests)
    pytester.runpytest_subprocess().assert_outcomes(passed=3)


@pytest.mark.parametrize("name", [name for name in spawner.__all__ if not name.isupper()])
def test_every_name_is_explained(name: str) -> None:
    assert name in DOCUMENT.read_text()


def test_every_parameter_is_explained() -> None:
    text = DOCUMENT.read_text()
    named = {*inspect.signature(spawner.run).parameters, *signatures.StartEither.__annotations__}
    for name in named - {"options"}:
        assert f"`{name}`" in text, name
