"""The verbs of the Makefile, and the packages, from a clone where nothing is installed."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.distribution import CHECKOUT
from helpers.programs import Word, prepared
from helpers.running import Ended, run
from helpers.seccomp import deny

NO_CACHES = shutil.ignore_patterns(".*", "__pycache__", "build", "dist")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Give a copy of the sources in a directory whose name has a space in it."""
    place = tmp_path / "a clone"
    shutil.copytree(CHECKOUT, place, ignore=NO_CACHES)
    return place


def make(clone: Path, *words: str, before: str = "") -> Ended:
    require("make")
    # Not the variables of the make that runs us.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    argv: list[Word] = [shutil.which("make") or "", "-s", f"PYTHON={sys.executable}", *words]
    return run(prepared(before, argv), directory=str(clone), environment=environment)


def test_alone_it_lists_the_verbs(clone: Path) -> None:
    ended = make(clone)
    assert (ended.status, ended.errors) == (0, "")
    listed = set(re.findall(r"(?m)^ make ([a-z-]+) ", ended.out.decode()))
    (phony,) = re.findall(r"(?m)^\.PHONY: (.*)$", (clone / "Makefile").read_text())
    inner = {"help", "set-up", "test-tools", "bench-tools", "test-packaging"}
    assert listed == set(phony.split()) - inner


def test_the_demonstration_takes_nothing_but_an_interpreter(clone: Path) -> None:
    require("pidns")
    ended = make(clone, "run")
    assert (ended.status, ended.errors) == (0, "")
    assert ended.out.endswith(b"As promised.\n")
    assert not (clone / ".venv").exists()


def test_the_demonstration_shows_nothing_where_namespaces_are_refused(clone: Path) -> None:
    require("seccomp")
    ended = make(clone, "run", before=deny(errno.EPERM, "unshare"))
    assert (ended.status, ended.out) == (2, b"")
    assert "Operation not permitted (EPERM)" in ended.errors
    assert "hint: " in ended.errors
    assert "Nothing can be shown here" in ended.errors
    assert "Traceback" not in ended.errors


@pytest.mark.parametrize("verb", ["test", "lint", "bench", "docker-test"])
def test_a_verb_that_takes_no_space_in_a_path_says_so_at_once(clone: Path, verb: str) -> None:
    ended = make(clone, verb)
    assert (ended.status, ended.out) == (2, b"")
    assert "has a space in it" in ended.errors
    assert "VENV=" in ended.errors
    assert not (clone / ".venv").exists()


def test_the_manual_is_made_without_anything(clone: Path) -> None:
    assert make(clone, "man").status == 0
    assert (clone / "build" / "man" / "pyspawn.1").is_file()


def test_clean_leaves_the_sources_alone(clone: Path) -> None:
    def files() -> set[Path]:
        return set(clone.rglob("*"))

    before = files()
    caches = (".mypy_cache", ".ruff_cache", ".pytest_cache", "tests/.hypothesis")
    for place in (".venv", ".venv-3.12", "build", "dist", *caches, "pyinit/__pycache__"):
        (clone / place).mkdir()
        (clone / place / "file").touch()
    assert make(clone, "clean").status == 0
    assert files() == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("pyinit", "--", "sh", "-c", "exit 42"), 42),
        (("pyinit", "--version"), 0),
        (("spawner", "--version"), 0),
        (("spawner", "--dry-run", "--", "true"), 0),
        (("spawner", "--init", "--", "sh", "-c", "exit 42"), 42),
        (("spawner", "--", "nonesuch"), 127),
    ],
)
def test_the_commands_run_from_a_bare_clone(
    clone: Path, words: tuple[str, ...], expected: int
) -> None:
    if words[0] == "spawner":
        require("pidns")
    argv = [os.path.realpath(sys.executable), "-m", *words]
    ended = run(argv, directory=str(clone))
    assert ended.status == expected, ended
    assert "Traceback" not in ended.errors
