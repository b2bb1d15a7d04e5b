"""Say how a process treats signals, and what would become of some (`pyspawn signals PID`)."""

from __future__ import annotations

import _signal
import errno
import json
from typing import TYPE_CHECKING

from pyinit import cmdline, errno_text, signames
from spawner.command import output
from spawner.errors import SyscallError
from spawner.host import proc, signals
from spawner.why.evidence import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from spawner.host.signals import Process, Thread

_NAME = "signals"

ASKED = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGCHLD)
"""The signals by which programs are ended, and that of a child's end."""

TABLE = (
    cmdline.Option("json", help="Print a JSON object instead of the text."),
    cmdline.Option("help", "h", help="Show this help and exit."),
)

_USAGE = """\
Usage: pyspawn signals [OPTIONS] PID [SIGNAL...]

Say what would become of SIGTERM, SIGINT, SIGHUP and SIGCHLD, or of each SIGNAL, if it were sent to
a process; and which signals the process ignores, catches, blocks and has pending. Nothing is
sent."""

_FOOTER = "Exit status: 0; 125 bad usage or no answer."

_WORDS = {
    signals.DROPPED: "would be dropped",
    signals.CAUGHT: "would be caught",
    signals.TAKEN: "would be taken",
    signals.WAITS: "would stay pending",
    signals.ENDS: "would end it",
    signals.STOPS: "would stop it",
    signals.CONTINUES: "would continue it",
}

_UNCATCHABLE = (_signal.SIGKILL, _signal.SIGSTOP)
"""No process can block, ignore or catch these."""

_STATES = {"T": "stopped", "t": "stopped by its tracer", "Z": "a zombie", "X": "dead"}


def main(arguments: list[str]) -> int:
    """Print how a process treats signals; return the exit status."""
    try:
        values, words = cmdline.parse(TABLE, arguments)
        if "help" in values:
            output.write(1, cmdline.help_text(TABLE, _USAGE, _FOOTER))
            return 0
        pid = output.pid(_first(words))
        asked = [_number(word) for word in words[1:]] or list(ASKED)
        found = signals.look(pid)
    except cmdline.UsageError as error:
        return output.fail(_NAME, str(error), error.hint or "see `pyspawn signals --help`")
    except SyscallError as error:
        return _unseen(words[0], error)
    text = _as_json(found, asked) if "json" in values else "".join(_as_text(found, asked))
    output.write(1, text)
    return 0


def _first(words: list[str]) -> str:
    """Return the first word; raises UsageError."""
    if not words:
        raise cmdline.UsageError("the PID of a process is missing")
    return words[0]


def _number(word: str) -> int:
    """Return the number of a signal; raises UsageError."""
    try:
        return signames.number(word)
    except ValueError as error:
        raise cmdline.UsageError(str(error)) from None


def _unseen(pid: str, error: SyscallError) -> int:
    """Say why a process can't be looked at; return the exit status."""
    if error.errno in (errno.ENOENT, errno.ESRCH):
        if _has_proc():
            return output.fail(_NAME, f"there is no process {pid}", None)
        hint = "reading processes requires a proc file system: mount -t proc proc /proc"
        return output.fail(_NAME, f"{error.path}: {errno_text(error.errno or 0)}", hint)
    return output.fail(_NAME, f"{error.path}: {errno_text(error.errno or 0)}", "try it as root")


def _has_proc() -> bool:
    try:
        proc.read("/proc/self/stat")
    except SyscallError:
        return False
    return True


def _as_text(found: Process, asked: list[int]) -> Iterator[str]:
    """Yield the lines about a process: what it is, what would become of signals, what it does."""
    yield f"{shown(found.name)} ({found.pid}){_place(found)}\n"
    yield "\n"
    for number, (what, why) in ((each, found.fate(each)) for each in asked):
        yield f"{signames.name(number)} {_WORDS[what]}: {why}\n"
    if unseen := _unseen_parts(found):
        yield f"{unseen} can't be seen by this user: the process may take more signals than is "
        "said here\n"
    yield "\n"
    yield _line("ignores", found.ignored)
    yield _line("catches", found.caught)
    if found.by_descriptor:
        yield _line("reads from a signalfd", found.by_descriptor)
    yield _line("has pending", found.pending)
    for thread in found.threads:
        yield from _of_thread(thread, alone=len(found.threads) == 1)


def _place(found: Process) -> str:
    """Return what is special about a process, for the end of the first line."""
    words = []
    if found.init:
        words.append("process 1 of its PID namespace")
    if found.state in _STATES:
        words.append(_STATES[found.state])
    if found.tracer:
        words.append(f"traced by {found.tracer}, which sees each signal first")
    return "".join(f", {word}" for word in words)


def _unseen_parts(found: Process) -> str:
    """Return what can't be seen of a process, in words; "" if nothing is hidden."""
    parts = []
    if any(thread.waits_for is None for thread in found.threads):
        parts.append("what its threads wait for in sigwait(3)")
    if found.by_descriptor is None:
        parts.append("its signalfds")
    return " and ".join(parts)


def _of_thread(thread: Thread, *, alone: bool) -> Iterator[str]:
    """Yield the lines about a thread; one that is `alone` needs no name."""
    whose = "" if alone else f"thread {thread.tid} ({shown(thread.name)}) "
    yield _line(f"{whose}blocks", thread.blocked)
    if thread.waits_for:
        yield _line(f"{whose}waits for", thread.waits_for)
    if thread.pending:
        yield _line(f"{whose}has pending for itself", thread.pending)


def _line(what: str, numbers: Iterable[int]) -> str:
    return f"{what}: {_names(numbers)}\n"


def _names(numbers: Iterable[int]) -> str:
    """Return the names of signals, with `all` or `all but ...` where that is shorter."""
    found = sorted(numbers)
    # The C library keeps these to itself, nptl(7).
    every = sorted(_signal.valid_signals())
    left = [number for number in every if number not in found]
    if len(left) < len(found) // 2:
        names = [signames.name(each) for each in left if each not in _UNCATCHABLE]
        return f"all but {' '.join(names)}" if names else "all"
    return " ".join(map(signames.name, found)) or "none"


def _as_json(found: Process, asked: list[int]) -> str:
    fates = {signames.name(each): found.fate(each)._asdict() for each in asked}
    whole: dict[str, Any] = {
        "pid": found.pid,
        "name": found.name,
        "state": found.state,
        "init": found.init,
        "tracer": found.tracer,
        "would": fates,
        "ignored": _listed(found.ignored),
        "caught": _listed(found.caught),
        "pending": _listed(found.pending),
        "by_descriptor": _listed(found.by_descriptor),
        "threads": [
            {
                "tid": thread.tid,
                "name": thread.name,
                "blocked": _listed(thread.blocked),
                "pending": _listed(thread.pending),
                "waits_for": _listed(thread.waits_for),
            }
            for thread in found.threads
        ],
    }
    return json.dumps(whole, indent=2) + "\n"


def _listed(numbers: Iterable[int] | None) -> list[str] | None:
    return None if numbers is None else [signames.name(number) for number in sorted(numbers)]
