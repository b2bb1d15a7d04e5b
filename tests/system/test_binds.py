"""`--bind`, `--ro-bind`, `--dev-bind` and `--tmpfs`: what is seen inside, and nothing outside."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.mounted import mounted
from helpers.programs import MOUNTING, PLACE, Word, prepared
from helpers.pyspawn import each_shape, pyspawn, refusal, refused, said, sh, spawn
from helpers.running import Ended, Running, run
from helpers.seccomp import Call, Held, deny

import spawner
from spawner import aio
from spawner.api import isolate
from spawner.mount.root import _links

pytestmark = pytest.mark.usefixtures("pidns")

EVERYBODY = [[], ["--user"]]
"""With the caller's rights and with those of a namespace."""


class Room:
    """Directories of the host: `source`, with a file, and `target`, which is empty."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.source = place / "source"
        self.target = place / "target"
        self.file = self.source / "file"
        self.source.mkdir()
        self.target.mkdir()
        self.file.write_text("said\n")

    def is_as_before(self) -> bool:
        return [each.name for each in self.place.rglob("*")] in (
            ["source", "target", "file"], ["target", "source", "file"],
        )  # fmt: skip


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path.resolve())


FLAGS = """
show() { while read -r a b c d place options rest; do
    case $place in "$1"*) echo "${place#"$1"} $options" ;; esac
done </proc/self/mountinfo; }
show """


@each_shape
def test_a_directory_is_bound_and_can_be_written(room: Room, options: list[str]) -> None:
    script = f"cat {room.target}/file; echo new >{room.target}/new; {FLAGS}{room.target}"
    ended = sh(script, *options, "--bind", room.source.as_posix(), room.target.as_posix())
    assert (ended.status, ended.errors) == (0, "")
    said, flags = ended.out.decode().splitlines()
    assert said == "said"
    assert {"rw", "nosuid", "nodev"} <= set(flags.split()[0].split(","))
    assert (room.source / "new").read_text() == "new\n"
    assert list(room.target.iterdir()) == []


@each_shape
def test_a_read_only_bind(room: Room, options: list[str]) -> None:
    script = f"cat {room.target}/file; echo x >{room.target}/file"
    ended = sh(script, *options, "--ro-bind", str(room.source), str(room.target))
    assert ended.out == b"said\n"
    assert ended.status != 0
    assert "Read-only file system" in ended.errors
    assert room.file.read_text() == "said\n"


@pytest.mark.parametrize("options", EVERYBODY)
def test_a_file_on_a_file(room: Room, options: list[str]) -> None:
    other = room.place / "other"
    other.write_text("other\n")
    ended = sh(f"cat {other}", *options, "--bind", str(room.file), str(other))
    assert (ended.out, ended.errors) == (b"said\n", "")


@pytest.mark.parametrize(("option", "opens"), [("--bind", False), ("--dev-bind", True)])
def test_devices(room: Room, option: str, opens: bool) -> None:
    require("root")
    target = room.place / "null"
    target.touch()
    ended = sh(f": <{target} && echo opened", option, "/dev/null", str(target))
    assert (ended.out == b"opened\n") == opens
    assert opens or "Permission denied" in ended.errors


@pytest.mark.parametrize("options", EVERYBODY)
def test_a_tmpfs_and_what_is_mounted_in_it(room: Room, options: list[str]) -> None:
    """Its mount points are made in it; nothing is in the host's directory."""
    words = ["--tmpfs", f"{room.target}:size=1M", "--bind", str(room.source), f"{room.target}/a/b",
             "--ro-bind", str(room.file), f"{room.target}/c/d"]  # fmt: skip
    script = f"cd {room.target}; cat a/b/file c/d; stat -c %a . a c; {FLAGS}{room.target}"
    ended = sh(script, *options, *words)
    assert (ended.status, ended.errors) == (0, "")
    *said, tmpfs, first, second = ended.out.decode().splitlines()
    assert said == ["said", "said", "1777", "755", "755"]
    flags = {line.split()[0] if line[0] == "/" else "": set(line.split()[-1].split(","))
             for line in (tmpfs, first, second)}  # fmt: skip
    assert {"rw", "nosuid", "nodev"} <= flags[""]
    assert {"rw", "nosuid", "nodev"} <= flags["/a/b"]
    assert {"ro", "nosuid", "nodev"} <= flags["/c/d"]
    assert list(room.target.iterdir()) == []


@pytest.mark.parametrize("options", EVERYBODY)
def test_a_tmpfs_is_bounded(room: Room, options: list[str]) -> None:
    script = f"cd {room.target} && head -c 2000000 /dev/zero >x; stat -c %s x; stat -fc %S*%b ."
    ended = sh(script, *options, "--tmpfs", f"{room.target}:size=1M")
    assert "No space left on device" in ended.errors
    size, bound = ended.out.split()
    assert int(size) <= 1 << 20
    assert eval(bound) == 1 << 20
    told = sh(f"stat -fc %S*%b {room.target}", *options, "--tmpfs", str(room.target))
    assert eval(told.out) == 256 << 20
    files = sh(
        f"cd {room.target} && i=0; while : >$i; do i=$((i+1)); done", "--tmpfs",
        f"{room.target}:size=1M", *options,
    )  # fmt: skip
    assert "No space left on device" in files.errors


@pytest.mark.parametrize("umask", [0o077, 0])
def test_mount_points_are_made_whatever_the_umask(room: Room, umask: int) -> None:
    words = ["--tmpfs", str(room.target), "--bind", str(room.file), f"{room.target}/a/b"]
    show = ["--", "/usr/bin/stat", "-c", "%a", f"{room.target}/a"]
    ended = run(prepared(f"os.umask({umask})\n", pyspawn(*words, *show)))
    assert ended.out == b"755\n"


@pytest.mark.parametrize("options", EVERYBODY)
def test_a_source_may_be_covered_by_an_earlier_mount(room: Room, options: list[str]) -> None:
    words = ["--tmpfs", str(room.place), "--bind", str(room.source), str(room.source)]
    ended = sh(f"cat {room.file}; ls {room.place}", *options, *words)
    assert (ended.out, ended.errors) == (b"said\nsource\n", "")
    assert room.is_as_before()


def test_try(room: Room) -> None:
    missing = str(room.place / "missing")
    for option in ("--bind-try", "--ro-bind-try", "--dev-bind-try"):
        ended = sh(f"ls {room.target}", option, missing, str(room.target))
        assert (ended.status, ended.out, ended.errors) == (0, b"", "")
        there = sh(f"ls {room.target}", option, str(room.source), str(room.target))
        assert there.out == b"file\n"
    if os.geteuid():
        (room.source / "in").mkdir()
        room.source.chmod(0)
        try:
            ended = sh("echo ran", "--bind-try", f"{room.source}/in", str(room.target))
        finally:
            room.source.chmod(0o700)
        message, _ = refused(ended)
        assert message.endswith("Permission denied (EACCES)")


# Links


def test_links_are_followed_on_both_ends(room: Room) -> None:
    (room.place / "from").symlink_to("source")
    (room.place / "to").symlink_to(room.target)
    (room.place / "up").symlink_to("target/../to")
    for target in ("to", "up"):
        words = ["--bind", f"{room.place}/from", f"{room.place}/{target}"]
        assert sh(f"cat {room.target}/file", *words).out == b"said\n"


def test_what_a_link_would_hide_is_seen(room: Room) -> None:
    """By their words the two have nothing to do with each other."""
    (room.place / "link").symlink_to("target")
    words = ["--tmpfs", str(room.target), "--bind", str(room.source), f"{room.place}/link"]
    message, hint = refused(sh("echo ran", *words))
    assert message == (
        f"the bind of {room.source} on {room.place}/link, which leads to {room.target}, would hide "
        f"what is mounted on {room.target}"
    )
    assert f"`realpath {room.place}/link`" in hint
    (room.place / "proc").symlink_to("/proc")
    message, _ = refused(sh("echo ran", "--tmpfs", f"{room.place}/proc"))
    assert message.endswith("would hide what is mounted on /proc")


def test_a_link_of_proc_to_a_directory_of_ours_leads_nowhere_else(room: Room) -> None:
    """Its text is a path, and that is what is mounted on."""
    room.target.rename(room.place / "moved")
    room.target.mkdir()
    words = ["--bind", str(room.source), "/proc/self/cwd", "--workdir", "/"]
    ended = run(
        pyspawn(*words, "--", "/bin/ls", str(room.place / "moved")),
        directory=str(room.place / "moved"),
    )
    assert (ended.out, ended.errors) == (b"file\n", "")


def test_the_working_directory_is_not_hidden(room: Room) -> None:
    for target in (room.target, room.place):
        words = ["--tmpfs", str(target), "--", "/bin/pwd"]
        ended = run(pyspawn(*words), directory=str(room.target))
        message, hint = refused(ended)
        assert message.endswith(f"would hide the working directory, {room.target}")
        assert hint.endswith(f"by its absolute path: --workdir {room.target}")
        relative = run(pyspawn("-w", ".", *words), directory=str(room.target))
        assert refused(relative) == (message, hint)
    heeded = run(pyspawn("-w", str(target), *words), directory=str(room.target))
    assert heeded.out.decode() == f"{target}\n"


def test_a_proc_elsewhere_is_not_hidden(room: Room) -> None:
    words = ["--mount-proc=target", "--tmpfs", str(room.target), "--", "/bin/echo", "ran"]
    ended = run(pyspawn(*words), directory=str(room.place))
    message, _ = refused(ended)
    assert message.endswith("would hide what is mounted on target")


# What is refused


def test_a_mount_point_that_is_not_there_is_not_made(room: Room) -> None:
    for words in (
        ["--bind", str(room.source), f"{room.target}/a/b"],
        ["--tmpfs", f"{room.target}/a/b"],
        ["--bind", str(room.source), str(room.target), "--tmpfs", f"{room.target}/a"],
    ):
        message, hint = refused(sh("echo ran", *words))
        place = words[-1]
        assert message.endswith(f"{place}: there is no {place} to mount on")
        assert hint.startswith("nothing is made in the host's own directories: make the ")
        assert f"directory {place} first, or mount a tmpfs above it" in hint
    assert room.is_as_before()
    (room.target / "a/b").mkdir(parents=True)
    assert sh("echo ran", "--tmpfs", f"{room.target}/a/b").out == b"ran\n"


def test_a_source_that_is_not_there(room: Room) -> None:
    message, hint = refused(sh("echo ran", "--ro-bind", f"{room.place}/x", str(room.target)))
    assert message == f"there is no {room.place}/x to bind on {room.target}"
    assert "--ro-bind-try" in hint


def test_a_file_is_not_mounted_on_a_directory(room: Room) -> None:
    message, hint = refused(sh("echo ran", "--bind", str(room.file), str(room.target)))
    assert message.endswith(": a file can't be mounted on a directory")
    assert hint == "name a file as the target, which may be empty"
    message, _ = refused(sh("echo ran", "--bind", str(room.source), str(room.file)))
    assert message.endswith(": a directory can't be mounted on a file")
    message, _ = refused(sh("echo ran", "--tmpfs", str(room.file)))
    assert message.endswith(": a directory can't be mounted on a file")


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--bind", "/etc"], "option --bind needs two values: --bind SRC DST", "--bind SRC DST"),
        (["--bind", "/etc:/mnt", "--", "true"], "needs two values", "two words: --bind /etc /mnt"),
        (["--tmpfs", "/a,size=1G"], "after a colon, as in DST:size=SIZE", "--tmpfs DST"),
        (["--remount-ro", "/", "true"], "unknown option --remount-ro", "use --readonly PATH"),
        (["--perms", "0700", "true"], "unknown option --perms", "directories are 755, files 644"),
        (["--bind", "/etc:/mnt", "true"], "--bind /etc /mnt", "--bind SRC DST"),
        (["--bind", "/etc", "/"], "can't be mounted on: use --rootfs DIR", "--bind SRC DST"),
        (["--tmpfs", "/a", "--tmpfs", "/", "true"], "becomes the root", "before all other mounts"),
        (["--tmpfs", "/a:rw"], "--tmpfs: 'rw' is not size=SIZE", "--tmpfs DST"),
        (["--tmpfs", "/a/..", "true"], "--tmpfs: the target of a mount can't have", ""),
        (["--tmpfs", "/proc", "true"], "would hide the container's /proc", "leave one of them out"),
        (["--tmpfs", "/a/b", "--tmpfs", "/a", "true"], "would hide the tmpfs on /a/b", "name /a"),
        (["--tmpfs", "/a", "--share=mount", "true"], "needs a new mount namespace", "add --mount"),
        (
            ["--tmpfs", "/a", "--propagation=shared", "true"],
            "be made with --propagation shared",
            "",
        ),
        (["--volume", "/a:/b", "true"], "unknown option --volume", "use --bind SRC DST, or"),
        (["--tmpfs", "/etc/resolv.conf", "--network=pasta", "true"], "mounts its own", "leave out"),
    ],
)
def test_wrong_words(words: list[str], message: str, hint: str) -> None:
    said, hinted = refused(spawn(*words))
    assert message in said
    assert hint in hinted


def test_exec_has_no_mounts() -> None:
    message, hint = refused(spawn("exec", str(os.getpid()), "--bind", "/a", "/b"))
    assert message == "unknown option --bind"
    assert hint.startswith("only `pyspawn run` accepts that option")


# Mounts of the host's, in a room of their own for root

_ROOM = (
    MOUNTING
    + """
REC, BIND, PRIVATE, SHARED, NEWNS, REMOUNT = 16384, 4096, 1 << 18, 1 << 20, 0x20000, 32
check(libc.unshare(NEWNS))
mount(None, "/", None, REC | PRIVATE)
mount("room", "/mnt", "tmpfs")
for name in ("source", "source/below", "target"):
    os.mkdir(f"/mnt/{name}")
mount("below", "/mnt/source/below", "tmpfs", FLAGS)
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


def in_room(script: str, *words: Word, flags: int = 0, first: str = "") -> Ended:
    """Run a shell under pyspawn where /mnt/source/below is mounted, all of it shared."""
    require("root")
    argv = pyspawn(*words, "--", "/bin/sh", "-c", script)
    return run(prepared(f"FLAGS = {flags}\n{first}{_ROOM}", argv))


@pytest.mark.parametrize("options", EVERYBODY)
@pytest.mark.parametrize("old", [False, True], ids=["mount_setattr", "remount"])
def test_mounts_below_are_read_only_as_well(options: list[str], old: bool) -> None:
    script = "touch /mnt/target/x; touch /mnt/target/below/x; " + FLAGS + "/mnt/target"
    first = deny(errno.ENOSYS, "mount_setattr") if old else ""
    ended = in_room(script, *options, "--ro-bind", "/mnt/source", "/mnt/target", first=first)
    assert ended.errors.count("Read-only file system") == 2, ended
    lines = [line.split() for line in ended.out.decode().splitlines()]
    assert [line[0] if line[1:] else "" for line in lines] == ["", "/below"]
    assert all({"ro", "nosuid", "nodev"} <= set(line[-1].split(",")) for line in lines)


@pytest.mark.parametrize("options", EVERYBODY)
@pytest.mark.parametrize("old", [False, True], ids=["mount_setattr", "remount"])
@pytest.mark.parametrize("option", ["--bind", "--ro-bind", "--dev-bind"])
def test_flags_of_the_source_stay(options: list[str], old: bool, option: str) -> None:
    """In a user namespace they're locked, and a remount without them would be refused."""
    ro, nosuid, nodev, noexec, noatime = 1, 2, 4, 8, 1024
    flags = ro | nosuid | nodev | noexec | noatime
    first = deny(errno.ENOSYS, "mount_setattr") if old else ""
    ended = in_room(
        FLAGS + "/mnt/target/below", *options, option, "/mnt/source", "/mnt/target", flags=flags,
        first=first,
    )  # fmt: skip
    assert (ended.status, ended.errors) == (0, "")
    wanted = {"ro", "nosuid", "nodev", "noexec", "noatime"}
    assert wanted <= set(ended.out.decode().split()[-1].split(","))


@pytest.mark.parametrize("options", EVERYBODY)
def test_the_host_sees_no_mount(options: list[str]) -> None:
    """All of it is shared there, and so would be what is mounted before mounts are private."""
    words = ["--bind", "/mnt/source", "/mnt/target", "--tmpfs", "/mnt/source"]
    ended = in_room("ls /mnt/target; mount -t tmpfs x /mnt/target/below", *options, *words)
    assert (ended.status, ended.out, ended.errors) == (0, b"below\n", "")


def test_a_source_in_another_mount_namespace(room: Room) -> None:
    """By a link of /proc the launcher gets there, and the init doesn't."""
    require("root")
    argv = ["unshare", "-m", "sh", "-c", "echo ready; read x"]
    with Running(argv) as other:
        assert other.line() == "ready"
        pid = [other.starter, *children.below(other.starter)][-1]
        words = ["--bind", f"/proc/{pid}/root/etc", str(room.target)]
        message, hint = refused(sh("echo ran", *words))
        assert message.startswith(f"bind /proc/{pid}/root/etc on {room.target}")
        assert "mount namespace" in hint or "link of /proc" in hint
        other.close_input()
        other.wait()


# At a moment in which others do something


NEW_MOUNT = Call("unshare", 0, 0x20000)


def held(call: str | Call, room: Room, do: Callable[[Running], object], *words: Word) -> Ended:
    """Do something while the init is held at its first call of a kind."""
    require("seccomp")
    with Held(call) as moments:
        argv = pyspawn(*words, "--", "/bin/cat", f"{room.target}/file")
        with Running(prepared(moments.code, argv), pass_fds=[moments.fileno]) as running:
            moment = moments.catch()
            do(running)
            moments.let_go(moment)
            running.close_input()
            out = running.out.rest()
            return Ended(running.wait(), out, running.errors())


def test_a_source_that_is_replaced_is_not_bound(room: Room) -> None:
    """The launcher has opened it by then; the init would find another."""

    def replace(_: Running) -> None:
        room.source.rename(room.place / "old")
        room.source.mkdir()
        (room.source / "file").write_text("evil\n")

    ended = held(NEW_MOUNT, room, replace, "--bind", str(room.source), str(room.target))
    message, hint = refused(ended)
    assert message.endswith(f": another file has taken the place of {room.source}")
    assert hint.startswith("let nobody else rename it")


def test_a_link_that_is_swapped_leads_to_what_was_opened(room: Room) -> None:
    link = room.place / "link"
    link.symlink_to("source")
    (room.place / "evil").mkdir()

    def swap(_: Running) -> None:
        link.unlink()
        link.symlink_to("evil")

    ended = held(NEW_MOUNT, room, swap, "--bind", str(link), str(room.target))
    message, _ = refused(ended)
    assert message.endswith(f": another file has taken the place of {link}")


def test_a_target_that_is_swapped_after_the_walk_is_what_was_opened(room: Room) -> None:
    """A link to another place lies there by then; the mount is on the directory, elsewhere now."""

    def swap(_: Running) -> None:
        room.target.rename(room.place / "was")
        room.target.symlink_to("/etc")

    ended = held("move_mount", room, swap, "--bind", str(room.source), str(room.target))
    assert ended.status == 1
    assert "/file: No such file" in ended.errors
    assert not Path("/etc/file").exists()


@pytest.mark.parametrize("call", ["open_tree", "mount_setattr", "move_mount"])
@pytest.mark.parametrize("options", EVERYBODY)
def test_sigkill_at_a_call(room: Room, call: str, options: list[str]) -> None:
    """Of the launcher, while the init is at that call: nothing is left."""
    require("seccomp")
    words = [*options, "--tmpfs", str(room.target), "--bind", str(room.source), f"{room.target}/a"]
    before = mounted(str(room.place))
    with Held(call) as moments:
        argv = prepared(moments.code, pyspawn(*words, "--", "/bin/sleep", "1000"))
        with Running(argv, pass_fds=[moments.fileno]) as running:
            moment = moments.catch()
            tree = children.below(running.starter)
            assert moment.pid in tree
            os.kill(running.starter, signal.SIGKILL)
            moments.let_go(moment)
            while children.wait_gone(tree, 0.1):
                with contextlib.suppress(FileNotFoundError):
                    moments.let_go(moments.catch())
    assert mounted(str(room.place)) == before == []
    assert room.is_as_before()


@pytest.mark.parametrize("call", ["open_tree", "mount_setattr", "move_mount"])
@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS, errno.ENOMEM])
def test_a_call_that_is_refused(room: Room, call: str, reason: int) -> None:
    require("seccomp")
    argv = pyspawn(
        "--ro-bind", str(room.source), str(room.target), "--", "/bin/cat", f"{room.target}/file"
    )
    ended = run(prepared(deny(reason, call), argv))
    if (call, reason) == ("mount_setattr", errno.ENOSYS):
        assert (ended.status, ended.out, ended.errors) == (0, b"said\n", "")
        return
    assert (ended.status, ended.out) == (125, b"")
    message = said(ended)[0]
    assert message.endswith(f"{os.strerror(reason)} ({errno.errorcode[reason]})")
    if reason != errno.ENOMEM:
        _, hint = refusal(ended.errors)
        assert f"refuses {call}" in hint
    assert room.is_as_before()


@pytest.mark.parametrize(
    "more", [[], ["--setuid=0", "--rlimit=nofile=100", "--cap-drop=all", "--no-new-privs"]]
)
def test_what_the_init_needs_may_be_covered(room: Room, more: list[str]) -> None:
    """The interpreter and its modules: all that the init reads later it has read before."""
    for top in ("/usr", PLACE):
        ended = spawn(*more, "--tmpfs", top, "--workdir", "/", "--", str(room.place / "nosuch"))
        assert ended.status == 127
        assert said(ended)[0] == f"pyspawn: {room.place}/nosuch: No such file or directory (ENOENT)"


def test_of_two_tries_on_one_place_one_may_have_a_source(room: Room) -> None:
    missing, target = f"{room.place}/missing", str(room.target)
    for sources in ((missing, str(room.source)), (str(room.source), missing), (missing, missing)):
        words = [word for each in sources for word in ("--ro-bind-try", each, target)]
        ended = sh(f"ls {target}", *words)
        assert (ended.status, ended.errors) == (0, "")
        assert ended.out == (b"file\n" if str(room.source) in sources else b"")
    message, _ = refused(sh("echo ran", *words[:1], str(room.source), *words[2:4],
                            str(room.file), target))  # fmt: skip
    assert message.endswith(f"would hide what is mounted on {target}")


@pytest.mark.parametrize("options", EVERYBODY)
def test_what_the_init_needs_of_proc_is_not_covered(room: Room, options: list[str]) -> None:
    """As of CVE-2025-52881: a limit would be written to a plain file, and read back from it."""
    for target in ("/proc/1", "/proc/self", "/proc/self/mountinfo", "/proc/1/oom_score_adj"):
        source = room.file if target.count("/") > 2 else room.source
        message, hint = refused(sh("echo ran", *options, "--bind", str(source), target))
        assert message.endswith("would cover what /proc shows of a process")
        assert (
            hint == "pyspawn checks its own work by what /proc shows there: choose another target"
        )
    (room.place / "link").symlink_to("/proc/sys/user/max_user_namespaces")
    message, hint = refused(
        sh("echo ran", *options, "--bind", str(room.file), f"{room.place}/link")
    )
    assert message.endswith("max_user_namespaces, would cover a part of /proc")
    assert hint.startswith("name /proc/sys/user/max_user_namespaces itself")
    ended = sh("cat /proc/version", *options, "--ro-bind", str(room.file), "/proc/version")
    assert (ended.out, ended.errors) == (b"said\n", "")


def test_the_file_that_a_link_to_the_interpreter_leads_to_is_named(room: Room) -> None:
    """As in a virtual environment: the link is there, and what it leads to isn't."""
    hops = _links(sys.executable)
    if len(hops) == 1:
        pytest.skip("the interpreter isn't a link")
    last = hops[-1].rpartition("/")[0]
    if hops[0].startswith(f"{last}/") or PLACE.startswith(f"{last}/"):
        pytest.skip("the link lies beside what it leads to")
    words = ["--init", "--workdir", "/", "--tmpfs", last]
    message, hint = refused(sh("echo ran", *words))
    assert message == f"{hops[-1]}, which pyinit needs, isn't in the container"
    assert hint.startswith(f"bind {last} on itself")


def test_pyinit_that_is_covered_is_told(room: Room) -> None:
    words = ["--init", "--workdir", "/", "--tmpfs", PLACE]
    message, hint = refused(sh("echo ran", *words))
    assert message == f"{PLACE}/pyinit/__init__.py, which pyinit needs, isn't in the container"
    assert hint == f"bind {PLACE}/pyinit on itself, after what hides it, or start without --init"
    heeded = sh("echo ran", *words, "--ro-bind", f"{PLACE}/pyinit", f"{PLACE}/pyinit")
    assert (heeded.out, heeded.errors) == (b"ran\n", "")
    with pytest.raises(spawner.SetupError, match="which pyinit needs"):
        spawner.run(["true"], mounts=spawner.Mounts([spawner.Tmpfs(PLACE)]), cwd="/")


def test_the_steps_are_told(room: Room) -> None:
    words = ["--ro-bind", str(room.source), str(room.target), "--tmpfs", "/srv"]
    told = [
        f'launcher  open what is to be bound: open("{room.source}", O_PATH)',
        f"init      copy the mounts of {room.source}: open_tree",
        "init      mount proc on /proc",
        f"init      bind {room.source} on {room.target}, read-only: move_mount",
        "init      mount a tmpfs of at most 256M on /srv: fsmount",
    ]
    lines = spawn(*words, "--dry-run", "--", "true").out.decode().splitlines()
    places = [next(at for at, line in enumerate(lines) if line.startswith(each)) for each in told]
    assert places == sorted(places)
    for how in ("--explain", "--dry-run"):
        ended = spawn(*words, "--explain", how, "--", "/bin/true")
        text = ended.errors + ended.out.decode()
        assert text.count("launcher: open what is to be bound\n") == 1
        assert text.index("init: copy the mounts") < text.index("init: bind ")


# From Python


def wanted(room: Room) -> spawner.Mounts:
    target = room.target
    return spawner.Mounts(
        [
            spawner.Tmpfs(target, size="1M"),
            spawner.Bind(room.source, target / "a", read_only=True),
            spawner.Bind(room.place / "missing", target / "b", missing_ok=True),
        ]
    )


def test_from_python(room: Room) -> None:
    command = ["sh", "-c", f"cd {room.target}; ls; cat a/file; touch x a/x"]
    for options in ({}, {"init": False}, {"unshare": "user"}):
        how: dict[str, Any] = {**options, "mounts": wanted(room), "stdout": spawner.PIPE,
                               "stderr": spawner.PIPE}  # fmt: skip
        ended = spawner.run(command, **how)
        assert ended.stdout == b"a\nsaid\n"
        assert b"Read-only" in ended.stderr
        assert b"a/x" in ended.stderr
    ended = asyncio.run(aio.run(command, **how))
    assert ended.stdout == b"a\nsaid\n"
    plan = spawner.plan(["true"], mounts=wanted(room))
    assert f"bind {room.source} on {room.target}/a, read-only" in [step.what for step in plan]
    assert list(room.target.iterdir()) == []


def test_a_refusal_is_an_exception(room: Room) -> None:
    missing = spawner.Mounts([spawner.Bind(room.place / "x", room.target)])
    for call in (spawner.run, spawner.plan):
        with pytest.raises(spawner.SetupError, match=r"there is no .*/x to bind on ") as caught:
            call(["true"], mounts=missing)
        assert "missing_ok" in str(caught.value.hint)
    with pytest.raises(spawner.SpecError, match='can\'t be made with propagation="slave"'):
        spawner.run(["true"], mounts=wanted(room), propagation="slave")


def test_a_function_in_a_fork_sees_them_too(room: Room) -> None:
    mounts = spawner.Mounts([spawner.Bind(room.source, room.target)])
    names, _ = isolate.call(os.listdir, (str(room.target),), options={"mounts": mounts})
    assert names == ["file"]
