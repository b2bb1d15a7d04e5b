"""`--limits process` and `--limits try`: limits of an ordinary user without a control group."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.containers import as_owner
from helpers.programs import Word, python
from helpers.pyspawn import ROOT, pyspawn, refused, said
from helpers.running import Ended, Running, run

import spawner

pytestmark = pytest.mark.usefixtures("pidns")

FORKS = """
import os, sys
made = 0
try:
    while made < 100:
        if os.fork() == 0:
            sys.stdin.read()
            os._exit(0)
        made += 1
except BlockingIOError:
    pass
print(made, flush=True)
sys.stdin.read()
"""


def user(*words: Word) -> list[Word]:
    """Return the command that runs pyspawn as an ordinary user."""
    argv = pyspawn(*words)
    return as_owner(argv) if ROOT else argv


@pytest.fixture
def counted() -> Iterator[Running]:
    """Run a container that has all the processes that it may."""
    options = ("--init", "--limits=process", "--pids-limit=20")
    with Running(user(*options, "--", *python(FORKS))) as running:
        yield running


def test_the_processes_of_each_container_are_counted_by_themselves(counted: Running) -> None:
    """Whatever else the user runs: here a container that has as many as it may, too."""
    assert counted.line() == "18"  # and the init, and the program
    assert run(user("--limits=process", "--pids-limit=20", "--", *python(FORKS))).out == b"19\n"


def test_memory_of_each_process() -> None:
    code = "x = bytearray(200 << 20)"
    ended = run(user("--limits=process", "--memory=64M", "--", *python(code)))
    assert (ended.status, said(ended)[-1]) == (1, "MemoryError")


def tried(*options: Word) -> Ended:
    """Return how a program ended for which a control group is tried in vain."""
    limits = ("--limits=try", "--cgroup-parent=/nowhere", *options)
    return run(user(*limits, "--", "/bin/sh", "-c", "ulimit -d"))


def test_what_was_tried_in_vain_is_told() -> None:
    ended = tried("--memory=64M", "--pids-limit=20")
    assert (ended.status, ended.out) == (0, b"65536\n")
    (line,) = said(ended)
    assert line.startswith("pyspawn: without a control group, each process is limited by itself: ")


def test_what_nothing_else_can_hold_is_refused() -> None:
    ended = tried("--cpus=1")
    assert (ended.status, ended.out) == (125, b"")
    assert "limited by itself" not in ended.errors
    message, hint = refused(run(user("--limits=process", "--cpus=1", "--", "/bin/true")))
    assert message == "--cpus requires a control group"
    assert hint


def test_from_python() -> None:
    limits = spawner.Limits(memory="64M", hold="process")
    ended = spawner.run(["sh", "-c", "ulimit -d"], limits=limits, stdout=spawner.PIPE)
    assert (ended.stdout, ended.resources) == (b"65536\n", None)
