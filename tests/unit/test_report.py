"""Lines for people and programs: whole, valid, and never waited for."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyinit import jsontext, report


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


@pytest.mark.parametrize("state", ["full", "broken", "closed"])
def test_nobody_is_waited_for(state: str) -> None:
    reader, writer = os.pipe()
    try:
        if state == "full":
            os.set_blocking(writer, False)
            while select.select([], [writer], [], 0)[1]:
                os.write(writer, b"x" * 4096)
            os.set_blocking(writer, True)
        if state == "broken":
            os.close(reader)
        if state == "closed":
            os.close(writer)
        report._write(writer, b"line\n")  # returns; the safety net is the test's time-out
    finally:
        for fd in (reader, writer):
            if (state, fd) not in (("broken", reader), ("closed", writer)):
                os.close(fd)
