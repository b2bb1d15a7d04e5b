"""What the keyboard of a terminal sends reaches the workload once."""

from __future__ import annotations

import errno
import os
import signal

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.programs import as_pid1, prepared, pyinit, reporter
from helpers.reporters import LAST
from helpers.running import Lines, Running
from helpers.seccomp import Call, deny
from helpers.terminal import (
    INTERRUPT,
    LEAD,
    QUIT,
    SUSPEND,
    TIOCSPGRP,
    Shell,
    Terminal,
    init_below,
    next_signal,
    ready,
)

NO_GROUP = deny(errno.EPERM, "setpgid")
NO_FOREGROUND = deny(errno.EPERM, Call("ioctl", 1, TIOCSPGRP))

STARTS = {
    "plain": "",
    "no setpgid": NO_GROUP,
    "no tcsetpgrp": NO_FOREGROUND,
    "neither": NO_GROUP + NO_FOREGROUND,
}


@pytest.mark.parametrize("inside", [False, True], ids=["child", "pid1"])
@pytest.mark.parametrize("options", [[], ["-g"]], ids=["process", "group"])
@pytest.mark.parametrize("start", list(STARTS))
def test_keys_reach_the_workload_once(
    terminal: Terminal, shell: Shell, start: str, options: list[str], inside: bool
) -> None:
    if start != "plain":
        require("seccomp")
    argv = pyinit(*options, "--", *reporter())
    if STARTS[start]:
        argv = prepared(STARTS[start], argv)
    if inside:
        require("pidns")
        argv = as_pid1(argv)
    job = shell.run(argv)
    ready(terminal)
    init = init_below(job) if inside else job
    for key, number in ((QUIT, signal.SIGQUIT), (INTERRUPT, signal.SIGINT)):
        terminal.type(key)
        assert next_signal(terminal) == number
        os.kill(init, LAST)
        assert next_signal(terminal) == LAST
    terminal.resize(11, 22)
    assert next_signal(terminal) == signal.SIGWINCH
    os.kill(init, LAST)
    assert next_signal(terminal) == LAST


def test_keys_reach_the_workload_of_a_session_leader_once(terminal: Terminal) -> None:
    """As in `docker run -it`: PID 1 leads the session, and no shell is above."""
    require("pidns")
    argv = as_pid1(prepared(LEAD, pyinit("--", *reporter())))
    with Running(
        argv, inside=True, stdin=terminal.slave, stdout=terminal.slave, stderr=terminal.slave
    ) as running:
        assert ready(terminal) == 2
        (workload,) = children.of(running.pid)
        assert terminal.foreground == workload
        for key, number in ((INTERRUPT, signal.SIGINT), (SUSPEND, signal.SIGTSTP)):
            terminal.type(key)
            assert next_signal(terminal) == number
        running.send(LAST)
        assert next_signal(terminal) == LAST


def test_a_hang_up_reaches_the_workload_once(terminal: Terminal) -> None:
    reading, writing = os.pipe()
    try:
        with terminal.lead(pyinit("--", *reporter()), stdout=writing) as running:
            lines = Lines(reading)
            assert lines.next().startswith("reporter ready")
            os.close(terminal.slave)
            terminal.slave = os.open("/dev/null", os.O_RDWR)
            terminal.hang_up()
            got = {int(lines.next().split()[1]) for _ in range(2)}
            assert got == {signal.SIGHUP, signal.SIGCONT}
            running.send(LAST)
            assert lines.next().split()[1] == str(LAST)
    finally:
        os.close(reading)
        os.close(writing)
