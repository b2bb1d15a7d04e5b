"""What the README shows is what happens: commands, Python, entry points, options."""

from __future__ import annotations

import compileall
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.distribution import CHECKOUT

import pyinit
from pyinit import cmdline
from pyinit import options as pyinit_options
from spawner.command import run as pyspawn_options
from spawner.command import signals, zombies

README = (CHECKOUT / "README.md").read_text()

# What makes, installs or takes an engine: docker-test runs it as it stands, in containers.
NOT_RUN = ("make ", "python3 -m venv ", "~/pidone/", "/opt/pidone/", "docker ")


def blocks(language: str) -> list[str]:
    """Return the code blocks in a language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", README)


def examples() -> list[tuple[str, str]]:
    """Return each command after a `$`, and the lines below it."""
    found = re.findall(r"(?m)^\$ (.*)\n((?:(?!\$ ).*\n)*)", "".join(blocks("console")))
    return [(command, output) for command, output in found if not command.startswith(NOT_RUN)]


def commands_first() -> dict[str, str]:
    """Return the environment in which the commands under test are found."""
    scripts = Path(sys.executable).parent
    assert (scripts / "pyspawn").exists(), "the wheel isn't installed: use `make test`"
    return {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"}


@pytest.mark.parametrize(("command", "output"), examples())
def test_a_command_prints_what_the_readme_says(command: str, output: str, tmp_path: Path) -> None:
    require("pidns", "ps")
    if "--dry-run" in command:
        require("root")  # an ordinary user's plan begins with a user namespace
    for word, capability in (("--sandbox", "userns"), ("--overlay", "overlay")):
        if word in command:
            require(capability)
            if os.geteuid() == 0:
                require("root")
    ended = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env=commands_first(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert ended.stdout == output


def test_there_are_commands_to_try() -> None:
    assert len(examples()) > 5


@pytest.mark.parametrize("program", blocks("python"))
def test_the_python_runs(program: str) -> None:
    require("pidns")
    if "sandbox" in program:
        require("userns", "landlock")
        if os.geteuid() == 0:
            require("root")
    ended = subprocess.run(
        [sys.executable, "-c", program], env=commands_first(), capture_output=True, text=True
    )
    assert (ended.stderr, ended.returncode) == ("", 0)


def command_lines() -> list[str]:
    """Return each command of the tables and the text, without what has no program."""
    found = re.findall(r"`(pyspawn --[^`]* -- [^`]*)`", README)
    return [command for command in found if not command.startswith("pyspawn exec")]


@pytest.mark.parametrize("command", command_lines())
def test_a_command_of_the_tables_is_accepted(command: str) -> None:
    typed = re.sub(r"\d<\S+$", "", command).replace("~", "/home/you").replace("$PWD", "/work")
    words = shlex.split(typed)[1:]
    values, program = cmdline.parse(pyspawn_options.TABLE, words)
    assert program
    assert pyspawn_options.spec(values, program, user=1000, group=1000).arguments == tuple(program)


def entry_points() -> list[list[str]]:
    """Return the argv of each ENTRYPOINT."""
    found = re.findall(r"(?m)^ENTRYPOINT (\[.*\])$", "".join(blocks("dockerfile")))
    return [json.loads(words) for words in found]


@pytest.mark.parametrize("words", entry_points(), ids=" ".join)
def test_an_entry_point_starts_a_program(words: list[str], tmp_path: Path) -> None:
    source = Path(str(pyinit.__file__)).parent
    shutil.copytree(source, tmp_path / "pyinit", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(tmp_path / "pyinit", quiet=2)
    environment = commands_first()
    if words[0].startswith("/"):
        made = ["pyinit", "--install-as", "pyinit", str(tmp_path / "sbin")]
        (tmp_path / "sbin").mkdir()
        subprocess.run(made, env=environment, check=True)
        words[0] = str(tmp_path / "sbin" / "pyinit")
    words = [word.replace("/opt", str(tmp_path)) for word in words]
    ended = subprocess.run([*words, "sh", "-c", "exit 42"], env=environment)
    assert ended.returncode == 42


def test_there_is_an_entry_point_for_each_way_to_install() -> None:
    firsts = {words[0] for words in entry_points()}
    assert {"pyinit", "python3"} <= firsts


def test_every_option_of_the_readme_exists() -> None:
    known = {
        f"--{option.long}"
        for option in (
            *pyinit_options.TABLE,
            *pyspawn_options.TABLE,
            *zombies.TABLE,
            *signals.TABLE,
        )
    }
    ours = README.partition("## Beside others")[0]
    for other in ("`--compile-bytecode`", "`--no-deps`"):  # options of uv and pip
        ours = ours.replace(other, "")
    assert set(re.findall(r"`(?:-\w, )?(--[a-z][a-z-]*)", ours)) <= known


def test_every_option_of_pyinit_is_in_the_readme() -> None:
    for option in pyinit_options.TABLE:
        if not option.hidden and option.long not in ("help", "version"):
            assert f"--{option.long}" in README


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", README):
        assert (CHECKOUT / target).exists(), target
