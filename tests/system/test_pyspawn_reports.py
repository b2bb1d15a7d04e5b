"""What pyspawn tells programs, `--json-status`, and that it waits for nobody to read it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.programs import prepared
from helpers.pyspawn import FILES, LINKS, each_shape, pyspawn, said, spawn, status_of
from helpers.running import Lines, Running, run
from helpers.seccomp import Held

pytestmark = pytest.mark.usefixtures("pidns")


@each_shape
def test_status_for_programs(options: list[str]) -> None:
    ended, events = status_of(*options, "--", "/bin/sh", "-c", LINKS + "; exit 3")
    created, started, exited = events
    assert created["event"] == "created"
    assert isinstance(created["host_pid"], int)
    assert started == {"event": "started"}
    assert exited == {"event": "exited", "status": 3, "signal": None, "limit": None}
    links = ended.out.decode().split()
    inodes = {kind: int(link.rstrip("]").partition("[")[2]) for kind, link in
              zip(FILES, links, strict=True)}  # fmt: skip
    assert created["namespaces"] == inodes


@each_shape
def test_the_host_pid_is_that_of_the_first_process(options: list[str]) -> None:
    reader, writer = os.pipe()
    argv = pyspawn(f"--json-status={writer}", *options, "--", "/bin/sh", "-c", "read line")
    with Running(argv, pass_fds=[writer]) as running:
        os.close(writer)
        lines = Lines(reader)
        pid = json.loads(lines.next())["host_pid"]
        assert json.loads(lines.next()) == {"event": "started"}
        inside = children.status_field(pid, "NSpid").split()
        new = "--share=pid" not in options
        assert inside == ([str(pid), "1"] if new else [str(pid)])
        running.write(b"\n")
        assert running.wait() == 0
    os.close(reader)


@pytest.mark.parametrize("options", [["--init"], ["--share=pid"], ["--share=pid", "--init"]])
def test_a_death_by_a_signal_is_told_apart_from_its_status(options: list[str]) -> None:
    _, events = status_of(*options, "--", "/bin/sh", "-c", "kill -9 $$")
    assert events[-1] == {"event": "exited", "status": 137, "signal": "SIGKILL", "limit": None}
    _, events = status_of(*options, "--", "/bin/sh", "-c", "exit 137")
    assert events[-1] == {"event": "exited", "status": 137, "signal": None, "limit": None}


@each_shape
def test_a_failed_exec_is_told(options: list[str]) -> None:
    # Not the caller's PATH: a directory in it that may not be searched makes it EACCES.
    ended, events = status_of(*options, "--env=PATH=/usr/bin:/bin", "--", "nos\udcffuch")
    assert [event["event"] for event in events] == ["created", "failed"]
    failed = events[1]
    assert (failed["status"], failed["errno"], failed["syscall"]) == (127, "ENOENT", "execve")
    assert failed["stage"] == "init"
    assert failed["message"] in ended.errors
    assert ended.status == 127


@each_shape
def test_a_failed_set_up_is_told(options: list[str]) -> None:
    ended, events = status_of(*options, "--workdir=/no\n/such", "--", "true")
    assert [event["event"] for event in events] == ["created", "failed"]
    failed = events[1]
    assert failed["stage"] == "init"
    assert (failed["syscall"], failed["errno"]) == ("chdir", "ENOENT")
    assert failed["path"] == "/no\n/such"
    assert failed["status"] == ended.status == 125
    assert failed["message"] == (
        "change to the directory /no\\n/such: No such file or directory (ENOENT)"
    )
    assert failed["hint"]
    assert said(ended) == [f"pyspawn: {failed['message']}", f"hint: {failed['hint']}"]


def test_what_makes_no_sense_is_told() -> None:
    ended, events = status_of("--hostname=x", "--share=uts", "--", "true")
    (failed,) = events
    assert (failed["event"], failed["status"], failed["stage"]) == ("failed", 125, None)
    assert ended.status == 125


def test_quiet_leaves_the_streams_to_the_program() -> None:
    ended, events = status_of("--quiet", "--", "nosuch")
    assert ended.errors == ""
    assert events[-1]["event"] == "failed"


@each_shape
@pytest.mark.parametrize("how", ["lifeline", "time-out"])
def test_an_end_before_the_program_ran_is_no_exit(options: list[str], how: str) -> None:
    """The set-up hangs, here at its chdir(2), and everything is killed."""
    require("seccomp")
    told, status = os.pipe()
    end, lifeline = os.pipe()
    own = [f"--lifeline={end}", f"--json-status={status}", "--stop-timeout=0", "--workdir=/"]
    with Held("chdir") as held:
        argv = prepared(held.code, pyspawn(*own, *options, "--", "true"))
        with Running(argv, pass_fds=[held.fileno, status, end]) as running:
            os.close(status)
            os.close(end)
            held.catch()
            if how == "time-out":
                running.send(signal.SIGTERM)
            else:
                os.write(lifeline, b"x")
            assert running.wait() == 137
    os.close(lifeline)
    with open(told) as lines:
        created, failed = map(json.loads, lines)
    assert (created["event"], failed["event"]) == ("created", "failed")
    assert failed["message"] == "everything was killed before the program ran"
    assert failed["status"] == 137


@pytest.mark.parametrize("option", ["--json-status", "--lifeline"])
def test_a_descriptor_that_is_not_open(option: str) -> None:
    ended = spawn(option, "77", "--", "true")
    assert ended.status == 125
    assert said(ended)[0] == f"pyspawn: {option} 77: Bad file descriptor (EBADF)"
    assert said(ended)[1].startswith("hint: ")


@pytest.mark.parametrize("kind", ["file", "pipe", "device"])
def test_a_status_that_can_not_be_written_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = {"file": tmp_path / "file", "device": Path("/dev/null")}.get(kind)
    descriptor, *more = os.pipe() if place is None else [os.open(place, os.O_RDONLY)]
    try:
        argv = pyspawn(f"--json-status={descriptor}", "--", "/bin/true")
        ended = run(argv, pass_fds=[descriptor])
    finally:
        for each in (descriptor, *more):
            os.close(each)
    assert ended.status == 125
    hint = f"hint: open the descriptor when you start pyspawn, for example with `{descriptor}>FILE`"
    hint += " in a shell"
    assert said(ended) == [
        f"pyspawn: --json-status {descriptor}: Bad file descriptor (EBADF)",
        hint,
    ]


def test_a_status_may_be_a_socket_and_gets_no_empty_message() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        argv = pyspawn(f"--json-status={theirs.fileno()}", "--", "/bin/true")
        assert run(argv, pass_fds=[theirs.fileno()]).status == 0
        assert json.loads(ours.recv(4096))["event"] == "created"


def test_a_full_device_may_be_the_status() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        argv = pyspawn(f"--json-status={descriptor}", "--", "/bin/true")
        assert run(argv, pass_fds=[descriptor]).status == 0
    finally:
        os.close(descriptor)


def test_a_status_that_nobody_reads_does_not_matter() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    argv = pyspawn(f"--json-status={writer}", "--init", "--", "/bin/sh", "-c", "exit 4")
    with Running(argv, pass_fds=[writer]) as running:
        os.close(writer)
        assert running.wait() == 4


def test_messages_that_nobody_reads_do_not_matter() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Running(pyspawn("--verbose", "nosuch"), stderr=writer) as running:
        os.close(writer)
        assert running.wait() == 127


def test_a_full_standard_error_holds_nobody() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    with Running(pyspawn("--verbose", "nosuch"), stderr=writer) as running:
        os.close(writer)
        assert running.wait() == 127
    os.close(reader)


def test_verbose_tells_the_story() -> None:
    argv = pyspawn("--verbose", "--init", "--", "/bin/sh", "-c", "echo on; exec sleep 1000")
    with Running(argv) as running:
        assert running.line() == "on"
        running.send(signal.SIGTERM)
        assert running.wait() == 143
        lines = running.errors().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("pyspawn: the container is made: its first process is ")
    # The program may speak, and be answered, before pyinit has said that it started it.
    assert set(lines[1:3]) == {
        "pyspawn: the program has started",
        "pyspawn: got SIGTERM for the program",
    }
    assert lines[3] == "pyspawn: the program has ended with status 143, killed by SIGTERM"
