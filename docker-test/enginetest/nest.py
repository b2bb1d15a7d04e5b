"""A place for daemons and containers that leaves nothing behind.

    outer                                   inner
     remembers what the machine has
     removes what a killed run has left
     makes the run's directory, prepares
     unshare(1) in a PID, mount, network
     and IPC namespace of its own
      pyinit, PID 1 ---------------------->  the tests: daemons, containers, mounts
     waits; on ^C or SIGTERM kills unshare
     the kernel has killed all that was inside, and its mounts are gone with it
     removes cgroups and the run's directory
     compares with what the machine had

The death of outer, by SIGKILL too, ends all of it: unshare has a parent-death signal, and so has
its child. What is left then, empty cgroups and a directory of files, goes with the next run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from enginetest import cgroups
from enginetest.leftovers import USER
from enginetest.materials import CHECKOUT, INTERRUPTIONS, say
from enginetest.reading import WaitError, eventually
from enginetest.running import succeed

PREFIX = "pidone-docker-test-"
PLACE = Path("/var/tmp")
SIOCSIFFLAGS = 0x8914  # linux/sockios.h
IFF_UP = 0x1  # linux/if.h


# Outside.


def interruptible() -> None:
    """Have SIGTERM and SIGHUP raise KeyboardInterrupt as SIGINT does, with the signal's number.

    The first of them only: what is done then is not to be interrupted.
    """
    for number in INTERRUPTIONS:
        signal.signal(number, _interrupt)


def _interrupt(received: int, _frame: FrameType | None) -> None:
    for number in INTERRUPTIONS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt(received)


@contextlib.contextmanager
def run_directory() -> Iterator[Path]:
    """Yield a directory whose name is the run's, and remove it with the run's cgroups.

    It is locked as long as the run is alive, flock(2).
    """
    place = Path(tempfile.mkdtemp(prefix=PREFIX, dir=PLACE))
    lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place.chmod(0o755)  # a user without privileges has part of it
        yield place
    finally:
        _remove(place)
        os.close(lock)


def sweep() -> None:
    """Remove what runs have left that were killed."""
    for place in PLACE.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # it is gone, or it is somebody else's
            lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    say(f"removing what is left of a run that was killed: {place}")
                    _remove(place)
            finally:
                os.close(lock)


def _remove(place: Path) -> None:
    """Remove a run's cgroups and directory: the last of its processes may be dying still."""

    def removed() -> bool:
        shutil.rmtree(place, ignore_errors=True)
        try:
            cgroups.remove(place.name)
        except OSError:
            return False
        return not place.exists()

    with contextlib.suppress(WaitError):
        eventually(removed, f"{place} and its cgroups removed")


def enter(argv: Sequence[str]) -> int:
    """Run the inner program in its namespaces; return its exit status."""
    init = [sys.executable, "-I", "-S", str(CHECKOUT / "pyinit" / "__main__.py"), "--"]
    process = subprocess.Popen(
        [
            *("setpriv", "--pdeathsig", "KILL"),
            *("unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child=KILL"),
            *("--mount-proc", "--propagation", "private", "--"),
            *init,
            *argv,
        ],
        stdin=subprocess.DEVNULL,
    )
    try:
        return process.wait()
    finally:
        process.kill()
        process.wait()


# Inside.


def furnish(place: Path) -> None:
    """Cover what engines share with others of their kind on a machine, and make us a user."""
    for target in ("/run", "/dev/shm"):
        succeed("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", target)
    for target in ("/etc", "/var/lib"):
        # What is written there goes to a layer on the tmpfs.
        layer = Path("/run/written") / target[1:].replace("/", "-")
        for part in ("upper", "work"):
            (layer / part).mkdir(parents=True)
        options = f"lowerdir={target},upperdir={layer}/upper,workdir={layer}/work"
        succeed("mount", "-t", "overlay", "-o", options, "overlay", target)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
    uid = _free_id()
    home = place / "home"
    home.mkdir()
    shutil.chown(home, uid, uid)
    subordinate = f"{USER}:{_free_range()}:65536\n"
    for name, line in (
        ("passwd", f"{USER}:x:{uid}:{uid}::{home}:/bin/sh\n"),
        ("group", f"{USER}:x:{uid}:\n"),
        ("subuid", subordinate),
        ("subgid", subordinate),
    ):
        with (Path("/etc") / name).open("a") as file:
            file.write(line)


def _free_id() -> int:
    """Return a number that is no user's and no group's here."""
    taken = {
        line.split(":")[2]
        for name in ("passwd", "group")
        for line in (Path("/etc") / name).read_text().splitlines()
        if line.count(":") > 2 or name == "group"
    }
    return next(number for number in range(54321, 60000) if str(number) not in taken)


def _free_range() -> int:
    """Return the start of 65536 subordinate ids that nobody has."""
    ends = [1 << 30]
    for name in ("subuid", "subgid"):
        with contextlib.suppress(FileNotFoundError):
            for line in (Path("/etc") / name).read_text().splitlines():
                _, start, count = line.split(":")
                ends.append(int(start) + int(count))
    return max(ends)
