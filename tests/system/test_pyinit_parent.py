"""Parent death, `-p`: the workload is told when the process that started pyinit dies."""

from __future__ import annotations

import os
import signal

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.programs import BLOCK_ALL, as_pid1, prepared, pyinit, reporter
from helpers.running import Running
from helpers.seccomp import Call, Held

STARTER = "if os.fork(): signal.pause()\n"
"""For `prepared`: pyinit is the child of a process that only waits to be killed."""


@pytest.mark.parametrize("option", [["-p", "USR1"], ["--parent-death", "SIGUSR1"], ["-p10"]])
def test_the_workload_is_told_when_the_starter_dies(option: list[str]) -> None:
    argv = prepared(STARTER, pyinit(*option, "--", *reporter()))
    with Running(argv) as running:
        running.line()
        os.kill(running.pid, signal.SIGKILL)
        assert running.line().split()[1] == "10"


def test_the_workload_of_pid_1_is_told_too() -> None:
    require("pidns")
    with Running(as_pid1(pyinit("-p", "TERM", "--", *reporter())), inside=True) as running:
        running.line()
        os.kill(running.starter, signal.SIGKILL)
        assert running.line().split()[1] == "15"


def test_without_it_the_starters_death_is_no_news() -> None:
    with Running(prepared(STARTER, pyinit("--", *reporter()))) as running:
        running.line()
        (pid,) = children.of(running.pid)
        os.kill(running.pid, signal.SIGKILL)
        children.wait_gone([running.pid])
        os.kill(pid, signal.SIGRTMAX)
        assert running.line().split()[1] == "64"


def test_parent_death_by_kill_kills_the_workload() -> None:
    with Running(prepared(STARTER, pyinit("-p", "KILL", "--", *reporter()))) as running:
        running.line()
        os.kill(running.pid, signal.SIGKILL)
        assert running.out.rest() == b""


def test_parent_death_by_kill_kills_all_of_a_namespace() -> None:
    require("pidns")
    argv = as_pid1(pyinit("--parent-death=KILL", "--", *reporter()))
    with Running(argv, inside=True) as running:
        running.line()
        os.kill(running.starter, signal.SIGKILL)
        assert running.out.rest() == b""


def test_parent_death_comes_from_the_environment_too() -> None:
    environment = dict(os.environ, PYINIT_PARENT_DEATH="HUP")
    argv = prepared(STARTER, pyinit("--", *reporter()))
    with Running(argv, environment=environment) as running:
        running.line()
        os.kill(running.pid, signal.SIGKILL)
        assert running.line().split()[1] == "1"


THREAD = """
import posix, _thread
done = _thread.allocate_lock()
done.acquire()
def start():
    if posix.fork() == 0:
        os.execv(argv[0], argv)
    done.acquire()
_thread.start_new_thread(start, ())
signal.sigwait({signal.SIGUSR1})
done.release()
signal.pause()
"""
"""For `prepared`: it is a thread that starts pyinit, and ends on SIGUSR1; its process lives on."""


@pytest.mark.parametrize("name", ["USR1", "TERM", "KILL", "RTMAX", "tini's"])
def test_the_end_of_the_thread_that_started_it_is_no_news(name: str) -> None:
    options = ["--as", "tini", "-p", "SIGHUP"] if name == "tini's" else ["-p", name]
    start = pyinit(*options, "--", *reporter())
    blocked = "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n"
    with Running(prepared(blocked + THREAD, start)) as running:
        running.line()
        (pid,) = children.of(running.pid)
        os.kill(running.pid, signal.SIGUSR1)
        children.wait_until(lambda: len(os.listdir(f"/proc/{running.pid}/task")) == 1)
        # What the kernel sent, if anything, was queued before this.
        os.kill(pid, signal.SIGRTMAX)
        assert running.line().split()[1] == "64"
        os.kill(running.pid, signal.SIGKILL)
        if name == "KILL":
            assert running.out.rest() == b""
        else:
            number = 1 if name == "tini's" else int(getattr(signal, f"SIG{name}"))
            assert running.line().split()[1] == str(number)
            os.kill(pid, signal.SIGRTMAX)
            assert running.line().split()[1] == "64"


def test_the_signal_itself_is_forwarded_while_the_starter_lives() -> None:
    with Running(prepared(STARTER, pyinit("-p", "USR1", "--", *reporter()))) as running:
        running.line()
        (pid,) = children.of(running.pid)
        for number in (signal.SIGUSR1, signal.SIGRTMAX):
            os.kill(pid, number)
            assert running.line().split()[1] == str(int(number))


def test_a_starter_that_dies_before_the_kernel_was_asked_is_noticed() -> None:
    require("seccomp")
    with Held(Call("prctl", 0, 1)) as held:  # PR_SET_PDEATHSIG
        argv = prepared(STARTER + BLOCK_ALL + held.code, pyinit("-p", "USR1", "--", *reporter()))
        with Running(argv, pass_fds=[held.fileno]) as running:
            moment = held.catch()
            os.kill(running.pid, signal.SIGKILL)
            children.wait_gone([running.pid])
            held.let_go(moment)
            assert running.line().startswith("reporter ready")
            os.kill(moment.pid, signal.SIGRTMAX)
            assert [line.split()[1] for line in running.lines(2)] == ["10", "64"]
