"""An interactive shell below pyinit, or above it, has job control."""

from __future__ import annotations

import shlex

from helpers.capabilities import require
from helpers.programs import as_pid1, prepared, pyinit
from helpers.running import Running
from helpers.terminal import INTERACTIVE, INTERRUPT, LEAD, PROMPT, SUSPEND, Shell, Terminal


def prompt(terminal: Terminal) -> bytes:
    return terminal.screen.until(PROMPT)


def use_as_job(terminal: Terminal, cat: str) -> None:
    """Run a command that does as cat(1) in the shell: ^Z stops it, fg continues it, ^C ends it."""
    terminal.type(f"{cat}\n".encode())
    terminal.type(b"first\n")
    terminal.screen.until(b"first\n")
    terminal.type(SUSPEND)
    assert b"Stopped" in prompt(terminal)
    terminal.type(b"jobs\n")
    assert b"Stopped" in prompt(terminal)
    terminal.type(b"fg\n")
    terminal.type(b"second\n")
    terminal.screen.until(b"second\n")
    terminal.type(INTERRUPT)
    prompt(terminal)
    terminal.type(b"echo $?\n")
    assert b"130" in prompt(terminal)


def use_job_control(terminal: Terminal) -> None:
    """Do with an interactive bash what needs job control; then it exits with 5."""
    greeting = prompt(terminal)
    assert b"job control" not in greeting
    assert b"terminal process group" not in greeting
    use_as_job(terminal, "cat")
    terminal.type(b"sleep 100000 &\n")
    prompt(terminal)
    terminal.type(b"kill %1; wait %1; echo $?\n")
    assert b"143" in prompt(terminal)
    terminal.type(b"exit 5\n")


def test_an_interactive_shell_has_job_control(terminal: Terminal, shell: Shell) -> None:
    job = shell.run(pyinit("--", *INTERACTIVE))
    use_job_control(terminal)
    assert shell.wait(job) == {"status": 5, "foreground": job}


def test_an_interactive_shell_of_pid_1_has_job_control(terminal: Terminal) -> None:
    require("pidns")
    argv = as_pid1(prepared(LEAD, pyinit("--", *INTERACTIVE)))
    with Running(
        argv, inside=True, stdin=terminal.slave, stdout=terminal.slave, stderr=terminal.slave
    ) as running:
        use_job_control(terminal)
        assert running.wait() == 5


def test_an_interactive_shell_of_pid_1_below_a_users_shell_has_job_control(
    terminal: Terminal, shell: Shell
) -> None:
    require("pidns")
    job = shell.run(as_pid1(pyinit("--", *INTERACTIVE)))
    use_job_control(terminal)
    assert shell.wait(job)["status"] == 5


def test_below_an_interactive_shell_it_behaves_as_any_job(terminal: Terminal) -> None:
    """The other way round: bash above, pyinit as its job."""
    with terminal.lead(INTERACTIVE):
        prompt(terminal)
        use_as_job(terminal, shlex.join(map(str, pyinit("--", "cat"))))
        terminal.type(b"exit\n")
