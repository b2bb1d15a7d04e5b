"""The installed wheel: both commands, with and without psutil, copied, and removed again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.distribution import Environment, succeed

import pyinit

VERSION = pyinit.__version__


@pytest.mark.parametrize("command", ["pyinit", "pyspawn"])
def test_a_command_tells_its_version(installed: Environment, command: str) -> None:
    ended = installed.run(command, "--version")
    assert (ended.stdout, ended.stderr, ended.returncode) == (f"{command} {VERSION}\n", "", 0)


def test_the_package_runs_as_a_module(installed: Environment) -> None:
    ended = installed.run("python", "-m", "pyinit", "--version")
    assert (ended.stdout, ended.returncode) == (f"pyinit {VERSION}\n", 0)


@pytest.mark.parametrize("start", [("pyinit",), ("python", "-m", "pyinit")])
def test_pyinit_runs_a_program(installed: Environment, start: tuple[str, ...]) -> None:
    ended = installed.run(*start, "--", "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (ended.stdout, ended.stderr, ended.returncode) == ("out\n", "err\n", 42)


def test_the_installer_compiled_every_module(installed: Environment) -> None:
    """PID 1 would compile them at each start: often it can't write, and never has the time."""
    for package in ("pyinit", "spawner"):
        for module in (installed.packages / package).rglob("*.py"):
            assert list((module.parent / "__pycache__").glob(f"{module.stem}.*.pyc")), module


def test_the_manual_pages_lie_where_man_looks(installed: Environment) -> None:
    for page in ("pyinit.1", "pyspawn.1"):
        assert (installed.directory / "share/man/man1" / page).read_text().startswith(".TH ")


def test_a_type_checker_sees_the_types(installed: Environment, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import spawner\n"
        "from pyinit import signames\n\n"
        "number: int = signames.number('TERM')\n"
        "with spawner.Process(['true'], text=True) as process:\n"
        "    status: int = process.wait()\n"
    )
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    succeed(*mypy, "--python-executable", installed.python, program, cwd=tmp_path)


def test_pyinit_needs_nothing_but_itself(alone: Environment) -> None:
    ended = alone.run("pyinit", "sh", "-c", "kill -9 $$")
    assert (ended.stdout, ended.stderr, ended.returncode) == ("", "", 137)


def test_pyspawn_runs_a_program_without_psutil(alone: Environment) -> None:
    require("pidns")
    ended = alone.run("pyspawn", "--init", "--", "sh", "-c", "exit 42")
    assert (ended.stdout, ended.stderr, ended.returncode) == ("", "", 42)


def test_a_command_that_needs_psutil_says_so(alone: Environment) -> None:
    ended = alone.run("pyspawn", "zombies")
    assert ended.returncode == 125
    assert "psutil" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_command_that_looks_at_processes_works_with_psutil(installed: Environment) -> None:
    ended = installed.run("pyspawn", "zombies")
    assert "Traceback" not in ended.stderr
    assert ended.returncode in (0, 1)  # 1: the machine has zombies


def test_a_link_to_a_command_is_the_command(installed: Environment, tmp_path: Path) -> None:
    link = tmp_path / "init"
    link.symlink_to(installed.directory / "bin/pyinit")
    ended = subprocess.run([link, "sh", "-c", "exit 3"], cwd=tmp_path)
    assert ended.returncode == 3


def test_a_copy_of_the_package_needs_only_an_interpreter(
    installed: Environment, tmp_path: Path
) -> None:
    shutil.copytree(installed.packages / "pyinit", tmp_path / "pyinit")
    start = f"import sys;sys.path[:0]=[{str(tmp_path)!r}];import pyinit.__main__"
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", start, "--", "sh", "-c", "echo $0; exit 42", "name"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={},
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("name\n", "", 42)


def test_uninstalling_leaves_nothing(wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env", wheel, ["--no-deps", "--no-index"])
    pip = (sys.executable, "-m", "pip", "--python", environment.python)
    succeed(*pip, "uninstall", "--quiet", "--yes", "pidone")
    left = [
        path
        for path in environment.directory.rglob("*")
        if "pyinit" in path.name or "spawn" in path.name or "pidone" in path.name
    ]
    assert left == []


def test_uv_installs_it_too(wheel: Path, tmp_path: Path) -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not here")
    environment = tmp_path / "with space"
    succeed(uv, "venv", "--quiet", "--offline", "--python", sys.executable, environment)
    succeed(
        *(uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--compile-bytecode"),
        *("--python", environment / "bin/python", wheel),
    )
    ended = subprocess.run([environment / "bin/pyinit", "sh", "-c", "exit 42"])
    assert ended.returncode == 42
