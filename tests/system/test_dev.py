"""`--dev`: the devices that programs rely on, terminals of its own, and no others."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.mounted import mounted
from helpers.programs import MOUNTING, Word, prepared, python
from helpers.pyspawn import each_shape, pyspawn, refused, sh, spawn
from helpers.running import Ended, Running, run
from helpers.seccomp import Held

import spawner
from spawner.mount.dev import DEVICES, LINKS

pytestmark = pytest.mark.usefixtures("pidns")

EVERYBODY = [[], ["--user"]]
"""With the caller's rights and with those of a namespace."""

NAMES = sorted([*DEVICES, *LINKS, "pts", "shm"])

LOOK = """
import os, stat
for name in sorted(os.listdir("/dev")):
    found = os.lstat(f"/dev/{name}")
    kind = stat.filemode(found.st_mode)[0]
    print(name, kind, os.major(found.st_rdev), os.minor(found.st_rdev))
"""


@each_shape
def test_these_devices_and_no_others(options: list[str]) -> None:
    ended = spawn(*options, "--dev", "/dev", "--", *python(LOOK))
    assert (ended.status, ended.errors) == (0, "")
    found = {line.split()[0]: line.split()[1:] for line in ended.out.decode().splitlines()}
    assert sorted(found) == NAMES
    for name, numbers in DEVICES.items():
        assert found[name] == ["c", *map(str, numbers)]
    assert {found[name][0] for name in LINKS} == {"l"}
    assert {found[name][0] for name in ("pts", "shm")} == {"d"}


USE = """
import os, pty
with open("/dev/null", "wb") as file:
    file.write(b"x")
with open("/dev/zero", "rb") as file:
    assert file.read(3) == bytes(3)
for name in ("random", "urandom"):
    with open(f"/dev/{name}", "rb") as file:
        assert len(file.read(3)) == 3
try:
    with open("/dev/full", "wb", 0) as file:
        file.write(b"x")
except OSError as error:
    print(error.strerror)
with open("/dev/shm/x", "w") as file:
    file.write("x")
master, slave = pty.openpty()
print(os.ttyname(slave))
os.write(slave, b"through\\n")
said = b""
while b"\\n" not in said:
    said += os.read(master, 100)
print(said)
with open("/dev/stdout", "w") as file:
    file.write("said\\n")
try:
    os.mknod("/dev/shm/null", 0o20666, os.makedev(1, 3))
    open("/dev/shm/null")
except PermissionError:
    print("denied")
"""


@pytest.mark.parametrize("options", EVERYBODY)
def test_they_can_be_used(options: list[str]) -> None:
    argv: list[Word] = [sys.executable, "-u", "-I", "-S", "-c", USE]
    ended = spawn(*options, "--dev", "/dev", "--", *argv)
    assert (ended.status, ended.errors) == (0, "")
    first, second, third, said, denied = ended.out.decode().splitlines()
    assert first == "No space left on device"
    assert (second, third) == ("/dev/pts/0", r"b'through\r\n'")
    assert (said, denied) == ("said", "denied")


def test_somewhere_else_and_what_is_mounted_in_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("said\n")
    place = tmp_path.resolve() / "dev"
    place.mkdir()
    words = ["--dev", str(place), "--bind", str(tmp_path / "file"), f"{place}/more"]
    ended = sh(f"cat {place}/more; ls {place}; : >{place}/null", *words)
    assert (ended.status, ended.errors) == (0, "")
    assert ended.out.decode().split() == ["said", *sorted([*NAMES, "more"])]
    assert list(place.iterdir()) == []


def test_what_is_mounted_there_is_not_hidden() -> None:
    message, _ = refused(sh("echo ran", "--dev", "/dev", "--tmpfs", "/dev/shm"))
    assert message == "the tmpfs on /dev/shm would hide what is mounted on /dev/shm"
    message, _ = refused(sh("echo ran", "--dev", "/dev", "--dev-bind", "/dev", "/dev"))
    assert message == "the bind of /dev on /dev would hide the devices on /dev"


def test_the_terminals_are_its_own() -> None:
    """A name of the host's leads to none of them."""
    ours, theirs = os.openpty()
    try:
        ended = sh(f"ls /dev/pts; : <{os.ttyname(theirs)}", "--dev", "/dev")
        assert ended.out == b"ptmx\n"
        assert ended.status != 0
    finally:
        os.close(ours)
        os.close(theirs)


_ROOM = (
    MOUNTING
    + """
check(libc.unshare(0x20000))
mount(None, "/", None, 1 << 18 | 16384)
mount(SOURCE, "/dev/full", None, 4096)
if FLAGS:
    mount(None, "/dev/full", None, 4096 | 32 | FLAGS)
"""
)


def in_room(source: str, flags: int, *options: str) -> Ended:
    """Run pyspawn where something is mounted on /dev/full."""
    require("root")
    room = f"SOURCE, FLAGS = {source!r}, {flags}\n{_ROOM}"
    return run(prepared(room, pyspawn(*options, "--dev", "/dev", "--", "/bin/echo", "ran")))


@pytest.mark.parametrize("options", EVERYBODY)
@pytest.mark.parametrize("source", ["/etc/passwd", "/dev/zero"])
def test_what_is_not_the_device_is_not_bound(source: str, options: list[str]) -> None:
    message, hint = refused(in_room(source, 0, *options))
    assert message == "/dev/full isn't the character device 1:7"
    assert "`mknod -m 666 /dev/full c 1 7`" in hint


@pytest.mark.parametrize("options", EVERYBODY)
def test_a_device_that_can_not_be_opened_is_told(options: list[str]) -> None:
    message, hint = refused(in_room("/dev/full", 4, *options))
    assert message.endswith("/dev/full is on a mount with nodev, and can't be opened")
    assert "without nodev" in hint


@pytest.mark.parametrize("turn", [0, 1, 6, 8])
def test_sigkill_between_the_mounts(turn: int) -> None:
    require("seccomp")
    before = mounted("/dev")
    with Held("move_mount") as moments:
        argv = prepared(moments.code, pyspawn("--dev", "/dev", "--", "/bin/sleep", "1000"))
        with Running(argv, pass_fds=[moments.fileno]) as running:
            for _ in range(turn):
                moments.let_go(moments.catch())
            moment = moments.catch()
            tree = children.below(running.starter)
            os.kill(running.starter, signal.SIGKILL)
            moments.let_go(moment)
            while children.wait_gone(tree, 0.1):
                with contextlib.suppress(FileNotFoundError):
                    moments.let_go(moments.catch())
    assert mounted("/dev") == before


def test_from_python() -> None:
    for options in ({}, {"unshare": "user"}):
        listed = spawner.check_output(
            ["ls", "/dev"],
            mounts=spawner.Mounts([spawner.Dev()]),
            **options,  # type: ignore[call-overload]
        )
        assert listed.decode().split() == NAMES


FLOOD = """
import errno, os, resource
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1024), hard))
found = 0
try:
    while found < 512:
        os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
        found += 1
except OSError as error:
    print(found, errno.errorcode[error.errno])
"""


@each_shape
def test_a_container_doesn_t_take_up_all_terminals(options: list[str]) -> None:
    ended = spawn(*options, "--dev", "/dev", "--", *python(FLOOD))
    assert (ended.status, ended.errors, ended.out.split()) == (0, "", [b"256", b"ENOSPC"])
