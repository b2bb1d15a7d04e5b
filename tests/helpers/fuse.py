"""A file system in a program that stops answering, fuse(4): who asks it then waits in state D."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.capabilities import require
from helpers.programs import python
from helpers.running import Running

_libc = ctypes.CDLL(None, use_errno=True)

# linux/fuse.h: the operations that somebody asks for who only looks.
_LOOKUP, _GETATTR, _INIT, _OPENDIR = 1, 3, 26, 27
_UNANSWERED = (2, 36, 42)
"""FORGET, INTERRUPT and BATCH_FORGET."""

_HEADER = struct.Struct("<IIQQIIII")
_ANSWER = struct.Struct("<IiQ")


class Target:
    """A process in a mount namespace with such a file system at `place`."""

    def __init__(self, running: Running, place: Path, pid: int) -> None:
        self._running = running
        self.place = place
        self.pid = pid

    def hang(self) -> None:
        """Have the file system answer no more."""
        self._running.close_input()
        assert self._running.line() == "hangs"

    def end(self) -> None:
        """End it: whoever waits for it goes on."""
        os.kill(self._running.pid, signal.SIGKILL)


@contextmanager
def target(place: Path, where: str) -> Iterator[Target]:
    """Yield a target that has its root or its working directory (`where`) there.

    In the end the file system goes, and whoever waits for it goes on.
    """
    require("root", "fuse")
    code = f"import sys; sys.path[:0] = {sys.path!r}; from helpers import fuse; fuse.main()"
    with Running(python(code, str(place), where)) as running:
        line = running.line()
        assert line.startswith("ready "), (line, running.errors())
        yield Target(running, place, int(line.split()[1]))


def main() -> None:
    """Be the file system, until killed; the target is a child of it."""
    place, where = sys.argv[1:]
    _check(_libc.unshare(0x20000))  # CLONE_NEWNS
    _check(_libc.mount(None, b"/", None, ctypes.c_ulong(0x4000 | 1 << 18), None))  # private
    asked = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={asked},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    _check(_libc.mount(b"hanging", place.encode(), b"fuse", ctypes.c_ulong(0), options))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(asked)
        _check(_libc.prctl(1, signal.SIGKILL, 0, 0, 0))  # PR_SET_PDEATHSIG
        _be_target(place, where)
        os.write(writer, b".")
        signal.pause()
    _serve(asked, reader, b"ready %d\n" % pid)


def _check(result: int) -> None:
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _be_target(place: str, where: str) -> None:
    """Have something of this process in the file system."""
    if where in ("root", "directory"):
        os.chdir(place)
    if where == "root":
        os.chroot(".")


def _serve(asked: int, reader: int, ready: bytes) -> None:
    """Answer until standard input ends; from then on only take what is asked."""
    answers = True
    poll = select.poll()
    for descriptor in (asked, reader, 0):
        poll.register(descriptor, select.POLLIN)
    while True:
        now = {descriptor for descriptor, _ in poll.poll()}
        if reader in now:
            poll.unregister(reader)
            os.write(1, ready)
        if 0 in now and not os.read(0, 64):
            answers = False
            poll.unregister(0)
            os.write(1, b"hangs\n")
        if asked in now:
            _, operation, unique, node, *_ = _HEADER.unpack_from(os.read(asked, 1 << 20))
            if answers and operation not in _UNANSWERED:
                number, data = _answer(operation, node)
                os.write(asked, _ANSWER.pack(_ANSWER.size + len(data), -number, unique) + data)


def _answer(operation: int, node: int) -> tuple[int, bytes]:
    """Return the errno and the data that an operation is answered with."""
    if operation == _INIT:
        return 0, struct.pack("<IIIIHHII", 7, 31, 0, 0, 1, 1, 4096, 1).ljust(64, b"\0")
    if operation == _GETATTR:  # good for no time at all
        return 0, struct.pack("<QII", 0, 0, 0) + _attributes(node)
    if operation == _LOOKUP:
        return 0, struct.pack("<QQQQII", node + 1, 1, 0, 0, 0, 0) + _attributes(node + 1)
    if operation == _OPENDIR:
        return 0, struct.pack("<QII", 1, 0, 0)
    return errno.ENOSYS, b""


def _attributes(node: int) -> bytes:
    """Return a struct fuse_attr of a directory that everybody may enter."""
    return struct.pack("<QQQQQQ10I", node, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 1, 0, 0, 0, 4096, 0)
