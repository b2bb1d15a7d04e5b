"""pyspawn as a job of a shell: it stops with its program, and goes on with it."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.programs import prepared, python, reporter
from helpers.pyspawn import SHAPES, each_shape, pyspawn, usual_shape
from helpers.running import Running
from helpers.seccomp import deny
from helpers.sleeping import settle_to_wait, switches
from helpers.terminal import (
    END,
    INTERRUPT,
    LEAD,
    SUSPEND,
    Shell,
    Terminal,
    hang_up_ends,
    leaves_the_terminal_to_another,
    ready,
)

pytestmark = pytest.mark.usefixtures("pidns")


@each_shape
def test_suspend_stops_the_job_and_fg_continues_it(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    job = shell.run(pyspawn(*options, "--", "/bin/cat"))
    for word in (b"first\n", b"second\n"):
        terminal.type(word)
        assert terminal.screen.next() == word.decode().strip()
        terminal.type(SUSPEND)
        assert shell.wait(job) == {"stopped": signal.SIGTSTP, "foreground": job}
        shell.resume(job)
    terminal.echoes("third")
    terminal.type(END)
    assert shell.wait(job) == {"status": 0, "foreground": job}


@usual_shape
def test_bg_continues_it_without_the_terminal(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    script = "trap 'echo continued' CONT; echo on; while :; do sleep 1000 & wait; kill $!; done"
    job = shell.run(pyspawn(*options, "--", "/bin/sh", "-c", script))
    assert terminal.screen.next() == "on"
    terminal.type(SUSPEND)
    assert shell.wait(job)["stopped"] == signal.SIGTSTP
    shell.resume(job, foreground=False)
    assert terminal.screen.next() == "continued"
    assert terminal.foreground == shell.pid
    os.kill(job, signal.SIGTERM)
    assert shell.wait(job) == {"status": 143, "foreground": shell.pid}


@usual_shape
def test_all_of_the_programs_group_stops_and_goes_on(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    """As a pipeline does: each of its processes is stopped, and each is continued."""
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCONT})\n"
        "name = b'child' if os.fork() == 0 else b'parent'\n"
        "os.write(1, name + b' on\\n')\n"
        "while signal.sigwait({signal.SIGCONT}): os.write(1, name + b' continued\\n')\n"
    )
    job = shell.run(pyspawn(*options, "--", *python(code)))
    assert {terminal.screen.next() for _ in range(2)} == {"parent on", "child on"}
    terminal.type(SUSPEND)
    assert shell.wait(job)["stopped"] == signal.SIGTSTP
    shell.resume(job)
    assert {terminal.screen.next() for _ in range(2)} == {"parent continued", "child continued"}
    terminal.type(INTERRUPT)
    assert shell.wait(job)["status"] == -signal.SIGINT


@pytest.mark.parametrize("options", [[], ["--user"]], ids=["program", "user"])
def test_a_program_that_is_pid_1_decides_what_suspend_does_to_it(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    """An interactive shell ignores ^Z at its prompt, and isn't to be stopped."""
    script = "trap '' TSTP; echo on; while read line; do echo $line; done"
    job = shell.run(pyspawn(*options, "--", "/bin/sh", "-c", script))
    assert terminal.screen.next() == "on"
    terminal.type(SUSPEND)
    terminal.echoes("first")
    os.kill(job, signal.SIGTSTP)
    terminal.echoes("second")
    terminal.type(END)
    assert shell.wait(job) == {"status": 0, "foreground": job}


def test_a_program_that_kills_its_group_ends_as_usual(terminal: Terminal, shell: Shell) -> None:
    script = "kill -TERM 0; kill -KILL 0; exit 3"  # neither reaches PID 1
    job = shell.run(pyspawn("--", "/bin/sh", "-c", script))
    assert shell.wait(job) == {"status": 3, "foreground": job}


@each_shape
def test_a_kill_leaves_no_process_at_the_terminal(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    job = shell.run(pyspawn(*options, "--", "/bin/cat"))
    terminal.echoes("on")
    made = children.below(job)
    assert made
    os.kill(job, signal.SIGKILL)
    assert shell.wait(job)["status"] == -signal.SIGKILL
    assert children.wait_gone(made) == set()


@each_shape
def test_the_rest_of_the_job_stops_too(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    """A script that runs pyspawn has no terminal at the time, and the shell waits for it too."""
    argv = pyspawn(*options, "--", "/bin/cat")
    job = shell.run(["/bin/sh", "-c", '"$@"; echo after $?', "sh", *argv])
    terminal.echoes("on")
    terminal.type(SUSPEND)
    assert shell.wait(job) == {"stopped": signal.SIGTSTP, "foreground": job}
    shell.resume(job)
    terminal.type(END)
    assert terminal.screen.next() == "after 0"
    assert shell.wait(job)["status"] == 0


@each_shape
def test_suspend_with_no_shell_above_never_wedges(terminal: Terminal, options: list[str]) -> None:
    """The leader of a session has nobody who could continue it, so it isn't stopped."""
    argv = prepared(LEAD, pyspawn(*options, "--", "/bin/cat"))
    with terminal.lead(argv) as running:
        terminal.echoes("first")
        terminal.type(SUSPEND)
        terminal.echoes("second")
        terminal.type(END)
        assert running.wait() == 0


@each_shape
def test_a_stop_that_is_sent_to_pyspawn_stops_it_alone(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    """As `kill -TSTP` from elsewhere: the script around it isn't the one that was meant."""
    argv = pyspawn(*options, "--", "/bin/cat")
    job = shell.run(argv)
    terminal.echoes("on")
    os.kill(job, signal.SIGTSTP)
    assert shell.wait(job) == {"stopped": signal.SIGTSTP, "foreground": job}
    shell.resume(job)
    terminal.type(END)
    assert shell.wait(job) == {"status": 0, "foreground": job}


@usual_shape
def test_stop_and_continue_without_a_terminal(options: list[str]) -> None:
    """There the launcher stays awake, and the program does what it's told."""
    argv = pyspawn(*options, "--", "/bin/sh", "-c", "echo on; while read line; do echo $line; done")
    with Running(argv) as running:
        assert running.line() == "on"
        (below,) = {pid for pid in children.below(running.pid) if _name(pid) == "sh"}
        running.send(signal.SIGTSTP)
        children.wait_until(lambda: children.state(below) == "T", "the stop")
        assert children.runs(running.pid)
        running.write(b"word\n")
        running.send(signal.SIGCONT)
        assert running.line() == "word"
        running.close_input()
        assert running.wait() == 0


@each_shape
@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_with_getsid_denied_the_foreground_comes_back(
    terminal: Terminal, shell: Shell, options: list[str], reason: int
) -> None:
    require("seccomp")
    argv = pyspawn(*options, "--", "/bin/sh", "-c", "echo on; exit 5")
    job = shell.run(prepared(deny(reason, "getsid"), argv))
    assert terminal.screen.next() == "on"
    assert shell.wait(job) == {"status": 5, "foreground": job}


def stopped_by_others(terminal: Terminal, shell: Shell, options: list[str]) -> int:
    """Start a reporter and stop the job from outside; return its pid."""
    job = shell.run(pyspawn(*options, "--", *reporter()))
    ready(terminal)
    os.kill(job, signal.SIGSTOP)
    assert shell.wait(job)["stopped"] == signal.SIGSTOP
    return job


@each_shape
def test_stopped_by_others_and_continued_by_fg_it_passes_the_terminal_on(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    job = stopped_by_others(terminal, shell, options)
    shell.resume(job)
    others = (job, shell.pid)
    children.wait_until(lambda: terminal.foreground not in others, "the program's foreground")
    os.kill(job, signal.SIGKILL)
    assert shell.wait(job)["status"] == -signal.SIGKILL


@each_shape
def test_stopped_by_others_it_takes_the_terminal_from_no_other_job(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    job = stopped_by_others(terminal, shell, options)
    (program,) = [pid for pid in children.below(job) if not children.of(pid) and _reports(pid)]
    leaves_the_terminal_to_another(terminal, shell, job, program)


def _reports(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0] == reporter()[0]


def test_a_continue_that_comes_with_the_stop_of_the_program_is_survived(
    terminal: Terminal, shell: Shell
) -> None:
    """The stop of pyspawn, for the program's, discards the SIGCONT that woke it up, signal(7)."""
    job = shell.run(pyspawn("--init", "--", "/bin/sh", "-c", "echo on; exec sleep 1000"))
    assert terminal.screen.next() == "on"
    (init,) = children.of(job)
    (program,) = children.of(init)
    os.kill(job, signal.SIGSTOP)
    assert shell.wait(job)["stopped"] == signal.SIGSTOP
    settle_to_wait(init)
    before = switches(init)
    os.kill(program, signal.SIGTSTP)
    children.wait_until(lambda: switches(init) > before, "the news of the stop")
    settle_to_wait(init)
    os.kill(job, signal.SIGCONT)
    assert shell.wait(job) == {"stopped": signal.SIGTSTP, "foreground": shell.pid}
    shell.resume(job)
    os.kill(job, signal.SIGTERM)
    assert shell.wait(job)["status"] == 128 + signal.SIGTERM


def _name(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip()


@pytest.mark.parametrize("options", SHAPES.values(), ids=list(SHAPES))
def test_a_shell_inside_has_job_control(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    require("bash")
    words = ["--env=PS1=ready:", *options, "--", "bash", "--norc", "--noprofile", "--noediting"]
    job = shell.run(pyspawn(*words, "-i"))
    terminal.screen.until(b"ready:")
    terminal.type(b"cat\n")
    terminal.type(b"one\n")
    terminal.screen.until(b"one\n")
    terminal.type(SUSPEND)
    terminal.screen.until(b"ready:")
    terminal.type(b"jobs\n")
    assert b"Stopped" in terminal.screen.until(b"ready:")
    terminal.type(b"fg\n")
    terminal.type(b"two\n")
    terminal.screen.until(b"two\n")
    terminal.type(INTERRUPT)
    terminal.screen.until(b"ready:")
    terminal.type(b"exit 9\n")
    assert shell.wait(job) == {"status": 9, "foreground": job}


@usual_shape
def test_a_hang_up_ends_it(terminal: Terminal, shell: Shell, options: list[str]) -> None:
    hang_up_ends(terminal, shell, pyspawn(*options, "--"))
