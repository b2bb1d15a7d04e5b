"""All that can be reaped is reaped, at once, whoever's child it was; nothing else is."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

from helpers import children
from helpers.capabilities import require
from helpers.places import Place
from helpers.programs import orphans, python
from helpers.running import Running, run

AT_ONCE = """
import posix, sys
# Orphans that all wait for one end of file, then die together.
count = int(sys.argv[1])
reading, writing = posix.pipe()
ready_reading, ready_writing = posix.pipe()
middle = posix.fork()
if middle == 0:
    posix.close(writing)
    for _ in range(count):
        if posix.fork() == 0:
            posix.write(ready_writing, b".")
            posix.read(reading, 1)
            posix._exit(0)
    posix._exit(0)
posix.waitpid(middle, 0)
ready = 0
while ready < count:
    ready += len(posix.read(ready_reading, 65536))
posix.write(1, b"made\\n")
posix.read(0, 1)
posix.close(writing)
posix.read(0, 1)
"""


def alone(running: Running) -> bool:
    """Tell whether nothing but the workload, alive, is left of pyinit's children."""
    left = children.of(running.pid)
    return len(left) == 1 and not children.zombies(running.pid)


def all_reaped_at_once(running: Running, count: int) -> None:
    """Let so many orphans die together, and check that nothing but the workload is left."""
    assert running.line() == "made"
    assert len(children.of(running.pid)) == count + 1
    running.write(b"x")
    children.wait_until(lambda: alone(running), "the last reaping")
    running.close_input()
    assert running.wait() == 0


def test_a_stream_of_orphans_leaves_no_zombie(place: Place, tmp_path: Path) -> None:
    with (tmp_path / "events").open("w+b") as told:
        options = ["--events", str(told.fileno())]
        with place.start(*options, "--", *orphans(1000), pass_fds=[told.fileno()]) as running:
            assert running.line() == "made"
            children.wait_until(lambda: alone(running), "the last reaping")
            running.close_input()
            assert running.wait() == 0
        told.seek(0)
        assert told.read().count(b'"reaped"') == 1001


def test_thousands_that_die_at_once_leave_no_zombie(place: Place, tmp_path: Path) -> None:
    with (tmp_path / "events").open("w+b") as told:
        options = ["--events", str(told.fileno())]
        with place.start(
            *options, "--", *python(AT_ONCE, "2000"), pass_fds=[told.fileno()]
        ) as running:
            all_reaped_at_once(running, 2000)
        told.seek(0)
        assert told.read().count(b'"reaped"') == 2001


def test_orphans_are_reaped_without_anyone_watching(place: Place) -> None:
    """The plain path, with no events to write, reaps as well."""
    with place.start("--", *python(AT_ONCE, "300")) as running:
        all_reaped_at_once(running, 300)


def test_a_storm_never_hides_the_workloads_end(place: Place) -> None:
    die_among_them = AT_ONCE.replace("posix.close(writing)\nposix.read(0, 1)", "posix._exit(42)")
    for _ in range(3):
        with place.start("--", *python(die_among_them, "200")) as running:
            assert running.line() == "made"
            running.write(b"x")
            assert running.wait() == 42


def test_children_that_came_with_the_exec_are_reaped(place: Place) -> None:
    """Two were there before pyinit was: one dead already, one that dies later."""
    prepare = """
ready, told = os.pipe()
if os.fork() == 0:
    os._exit(0)
os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
late = os.fork()
if late == 0:
    os.close(1)
    os.read(0, 1)
    os._exit(9)
"""
    with place.telling("--wait", "--", "/bin/true", prepare=prepare) as (running, events):
        running.write(b"x")
        assert running.wait() == 0
        told = events.all()
    ends = Counter(event["status"] for event in told if event["event"] == "reaped")
    assert ends == {0: 2, 9: 1}


def test_children_of_whoever_joins_the_namespace_are_reaped(inside: Place) -> None:
    require("nsenter")
    with inside.telling("--", "/bin/cat") as (running, events):
        events.wait_for("started")
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        joined = run(
            ["nsenter", *user, "--pid", "--target", str(running.pid), "--",
             "/bin/sh", "-c", "(exec /bin/sh -c 'exit 5') & exit 0"]
        )  # fmt: skip
        assert joined.status == 0, joined
        events.wait_for("reaped", status=5)
        running.close_input()
        assert running.wait() == 0


def test_sigchld_ignored_by_the_starter_neither_hangs_nor_loses_the_status(place: Place) -> None:
    ignore = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    ended = place.run("--", "/bin/sh", "-c", "exit 6", prepare=ignore)
    assert ended.status == 6
    # The orphans too, to the last one.
    heed = "import _signal; _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)\n"
    with place.telling("--", *orphans(50, first=heed), prepare=ignore) as (running, events):
        for _ in range(50):
            events.wait_for("reaped")
        assert running.line() == "made"
        assert len(children.of(running.pid)) == 1


def test_sigchld_that_is_blocked_by_the_starter_changes_nothing(place: Place) -> None:
    block = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])\n"
    assert place.run("--", "/bin/sh", "-c", "exit 6", prepare=block).status == 6


def test_a_child_with_another_exit_signal_is_reaped(place: Place) -> None:
    """clone(2) can make children whose death sends no SIGCHLD; waitpid needs __WALL for them."""
    require("x86_64")
    odd = """
import ctypes, posix
# CLONE_NR 56 with no exit signal: the orphan's death is silent, and its parent is gone.
libc = ctypes.CDLL(None)
middle = posix.fork()
if middle == 0:
    if libc.syscall(56, 0, 0, 0, 0, 0) == 0:
        posix.read(0, 1)
    posix._exit(0)
posix.waitpid(middle, 0)
posix.write(1, b"made\\n")
posix.read(0, 1)
"""
    with place.start("--wait", "--", *python(odd)) as running:
        assert running.line() == "made"
        running.close_input()
        assert running.wait() == 0
    assert children.zombies(os.getpid()) == []


def test_a_stopped_workload_is_not_a_dead_one(place: Place) -> None:
    script = "kill -STOP $$; read word; exit 11"
    with place.telling("--", "/bin/sh", "-c", script) as (running, events):
        stopped = events.wait_for("stopped")
        assert stopped["signal"] == "SIGSTOP"
        running.send(signal.SIGCONT)
        assert events.wait_for("continued")["pid"] == stopped["pid"]
        running.close_input()
        assert running.wait() == 11


def test_a_stopped_orphan_is_not_a_dead_one(place: Place) -> None:
    # The orphan stops once it's pyinit's child: nobody tells a new parent of an older stop.
    stop_and_go = """
import os, select, signal
reading, writing = os.pipe()
middle = os.fork()
if middle == 0:
    parent = os.pidfd_open(os.getpid())
    if os.fork() == 0:
        select.select([parent], [], [])
        os.write(writing, b"%d" % os.getpid())
        os.kill(os.getpid(), signal.SIGSTOP)
        os.read(0, 1)
        os._exit(12)
    os._exit(0)
os.waitpid(middle, 0)
orphan = int(os.read(reading, 20))
os.read(0, 1)
os.kill(orphan, signal.SIGCONT)
os.read(0, 1)
"""
    with place.telling("--wait", "--", *python(stop_and_go)) as (running, events):
        orphan = events.wait_for("stopped")["pid"]
        running.write(b"x")
        assert events.wait_for("continued")["pid"] == orphan
        running.close_input()
        assert events.wait_for("reaped", pid=orphan)["status"] == 12
        assert running.wait() == 0
