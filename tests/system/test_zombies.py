"""`pyspawn zombies` against real ones."""

from __future__ import annotations

import json
import os
import platform
import signal
from typing import Any

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.programs import Word, as_pid1, python
from helpers.running import Ended, Running, run

from spawner import lean

NEGLIGENT = """
import posix, sys
def dead(count):
    pids = []
    for _ in range(count):
        pid = posix.fork()
        if pid == 0:
            posix._exit(3)
        posix.waitid(posix.P_PID, pid, posix.WEXITED | posix.WNOWAIT)
        pids.append(pid)
    return pids
pids = dead(int(sys.argv[1]))
print("ready", *pids, flush=True)
for line in sys.stdin:
    for pid in pids:
        posix.waitpid(pid, 0)
    print("reaped", flush=True)
"""
"""Has dead children that it reaps only when a line comes on standard input."""


def negligent(count: int) -> list[Word]:
    return python(NEGLIGENT, str(count))


def zombies_argv(*words: str) -> list[Word]:
    return [*lean.pyspawn(), "zombies", *words]


def look(*words: str) -> Ended:
    return run(zombies_argv(*words))


def parents(*words: str) -> list[dict[str, Any]]:
    """Return what the command says in JSON, after checking its status by it."""
    ended = look("--json", *words)
    found: list[dict[str, Any]] = json.loads(ended.out)
    assert ended.errors == ""
    assert ended.status == (1 if found else 0)
    return found


def test_a_parent_that_does_not_wait_is_named_until_it_does() -> None:
    with Running(negligent(3)) as program:
        pids = [int(word) for word in program.line().split()[1:]]
        (parent,) = parents(str(program.pid))
        assert parent["pid"] == program.pid
        assert parent["name"] == children.status_field(program.pid, "Name")
        assert not parent["init"]
        assert sorted(zombie["pid"] for zombie in parent["zombies"]) == sorted(pids)
        # The bounds are wide: whole seconds of the boot time, and a machine under load.
        assert all(0 <= zombie["age"] < 3600 for zombie in parent["zombies"])
        table = look(str(program.pid))
        assert table.status == 1
        assert table.out.decode().splitlines()[1].split()[:3] == [
            str(program.pid), parent["name"], "3"
        ]  # fmt: skip
        program.write(b"\n")
        assert program.line() == "reaped"
        assert parents(str(program.pid)) == []
        assert look(str(program.pid)).out == b"no zombies\n"


def test_all_processes_are_looked_at_without_a_pid() -> None:
    with Running(negligent(1)) as program:
        program.line()
        assert program.pid in [parent["pid"] for parent in parents()]


def test_ended_it_leaves_them_to_who_reaps() -> None:
    """What the advice promises: `conftest` makes the test's process the next subreaper."""
    with Running(negligent(1)) as program:
        (pid,) = program.line().split()[1:]
        program.send(signal.SIGKILL)
        program.wait()
        assert [parent["pid"] for parent in parents(str(os.getpid()))] == [os.getpid()]
        os.waitpid(int(pid), 0)
        assert parents(str(os.getpid())) == []


def test_a_stopped_parent_reaps_once_it_is_continued() -> None:
    with Running(negligent(1)) as program:
        program.line()
        program.send(signal.SIGSTOP)
        os.waitid(os.P_PID, program.pid, os.WSTOPPED)
        program.write(b"\n")
        (parent,) = parents(str(program.pid))
        assert parent["stopped"]
        assert f"kill -CONT {program.pid}" in parent["advice"]
        program.send(signal.SIGCONT)
        assert program.line() == "reaped"
        assert parents(str(program.pid)) == []


ORPHANS_AND_A_LOOK = """
import posix, sys
reading, writing = posix.pipe()
pid = posix.fork()
if pid == 0:
    posix.close(writing)
    if posix.fork() == 0:
        posix.read(reading, 1)  # until the parent below is gone, and the grandparent let go
        posix._exit(0)
    posix._exit(0)
posix.waitpid(pid, 0)
posix.close(reading)
posix.close(writing)
posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOWAIT)
print("ready", posix.getpid(), flush=True)
sys.stdin.readline()
if posix.fork() == 0:
    posix.execv(sys.argv[1], sys.argv[1:])
sys.stdin.readline()
"""


def test_a_pid_1_that_does_not_reap_orphans_seen_from_outside_and_inside() -> None:
    require("pidns")
    argv = as_pid1(python(ORPHANS_AND_A_LOOK, *zombies_argv("--json")))
    with Running(argv, inside=True) as program:
        assert program.line() == "ready 1"
        (parent,) = parents(str(program.pid))
        assert parent["pid"] == program.pid
        assert parent["init"]
        assert "pyinit" in parent["advice"]
        program.write(b"\n")
        (within,) = json.loads(program.out.until(b"\n]\n"))
        assert (within["pid"], within["init"]) == (1, True)
        assert within["advice"] == parent["advice"]


TRACER = """
import ctypes, posix, sys
libc = ctypes.CDLL(None, use_errno=True)
told, tell = posix.pipe()
held, let_go = posix.pipe()
if posix.fork() == 0:
    pid = posix.fork()
    if pid == 0:
        posix.read(held, 1)
        posix._exit(0)
    posix.write(tell, b"%d" % pid)
    posix.waitpid(pid, 0)
    print("parent reaped it", flush=True)
    posix._exit(0)
pid = int(posix.read(told, 100))
PTRACE_SEIZE = 0x4206
if libc.ptrace(PTRACE_SEIZE, pid, None, None):
    print("refused", flush=True)
    posix._exit(0)
posix.write(let_go, b"x")
posix.waitid(posix.P_PID, pid, posix.WEXITED | posix.WNOWAIT)
print("ready", posix.getpid(), pid, flush=True)
sys.stdin.readline()
"""


def test_a_tracer_that_does_not_wait_keeps_the_parent_from_reaping() -> None:
    with Running(python(TRACER)) as program:
        word, *pids = program.line().split()
        if word == "refused":
            pytest.skip("missing capability ptrace: refused")
        tracer, zombie = map(int, pids)
        (parent,) = parents(str(tracer))
        assert (parent["pid"], parent["tracer"]) == (tracer, True)
        assert [row["pid"] for row in parent["zombies"]] == [zombie]
        assert "once it has waited or ended, others can reap them" in parent["advice"]
        program.close_input()
        assert program.line() == "parent reaped it"


HEADLESS = """
import ctypes, os, sys, threading
def live_on():
    with open("/proc/self/stat", "rb") as stat:
        while True:
            stat.seek(0)
            if stat.read().rpartition(b")")[2].split()[0] == b"Z":
                break
    os.write(1, b"ready\\n")
    os.read(0, 1)
    os._exit(0)
threading.Thread(target=live_on, daemon=True).start()
ctypes.CDLL(None).syscall(int(sys.argv[1]), 0)
"""


def test_a_first_thread_that_ended_before_the_others_is_no_zombie() -> None:
    end_of_thread = {"x86_64": "60", "aarch64": "93"}.get(platform.machine())  # exit(2)
    if end_of_thread is None:
        pytest.skip(f"no system call numbers for {platform.machine()}")
    with Running(python(HEADLESS, end_of_thread)) as program:
        assert program.line() == "ready"
        assert children.state(program.pid) == "Z"
        assert program.pid not in [
            zombie["pid"] for parent in parents() for zombie in parent["zombies"]
        ]
        program.close_input()
        assert program.wait() == 0


def test_an_ordinary_user_sees_those_of_others() -> None:
    require("other-user", "setpriv")
    with Running(negligent(2)) as program:
        program.line()
        ended = run(
            ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--",
             *zombies_argv("--json", str(program.pid))]
        )  # fmt: skip
        assert ended.status == 1, ended
        (parent,) = json.loads(ended.out)
        assert (parent["pid"], len(parent["zombies"])) == (program.pid, 2)


def test_a_reader_that_has_gone_changes_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with Running(negligent(1)) as program:
        program.line()
        with Running(zombies_argv(str(program.pid)), stdout=writing) as looking:
            os.close(writing)
            assert looking.wait() == 1
            assert looking.errors() == ""


def test_bad_usage_and_a_pid_that_is_not_there() -> None:
    ended = look("--bogus")
    assert (ended.status, ended.out) == (125, b"")
    assert ended.errors.startswith("pyspawn: zombies: unknown option --bogus\nhint: ")
    with Running(negligent(0)) as program:
        program.line()
        gone = program.pid
    ended = look(str(gone))
    assert (ended.status, ended.out) == (125, b"")
    assert ended.errors == f"pyspawn: zombies: there is no process {gone}\n"
