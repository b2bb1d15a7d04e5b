"""pyspawn as a job of a shell: who has the terminal's foreground, and who gets it back."""

from __future__ import annotations

import os
import signal

import pytest
from helpers.programs import CATCHER, Word, python, reporter
from helpers.pyspawn import each_shape, pyspawn, usual_shape
from helpers.reporters import LAST
from helpers.running import Lines
from helpers.terminal import END, INTERRUPT, QUIT, SUSPEND, Shell, Terminal, ready

pytestmark = pytest.mark.usefixtures("pidns")


def seen_before(terminal: Terminal, number: int) -> list[int]:
    """Return the signals that a reporter gets before `number`."""
    seen = []
    while (found := int(terminal.screen.next().split()[1])) != number:
        seen.append(found)
    return seen


@each_shape
def test_what_the_keyboard_sends_comes_once(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    job = shell.run(pyspawn("--stop-timeout=infinity", *options, "--", *python(CATCHER)))
    assert terminal.screen.next().startswith("catcher ready")
    assert terminal.foreground not in (job, shell.pid)
    keys = {INTERRUPT: signal.SIGINT, QUIT: signal.SIGQUIT, SUSPEND: signal.SIGTSTP}
    for key, number in keys.items():
        terminal.type(key)
        assert seen_before(terminal, number) == []
    terminal.resize(10, 20)
    assert seen_before(terminal, signal.SIGWINCH) == []
    os.kill(job, LAST)
    assert seen_before(terminal, LAST) == []
    os.kill(job, signal.SIGKILL)
    assert shell.wait(job)["status"] == -signal.SIGKILL


@usual_shape
def test_an_interrupt_key_ends_the_program_and_the_terminal_is_given_back(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    job = shell.run(pyspawn(*options, "--", "/bin/sh", "-c", "echo on; exec sleep 1000"))
    assert terminal.screen.next() == "on"
    terminal.type(INTERRUPT)
    assert shell.wait(job) == {"status": -signal.SIGINT, "foreground": job}


@each_shape
def test_the_terminal_is_given_back_at_the_end(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    job = shell.run(pyspawn(*options, "--", "/bin/sh", "-c", "read line; exit 6"))
    terminal.type(b"go on\n")
    assert shell.wait(job) == {"status": 6, "foreground": job}


@each_shape
def test_a_script_can_read_the_terminal_after_it(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    """A script has no job control, and wouldn't take the foreground back by itself."""
    script = '"$@"; echo status $?; read line; echo read $line'
    argv = pyspawn(*options, "--", "/bin/sh", "-c", "exit 5")
    job = shell.run(["/bin/sh", "-c", script, "sh", *argv])
    assert terminal.screen.next() == "status 5"
    terminal.type(b"something\n")
    assert terminal.screen.next() == "read something"
    assert shell.wait(job)["status"] == 0


@each_shape
@pytest.mark.parametrize("words", [["nosuch"], ["/etc"], ["--workdir=/no/such", "true"]])
def test_a_failure_gives_the_terminal_back(
    terminal: Terminal, shell: Shell, options: list[str], words: list[str]
) -> None:
    job = shell.run(pyspawn(*options, *words))
    ended = shell.wait(job)
    assert ended["foreground"] == job
    assert ended["status"] in (125, 126, 127)


@each_shape
def test_in_the_background_it_never_takes_the_terminal(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    job = shell.run(pyspawn(*options, "--", *reporter()), foreground=False)
    ready(terminal)
    assert terminal.foreground == shell.pid
    os.kill(job, LAST)
    assert seen_before(terminal, LAST) == []
    assert terminal.foreground == shell.pid
    os.kill(job, signal.SIGKILL)
    assert shell.wait(job) == {"status": -signal.SIGKILL, "foreground": shell.pid}


@each_shape
def test_a_background_reader_stops_and_takes_pyspawn_along_until_fg(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    job = shell.run(pyspawn(*options, "--", "/bin/cat"), foreground=False)
    assert shell.wait(job) == {"stopped": signal.SIGTTIN, "foreground": shell.pid}
    shell.resume(job)
    terminal.echoes("line")
    terminal.type(END)
    assert shell.wait(job) == {"status": 0, "foreground": job}


def test_the_terminal_is_found_when_streams_lead_elsewhere(
    terminal: Terminal, shell: Shell
) -> None:
    reader, writer = os.pipe()
    script = f'exec "$@" 9>/proc/{os.getpid()}/fd/{writer} 0<>/dev/null 1<>/dev/null 2<>/dev/null'
    program: list[Word] = ["/bin/sh", "-c", "echo on >&9; exec sleep 1000"]
    job = shell.run(["/bin/sh", "-c", script, "sh", *pyspawn("--init", "--", *program)])
    assert Lines(reader).next() == "on"
    os.close(reader)
    os.close(writer)
    assert terminal.foreground not in (job, shell.pid)
    terminal.type(INTERRUPT)
    assert shell.wait(job) == {"status": -signal.SIGINT, "foreground": job}
