"""Terminals: the foreground, what the keyboard sends, stopping and going on, and shells."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import termios
from collections.abc import Iterator

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.programs import Word, as_pid1, prepared, pyinit, reporter
from helpers.running import Lines, Running
from helpers.seccomp import Call, deny
from helpers.sleeping import settle_to_wait, switches
from helpers.terminal import LEAD, Shell, Terminal

INTERRUPT, QUIT, SUSPEND, END = b"\x03", b"\x1c", b"\x1a", b"\x04"
LAST = int(signal.SIGRTMAX)
TIOCSPGRP = 0x5410  # asm-generic/ioctls.h


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal() as made:
        yield made


@pytest.fixture
def shell(terminal: Terminal) -> Iterator[Shell]:
    with Shell(terminal) as made:
        yield made


def ready(terminal: Terminal) -> int:
    """Wait for a reporter on the screen; return its pid, as it sees itself."""
    tag, word, pid = terminal.screen.next().split()
    assert (tag, word) == ("reporter", "ready")
    return int(pid)


def next_signal(terminal: Terminal) -> int:
    """Return the number of the next signal that a reporter got."""
    return int(terminal.screen.next().split()[1])


def init_below(job: int) -> int:
    """Return the host pid of pyinit, below the unshare that is the job."""
    (pid,) = children.of(job)
    return pid


# --- what the keyboard sends -----------------------------------------------------------------

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


# --- who has the foreground ------------------------------------------------------------------


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
    assert children.state(init) in "SR"


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
    terminal.type(b"line\n")
    assert terminal.screen.next() == "line"
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


# --- stopping and going on -------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["-g"]], ids=["process", "group"])
def test_suspend_stops_the_job_and_fg_continues_it(
    terminal: Terminal, shell: Shell, options: list[str]
) -> None:
    job = shell.run(pyinit(*options, "--", "/bin/cat"))
    terminal.type(b"one\n")
    assert terminal.screen.next() == "one"
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
    terminal.type(b"one\n")
    assert terminal.screen.next() == "one"
    terminal.type(SUSPEND)
    assert shell.wait(job)["stopped"] == signal.SIGTSTP
    (workload,) = children.of(job)
    (cat,) = children.of(workload)
    for pid in (workload, cat):
        children.wait_state(pid, "T")
    shell.resume(job)
    terminal.type(b"two\n")
    assert terminal.screen.next() == "two"
    terminal.type(END)
    assert shell.wait(job) == {"status": 6, "foreground": job}


SLEEPER = pyinit("--", "/bin/sh", "-c", "echo on; exec sleep 1000")
"""A workload that doesn't touch the terminal."""


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
    terminal.type(SUSPEND)
    assert shell.wait(job) == {"stopped": signal.SIGTSTP, "foreground": job}
    shell.resume(job)
    os.kill(job, signal.SIGCONT)
    os.kill(job, signal.SIGTERM)
    assert shell.wait(job) == {"status": 128 + signal.SIGTERM, "foreground": job}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGTSTP], ids=["end", "stop"])
def test_stopped_by_others_it_leaves_the_terminal_to_the_shell(
    terminal: Terminal, shell: Shell, number: int
) -> None:
    job = shell.run(SLEEPER)
    assert terminal.screen.next() == "on"
    (workload,) = children.of(job)
    os.kill(job, signal.SIGSTOP)
    assert shell.wait(job)["stopped"] == signal.SIGSTOP
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
    job = shell.run(SLEEPER)
    assert terminal.screen.next() == "on"
    (workload,) = children.of(job)
    os.kill(job, signal.SIGSTOP)
    assert shell.wait(job)["stopped"] == signal.SIGSTOP
    other = shell.run(["/bin/cat"])
    terminal.type(b"line\n")
    assert terminal.screen.next() == "line"
    os.kill(workload, signal.SIGKILL)
    os.kill(job, signal.SIGCONT)
    assert shell.wait(job) == {"status": 137, "foreground": other}
    os.kill(other, signal.SIGKILL)
    assert shell.wait(other)["status"] == -signal.SIGKILL


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_with_getsid_denied_the_foreground_comes_back(
    terminal: Terminal, shell: Shell, reason: int
) -> None:
    """Who leads the session is nobody then: at a stop, after a needless SIGCONT and at the end."""
    require("seccomp")
    job = shell.run(prepared(deny(reason, "getsid"), SLEEPER))
    assert terminal.screen.next() == "on"
    terminal.type(SUSPEND)
    assert shell.wait(job) == {"stopped": signal.SIGTSTP, "foreground": job}
    shell.resume(job)
    os.kill(job, signal.SIGCONT)
    os.kill(job, signal.SIGTERM)
    assert shell.wait(job) == {"status": 128 + signal.SIGTERM, "foreground": job}


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
    terminal.type(b"one\n")
    assert terminal.screen.next() == "one"
    terminal.type(SUSPEND)
    assert shell.wait(job)["stopped"] == signal.SIGTSTP
    shell.resume(job)
    terminal.type(b"two\n")
    assert terminal.screen.next() == "two"
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
        terminal.type(b"one\n")
        assert terminal.screen.next() == "one"
        terminal.type(SUSPEND)
        terminal.type(b"two\n")
        assert terminal.screen.next() == "two"
        terminal.type(END)
        assert running.wait() == 0


def test_a_stop_that_was_sent_is_passed_up_and_its_continue_down(
    terminal: Terminal, shell: Shell
) -> None:
    job = shell.run(pyinit("--", "/bin/cat"))
    terminal.type(b"one\n")
    assert terminal.screen.next() == "one"
    os.kill(job, signal.SIGTSTP)
    assert shell.wait(job)["stopped"] == signal.SIGTSTP
    shell.resume(job)
    terminal.type(b"two\n")
    assert terminal.screen.next() == "two"


def test_a_stop_behind_our_back_stops_only_the_workload(terminal: Terminal, shell: Shell) -> None:
    job = shell.run(pyinit("--", "/bin/cat"), foreground=True)
    terminal.type(b"one\n")
    assert terminal.screen.next() == "one"
    (workload,) = children.of(job)
    os.kill(workload, signal.SIGSTOP)
    children.wait_state(workload, "T")
    os.kill(job, signal.SIGWINCH)
    assert children.state(job) in "SR"
    os.kill(workload, signal.SIGCONT)
    terminal.type(b"two\n")
    assert terminal.screen.next() == "two"


# --- an interactive shell as the workload ----------------------------------------------------


PROMPT = b"PROMPT>"


def prompt(terminal: Terminal) -> bytes:
    return terminal.screen.until(PROMPT)


def use_job_control(terminal: Terminal) -> None:
    """Do with an interactive bash what needs job control; then it exits with 5."""
    greeting = prompt(terminal)
    assert b"job control" not in greeting
    assert b"terminal process group" not in greeting
    terminal.type(b"cat\n")
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
    terminal.type(b"sleep 100000 &\n")
    prompt(terminal)
    terminal.type(b"kill %1; wait %1; echo $?\n")
    assert b"143" in prompt(terminal)
    terminal.type(b"exit 5\n")


INTERACTIVE: list[Word] = [
    "/usr/bin/env", f"PS1={PROMPT.decode()}", "HISTFILE=",
    "bash", "--norc", "--noprofile", "--noediting", "-i",
]  # fmt: skip


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
        terminal.type(shlex.join(map(str, pyinit("--", "cat"))).encode() + b"\n")
        terminal.type(b"first\n")
        terminal.screen.until(b"first\n")
        terminal.type(SUSPEND)
        assert b"Stopped" in prompt(terminal)
        terminal.type(b"fg\n")
        terminal.type(b"second\n")
        terminal.screen.until(b"second\n")
        terminal.type(INTERRUPT)
        prompt(terminal)
        terminal.type(b"echo $?\n")
        assert b"130" in prompt(terminal)
        terminal.type(b"exit\n")
