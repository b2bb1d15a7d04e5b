"""`--events` tells programs what happens, a JSON object a line; and it never waits."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import termios
from pathlib import Path
from typing import Any

import pytest
from helpers import children
from helpers.events import Events
from helpers.places import Place
from helpers.programs import family, python, reporter
from helpers.terminal import Terminal

NUMBER = (int, float)


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events]


def test_the_whole_story_of_a_workload_is_told(place: Place) -> None:
    script = "echo $$; read word; exit 3"
    with place.telling("--", "/bin/sh", "-c", script) as (running, events):
        pid = int(running.line())
        running.send(signal.SIGWINCH)
        told = events.next()
        assert told == {"event": "started", "pid": pid}
        told = events.next()
        assert told["event"] == "signal"
        assert told["signal"] == "SIGWINCH"
        assert told["number"] == 28
        assert told["target"] == "process"
        # From outside of our PID namespace a sender has no pid there, kill(2).
        assert told["sender"] == (0 if place.inside else os.getpid())
        running.close_input()
        assert running.wait() == 3
        reaped, exited = events.all()
    assert reaped["event"] == "reaped"
    assert (reaped["pid"], reaped["name"]) == (pid, "sh")
    assert (reaped["status"], reaped["signal"]) == (3, None)
    assert all(
        isinstance(reaped[name], NUMBER) and reaped[name] >= 0
        for name in ("user_seconds", "system_seconds", "max_rss_bytes")
    )
    assert exited == {"event": "exited", "status": 3, "signal": None}


def test_a_death_by_signal_is_told(place: Place) -> None:
    with place.telling("sh", "-c", "kill -9 $$") as (running, events):
        assert running.wait() == 137
        told = events.all()
    assert kinds(told) == ["started", "reaped", "exited"]
    assert (told[1]["status"], told[1]["signal"]) == (None, "SIGKILL")
    assert told[2] == {"event": "exited", "status": 137, "signal": "SIGKILL"}


def test_the_end_of_what_is_left_is_told_in_order(place: Place) -> None:
    """What we send ourselves is told like what others send, and our own end comes last."""
    script = "(trap '' TERM; echo up; exec sleep 1000) & read word; exit 3"
    with place.telling("--drain", "0", "--", "/bin/sh", "-c", script) as (running, events):
        assert running.line() == "up"
        running.close_input()
        assert running.wait() == 3
        told = events.all()
    ours = [
        (event["signal"], event["target"])
        for event in told
        if event["event"] == "signal" and event["target"] == "everything"
    ]
    assert ours == [("SIGTERM", "everything"), ("SIGKILL", "everything")]
    assert told[-1] == {"event": "exited", "status": 3, "signal": None}
    assert kinds(told)[-2] == "reaped"


def test_stops_and_going_on_are_told(place: Place) -> None:
    with place.telling("sh", "-c", "kill -STOP $$; read word") as (running, events):
        stopped = events.wait_for("stopped")
        assert stopped == {"event": "stopped", "pid": stopped["pid"], "signal": "SIGSTOP"}
        running.send(signal.SIGCONT)
        assert events.wait_for("continued") == {"event": "continued", "pid": stopped["pid"]}
        running.close_input()
        assert running.wait() == 1
        events.all()


@pytest.mark.parametrize(
    ("options", "target"), [([], "process"), (["-g"], "group"), (["--all"], "all")]
)
def test_the_target_of_a_signal_is_told(inside: Place, options: list[str], target: str) -> None:
    with inside.telling(*options, *family()) as (running, events):
        running.lines(3)
        running.send(signal.SIGRTMIN + 3)
        told = events.wait_for("signal")
        assert (told["target"], told["signal"], told["number"]) == (target, "SIGRTMIN+3", 37)


def test_the_sender_within_the_namespace_is_told(place: Place) -> None:
    script = "kill -USR1 $PPID; read word"
    with place.telling("sh", "-c", f"trap '' USR1; {script}") as (_, events):
        started = events.next()
        assert events.wait_for("signal", signal="SIGUSR1")["sender"] == started["pid"]


def test_resource_use_is_told(place: Place) -> None:
    burn = """
import resource
held = bytearray(64 << 20)
for place in range(0, len(held), 4096):
    held[place] = 1
while resource.getrusage(resource.RUSAGE_SELF).ru_utime < 0.1:
    pass
"""
    with place.telling(*python(burn)) as (running, events):
        assert running.wait() == 0
        told = next(event for event in events.all() if event["event"] == "reaped")
    assert told["user_seconds"] >= 0.1
    assert told["max_rss_bytes"] >= 64 << 20


def test_the_workload_does_not_inherit_the_events(place: Place) -> None:
    """Else a daemon left behind would keep a reader from the end of the file."""
    show = python("import posix; print(posix.listdir('/proc/self/fd'))")
    with place.telling("--", *show) as (running, events):
        assert str(events.fileno) not in re.findall(r"\d+", running.line())
        assert running.wait() == 0
        events.all()


def full_pipe() -> tuple[int, int]:
    """Return both ends of a pipe that holds all it can."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"." * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(writing, True)
    return reading, writing


MANY = """
import posix
for _ in range(200):
    middle = posix.fork()
    if middle == 0:
        posix.fork()
        posix._exit(0)
    posix.waitpid(middle, 0)
posix._exit(5)
"""


@pytest.mark.parametrize("what", ["--events", "-v", "-w"])
def test_a_reader_that_does_not_read_never_holds_us(place: Place, what: str) -> None:
    reading, writing = full_pipe()
    try:
        if what == "--events":
            options = [what, str(writing)]
            with place.start(*options, *python(MANY), pass_fds=[writing]) as running:
                assert running.wait() == 5
        else:
            with place.start(what, "--wait", *python(MANY), stderr=writing) as running:
                assert running.wait() == 5
        # The descriptor is shared with others, who must not find it non-blocking.
        assert not fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_NONBLOCK
    finally:
        os.close(reading)
        os.close(writing)


TELLING = [["-v"], ["-w"], ["--events", "2"], ["--as", "tini", "-vvv"], ["--as", "dumb-init", "-v"]]


@pytest.mark.parametrize("options", TELLING, ids=" ".join)
@pytest.mark.parametrize("state", ["not read", "stopped"])
def test_a_terminal_never_holds_us(place: Place, options: list[str], state: str) -> None:
    """It counts as writable while there's room for one byte; and ^S leaves all room, but no way."""
    with Terminal() as terminal:
        if state == "stopped":
            termios.tcflow(terminal.slave, termios.TCOOFF)
        else:
            terminal.fill(2000)
        argv = [*options, "--", *python("import posix; posix.read(0, 1);" + MANY)]
        with place.start(*argv, stderr=terminal.slave) as running:
            running.close_input()
            assert running.wait() == 5
        assert not fcntl.fcntl(terminal.slave, fcntl.F_GETFL) & os.O_NONBLOCK


def test_a_start_that_fails_is_not_held_by_its_message(place: Place) -> None:
    with Terminal() as terminal:
        termios.tcflow(terminal.slave, termios.TCOOFF)
        for words, status in ((["--nonsense"], 125), (["--", "no-such-program"], 127)):
            with place.start(*words, stderr=terminal.slave) as running:
                assert running.wait() == status


def test_events_are_whole_lines_and_those_that_were_dropped_are_counted(place: Place) -> None:
    with Events() as events:
        fcntl.fcntl(events.fileno, fcntl.F_SETPIPE_SZ, 4096)
        lingering = MANY.replace("posix._exit(5)", "posix.write(1, b'made\\n'); posix.read(0, 1)")
        argv = [*events.options, *python(lingering)]
        with place.start(*argv, pass_fds=[events.fileno]) as running:
            assert running.line() == "made"
            pid = running.pid
            children.wait_until(lambda: len(children.of(pid)) == 1, "the workload alone")
            told = [events.next()]
            running.send(signal.SIGWINCH)
            while told[-1]["event"] != "signal":
                told.append(events.next())
            running.close_input()
            assert running.wait() == 0
        told += events.all()  # each line is parsed
    counts = [event["count"] for event in told if event["event"] == "dropped"]
    assert counts
    # The start, 200 orphans, the signal, the workload, the exit.
    assert len(told) - len(counts) + sum(counts) == 204


@pytest.mark.parametrize("what", ["--events", "-v", "-w"])
def test_a_reader_that_went_away_changes_nothing(place: Place, what: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        options = [what, str(writing)] if what == "--events" else [what]
        errors = None if what == "--events" else writing
        with place.start(*options, "--", *reporter(), pass_fds=[writing], stderr=errors) as running:
            running.line()
            running.send(signal.SIGUSR1)
            running.send(signal.SIGRTMAX)
            # Above all no SIGPIPE of our own making.
            assert [line.split()[1] for line in running.lines(2)] == ["10", "64"]
    finally:
        os.close(writing)


def test_events_that_cannot_be_written_are_refused(outside: Place) -> None:
    with open("/dev/null", "rb") as stream:
        fd = stream.fileno()
        ended = outside.run("--events", str(fd), "--", "/bin/echo", "x", pass_fds=[fd])
    assert (ended.status, ended.out) == (125, b"")
    assert f"--events {fd}: Bad file descriptor (EBADF); open the descriptor" in ended.errors


def test_events_are_refused_by_what_takes_no_lines(outside: Place) -> None:
    fd = os.eventfd(0)
    ended = outside.run("--events", str(fd), "--", "/bin/echo", "x", pass_fds=[fd])
    os.close(fd)
    assert (ended.status, ended.out) == (125, b"")
    assert f"--events {fd}: Invalid argument (EINVAL); open the descriptor" in ended.errors


def test_events_may_go_to_a_full_device(outside: Place) -> None:
    """A disk that is full now may not be later: news are dropped, and the work goes on."""
    with open("/dev/full", "wb") as stream:
        fd = stream.fileno()
        ended = outside.run("--events", str(fd), "--", "/bin/echo", "x", pass_fds=[fd])
    assert (ended.status, ended.out, ended.errors) == (0, b"x\n", "")


def test_events_may_go_to_a_socket_of_messages(outside: Place) -> None:
    """No empty message comes before them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        fd = theirs.fileno()
        ended = outside.run("--events", str(fd), "--", "/bin/true", pass_fds=[fd])
        assert ended.status == 0
        assert json.loads(ours.recv(4096))["event"] == "started"


def test_events_may_go_to_a_file(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "events"
    with path.open("wb") as stream:
        options = ["--events", str(stream.fileno())]
        ended = place.run(*options, "--", "/bin/true", pass_fds=[stream.fileno()])
    assert ended.status == 0
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert kinds(told) == ["started", "reaped", "exited"]
