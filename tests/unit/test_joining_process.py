"""Whose pid it is: a process may end or enter other namespaces meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.joins import KINDS, NONE
from helpers.specs import specified

from spawner.caller import Caller
from spawner.errors import SetupError
from spawner.joining import part
from spawner.joining.target import Joins
from spawner.linux import Kernel


class Ending(Kernel):
    """The machine's kernel, on which a process ends while it is looked at."""

    __slots__ = ("_process", "_word")

    def __init__(self, process: subprocess.Popen[bytes], word: str) -> None:
        self._process = process
        self._word = word

    def open(self, path: str, flags: int) -> int:
        if path.endswith(self._word) and self._process.poll() is None:
            self._process.kill()
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return super().open(path, flags)


@pytest.mark.parametrize("word", ["/stat", "/ns/user", "/ns/net", "/root", "/cwd"])
def test_a_process_that_ends_meanwhile(word: str) -> None:
    """Whatever was opened since could be another's, with the same pid."""
    before = sorted(os.listdir("/proc/self/fd"))
    with subprocess.Popen(["sleep", "1000"]) as process:
        joins = Joins(str(process.pid))
        spec = specified(["true"], namespaces=NONE, joins=joins)
        with pytest.raises(SetupError, match=f"join process {process.pid}: the process has ended"):
            part.find(joins, Ending(process, word), spec, Caller(user=0, group=0))
    assert sorted(os.listdir("/proc/self/fd")) == before


class Moving(Kernel):
    """The machine's kernel, on which a process enters namespaces while it is looked at."""

    __slots__ = ("_answers", "_asks", "_word")

    def __init__(self, asks: int, answers: int, word: str) -> None:
        self._asks = asks
        self._answers = answers
        self._word = word

    def open(self, path: str, flags: int) -> int:
        if path.endswith(self._word):
            os.write(self._asks, b"!")
            assert os.read(self._answers, 5) == b"moved"
        return super().open(path, flags)


MOVES = """
import ctypes, os, signal
os.read(0, 1)
assert ctypes.CDLL(None).unshare(0x10000000 | 0x00020000) == 0  # CLONE_NEWUSER, CLONE_NEWNS
os.write(1, b"moved")
signal.pause()
"""


@pytest.mark.parametrize("way", ["pid", "directory", "files"])
def test_a_process_that_enters_namespaces_meanwhile(way: str, tmp_path: Path) -> None:
    """Or it would be joined without the user namespace, and its mounts with our rights."""
    require("userns")
    fifos = []  # with names, since a scout closes other pipes
    for name in ("asks", "answers"):
        os.mkfifo(tmp_path / name)
        fifos.append(os.open(tmp_path / name, os.O_RDWR))
    before = sorted(os.listdir("/proc/self/fd"))
    with subprocess.Popen(
        [sys.executable, "-c", MOVES], stdin=fifos[0], stdout=fifos[1]
    ) as process:
        place = f"/proc/{process.pid}/ns"
        joins = {
            "pid": Joins(str(process.pid)),
            "directory": Joins(place),
            "files": Joins(files={"user": f"{place}/user", "mount": f"{place}/mnt"}),
        }[way]
        spec = specified(["true"], namespaces=NONE, joins=joins)
        try:
            with pytest.raises(
                SetupError,
                match="the process entered other namespaces while pyspawn was opening them",
            ):
                part.find(joins, Moving(*fifos, "/ns/mnt"), spec, Caller(user=0, group=0))
        finally:
            process.kill()
    assert sorted(os.listdir("/proc/self/fd")) == before
    for fifo in fifos:
        os.close(fifo)


def test_what_is_found_is_let_go() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with subprocess.Popen(["sleep", "1000"]) as process:
        joins = Joins(str(process.pid), kinds=KINDS, environment=True)
        spec = specified(["true"], namespaces=NONE, joins=joins)
        with pytest.raises(SetupError, match="pyspawn is already in the namespaces that are named"):
            part.find(joins, Kernel(), spec, Caller(user=0, group=0))
        process.send_signal(signal.SIGKILL)
    assert sorted(os.listdir("/proc/self/fd")) == before
