"""A tree of processes that can't be talked out of it, and that shows when it has ended."""

from __future__ import annotations

import os
import sys
from typing import Any

from helpers.running import Lines
from spawner import Process

# Three daemons, and the program itself. None of them can be talked out of it, all hold the pipe.
STUBBORN = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
out = int(sys.argv[1])
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.write(out, b"ready\\n")
        signal.pause()
os.write(out, b"ready\\n")
signal.pause()
"""


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code, *arguments]


class Tree:
    """A pipe that every process of a stubborn tree holds: its end of file is the tree's end."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.args = python(STUBBORN, str(self.writer))
        self.options: dict[str, Any] = {"pass_fds": [self.writer]}
        self.lines = Lines(self.reader)

    def start(self, **options: Any) -> Process[bytes]:
        """Start it, and return when all of its processes are there."""
        process = Process(self.args, **self.options, **options)
        self.started()
        return process

    def started(self) -> None:
        os.close(self.writer)
        self.writer = -1
        for _ in range(4):
            assert self.lines.next() == "ready"

    def is_gone(self) -> bool:
        """Tell whether it has ended, without waiting for it."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1
        os.set_blocking(self.reader, False)
        try:
            while os.read(self.reader, 4096):
                pass
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        os.close(self.reader)
        if self.writer >= 0:
            os.close(self.writer)
