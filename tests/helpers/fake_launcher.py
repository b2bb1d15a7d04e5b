"""A stand-in for `pyspawn` behind the API: it speaks the same protocol and does as a test says."""

from __future__ import annotations

import sys

import pytest

from spawner import lean

_PRELUDE = """
import json, os, select, signal, sys
split = sys.argv.index("--")
options = dict(word[2:].partition("=")[::2] for word in sys.argv[1:split])
program = sys.argv[split + 1:]
lifeline, report = int(options["lifeline"]), int(options["json-status"])

def tell(data):
    os.write(report, data)

def say(event, **fields):
    tell(json.dumps({"event": event, **fields}).encode() + b"\\n")

def created(pid=0):
    say("created", host_pid=pid or os.getpid(), namespaces={"pid": 4026531836})

def started(pid=0):
    created(pid)
    say("started")

def exited(status, signal=None):
    say("exited", status=status, signal=signal)

def until_cut():
    # Returns what came: a byte from kill(), nothing from an end of file.
    select.select([lifeline], [], [])
    return os.read(lifeline, 64)

"""

PATIENT = "started(); until_cut(); exited(137, 'SIGKILL')"
"""Code of a launcher whose program runs until it is killed."""

COUNTER = """
started()
os.write(1, b"one "); os.write(2, b"un ")
data = b""
while select.select([0, lifeline], [], [])[0] == [0]:
    block = os.read(0, 65536)
    data += block
    if not block:
        break
os.write(1, b"%d" % len(data)); os.write(2, b"deux")
exited(0)
"""
"""Code of a launcher whose program counts its input, and writes to both of its streams."""


def launcher(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have the API start a launcher that runs `code`."""
    argv = [sys.executable, "-I", "-S", "-c", _PRELUDE + code]
    monkeypatch.setattr(lean, "pyspawn", lambda: argv)
