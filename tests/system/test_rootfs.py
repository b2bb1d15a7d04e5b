"""`--rootfs` and `--read-only`: a root of its own, of which no path leads out."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.mounted import mounted
from helpers.programs import MOUNTING, prepared
from helpers.pyspawn import pyspawn, refused, said, spawn
from helpers.roots import Root
from helpers.running import Running, run
from helpers.seccomp import Held, deny

import spawner

pytestmark = pytest.mark.usefixtures("pidns")

EVERYBODY = [[], ["--user"]]
"""With the caller's rights and with those of a namespace."""


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path.resolve() / "root")


@pytest.mark.parametrize("options", [*EVERYBODY, ["--share=pid"], ["--share=pid", "--user"]])
def test_the_program_sees_that_root_alone(root: Root, options: list[str]) -> None:
    ended = root.sh("pwd; ls /; ls /..; cd /../..; ls", *options)
    assert (ended.status, ended.errors) == (0, "")
    assert ended.out.decode().split() == ["/", *root.names * 3]


@pytest.mark.parametrize("options", EVERYBODY)
def test_nothing_of_the_host_is_mounted_or_open(root: Root, options: list[str]) -> None:
    points = "while read -r a b c d place rest; do echo $place; done </proc/self/mountinfo"
    ended = root.sh(f"{points}; echo; cd /proc/1/fd; echo *", *options)
    mounted, opened = ended.out.decode().split("\n\n")
    places = [word for word in map(str, root.binds) if word.startswith("/")][::2]
    assert sorted(mounted.split()) == sorted(["/", "/proc", *places])
    assert set(opened.split()) <= {"0", "1", "2", "3", "10"}  # what is read, and a shell's own


@pytest.mark.parametrize("options", EVERYBODY)
def test_it_can_be_written_unless_it_is_read_only(root: Root, options: list[str]) -> None:
    ended = root.sh("echo x >/mine/x", *options)
    assert (ended.status, ended.errors) == (0, "")
    assert (root.place / "mine/x").read_text() == "x\n"
    ended = root.sh("rm /mine/x", *options, "--read-only")
    assert "Read-only file system" in ended.errors
    ended = root.sh("echo x >/tmp/x && cat /tmp/x", *options, "--read-only", "--tmpfs", "/tmp")
    assert (ended.out, ended.errors) == (b"x\n", "")
    assert list((root.place / "tmp").iterdir()) == []


_ROOM = (
    MOUNTING
    + """
REC, PRIVATE, SHARED, NEWNS = 16384, 1 << 18, 1 << 20, 0x20000
check(libc.unshare(NEWNS))
mount(None, "/", None, REC | PRIVATE)
mount("below", BELOW, "tmpfs")
mount(None, "/", None, REC | SHARED)
def table():
    with open("/proc/self/mountinfo") as file:
        return file.read()
before = table()
pid = os.fork()
if pid == 0:
    os.execv(argv[0], argv)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
if table() != before:
    os.write(1, b"the mounts have changed\\n")
os._exit(status & 255)
"""
)


@pytest.mark.parametrize("options", EVERYBODY)
@pytest.mark.parametrize("old", [False, True], ids=["mount_setattr", "remount"])
def test_mounts_below_come_along_and_the_host_sees_none(
    root: Root, options: list[str], old: bool
) -> None:
    require("root")
    words = root.words("echo x >/mine/x; mount -t tmpfs x /tmp; exit 5", *options, "--read-only")
    first = deny(errno.ENOSYS, "mount_setattr") if old else ""
    below = f"BELOW = {str(root.place / 'mine')!r}\n"
    ended = run(prepared(first + below + _ROOM, pyspawn(*words)))
    assert (ended.status, ended.out) == (5, b"")
    assert "Read-only file system" in ended.errors


def test_devices_of_the_root_are_closed(root: Root) -> None:
    require("root", "CAP_MKNOD")
    os.mknod(root.place / "mine/null", 0o20666, os.makedev(1, 3))
    ended = root.sh(": >/mine/null")
    assert "Permission denied" in ended.errors
    words = ["--dev-bind", "/dev/null", "/mine/null"]
    assert root.sh(": >/mine/null", *words).errors == ""


def test_the_working_directory_is_the_root_or_one_in_it(root: Root) -> None:
    assert root.sh("pwd", "--workdir", "mine").out == b"/mine\n"
    assert root.sh("pwd", "--workdir", "/usr/bin").out == b"/usr/bin\n"
    message, hint = refused(root.sh("pwd", "--workdir", str(root.place)))
    assert message == f"change to the directory {root.place}: No such file or directory (ENOENT)"
    assert f"in the root {root.place}: `ls -ld {root.place}{root.place}`" in hint


# Links


@pytest.mark.parametrize("text", ["/mine", "/../../mine", "../../../../../../mine", "etc/../mine"])
@pytest.mark.parametrize("options", EVERYBODY)
def test_a_link_leads_nowhere_out_of_the_root(root: Root, text: str, options: list[str]) -> None:
    (root.place / "link").symlink_to(text)
    ended = root.sh("ls /mine", "--bind", str(root.place / "usr/.."), "/link", *options)
    assert (ended.status, ended.errors) == (0, "")
    assert ended.out.decode().split() == sorted([*root.names, "link"])


def test_a_link_to_a_place_that_only_the_host_has(root: Root, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (root.place / "link").symlink_to(tmp_path / "outside")
    message, hint = refused(root.sh("echo ran", "--tmpfs", "/link"))
    assert message.endswith("there is no /link to mount on")
    assert f"make the directory {root.place}/link first" in hint


def test_a_link_that_is_swapped_in_leads_nowhere_out(root: Root, tmp_path: Path) -> None:
    """At the moment between the walk and the mount."""
    require("seccomp")
    (tmp_path / "outside").mkdir()
    with Held("move_mount") as moments:
        words = root.words("ls /was", "--bind", str(root.place / "etc"), "/mine")
        running = Running(prepared(moments.code, pyspawn(*words)), pass_fds=[moments.fileno])
        with running:
            for _ in range(len(root.binds) // 3 + 1):  # the root, and what comes before
                moments.let_go(moments.catch())
            moment = moments.catch()
            (root.place / "mine").rename(root.place / "was")
            (root.place / "mine").symlink_to(f"../../../../{tmp_path}/outside")
            moments.let_go(moment)
            running.close_input()
            assert running.out.rest() == b""
            assert running.wait() == 0
    assert list((tmp_path / "outside").iterdir()) == []


# What is refused


def test_a_root_that_can_not_be(root: Root, tmp_path: Path) -> None:
    message, hint = refused(spawn("--rootfs", f"{root.place}/x", "--", "/bin/true"))
    assert message == f"open the root {root.place}/x: No such file or directory (ENOENT)"
    assert f"`namei -l {root.place}/x`" in hint
    (tmp_path / "image.tar").touch()
    message, hint = refused(spawn("--rootfs", f"{tmp_path}/image.tar", "--", "/bin/true"))
    assert message == f"the root {tmp_path}/image.tar isn't a directory"
    assert hint == "unpack an image first, and name the directory"
    (root.place / "proc").rmdir()
    message, hint = refused(root.sh("echo ran"))
    assert message == "mount proc on /proc: No such file or directory (ENOENT)"
    assert hint == f"make a directory for it: `mkdir {root.place}/proc`"
    assert root.sh("echo ran", "--share=pid").out == b"ran\n"
    message, hint = refused(spawn("--read-only", "--", "/bin/true"))
    assert message == "only a root of its own can be read-only"
    assert hint == "add --rootfs DIR, or --tmpfs / for an empty one"


def test_pyinit_that_is_not_in_the_root_is_told(root: Root) -> None:
    message, hint = refused(root.sh("echo ran", "--init"))
    assert message.endswith(", which pyinit needs, isn't in the container")
    assert hint == "start without --init, or choose an init that is in the root: --init=PATH"


@pytest.mark.parametrize("options", EVERYBODY)
@pytest.mark.parametrize("reason", [errno.EPERM, errno.EINVAL])
def test_another_root_that_is_refused(root: Root, options: list[str], reason: int) -> None:
    require("seccomp")
    words = pyspawn(*root.words("echo ran", *options))
    ended = run(prepared(deny(reason, "pivot_root"), words))
    assert (ended.status, ended.out) == (125, b"")
    assert said(ended)[0] == (
        f"pyspawn: make {root.place} the root directory: {os.strerror(reason)} "
        f"({errno.errorcode[reason]})"
    )
    assert len(said(ended)) == 2


@pytest.mark.parametrize("call", ["pivot_root", "umount2"])
@pytest.mark.parametrize("options", EVERYBODY)
def test_sigkill_at_a_call(root: Root, call: str, options: list[str]) -> None:
    """Of the launcher, while the init is at that call: nothing is left."""
    require("seccomp")
    before = mounted(str(root.place))
    with Held(call) as moments:
        argv = prepared(moments.code, pyspawn(*root.words("sleep 1000", *options)))
        with Running(argv, pass_fds=[moments.fileno]) as running:
            moment = moments.catch()
            tree = children.below(running.starter)
            assert moment.pid in tree
            os.kill(running.starter, signal.SIGKILL)
            moments.let_go(moment)
            while children.wait_gone(tree, 0.1):
                with contextlib.suppress(FileNotFoundError):
                    moments.let_go(moments.catch())
    assert mounted(str(root.place)) == before == []
    assert sorted(each.name for each in root.place.iterdir()) == root.names


def test_the_hosts_own_root_read_only() -> None:
    ended = spawn("--rootfs=/", "--read-only", "--init", "--", "/bin/sh", "-c", "pwd; : >/tmp/x")
    assert ended.out == b"/\n"
    assert "Read-only file system" in ended.errors


def test_from_python(root: Root) -> None:
    binds = [word for word in map(str, root.binds) if word.startswith("/")]
    mounts = spawner.Mounts(
        [spawner.Bind(place, place, read_only=True) for place in binds[::2]],
        root=root.place,
        read_only=True,
    )
    for options in ({}, {"unshare": "user"}):
        ended = spawner.run(
            ["/bin/sh", "-c", "ls /; : >/x"],
            init=False,
            mounts=mounts,
            stdout=spawner.PIPE,
            stderr=spawner.PIPE,
            text=True,
            **options,  # type: ignore[call-overload]
        )
        assert ended.stdout.split() == root.names
        assert "Read-only" in ended.stderr
    told = [step.what for step in spawner.plan(["true"], mounts=mounts)]
    assert f"make {root.place} the root directory, read-only" in told
    with pytest.raises(spawner.SetupError, match="which pyinit needs") as caught:
        spawner.run(["true"], mounts=mounts)
    assert caught.value.hint == (
        'start without init=True, or choose an init that is in the root: init="PATH"'
    )
