"""A place for daemons and containers that leaves nothing behind.

    outer                                   inner
     remembers what the machine has
     unshare(1) in a PID, mount, network
     and IPC namespace of its own
      pyinit, PID 1 ---------------------->  the tests: daemons, containers, mounts
     waits; on ^C or SIGTERM kills unshare
     the kernel has killed all that was inside, and its mounts are gone with it
     removes cgroups and the run's directory
     compares with what the machine had

The death of outer, by SIGKILL too, ends all of it: unshare has a parent-death signal, and so has
its child.
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

from enginetest import cgroups, leftovers
from enginetest.materials import CHECKOUT, say
from enginetest.reading import WaitError, eventually
from enginetest.running import succeed

INTERRUPTED = 130
USER = "pidone-rootless"
SIOCSIFFLAGS = 0x8914  # linux/sockios.h
IFF_UP = 0x1  # linux/if.h


# Outside.


@contextlib.contextmanager
def run_directory() -> Iterator[Path]:
    """Yield a directory whose name is the run's, and remove it."""
    place = Path(tempfile.mkdtemp(prefix="pidone-docker-test-", dir="/var/tmp"))
    place.chmod(0o755)  # a user without privileges has part of it
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def enter(argv: Sequence[str], run: str) -> int:
    """Run the inner program in its namespaces; return its exit status, also after ^C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
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
        env={**os.environ, leftovers.MARK: run},
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        say("interrupted; ending all that runs")
        return INTERRUPTED
    finally:
        process.kill()
        process.wait()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def clean(run: str) -> None:
    """Remove the run's cgroups: the last of its processes may be dying still."""

    def removed() -> bool:
        try:
            cgroups.remove(run)
        except OSError:
            return False
        return True

    with contextlib.suppress(WaitError):
        eventually(removed, "the cgroups empty", patience=10)


# Inside.


def furnish(place: Path) -> None:
    """Cover what engines share with others of their kind on a machine, and make us a user."""
    for target in ("/run", "/dev/shm"):
        succeed("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", target)
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
        original, copy = Path("/etc") / name, place / name
        copy.write_text((original.read_text() if original.exists() else "") + line)
        if original.exists():
            succeed("mount", "--bind", copy, original)


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
