"""`--memory`, `--pids-limit`, `--cpus` and the like: held by a control group, which is removed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import cgroups
from helpers.capabilities import require
from helpers.children import status_field
from helpers.containers import as_owner
from helpers.programs import python
from helpers.pyspawn import pyspawn, refused, said, sh, spawn, status_of
from helpers.running import Running, run

import spawner
from spawner import aio
from spawner.limit import group

pytestmark = pytest.mark.usefixtures("pidns")

SHAPES = [[], ["--init"], ["--user"], ["--user", "--init"], ["--share=pid"]]

WANTED = ["--memory=64M", "--pids-limit=50", "--cpus=0.5", "--cpu-weight=50", "--cpuset=0"]

FILES = {
    "memory/memory.limit_in_bytes": "67108864",
    "memory/memory.memsw.limit_in_bytes": "67108864",
    "pids/pids.max": "50",
    "cpu/cpu.cfs_quota_us": "50000",
    "cpu/cpu.shares": "512",
    "cpuset/cpuset.cpus": "0",
}

HOG = "x = bytearray(200 << 20); print('done')"


@pytest.fixture(autouse=True)
def _limits() -> None:
    require("cgroup-limits")


def of(pid: int) -> dict[str, Path]:
    """Return the directory of a process's cgroup for each controller of version 1."""
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for each in controllers.split(","):
            found[each] = Path(f"/sys/fs/cgroup/{controllers}{path}")
    return found


def owned(pid: int) -> list[Path]:
    """Return the directories of a process's cgroups that are pyspawn's."""
    return sorted({path for path in of(pid).values() if path.name.startswith(group.PREFIX)})


def left(pid: int) -> list[Path]:
    """Return the directories of the launcher `pid` that are there."""
    homes = filter(None, map(cgroups.home, ("memory", "pids", "cpu", "cpuset", "cpuacct")))
    return [path for home in homes for path in home.glob(f"{group.PREFIX}{pid}-*")]


@contextlib.contextmanager
def waiting(*options: str) -> Iterator[Running]:
    """Run a container that says it's there, and ends with its input."""
    argv = pyspawn(*options, "--", "/bin/sh", "-c", "echo there; cat")
    with Running(argv) as running:
        assert running.line() == "there"
        yield running
        running.close_input()
        assert running.wait() == 0


def program_of(launcher: int) -> int:
    """Return a process that a launcher, or its keeper, has started."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return int(children[0])


@pytest.mark.parametrize("shape", SHAPES, ids=" ".join)
def test_all_of_the_container_is_in_a_group_that_goes_with_it(shape: list[str]) -> None:
    with waiting(*shape, *WANTED) as running:
        first = program_of(running.pid)
        if "--share=pid" in shape:  # that is the keeper, which is ours
            assert owned(first) == []
            first = program_of(first)
        directories = owned(first)
        assert len(directories) == len(
            {*of(first)} & {"memory", "pids", "cpu", "cpuset", "cpuacct"}
        )
        for file, value in FILES.items():
            controller, _, name = file.partition("/")
            assert (of(first)[controller] / name).read_text().strip() == value
        assert owned(running.pid) == []
    assert [path for path in directories if path.exists()] == left(running.pid) == []


@pytest.mark.parametrize("shape", SHAPES, ids=" ".join)
def test_the_group_is_the_root_of_the_cgroup_namespace(shape: list[str]) -> None:
    ended = sh("grep -E '(memory|pids):' /proc/self/cgroup", *shape, "--pids-limit=50")
    assert {line.split(":")[2] for line in ended.out.decode().splitlines()} == {"/"}


@pytest.mark.parametrize("shape", [["--init"], []], ids=["init", "program"])
def test_a_hog_is_ended_and_its_neighbour_lives(shape: list[str]) -> None:
    with waiting("--memory=64M") as neighbour:
        ended, events = status_of(*shape, "--memory=64M", "--", *python(HOG))
        assert (ended.status, ended.out) == (137, b"")
        killed = "the program was killed by --memory: the container had used its 64M"
        assert said(ended) == [f"pyspawn: {killed}"]
        used, exited = events[-2:]
        assert (exited["event"], exited["limit"]) == ("exited", "memory")
        assert (used["event"], used["cgroup"], used["oom_kills"]) == ("resources", "v1", 1)
        assert used["memory_peak"] == 64 << 20
        assert used["cpu_seconds"] > 0
        neighbour.write(b"alive\n")
        assert neighbour.line() == "alive"


def test_with_swap_counted_a_program_below_the_limit_is_left_alone() -> None:
    options = ["--memory=512M", "--memory-swap=1G", "--pids-limit=9"]
    ended, events = status_of(*options, "--", *python(HOG))
    assert (ended.status, ended.out, ended.errors) == (0, b"done\n", "")
    assert 200 << 20 < events[-2]["memory_peak"] < 512 << 20
    assert 1 <= events[-2]["pids_peak"] < 9
    assert events[-1]["limit"] is None


# One orphan after the other; where there's an init, each is awaited until it's reaped.
ORPHANS = """
import os, sys
for made in range(1000):
    reader, writer = os.pipe()
    try:
        if os.fork() == 0:
            try:
                orphan = os.fork()
                if orphan:
                    os.write(writer, b"%d" % orphan)
            finally:
                os._exit(0)
        os.wait()
    except BlockingIOError as error:
        sys.exit(f"{made} orphans: {error.strerror}")
    os.close(writer)
    orphan = int(os.read(reader, 20) or sys.exit(f"{made} orphans: {os.strerror(11)}"))
    os.read(reader, 1)
    os.close(reader)
    while "init" in sys.argv and os.path.exists(f"/proc/{orphan}"):
        os.sched_yield()
print("all")
"""


def test_under_an_init_orphans_never_add_up_to_the_limit() -> None:
    ended, events = status_of("--init", "--pids-limit=64", "--", *python(ORPHANS, "init"))
    assert (ended.status, ended.out, ended.errors) == (0, b"all\n", "")
    assert (events[-2]["pids_refused"], events[-1]["limit"]) == (0, None)


def test_without_an_init_they_do() -> None:
    ended, events = status_of("--pids-limit=64", "--", *python(ORPHANS))
    assert (ended.status, ended.out) == (1, b"")
    made, _, why = said(ended)[0].partition(" orphans: ")
    assert 50 < int(made) < 64
    assert why == os.strerror(11)
    refusal = "forks were refused by --pids-limit: the container had 64 processes and threads"
    assert said(ended)[1].startswith(f"pyspawn: {refusal}; without --init, ended orphans count")
    assert (events[-2]["pids_peak"], events[-1]["limit"]) == (64, "pids")
    assert events[-2]["pids_refused"] > 0


def test_a_launcher_that_is_killed_leaves_a_group_to_the_next_start() -> None:
    """In a parent of its own, where nobody else's start sweeps."""
    with cgroups.below("pids", pids_max="max") as parent, leaving_a_group(parent) as directory:
        # Not empty: it's left alone.
        held = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        try:
            (directory / "cgroup.procs").write_text(str(held.pid))
            assert start_below(parent) == 0
            assert directory.exists()
            assert held.poll() is None
        finally:
            held.communicate()
        while directory.exists():  # some kernels hold it a moment longer for what has ended
            assert start_below(parent) == 0
        assert [path for path in parent.iterdir() if path.is_dir()] == []


def start_below(parent: Path) -> int:
    """Return the status of a program in a group below another."""
    return spawn("--pids-limit=50", f"--cgroup-parent={parent}", "--", "/bin/true").status


@contextlib.contextmanager
def leaving_a_group(parent: Path) -> Iterator[Path]:
    """Kill a launcher, and return the directory that it leaves."""
    options = ("--pids-limit=50", f"--cgroup-parent={parent}")
    with Running(pyspawn(*options, "--", "/bin/sh", "-c", "echo there; cat")) as running:
        assert running.line() == "there"
        first = program_of(running.pid)
        (directory,) = owned(first)
        pidfd = os.pidfd_open(first)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        select.select([pidfd], [], [])  # the kernel kills it with its parent
        os.close(pidfd)
        assert directory.exists()
        yield directory


def test_what_is_in_the_group_at_the_end_goes_with_it() -> None:
    """Groups below it, and whoever was put in there from outside."""
    stray = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        with waiting("--pids-limit=50") as running:
            directories = owned(program_of(running.pid))
            for path in directories:
                (path / "a/b").mkdir(parents=True)
                (path / "a/b/cgroup.procs").write_text(str(stray.pid))
        assert stray.wait() == -signal.SIGKILL
    finally:
        stray.kill()
        stray.communicate()
    assert [path for path in directories if path.exists()] == []


@pytest.mark.parametrize("shape", SHAPES, ids=" ".join)
def test_nothing_is_left_of_a_start_that_fails(shape: list[str]) -> None:
    for words in (
        [*WANTED, "--", "no-such-program"],
        [*WANTED, "--workdir=/nowhere", "--", "true"],
    ):
        with Running(pyspawn(*shape, *words)) as running:
            assert running.wait() in (125, 127)
            assert left(running.pid) == []


def test_a_limit_that_the_kernel_refuses() -> None:
    with Running(pyspawn("--pids-limit=50", "--cpuset=8191", "--", "/bin/true")) as running:
        assert running.wait() == 125
        message, hint = running.errors().splitlines()
        assert message.startswith("pyspawn: set cpuset.cpus of the control group to 8191: ")
        assert hint.startswith("hint: the limit can't be above that of the control group")
        assert left(running.pid) == []


def test_an_ordinary_user_hears_what_is_missing() -> None:
    require("root", "other-user")
    ended = run(as_owner(pyspawn("--memory=64M", "--", "/bin/true")))
    message, hint = refused(ended)
    assert message.startswith("make the control group /sys/fs/cgroup/memory")
    assert message.endswith("Permission denied (EACCES)")
    assert "start pyspawn as root where the control groups can be written" in hint
    assert hint.endswith("limit each process by itself, --limits process")


def test_a_group_in_one_that_is_named() -> None:
    with cgroups.below("pids", pids_max="30") as parent:
        name = f"/{parent.relative_to('/sys/fs/cgroup/pids')}"
        for named in (name, str(parent)):
            with waiting("--pids-limit=50", f"--cgroup-parent={named}") as running:
                assert of(program_of(running.pid))["pids"].parent == parent
        assert (parent / "pids.max").read_text() == "30\n"
    message, hint = refused(spawn("--pids-limit=5", "--cgroup-parent=/nowhere", "--", "/bin/true"))
    assert message.endswith("No such file or directory (ENOENT)")
    assert "--cgroup-parent names a control group that exists" in hint


@pytest.mark.parametrize("options", [["--memory=64M"], ["--cpus=1", "--init"]], ids=" ".join)
def test_the_steps_are_told_and_a_dry_run_takes_none(options: list[str]) -> None:
    with Running(pyspawn(*options, "--dry-run", "--", "true")) as running:
        out = running.out.rest().decode()
        assert left(running.pid) == []
    lines = [line.split(None, 1) for line in out.splitlines()]
    what = [f"{where}: {rest.partition(':')[0]}" for where, rest in lines]
    assert what[0] == "launcher: make a control group"
    places = list(map(what.index, ["init: make a process group", "init: enter the control group",
                                   "init: make a new cgroup namespace"]))  # fmt: skip
    assert places == sorted(places)
    explained = spawn(*options, "--explain", "--", "/bin/true").errors
    assert explained.index("launcher: make a control group\n") < explained.index("fork the init")
    assert "init: enter the control group\n" in explained


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("--cpu-quota", "use --cpus N"),
        ("--cpu-shares", "use --cpu-weight N"),
        ("--cpuset-cpus", "use --cpuset LIST"),
        ("-m", "-m is --mount here and accepts no value; memory is --memory BYTES"),
    ],
)
def test_the_words_of_engines_are_answered(word: str, hint: str) -> None:
    ended = spawn(word, "5", "--", "/bin/echo", "ran")
    assert hint in ended.errors


# From Python


LIMITS = spawner.Limits(memory="64M", pids=50, cpus=0.5, cpu_weight=50, cpuset="0")


@pytest.mark.parametrize("options", [{}, {"init": False}, {"unshare": "user"}], ids=str)
def test_a_process(options: dict[str, Any]) -> None:
    with spawner.Process(["cat"], limits=LIMITS, stdin=spawner.PIPE, **options) as process:
        for file, value in FILES.items():
            controller, _, name = file.partition("/")
            assert (of(process.pid)[controller] / name).read_text().strip() == value
        launcher = int(status_field(process.pid, "PPid"))
        assert left(launcher)
    assert left(launcher) == []


def test_a_hog_from_python() -> None:
    ended = spawner.run(python(HOG), limits=LIMITS)
    twin = asyncio.run(aio.run(python(HOG), limits=LIMITS))
    for each in (ended, twin):
        assert (each.returncode, each.signal, each.limit) == (137, signal.SIGKILL, "memory")
        assert isinstance(each.resources, spawner.Resources)
        assert each.resources.memory_peak == 64 << 20
    assert spawner.run(["true"]).resources is None


def test_a_refusal_names_the_field() -> None:
    with pytest.raises(spawner.SetupError, match="No such file") as caught:
        spawner.run(["true"], limits=spawner.Limits(pids=5, cgroup_parent="/nowhere"))
    assert "cgroup_parent names a control group that exists" in str(caught.value.hint)
