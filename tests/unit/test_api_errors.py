"""A failed start becomes the exception that a caller of subprocess would have caught."""

from __future__ import annotations

import copy
import errno
import os
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner import ExecError, SetupError, SpawnerError
from spawner.api import ties

ERRNOS = sorted(errno.errorcode)
EXEC = {"stage": "init", "syscall": "execve", "path": "nosuch", "hint": None}
MOUNT = {"stage": "init", "syscall": "mount", "path": "/proc", "hint": "see proc(5)"}


def event(number: int | None, message: str, status: int, **fields: Any) -> dict[str, Any]:
    """Return a `failed` event as the launcher writes it."""
    name = None if number is None else errno.errorcode[number]
    return {"event": "failed", "errno": name, "message": message, "status": status, **fields}


def text(number: int) -> str:
    return f"{os.strerror(number)} ({errno.errorcode[number]})"


@given(st.sampled_from(ERRNOS), st.sampled_from([126, 127]))
def test_a_failed_exec_is_what_a_local_exec_raises(number: int, status: int) -> None:
    error = ties.failure(event(number, "nosuch: not found in PATH", status, **EXEC))
    local = OSError(number, os.strerror(number), "nosuch")
    assert isinstance(error, type(local))
    assert isinstance(error, ExecError)
    assert (error.errno, error.filename, error.status) == (number, "nosuch", status)
    assert str(error) == "nosuch: not found in PATH"


def test_each_except_clause_finds_it() -> None:
    for kind in (FileNotFoundError, ExecError, SetupError, SpawnerError, OSError):
        with pytest.raises(kind):
            raise ties.failure(event(errno.ENOENT, "nosuch: not found", 127, **EXEC))


def test_a_directory_that_cannot_be_entered_is_what_chdir_raises() -> None:
    fields = {"stage": "init", "syscall": "chdir", "path": "/nosuch", "hint": None}
    message = f"enter /nosuch: {text(errno.ENOENT)}"
    error = ties.failure(event(errno.ENOENT, message, 125, **fields))
    assert isinstance(error, FileNotFoundError)
    assert not isinstance(error, ExecError)
    assert error.filename == "/nosuch"
    assert str(error) == message


@given(st.sampled_from(ERRNOS))
def test_other_failures_are_not_taken_for_a_missing_program(number: int) -> None:
    message = f"mount proc on /proc: {text(number)}"
    error = ties.failure(event(number, message, 125, **MOUNT))
    assert type(error) is SetupError
    assert not isinstance(error, (FileNotFoundError, PermissionError))
    assert (error.errno, error.step, error.path) == (number, "mount proc on /proc", "/proc")
    assert (error.stage, error.syscall, error.hint) == ("init", "mount", "see proc(5)")
    assert str(error) == message


def test_a_failure_without_an_errno_has_its_words() -> None:
    fields = {"stage": "launcher", "syscall": None, "path": None, "hint": None}
    error = ties.failure(event(None, "newgidmap is not there", 125, **fields))
    assert str(error) == "newgidmap is not there"
    assert error.errno is None


@given(
    st.sampled_from([None, *ERRNOS]),
    st.text(),
    st.sampled_from([125, 126, 127]),
    st.sampled_from(["stage", "init", "launcher"]),
    st.sampled_from([None, "mount", "chdir", "execve"]),
    st.none() | st.text(),
    st.none() | st.text(),
)
def test_every_failure_survives_pickle_and_copy(
    number: int | None,
    message: str,
    status: int,
    stage: str,
    syscall: str | None,
    path: str | None,
    hint: str | None,
) -> None:
    fields = {"stage": stage, "syscall": syscall, "path": path, "hint": hint}
    error = ties.failure(event(number, message, status, **fields))
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert vars(again) == vars(error)
        assert again.args == error.args
        assert str(again) == str(error)
        assert (again.errno, again.filename) == (error.errno, error.filename)


def test_it_is_shown_under_the_name_that_is_public() -> None:
    kind = type(ties.failure(event(errno.ENOENT, "nosuch: not found", 127, **EXEC)))
    assert f"{kind.__module__}.{kind.__qualname__}" == "spawner.errors.ExecError"
