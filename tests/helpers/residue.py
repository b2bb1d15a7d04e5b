"""Disturb one kind of start over and over, each time at a random moment; tell what is left.

A program of its own, the subreaper of all that it starts. Its argument has what `main` takes, as
JSON; each fault is a line on standard output. In a round

1. a caller, which leads a session on a terminal of its own, starts a container, whose program waits
   for the end of its standard input, beside a daemon that is deaf to signals;
2. after a random time something happens to a random one of those processes, or to the terminal;
3. where that doesn't end all of it, the end of standard input does;
4. then no process is left, no mount, no file, and standard error has a line at most, and its hint.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import spawner
from helpers import children
from helpers.programs import PLACE, Word
from spawner import lean

LONGEST = {"API": 0.4, "slirp4netns": 0.4}
"""Seconds in which the random moments are, 0.25 for others; a start takes less than half of it."""

PATIENCE = 40.0
"""Seconds after which what is still there counts as left."""

_DAEMON = "(trap '' HUP INT TERM; exec sleep 1000) &"
PROGRAM = ("/bin/sh", "-c", f"{_DAEMON} read -r line; exit 0")

_API = """
import sys
sys.path[:0] = [sys.argv[1]]
import spawner
try:
    with spawner.Process(sys.argv[2:]) as process:
        sys.exit(process.wait())
except spawner.SpawnerError as error:
    sys.exit(f"pyspawn: {error}")
"""

KILL, PAUSE, STOP_AND_KILL, HANG_UP = "SIGKILL", "SIGSTOP, SIGCONT", "SIGSTOP, SIGKILL", "hang-up"
ACTS = (KILL, PAUSE, STOP_AND_KILL, HANG_UP)

KEPT = ("share pid", "exec")
"""Those with a keeper."""

KINDS = (
    "run",
    "user namespace",
    "mounts",
    "root",
    "sandbox",
    "share pid",
    "exec",
    "slirp4netns",
    "API",
)


def words(kind: str, target: int) -> list[Word]:
    """Return the argv of the caller."""
    if kind == "API":
        return [sys.executable, "-I", "-c", _API, PLACE, *PROGRAM]
    options = {
        "run": ["--init"],
        "user namespace": ["--init", "--unshare", "user", "--map-root-user"],
        "mounts": [
            "--init",
            "--ro-bind",
            "/etc",
            "/mnt",
            "--tmpfs",
            "/srv",
            "--bind",
            "/usr",
            "/srv/a",
            "--overlay",
            "/opt",
        ],
        "sandbox": ["--init", "--sandbox", "--time-limit", "1000"],
        "root": ["--init", "--rootfs", "/", "--read-only", "--dev", "/dev"],
        "share pid": ["--share", "pid"],
        "exec": ["exec", str(target)],
        "slirp4netns": ["--init", "--network", "slirp4netns"],
    }[kind]
    tie = ["--die-with-parent"]
    argv = [*lean.pyspawn(), *options, *tie, "--", *PROGRAM]
    return ["/bin/sh", "-c", '"$@"; exit $?', "sh", *argv]


class Found(NamedTuple):
    """A process that something may happen to: how far below the caller, and its name."""

    pid: int
    depth: int
    name: str


def victims(caller: int) -> list[Found]:
    """Return the caller, the launcher, and what these have made; not the daemon."""
    found, level = [Found(caller, 0, "caller")], [caller]
    for depth in (1, 2, 3):
        level = sorted(child for pid in level for child in children.of(pid))
        for pid in level:
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                if name != "sleep":
                    found.append(Found(pid, depth, name))
    return found


class Round:
    """One round; `faults` are what was wrong with it."""

    def __init__(self, kind: str, target: int, place: Path, chance: random.Random) -> None:
        self._kind = kind
        self._target = target
        self._place = place
        self._moment = chance.random() ** 1.5 * LONGEST.get(kind, 0.25)
        self._choice = chance.random()
        self._act = chance.choice(ACTS)
        self._later = chance.random() * 0.05
        self._victim = Found(0, 0, "nobody")
        self.faults: list[str] = []

    def __str__(self) -> str:
        where = "" if self._act == HANG_UP else f" of {self._victim.name} ({self._victim.depth})"
        return f"{self._act}{where} after {self._moment * 1000:.1f} ms"

    def run(self, before: frozenset[int]) -> None:
        """Run it; `before` are children of ours that stay."""
        master, slave = os.openpty()
        waits, ends = os.pipe()
        with tempfile.TemporaryFile() as errors:
            caller = subprocess.Popen(
                words(self._kind, self._target),
                stdin=waits,
                stdout=slave,
                stderr=errors,
                env={**os.environ, "TMPDIR": str(self._place)},
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
            )
            os.close(waits)
            os.close(slave)
            time.sleep(self._moment)  # not to wait for anything: it is the random moment
            if self._happen(caller.pid, master):
                os.close(ends)
                ends = -1
            status = self._end(caller, before)
            for descriptor in (ends, master if self._act != HANG_UP else -1):
                if descriptor != -1:
                    os.close(descriptor)
            errors.seek(0)
            self._judge(status, errors.read().decode())

    def _happen(self, caller: int, master: int) -> bool:
        """Do what happens; tell whether the program has to be ended by its standard input."""
        if self._act == HANG_UP:
            os.close(master)
            return False
        found = victims(caller)
        self._victim = victim = found[int(self._choice * len(found))]
        try:
            pidfd = os.pidfd_open(victim.pid)
        except ProcessLookupError:
            return True
        with os.fdopen(pidfd, "rb", 0), contextlib.suppress(ProcessLookupError):
            if self._act != KILL:
                signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
                time.sleep(self._later)
            if self._act == PAUSE:
                self._continue(caller)
                return True
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        # slirp4netns, and what isn't it yet, may end without the container; so may a stage.
        alone = self._kind in ("slirp4netns", "user namespace", "sandbox") or os.geteuid() != 0
        return victim.depth > (1 if alone and self._kind not in KEPT else 2)

    def _continue(self, caller: int) -> None:
        """Continue all, as fg does: who learned that another had stopped may have stopped too."""
        for pid in (caller, *children.below(caller)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _end(self, caller: subprocess.Popen[bytes], before: frozenset[int]) -> int | None:
        """Reap all that comes to us until nobody is left; return the caller's status."""
        deadline = time.monotonic() + PATIENCE
        while left := children.of(os.getpid()) - before:
            for pid in left - {caller.pid}:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            caller.poll()
            if time.monotonic() > deadline:
                self.faults.append(f"left: {_tree(sorted(left))}")
                children.kill_all(before)
                caller.poll()
                break
            if self._act == PAUSE and caller.returncode is None:
                self._continue(caller.pid)  # who stopped a moment later
            time.sleep(0.002)
        return caller.returncode

    def _judge(self, status: int | None, errors: str) -> None:
        # The shell has its say, too, of a launcher that was killed.
        lines = [line for line in errors.splitlines() if not line.startswith(("hint: ", "Killed"))]
        expected = ("pyspawn: ", "pyinit[")
        if len(lines) > 1 or not all(line.startswith(expected) for line in lines):
            self.faults.append(f"stderr: {errors!r}")
        if self._act == PAUSE and status != 0:
            self.faults.append(f"status {status}: {errors!r}")
        for name in os.listdir(self._place):
            self.faults.append(f"the file {name}")


def _tree(pids: Sequence[int]) -> str:
    told = []
    for pid in [one for top in pids for one in (top, *children.below(top))]:
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            told.append(
                f"{pid} below {children.status_field(pid, 'PPid')}: {name}, {children.state(pid)}"
            )
    return "; ".join(told)


def _mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def _keep_mounts_apart() -> None:
    """Have a mount namespace in which nobody else mounts, unshare(2), mount(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x20000) or libc.mount(None, b"/", None, 1 << 18 | 1 << 14, None):
        raise OSError(ctypes.get_errno(), "unshare or mount")


def main(kind: str, seed: int, numbers: Sequence[int]) -> None:
    """Run the rounds with these numbers; tell of the faults."""
    children.become_subreaper()
    if os.geteuid() == 0:
        _keep_mounts_apart()
    mounts = _mounts()
    with contextlib.ExitStack() as kept:
        place = Path(kept.enter_context(tempfile.TemporaryDirectory()))
        target = 0
        if kind == "exec":
            holder = spawner.Process(["/bin/cat"], stdin=spawner.PIPE, stdout=spawner.DEVNULL)
            target = kept.enter_context(holder).pid
        before = children.of(os.getpid())
        for number in numbers:
            one = Round(kind, target, place, random.Random(f"{seed} {kind} {number}"))
            one.run(before)
            for fault in one.faults:
                print(f"round {number}, {one}: {fault}", flush=True)
    if _mounts() != mounts:
        print("a mount is left", flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
