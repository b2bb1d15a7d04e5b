"""pyinit as a job of a shell: who has the terminal's foreground, and who gets it back."""

from __future__ import annotations

import errno
import os
import signal
import termios

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.programs import Word, as_pid1, prepared, pyinit, reporter
from helpers.seccomp import Call, deny
from helpers.terminal import (
    END,
    INTERRUPT,
    TIOCSPGRP,
    Shell,
    Terminal,
    init_below,
    next_signal,
    ready,
)


def test_in_the_foreground_the_workload_gets_it(terminal: Terminal, shell: Shell) -> None:
    shell.run(pyinit("--", *reporter()))
    assert ready(terminal) == terminal.foreground


@pytest.mark.parametrize(
    ("workload", "status"),
    [
        (["/bin/true"], 0),
        (["/bin/sh", "-c", "exit 9"], 9),
        (["/bin/sh", "-c", "kill -9 $$"], 137),
        (["no-such-program"], 127),
        (["/etc"], 126),
    ],
)
def test_the_foreground_is_given_back_at_the_end(
    terminal: Terminal, shell: Shell, workload: list[str], status: int
) -> None:
    job = shell.run(pyinit("--", *workload))
    ended = shell.wait(job)
    assert ended == {"status": status, "foreground": job}


def test_a_script_can_read_the_terminal_after_it(terminal: Terminal, shell: Shell) -> None:
    """A script has no job control, and would not take the foreground back by itself."""
    script = '"$@"; read word; echo "got $word"'
    leaving = ["/bin/sh", "-c", "sleep 1000 & exit 3"]
    for workload in (["/bin/true"], ["/bin/sh", "-c", "exit 3"], ["no-such-program"], leaving):
        job = shell.run(["/bin/sh", "-c", script, "sh", *pyinit("--", *workload)])
        terminal.type(b"typed\n")
        terminal.screen.until(b"got typed\n")
        assert shell.wait(job)["status"] == 0


def test_a_usage_error_touches_no_terminal(terminal: Terminal, shell: Shell) -> None:
    job = shell.run(pyinit("--nonsense"))
    assert shell.wait(job) == {"status": 125, "foreground": job}


@pytest.mark.parametrize("inside", [False, True], ids=["child", "pid1"])
def test_in_the_background_it_never_takes_the_terminal(
    terminal: Terminal, shell: Shell, inside: bool
) -> None:
    argv = pyinit("--", *reporter())
    if inside:
        require("pidns")
        argv = as_pid1(argv)
    job = shell.run(argv, foreground=False)
    ready(terminal)
    init = init_below(job) if inside else job
    assert terminal.foreground == shell.pid
    os.kill(init, signal.SIGTERM)
    assert next_signal(terminal) == signal.SIGTERM
    assert terminal.foreground == shell.pid
    assert children.runs(init)


def test_in_the_background_its_end_does_not_touch_the_foreground(
    terminal: Terminal, shell: Shell
) -> None:
    job = shell.run(pyinit("--", "/bin/sh", "-c", "exit 6"), foreground=False)
    assert shell.wait(job) == {"status": 6, "foreground": shell.pid}


def test_a_background_reader_stops_and_takes_pyinit_along_until_fg(
    terminal: Terminal, shell: Shell
) -> None:
    job = shell.run(pyinit("--", "/bin/cat"), foreground=False)
    stopped = shell.wait(job)
    assert stopped == {"stopped": signal.SIGTTIN, "foreground": shell.pid}
    shell.resume(job)
    terminal.echoes("line")
    terminal.type(END)
    assert shell.wait(job) == {"status": 0, "foreground": job}


def test_background_output_under_tostop_stops_the_workload_not_the_shells_view(
    terminal: Terminal, shell: Shell
) -> None:
    modes = termios.tcgetattr(terminal.slave)
    modes[3] |= termios.TOSTOP
    termios.tcsetattr(terminal.slave, termios.TCSANOW, modes)
    job = shell.run(pyinit("--", "/bin/echo", "hello"), foreground=False)
    assert shell.wait(job)["stopped"] == signal.SIGTTOU
    shell.resume(job)
    assert terminal.screen.next() == "hello"
    assert shell.wait(job)["status"] == 0


@pytest.mark.parametrize("redirected", ["0", "0 1", "0 1 2"])
def test_the_terminal_is_found_when_streams_lead_elsewhere(
    terminal: Terminal, shell: Shell, redirected: str
) -> None:
    streams = " ".join(f"{fd}<>/dev/null" for fd in redirected.split())
    answer, told = os.pipe()
    script = f'exec "$@" 9>/proc/{os.getpid()}/fd/{told} {streams}'
    workload: list[Word] = ["/bin/sh", "-c", "echo $$ >&9; exec sleep 100000"]
    try:
        job = shell.run(["/bin/sh", "-c", script, "sh", *pyinit("--", *workload)])
        pid = int(os.read(answer, 20))
        assert terminal.foreground == pid
        terminal.type(INTERRUPT)
        assert shell.wait(job) == {"status": -signal.SIGINT, "foreground": job}
    finally:
        os.close(answer)
        os.close(told)


@pytest.mark.parametrize(
    "reason", [errno.EPERM, errno.ENOTTY, errno.EIO, errno.EINVAL, errno.ENOSYS, errno.ESRCH]
)
def test_a_tcsetpgrp_that_fails_is_not_fatal(terminal: Terminal, shell: Shell, reason: int) -> None:
    require("seccomp")
    prepare = deny(reason, Call("ioctl", 1, TIOCSPGRP))
    job = shell.run(prepared(prepare, pyinit("--", "/bin/sh", "-c", "exit 8")))
    assert shell.wait(job) == {"status": 8, "foreground": job}


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_are_not_fatal(terminal: Terminal, shell: Shell, closed: str) -> None:
    script = f'exec "$@" {closed}'
    job = shell.run(["/bin/sh", "-c", script, "sh", *pyinit("--", "/bin/sh", "-c", "exit 4")])
    assert shell.wait(job) == {"status": 4, "foreground": job}
