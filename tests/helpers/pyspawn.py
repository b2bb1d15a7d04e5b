"""Start pyspawn in each shape of container; run it to its end."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from helpers.programs import Word
from helpers.running import Ended, Running, run
from spawner import lean
from spawner.spec import NAMESPACES

ROOT = os.geteuid() == 0
FILES = {kind: {"mount": "mnt"}.get(kind, kind) for kind in NAMESPACES}
DEFAULTS = {"pid", "mount", "ipc", "uts", "cgroup"} | (set() if ROOT else {"user"})

# Whoever isn't root needs the user namespace to make any other.
ALONE = [] if ROOT else ["--user"]

SHAPES: dict[str, list[str]] = {
    "program": [],
    "pyinit": ["--init"],
    "keeper": ["--share=pid"],
    "keeper and pyinit": ["--share=pid", "--init"],
    "user": ["--user"],
    "user and pyinit": ["--user", "--init"],
}
"""Each way of making a container."""

# A program that is PID 1 itself isn't ended by a signal that it has no handler for,
# pid_namespaces(7).
USUAL = {name: options for name, options in SHAPES.items() if name not in ("program", "user")}

each_shape = pytest.mark.parametrize("options", SHAPES.values(), ids=list(SHAPES))
usual_shape = pytest.mark.parametrize("options", USUAL.values(), ids=list(USUAL))


def pyspawn(*words: Word) -> list[Word]:
    return [*lean.pyspawn(), *words]


def spawn(*words: Word, **how: Any) -> Ended:
    """Run pyspawn to its end, and to that of everything that holds its standard output."""
    return run(pyspawn(*words), **how)


def sh(script: str, *options: Word, **how: Any) -> Ended:
    return spawn(*options, "--", "/bin/sh", "-c", script, **how)


def said(ended: Ended) -> list[str]:
    """Return the lines on standard error."""
    return ended.errors.splitlines()


def refusal(errors: str) -> tuple[str, str]:
    """Return the message and the hint, after checking that there is one line of each."""
    message, hint = errors.splitlines()
    assert message.startswith("pyspawn: ")
    assert hint.startswith("hint: ")
    return message.removeprefix("pyspawn: "), hint.removeprefix("hint: ")


def refused(ended: Ended) -> tuple[str, str]:
    """Return the message and the hint of a run that failed before the program was there."""
    assert (ended.status, ended.out) == (125, b""), ended
    return refusal(ended.errors)


def hint_in(errors: str, message: str) -> str:
    """Return the hint, after checking that it follows this message, and nothing else does."""
    said, hint = refusal(errors)
    assert said == message
    return hint


def hint_of(ended: Ended, message: str) -> str:
    """Return the hint of a run that failed with this message before the program was there."""
    assert (ended.status, ended.out) == (125, b""), ended
    return hint_in(ended.errors, message)


LINKS = "cd /proc/self/ns && for kind in " + " ".join(FILES.values()) + "; do readlink $kind; done"


def new_ones(ended: Ended) -> set[str]:
    """Return the kinds of namespaces that are not ours, from the output of LINKS."""
    assert ended.status == 0, ended
    links = ended.out.decode().split()
    ours = [os.readlink(f"/proc/self/ns/{file}") for file in FILES.values()]
    return {kind for kind, a, b in zip(FILES, links, ours, strict=True) if a != b}


def status_of(*words: Word, **how: Any) -> tuple[Ended, list[dict[str, Any]]]:
    """Run pyspawn with a --json-status; return how it ended and what it told there."""
    reader, writer = os.pipe()
    with Running(pyspawn(f"--json-status={writer}", *words), pass_fds=[writer], **how) as running:
        os.close(writer)
        with open(reader) as told:
            events = [json.loads(line) for line in told]
        running.close_input()
        out = running.out.rest()
        return Ended(running.wait(), out, running.errors()), events
