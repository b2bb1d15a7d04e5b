"""Ask the machine what it can do, and skip, or fail where `CI` is set, when it can't.

A probe returns None when the capability is there, else what is missing, in words.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import cgroups

MISSING = "missing capability"


def require(*capabilities: str) -> None:
    """Go on only where the machine has all `capabilities`.

    A missing one skips the test; in CI it fails it, so that nothing goes untested unnoticed.
    `root` always skips: a run by an ordinary user is as good a run as one by root.
    A name that isn't a probe of ours is a program looked for on PATH.
    """
    for name in capabilities:
        reason = probe(name)
        if reason is None:
            continue
        text = f"{MISSING} {name}: {reason}"
        if os.environ.get("CI") and name not in BY_CHOICE:
            pytest.fail(text, pytrace=False)
        pytest.skip(text)


@functools.cache
def probe(name: str) -> str | None:
    """Return None where the capability is present, else the reason it is not."""
    special = PROBES.get(name)
    if special is not None:
        return special()
    return None if shutil.which(name) else f"no program {name} on PATH"


def has(name: str) -> bool:
    """Tell whether the capability is present, for tests that only choose a way by it."""
    return probe(name) is None


def _root() -> str | None:
    return None if os.geteuid() == 0 else "not run by root"


def _succeeds(*argv: str) -> str | None:
    if shutil.which(argv[0]) is None:
        return f"no program {argv[0]} on PATH"
    ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return None if ended.returncode == 0 else f"{' '.join(argv)}: {ended.stderr.strip()}"


def _userns() -> str | None:
    return _succeeds("unshare", "--user", "--map-root-user", "true")


def _pidns() -> str | None:
    """A PID namespace with its own /proc: by right as root, else through a user namespace."""
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    return _succeeds("unshare", *user, "--fork", "--pid", "--mount-proc", "true")


def _subordinate_ids() -> str | None:
    """Ids of our own beside the own one, and the programs that map them."""
    if os.geteuid() == 0:
        return "root may have none"
    return _succeeds("unshare", "--map-auto", "--map-root-user", "true")


def _seccomp() -> str | None:
    """Filters, for a machine whose system call numbers the helper knows."""
    if platform.machine() not in ("x86_64", "aarch64"):
        return f"no system call numbers for {platform.machine()}"
    return None if Path("/proc/sys/kernel/seccomp").exists() else "no seccomp filters"


def _tun() -> str | None:
    """A place for a /dev/net/tun of a test's own, and a kernel that has the device."""
    if os.geteuid() != 0:
        return "not run by root"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return str(error)
    return None


def _x86_64() -> str | None:
    return None if platform.machine() == "x86_64" else f"the machine is {platform.machine()}"


def _other_user() -> str | None:
    """Root that can become somebody else who can still reach the interpreter and us."""
    if os.geteuid() != 0:
        return "not run by root"
    import pyinit

    for place in (sys.executable, os.path.realpath(sys.executable), str(pyinit.__file__)):
        for directory in (Path(place), *Path(place).parents):
            if not directory.stat().st_mode & (stat.S_IXOTH | stat.S_IROTH):
                return f"other users can't enter {directory}"
    return None


def _pids_cgroup() -> str | None:
    """A cgroup of our own below ours, where the number of processes can be limited."""
    place = cgroups.home("pids")
    if place is None:
        return "no pids controller is mounted"
    return None if os.access(place, os.W_OK) else f"{place} is not ours to change"


PROBES: dict[str, Callable[[], str | None]] = {
    "root": _root,
    "userns": _userns,
    "pidns": _pidns,
    "seccomp": _seccomp,
    "subordinate-ids": _subordinate_ids,
    "tun": _tun,
    "x86_64": _x86_64,
    "other-user": _other_user,
    "pids-cgroup": _pids_cgroup,
}

BY_CHOICE = frozenset({"root", "other-user", "pids-cgroup", "subordinate-ids", "x86_64"})
"""What a run lacks by who runs it and where, which no CI can mend."""
