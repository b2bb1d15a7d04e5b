"""The program's end, pyspawn's and the starter's is the end of all of it; nothing is left."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.children import pidfd, wait_readable
from helpers.programs import BLOCK_ALL, Word, prepared, python, reporter
from helpers.pyspawn import ROOT, each_shape, pyspawn
from helpers.running import Lines, Running, run
from helpers.seccomp import Call, Held

from spawner import lean

pytestmark = pytest.mark.usefixtures("pidns")


STUBBORN = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
out = int(sys.argv[1])
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.write(out, b"ready\\n")
        signal.sigwait({signal.SIGUSR1})
os.write(out, b"ready\\n")
signal.sigwait({signal.SIGUSR1})
if len(sys.argv) > 2:
    sys.exit(int(sys.argv[2]))
"""
"""A tree that has daemons in sessions of their own, and is deaf to all signals but the last."""


class Tree:
    """A stubborn tree, whose end is the end of file of the pipe that all of it holds."""

    def __init__(self, *front: Word, **how: Any) -> None:
        self._reader, writer = os.pipe()
        os.set_inheritable(writer, True)
        code = [sys.executable, "-I", "-S", "-c", STUBBORN, str(writer), "7"]
        passed = how.pop("pass_fds", [])
        self.running = Running([*front, *code], pass_fds=[writer, *passed], **how)
        os.close(writer)
        self._lines = Lines(self._reader)

    def __enter__(self) -> Tree:
        self.running.__enter__()
        # The parents of the daemons fork them before they say that they are ready.
        for _ in range(3):
            assert self._lines.next() == "ready"
        return self

    def __exit__(self, *error: Any) -> None:
        self.running.__exit__(*error)
        os.close(self._reader)

    def ends(self) -> bool:
        """Wait for the end of all of it."""
        return self._lines.rest() == b""


@each_shape
def test_the_programs_end_is_the_end_of_all(options: list[str]) -> None:
    with Tree(*pyspawn(*options, "--")) as tree:
        tree.running.send(signal.SIGUSR1)
        assert tree.running.wait() == 7
        assert tree.ends()


INTERRUPTED = """
import _signal
real = _signal.pthread_sigmask
def interrupted(how, signals):
    if signals:
        _signal.pthread_sigmask = real
        raise KeyboardInterrupt
    return real(how, signals)
_signal.pthread_sigmask = interrupted
"""
"""For an interpreter's code: its own handler of SIGINT is quicker than the first blocking."""


def test_an_interrupt_before_signals_are_blocked_is_the_programs() -> None:
    argv = [str(word) for word in pyspawn("--init", "--", "/bin/sleep", "1000")]
    code = argv.index("-c") + 1
    argv[code] = f"{INTERRUPTED}\n{argv[code]}"
    assert run(argv).status == -signal.SIGINT


@each_shape
def test_what_is_sent_to_the_process_group_during_the_start_comes_once(options: list[str]) -> None:
    """As a ^C: to pyspawn, which forwards it, and not to those who aren't in their groups yet."""
    require("seccomp")
    number = int(signal.SIGRTMIN) + 1
    staged = bool({"--user", "--share=pid"} & set(options)) or not ROOT
    calls = 1 + staged + (2 if "--init" in options else 0)
    with Held("setpgid") as held:
        argv = prepared(BLOCK_ALL + held.code, pyspawn(*options, "--", *reporter()))
        with Running(argv, pass_fds=[held.fileno]) as running:
            for turn in range(calls):
                moment = held.catch()
                if turn == 0:
                    os.killpg(running.pid, number)
                held.let_go(moment)
            assert running.line().startswith("reporter ready")
            assert running.line().split()[1] == str(number)
            running.send(signal.SIGRTMAX)
            assert running.line().split()[1] == str(int(signal.SIGRTMAX))
            running.send(signal.SIGKILL)


@each_shape
def test_a_pyspawn_that_is_killed_before_anybody_would_notice_starts_nothing(
    options: list[str],
) -> None:
    """Its init asks for the parent-death signal only after that, and so gets none."""
    require("seccomp")
    with Held(Call("prctl", 0, 1)) as held:  # PR_SET_PDEATHSIG
        argv = prepared(held.code, pyspawn(*options, "--", "/bin/echo", "started"))
        with Running(argv, pass_fds=[held.fileno]) as running:
            moment = held.catch()
            os.kill(running.pid, signal.SIGKILL)
            assert running.wait() == -signal.SIGKILL
            held.let_go(moment)
            assert running.out.rest() == b""


@each_shape
def test_a_killed_pyspawn_leaves_nothing(options: list[str]) -> None:
    with Tree(*pyspawn(*options, "--")) as tree:
        tree.running.send(signal.SIGKILL)
        assert tree.running.wait() == -signal.SIGKILL
        assert tree.ends()


@each_shape
@pytest.mark.parametrize("how", ["closed", "written"])
def test_a_lifeline(options: list[str], how: str) -> None:
    reader, writer = os.pipe()
    argv = pyspawn(f"--lifeline={reader}", *options, "--")
    with Tree(*argv, pass_fds=[reader]) as tree:
        os.close(reader)
        if how == "written":
            os.write(writer, b"x")
        os.close(writer)
        assert tree.running.wait() == 137
        assert tree.ends()


@each_shape
def test_dying_with_the_parent(options: list[str]) -> None:
    """Whoever started pyspawn is killed: by then pyspawn has said its program is on."""
    start = "import os,sys; pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)\n"
    start += "print(pid, flush=True); os.read(0, 1)"
    argv = [*python(start), *pyspawn("--die-with-parent", *options, "--")]
    with Tree(*argv) as tree, pidfd(int(tree.running.line())) as launcher:
        os.kill(tree.running.pid, signal.SIGKILL)
        assert wait_readable(launcher)
        assert tree.ends()


def test_the_end_of_the_thread_that_started_it_is_not_the_parents() -> None:
    start = """
import os, sys, _thread
done = _thread.allocate_lock()
done.acquire()
def start():
    if os.fork() == 0:
        os.execv(sys.argv[1], sys.argv[1:])
    done.acquire()
_thread.start_new_thread(start, ())
os.read(0, 1)
done.release()
while len(os.listdir("/proc/self/task")) > 1:
    os.sched_yield()
print("alone", flush=True)
os.read(0, 1)
"""
    argv = [*python(start), *pyspawn("--die-with-parent", "--init", "--", *reporter())]
    with Running(argv) as running:
        running.line()
        (launcher,) = children.of(running.pid)
        running.write(b"x")
        assert running.line() == "alone"
        os.kill(launcher, signal.SIGUSR1)
        assert running.line().split()[1] == "10"
        running.close_input()
        assert running.out.rest() == b""


def test_a_parent_that_died_before_the_start_is_noticed() -> None:
    """In the milliseconds in which the interpreter starts: there's another parent by then."""
    code = """
import os, sys
reader, writer = os.pipe()
if os.fork():
    os._exit(0)
os.close(writer)
os.read(reader, 1)
os.execv(sys.argv[1], sys.argv[1:])
"""
    argv = pyspawn("--die-with-parent", "--init", "--", "/bin/echo", "ran")
    ended = run(python(code, *argv))
    assert ended.out == b""
    assert "the process that started pyspawn has died already" in ended.errors


def test_dying_with_a_parent_outside_the_pid_namespace() -> None:
    argv = pyspawn("--die-with-parent", "--init", "--")
    outer = pyspawn("--", *argv)  # the inner pyspawn is PID 1, and its parent has no number there
    with Tree(*outer) as tree:
        tree.running.send(signal.SIGKILL)
        assert tree.ends()


def test_children_that_came_with_the_exec_are_left_alone() -> None:
    """Without a PID namespace all that the program leaves is killed, and nothing else."""
    code = "import os,sys\nif os.fork() == 0:\n    os.read(0, 1); os._exit(0)\n"
    code += "os.execv(sys.argv[1], sys.argv[1:])"
    argv = [*python(code), *pyspawn("--share=pid", "--", "/bin/sh", "-c", "sleep 1000 & echo on")]
    with Running(argv) as running:
        assert running.line() == "on"
        assert running.wait() == 0
        (left,) = children.of(os.getpid())
        assert children.runs(left)
        running.close_input()
        assert children.wait_gone([left]) == set()


@each_shape
def test_no_zombie_of_the_launchers_own(options: list[str]) -> None:
    with Running(pyspawn(*options, "--", "/bin/sh", "-c", "echo on; read line")) as running:
        assert running.line() == "on"
        assert children.zombies(running.pid) == []
        running.write(b"\n")
        assert running.wait() == 0


def test_a_keeper_that_fails_says_why_and_leaves_nothing() -> None:
    require("pidns")
    argv = lean.lean(
        """
from spawner.life import keeper
def fail(*_):
    raise OSError(12, "no memory")
keeper._watch = fail
from spawner.__main__ import main
main()
"""
    )
    with Running([*argv, "--share=pid", "--", "/bin/sleep", "1000"]) as program:
        below = children.below(program.pid)
        assert program.wait() == 125
        (line,) = program.errors().splitlines()
        assert line.startswith("pyspawn: the keeper of the container failed: OSError: ")
        assert line.endswith("no memory; the container was killed")
        assert children.wait_gone(below) == set()
