"""At a terminal a container is a child like any other: the caller keeps the foreground.

Only a program that reads the terminal, or sets it, gets the foreground from then on; without pyinit
one that could read it gets it at once, since the kernel doesn't stop a PID 1 that tries.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import programs
from helpers.terminal import INTERRUPT, Shell, Terminal

import spawner

pytestmark = pytest.mark.usefixtures("pidns")

PLACE = str(Path(spawner.__file__).parent.parent)
HEAD = f"import sys; sys.path[:0] = [{PLACE!r}]\nimport os, spawner, threading\n"


QUIET = pytest.mark.parametrize("options", ["init=True", "init=False, stdin=spawner.DEVNULL"])


@QUIET
def test_an_interrupt_key_interrupts_the_caller(
    terminal: Terminal, shell: Shell, options: str
) -> None:
    code = f"""
try:
    spawner.run(["sh", "-c", "echo ready; exec sleep inf"], {options})
except KeyboardInterrupt:
    print("interrupted")
"""
    caller = shell.run(programs.python(HEAD + code))
    assert terminal.screen.next() == "ready"
    assert terminal.foreground == caller
    terminal.type(INTERRUPT)
    assert terminal.screen.next() == "interrupted"
    assert shell.wait(caller) == {"status": 0, "foreground": caller}


@QUIET
def test_the_program_gets_an_interrupt_key_once(
    terminal: Terminal, shell: Shell, options: str
) -> None:
    count = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1})
os.write(1, b"ready\\n")
while True:
    os.write(1, b"%d\\n" % signal.sigwait({signal.SIGINT, signal.SIGUSR1}))
"""
    code = f"""
import signal
signal.signal(signal.SIGINT, lambda *_: process.send_signal(signal.SIGUSR1))
process = spawner.Process({programs.python(count)!r}, {options})
os.write(1, b"started\\n")
process.wait()
"""
    caller = shell.run(programs.python(HEAD + code))
    assert {terminal.screen.next(), terminal.screen.next()} == {"ready", "started"}
    terminal.type(INTERRUPT)
    assert sorted((terminal.screen.next(), terminal.screen.next())) == ["10", "2"]
    terminal.type(b"\x1c")  # ^\, for the caller and the program
    assert shell.wait(caller)["status"] == -3


@pytest.mark.parametrize("options", ["init=True", "init=False"])
def test_a_program_that_reads_the_terminal_can(
    terminal: Terminal, shell: Shell, options: str
) -> None:
    script = "echo ready; read -r word; echo got $word; read -r word; echo and $word"
    code = f"spawner.run(['sh', '-c', {script!r}], {options}); print(input())"
    caller = shell.run(programs.python(HEAD + code))
    assert terminal.screen.next() == "ready"
    terminal.type(b"one\n")
    assert terminal.screen.next() == "got one"
    terminal.type(b"two\n")
    assert terminal.screen.next() == "and two"
    terminal.echoes("three")
    assert shell.wait(caller) == {"status": 0, "foreground": caller}


def test_the_caller_can_read_while_programs_run(terminal: Terminal, shell: Shell) -> None:
    code = """
made = [spawner.Process(["sleep", "inf"]) for _ in range(3)]
print(input("ready\\n"))
for process in made:
    process.kill()
    process.wait()
"""
    caller = shell.run(programs.python(HEAD + code))
    assert terminal.screen.next() == "ready"
    terminal.echoes("typed")
    assert shell.wait(caller) == {"status": 0, "foreground": caller}
