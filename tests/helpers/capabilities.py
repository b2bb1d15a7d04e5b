"""Ask the machine what it can do, and skip, or fail where `CI` is set, when it can't.

A probe returns None when the capability is there, else what is missing, in words.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
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
from helpers.children import status_field

MISSING = "missing capability"


def require(*capabilities: str) -> None:
    """Go on only where the machine has all `capabilities`.

    A missing one skips the test; in CI it fails it, so that nothing goes untested unnoticed.
    `root` skips an ordinary user, whose run is as good a run as one by root; a root without root's
    rights, as in most containers, is another matter.
    CAP_… is a capability of the process, capabilities(7); any other name that isn't a probe of ours
    is a program looked for on PATH.
    """
    for name in capabilities:
        reason = probe(name)
        if reason is None:
            continue
        text = f"{MISSING} {name}: {reason}"
        if os.environ.get("CI") and not _by_choice(name):
            pytest.fail(text, pytrace=False)
        pytest.skip(text)


@functools.cache
def probe(name: str) -> str | None:
    """Return None where the capability is present, else the reason it is not."""
    special = PROBES.get(name)
    if special is not None:
        return special()
    if name.removeprefix("CAP_") in RIGHTS:
        return None if _held() >> RIGHTS[name.removeprefix("CAP_")] & 1 else f"we have no {name}"
    return None if shutil.which(name) else f"no program {name} on PATH"


def has(name: str) -> bool:
    """Tell whether the capability is present, for tests that only choose a way by it."""
    return probe(name) is None


def _root() -> str | None:
    """All the rights of root that the tests exercise, by themselves or through what they start."""
    if os.geteuid() != 0:
        return "not run by root"
    held = _held()
    lacking = [f"CAP_{name}" for name, bit in RIGHTS.items() if not held >> bit & 1]
    if len(lacking) == len(RIGHTS):
        return "root has no capabilities(7)"
    if lacking:
        return f"root has no {', '.join(lacking)}"
    return _succeeds("unshare", "--mount", "true")  # a seccomp filter may refuse what rights allow


def _held() -> int:
    return int(status_field("self", "CapEff"), 16)


RIGHTS = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_ADMIN": 12,
    "SYS_CHROOT": 18,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "MKNOD": 27,
    "SETFCAP": 31,
}
"""Capabilities and their bits (linux/capability.h)."""


def _succeeds(*argv: str) -> str | None:
    if shutil.which(argv[0]) is None:
        return f"no program {argv[0]} on PATH"
    ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return None if ended.returncode == 0 else f"{' '.join(argv)}: {ended.stderr.strip()}"


def _userns() -> str | None:
    return _succeeds("unshare", "--user", "--map-root-user", "true")


def _pid1() -> str | None:
    """A PID namespace with its own /proc: by right as root, else through a user namespace."""
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    return _succeeds("unshare", *user, "--fork", "--pid", "--mount-proc", "true")


def _pidns() -> str | None:
    """The same with all else that pyspawn does there: a network, joins, becoming somebody."""
    return (probe("root") if os.geteuid() == 0 else None) or probe("pid1")


def _subordinate_ids() -> str | None:
    """Ids of our own beside the own one, and the programs that map them."""
    if os.geteuid() == 0:
        return "root may have none"
    return _succeeds("unshare", "--map-auto", "--map-root-user", "true")


def _libseccomp() -> str | None:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        return str(error)
    return None


def _profile() -> str | None:
    if platform.machine() not in ("x86_64", "aarch64"):
        return f"there is no default seccomp profile for {platform.machine()}"
    return _seccomp()


def _seccomp() -> str | None:
    """Filters, for a machine whose system call numbers the helper knows."""
    if platform.machine() not in ("x86_64", "aarch64"):
        return f"no system call numbers for {platform.machine()}"
    return None if Path("/proc/sys/kernel/seccomp").exists() else "no seccomp filters"


def _tun() -> str | None:
    """A place for a /dev/net/tun of a test's own, and a kernel that has the device."""
    if missing := probe("root"):
        return missing
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return str(error)
    return None


def _fuse() -> str | None:
    """File systems of programs, by the device that they are asked through."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return str(error)
    return None


def _x86_64() -> str | None:
    return None if platform.machine() == "x86_64" else f"the machine is {platform.machine()}"


def _other_user() -> str | None:
    """Root that can become somebody else who can still reach the interpreter and us."""
    if missing := probe("root"):
        return missing
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


def _limits() -> str | None:
    """Cgroups below ours with limits on memory, processes and processor time, of version 1."""
    for controller in ("memory", "pids", "cpu", "cpuset"):
        place = cgroups.home(controller)
        if place is None or not (place / "tasks").exists():
            return f"no {controller} controller of version 1 is mounted"
        if not os.access(place, os.W_OK):
            return f"{place} is not ours to change"
    return None


def _module(name: str) -> str | None:
    return None if importlib.util.find_spec(name) else "not installed here"


def _freezer_cgroup() -> str | None:
    """A cgroup of our own below ours whose processes no SIGKILL ends: of version 1."""
    place = cgroups.home("freezer")
    if place is None or not (place / "tasks").exists():
        return "no freezer of version 1 is mounted"
    return None if os.access(place, os.W_OK) else f"{place} is not ours to change"


def _ptrace() -> str | None:
    """Another process of ours may be traced."""
    if platform.machine() != "x86_64":
        return f"no ptrace numbers for {platform.machine()}"
    try:
        scope = Path("/proc/sys/kernel/yama/ptrace_scope").read_text().strip()
    except OSError:
        return None
    return None if scope == "0" or os.geteuid() == 0 else f"yama's ptrace_scope is {scope}"


def _sysctls() -> str | None:
    """A /proc/sys in which a namespace's own limits can be set."""
    read_only = os.statvfs("/proc/sys/user").f_flag & os.ST_RDONLY
    return "/proc/sys is mounted read-only" if read_only else None


def _overlay() -> str | None:
    """A kernel with overlays, which it may have to load first."""
    if "\toverlay\n" in Path("/proc/filesystems").read_text():
        return None
    modules = Path("/lib/modules", os.uname().release, "modules.dep")
    with contextlib.suppress(FileNotFoundError):
        if "/overlay.ko" in modules.read_text():
            return None
    return "this kernel has no overlays"


def _landlock() -> str | None:
    """Landlock, as far as all that pyspawn restricts by it."""
    from spawner.rights import ruleset

    try:
        found = ruleset.version()
    except OSError as error:
        return str(error)
    most = max(ruleset.LEAST.values())
    return None if found >= most else f"version {found} of Landlock, and {most} has all"


PROBES: dict[str, Callable[[], str | None]] = {
    "root": _root,
    "userns": _userns,
    "pid1": _pid1,
    "pidns": _pidns,
    "libseccomp": _libseccomp,
    "profile": _profile,
    "seccomp": _seccomp,
    "landlock": _landlock,
    "sysctls": _sysctls,
    "subordinate-ids": _subordinate_ids,
    "tun": _tun,
    "fuse": _fuse,
    "overlay": _overlay,
    "x86_64": _x86_64,
    "other-user": _other_user,
    "pids-cgroup": _pids_cgroup,
    "cgroup-limits": _limits,
    "gevent": lambda: _module("gevent"),
    "freezer-cgroup": _freezer_cgroup,
    "ptrace": _ptrace,
    "uvloop": lambda: _module("uvloop"),
}

BY_CHOICE = frozenset(
    {
        *("cgroup-limits", "freezer-cgroup", "fuse", "root", "other-user", "pids-cgroup"),
        *("subordinate-ids", "x86_64"),
    }
)
"""What a run lacks by who runs it and where, which no CI can mend."""


def _by_choice(name: str) -> bool:
    """Tell whether the lack of a capability is how this run was asked for."""
    return name in BY_CHOICE and (name != "root" or os.geteuid() != 0)
