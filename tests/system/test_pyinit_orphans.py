"""Where pyinit isn't PID 1 it adopts orphans all the same; with `-w` it names them."""

from __future__ import annotations

import signal

import pytest
from helpers import children
from helpers.places import Place
from helpers.programs import READY, pyinit, python, reporter
from helpers.running import Running

ORPHANS_PARENT = """
import os, select
# An orphan that says who its parent is, once the middle process is really gone.
middle = os.fork()
if middle == 0:
    parent = os.pidfd_open(os.getpid())
    if os.fork() == 0:
        select.select([parent], [], [])
        os.write(1, b"%d\\n" % os.getppid())
        os._exit(0)
    os._exit(0)
os.waitpid(middle, 0)
os.read(0, 1)
"""


def test_where_it_is_not_pid_1_it_adopts_orphans(outside: Place) -> None:
    with outside.start("--", *python(ORPHANS_PARENT)) as running:
        assert int(running.line()) == running.pid


def test_below_another_subreaper_it_adopts_and_stays_silent(outside: Place) -> None:
    with Running(pyinit("--", *pyinit("--", *python(ORPHANS_PARENT)))) as running:
        parent = int(running.line())
        assert children.of(running.pid) == {parent}
        running.close_input()
        assert running.wait() == 0
        assert running.errors() == ""


def test_as_pid_1_it_stays_silent_with_orphans(inside: Place) -> None:
    with inside.start("--", *python(ORPHANS_PARENT)) as running:
        assert running.line() == "1"
        running.close_input()
        assert running.wait() == 0
        assert running.errors() == ""


NAMED = """
import posix, signal
def orphan(name, end):
    middle = posix.fork()
    if middle == 0:
        if posix.fork() == 0:
            fd = posix.open("/proc/self/comm", posix.O_WRONLY)
            posix.write(fd, name)
            posix.close(fd)
            end()
        posix._exit(0)
    posix.waitpid(middle, 0)
orphan(b"three", lambda: posix._exit(3))
orphan(b"killed", lambda: posix.kill(posix.getpid(), signal.SIGKILL))
orphan(b"b\\xff\\xfe\\n(x) y", lambda: posix._exit(0))
orphan(b'"quo\\\\te"', lambda: posix._exit(0))
"""


@pytest.mark.parametrize("option", ["-w", "--warn-orphans"])
def test_each_orphan_is_named_when_asked_for(place: Place, option: str) -> None:
    ended = place.run(option, "--wait", "--", *python(NAMED))
    lines = ended.errors.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("pyinit[") for line in lines)
    three = next(line for line in lines if "three" in line)
    assert "3" in three.split("three")[1]
    killed = next(line for line in lines if "killed)" in line)
    assert "SIGKILL" in killed
    assert all(any(word.strip("(),:").isdigit() for word in line.split()) for line in lines)


def test_names_are_valid_json_whatever_they_hold(place: Place) -> None:
    with place.telling("--wait", "--", *python(NAMED)) as (running, events):
        assert running.wait() == 0
        names = [event["name"] for event in events.all() if event["event"] == "reaped"]
    assert {"three", "killed", '"quo\\te"'} <= set(names)
    assert len(names) == 5


def test_a_reporter_below_pyinit_is_never_reaped_alive(place: Place) -> None:
    with place.start("-w", "--", *reporter(), prepare=READY) as running:
        running.lines(2)
        for _ in range(20):
            running.send(signal.SIGCHLD)
        running.send(signal.SIGTERM)
        assert running.line().split()[1] == "15"
        assert running.errors() == ""
