"""`pyspawn signals` against real processes: it says what then happens."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.programs import Word, as_pid1, pyinit, python
from helpers.running import Ended, Running, run

from spawner import lean

HANDLES = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: print("caught", flush=True))
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print("ready", flush=True)
sys.stdin.readline()
"""

WAITS = """
import _thread, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
lock = _thread.allocate_lock()
lock.acquire()
def other():
    print("ready", flush=True)
    sys.stdin.readline()
    lock.release()
_thread.start_new_thread(other, ())
lock.acquire()
"""


def look(*words: object) -> Ended:
    return run([*lean.pyspawn(), "signals", *map(str, words)])


def asked(*words: object) -> dict[str, Any]:
    """Return what is said in JSON."""
    ended = look("--json", *words)
    assert (ended.status, ended.errors) == (0, "")
    found: dict[str, Any] = json.loads(ended.out)
    return found


def would(pid: int, number: int) -> str:
    """Return what would become of a signal."""
    (fate,) = asked(pid, int(number))["would"].values()
    what: str = fate["what"]
    return what


def lines(pid: int) -> list[str]:
    ended = look(pid)
    assert (ended.status, ended.errors) == (0, "")
    return ended.out.decode().splitlines()


def test_handlers_ignored_and_blocked_signals_are_told() -> None:
    with Running(python(HANDLES)) as program:
        assert program.line() == "ready"
        said = lines(program.pid)
        assert "SIGTERM would be caught: the process has a handler" in said
        assert "SIGHUP would be dropped: the process ignores it" in said
        assert "blocks: SIGUSR1" in said
        assert would(program.pid, signal.SIGUSR1) == "waits"
        program.send(signal.SIGUSR1)
        assert asked(program.pid)["pending"] == ["SIGUSR1"]
        assert would(program.pid, signal.SIGUSR2) == "ends it"
        program.send(signal.SIGUSR2)
        assert program.wait() == -signal.SIGUSR2


def test_a_process_1_without_handlers_would_drop_sigterm() -> None:
    require("pidns")
    bare: list[Word] = ["/bin/sh", "-c", "echo ready; read line; exit 3"]
    with Running(as_pid1(bare), inside=True) as program:
        program.line()
        (first,) = _first_processes(program.pid)
        said = lines(first)
        assert said[0].endswith("process 1 of its PID namespace")
        why = "the process is PID 1 of its namespace and has no handler"
        dropped = f"SIGTERM would be dropped: {why}"
        assert dropped in said
        os.kill(first, signal.SIGTERM)
        program.close_input()
        assert program.wait() == 3


def test_pyinit_takes_signals_as_process_1() -> None:
    require("pidns")
    argv: list[Word] = [*pyinit("--", "/bin/sh", "-c", "echo ready; read line; exit 3")]
    with Running(as_pid1(argv), inside=True) as program:
        program.line()
        (first,) = _first_processes(program.pid)
        assert would(first, signal.SIGTERM) == "taken"
        program.close_input()
        assert program.wait() == 3


def _first_processes(top: int) -> list[int]:
    """Return the processes 1 of PID namespaces at or below a process."""
    tree = [top, *children.below(top)]
    return [pid for pid in tree if children.status_field(pid, "NSpid").split()[1:] == ["1"]]


def test_each_thread_is_told_of() -> None:
    with Running(python(WAITS)) as program:
        assert program.line() == "ready"
        found = asked(program.pid)
        assert len(found["threads"]) == 2
        assert all("SIGTERM" in thread["blocked"] for thread in found["threads"])
        assert found["would"]["SIGTERM"]["what"] == "waits"
        assert any(line.endswith("blocks: all") for line in lines(program.pid))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the PID of a process is missing"),
        (["x"], "'x' is not a process id"),
        (["1", "NOPE"], "'NOPE' is not a signal"),
        (["999999999"], "there is no process 999999999"),
        (["--jsn", "1"], "--jsn"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], said: str) -> None:
    ended = look(*words)
    assert ended.status == 125
    assert ended.errors.startswith("pyspawn: signals: ")
    assert said in ended.errors
    assert ended.out == b""


def test_a_zombie_gets_nothing() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    said = lines(pid)
    os.waitpid(pid, 0)
    dropped = "SIGTERM would be dropped: the process is a zombie, which only waits to be reaped"
    assert dropped in said
