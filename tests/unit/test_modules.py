"""The start-up budget, exactly: which modules a start loads beyond those of a bare interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest
from helpers.capabilities import require
from helpers.programs import PLACE, Word, as_pid1

HOT = {
    "gc",
    "pyinit",
    "pyinit.child",
    "pyinit.cli",
    "pyinit.machine",
    "pyinit.supervisor",
}
"""What every start reads beside `pyinit.__main__`, which is the program and so isn't listed."""

NOT_PID_1 = {"pyinit.reaper", "pyinit.subreaper", "_ctypes"}
OPTIONS = {"pyinit.cmdline", "pyinit.options", "pyinit.signames", "pyinit.usage"}
TELLS_ALL = {"errno", "pyinit.execerror", "pyinit.execvp", "pyinit.outlet", "pyinit.reaper",
             "pyinit.report", "resource"}  # fmt: skip

HEAVY = {
    "os", "re", "enum", "typing", "argparse", "dataclasses", "subprocess", "json", "ctypes",
    "signal", "collections", "functools", "contextlib", "logging", "asyncio", "psutil", "site",
}  # fmt: skip
"""Each costs a millisecond or more, docs/start-up.md."""


def loaded(argv: Sequence[Word], status: int = 0) -> set[str]:
    """Return the modules that the interpreters of a command say they loaded (-X importtime)."""
    # Without a locale the interpreter chooses one, which is one thing more to undo.
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    environment.pop("LC_CTYPE", None)
    ended = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment
    )
    assert ended.returncode == status, ended
    lines = (line for line in ended.stderr.splitlines() if line.startswith("import time:"))
    names = {line.rpartition("|")[2].strip() for line in lines}
    return names - {"imported package"}


def python(code: str, *arguments: Word) -> list[Word]:
    return [sys.executable, "-X", "importtime", "-X", "utf8", "-I", "-S", "-c", code, *arguments]


def lean(*arguments: Word) -> list[Word]:
    return python(f"import sys;sys.path[:0]=[{PLACE!r}];import pyinit.__main__", *arguments)


BARE = loaded(python("pass"))


def beyond(argv: Sequence[Word], status: int = 0) -> set[str]:
    """Return what a command loads beyond a bare interpreter, by names of ours and others'."""
    return loaded(argv, status) - BARE


def test_a_bare_interpreter_is_a_measure() -> None:
    assert BARE
    assert not BARE & (HOT | NOT_PID_1 | HEAVY)


def test_pid_1_loads_exactly_this() -> None:
    require("pidns")
    assert beyond(as_pid1(lean("--", "/bin/true"))) == HOT


def test_elsewhere_it_loads_exactly_this() -> None:
    assert beyond(lean("--", "/bin/true")) == HOT | NOT_PID_1


def test_options_load_exactly_this_on_top() -> None:
    assert beyond(lean("-g", "--kill-after", "5", "/bin/true")) == HOT | NOT_PID_1 | OPTIONS


@pytest.mark.parametrize("option", ["-w", "-v"])
def test_telling_all_adds_exactly_this(option: str) -> None:
    require("pidns")
    told = beyond(as_pid1(lean(option, "--", "/bin/true")))
    assert told == HOT | OPTIONS | TELLS_ALL


@pytest.mark.parametrize(
    ("words", "status"),
    [(["--", "no-such"], 127), (["--help"], 0), (["--nonsense"], 125), (["-v", "/bin/true"], 0)],
    ids=["not found", "help", "mistake", "verbose"],
)
def test_nothing_heavy_is_loaded_ever(words: list[str], status: int) -> None:
    nearest = (
        {"re", "enum", "collections", "functools", "typing"} if words == ["--nonsense"] else ()
    )
    assert beyond(lean(*words), status) & HEAVY <= set(nearest)


def test_another_start_ends_up_as_lean() -> None:
    """`python -m pyinit` pays for its own start, and then execs the lean one."""
    require("strace")
    environment = {**os.environ, "PYTHONPATH": PLACE}
    traced = subprocess.run(
        ["strace", "-f", "-e", "trace=execve", "-qq", sys.executable, "-m", "pyinit", "/bin/true"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert traced.returncode == 0, traced
    calls = [line for line in traced.stderr.splitlines() if "execve(" in line]
    assert len(calls) == 3
    assert '"-I", "-S"' in calls[1]
    assert '"/bin/true"' in calls[2]


SPAWNER = {
    "pyinit",
    "spawner",
    "spawner.__main__",
    "spawner.caller",
    "spawner.channel",
    "spawner.cli",
    "spawner.errors",
    "spawner.forks",
    "spawner.init",
    "spawner.lean",
    "spawner.launch",
    "spawner.linux",
    "spawner.machine",
    "spawner.made",
    "spawner.making",
    "spawner.planning",
    "spawner.spec",
    "spawner.steps",
    "spawner.wait",
}
"""What `pyspawn --init -- PROGRAM` reads; whoever isn't root needs the stage as well."""


SMALL = {"_ctypes", "errno", "gc", "select"}
"""What else it may read, which costs next to nothing."""


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_pyspawn_loads_exactly_this(init: list[str]) -> None:
    require("pidns", "setsid")  # with a terminal it takes more
    start = f"import sys;sys.path[:0]=[{PLACE!r}];from spawner.__main__ import main;main()"
    found = beyond(["setsid", "--wait", *python(start, *init, "--", "/bin/true")])
    assert found - SMALL == SPAWNER | (set() if os.geteuid() == 0 else {"spawner.stage"})
