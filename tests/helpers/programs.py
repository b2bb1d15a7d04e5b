"""Argument vectors: of pyinit, of lean Python workloads, and of what stands in front of them.

Everything here only builds lists; `running` starts them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pyinit as package

Word = str | bytes

PLACE = str(Path(str(package.__file__)).resolve().parent.parent)
"""The directory that holds the packages under test: the checkout, or an environment's."""


def python(code: str, *arguments: Word) -> list[Word]:
    """Return the argv of a lean interpreter that runs `code`."""
    return [sys.executable, "-I", "-S", "-c", code, *arguments]


def pyinit(*arguments: Word) -> list[Word]:
    """Return the argv of pyinit, as the spawner starts it."""
    return pyinit_at(PLACE, *arguments)


def pyinit_at(place: str, *arguments: Word) -> list[Word]:
    """Return the argv of the pyinit that lies in the directory `place`."""
    return _lean(f"sys.path[:0]=[{place!r}]", *arguments)


def pyinit_without(modules: Sequence[str], *arguments: Word) -> list[Word]:
    """Return the argv of pyinit on an interpreter that comes without some of its modules."""
    missing = f"sys.modules.update(dict.fromkeys({list(modules)!r}))"
    return _lean(f"sys.path[:0]=[{PLACE!r}];{missing}", *arguments)


def _lean(prepare: str, *arguments: Word) -> list[Word]:
    start = f"import sys;{prepare};import pyinit.__main__"
    return [sys.executable, "-I", "-S", "-X", "utf8", "-c", start, *arguments]


RESERVED = 1 << 31 | 1 << 32
"""Signals 32 and 33 in a mask of ignored signals.

They are glibc's own, nptl(7). Its posix_spawn, which make(1) uses, leaves them ignored in what it
starts, and nobody else can change that.
"""


def prepared(code: str, argv: Sequence[Word]) -> list[Word]:
    """Return the argv of a process that runs `code`, then becomes `argv` (absolute path first).

    The code finds `ctypes`, `os`, `resource`, `signal` and `sys` imported, the signal state that
    the interpreter found on its start restored, and `argv` as a list of bytes.
    """
    return python(_PREPARE + code + "\nos.execv(argv[0], argv)\n", *argv)


# An interpreter ignores SIGPIPE and SIGXFSZ by itself; what it execs must not notice.
_PREPARE = """
import ctypes, os, resource, signal, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
argv = [os.fsencode(word) for word in sys.argv[1:]]
"""

MOUNTING = """
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def mount(source, target, kind=None, flags=0):
    words = [word and os.fsencode(word) for word in (source, target, kind)]
    check(libc.mount(*words, ctypes.c_ulong(flags), None))
"""
"""For `prepared`: `mount`, and a `check` of what a function of the C library returned, mount(2)."""

BLOCK_ALL = "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
"""For `prepared`: block every signal, as a careful spawner does."""

SHORT_QUEUE = "resource.setrlimit(resource.RLIMIT_SIGPENDING, (1000, 1000))\n"
"""For `prepared`: a flood of signals isn't to fill the queue that a user's processes share."""

READY = "os.write(1, b'starting\\n')\n"
"""For `prepared`: tell on standard output that the exec comes next."""


def as_pid1(argv: Sequence[Word], *flags: str) -> list[Word]:
    """Return the argv that runs `argv` as PID 1 of a namespace with its own /proc.

    It's util-linux's unshare, so that nothing of ours is between a test and pyinit.
    """
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    return ["unshare", *user, "--fork", "--pid", "--mount-proc", *flags, "--", *argv]


# The workloads. Each says "ready" with its pid once it's in the state that its test needs.

REPORTER = """
import _signal, posix, sys
everything = _signal.valid_signals()
_signal.pthread_sigmask(_signal.SIG_BLOCK, everything)
tag = sys.argv[1] if len(sys.argv) > 1 else "reporter"
def say(*words):
    posix.write(1, " ".join(map(str, words)).encode() + b"\\n")
say(tag, "ready", posix.getpid())
while True:
    info = _signal.sigwaitinfo(everything)
    if info.si_signo != _signal.SIGCHLD:
        say(tag, int(info.si_signo), info.si_code, info.si_pid)
"""
"""Blocks every signal and reports each one that comes: `TAG NUMBER SI_CODE SENDER`."""

CATCHER = """
import os, signal, sys
reader, writer = os.pipe()
os.set_blocking(writer, False)
signal.set_wakeup_fd(writer)
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, lambda number, frame: None)
os.write(1, b"catcher ready %d\\n" % os.getpid())
while True:
    for number in os.read(reader, 64):
        os.write(1, b"catcher %d\\n" % number)
"""
"""Has a handler for every signal and reports each one that comes: `catcher NUMBER`."""

FAMILY = """
import _signal, posix, sys
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
reporter = sys.argv[1]
tag = "leader"
for other in ("member", "stranger"):
    if posix.fork() == 0:
        tag = other
        if tag == "stranger":
            posix.setsid()
        break
sys.argv[1:] = [tag]
exec(reporter)
"""
"""Three reporters: the workload, one more in its process group, and one that left the group."""

_ORPHANS = """
import posix, sys
# A short-lived middle process leaves each behind.
for _ in range(int(sys.argv[1])):
    middle = posix.fork()
    if middle == 0:
        posix.fork()
        posix._exit(0)
    posix.waitpid(middle, 0)
posix.write(1, b"made\\n")
posix.read(0, 1)
posix._exit(int(sys.argv[2]))
"""


def orphans(count: int, *, status: int = 0, first: str = "") -> list[Word]:
    """Return the argv of a workload that makes orphans, one after the other.

    It says "made", and ends with `status` when its input does. `first` is code that runs before.
    """
    return python(first + _ORPHANS, str(count), str(status))


def reporter(tag: str = "reporter") -> list[Word]:
    """Return the argv of a process that reports the signals it gets."""
    return python(REPORTER, tag)


def family() -> list[Word]:
    """Return the argv of the workload of three reporters: leader, member, stranger."""
    return python(FAMILY, REPORTER)
