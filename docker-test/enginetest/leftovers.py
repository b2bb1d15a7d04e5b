"""What a run has left on the machine: compared before and after.

Others may use the machine meanwhile, with engines of their own. So something is laid to our charge
where it bears the run's name: in its path, in its environment, or in the places that it holds; and
where it is what only a run makes: a mount on a place that is covered inside, our user, our file
that keeps Debian's packages from starting daemons.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from enginetest import cgroups

USER = "pidone-rootless"
"""The user without privileges, who exists inside the nest only."""

MARK = "PIDONE_DOCKER_TEST"
"""The environment variable that names the run to all that it starts."""


NOTHING = "no process, mount, cgroup, loop device, network interface, user or file"

COVERED = ("/dev/shm", "/etc", "/run", "/var/lib")
"""Where engines keep what they share with others of their kind: covered inside a run."""

INTERFACES = ("br-", "cni", "docker", "podman")
"""How the names begin of the network interfaces that engines make on a host."""

POLICY = Path("/usr/sbin/policy-rc.d")
"""What Debian's packages ask whether they may start a daemon when they are installed."""


@dataclass(frozen=True)
class Snapshot:
    """What there is at one moment."""

    mounts: frozenset[str]
    cgroups: frozenset[str]
    processes: frozenset[tuple[int, str]]
    """(pid, start time), since a pid may be used again."""
    loops: frozenset[str]
    """The files behind loop devices."""
    interfaces: frozenset[str]
    users: frozenset[str]
    policy: bool

    @classmethod
    def take(cls) -> Snapshot:
        """Look at the machine."""
        mountinfo = Path("/proc/self/mountinfo").read_text()
        return cls(
            frozenset(line.split()[4] for line in mountinfo.splitlines()),
            frozenset(cgroups.directories()),
            frozenset(_processes()),
            frozenset(_loops()),
            frozenset(name for _, name in socket.if_nameindex()),
            frozenset(user.pw_name for user in pwd.getpwall()),
            POLICY.exists(),
        )


def left(before: Snapshot, after: Snapshot, run: str) -> list[str]:
    """Return what this run has left, in words."""
    mounts = sorted(after.mounts - before.mounts)
    found = [f"mount {place}" for place in mounts if run in place or place in COVERED]
    found += [f"cgroup {name}" for name in sorted(after.cgroups - before.cgroups) if run in name]
    for pid, started in sorted(after.processes - before.processes):
        why = _ours(pid, run)
        if why and (pid, started) in set(_processes()):
            found.append(f"process {pid}: {why}")
    found += [f"loop device on {name}" for name in after.loops - before.loops if run in name]
    found += [
        f"network interface {name}"
        for name in sorted(after.interfaces - before.interfaces)
        if name.startswith(INTERFACES)
    ]
    found += [f"user {name}" for name in after.users - before.users if name == USER]
    found += [f"file {POLICY}"] if after.policy and not before.policy else []
    found += [f"directory {place}" for place in Path("/var/tmp").glob(run)]
    return found


def _loops() -> Iterator[str]:
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            yield backing.read_text().strip()


def _processes() -> set[tuple[int, str]]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                found.add((int(entry.name), fields[19]))
    return found


def _ours(pid: int, run: str) -> str | None:
    """Return how a process shows that it belongs to a run, or None."""
    place = Path("/proc") / str(pid)
    if pid == os.getpid():
        return None
    for name in ("environ", "cgroup", "cmdline"):
        with contextlib.suppress(OSError):
            if run.encode() in (place / name).read_bytes():
                return f"the run's name is in its {name}"
    for name in ("root", "cwd", "exe"):
        with contextlib.suppress(OSError):
            if run in os.readlink(place / name):
                return f"its {name} is in the run's directory"
    return None
