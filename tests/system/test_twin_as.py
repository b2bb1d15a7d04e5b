"""`--as NAME`: pyinit as one of the tools, without a file."""

from __future__ import annotations

import sys

import pytest
from helpers.programs import PLACE, pyinit
from helpers.running import run
from helpers.twins import environment


@pytest.mark.parametrize("words", [["--as"], ["--as", "nosuch"], ["--as", ""], ["--as="]])
def test_as_whom(words: list[str]) -> None:
    ended = run(pyinit(*words))
    assert (ended.status, ended.out) == (125, b"")
    assert "tini, docker-init, dumb-init, catatonit" in ended.errors


def test_as_with_an_equals_sign() -> None:
    assert run(pyinit("--as=dumb-init", "/nosuch")).status == 2


def test_as_survives_the_restart_in_a_lean_interpreter() -> None:
    argv = [sys.executable, "-c", f"import sys; sys.path[:0] = [{PLACE!r}]; import pyinit.__main__"]
    ended = run([*argv, "--as", "dumb-init", "/nosuch"])
    assert ended.status == 2
    assert ended.errors.startswith("[dumb-init] ")


def test_behind_a_plain_start_it_is_a_word_like_any_other() -> None:
    assert run(pyinit("--", "echo", "--as", "tini")).out == b"--as tini\n"


def test_variables_of_ours_mean_nothing_to_a_twin() -> None:
    ended = run(pyinit("--as", "tini", "true"), environment=environment({"PYINIT_VERBOSE": "1"}))
    assert ended.errors == ""
