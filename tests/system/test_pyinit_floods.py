"""No flood of signals or of orphans puts off the end, or another signal's turn."""

from __future__ import annotations

import signal

import pytest
from helpers import children
from helpers.places import Place
from helpers.programs import SHORT_QUEUE, Word, pyinit, python
from helpers.running import Running

# Four flooders that never let up, until the namespace ends or they are killed: real-time signals
# queue, so there is always a next one. The workload ends when it's let, or never.
FLOOD = """
import _signal, posix
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals() - {{number}})
_signal.signal({number}, _signal.SIG_IGN)  # else they would queue here, and fill the limit
target = posix.getppid()
for _ in range(4):
    if posix.fork() == 0:
        posix.dup2(posix.open("/dev/null", posix.O_WRONLY), 1)
        while True:
            for _ in range(1000):
                try:
                    posix.kill(target, {number})
                except ProcessLookupError:
                    posix._exit(0)
posix.write(1, b"on\\n")
posix.read(0, 1)
posix._exit(19)
"""


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGRTMAX])
@pytest.mark.parametrize("option", ["--kill-after", "--drain"])
def test_a_flood_of_signals_never_puts_off_the_end(inside: Place, option: str, number: int) -> None:
    flood = python(FLOOD.replace("{number}", str(int(number))))
    with inside.start(option, "1", "--", *flood, prepare=SHORT_QUEUE) as running:
        assert running.line() == "on"
        if option == "--drain":
            running.close_input()
            assert running.wait() == 19
        else:
            running.send(signal.SIGTERM)
            assert running.wait() == 137


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_flood_of_a_lower_signal_keeps_none_from_its_turn(inside: Place, number: int) -> None:
    """The kernel hands out the lowest that is pending."""
    flood = FLOOD.replace("{number}", str(int(number)))
    flood = flood.replace("posix.read(0, 1)", "_signal.sigwaitinfo({_signal.SIGTERM})")
    with inside.start("--", *python(flood), prepare=SHORT_QUEUE) as running:
        assert running.line() == "on"
        running.send(signal.SIGTERM)
        assert running.wait() == 19


# In `pyinit` itself: there is always one more orphan to be reaped than there was time for.
ENDLESS = """
import posix
real = posix.waitpid
def waitpid(pid, flags):
    found = real(pid, flags)
    return found if found[0] or pid != -1 else (77777, 0)
posix.waitpid = waitpid
from pyinit import reaper
def next_change_in_full(flags):
    return *waitpid(-1, flags), b"orphan", None
reaper.next_change_in_full = next_change_in_full
"""


STUBBORN = """
import _signal, posix
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
posix.write(1, b"on\\n")
while True:
    _signal.sigwaitinfo(_signal.valid_signals())
"""


@pytest.mark.parametrize("options", [[], ["-v"], ["-w"], ["--events", "2"]], ids=str)
def test_orphans_without_end_keep_no_signal_from_its_turn(options: list[str]) -> None:
    argv: list[Word] = [
        str(word).replace("import pyinit.__main__", f"exec({ENDLESS!r});import pyinit.__main__")
        for word in pyinit(*options, "--kill-after", "0.1", "--", *python(STUBBORN))
    ]
    with Running(argv) as running:
        assert running.line() == "on"
        if options:  # what is told at once has been, so that the rest is dropped
            children.wait_until(lambda: running.errors().count("\n") >= 2048, "the flood")
        running.send(signal.SIGTERM)
        assert running.wait() == 137
        lines = running.errors().splitlines()
    if options:
        assert len(lines) < 2200
        assert any("dropped" in line for line in lines)


ORPHAN_MAKERS = """
import _signal, posix, time
for _ in range(3):
    if posix.fork() == 0:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                if posix.fork() == 0:
                    posix.fork()
                    posix._exit(0)
            except OSError:
                pass
            try:
                while posix.waitpid(-1, posix.WNOHANG)[0]:
                    pass
            except OSError:
                pass
        posix._exit(0)
_signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGTERM})
posix.write(1, b"on\\n")
_signal.sigwaitinfo({_signal.SIGTERM})
posix._exit(19)
"""


@pytest.mark.parametrize("options", [["-v"], ["-w"], ["--events", "2"]], ids=str)
def test_makers_of_orphans_keep_no_signal_from_its_turn(inside: Place, options: list[str]) -> None:
    with inside.start(*options, "--", *python(ORPHAN_MAKERS)) as running:
        assert running.line() == "on"
        pid = running.pid
        for _ in range(50):
            assert len(children.of(pid)) < 5000
        running.send(signal.SIGTERM)
        assert running.wait() == 19
