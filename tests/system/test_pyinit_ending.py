"""How it ends: at once, after a wait, after a drain, by a deadline, or on request with --pause."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest
from helpers import children
from helpers.events import Events
from helpers.places import Place
from helpers.programs import Word, pyinit, python, reporter
from helpers.running import Running
from helpers.sleeping import settle_to_wait, waits_without_timeout

LONG = "100000"
"""Seconds that no test outlasts: what ends earlier ended for another reason."""

SHORT = "0.05"

LEFTOVERS = """
import _signal, posix, sys
# Leaves processes behind and exits 17. Each says its name once it blocks all signals, then
# reports the signals it gets: a polite one ends on the one named, a stubborn one on none.
everything = _signal.valid_signals()
_signal.pthread_sigmask(_signal.SIG_BLOCK, everything)
kinds, last = sys.argv[1].split(","), int(sys.argv[2])
reading, writing = posix.pipe()
for kind in kinds:
    if posix.fork():
        continue
    if kind.startswith("strange"):
        posix.setsid()
        if posix.fork():
            posix._exit(0)
    posix.close(0)
    posix.write(1, b"%s ready\\n" % kind.encode())
    posix.write(writing, b".")
    while True:
        number = _signal.sigwaitinfo(everything - {_signal.SIGCHLD}).si_signo
        posix.write(1, b"%s %d\\n" % (kind.encode(), number))
        if number == last and kind.endswith("polite"):
            posix._exit(0)
for _ in kinds:
    posix.read(reading, 1)
posix.read(0, 1)
posix._exit(17)
"""


def leftovers(*kinds: str, last: int = signal.SIGTERM) -> list[str | bytes]:
    """Return the argv of a workload that leaves processes behind once its input ends."""
    return python(LEFTOVERS, ",".join(kinds), str(int(last)))


@contextlib.contextmanager
def left(place: Place, *options: str, kinds: tuple[str, ...], last: int = signal.SIGTERM
         ) -> Iterator[Running]:  # fmt: skip
    """Start pyinit with such a workload, and let the workload end."""
    with place.start(*options, "--", *leftovers(*kinds, last=last)) as running:
        assert sorted(running.lines(len(kinds))) == sorted(f"{kind} ready" for kind in kinds)
        running.close_input()
        yield running


def test_by_default_the_workloads_end_is_the_end(place: Place) -> None:
    with left(place, kinds=("stubborn", "strange-stubborn")) as running:
        assert running.wait() == 17
        if place.inside:
            assert running.out.rest() == b""  # the kernel has killed all of the namespace


# --- --wait ----------------------------------------------------------------------------------


def test_wait_stays_for_all_and_keeps_the_status(place: Place) -> None:
    with left(place, "--wait", kinds=("polite", "strange-polite")) as running:
        # The workload is gone, and a signal goes to all that is left.
        children.wait_until(lambda: not workloads(running, "polite", "strange-polite"))
        running.send(signal.SIGUSR1)
        assert sorted(running.lines(2)) == ["polite 10", "strange-polite 10"]
        running.send(signal.SIGTERM)
        assert sorted(running.lines(2)) == ["polite 15", "strange-polite 15"]
        assert running.wait() == 17
        assert running.out.rest() == b""


def workloads(running: Running, *kinds: str) -> bool:
    """Tell whether more than the processes left behind lives below pyinit."""
    return len(children.below(running.pid)) > len(kinds)


def test_a_signal_that_comes_with_the_workloads_end_goes_to_what_is_left(place: Place) -> None:
    """Pending together, the lower number is taken first, signal(7): but the end came before."""
    workload = leftovers("polite", last=signal.SIGHUP)
    with place.start("--wait", "--", *workload) as running:
        assert running.line() == "polite ready"
        settle_to_wait(running.pid)
        running.send(signal.SIGSTOP)
        children.wait_state(running.pid, "T")
        (dying,) = children.of(running.pid)
        running.close_input()
        children.wait_state(dying, "Z")
        running.send(signal.SIGHUP)
        running.send(signal.SIGCONT)
        assert running.line() == f"polite {int(signal.SIGHUP)}"
        assert running.wait() == 17


def test_wait_with_nothing_left_ends_at_once(place: Place) -> None:
    assert place.run("--wait", "--", "/bin/sh", "-c", "exit 18").status == 18


def test_wait_comes_from_the_environment_too(place: Place) -> None:
    script = "(read word; echo late) & exit 19"
    environment = dict(os.environ, PYINIT_WAIT="1")
    with place.start("--", "/bin/sh", "-c", script, environment=environment) as running:
        running.close_input()
        assert running.line() == "late"
        assert running.wait() == 19


# --- --drain ---------------------------------------------------------------------------------


def test_drain_asks_what_is_left_to_end_and_waits_for_it(place: Place) -> None:
    with left(place, "--drain", LONG, kinds=("polite", "strange-polite")) as running:
        assert sorted(running.lines(2)) == ["polite 15", "strange-polite 15"]
        assert running.wait() == 17
        assert running.out.rest() == b""


@pytest.mark.parametrize("seconds", ["0", SHORT])
def test_drain_kills_what_does_not_end(place: Place, seconds: str) -> None:
    kinds = ("polite", "stubborn", "strange-stubborn")
    with left(place, "--drain", seconds, kinds=kinds) as running:
        assert running.wait() == 17
        said = set(running.out.rest().decode().split("\n")) - {""}
        assert said <= {"polite 15", "stubborn 15", "strange-stubborn 15"}


def test_drain_kills_the_stopped_too(place: Place) -> None:
    script = "sh -c 'echo up; kill -STOP $$; echo never' & read word; exit 20"
    with place.start("--drain", SHORT, "--", "/bin/sh", "-c", script) as running:
        assert running.line() == "up"
        running.close_input()
        assert running.wait() == 20
        assert running.out.rest() == b""


MULTIPLY = """
import _signal, posix
# What is left doesn't end on SIGTERM, but becomes many, each in a session of its own.
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
if posix.fork():
    posix.read(0, 1)
    posix._exit(21)
posix.write(1, b"ready\\n")
_signal.sigwaitinfo({_signal.SIGTERM})
for _ in range(20):
    if posix.fork() == 0:
        posix.setsid()
        if posix.fork():
            posix._exit(0)
        break
_signal.sigwaitinfo({_signal.SIGUSR1})
"""


def test_drain_kills_what_was_born_meanwhile(place: Place) -> None:
    with place.start("--drain", SHORT, "--", *python(MULTIPLY)) as running:
        assert running.line() == "ready"
        running.close_input()
        assert running.wait() == 21
        assert running.out.rest() == b""


def test_drain_sends_the_term_signal_that_was_asked_for(place: Place) -> None:
    options = ("--drain", LONG, "--term-signal", "QUIT")
    with left(place, *options, kinds=("polite",), last=signal.SIGQUIT) as running:
        assert running.line() == "polite 3"
        assert running.wait() == 17


def test_a_signal_while_draining_goes_to_all_that_is_left(place: Place) -> None:
    with left(place, "--drain", LONG, kinds=("polite", "strange-polite"), last=10) as running:
        assert sorted(running.lines(2)) == ["polite 15", "strange-polite 15"]
        running.send(signal.SIGUSR1)
        assert sorted(running.lines(2)) == ["polite 10", "strange-polite 10"]
        assert running.wait() == 17


@pytest.mark.parametrize("seconds", ["9" * 20, "9" * 400, "1" + "0" * 10, "0.000000000001"])
def test_any_number_of_seconds_is_a_number_of_seconds(place: Place, seconds: str) -> None:
    options = ("--drain", seconds, "--kill-after", seconds)
    with left(place, *options, kinds=("polite",)) as running:
        if float(seconds) > 1:
            assert running.line() == "polite 15"
        assert running.wait() == 17
        assert running.errors() == ""


# --- --kill-after ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_kill_after_kills_everything_when_the_time_is_over(place: Place, number: int) -> None:
    options = ("--kill-after", SHORT)
    with place.start(*options, "--", *leftovers("stubborn", "strange-stubborn")) as running:
        running.lines(2)
        running.send(number)
        assert running.wait() == 137
        assert running.out.rest() == b""


def test_kill_after_spares_what_ends_in_time(place: Place) -> None:
    script = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("up", flush=True)
signal.sigwait({signal.SIGTERM})
os._exit(22)
"""
    with place.start("--kill-after", LONG, "--", *python(script)) as running:
        assert running.line() == "up"
        running.send(signal.SIGTERM)
        assert running.wait() == 22


def test_kill_after_runs_only_once_an_end_was_asked_for(place: Place) -> None:
    with place.start("--kill-after", LONG, "-r", "HUP:0", "--", *reporter()) as running:
        running.line()
        for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGWINCH, signal.SIGALRM):
            running.send(number)
        settle_to_wait(running.pid)
        running.send(signal.SIGTERM)
        children.wait_until(lambda: has_timeout(running.pid), "a deadline")


def has_timeout(pid: int) -> bool:
    return children.state(pid) == "S" and not waits_without_timeout(pid)


def test_kill_after_counts_for_rewritten_signals(place: Place) -> None:
    for rewrite, sent in (("TERM:USR1", signal.SIGTERM), ("USR1:TERM", signal.SIGUSR1)):
        options = ("--kill-after", SHORT, "-r", rewrite)
        with place.start(*options, "--", *leftovers("stubborn")) as running:
            running.lines(1)
            running.send(sent)
            assert running.wait() == 137


def test_kill_after_holds_with_wait_too(place: Place) -> None:
    with left(place, "--wait", "--kill-after", SHORT, kinds=("stubborn",)) as running:
        running.send(signal.SIGTERM)
        assert running.wait() in (17, 137)
        assert running.out.rest() in (b"", b"stubborn 15\n")


def test_term_signal_is_what_is_sent_for_sigterm(place: Place) -> None:
    with place.start("--term-signal", "SIGRTMIN+2", "--", *leftovers("polite", last=36)) as running:
        running.lines(1)
        running.send(signal.SIGTERM)
        # The workload itself blocks all and reads: its end of input lets it go.
        running.close_input()
        assert running.wait() == 17


def test_the_workload_gets_the_term_signal(place: Place) -> None:
    with place.start("--term-signal", "INT", "--", *reporter()) as running:
        running.line()
        running.send(signal.SIGTERM)
        assert running.line().split()[1] == "2"


# --- --pause ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_pause_holds_until_it_is_asked_to_end(place: Place, number: int) -> None:
    with place.start("--pause") as running:
        pid = running.pid
        settle_to_wait(pid)
        for ignored in (signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH, signal.SIGQUIT):
            os.kill(pid, ignored)
        settle_to_wait(pid)
        os.kill(pid, number)
        assert running.wait() == 0
        assert running.errors() == ""
        assert running.out.rest() == b""


def test_pause_reaps_what_it_is_given(place: Place) -> None:
    """Children that came with the exec, and their orphans: all are reaped, and it goes on."""
    prepare = """
for _ in range(20):
    reader, writer = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            os.close(writer)
            os.read(reader, 1)
        else:
            os.read(0, 1)
        os._exit(0)
"""
    with place.start("--pause", prepare=prepare) as running:
        pid = running.pid
        settle_to_wait(pid)
        assert len(children.of(pid)) == 20
        running.close_input()
        children.wait_until(lambda: not children.of(pid), "the last reaping")
        os.kill(pid, signal.SIGTERM)
        assert running.wait() == 0


def test_pause_tells_of_whom_it_reaps_where_the_starter_ignored_sigchld(place: Place) -> None:
    """Else the kernel would reap, and nobody would hear of it, wait(2)."""
    prepare = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if os.fork() == 0:
    os.read(0, 1)
    os._exit(3)
"""
    with Events() as events:
        argv = [*events.options, "--pause"]
        with place.start(*argv, prepare=prepare, pass_fds=[events.fileno]) as running:
            settle_to_wait(running.pid)
            running.close_input()
            reaped = events.next()
            assert (reaped["event"], reaped["status"]) == ("reaped", 3)
            running.send(signal.SIGTERM)
            assert running.wait() == 0


def test_pause_comes_from_the_environment_too(place: Place) -> None:
    with place.start(environment=dict(os.environ, PYINIT_PAUSE="1")) as running:
        pid = running.pid
        settle_to_wait(pid)
        os.kill(pid, signal.SIGTERM)
        assert running.wait() == 0


def test_pause_with_a_program_is_a_mistake(outside: Place) -> None:
    ended = outside.run("--pause", "--", "/bin/echo", "started")
    assert (ended.status, ended.out) == (125, b"")
    assert "--pause" in ended.errors


# --- floods ----------------------------------------------------------------------------------

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
    with inside.start(option, "1", "--", *flood) as running:
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
    with inside.start("--", *python(flood)) as running:
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
        for word in pyinit(*options, "--kill-after", "1", "--", *python(STUBBORN))
    ]
    with Running(argv) as running:
        assert running.line() == "on"
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
