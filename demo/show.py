"""The demonstration: one program, run with pyinit as PID 1 and then as PID 1 itself.

`show.py` runs `pyspawn` of the clone that it lies in, and takes nothing but an interpreter. It
checks what it shows: a promise that isn't kept makes it exit with 1. `show.py inside` is the
program that runs in the namespaces.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from spawner import lean

ORPHANS = 5
STATUS = 42
QUESTION = signal.SIGRTMIN
STOP_TIMEOUT = 1  # seconds
WIDTH = 96  # of the process table

# Seconds, far beyond what anything here takes: it ends a demonstration that hangs.
SAFETY_NET = 60


# Inside: the program that runs in the namespaces.


@dataclasses.dataclass(frozen=True)
class Process:
    """One line of the process table, as seen inside."""

    pid: int
    parent: int
    state: str
    name: str
    command: str


def processes() -> list[Process]:
    """Return the processes of this PID namespace, as proc(5) has them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                before, _, after = (entry / "stat").read_text().rpartition(")")
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except FileNotFoundError:
                continue  # it ended while we were looking
            name = before.partition("(")[2]
            state, parent = after.split()[:2]
            command = b" ".join(words).decode(errors="replace").strip()
            found.append(Process(int(entry.name), int(parent), state, name, command))
    return sorted(found, key=lambda process: process.pid)


def make_orphan() -> int:
    """Start a process, let its parent end before it, and return a pidfd of it: it is dying."""
    stay_read, stay_write = os.pipe()
    name_read, name_write = os.pipe()
    parent = os.fork()
    if parent == 0:
        child = os.fork()
        if child == 0:
            os.close(stay_write)
            os.read(stay_read, 1)  # stay until we have been adopted
            os._exit(0)
        os.write(name_write, b"%d" % child)
        os._exit(0)
    os.waitpid(parent, 0)  # from here on its child is an orphan
    pidfd = os.pidfd_open(int(os.read(name_read, 16)))
    for descriptor in (stay_read, stay_write, name_read, name_write):
        os.close(descriptor)  # the end of file lets it go
    return pidfd


def ask_pid_1() -> None:
    """Send PID 1 a signal and wait for it: forwarded to us, or we are PID 1 ourselves.

    Signals are taken lowest number first, and SIGCHLD is lower than any real-time signal: an init
    that has forwarded this one has seen the deaths before it.
    """
    os.kill(1, QUESTION)
    signal.sigwaitinfo({QUESTION})


def inside() -> int:
    """Make orphans, let them die, tell the process table, return 42 on SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {QUESTION, signal.SIGTERM})
    for _ in range(ORPHANS):
        select.select([make_orphan()], [], [])  # a pidfd is readable once the process is dead
    # Twice, since a pidfd may tell of a death just before SIGCHLD does.
    ask_pid_1()
    ask_pid_1()
    for process in processes():
        print(*dataclasses.astuple(process), sep="\t")
    print("ready", flush=True)
    received = signal.sigwaitinfo({signal.SIGTERM})
    print(signal.Signals(received.si_signo).name, flush=True)
    return STATUS


# Outside: the demonstration.


PROGRAM = (sys.executable, "-I", __file__, "inside")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one run of the program showed."""

    table: list[Process]
    received: str
    status: int

    @property
    def init(self) -> str:
        """What PID 1 is."""
        first = next((process for process in self.table if process.pid == 1), None)
        if first is None:
            return "nothing"
        return "the program" if first.command == " ".join(PROGRAM) else first.name

    @property
    def zombies(self) -> int:
        """How many dead nobody has reaped."""
        return sum(process.state == "Z" for process in self.table)


@contextlib.contextmanager
def pyspawn(*words: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Run pyspawn; yield it and its output."""
    with subprocess.Popen(
        [*lean.pyspawn(), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout
        except BaseException:
            process.kill()
            raise


def refused() -> bool:
    """Tell whether this machine refuses what is to be shown; then pyspawn has said why."""
    for options in ([], ["--init"]):
        with pyspawn(*options, "--", "true") as (process, _):
            if process.wait() != 0:
                return True
    return False


def run_program(*options: str) -> Outcome:
    """Run the program under pyspawn until it is ready, end it with SIGTERM, show what was seen."""
    print("$ pyspawn", *options, "-- python demo/show.py inside")
    table = []
    with pyspawn(*options, "--", *PROGRAM) as (process, output):
        for line in output:
            if line == "ready\n":
                break
            pid, parent, *texts = line.rstrip("\n").split("\t")
            table.append(Process(int(pid), int(parent), *texts))
        process.send_signal(signal.SIGTERM)
        # The end of file is the end of everything that was in the namespaces.
        received = output.read().strip()
        status = process.wait()
    print(f"{'PID':>7} {'PPID':>5} STAT {'NAME':<9} COMMAND")
    for entry in table:
        line = f"{entry.pid:>7} {entry.parent:>5} {entry.state:<4} {entry.name:<9} {entry.command}"
        print(line[:WIDTH].rstrip())
    outcome = Outcome(table, received, status)
    print(f"  {ORPHANS} orphans were made; {outcome.zombies} of them are zombies")
    print(f"  SIGTERM to pyspawn; the program received: {received or 'nothing'}")
    print(f"  exit status of pyspawn: {status}\n")
    return outcome


def stop_sleep(*options: str) -> tuple[int, float]:
    """Run a plain `sleep` under pyspawn, send SIGTERM; return the exit status and the seconds."""
    print("$ pyspawn", *options, "-- sleep 1000")
    with pyspawn(*options, "--", "sh", "-c", "echo ready; exec sleep 1000") as (process, output):
        output.readline()
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        output.read()
        status = process.wait()
    took = time.monotonic() - started
    print(f"  SIGTERM to pyspawn; it ended {took:.2f} s later with {status}\n")
    return status, took


def hang(_number: int, _frame: FrameType | None) -> None:
    """End a demonstration that takes for ever."""
    raise TimeoutError(f"nothing happened for {SAFETY_NET} s")


def main() -> int:
    """Show it all, compare, and return 1 unless every promise was kept."""
    signal.signal(signal.SIGALRM, hang)
    signal.alarm(SAFETY_NET)

    if refused():
        print("Nothing can be shown here: pyspawn says why above.", file=sys.stderr)
        return 1
    print("== With pyinit as PID 1 ==\n")
    ours = run_program("--init")
    ours_stop, ours_took = stop_sleep("--init")
    print("== The same without --init: the program itself is PID 1 ==\n")
    bare = run_program()
    bare_stop, bare_took = stop_sleep("--stop-timeout", str(STOP_TIMEOUT))

    print("== Side by side ==\n")
    rows = [
        ("", "with --init", "without"),
        ("PID 1 is", ours.init, bare.init),
        ("zombies left", f"{ours.zombies} of {ORPHANS}", f"{bare.zombies} of {ORPHANS}"),
        ("the program received", ours.received, bare.received),
        (f"its exit status, {STATUS}, came out as", str(ours.status), str(bare.status)),
        ("SIGTERM ends a plain sleep", f"after {ours_took:.2f} s: {ours_stop}",
         f"no: SIGKILL after {bare_took:.2f} s: {bare_stop}"),
    ]  # fmt: skip
    for row in rows:
        print(f"  {row[0]:<34}{row[1]:<20}{row[2]}".rstrip())
    print()

    promises = {
        "PID 1 is pyinit": ours.init == "pyinit",
        "no zombie is left": bool(ours.table) and ours.zombies == 0,
        "SIGTERM is forwarded": ours.received == "SIGTERM",
        "the exit status is passed on": ours.status == STATUS,
        "SIGTERM ends a program that has no handler": ours_stop == 128 + signal.SIGTERM,
        "(without --init the zombies stay)": bare.zombies == ORPHANS,
        "(and SIGTERM is ignored)": bare_stop == 128 + signal.SIGKILL,
    }
    broken = [promise for promise, kept in promises.items() if not kept]
    for promise in broken:
        print("NOT AS PROMISED:", promise)
    print("As promised." if not broken else f"{len(broken)} of {len(promises)} failed.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(inside() if sys.argv[1:] == ["inside"] else main())
