"""What is sent to pyspawn reaches the program, or ends it: at once, or when the time is over."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import termios
import time

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.programs import BLOCK_ALL, READY, SHORT_QUEUE, prepared, python, reporter
from helpers.pyspawn import each_shape, pyspawn, spawn
from helpers.reporters import FORWARDED, LAST, arrive_at_any_call
from helpers.running import Lines, Running
from helpers.sleeping import spin
from helpers.terminal import Terminal

pytestmark = pytest.mark.usefixtures("pidns")


@each_shape
def test_every_signal_is_forwarded_once(options: list[str]) -> None:
    with Running(pyspawn("--stop-timeout=infinity", *options, "--", *reporter())) as running:
        assert running.line().startswith("reporter ready")
        for number in FORWARDED:
            running.send(number)
            assert running.line().split()[1] == str(number)
        children.kill_all()


@each_shape
def test_queued_signals_are_forwarded_in_order(options: list[str]) -> None:
    """Sent while the launcher is stopped: the lower first, each as often as it was sent."""
    first = int(signal.SIGRTMIN)
    numbers = [first + n for n in (0, 3, 1, 0, 3, 0)]
    with Running(pyspawn(*options, "--", *reporter())) as running:
        assert running.line().startswith("reporter ready")
        running.send(signal.SIGSTOP)
        for number in [*numbers, LAST]:
            running.send(number)
        running.send(signal.SIGCONT)
        seen: list[int] = []
        while not seen or seen[-1] != LAST:
            seen.append(int(running.line().split()[1]))
        assert [n for n in seen if n != signal.SIGCONT] == [*sorted(numbers), LAST]
        children.kill_all()


@pytest.mark.parametrize(
    "options", [["--init"], ["--share=pid"], ["--share=pid", "--init"], ["--user", "--init"]]
)
def test_sigterm_ends_a_program_at_once(options: list[str]) -> None:
    with Running(pyspawn(*options, "--", "/bin/sh", "-c", "echo on; exec sleep 1000")) as running:
        assert running.line() == "on"
        running.send(signal.SIGTERM)
        assert running.wait() == 143


@each_shape
def test_what_ignores_the_stop_signal_is_killed_when_the_time_is_over(options: list[str]) -> None:
    script = "trap '' TERM; sleep 1000 & echo on; while :; do wait; done"
    argv = pyspawn("--stop-timeout=0.2", *options, "--", "/bin/sh", "-c", script)
    with Running(argv) as running:
        assert running.line() == "on"
        running.send(signal.SIGTERM)
        assert running.wait() == 137
        assert running.out.rest() == b""  # nobody holds it any more


@each_shape
@pytest.mark.parametrize("state", ["nearly full", "stopped"])
def test_a_terminal_that_nobody_reads_delays_neither_signals_nor_the_end(
    options: list[str], state: str
) -> None:
    code = """
import _signal, posix
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
posix.write(1, b"on\\n")
while True:
    number = _signal.sigwait(_signal.valid_signals())
    posix.write(1, b"%d\\n" % number)
"""
    argv = pyspawn("-v", "--stop-timeout=0.2", *options, "--", *python(code))
    with Terminal() as terminal:
        if state == "stopped":
            termios.tcflow(terminal.slave, termios.TCOOFF)
        else:
            terminal.fill(50)
        with Running(argv, stderr=terminal.slave) as running:
            assert running.line() == "on"
            began = time.monotonic()
            for number in [signal.SIGUSR1, signal.SIGUSR2] * 30:
                running.send(number)
                assert running.line() == str(int(number))
            # A second for each line, as a patient launcher takes, would be a minute.
            assert time.monotonic() - began < 40
            running.send(signal.SIGTERM)
            assert running.wait() == 137


@pytest.mark.parametrize("words", [["--help"], ["--dry-run", "true"], ["release", "-h"]], ids=str)
def test_an_answer_that_nobody_reads_can_be_ended(words: list[str]) -> None:
    with Terminal() as terminal:
        termios.tcflow(terminal.slave, termios.TCOOFF)
        with Running(pyspawn(*words), stdout=terminal.slave) as running:
            children.wait_state(running.pid, "S")
            running.send(signal.SIGTERM)
            assert running.wait() == -signal.SIGTERM


@each_shape
def test_what_a_process_sent_to_itself_before_it_became_pyspawn_arrives(options: list[str]) -> None:
    early = [signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGRTMIN, signal.SIGRTMIN]
    numbers = [int(number) for number in early]
    prepare = BLOCK_ALL + f"for number in {numbers}: os.kill(os.getpid(), number)"
    argv = pyspawn("--stop-timeout=infinity", *options, "--", *reporter())
    with Running(prepared(prepare, argv)) as running:
        running.line()
        assert [int(line.split()[1]) for line in running.lines(5)] == numbers


FLOOD = """
import os, signal, sys
target, number = os.pidfd_open(int(sys.argv[1])), int(sys.argv[2])
for _ in range(3):
    if os.fork() == 0:
        try:
            while True:
                signal.pidfd_send_signal(target, number)
        except ProcessLookupError:
            os._exit(0)
"""


@pytest.mark.parametrize("options", [[], ["--init"], ["--share=pid"]], ids=str)
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGRTMAX])
def test_a_flood_of_signals_never_puts_off_the_end(options: list[str], number: int) -> None:
    code = f"""
import _signal, posix
_signal.signal({int(number)}, _signal.SIG_IGN)
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals() - {{{int(number)}}})
posix.write(1, b"on\\n")
while True:
    _signal.sigwait(_signal.valid_signals())
"""
    argv = pyspawn("--stop-timeout=0.5", *options, "--", *python(code))
    with Running(prepared(SHORT_QUEUE, argv)) as running:
        assert running.line() == "on"
        flood = python(FLOOD, str(running.pid), str(int(number)))
        with Running(flood) as flooding:
            assert flooding.wait() == 0
            running.send(signal.SIGTERM)
            assert running.wait() == 137


def test_a_status_that_nobody_reads_delays_nothing_and_what_was_dropped_is_counted() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(writer, b"\n" * 64)
    os.set_blocking(writer, True)
    argv = pyspawn(f"--json-status={writer}", "--init", "--", *reporter())
    with Running(argv, pass_fds=[writer]) as running:
        os.close(writer)
        running.line()  # so "created" was dropped; "started" may be told only now
        events = Lines(reader)
        for _ in range(filled):
            assert events.next() == ""
        os.kill(children.below(running.pid)[-1], signal.SIGKILL)
        assert running.wait() == 137
    told = [json.loads(line) for line in events.rest().splitlines()]
    ended = {"event": "exited", "status": 137, "signal": "SIGKILL", "limit": None}
    late = [{"event": "dropped", "count": 1}, {"event": "started"}, ended]
    assert told in (late, [{"event": "dropped", "count": 2}, ended])
    os.close(reader)


KEEPER = (
    "import os\n"
    "keeper = int(open('/proc/self/stat').read().rpartition(')')[2].split()[1])\n"
    "os.kill(keeper, 19)\n"
)


def test_a_program_that_stops_its_keeper_still_ends() -> None:
    """Without a PID namespace, a program may signal the keeper: that must wedge nothing."""
    ended = spawn("--share=pid", "--", *python(KEEPER + "os._exit(4)"))
    assert ended.status == 4


def test_a_program_that_stops_its_keeper_is_still_killed() -> None:
    code = (
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        + KEEPER
        + "os.fork()\nprint('on', flush=True)\nwhile True: os.kill(keeper, 19)\n"
    )
    with Running(pyspawn("--share=pid", "--stop-timeout=0.2", "--", *python(code))) as running:
        assert running.line() == "on"
        running.send(signal.SIGTERM)
        assert running.wait() == 137
        assert running.out.rest().replace(b"on\n", b"") == b""


def test_a_stop_timeout_of_years_is_waited_for() -> None:
    """Of more than the 24 days that poll(2) can be told at once."""
    argv = pyspawn("--stop-timeout=99999999999999", "--init", "--", *reporter())
    with Running(argv) as running:
        assert running.line().startswith("reporter ready")
        for number in (signal.SIGTERM, signal.SIGINT):  # the second comes in that wait
            running.send(number)
            assert running.line().split()[1] == str(int(number))
        running.send(signal.SIGKILL)
        running.wait()


@each_shape
def test_the_stop_signal_may_be_another(options: list[str]) -> None:
    argv = pyspawn("--stop-signal=USR2", "--stop-timeout=infinity", *options, "--", *reporter())
    with Running(argv) as running:
        assert running.line().startswith("reporter ready")
        running.send(signal.SIGTERM)
        assert running.line().split()[1] == str(int(signal.SIGUSR2))
        running.send(signal.SIGINT)  # as itself
        assert running.line().split()[1] == str(int(signal.SIGINT))
        children.kill_all()


def test_sigkill_as_the_stop_signal() -> None:
    argv = pyspawn("--stop-signal=KILL", "--init", "--", *reporter())
    with Running(argv) as running:
        assert running.line().startswith("reporter ready")
        running.send(signal.SIGTERM)
        assert running.wait() == 137


@each_shape
def test_signals_at_any_system_call_of_the_start_are_not_lost(options: list[str]) -> None:
    require("seccomp")
    argv = pyspawn("--stop-timeout=infinity", *options, "--", *reporter())
    arrive_at_any_call(lambda code: Running(prepared(code, argv)), least=200, moments=6)


@pytest.mark.parametrize("options", [["--init"], ["--share=pid"], ["--user", "--init"]])
def test_a_signal_at_a_random_moment_kills_or_is_forwarded(options: list[str]) -> None:
    """Only the interpreter's own start may die of it, before any line of ours runs."""
    moments = random.Random(len(options))
    argv = pyspawn(*options, "--", "/bin/sleep", "1000")
    for _ in range(12):
        with Running(prepared(READY, argv)) as running:
            assert running.line() == "starting"
            spin(moments.uniform(0, 0.03))
            running.send(signal.SIGTERM)
            assert running.wait() in (143, -signal.SIGTERM)
            assert running.errors() == ""
