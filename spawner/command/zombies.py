"""List zombies by the process that isn't reaping them (`pyspawn zombies`).

A zombie is a process that has ended and that nobody has waited for, wait(2): it holds a process
id and a place under `pids.max`, and nothing else. While its parent lives only the parent can reap
it; once the parent is gone that duty falls to the nearest subreaper or to PID 1 of the namespace,
prctl(2). So zombies are listed here by the one process that could do it, with what to do about it.
"""

from __future__ import annotations

import errno
import json
import posix
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

from pyinit import cmdline, errno_text
from spawner.command import output
from spawner.host import proc
from spawner.why.evidence import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

    import psutil

GRACE = 0.1
"""Seconds for which a dead child must stay unreaped before it counts as a zombie.

Each child is a zombie for a moment, between its end and its parent's wait(2).
"""

TABLE = (
    cmdline.Option("json", help="Print a JSON array instead of the table: pid, name, zombies, ..."),
    cmdline.Option(
        "grace",
        metavar="SECONDS",
        convert=cmdline.seconds,
        help=f"How long a dead child may wait for its parent before it is listed ({GRACE}).",
    ),
    cmdline.Option("help", "h", help="Show this help and exit."),
)

_NAME = "zombies"

_USAGE = """\
Usage: pyspawn zombies [OPTIONS] [PID...]

List zombies by the process that isn't reaping them, and say what to do about it; with PIDs, only
those held by these processes and their descendants."""

_FOOTER = (
    "OLDEST is the time since the oldest zombie started: the kernel doesn't record when it "
    "ended.\n\nExit status: 0 there are no zombies, 1 there are, 125 bad usage or no answer."
)


@dataclass(frozen=True, slots=True)
class Zombie:
    """A process that has ended and waits to be reaped.

    `age` is in seconds and counts from its start: the kernel keeps no time of death, proc(5).
    """

    pid: int
    name: str
    age: float


@dataclass(frozen=True, slots=True)
class Parent:
    """A process that has zombies as children, which only it could reap.

    `pid` is 0 for a parent outside of the PID namespace that is looked at, and `name` is None
    where it can't be seen. `init` says that it is PID 1 of a PID namespace; `stopped`, that it was
    stopped by a signal; `tracer`, that it holds them through ptrace(2) and not as their parent.
    """

    pid: int
    name: str | None
    init: bool
    stopped: bool
    tracer: bool
    zombies: tuple[Zombie, ...]

    @property
    def oldest(self) -> float:
        """Return the age in seconds of the zombie that started first."""
        return max(zombie.age for zombie in self.zombies)

    @property
    def advice(self) -> str:
        """Return one sentence on what to do about the zombies."""
        if self.pid == 0:
            return (
                "its parent is outside of this PID namespace: run `pyspawn zombies` there, "
                "on the host for instance"
            )
        if self.stopped:
            return f"it is stopped: `kill -CONT {self.pid}` lets it go on and reap"
        if self.tracer:
            return (
                "it traces them and has not waited for them: once it has waited or ended, "
                "others can reap them"
            )
        if self.init:
            return (
                "it is PID 1 and doesn't reap: put pyinit in front of it (`pyinit -- PROGRAM` as "
                "the entrypoint, or `pyspawn --init`)"
            )
        return (
            "no other process can reap them: it has to wait(2) for its children or ignore "
            "SIGCHLD; once it has ended, its init reaps them"
        )


class _Process(NamedTuple):
    """The state of a process; `handle` compares equal only for the same process."""

    handle: psutil.Process
    ppid: int
    name: str
    state: str
    threads: int


def zombies(pids: Iterable[int] = (), *, grace: float = GRACE) -> list[Parent]:
    """Return the processes that hold zombies, those with the most first.

    With `pids`, only those held by these processes or by their descendants. A child counts once
    it has waited for `grace` seconds; when none is there to begin with, the answer is immediate.
    Raises ProcessLookupError (with the pid as its file name) for one of `pids` that isn't there,
    ImportError without psutil, OSError without a /proc.
    """
    before = _processes()
    roots = set(pids)
    for pid in roots - before.keys():
        raise ProcessLookupError(errno.ESRCH, posix.strerror(errno.ESRCH), str(pid))
    dead = {each.handle for each in before.values() if _is_zombie(each)}
    if not dead:
        return []
    time.sleep(grace)
    after = _processes()
    held: defaultdict[int, list[Zombie]] = defaultdict(list)
    tracers = set()
    for pid, process in after.items():
        if not _is_zombie(process) or process.handle not in dead:
            continue
        tracer = _tracer(pid)
        holder = tracer or process.ppid
        if roots and not _below(holder, roots, after):
            continue
        if tracer not in (0, process.ppid):
            tracers.add(tracer)
        held[holder].append(Zombie(pid, process.name, _age(process.handle)))
    found = [_parent(pid, after, pid in tracers, rows) for pid, rows in held.items()]
    return sorted(found, key=lambda parent: (-len(parent.zombies), parent.pid))


def _is_zombie(process: _Process) -> bool:
    """Tell whether a process is a zombie.

    A thread group whose first thread has ended looks the same, state Z, but nobody can reap it
    before its other threads end, pthread_exit(3).
    """
    return process.state == "zombie" and process.threads <= 1


def _below(pid: int, roots: set[int], processes: Mapping[int, _Process]) -> bool:
    """Tell whether `pid` is one of `roots` or descends from one."""
    seen = set()
    while pid not in roots:
        seen.add(pid)
        process = processes.get(pid)
        if process is None or process.ppid in seen:
            return False
        pid = process.ppid
    return True


def _parent(
    pid: int, processes: Mapping[int, _Process], tracer: bool, rows: list[Zombie]
) -> Parent:
    process = processes.get(pid)
    return Parent(
        pid=pid,
        name=process.name if process else None,
        # The last number is the pid in the innermost namespace, proc(5).
        init=_status(pid, "NSpid").split()[-1:] == ["1"] or pid == 1,
        stopped=process is not None and process.state in ("stopped", "tracing-stop"),
        tracer=tracer,
        zombies=tuple(sorted(rows, key=lambda zombie: (-zombie.age, zombie.pid))),
    )


def _processes() -> dict[int, _Process]:
    """Return all processes by pid; those that vanish meanwhile are left out."""
    psutil = _psutil()
    found = {}
    posix.stat("/proc/self")  # without a /proc psutil fails in its own way
    for pid in psutil.pids():
        # Not process_iter(): it hands out what it saw earlier, also where a pid was reused.
        try:
            handle = psutil.Process(pid)
            with handle.oneshot():
                found[pid] = _Process(
                    handle, handle.ppid(), handle.name(), handle.status(), handle.num_threads()
                )
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def _age(handle: psutil.Process) -> float:
    """Return the seconds since a process started; 0 where it has just been reaped."""
    try:
        return max(0.0, time.time() - handle.create_time())
    except _psutil().NoSuchProcess:
        return 0.0


def _tracer(pid: int) -> int:
    """Return the pid of the tracer of `pid`, or 0: a tracer reaps before the parent, ptrace(2)."""
    word = _status(pid, "TracerPid")
    return int(word) if word.isdigit() else 0


def _status(pid: int, field: str) -> str:
    """Return a field of /proc/PID/status, proc(5); "" where it can't be read."""
    try:
        return proc.fields(proc.text(f"{_psutil().PROCFS_PATH}/{pid}/status")).get(field, "")
    except OSError:
        return ""


def _psutil() -> ModuleType:
    """Import psutil, even in an interpreter that was started without site-packages (`-S`)."""
    try:
        import psutil
    except ImportError:
        import site

        site.main()
        import psutil
    return psutil


def main(arguments: list[str]) -> int:
    """Print the processes that hold zombies; return the exit status: 0 none, 1 some, 125 failed."""
    try:
        values, words = cmdline.parse(TABLE, arguments)
        if "help" in values:
            output.write(1, cmdline.help_text(TABLE, _USAGE, _FOOTER))
            return 0
        found = zombies(map(output.pid, words), grace=values.get("grace", GRACE))
    except cmdline.UsageError as error:
        return output.fail(_NAME, str(error), error.hint or "see `pyspawn zombies --help`")
    except ProcessLookupError as error:
        return output.fail(_NAME, f"there is no process {error.filename}", None)
    except ImportError as error:
        hint = (
            "`pip install psutil` in pyspawn's virtual environment, or, where pyspawn runs with "
            "the system's Python, install the distribution's package (Debian: python3-psutil)"
        )
        return output.fail(_NAME, str(error), hint)
    except OSError as error:
        return output.fail(
            _NAME,
            f"{error.filename}: {errno_text(error.errno or 0)}",
            "reading processes requires a proc file system: mount -t proc proc /proc"
            if error.errno == errno.ENOENT
            else None,
        )
    output.write(1, _as_json(found) if "json" in values else _as_table(found))
    return 1 if found else 0


def _as_json(found: list[Parent]) -> str:
    rows = [asdict(parent) | {"advice": parent.advice} for parent in found]
    return json.dumps(rows, indent=2) + "\n"


def _as_table(found: list[Parent]) -> str:
    """Return a table with one line for each parent."""
    if not found:
        return "no zombies\n"
    rows = [("PARENT", "NAME", "ZOMBIES", "OLDEST", "PID 1", "WHAT TO DO")]
    for parent in found:
        name = "?" if parent.name is None else shown(parent.name)
        rows.append(
            (
                str(parent.pid),
                name,
                str(len(parent.zombies)),
                _duration(parent.oldest),
                "yes" if parent.init else "no",
                parent.advice,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "".join(
        f"{pid:>{widths[0]}}  {name:<{widths[1]}}  {count:>{widths[2]}}  {age:>{widths[3]}}  "
        f"{init:<{widths[4]}}  {advice}\n"
        for pid, name, count, age, init, advice in rows
    )


def _duration(seconds: float) -> str:
    """Return a duration in its two largest units: "42s", "3m07s", "2h05m", "9d04h"."""
    whole = int(seconds)
    for size, unit, part, below in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02}{below}"
    return f"{whole}s"
