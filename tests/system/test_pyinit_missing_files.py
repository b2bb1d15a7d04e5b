"""Files that aren't there: no /proc, no /dev, its own modules gone; pyinit goes on."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.exercise import exercise
from helpers.places import Place
from helpers.programs import (
    MOUNTING,
    PLACE,
    Word,
    as_pid1,
    orphans,
    pyinit,
    pyinit_at,
    pyinit_without,
)
from helpers.running import Running, run
from helpers.terminal import Terminal

HIDE = MOUNTING + "mount('none', {target!r}, 'tmpfs')\n"

READ_ONLY = (
    MOUNTING
    + """
kept = os.statvfs("/").f_flag & 0xf  # locked mount flags have to stay, mount_namespaces(7)
mount(None, "/", None, 32 | 4096 | 1 | kept)  # MS_REMOUNT | MS_BIND | MS_RDONLY
"""
)

NO_PROC = HIDE.format(target="/proc")
NO_DEV = HIDE.format(target="/dev")


class OwnMounts(Place):
    """A child like any other, but in a mount namespace that `prepare` may change."""

    def __init__(self) -> None:
        super().__init__("child")
        require("pidns")

    def _around(self, argv: list[Word], prepare: str) -> list[Word]:
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        return ["unshare", *user, "--mount", "--", *super()._around(argv, prepare)]


@pytest.fixture(params=["pid1", "child"])
def own_mounts(request: pytest.FixtureRequest) -> Place:
    return OwnMounts() if request.param == "child" else Place("pid1")


@pytest.mark.parametrize(
    "prepare", [NO_PROC, READ_ONLY, NO_DEV, NO_DEV + NO_PROC + READ_ONLY],
    ids=["no proc", "read-only", "no dev", "none of them"],
)  # fmt: skip
def test_missing_files_are_survived(own_mounts: Place, prepare: str) -> None:
    exercise(own_mounts, prepare)


@pytest.mark.parametrize("options", [["-w"], ["-v"], ["--wait"], ["--drain", "1000"]])
def test_without_proc_every_option_works_as_well_as_it_can(
    own_mounts: Place, options: list[str]
) -> None:
    with own_mounts.start(*options, *orphans(10, status=42), prepare=NO_PROC) as running:
        assert running.line() == "made"
        running.close_input()
        assert running.wait() == 42


def test_without_proc_a_terminal_that_nobody_reads_never_holds_us(own_mounts: Place) -> None:
    """It can't be opened anew then."""
    with Terminal() as terminal:
        terminal.fill(300)
        argv = ["-v", "--", *orphans(10, status=42)]
        with own_mounts.start(*argv, prepare=NO_PROC, stderr=terminal.slave) as running:
            assert running.line() == "made"
            running.close_input()
            assert running.wait() == 42


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [b"A=1", b"A=2", b"no equals sign", b"=x"],
        [b"LANG=C", b"A=\xff"],
        [b"LC_ALL=C", b"A=\xff"],
        [b"LC_CTYPE=C.UTF-8", b"A=1"],
        [b"LC_ALL=C.UTF-8", b"LC_CTYPE=C.UTF-8"],
        [b"LANG=C.UTF-8", b"LC_CTYPE=C.UTF-8"],
    ],
)
def test_without_proc_the_environment_is_still_the_same(
    own_mounts: Place, entries: list[bytes]
) -> None:
    """But for an LC_CTYPE that the interpreter itself has replaced, which leaves no trace."""
    exec_with = f"""
entries = {entries!r}
vector = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
names = (ctypes.c_char_p * (len(entries) + 1))(*entries, None)
ctypes.CDLL(None).execve(argv[0], vector, names)
"""
    ended = own_mounts.run("/usr/bin/env", "-0", prepare=NO_PROC + exec_with)
    assert ended.status == 0, ended
    assert ended.out.split(b"\0")[:-1] == entries


def test_its_own_files_may_vanish_once_it_runs(place: Place, tmp_path: Path) -> None:
    """The workload may change the root, or delete us: what is needed later is there already."""
    for options in ([], ["-w"], ["-v", "--drain", "1000"], ["--kill-after", "0.01", "--wait"]):
        shutil.copytree(Path(PLACE, "pyinit"), tmp_path / "pyinit")
        argv = pyinit_at(str(tmp_path), *options, "--", *orphans(10, status=42))
        with Running(as_pid1(argv) if place.inside else argv, inside=place.inside) as running:
            assert running.line() == "made"
            shutil.rmtree(tmp_path / "pyinit")
            pid = running.pid
            children.wait_until(lambda pid=pid: len(children.of(pid)) == 1, "the reaping")
            (workload,) = children.of(pid)
            os.kill(pid, signal.SIGTSTP)
            children.wait_state(workload, "T")
            os.kill(pid, signal.SIGCONT)
            children.wait_state(workload, "S")
            if "--kill-after" in options:
                os.kill(pid, signal.SIGTERM)
                assert running.wait() in (137, 143)
            else:
                running.close_input()
                assert running.wait() == 42
            assert "rror" not in running.errors()


LIMITS = """
import os, posix, resource
# Leaves PID 1 no descriptor to open a file with, and an orphan; then both end.
resource.prlimit(posix.getppid(), resource.RLIMIT_NOFILE, (0, 0))
if posix.fork() == 0:
    posix._exit(0)
posix._exit(42)
"""


@pytest.mark.parametrize("options", [["-w"], ["-v"], ["-w", "--wait"], ["-w", "--drain", "1000"]])
def test_a_workload_that_takes_its_descriptors_away_is_survived(
    place: Place, options: list[str]
) -> None:
    ended = place.run(*options, "--", sys.executable, "-c", LIMITS)
    assert ended.status == 42
    assert "unexpected" not in ended.errors


@pytest.mark.parametrize("options", [[], ["--wait"], ["--drain", "1000"]])
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_fails_around_a_reaping_hides_no_death(
    place: Place, options: list[str], when: str
) -> None:
    """The SIGCHLD was taken already, and another need not come."""
    broken = f"""
import posix
real = posix.waitpid
failed = []
def waitpid(pid, flags):
    if pid != -1 or failed:
        return real(pid, flags)
    found = (0, 0)
    if {when == "after"}:
        found = real(pid, flags)
        if found[0] == 0:
            return found
    elif not posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT):
        return found  # to ask again could reap what has died since
    failed.append(1)
    raise MemoryError
posix.waitpid = waitpid
"""
    argv: list[Word] = [
        str(word).replace("import pyinit.__main__", f"exec({broken!r});import pyinit.__main__")
        for word in pyinit(*options, "--", "/bin/sh", "-c", "exit 42")
    ]
    ended = run(as_pid1(argv) if place.inside else argv, inside=place.inside)
    assert ended.status == (42 if when == "before" else 125)
    assert ended.errors.count("going on after an unexpected MemoryError") == 1


def test_a_status_that_is_lost_is_no_success(place: Place) -> None:
    """Where something goes wrong between the reaping and the note of it, nobody saw a success."""
    broken = "import pyinit.machine; pyinit.machine.Machine.ended = None; "
    argv: list[Word] = [
        str(word).replace("import pyinit.__main__", f"{broken}import pyinit.__main__")
        for word in pyinit("--", "/bin/true")
    ]
    ended = run(as_pid1(argv) if place.inside else argv, inside=place.inside)
    assert ended.status == 125
    assert "going on after an unexpected TypeError" in ended.errors


class SmallPython(Place):
    """An interpreter without the modules that a small distribution of it leaves out."""

    def argv(self, *arguments: Word, prepare: str = "") -> list[Word]:
        return self._around(pyinit_without(("_ctypes", "resource", "select"), *arguments), prepare)


@pytest.mark.parametrize("where", ["pid1", "child"])
def test_a_small_python_is_enough(where: str) -> None:
    place = SmallPython(where)
    exercise(place, "", reaps=place.inside, says="" if place.inside else "without ctypes")
    with place.telling("--", "/bin/sh", "-c", "exit 3") as (running, events):
        assert running.wait() == 3
        _, reaped, exited = events.all()
    assert (reaped["name"], reaped["status"]) == ("sh", 3)
    assert reaped["user_seconds"] is None
    assert exited["status"] == 3
    ended = place.run("-p", "TERM", "--", "/bin/echo", "x")
    assert (ended.status, ended.out) == (125, b"")
    assert "ctypes" in ended.errors
