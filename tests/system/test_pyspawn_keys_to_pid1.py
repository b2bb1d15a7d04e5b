"""A program that is PID 1 at a terminal: a key that it doesn't handle doesn't end it at once."""

from __future__ import annotations

import os
import signal

import pytest
from helpers.capabilities import require
from helpers.programs import CATCHER, Word, python, reporter
from helpers.pyspawn import pyspawn
from helpers.running import Running
from helpers.terminal import INTERRUPT, QUIT, Shell, Terminal, hang_up_ends

from spawner import lean

pytestmark = pytest.mark.usefixtures("pidns")


FIRST = {"program": [], "user": ["--user"]}
first_shape = pytest.mark.parametrize("options", FIRST.values(), ids=list(FIRST))

HANDLES_NOTHING = python(
    "import os, signal\n"
    "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
    "os.write(1, b'on\\n')\n"
    "while True: signal.pause()\n"
)

ENDS = {INTERRUPT: signal.SIGINT, QUIT: signal.SIGQUIT}


@first_shape
@pytest.mark.parametrize("key", list(ENDS), ids=["interrupt", "quit"])
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "script"])
def test_a_key_that_pid_1_does_not_handle_starts_the_stop_timeout(
    terminal: Terminal, shell: Shell, options: list[str], key: bytes, alone: bool
) -> None:
    argv = pyspawn("--stop-timeout=0.01", *options, "--", *HANDLES_NOTHING)
    if not alone:
        argv = ["/bin/sh", "-c", '"$@"; exit $?', "sh", *argv]
    job = shell.run(argv)
    assert terminal.screen.next() == "on"
    terminal.type(key)
    name = ENDS[key].name
    said = f"{name} does nothing to a program that is PID 1 and doesn't handle it"
    assert terminal.screen.next() == f"pyspawn: {said}: everything is killed in 0.01 s"
    assert terminal.screen.next().startswith("hint: use --init, which passes")
    assert shell.wait(job)["status"] in (137, -ENDS[key])


@first_shape
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_what_is_sent_to_pid_1_and_not_handled_ends_it_in_time(
    options: list[str], number: int
) -> None:
    with Running(pyspawn("--stop-timeout=0.01", *options, "--", *HANDLES_NOTHING)) as running:
        assert running.line() == "on"
        running.send(number)
        assert running.wait() == 137
        assert running.errors() == ""  # it's no terminal


HANDLED = {
    "caught": python(CATCHER),
    "awaited": reporter(),
    "awaited by a thread": python(
        "import os, signal, threading\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
        "def report():\n"
        "    while True: os.write(1, b'reporter %d\\n' % signal.sigwait(signal.valid_signals()))\n"
        "threading.Thread(target=report).start()\n"
        "os.write(1, b'reporter ready\\n')\n"
    ),
}


@first_shape
@pytest.mark.parametrize("program", HANDLED.values(), ids=list(HANDLED))
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "script"])
def test_a_key_that_pid_1_handles_is_its_own_affair(
    terminal: Terminal, shell: Shell, options: list[str], program: list[Word], alone: bool
) -> None:
    """As a ^C at an interpreter's prompt; a time-out of 0 would end it at once."""
    argv = pyspawn("--stop-timeout=0", *options, "--", *program)
    if not alone:
        argv = ["/bin/sh", "-c", 'trap : INT QUIT; "$@"; exit $?', "sh", *argv]
    job = shell.run(argv)
    assert terminal.screen.next().split()[1] == "ready"
    for key, number in (ENDS | {INTERRUPT: signal.SIGINT}).items():
        terminal.type(key)
        assert terminal.screen.next().split()[1] == str(int(number))
    os.kill(job, signal.SIGKILL)
    assert shell.wait(job)["status"] == -signal.SIGKILL


@first_shape
def test_a_hang_up_ends_pid_1_in_time(terminal: Terminal, shell: Shell, options: list[str]) -> None:
    """The shell tells its jobs nothing: the kernel tells the foreground group alone."""
    hang_up_ends(terminal, shell, pyspawn("--stop-timeout=0.01", *options, "--"))


@first_shape
def test_a_shell_that_is_pid_1_shares_the_terminal_with_a_script(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    """It asks for the foreground, over and over, and no kernel stops it for that."""
    require("bash")
    words = ["--env=PS1=ready:", *options, "--", "bash", "--norc", "--noprofile", "--noediting"]
    argv = pyspawn(*words, "-i")
    job = shell.run(["/bin/sh", "-c", '"$@"; read word; echo got $word', "sh", *argv])
    assert b"job control" not in terminal.screen.until(b"ready:")
    terminal.type(b"cat\n")
    terminal.type(b"one\n")
    terminal.screen.until(b"one\n")
    terminal.type(INTERRUPT)
    terminal.screen.until(b"ready:")
    terminal.type(b"exit 0\n")
    terminal.screen.until(b"exit\n")
    terminal.type(b"two\n")
    assert terminal.screen.next() == "got two"
    assert shell.wait(job)["status"] == 0


SLOW = """
import posix, time, types
from spawner.terminal import witness
def be(kernel, launcher):
    def kill(pid, number):
        time.sleep(1.2)
        posix.kill(pid, number)
    witness.posix = types.SimpleNamespace(**vars(posix) | {"kill": kill})
    witnesses(kernel, launcher)
witnesses, witness._be = witness._be, be
from spawner.__main__ import main
main()
"""
"""A pyspawn whose witness gets no processor for a while when it has something to say."""


@first_shape
def test_a_key_that_the_witness_tells_of_late_is_told(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    code = "import os, signal\nsignal.signal(signal.SIGINT, lambda *_: os._exit(130))\n"
    code += "os.write(1, b'on\\n')\nsignal.pause()"
    job = shell.run([*lean.lean(SLOW), *options, "--", *python(code)])
    assert terminal.screen.next() == "on"
    terminal.type(INTERRUPT)
    assert shell.wait(job)["status"] == -signal.SIGINT


LATE = """
import _signal
from spawner.terminal import witness
witness._be = lambda *_: _signal.sigwait({_signal.SIGUSR1})
witness.LIMIT = 0.5
from spawner.__main__ import main
main()
"""
"""A pyspawn whose witness has a copy of every descriptor until it's killed: it got no processor."""


@first_shape
def test_a_program_that_ends_before_the_witness_runs_has_started(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    job = shell.run([*lean.lean(LATE), *options, "--", "/bin/sh", "-c", "exit 5"])
    assert shell.wait(job)["status"] == 5
