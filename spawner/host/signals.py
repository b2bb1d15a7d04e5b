"""How a process treats signals, and what becomes of one that it is sent, by what /proc shows.

The rules are those of signal(7), kill(2) and pid_namespaces(7), and of prepare_signal and
get_signal in the kernel's kernel/signal.c.
"""

from __future__ import annotations

import errno
import posix
from dataclasses import dataclass
from signal import Signals
from typing import TYPE_CHECKING, NamedTuple

from spawner.errors import SyscallError
from spawner.host import proc, waits

if TYPE_CHECKING:
    from collections.abc import Iterator

DROPPED = "dropped"
CAUGHT = "caught"
TAKEN = "taken"
WAITS = "waits"
ENDS = "ends it"
STOPS = "stops it"
CONTINUES = "continues it"
"""What becomes of a signal: nothing, a handler runs, the program takes it when it likes, it stays
pending, or the default action."""

_NEVER_CAUGHT = frozenset((Signals.SIGKILL, Signals.SIGSTOP))

_DEFAULTS: dict[int, str] = {
    **dict.fromkeys((Signals.SIGCHLD, Signals.SIGURG, Signals.SIGWINCH), DROPPED),
    **dict.fromkeys((Signals.SIGSTOP, Signals.SIGTSTP, Signals.SIGTTIN, Signals.SIGTTOU), STOPS),
    Signals.SIGCONT: CONTINUES,
}
"""The default actions that don't end a process, signal(7)."""


class Fate(NamedTuple):
    """What becomes of a signal, and why, as the end of a sentence."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread: the signals that it blocks, has pending for itself, and waits for in sigwait(3).

    `waits_for` is None where it can't be seen, which takes the right to trace the process.
    """

    tid: int
    name: str
    blocked: frozenset[int]
    pending: frozenset[int]
    waits_for: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class Process:
    """A process, and how it treats signals.

    `state` is the letter of proc_pid_stat(5); `init` says that it is process 1 of a PID namespace,
    and `tracer` is the process that traces it, 0 for none. `by_descriptor` are the signals that it
    can read from a signalfd(2), None where that can't be seen.
    """

    pid: int
    name: str
    state: str
    init: bool
    tracer: int
    ignored: frozenset[int]
    caught: frozenset[int]
    pending: frozenset[int]
    by_descriptor: frozenset[int] | None
    threads: tuple[Thread, ...]

    @property
    def blocked(self) -> frozenset[int]:
        """The signals that every thread blocks."""
        blocked = [thread.blocked for thread in self.threads]
        return frozenset.intersection(*blocked) if blocked else frozenset()

    def awaits(self, number: int) -> bool:
        """Tell whether a thread waits for a signal right now, sigwait(3)."""
        return any(number in (thread.waits_for or ()) for thread in self.threads)

    def fate(self, number: int) -> Fate:
        """Return what becomes of a signal that is sent to the process as a whole, kill(2)."""
        if self.state in ("Z", "X"):
            return Fate(DROPPED, "the process is a zombie, which only waits to be reaped")
        if number in _NEVER_CAUGHT:
            return self._forced(number)
        if self.awaits(number):
            return Fate(TAKEN, "a thread waits for it in sigwait(3)")
        if number in self.blocked:
            if number in (self.by_descriptor or ()):
                return Fate(TAKEN, "the process blocks the signal, and reads it from a signalfd(2)")
            return Fate(WAITS, "every thread blocks it")
        return self._acts(number)

    def _forced(self, number: int) -> Fate:
        """Return what becomes of a signal that can't be caught."""
        what = ENDS if number == Signals.SIGKILL else STOPS
        if self.init:
            return Fate(what, "but only from outside: it is process 1 of its PID namespace")
        return Fate(what, "no process can catch it")

    def _acts(self, number: int) -> Fate:
        """Return what becomes of a signal that a thread doesn't block."""
        if number in self.ignored:
            if number == Signals.SIGCHLD:
                return Fate(DROPPED, "the process ignores it: the kernel reaps its children")
            return Fate(DROPPED, "the process ignores it")
        if number in self.caught:
            return Fate(CAUGHT, "the process has a handler")
        default = _DEFAULTS.get(number, ENDS)
        if default == DROPPED:
            return Fate(DROPPED, "that is the default: the process has no handler")
        if self.init and default != CONTINUES:
            return Fate(DROPPED, "the process is PID 1 of its namespace and has no handler")
        if self.state == "T" and default == ENDS:
            return Fate(WAITS, "the process is stopped: it would end once it is continued")
        return Fate(default, "that is the default: the process has no handler")


def look(pid: int) -> Process:
    """Return how a process treats signals.

    Raises SyscallError with ENOENT or ESRCH where there is no such process, or no /proc.
    """
    status = proc.fields(proc.text(f"/proc/{pid}/status"))
    return Process(
        pid=pid,
        name=status.get("Name", "?"),
        state=status.get("State", "?")[:1],
        # The last number is the pid in the innermost namespace, proc_pid_status(5).
        init=status.get("NSpid", str(pid)).split()[-1:] == ["1"],
        tracer=int(status.get("TracerPid", "0")),
        ignored=_signals(status.get("SigIgn", "0")),
        caught=_signals(status.get("SigCgt", "0")),
        pending=_signals(status.get("ShdPnd", "0")),
        by_descriptor=_by_descriptor(pid),
        threads=tuple(_threads(pid)),
    )


def _threads(pid: int) -> Iterator[Thread]:
    """Yield the threads of a process, those that end meanwhile left out."""
    for name in sorted(_list(f"/proc/{pid}/task"), key=int):
        try:
            status = proc.fields(proc.text(f"/proc/{pid}/task/{name}/status"))
        except SyscallError as error:
            if error.errno in (errno.ENOENT, errno.ESRCH):
                continue
            raise
        yield Thread(
            tid=int(name),
            name=status.get("Name", "?"),
            blocked=_signals(status.get("SigBlk", "0")),
            pending=_signals(status.get("SigPnd", "0")),
            waits_for=_awaited(pid, int(name)),
        )


def _awaited(pid: int, thread: int) -> frozenset[int] | None:
    try:
        return _of_bits(waits.awaited(pid, thread))
    except (OSError, ValueError, IndexError):  # denied, or gone, or this kernel doesn't tell
        return None


def _by_descriptor(pid: int) -> frozenset[int] | None:
    """Return the signals that a process can read from its signalfds, proc_pid_fdinfo(5)."""
    found: frozenset[int] = frozenset()
    try:
        for name in posix.listdir(f"/proc/{pid}/fdinfo"):
            fields = proc.fields(proc.text(f"/proc/{pid}/fdinfo/{name}"))
            found |= _signals(fields.get("sigmask", "0"))
    except OSError:  # denied, or gone
        return None
    return found


def _list(path: str) -> list[str]:
    try:
        return posix.listdir(path)
    except OSError as error:
        raise SyscallError("openat", error.errno or 0, path) from None


def _signals(word: str) -> frozenset[int]:
    """Return the signals in a hexadecimal field of proc_pid_status(5)."""
    return _of_bits(int(word, 16))


def _of_bits(bits: int) -> frozenset[int]:
    return frozenset(number for number in range(1, 65) if bits >> (number - 1) & 1)
