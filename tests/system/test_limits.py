"""`--rlimit`, `--nice` and `--oom-score-adj`: what the program gets, and what is refused."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.containers import as_owner
from helpers.programs import Word, prepared, python
from helpers.pyspawn import ROOT, each_shape, pyspawn, said, sh, spawn
from helpers.running import Ended, run

import spawner
from spawner import aio
from spawner.limit import rlimits
from spawner.limit.limits import RESOURCES

pytestmark = pytest.mark.usefixtures("pidns")

SHOW = "ulimit -Sn; ulimit -Hn; ulimit -v; nice; cat /proc/self/oom_score_adj"
LIMITS = ["--rlimit=nofile=50:60", "--rlimit", "as=1G", "--nice=19", "--oom-score-adj", "1000"]
SHOWN = b"50\n60\n1048576\n19\n1000\n"

WANTED = spawner.Limits(rlimits={"nofile": (50, 60), "as": "1G"}, nice=19, oom_score_adj=1000)

EVERYBODY = [[], ["--init"], ["--user"], ["--user", "--init"]]
"""The program as PID 1 and below pyinit, with the caller's rights and with those of a namespace."""


@each_shape
def test_the_program_and_its_children_have_the_limits(options: list[str]) -> None:
    ended = sh(f"{SHOW}; sh -c '{SHOW}'", *options, *LIMITS)
    assert (ended.status, ended.out, ended.errors) == (0, SHOWN * 2, "")


@pytest.mark.parametrize("init", [True, False])
def test_the_launcher_is_not_limited(init: bool) -> None:
    """It has to forward signals and to end everything, whatever the program may use."""
    with spawner.Process(["cat"], init=init, limits=WANTED, stdin=spawner.PIPE) as process:
        launcher = children.status_field(process.pid, "PPid")
        for file in ("limits", "oom_score_adj"):
            assert _of(launcher, file) == _of("self", file) != _of(str(process.pid), file)


def _of(pid: str, file: str) -> str:
    return Path(f"/proc/{pid}/{file}").read_text()


def test_somebody_else_is_limited_as_well() -> None:
    require("root")
    ended = sh(SHOW, *LIMITS, "--setuid=65534", "--setgid=65534")
    assert (ended.status, ended.out, ended.errors) == (0, SHOWN, "")


@pytest.mark.parametrize("name", RESOURCES)
@pytest.mark.parametrize("options", [[], ["--user"]], ids=["", "user"])
def test_each_resource(name: str, options: list[str]) -> None:
    """At a number below the hard limit, and its own: nothing else is taken for it."""
    number = rlimits.number(name)
    most = resource.getrlimit(number)[1]
    wanted = 1 << 30 if most == resource.RLIM_INFINITY else most
    show = f"import resource; print(*resource.getrlimit({number}))"
    ended = spawn(f"--rlimit={name}={wanted}", *options, "--", *python(show))
    assert (ended.status, ended.out, ended.errors) == (0, b"%d %d\n" % (wanted, wanted), "")


@pytest.mark.parametrize("options", EVERYBODY)
def test_the_program_can_not_raise_what_it_has(options: list[str]) -> None:
    ended = sh("ulimit -n 60", "--rlimit=nofile=50", *options, "--user")
    assert ended.status != 0
    assert sh("ulimit -n 60 && ulimit -n", "--rlimit=nofile=50:60", *options).out == b"60\n"


SMALL = ["nofile=16", "fsize=0", "as=64M", "data=16M", "core=0", "stack=256K", "memlock=0",
         "sigpending=0", "rttime=1", "cpu=5", "nproc=2"]  # fmt: skip


@pytest.mark.parametrize("limit", SMALL)
@pytest.mark.parametrize("options", [[], ["--user"]], ids=["", "user"])
def test_pyinit_lives_under_small_limits(limit: str, options: list[str]) -> None:
    """It is under them as well: it starts the program, reaps its orphan, and has its status."""
    script = "exit 7" if limit == "nproc=2" else "(sh -c 'exit 0' & exit 0); exit 7"
    ended = sh(script, "--init", f"--rlimit={limit}", *options)
    assert (ended.status, ended.out, ended.errors) == (7, b"", "")


@pytest.mark.parametrize("limit", ["as=1M", "data=4K", "nofile=3"])
@pytest.mark.parametrize("options", [[], ["--user"]], ids=["", "user"])
def test_pyinit_that_can_not_start_under_the_limits(limit: str, options: list[str]) -> None:
    ended = spawn("--init", f"--rlimit={limit}", *options, "--", "/bin/echo", "ran")
    assert (ended.status, ended.out) == (125, b"")
    message, hint = said(ended)[-2:]  # above may stand what the dynamic linker says
    assert message.startswith("pyspawn: the init ")
    assert message.endswith(" before it had started the program")
    assert hint.startswith("hint: the limits ")


def test_one_process_is_too_few_for_an_init_and_a_program() -> None:
    argv = pyspawn("--init", "--rlimit=nproc=1", "--", "/bin/echo", "ran")
    ended = run(as_owner(argv) if ROOT else argv)
    assert (ended.status, ended.out) == (125, b"")
    message, hint = said(ended)
    assert message.startswith("pyspawn: fork the program's process: ")
    assert hint.startswith("hint: the limit nproc=1 is reached; it counts every process")


@pytest.mark.parametrize("limit", ["nofile=0", "as=0", "data=0", "fsize=0", "nproc=0", "stack=0"])
@pytest.mark.parametrize("options", [[], ["--user"]], ids=["", "user"])
def test_a_failed_exec_is_told_under_any_limit(limit: str, options: list[str]) -> None:
    ended = spawn(f"--rlimit={limit}", *options, "--", "no-such-program")
    assert ended.status == 127
    assert said(ended)[0].startswith("pyspawn: no-such-program: not found in PATH")
    ended = spawn(f"--rlimit={limit}", *options, "--", "/etc/passwd")
    assert ended.status == 126
    assert said(ended)[0] == "pyspawn: /etc/passwd: Permission denied (EACCES)"


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize("options", [*EVERYBODY, ["--share=all"]])
def test_a_hard_limit_is_never_raised(options: list[str], dry: list[str]) -> None:
    """Also by who could: root with all its rights, or root of the new user namespace."""
    code = "resource.setrlimit(resource.RLIMIT_NOFILE, (90, 100))"
    argv = pyspawn(*options, *dry, "--rlimit=nofile=90:101", "--", "/bin/echo", "ran")
    ended = run(prepared(code, argv))
    assert (ended.status, ended.out) == (125, b"")
    message, hint = said(ended)
    refusal = "the limit nofile can't be 101: the hard limit of pyspawn itself is 100"
    assert message == f"pyspawn: {refusal}"
    assert hint.startswith("hint: ask for nofile=100 at most, or ")


def test_a_soft_limit_goes_up_to_the_hard_one() -> None:
    code = "resource.setrlimit(resource.RLIMIT_NOFILE, (90, 100))"
    argv = pyspawn("--rlimit=nofile=100", "--", "/bin/sh", "-c", "ulimit -n")
    assert run(prepared(code, argv)).out == b"100\n"


def refused(*options: Word, code: str = "pass") -> tuple[str, str]:
    """Return the message and the hint of a start that is refused."""
    ended: Ended = run(prepared(code, pyspawn(*options, "--", "/bin/echo", "ran")))
    assert (ended.status, ended.out) == (125, b"")
    message, hint = said(ended)
    return message, hint


@pytest.mark.parametrize("init", [[], ["--init"]], ids=["program", "init"])
def test_a_nice_value_that_takes_a_right(init: list[str]) -> None:
    """Root of a new user namespace has none over the host's processors."""
    message, hint = refused("--user", *init, "--nice=4", code="os.setpriority(0, 0, 5)")
    assert message == "pyspawn: set the nice value to 4: Permission denied (EACCES)"
    assert hint.startswith("hint: a nice value lower than the caller's needs CAP_SYS_NICE")


@pytest.mark.parametrize("init", [[], ["--init"]], ids=["program", "init"])
def test_an_oom_score_that_takes_a_right(init: list[str]) -> None:
    message, hint = refused("--user", *init, "--oom-score-adj=-1000")
    assert message == "pyspawn: set the OOM score adjustment to -1000: Permission denied (EACCES)"
    assert hint.startswith("hint: an OOM score adjustment lower than the caller's (")


@pytest.mark.parametrize(
    ("word", "value", "message"),
    [
        ("--rlimit", "nofile", "--rlimit: 'nofile' is not NAME=SOFT[:HARD], as in nofile=1024"),
        (
            "--rlimit",
            "nofile=2:1",
            "--rlimit: the soft limit of nofile, 2, is above the hard limit",
        ),
        ("--rlimit=nofile=5", "--rlimit=NOFILE=5", "nofile is limited twice"),
        ("--nice", "20", "the nice value can't be 20: it goes from -20 to 19"),
        ("--nice", "low", "--nice: 'low' is not a whole number"),
        ("--oom-score-adj", "2000", "the OOM score adjustment can't be 2000"),
    ],
)
def test_what_makes_no_sense(word: str, value: str, message: str) -> None:
    ended = spawn(word, value, "--", "/bin/echo", "ran")
    assert (ended.status, ended.out) == (125, b"")
    assert said(ended)[0].startswith(f"pyspawn: {message}")


def test_the_ulimit_of_engines_is_answered() -> None:
    ended = spawn("--ulimit", "nofile=1024:2048", "--", "/bin/echo", "ran")
    assert said(ended) == [
        "pyspawn: unknown option --ulimit", "hint: use --rlimit NAME=SOFT[:HARD]",
    ]  # fmt: skip


def test_the_steps_are_told() -> None:
    words = [
        "set the nice value to 19",
        "set the OOM score adjustment to 1000",
        "set the limit nofile to 50, at most 60",
        "set the limit as to 1073741824",
    ]
    lines = spawn(*LIMITS, "--dry-run", "--", "true").out.decode().splitlines()
    shown = [line[10:].partition(":")[0] for line in lines]
    assert [each for each in shown if each in words] == words
    explained = spawn(*LIMITS, "--explain", "--", "/bin/true").errors
    places = [explained.index(f"init: {each}\n") for each in words]
    assert places == sorted(places)


# From Python


@pytest.mark.parametrize("options", [{}, {"init": False}, {"unshare": "user"}], ids=str)
def test_run(options: dict[str, Any]) -> None:
    command = ["sh", "-c", SHOW]
    ended = spawner.run(command, limits=WANTED, stdout=spawner.PIPE, check=True, **options)
    assert ended.stdout == SHOWN
    assert spawner.check_output(command, limits=WANTED, **options) == SHOWN


def test_the_twin_for_asyncio() -> None:
    ended = asyncio.run(aio.run(["sh", "-c", SHOW], limits=WANTED, stdout=spawner.PIPE))
    assert ended.stdout == SHOWN


def test_without_limits_nothing_changes() -> None:
    for limits in (None, spawner.Limits()):
        ended = spawner.run(["sh", "-c", "ulimit -n; nice"], limits=limits, stdout=spawner.PIPE)
        nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert ended.stdout == b"%d\n%d\n" % (nofile, os.getpriority(os.PRIO_PROCESS, 0))


def test_a_refusal_is_an_exception() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limits = spawner.Limits(rlimits={"nofile": most + 1})
    for call in (spawner.run, spawner.plan):
        with pytest.raises(spawner.SetupError, match=f"can't be {most + 1}: ") as caught:
            call([sys.executable], limits=limits)
        assert caught.value.stage == "launcher"
        assert f"nofile={most}" in str(caught.value.hint)


def test_plan() -> None:
    told = spawner.plan(["true"], limits=WANTED)
    assert "prlimit(0, RLIMIT_NOFILE, {50, 60}, NULL)" in [step.call for step in told]
