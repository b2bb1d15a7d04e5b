"""Namespaces that a process holds, and what a program says that has joined them."""

from __future__ import annotations

import os

from helpers import children
from helpers.capabilities import require
from helpers.containers import ROOT
from helpers.pyspawn import FILES, LINKS, pyspawn
from helpers.running import Running

SHOW = ("--", "/bin/sh", "-c", LINKS)

USERS = () if ROOT else ("--user",)
"""What gives the right to make other namespaces."""


def links(pid: int | str) -> list[str]:
    return [os.readlink(f"/proc/{pid}/ns/{file}") for file in FILES.values()]


def expected(pid: int, *kinds: str) -> list[str]:
    """Return our own namespaces, but for these of another process."""
    return [
        its if kind in kinds else own
        for kind, own, its in zip(FILES, links("self"), links(pid), strict=True)
    ]


def holder(*words: str) -> Running:
    """Start a container that says when it's ready, and ends with its input."""
    require("pidns")
    program = ("--", "/bin/sh", "-c", "echo ready; exec cat")
    return Running(pyspawn("--share=all", *USERS, *words, *program))


def program_of(running: Running) -> int:
    assert running.line() == "ready", running.errors()
    return children.below(running.starter)[-1]
