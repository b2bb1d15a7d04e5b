"""dumb-init and its twin, side by side: whose the terminal is.

A test that takes `dumb_init` runs twice, with the tool and with the twin; `twin` and `peer` are
for the deliberate differences of docs/twins.md.
"""

from __future__ import annotations

import os
import signal

from helpers import twins
from helpers.programs import BLOCK_ALL, READY, REPORTER, prepared, python
from helpers.reporters import LAST
from helpers.running import Running
from helpers.terminal import INTERRUPT, LEAD, SUSPEND, Shell, Terminal
from helpers.twins import Init, environment

dumb_init, _, twin, _ = twins.fixtures("dumb-init")

TERMINAL = """
import _signal, os, sys
# Says whether it leads the session of its terminal, and whether it's in the foreground there.
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
try:
    leads = os.getsid(0) == os.getpid()
    foreground = os.tcgetpgrp(os.open("/dev/tty", os.O_RDWR)) == os.getpgrp()
except OSError:
    leads = foreground = False
os.write(1, b"%d%d\\n" % (leads, foreground))
"""


def on_terminal() -> list[str | bytes]:
    """Return the argv of a reporter that first says how it stands to its terminal."""
    return python(TERMINAL + REPORTER)


def test_the_terminal_is_handed_to_the_workloads_session(dumb_init: Init) -> None:
    with Terminal() as terminal, terminal.lead(dumb_init.argv(*on_terminal())) as running:
        assert terminal.screen.next() == "11"
        ready = terminal.screen.next().split()
        assert terminal.foreground == int(ready[2])
        # It hears nothing of the hand-over, and then whatever comes.
        os.kill(running.pid, signal.SIGUSR1)
        assert terminal.screen.next().split()[:2] == ["reporter", str(int(signal.SIGUSR1))]
        for number in (signal.SIGHUP, signal.SIGCONT):
            os.kill(running.pid, number)
            assert terminal.screen.next().split()[:2] == ["reporter", str(int(number))]
        terminal.type(INTERRUPT)
        assert terminal.screen.next().split()[:2] == ["reporter", str(int(signal.SIGINT))]
        os.kill(int(ready[2]), signal.SIGKILL)
        assert running.wait() == 128 + signal.SIGKILL


def test_without_a_session_the_terminal_stays_where_it_is(dumb_init: Init) -> None:
    with Terminal() as terminal, terminal.lead(dumb_init.argv("-c", *on_terminal())) as running:
        assert terminal.screen.next() == "01"
        ready = terminal.screen.next().split()
        assert terminal.foreground == running.pid
        os.kill(int(ready[2]), signal.SIGKILL)
        assert running.wait() == 128 + signal.SIGKILL


def test_a_job_of_a_shell_leaves_the_terminal_to_it(dumb_init: Init) -> None:
    with Terminal() as terminal, Shell(terminal) as shell:
        pid = shell.run(dumb_init.argv(*on_terminal()))
        assert terminal.screen.next() == "00"
        ready = terminal.screen.next().split()
        assert terminal.foreground == pid
        os.kill(int(ready[2]), signal.SIGKILL)
        assert shell.wait(pid)["status"] == 128 + signal.SIGKILL


def test_the_suspend_key_stops_all_of_a_single_child_job(dumb_init: Init) -> None:
    # The workload is in our group, and the key's signal is for all of that.
    code = "import posix; posix.write(1, b'up\\n'); posix.read(0, 1); posix._exit(4)"
    with Terminal() as terminal, Shell(terminal) as shell:
        pid = shell.run(dumb_init.argv("-c", *python(code)))
        assert terminal.screen.next() == "up"
        terminal.type(SUSPEND)
        assert "stopped" in shell.wait(pid)
        shell.resume(pid)
        terminal.type(b"\n")
        assert shell.wait(pid)["status"] == 4


def test_the_interrupt_key_comes_once(twin: Init) -> None:
    # The workload shares our group and has it from the terminal: dumb-init sends it once more.
    with Terminal() as terminal, terminal.lead(twin.argv("-c", *on_terminal())) as running:
        assert terminal.screen.next() == "01"
        ready = terminal.screen.next().split()
        terminal.type(INTERRUPT)
        assert terminal.screen.next().split()[1] == str(int(signal.SIGINT))
        os.kill(running.pid, LAST)
        assert terminal.screen.next().split()[1] == str(LAST)
        os.kill(int(ready[2]), signal.SIGKILL)
        running.wait()


def test_signals_that_wait_since_before_the_hand_over_are_not_taken_for_it(twin: Init) -> None:
    # dumb-init drops the first SIGHUP and SIGCONT that it gets, whoever sent them.
    prepare = BLOCK_ALL + LEAD + READY
    with Terminal() as terminal:
        argv = prepared(prepare, twin.argv(*on_terminal()))
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal.slave)
        with Running(argv, environment=environment(), **streams) as running:  # type: ignore[arg-type]
            assert terminal.screen.next() == "starting"
            os.kill(running.pid, signal.SIGHUP)
            assert terminal.screen.next() == "11"
            ready = terminal.screen.next().split()
            heard = terminal.screen.next().split()
            assert heard[:2] == ["reporter", str(int(signal.SIGHUP))]
            os.kill(int(ready[2]), signal.SIGKILL)
            running.wait()
