"""The manual pages have every option, and are clean for the programs that show them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.distribution import CHECKOUT

from pyinit import cmdline
from pyinit import options as pyinit_options
from pyinit.cmdline import Option
from spawner.command import run as pyspawn_options
from spawner.command import signals, zombies

RENDER = CHECKOUT / "docs/man/render.py"
PAGES = {
    "pyinit": pyinit_options.TABLE,
    "pyspawn": (*pyspawn_options.TABLE, *zombies.TABLE, *signals.TABLE),
}
SECTIONS = {"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SIGNALS", "EXIT STATUS", "EXAMPLES"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("man")
    subprocess.run([sys.executable, "-I", RENDER, directory], check=True)
    return directory


def shown(page: Path) -> tuple[str, str]:
    """Return the page as man(1) shows it, with words in one space, and the warnings."""
    require("man")
    ended = subprocess.run(
        ["man", "-l", "--warnings=w", "-E", "UTF-8", page],
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "1000", "MANPAGER": "cat"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return re.sub(r"[ \n]+", " ", ended.stdout), ended.stderr


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_every_option_with_its_help(pages: Path, name: str) -> None:
    text, _ = shown(pages / f"{name}.1")
    options: tuple[Option, ...] = PAGES[name]
    for option in options:
        if option.hidden:
            assert f"--{option.long}" not in text
        else:
            assert f" {option.spelling} {' '.join(option.help.split())}" in text


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_shown_without_a_warning(pages: Path, name: str) -> None:
    text, warnings = shown(pages / f"{name}.1")
    assert warnings == ""
    assert not re.search(r"[\\@]", text)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_shown_in_any_locale(pages: Path, name: str) -> None:
    """man(1) warns of each character that the terminal's doesn't have, and leaves it out."""
    assert (pages / f"{name}.1").read_text().isascii()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_clean_for_mandoc(pages: Path, name: str) -> None:
    require("mandoc")
    lint = ["mandoc", "-T", "lint", "-W", "warning", str(pages / f"{name}.1")]
    assert subprocess.run(lint, capture_output=True, text=True).stdout == ""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_the_sections_that_readers_look_for(pages: Path, name: str) -> None:
    source = (pages / f"{name}.1").read_text()
    assert set(re.findall(r"(?m)^\.SH (.*)$", source)) >= SECTIONS


def test_the_examples_are_accepted(pages: Path) -> None:
    source = (pages / "pyspawn.1").read_text().partition(".SH EXAMPLES")[2].partition(".SH ")[0]
    text = "".join(re.findall(r"(?ms)^\.EX\n(.*?)^\.EE", source))
    plain = text.replace("\\-", "-").replace("~", "/home/you")
    plain = plain.replace("$PWD", "/work")
    examples = re.findall(r"(?m)^. (?:timeout \d+ )?pyspawn (--.*?)(?: \d>\S+)?$", plain)
    assert len(examples) > 10
    for words in map(shlex.split, examples):
        values, program = cmdline.parse(pyspawn_options.TABLE, words)
        spec = pyspawn_options.spec(values, program, user=1000, group=1000)
        assert spec.arguments == tuple(program)


def test_the_environment_has_every_variable_that_is_read(pages: Path) -> None:
    text, _ = shown(pages / "pyinit.1")
    for option in pyinit_options.TABLE:
        only_word = option.long in ("as", "install-as", "help", "version")
        if not option.hidden and not only_word:
            assert f"PYINIT_{option.name.upper()} (--{option.long})" in text
