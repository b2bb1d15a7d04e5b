"""Lines for people and programs: whole, valid, and never waited for."""

from __future__ import annotations

import json
import select
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyinit import jsontext


@given(value=st.none() | st.integers() | st.text())
def test_values_are_valid_json(value: int | str | None) -> None:
    assert json.loads(jsontext.dump(value)) == value


@given(raw=st.binary(max_size=16))
def test_names_that_are_not_utf8_are_valid_json_too(raw: bytes) -> None:
    assert isinstance(json.loads(jsontext.dump(raw.decode("utf-8", "backslashreplace"))), str)


def lines_of(tell: str) -> list[bytes]:
    """Return what a Report in a process of its own prints to stderr."""
    code = f"from pyinit import report\nr = report.Report(verbose=1, events=2)\n{tell}\n"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, check=True)
    return done.stderr.splitlines(keepends=True)


def test_a_line_is_whole_and_one_whatever_it_says() -> None:
    (line,) = lines_of("r.say('a\\nb\\0' + chr(0x1f600) * 5000 + ' why')")
    assert line.startswith(b"pyinit[")
    assert b"..." in line
    assert line.endswith(b" why\n")
    assert len(line) <= select.PIPE_BUF


def test_events_and_words() -> None:
    words, event = lines_of("r.reaped(5, b'a\\xff\"b', 3, None, None, False)")
    assert words.rstrip().endswith(b'reaped orphan 5 (a\\xff"b), exited with 3')
    assert json.loads(event) == {
        "event": "reaped",
        "pid": 5,
        "name": 'a\\xff"b',
        "status": 3,
        "signal": None,
        "user_seconds": None,
        "system_seconds": None,
        "max_rss_bytes": None,
    }


# Runs with all signals blocked, as we do, and prints what came of it.
OUTLET = r"""
import os, signal, sys, time
from pyinit import outlet

signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
outlet._TIMER = 0.5  # a busy machine must not look like a full pipe
KIND, REOPENS = sys.argv[1], sys.argv[2] == "reopens"
if KIND == "pipe":
    reader, writer = os.pipe()
elif KIND == "socket":
    import socket
    ours, theirs = socket.socketpair()
    reader, writer = ours.detach(), theirs.detach()
else:
    reader, writer = os.openpty()
out = outlet.Outlet(writer, lambda count: b"%d lost\n" % count, patience=0.05, reopens=REOPENS)
refused = 0

def write(line, **how):
    global refused
    done = out.write(line, **how)
    refused += not done
    return done

def fill():
    while write(b"line\n"):
        pass

def drain(size=1 << 20):
    os.set_blocking(reader, False)
    held = b""
    try:
        while part := os.read(reader, size):
            held += part
    except BlockingIOError:
        pass
    return held.replace(b"\r\n", b"\n")

"""

KINDS = ["pipe", "socket", "terminal"]
WAYS = ["reopens", "as it is"]


def outlet(kind: str, way: str, rest: str) -> list[str]:
    """Return the lines that come of `rest` after OUTLET, in a process of its own."""
    argv = [sys.executable, "-c", OUTLET + rest, kind, way]
    return subprocess.run(
        argv, stdout=subprocess.PIPE, text=True, check=True, timeout=60
    ).stdout.splitlines()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_nobody_is_waited_for_and_what_was_dropped_is_told(kind: str, way: str) -> None:
    rest = r"""
fill()
for _ in range(9):
    write(b"line\n")
while write(b"line\n", waits=True):
    fill()  # the kernel may only now have made room, taking what was written to the other end
whole = drain()
out._truce_ends = 0
print(write(b"more\n"))
whole += drain()
words = whole.split(b"\n")
print(set(words) - {b"line", b"more", b"", *(word for word in words if word.endswith(b" lost"))})
told = sum(int(word.split()[0]) for word in words if word.endswith(b" lost"))
print(told == refused, os.get_blocking(writer), signal.sigpending())
"""
    more, others, last = outlet(kind, way, rest)
    assert (more, others) == ("True", "set()")
    assert last == "True True set()"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_that_is_gone_leaves_no_signal(kind: str, way: str) -> None:
    rest = "os.close(reader); print(out.write(b'line'), signal.sigpending())"
    assert outlet(kind, way, rest) == ["False set()"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_descriptor_outlives_it(kind: str) -> None:
    """Standard error may be a socket, and isn't ours to close."""
    assert outlet(kind, "reopens", "del out; print(os.write(writer, b'line'))") == ["4"]


def test_a_signal_that_others_sent_is_left() -> None:
    rest = """
os.close(reader)
os.kill(os.getpid(), signal.SIGPIPE)
print(out.write(b"line"), signal.sigpending())
"""
    (pending,) = outlet("pipe", "reopens", rest)
    assert "SIGPIPE" in pending


def test_an_alarm_of_others_is_left_whenever_it_comes() -> None:
    """The timer that bounds a write where nothing else does takes the same signal."""
    rest = r"""
signal.setitimer(signal.ITIMER_REAL, 5000, 7)
fill()
timer = signal.getitimer(signal.ITIMER_REAL)[1]
print(signal.sigpending(), signal.getsignal(signal.SIGALRM), timer)
outlet._TIMER = 1000
us = os.getpid()
if os.fork() == 0:
    while open(f"/proc/{us}/stat").read().rpartition(")")[2].split()[0] != "S":
        os.sched_yield()
    os.kill(us, signal.SIGALRM)
    os._exit(0)
out._truce_ends = 0
print(out.write(b"line\n"))
print(signal.sigpending() & {signal.SIGALRM})
drain()
print(out.write(b"line\n"))
"""
    first, written, pending, again = outlet("pipe", "as it is", rest)
    assert first == "set() 0 7.0"
    assert (written, again) == ("False", "False")
    assert "SIGALRM" in pending


def test_a_timer_that_ran_out_before_the_write_began_drops_nothing() -> None:
    """As on a busy host, where others have the processor meanwhile: there's room all the same."""
    rest = r"""
outlet._TIMER = 0.01
late, real = [1, 2, 3], outlet._signal.pthread_sigmask
def unblock_late(how, numbers):
    if how == signal.SIG_UNBLOCK and late:
        late.pop()
        while signal.SIGALRM not in signal.sigpending():
            os.sched_yield()
    return real(how, numbers)
outlet._signal.pthread_sigmask = unblock_late
print(out.write(b"line\n"), late, drain())
"""
    assert outlet("pipe", "as it is", rest) == ["True [] b'line\\n'"]


def test_a_pipe_that_is_only_for_reading_is_not_written_to() -> None:
    rest = r"""
back = outlet.Outlet(reader, lambda count: b"")
print(back.write(b"line\n"), drain())
"""
    assert outlet("pipe", "reopens", rest) == ["False b''"]
