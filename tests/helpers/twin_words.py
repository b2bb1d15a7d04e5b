"""Read command lines as one of the tools does, in this process."""

from __future__ import annotations

import posix

import pytest

from pyinit import AnsweredError, machine, twins
from pyinit.twins import twin


def variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setitem(posix.environ, name.encode(), value.encode())


def parsed(*words: str) -> machine.Settings:
    return twins.parse([word.encode() for word in words])


def twin_of(asked: machine.Settings) -> twin.Twin:
    assert asked.twin is not None
    return asked.twin


def answered(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Return status, stdout and stderr of a command line that is answered in words."""
    with pytest.raises(AnsweredError) as caught:
        parsed(*words)
    out, errors = capfd.readouterr()
    return caught.value.status, out, errors
