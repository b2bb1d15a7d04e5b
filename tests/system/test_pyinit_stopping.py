"""pyinit as a job of a shell: it stops with its workload, and goes on with it."""

from __future__ import annotations

import errno
import os
import signal

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.programs import as_pid1, prepared, pyinit
from helpers.running import Running
from helpers.seccomp import deny
from helpers.sleeping import settle_to_wait, switches
from helpers.terminal import END, LEAD, SUSPEND, Shell, Terminal, leaves_the_terminal_to_another


@pytest.mark.parametrize("options", [[], ["-g"]], ids=["process", "group"])
def test_suspend_stops_the_job_and_fg_continues_it(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    job = shell.run(pyinit(*options, "--", "/bin/cat"))
    terminal.echoes("one")
    for word in ("two", "three"):
        terminal.type(SUSPEND)
        assert shell.wait(job)["stopped"] == signal.SIGTSTP
        (workload,) = children.of(job)
        assert children.state(workload) == "T"
        assert terminal.foreground == shell.pid
        shell.resume(job)
        terminal.type(word.encode() + b"\n")
        assert terminal.screen.next() == word
        assert terminal.foreground == workload
    terminal.type(END)
    assert shell.wait(job) == {"status": 0, "foreground": job}


def test_all_of_a_workloads_group_stops_and_goes_on(terminal: Terminal, shell: Shell) -> None:
    job = shell.run(pyinit("--", "/bin/sh", "-c", "cat; exit 6"))
    terminal.echoes("one")
    terminal.type(SUSPEND)
    assert shell.wait(job)["stopped"] == signal.SIGTSTP
    (workload,) = children.of(job)
    (cat,) = children.of(workload)
    for pid in (workload, cat):
        children.wait_state(pid, "T")
    shell.resume(job)
    terminal.echoes("two")
    terminal.type(END)
    assert shell.wait(job) == {"status": 6, "foreground": job}


SLEEPER = pyinit("--", "/bin/sh", "-c", "echo on; exec sleep 1000")
"""A workload that doesn't touch the terminal."""


def stopped_by_others(terminal: Terminal, shell: Shell) -> tuple[int, int]:
    """Start the sleeper and stop the job from outside; return its pid and the workload's."""
    job = shell.run(SLEEPER)
    assert terminal.screen.next() == "on"
    (workload,) = children.of(job)
    os.kill(job, signal.SIGSTOP)
    assert shell.wait(job)["stopped"] == signal.SIGSTOP
    return job, workload


def stops_and_ends(terminal: Terminal, shell: Shell, job: int) -> None:
    """Check that ^Z stops the job, and that it ends when told to, after a SIGCONT for nothing."""
    terminal.type(SUSPEND)
    assert shell.wait(job) == {"stopped": signal.SIGTSTP, "foreground": job}
    shell.resume(job)
    os.kill(job, signal.SIGCONT)
    os.kill(job, signal.SIGTERM)
    assert shell.wait(job) == {"status": 128 + signal.SIGTERM, "foreground": job}


def test_a_continue_for_nothing_takes_nothing_from_the_workload(
    terminal: Terminal, shell: Shell
) -> None:
    """As service managers send it with each SIGTERM: ^Z works after it, and so does the end."""
    job = shell.run(SLEEPER)
    assert terminal.screen.next() == "on"
    settle_to_wait(job)
    before = switches(job)
    os.kill(job, signal.SIGCONT)
    children.wait_until(lambda: switches(job) > before, "the taking of the SIGCONT")
    settle_to_wait(job)
    stops_and_ends(terminal, shell, job)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGTSTP], ids=["end", "stop"])
def test_stopped_by_others_it_leaves_the_terminal_to_the_shell(
    terminal: Terminal, shell: Shell, number: int
) -> None:
    job, workload = stopped_by_others(terminal, shell)
    os.kill(workload, number)
    children.wait_state(workload, "TZ")
    os.kill(job, signal.SIGCONT)
    assert shell.wait(job)["foreground"] == shell.pid
    if number == signal.SIGTSTP:
        shell.resume(job)
        children.wait_until(lambda: terminal.foreground == workload, "the workload's foreground")
        os.kill(job, signal.SIGTERM)
        assert shell.wait(job) == {"status": 128 + signal.SIGTERM, "foreground": job}


def test_stopped_by_others_it_takes_the_terminal_from_no_other_job(
    terminal: Terminal, shell: Shell
) -> None:
    job, workload = stopped_by_others(terminal, shell)
    leaves_the_terminal_to_another(terminal, shell, job, workload)


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_with_getsid_denied_the_foreground_comes_back(
    terminal: Terminal, shell: Shell, reason: int
) -> None:
    """Who leads the session is nobody then: at a stop, after a needless SIGCONT and at the end."""
    require("seccomp")
    job = shell.run(prepared(deny(reason, "getsid"), SLEEPER))
    assert terminal.screen.next() == "on"
    stops_and_ends(terminal, shell, job)


def test_bg_continues_without_the_foreground(terminal: Terminal, shell: Shell) -> None:
    job = shell.run(pyinit("--", "/bin/sh", "-c", "echo up; kill -TSTP $$; echo on; exit 5"))
    assert terminal.screen.next() == "up"
    assert shell.wait(job)["stopped"] == signal.SIGTSTP
    shell.resume(job, foreground=False)
    assert terminal.screen.next() == "on"
    assert shell.wait(job) == {"status": 5, "foreground": shell.pid}


def test_suspend_below_unshare_stops_and_fg_continues(terminal: Terminal, shell: Shell) -> None:
    """PID 1 can't be stopped from inside; the unshare above it stops, and all goes on with it."""
    require("pidns")
    job = shell.run(as_pid1(pyinit("--", "/bin/cat")))
    terminal.echoes("one")
    terminal.type(SUSPEND)
    assert shell.wait(job)["stopped"] == signal.SIGTSTP
    shell.resume(job)
    terminal.echoes("two")
    terminal.type(END)
    assert shell.wait(job)["status"] == 0


@pytest.mark.parametrize("inside", [False, True], ids=["child", "pid1"])
def test_suspend_with_no_shell_above_never_wedges(terminal: Terminal, inside: bool) -> None:
    argv = prepared(LEAD, pyinit("--", "/bin/cat"))
    if inside:
        require("pidns")
        argv = as_pid1(argv)
    with Running(
        argv, inside=inside, stdin=terminal.slave, stdout=terminal.slave, stderr=terminal.slave
    ) as running:
        terminal.echoes("one")
        terminal.type(SUSPEND)
        terminal.echoes("two")
        terminal.type(END)
        assert running.wait() == 0


def test_a_stop_that_was_sent_is_passed_up_and_its_continue_down(
    terminal: Terminal, shell: Shell
) -> None:
    job = shell.run(pyinit("--", "/bin/cat"))
    terminal.echoes("one")
    os.kill(job, signal.SIGTSTP)
    assert shell.wait(job)["stopped"] == signal.SIGTSTP
    shell.resume(job)
    terminal.echoes("two")


def test_a_stop_behind_our_back_stops_only_the_workload(terminal: Terminal, shell: Shell) -> None:
    job = shell.run(pyinit("--", "/bin/cat"), foreground=True)
    terminal.echoes("one")
    (workload,) = children.of(job)
    os.kill(workload, signal.SIGSTOP)
    children.wait_state(workload, "T")
    os.kill(job, signal.SIGWINCH)
    assert children.runs(job)
    os.kill(workload, signal.SIGCONT)
    terminal.echoes("two")
