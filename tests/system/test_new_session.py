"""`--new-session`: the program has a session and a terminal of its own; the caller's is safe."""

from __future__ import annotations

import json
import os
import shlex
import signal
import termios
from pathlib import Path
from typing import Any

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.joining import container, joining
from helpers.programs import CATCHER, Word, prepared, python
from helpers.pyspawn import ROOT, each_shape, pyspawn, refusal, spawn
from helpers.reporters import LAST
from helpers.running import Lines, Running
from helpers.seccomp import Held
from helpers.terminal import (
    END,
    INTERACTIVE,
    INTERRUPT,
    PROMPT,
    QUIT,
    SUSPEND,
    Shell,
    Terminal,
    hang_up_ends,
)

import spawner

pytestmark = pytest.mark.usefixtures("pidns")

both_inits = pytest.mark.parametrize("init", [[], ["--init"]], ids=["program", "pyinit"])


def apart(*words: Word) -> list[Word]:
    return pyspawn("--new-session", *words)


def lines(terminal: Terminal) -> list[Any]:
    """Have a terminal treat keys and lines as a shell's programs find it; return its modes."""
    modes = termios.tcgetattr(terminal.slave)
    modes[1] |= termios.OPOST | termios.ONLCR
    modes[3] |= termios.ICANON | termios.ISIG | termios.ECHO
    termios.tcsetattr(terminal.slave, termios.TCSANOW, modes)
    return modes_of(terminal)


def modes_of(terminal: Terminal) -> list[Any]:
    return termios.tcgetattr(terminal.slave)


def is_raw(terminal: Terminal) -> bool:
    return not modes_of(terminal)[3] & (termios.ICANON | termios.ISIG | termios.ECHO)


LOOK = """
import fcntl, json, os, sys, termios
def refused(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return error.errno
outer = sys.argv[1]
found = os.open(outer, os.O_RDWR | os.O_NOCTTY)
print(json.dumps({
    "devices": [os.fstat(descriptor).st_rdev for descriptor in (0, 1, 2)],
    "leads": os.getsid(0) == os.getpid() or os.getsid(0) == os.getppid(),
    "size": termios.tcgetwinsize(0),
    "modes": [each for each in termios.tcgetattr(0) if isinstance(each, int)],
    "foreground": os.tcgetpgrp(os.open("/dev/tty", os.O_RDWR)) == os.getpgrp(),
    "held": sum(os.path.realpath(f"/proc/self/fd/{each}") == outer
                for each in os.listdir("/proc/self/fd")),
    "pushed": refused(fcntl.ioctl, found, termios.TIOCSTI, b"x"),
    "taken": refused(os.tcsetpgrp, found, os.getpgrp()),
}), flush=True)
"""
"""Tells what a program sees of its terminal, and whether it gets at another by its path."""


@each_shape
def test_the_terminal_is_another_and_the_callers_is_out_of_reach(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    terminal.resize(24, 80)
    before = modes_of(terminal)
    outer = os.ttyname(terminal.slave)
    # A descriptor beyond the standard ones is replaced as well.
    words = ["/bin/sh", "-c", 'exec 7<&0; exec "$@"', "sh", *apart(*options, "--")]
    job = shell.run([*words, *python(LOOK, outer)])
    seen = json.loads(terminal.screen.next())
    assert shell.wait(job) == {"status": 0, "foreground": job}
    assert os.fstat(terminal.slave).st_rdev not in seen["devices"]
    assert seen["leads"]
    assert seen["foreground"]
    assert seen["size"] == [24, 80]
    assert seen["modes"] == [each for each in before if isinstance(each, int)]
    assert seen["held"] == 1  # that which it has just opened
    assert seen["taken"]
    if "--user" in options or not ROOT:
        assert seen["pushed"]
    assert modes_of(terminal) == before


@both_inits
def test_keys_and_the_size_reach_the_program_once(
    terminal: Terminal, shell: Shell, init: list[str]
) -> None:
    lines(terminal)
    job = shell.run(apart("--stop-timeout=infinity", *init, "--", *python(CATCHER)))
    assert terminal.screen.next().startswith("catcher ready")
    children.wait_until(lambda: is_raw(terminal), "raw mode")
    keys = {INTERRUPT: signal.SIGINT, QUIT: signal.SIGQUIT, SUSPEND: signal.SIGTSTP}
    for key, number in keys.items():
        terminal.type(key)
        assert terminal.screen.until(b"\r\n").endswith(b"catcher %d\r\n" % number)
    terminal.resize(10, 20)
    assert terminal.screen.next() == f"catcher {signal.SIGWINCH:d}\r"
    os.kill(job, LAST)
    assert terminal.screen.next() == f"catcher {LAST:d}\r"
    os.kill(job, signal.SIGKILL)
    assert shell.wait(job)["status"] == -signal.SIGKILL


def test_echo_and_the_end_of_the_input_are_those_of_the_programs_terminal(
    terminal: Terminal, shell: Shell
) -> None:
    before = lines(terminal)
    job = shell.run(apart("--", "/bin/sh", "-c", "echo on; cat; stty size"))
    assert terminal.screen.next() == "on\r"
    children.wait_until(lambda: is_raw(terminal), "raw mode")
    terminal.type(b"word\r")
    assert [terminal.screen.next(), terminal.screen.next()] == ["word\r", "word\r"]
    terminal.resize(3, 4)
    terminal.type(END)
    assert terminal.screen.next() == "3 4\r"
    assert shell.wait(job)["status"] == 0
    assert modes_of(terminal) == before


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
@pytest.mark.parametrize("options", [["--init"], ["--share=pid"]], ids=["pyinit", "keeper"])
def test_a_signal_that_ends_pyspawn_restores_the_terminal(
    terminal: Terminal, shell: Shell, options: list[str], number: int, status: int
) -> None:
    before = lines(terminal)
    job = shell.run(apart(*options, "--", "/bin/sh", "-c", "echo on; exec sleep 1000"))
    assert terminal.screen.next() == "on\r"
    children.wait_until(lambda: is_raw(terminal), "raw mode")
    os.kill(job, number)
    assert shell.wait(job)["status"] == status
    # A killed pyspawn can't do it: the relay does, and ends.
    children.wait_until(lambda: modes_of(terminal) == before, "the former modes")
    children.wait_until(lambda: not children.of(shell.pid), "the end of all")


@pytest.mark.parametrize("words", [["nosuch"], ["/etc"], ["--workdir=/no/such", "true"]])
@both_inits
def test_a_failed_start_leaves_the_terminal_as_it_was(
    terminal: Terminal, shell: Shell, init: list[str], words: list[str]
) -> None:
    before = lines(terminal)
    job = shell.run(apart(*init, *words))
    assert shell.wait(job)["status"] in (125, 126, 127)
    assert terminal.screen.next().startswith("pyspawn: ")
    assert modes_of(terminal) == before


def test_the_suspend_key_stops_the_job_and_fg_goes_on(terminal: Terminal, shell: Shell) -> None:
    before = lines(terminal)
    job = shell.run(apart("--init", "--", "/bin/sh", "-c", "echo on; exec cat"))
    assert terminal.screen.next() == "on\r"
    children.wait_until(lambda: is_raw(terminal), "raw mode")
    terminal.type(SUSPEND)
    assert shell.wait(job) == {"stopped": signal.SIGTSTP, "foreground": job}
    assert modes_of(terminal) == before
    shell.resume(job)
    children.wait_until(lambda: is_raw(terminal), "raw mode")
    terminal.type(b"word\r")
    assert b"word\r\nword\r\n" in terminal.screen.until(b"word\r\nword\r\n")
    terminal.type(END)
    assert shell.wait(job)["status"] == 0
    assert modes_of(terminal) == before


@both_inits
def test_a_stop_that_somebody_sends_stops_the_job(
    terminal: Terminal, shell: Shell, init: list[str]
) -> None:
    before = lines(terminal)
    job = shell.run(apart(*init, "--", "/bin/sh", "-c", "echo on; exec cat"))
    assert terminal.screen.next() == "on\r"
    children.wait_until(lambda: is_raw(terminal), "raw mode")
    os.kill(job, signal.SIGTSTP)
    assert shell.wait(job)["stopped"] == signal.SIGTSTP
    assert modes_of(terminal) == before
    shell.resume(job)
    children.wait_until(lambda: is_raw(terminal), "raw mode")
    os.kill(job, signal.SIGKILL)
    assert shell.wait(job)["status"] == -signal.SIGKILL
    children.wait_until(lambda: modes_of(terminal) == before, "the former modes")


@pytest.mark.parametrize(
    "options", [[], ["--init"], ["--setuid=1000"] if ROOT else ["--map-current-user"]],
    ids=["program", "pyinit", "another user"],
)  # fmt: skip
def test_in_a_dev_of_its_own_the_terminal_has_a_name_and_belongs_to_the_program(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    require("mount")
    before = lines(terminal)
    script = 'tty; echo again >/dev/stdout; stat -c %u "$(tty)"; id -u; ls -1 /dev/pts'
    script += "; stty size; cat"
    terminal.resize(7, 8)
    job = shell.run(apart("--dev", "/dev", *options, "--", "/bin/sh", "-c", script))
    name, again, owner, user, first, ptmx, size = (terminal.screen.next()[:-1] for _ in range(7))
    assert (name, again, size) == ("/dev/pts/0", "again", "7 8")
    assert owner == user
    assert (first, ptmx) == ("0", "ptmx")
    terminal.type(b"word\r")
    assert [terminal.screen.next(), terminal.screen.next()] == ["word\r", "word\r"]
    terminal.type(END)
    assert shell.wait(job)["status"] == 0
    assert modes_of(terminal) == before


def test_all_that_was_written_arrives(terminal: Terminal, shell: Shell) -> None:
    lines(terminal)
    write = "import os\nfor n in range(16384): os.write(1, b'%063d\\n' % n)\nos.write(1, b'end\\n')"
    job = shell.run(apart("--", *python(write)))
    for number in range(16384):
        assert terminal.screen.raw() == b"%063d\r" % number
    assert terminal.screen.next() == "end\r"
    assert shell.wait(job)["status"] == 0


def test_a_terminal_that_accepts_nothing_holds_no_signal_up(
    terminal: Terminal, shell: Shell
) -> None:
    """And what has been written for it is dropped, when pyspawn is told to end once more."""
    reader, writer = os.pipe()
    script = f'exec "$@" 9>/proc/{os.getpid()}/fd/{writer}'
    trap = "trap 'echo ended >&9; exit 9' TERM"
    program = ["/bin/bash", "-c", f"{trap}; yes & echo on >&9; wait"]
    terminal.write_unread(1 << 20)
    job = shell.run(["/bin/sh", "-c", script, "sh", *apart("--", *program)])
    said = Lines(reader)
    assert said.next() == "on"
    os.kill(job, signal.SIGTERM)
    assert said.next() == "ended"
    children.wait_until(lambda: len(children.of(job)) <= 1, "the relay alone")
    os.kill(job, signal.SIGTERM)
    assert shell.wait(job)["status"] == 9
    os.close(writer)
    os.close(reader)


@pytest.mark.parametrize(
    "options", [["--init"], ["--stop-timeout=0"], ["--share=pid"]],
    ids=["pyinit", "program", "keeper"],
)  # fmt: skip
def test_the_end_of_the_terminal_ends_the_program(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    hang_up_ends(terminal, shell, apart(*options, "--"))


STATES = """
import os, sys
def open_tty():
    try:
        os.open("/dev/tty", os.O_RDWR)
    except OSError as error:
        return error.errno
os.write(int(sys.argv[1]), repr([os.isatty(0), os.isatty(1), os.isatty(2), open_tty() == 6,
         os.fstat(2).st_rdev]).encode() + b"\\n")
"""
"""Which streams are a terminal, whether there's no controlling one (ENXIO), and which is stderr."""


def test_a_pipeline_keeps_the_keyboard(terminal: Terminal, shell: Shell) -> None:
    before = lines(terminal)
    script = '"$@" | { read -r state; echo "$state"; read -r line </dev/tty; echo "read $line"; }'
    job = shell.run(["/bin/sh", "-c", script, "sh", *apart("--", *python(STATES, "1"))])
    seen = terminal.screen.next()
    device = os.fstat(terminal.slave).st_rdev
    assert seen.startswith("[False, False, True, True, ")
    assert str(device) not in seen
    assert modes_of(terminal) == before
    terminal.type(b"word\n")
    assert terminal.screen.until(b"read word\r\n")
    assert shell.wait(job)["status"] == 0
    assert modes_of(terminal) == before


def test_what_is_not_a_terminal_stays(terminal: Terminal, shell: Shell, tmp_path: Path) -> None:
    script = f'"$@" </dev/null 2>{tmp_path}/errors'
    job = shell.run(["/bin/sh", "-c", script, "sh", *apart("--", *python(STATES, "1"))])
    assert terminal.screen.next().startswith("[False, True, False, True, ")
    assert shell.wait(job)["status"] == 0
    assert (tmp_path / "errors").read_text() == ""


@each_shape
def test_without_a_terminal_it_is_a_session_alone(options: list[str]) -> None:
    look = "import os; print(os.getsid(0) in (os.getpid(), os.getppid()), os.getsid(0))"
    ended = spawn("--new-session", *options, "--", *python(look))
    assert (ended.status, ended.errors) == (0, "")
    assert ended.out.startswith(b"True ")
    assert int(ended.out.split()[1]) > 0


def test_in_the_background_the_keyboard_is_the_shells(terminal: Terminal) -> None:
    """Until the job comes to the foreground; then the first line goes to the program, too."""
    require("bash")
    with terminal.lead(INTERACTIVE) as bash:
        terminal.screen.until(PROMPT)
        line = b" ".join(map(os.fsencode, map(quoted, apart("--", "sh", "-c", "echo o''n; cat"))))
        terminal.type(line + b" &\n")
        terminal.screen.until(b"on\n")
        assert not is_raw(terminal)
        terminal.type(b"echo $((3+4))\n")
        terminal.screen.until(b"7\n")
        terminal.type(b"fg\n")
        children.wait_until(lambda: terminal.foreground != bash.pid, "the job's turn")
        terminal.type(b"word\n")
        terminal.screen.until(b"word\n")
        children.wait_until(lambda: is_raw(terminal), "raw mode")
        terminal.type(END)
        terminal.screen.until(PROMPT)


def quoted(word: Word) -> str:
    return shlex.quote(os.fsdecode(word))


def test_the_relays_death_is_told_and_ends_the_programs_terminal(
    terminal: Terminal, shell: Shell
) -> None:
    before = lines(terminal)
    job = shell.run(apart("--init", "--", "/bin/sh", "-c", "echo on; exec sleep 1000"))
    assert terminal.screen.next() == "on\r"
    children.wait_until(lambda: is_raw(terminal), "raw mode")
    (relay,) = (each for each in children.of(job) if os.getpgid(each) == job)
    os.kill(relay, signal.SIGKILL)
    assert shell.wait(job)["status"] == 128 + signal.SIGHUP
    gone = "pyspawn: the program's terminal is gone: the process that passed it on was killed by"
    assert gone in terminal.screen.next()
    assert modes_of(terminal) == before


def test_the_relays_death_during_the_start_is_one_line() -> None:
    """It's why the start fails, and so a hint."""
    require("seccomp")
    master, slave = os.openpty()
    with Held("sethostname") as moments:
        argv = prepared(moments.code, apart("--init", "--hostname", "box", "--", "/bin/true"))
        with Running(argv, stdout=slave, pass_fds=[moments.fileno]) as running:
            moment = moments.catch()
            ours = os.getpgid(running.starter)
            (relay,) = (each for each in children.of(running.starter) if os.getpgid(each) == ours)
            os.kill(relay, signal.SIGKILL)
            children.wait_gone([relay])
            moments.let_go(moment)
            assert running.wait() == 125
            said, hint = refusal(running.errors())
    assert said.endswith("in the place of the caller's: Broken pipe (EPIPE)")
    assert hint.startswith("the program's terminal is gone: the process that passed it on was")
    os.close(master)
    os.close(slave)


def test_a_join_has_it_too(terminal: Terminal, shell: Shell, tmp_path: Path) -> None:
    before = lines(terminal)
    with container("unshare", tmp_path) as pid:
        job = shell.run(joining(pid, "--new-session", "--", *python(STATES, "1")))
        seen = terminal.screen.next()
        assert seen.startswith("[True, True, True, False, ")
        assert str(os.fstat(terminal.slave).st_rdev) not in seen
        assert shell.wait(job)["status"] == 0
    assert modes_of(terminal) == before


def test_from_python() -> None:
    look = python("import os; print(os.getsid(0) in (os.getpid(), os.getppid()), os.getsid(0))")
    found = spawner.check_output(look, new_session=True, text=True).split()
    assert found[0] == "True"
    assert int(found[1]) > 0
    with pytest.raises(TypeError, match="new_session needs True or False"):
        spawner.run(["true"], new_session="yes")  # type: ignore[call-overload]
