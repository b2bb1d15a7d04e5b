"""Containers of other makers, to be joined: each runs a `cat` that ends with its standard input."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from helpers import children
from helpers.capabilities import require
from helpers.programs import MOUNTING, Word, prepared
from helpers.running import Running
from spawner import lean

ROOT = os.geteuid() == 0
OWNER = 64999 if ROOT else os.geteuid()
"""Who makes the containers that don't take root."""

BECOME_OWNER = f"""
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid({OWNER}, {OWNER}, {OWNER})
    os.setresuid({OWNER}, {OWNER}, {OWNER})
"""

PROGRAM = ("/bin/sh", "-c", "cd /tmp && echo ready && exec cat")
"""What runs inside: it is somewhere else than who joins."""

BY_UNSHARE = ("unshare", "-r", "--fork", "--pid", "--mount-proc", "-n", "-u", "-i", "-C")
BY_BWRAP = ("bwrap", "--bind", "/", "/", "--unshare-all", "--proc", "/proc", "--dev", "/dev")
BY_NESTED_BWRAP = (*BY_BWRAP, "--unshare-user", "--disable-userns", "--uid", "5", "--gid", "6")

_PRIVATE = (
    MOUNTING
    + """
import json
check(libc.unshare(0x20000))
mount(None, "/", None, 0x4000 | 1 << 18)
mount("room", "/mnt", "tmpfs")
os.mkdir("/mnt/rootfs")
"""
)
"""A private mount namespace with a tmpfs on /mnt, which goes with the last process in it."""


def as_owner(argv: list[Word]) -> list[Word]:
    """Return the argv that runs `argv` (absolute path first) as the owner of the containers."""
    if ROOT:
        require("other-user")
    return prepared(BECOME_OWNER, argv)


def _found(name: str) -> str:
    for directory in os.environ["PATH"].split(":"):
        if os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    raise AssertionError(name)


@contextmanager
def _running(argv: list[Word]) -> Iterator[int]:
    with Running(argv) as running:
        assert running.line() == "ready", running.errors()
        yield ([running.starter, *children.below(running.starter)])[-1]
        running.close_input()
        running.wait()


def _by(words: tuple[str, ...]) -> Callable[[Path], object]:
    @contextmanager
    def make(_: Path) -> Iterator[int]:
        require("pidns", words[0])
        with _running(as_owner([_found(words[0]), *words[1:], *PROGRAM])) as pid:
            yield pid

    return make


@contextmanager
def _ours(_: Path) -> Iterator[int]:
    require("pidns")
    words = ["--init", "--unshare", "all", "--hostname", "box", "--"]
    with _running(as_owner([*lean.pyspawn(), *words, *PROGRAM])) as pid:
        yield pid


@contextmanager
def _in_cgroup(argv: list[Word], pidfile: Path) -> Iterator[int]:
    """Run what makes control groups called `_name()`, and take away those that it leaves."""
    try:
        with _running(argv):
            yield _written(pidfile)
    finally:
        for place in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()):
            group = place / _name()
            children.wait_until(partial(_remove, group), f"the end of {group}")


def _remove(group: Path) -> bool:
    """Remove a control group and those in it; tell whether it is gone."""
    for place in (*group.glob("**/"),)[::-1]:
        with contextlib.suppress(OSError):  # a process in it is on its way
            place.rmdir()
    return not group.exists()


def _written(pidfile: Path) -> int:
    """Return the pid in a file that is written at about the time that the program runs."""
    children.wait_until(lambda: pidfile.exists() and bool(pidfile.read_text()), str(pidfile))
    return int(pidfile.read_text())


@contextmanager
def _runc(place: Path) -> Iterator[int]:
    """Run a bundle whose root is /, with a network and all else of its own."""
    require("root", "runc")
    kinds = ("pid", "mount", "ipc", "uts", "network", "cgroup")
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": PROGRAM,
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
        },
        "root": {"path": "rootfs", "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in kinds], "cgroupsPath": f"/{_name()}"},
    }
    code = _PRIVATE + 'mount("/", "/mnt/rootfs", None, 0x1000)\n'
    code += f'open("/mnt/config.json", "w").write({json.dumps(config)!r})\n'
    pidfile = place / "pid"
    argv = [_found("runc"), "--root", "/mnt/state", "run", "--bundle", "/mnt",
            "--pid-file", str(pidfile), _name()]  # fmt: skip
    with _in_cgroup(prepared(code, argv), pidfile) as pid:
        yield pid


def _name() -> str:
    """Return the name of a container and its control groups: other test processes have others."""
    return f"pidone-join-{os.getpid()}"


_CONTAINERS = """[containers]
netns="none"
default_ulimits=["nofile=20000:20000","nproc=32768:32768"]
[engine]
cgroup_manager="cgroupfs"
runtime="runc"
events_logger="none"
"""
_STORAGE = '[storage]\ndriver="vfs"\nrunroot="/mnt/run"\ngraphroot="/mnt/graph"\n'

_ROOT_FILES = f"""
for name in ("usr", "bin", "sbin", "lib", "lib64", "etc"):
    if os.path.isdir("/" + name):
        os.mkdir("/mnt/rootfs/" + name)
        mount("/" + name, "/mnt/rootfs/" + name, None, 0x1000)
for name in ("proc", "dev", "sys", "run", "tmp", "var", "var/tmp"):
    os.mkdir("/mnt/rootfs/" + name)
for name, text in (("CONTAINERS_CONF", {_CONTAINERS!r}), ("CONTAINERS_STORAGE_CONF", {_STORAGE!r})):
    os.environ[name] = "/mnt/" + name
    open("/mnt/" + name, "w").write(text)
"""
"""A root file system of the machine's own programs, and podman's configuration."""


@contextmanager
def _podman(place: Path) -> Iterator[int]:
    """Run what podman takes for a root file system, with storage of its own in memory."""
    require("root", "podman", "runc")
    pidfile = place / "pid"
    argv = [_found("podman"), "run", "--rm", "-i", "--pidfile", str(pidfile),
            "--cgroup-parent", f"/{_name()}", "--rootfs",
            "/mnt/rootfs", *PROGRAM]  # fmt: skip
    with _in_cgroup(prepared(_PRIVATE + _ROOT_FILES, argv), pidfile) as pid:
        yield pid


_OWNERS_ROOM = f"""
NAME = "pidone-owner"
os.chmod("/mnt", 0o755)
for name, text in (
    ("passwd", f"root:x:0:0::/root:/bin/sh\\n{{NAME}}:x:{OWNER}:{OWNER}::/mnt/home:/bin/sh\\n"),
    ("subuid", f"{{NAME}}:100000:65536\\n"),
    ("subgid", f"{{NAME}}:100000:65536\\n"),
):
    open("/mnt/" + name, "w").write(text)
    mount("/mnt/" + name, "/etc/" + name, None, 0x1000)
for name in ("home", "run", "graph"):
    os.mkdir("/mnt/" + name)
for name in ("home", "run", "graph", *(f"rootfs/{{name}}" for name in ("run", "tmp", "var/tmp"))):
    os.chown("/mnt/" + name, {OWNER}, {OWNER})
os.environ.update(HOME="/mnt/home", XDG_RUNTIME_DIR="/mnt/run", USER=NAME)
"""
"""What the owner needs to be one of rootless podman's users: a name, ranges of ids, directories."""


def _cats(above: int) -> list[int]:
    """Return the pids below a process that have become PROGRAM's last."""
    found = []
    for pid in children.below(above):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/comm").read_text() == "cat\n":
                found.append(pid)
    return found


@contextmanager
def _rootless_podman(_: Path) -> Iterator[int]:
    """Run podman as the owner; in a PID namespace, so that its pause process ends with it."""
    require("root", "other-user", "podman", "runc", "newuidmap", "pidns")
    podman = [_found("podman"), "run", "--rm", "-i", "--rootfs", "/mnt/rootfs", *PROGRAM]
    around = ("--init", "--share", "cgroup")  # whose cgroup namespace is the one around it
    outer = [*lean.pyspawn(), *around, "--", *prepared(BECOME_OWNER, podman)]
    with Running(prepared(_PRIVATE + _ROOT_FILES + _OWNERS_ROOM, outer)) as running:
        assert running.line() == "ready", running.errors()
        children.wait_until(lambda: bool(_cats(running.starter)), "its program")
        yield _cats(running.starter)[0]
        running.close_input()
        running.wait()


MAKERS: dict[str, Callable[[Path], object]] = {
    "pyspawn": _ours,
    "unshare": _by(BY_UNSHARE),
    "bwrap": _by(BY_BWRAP),
    "bwrap, a user namespace in another": _by(BY_NESTED_BWRAP),
    "runc": _runc,
    "podman": _podman,
    "rootless podman": _rootless_podman,
}
"""Each takes a directory for its files, and yields the host pid of the program."""

OWNED = ("pyspawn", "unshare", "bwrap", "bwrap, a user namespace in another", "rootless podman")
"""Those whose owner isn't root."""


UNMAPPED = """
os.setgroups([])
os.setresgid({owner}, {owner}, {owner})
os.setresuid({owner}, {owner}, {owner})
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(4, 1, 0, 0, 0)  # its files in /proc are its own again
if libc.unshare(0x10000000 | 0x20000):  # user and mount namespaces
    sys.exit("unshare")
{maps}
if libc.mount({program!r}.encode(), b"/bin/true", None, ctypes.c_ulong(0x1000), None):
    sys.exit("mount")
"""
"""An ordinary user's namespaces with some maps, and a program of their own over /bin/true."""

MAPS = {
    "uid": f"open('/proc/self/uid_map', 'w').write('0 {OWNER} 1')",
    "gid": "open('/proc/self/setgroups', 'w').write('deny')\n"
    f"open('/proc/self/gid_map', 'w').write('0 {OWNER} 1')",
}


@contextmanager
def unmapped(place: Path, *mapped: str) -> Iterator[tuple[int, Path]]:
    """Yield the pid of a target with only these maps, and the file that its program makes."""
    require("root", "other-user", "userns")
    place.chmod(0o777)
    for above in place.parents[:2]:
        above.chmod(0o755)
    program, mark = place / "program", place / "mark"
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    maps = "\n".join(MAPS[kind] for kind in mapped)
    code = UNMAPPED.format(owner=OWNER, maps=maps, program=str(program))
    with Running(prepared(code, ["/bin/sh", "-c", "echo ready; exec cat"])) as running:
        assert running.line() == "ready", running.errors()
        yield running.pid, mark


SUBORDINATE = """
reader, writer = os.pipe()
asks, answers = os.pipe()
pid = os.fork()
if pid == 0:
    os.setgroups([])
    os.setresgid({owner}, {owner}, {owner})
    os.setresuid({owner}, {owner}, {owner})
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(4, 1, 0, 0, 0)
    if libc.unshare(0x10000000):
        sys.exit("unshare")
    os.write(writer, b".")
    os.read(asks, 1)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    os.execv(argv[0], argv)
os.read(reader, 1)
for name, value in (
    ("setgroups", {setgroups!r}), ("gid_map", "0 100000 65536"), ("uid_map", "0 100000 65536")
):
    open(f"/proc/{{pid}}/{{name}}", "w").write(value)
os.write(answers, b".")
os.waitpid(pid, 0)
os._exit(0)
"""
"""A user namespace of the owner's with ids that are all strangers, as root would map them."""


@contextmanager
def subordinate(setgroups: str) -> Iterator[int]:
    require("root", "other-user", "userns")
    code = SUBORDINATE.format(owner=OWNER, setgroups=setgroups)
    with Running(prepared(code, ["/bin/sh", "-c", "echo ready; exec cat"])) as running:
        assert running.line() == "ready", running.errors()
        yield children.below(running.starter)[-1]
