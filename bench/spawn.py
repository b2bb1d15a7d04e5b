"""Starts programs, as PID 1 of a new namespace or not, so that only the program is timed.

`posix_spawn` is vfork and exec in libc: nothing of this interpreter is copied. The namespace is
unshared before the clock starts, and is left again only before the next program is started.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import FileIO
from types import FrameType

from bench import linux
from bench.nest import Nest

STUCK_AFTER = 60.0
"""Seconds after which a trial counts as stuck: a safety net."""

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}
_HIGH = 100
"""Our own descriptors lie from here on."""


class TrialFailed(Exception):  # noqa: N818  an outcome of a trial, reported by name
    """A program did not do what it was started for."""


class Child:
    """A started program: its pid, and the moments (seconds, monotonic) of start, exec and end."""

    def __init__(self, pid: int, started: float) -> None:
        self.pid = pid
        self.started = started
        self.executed = time.perf_counter()
        self.ended = 0.0
        self.status: int | None = None

    def wait(self) -> int:
        """Wait for the end; returns the exit status, or minus the signal's number."""
        if self.status is None:
            _, status = os.waitpid(self.pid, 0)
            self.ended = time.perf_counter()
            self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def send(self, number: int) -> None:
        """Send a signal, unless the end has been seen."""
        if self.status is None:
            os.kill(self.pid, number)

    @property
    def milliseconds(self) -> float:
        """The time from the start to the end."""
        return (self.ended - self.started) * 1e3


class Spawner:
    """Starts programs with the same bare environment, and ends those that are left."""

    def __init__(self, nest: Nest) -> None:
        self.can_pid1 = nest.denied is None
        self._errors = nest.scratch / "stderr"
        self._stderr = _out_of_the_way(
            os.open(self._errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        )
        self._null = _out_of_the_way(os.open(os.devnull, os.O_RDWR))
        self._own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._away = False

    def spawn(
        self, argv: Sequence[str], *, pid1: bool = False, fds: Mapping[int, FileIO] | None = None
    ) -> Child:
        """Start `argv`; `fds` maps its descriptors to ours, 0 to 2 go to /dev/null and a file."""
        os.ftruncate(self._stderr, 0)
        if self._away:
            linux.setns(self._own_pid_namespace, linux.CLONE_NEWPID)
            self._away = False
        if pid1:
            linux.unshare(linux.CLONE_NEWPID)
            self._away = True
        wiring = {0: self._null, 1: self._null, 2: self._stderr}
        wiring |= {theirs: ours.fileno() for theirs, ours in (fds or {}).items()}
        actions = [(os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in wiring.items()]
        started = time.perf_counter()
        try:
            pid = os.posix_spawn(
                argv[0],
                tuple(argv),
                _ENVIRONMENT,
                file_actions=actions,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )
        except OSError as error:
            raise TrialFailed(str(error)) from error
        return Child(pid, started)

    @contextmanager
    def running(
        self, argv: Sequence[str], *, pid1: bool = False, fds: Mapping[int, FileIO] | None = None
    ) -> Iterator[Child]:
        """Start `argv`, and kill and reap it at the end of the block."""
        child = self.spawn(argv, pid1=pid1, fds=fds)
        try:
            yield child
        finally:
            child.send(signal.SIGKILL)
            child.wait()

    def hear(self, reader: FileIO) -> None:
        """Wait for a workload's word; raises TrialFailed at the end of file."""
        if not reader.read(1):
            raise TrialFailed(f"the workload ended: {self.complaint()}")

    def complaint(self) -> str:
        """Return the last line that the last program wrote to its stderr."""
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no message"

    def reap_strangers(self) -> None:
        """Reap what programs left to us; call it only while none of ours is running."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


@contextmanager
def pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """Make a pipe (read end, write end) and close what is open of it at the end of the block."""
    reader, writer = (
        FileIO(_out_of_the_way(fd), mode) for fd, mode in zip(os.pipe(), "rw", strict=True)
    )
    with reader, writer:
        yield reader, writer


def _out_of_the_way(fd: int) -> int:
    """Move a descriptor above those that a started program is given, which would overwrite it."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    os.close(fd)
    return moved


@contextmanager
def safety_net(seconds: float = STUCK_AFTER) -> Iterator[None]:
    """Raise TrialFailed in the block after `seconds`."""

    def stuck(_number: int, _frame: FrameType | None) -> None:
        raise TrialFailed(f"stuck for {seconds:.0f} s")

    signal.signal(signal.SIGALRM, stuck)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
