"""What ps(1) shows: `pyinit -- app ...` and `pyspawn ...`, not how an interpreter is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.containers import as_owner
from helpers.places import Place
from helpers.programs import PLACE, Word, prepared, pyinit, python, reporter
from helpers.running import Running, run
from helpers.seccomp import deny

import spawner
from spawner import lean

ODD = [b"two words", b"", b"\xff\xfe", "é".encode(), b"a\nb", b"--env=A=secret", b"end"]
"""Arguments for whoever reads them as anything but bytes."""


def line(pid: int) -> list[bytes]:
    """Return the arguments that a process shows, without the empty ones at the end."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")


def raw(words: Sequence[Word]) -> list[bytes]:
    return [os.fsencode(word) for word in words]


def installed(name: str) -> str:
    """Return the command that pip has installed beside the interpreter."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        pytest.skip(f"no {path}: the package isn't installed")
    return str(path)


STARTS: dict[str, list[Word]] = {
    "lean": pyinit(),
    "module": ["/usr/bin/env", f"PYTHONPATH={PLACE}", sys.executable, "-m", "pyinit"],
    "without UTF-8 mode": [word for word in pyinit() if word not in ("-X", "utf8")],
}


@pytest.mark.parametrize("start", STARTS.values(), ids=list(STARTS))
def test_pyinit_in_every_form(start: list[Word]) -> None:
    words = ["--", *reporter(), *ODD]
    with Running([*start, *words]) as running:
        running.line()
        assert line(running.pid) == [b"pyinit", *raw(words)]
        assert comm(running.pid) == "pyinit"


def test_pyinit_as_it_was_installed() -> None:
    words = ["-g", "--kill-after=5", *reporter(), *ODD]
    with Running([installed("pyinit"), *words]) as running:
        running.line()
        assert line(running.pid) == [b"pyinit", *raw(words)]


def test_the_program_sees_it_from_its_first_moment(place: Place) -> None:
    words = ["--", *python("import os,sys;print(open(f'/proc/{os.getppid()}/cmdline').read())")]
    for _ in range(10):
        out = place.run(*words).out.rstrip(b"\n\0")
        assert out.split(b"\0") == [b"pyinit", *raw(words)]


def test_a_twin_is_called_what_it_stands_for(tmp_path: Path) -> None:
    words = ["-g", "--", *reporter()]
    link = tmp_path / "tini"
    assert run(pyinit("--install-as", "tini", str(tmp_path))).status == 0
    for start in ([str(link)], pyinit("--as", "tini"), pyinit("--as=tini")):
        with Running([*start, *words]) as running:
            running.line()
            assert line(running.pid) == [b"tini", *raw(words)]


def test_the_environment_that_lies_behind_stays_as_it_is() -> None:
    variables = {"A": "x" * 5000, "PATH": "/bin"}
    with Running(pyinit("--", *reporter()), environment=variables) as running:
        running.line()
        found = Path(f"/proc/{running.pid}/environ").read_bytes()
        assert found == b"".join(f"{name}={value}\0".encode() for name, value in variables.items())


def test_arguments_of_megabytes() -> None:
    words = ["--", *python("import posix; posix.write(1, b'.\\n'); posix.read(0, 1)")]
    words += ["x" * 100_000] * 10
    with Running(pyinit(*words)) as running:
        running.line()
        assert line(running.pid) == [b"pyinit", *raw(words)]
        running.close_input()
        assert running.wait() == 0


def test_where_memory_can_not_be_written_all_else_is_as_ever() -> None:
    require("seccomp")
    code = deny(1, "lseek")
    words = ["--", *python("import os; print(open(f'/proc/{os.getppid()}/comm').read())")]
    ended = run(prepared(code, pyinit(*words)))
    assert (ended.status, ended.out, ended.errors) == (0, b"pyinit\n\n", "")


LAUNCHERS: dict[str, list[Word]] = {
    "lean": [*lean.pyspawn()],
    "module": ["/usr/bin/env", f"PYTHONPATH={PLACE}", sys.executable, "-m", "spawner"],
}


@pytest.mark.usefixtures("pidns")
@pytest.mark.parametrize("options", [[], ["--init"], ["--share=pid"], ["--user", "--init"]])
@pytest.mark.parametrize("start", [*LAUNCHERS.values(), []], ids=[*LAUNCHERS, "installed"])
def test_pyspawn_and_what_it_starts(start: list[Word], options: list[str]) -> None:
    words = [*options, "--", *reporter(), *ODD]
    with Running([*(start or [installed("pyspawn")]), *words]) as running:
        running.line()
        assert line(running.pid) == [b"pyspawn", *raw(words)]
        assert comm(running.pid) == "pyspawn"
        if "--init" in options:
            (init,) = children.of(running.pid)
            assert line(init) == [b"pyinit", b"--", *raw(words[words.index("--") + 1 :])]
        if "--share=pid" in options:
            (keeper,) = children.of(running.pid)
            assert line(keeper) == [b"pyspawn", *raw(words)]


@pytest.mark.usefixtures("pidns")
@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--env=A=topsecret", "--env=B=", "--env", "C=topsecret=", "--env", "D=x"],
         [b"--env=A=*", b"--env=B=", b"--env", b"C=*", b"--env", b"D=*"]),
        (["--hostname", "--env=x", "--uts", "--env=A=topsecret"],
         [b"--hostname", b"--env=x", b"--uts", b"--env=A=*"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("options", [["--init"], ["--share=pid"]])
def test_values_of_variables_are_not_shown(
    words: list[str], shown: list[bytes], options: list[str]
) -> None:
    """They may be secret, and everybody on the machine can read a command line."""
    program = ["--", *reporter(), *ODD]
    with Running([*lean.pyspawn(), *options, *words, *program]) as running:
        running.line()
        assert line(running.pid) == [b"pyspawn", *raw(options), *shown, *raw(program)]
        for pid in (running.pid, *children.below(running.pid)):
            assert b"topsecret" not in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.usefixtures("pidns")
def test_a_join_from_a_sealed_interpreter() -> None:
    start = [*lean.pyspawn(), "--user", "--init", "--", "/bin/sh", "-c", "echo; cat"]
    with Running(as_owner(start)) as target:
        target.line()
        (pid,) = children.of(target.pid)
        words = ["exec", str(pid), "--env=A=secret", "--", *reporter(), *ODD]
        with Running([*lean.pyspawn(), *words]) as running:
            running.line()
            words[2] = "--env=A=*"
            assert line(running.pid) == [b"pyspawn", *raw(words)]
            assert comm(running.pid) == "pyspawn"
        target.close_input()
        target.wait()


@pytest.mark.usefixtures("pidns")
def test_from_python() -> None:
    words = ["sh", "-c", "cat", "two words"]
    with spawner.Process(words, stdin=spawner.PIPE, env={"A": "topsecret"}) as process:
        shown = line(process._launcher.pid)
        assert shown[0] == b"pyspawn"
        assert shown[-5:] == [b"--", *raw(words)]
        assert line(process.pid) == [b"pyinit", b"--", *raw(words)]


def test_ps_shows_it() -> None:
    require("ps")
    ps = shutil.which("ps")
    assert ps
    with Running(pyinit("--", "sh", "-c", "echo; cat")) as running:
        running.line()
        found = subprocess.run([ps, "-o", "comm=,args=", "-p", str(running.pid)],
                               capture_output=True, check=True)  # fmt: skip
        assert found.stdout == b"pyinit          pyinit -- sh -c echo; cat\n"
        running.close_input()
        running.wait()
