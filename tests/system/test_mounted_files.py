"""`--proc`, `--mqueue`, `--dir`, `--file` and its like, `--symlink`, `--mask`, `--readonly`."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.programs import MOUNTING, Word, prepared
from helpers.pyspawn import pyspawn, refused, sh, spawn
from helpers.roots import Root
from helpers.running import Ended, Running, run
from helpers.seccomp import Held, deny

import spawner

pytestmark = pytest.mark.usefixtures("pidns")

EVERYBODY = [[], ["--user"]]
"""With the caller's rights and with those of a namespace."""


def piped(data: bytes) -> int:
    """Return the reading end of a pipe that holds `data` and is closed behind it."""
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return reader


def with_data(data: bytes, words: list[Word], number: int = 57) -> Ended:
    """Run pyspawn with `data` to be read from a descriptor."""
    reader = piped(data)
    try:
        first = f"import os\nos.dup2({reader}, {number})\nos.close({reader})\n"
        return run(prepared(first, pyspawn(*words)), pass_fds=[reader])
    finally:
        os.close(reader)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path.resolve() / "root")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty directory of the host's."""
    found = tmp_path.resolve() / "place"
    found.mkdir()
    return found


# What is made


@pytest.mark.parametrize("options", EVERYBODY)
def test_what_is_made_in_a_tmpfs_in_its_order(place: Path, options: list[str]) -> None:
    words: list[Word] = ["--tmpfs", str(place)]
    words += ["--dir", f"{place}/a/b", "--symlink", "a/b", f"{place}/to"]
    words += ["--file", "57", f"{place}/to/file"]
    script = f"cd {place}; stat -c '%a %F' a a/b; readlink to; cat a/b/file; stat -c %a a/b/file"
    script += "; echo more >>a/b/file && mv a/b/file x && cat x; ls /proc/self/fd"
    ended = with_data(b"said\n", [*options, *words, "--", "/bin/sh", "-c", f"umask 0; {script}"])
    assert (ended.status, ended.errors) == (0, "")
    lines = ended.out.decode().splitlines()
    assert lines[:7] == ["755 directory", "755 directory", "a/b", "said", "644", "said", "more"]
    assert "57" not in lines[7:]
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("options", EVERYBODY)
def test_data_is_mounted_read_only(place: Path, options: list[str]) -> None:
    """On a file of the host's, or where a mount point can be made."""
    (place / "file").write_text("host\n")
    (place / "made").mkdir()
    for target in (f"{place}/file", f"{place}/made/in/file"):
        words: list[Word] = [*options, "--tmpfs", f"{place}/made", "--ro-bind-data", "57", target]
        script = f"cat {target}; echo x >{target} || rm {target} || echo kept; pwd; ls /"
        ended = with_data(b"said\n", [*words, "--", "/bin/sh", "-c", script])
        said, kept, here, *listed = ended.out.decode().splitlines()
        assert (said, kept, here) == ("said", "kept", os.getcwd())
        assert "Read-only file system" in ended.errors
        assert "data" not in set(listed) - {*os.listdir("/")}
    assert (place / "file").read_text() == "host\n"


def test_a_standard_stream_is_read_to_its_end(place: Path) -> None:
    words = ["--tmpfs", str(place), "--file", "0", f"{place}/x", "--"]
    ended = run(pyspawn(*words, "/bin/sh", "-c", f"cat; cat {place}/x"), typed=b"said\n")
    assert (ended.out, ended.errors) == (b"said\n", "")


def test_descriptors_that_can_not_be_read(place: Path) -> None:
    words = ["--tmpfs", str(place), "--file", "58", f"{place}/x"]
    message, hint = refused(sh("echo ran", *words))
    assert message == f"make the file {place}/x of descriptor 58: descriptor 58 isn't open"
    assert "`58<FILE`" in hint
    directory = os.open(place, os.O_RDONLY)
    try:
        words[3] = str(directory)
        ended = run(pyspawn(*words, "--", "/bin/true"), pass_fds=[directory])
    finally:
        os.close(directory)
    assert ended.status == 125
    assert "Is a directory (EISDIR)" in ended.errors


@pytest.mark.parametrize("options", EVERYBODY)
def test_nothing_is_made_in_a_directory_of_the_host(place: Path, options: list[str]) -> None:
    bound: list[Word] = [*options, "--bind", str(place), str(place)]
    made: list[list[Word]] = [["--dir", f"{place}/x/y"], ["--symlink", "to", f"{place}/x"]]
    for words in [*made, ["--file", "0", f"{place}/x"], ["--file", "0", f"{place}/x/y"]]:
        message, hint = refused(sh("echo ran", *bound, *words))
        assert message.endswith("the directory for it belongs to the host")
        assert "mount a tmpfs above it, --tmpfs DST" in hint
    for words in (["--ro-bind-data", "0", f"{place}/x"], ["--proc", f"{place}/x"],
                  ["--mqueue", f"{place}/x"]):  # fmt: skip
        message, hint = refused(sh("echo ran", *bound, *words))
        assert message.endswith(f"there is no {place}/x to mount on")
        assert "nothing is made in the host's own directories" in hint
    assert sh("echo ran", *bound, "--dir", str(place)).out == b"ran\n"
    assert list(place.iterdir()) == []


def test_what_is_there_is_not_replaced(place: Path) -> None:
    words = ["--tmpfs", str(place), "--dir", f"{place}/d", "--symlink", "to", f"{place}/d"]
    message, hint = refused(sh("echo ran", *words, "--dir", f"{place}/e"))
    assert message == f"make the link {place}/d to to: File exists (EEXIST)"
    assert hint == "nothing is replaced: name another place, or leave out what makes this one"
    words = ["--tmpfs", str(place), "--file", "0", f"{place}/f", "--dir", f"{place}/f"]
    message, _ = refused(sh("echo ran", *words))
    assert message == f"make the directory {place}/f: something else has that name"


# File systems of the kernel's


@pytest.mark.parametrize("options", EVERYBODY)
def test_another_proc_and_message_queues(place: Path, options: list[str]) -> None:
    words: list[Word] = [*options, "--tmpfs", str(place), "--proc", f"{place}/p", "--proc", "/proc"]
    script = f"cat {place}/p/1/comm; stat -fc %T {place}/p {place}/q; ls {place}/q"
    ended = sh(f"{script}; stat -c %F /proc/self", *words, "--mqueue", f"{place}/q")
    assert (ended.status, ended.errors) == (0, "")
    first, proc, queues, link = ended.out.decode().splitlines()
    assert (first, proc, link) == ("sh", "proc", "symbolic link")
    assert queues != "proc"


def test_they_belong_to_new_namespaces() -> None:
    message, _ = refused(sh("echo ran", "--share=pid", "--proc", "/mnt"))
    assert message == "the proc on /mnt needs a new PID namespace"
    message, _ = refused(sh("echo ran", "--share=ipc", "--mqueue", "/mnt"))
    assert message == "the mqueue on /mnt needs a new IPC namespace"


# Masks


@pytest.mark.parametrize("options", EVERYBODY)
def test_what_is_masked_has_no_content(place: Path, options: list[str]) -> None:
    """And what isn't there needs no mask."""
    (place / "dir").mkdir()
    (place / "dir/in").touch()
    (place / "file").write_text("secret\n")
    os.mkfifo(place / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{place}/socket")
    names = ("dir", "file", "fifo", "socket", "none", "file/none")
    words: list[Word] = [*options, *(f"--mask={place}/{name}" for name in names)]
    script = f"cd {place}; ls; ls dir; cat file fifo socket; echo x >file; touch dir/x; cat file; "
    ended = sh(script + "stat -c %F file fifo socket; chmod 600 file", *words)
    listed, kind = ["dir", "fifo", "file", "socket"], "character special file"
    assert ended.out.decode().splitlines() == [*listed, kind, kind, kind]
    assert ended.errors.count("Read-only file system") == 2
    assert (place / "file").read_text() == "secret\n"
    assert os.stat("/dev/null").st_mode & 0o777 == 0o666


def test_a_mask_hides_mounts_but_neither_proc_nor_the_working_directory(place: Path) -> None:
    (place / "in").mkdir()
    (place / "link").symlink_to("/proc")
    for words in (["--bind", "/etc", f"{place}/in"], ["--tmpfs", f"{place}/in"]):
        ended = sh(f"ls {place}", *words, "--mask", str(place))
        assert (ended.status, ended.out, ended.errors) == (0, b"", "")
    for target in ("/proc", f"{place}/link"):
        message, _ = refused(sh("echo ran", "--mask", target))
        assert "would hide" in message
    ended = run(pyspawn("--mask", str(place), "--", "/bin/true"), directory=str(place))
    message, _ = refused(ended)
    assert message == f"the mask on {place} would hide the working directory, {place}"


def test_in_a_sandbox_they_come_after_what_is_there() -> None:
    words: list[Word] = ["--sandbox", "--dir", "/data", "--symlink", "data", "/to", "--file", "57"]
    words += ["/data/file", "--mask", "/etc", "--readonly", "/tmp"]
    script = "cat /to/file; ls /etc; mkdir /tmp/x || echo kept"
    ended = with_data(b"said\n", [*words, "--", "/bin/sh", "-c", script])
    assert ended.out == b"said\nkept\n"
    words = ["--sandbox", "--ro-bind-data", "57", "/etc/hosts", "--", "/bin/cat", "/etc/hosts"]
    assert with_data(b"said\n", words).out == b"said\n"


_ROOM = (
    MOUNTING
    + """
check(libc.unshare(0x20000))
mount(None, "/", None, 1 << 18 | 16384)
mount(SOURCE, "/dev/null", None, 4096)
if FLAGS:
    mount(None, "/dev/null", None, 4096 | 32 | FLAGS)
"""
)


@pytest.mark.parametrize("options", EVERYBODY)
@pytest.mark.parametrize(
    ("source", "flags", "told"),
    [("/etc/passwd", 0, "/dev/null isn't the character device 1:3"),
     ("/dev/zero", 0, "/dev/null isn't the character device 1:3"),
     ("/dev/null", 4, "/dev/null is on a mount with nodev, and can't be opened")],
)  # fmt: skip
def test_a_mask_that_is_not_the_device_null_is_refused(
    place: Path, source: str, flags: int, told: str, options: list[str]
) -> None:
    """As of CVE-2025-31133: what lies at /dev/null would be shown in the place of the secret."""
    require("root")
    (place / "secret").touch()
    first = f"SOURCE, FLAGS = {source!r}, {flags}\n{_ROOM}"
    words = pyspawn(*options, "--mask", f"{place}/secret", "--", "/bin/echo", "ran")
    message, _ = refused(run(prepared(first, words)))
    assert message.endswith(told)


# Read-only


@pytest.mark.parametrize("old", [False, True], ids=["mount_setattr", "remount"])
@pytest.mark.parametrize("options", EVERYBODY)
def test_read_only_with_all_that_is_mounted_below(
    place: Path, options: list[str], old: bool
) -> None:
    """Also for who starts in there."""
    for name in ("in", "out", "source"):
        (place / name).mkdir()
    words: list[Word] = [*options, "--bind", f"{place}/source", f"{place}/in"]
    words += ["--readonly", str(place), "--tmpfs", f"{place}/out", "--readonly", "/proc/sys"]
    script = f"touch x {place}/x in/x; echo 5 >/proc/sys/kernel/pid_max; touch out/x && echo made"
    first = deny(errno.ENOSYS, "mount_setattr") if old else ""
    argv = prepared(first, pyspawn(*words, "--", "/bin/sh", "-c", script))
    ended = run(argv, directory=str(place))
    assert ended.out == b"made\n"
    assert ended.errors.count("Read-only file system") == 4
    assert not [each for each in place.rglob("*") if each.name == "x"]


def test_what_is_not_there_can_not_be_made_read_only(place: Path) -> None:
    message, hint = refused(sh("echo ran", "--readonly", f"{place}/x"))
    assert message == f"make {place}/x read-only: No such file or directory (ENOENT)"
    assert hint


# Links


@pytest.mark.parametrize("options", EVERYBODY)
def test_links_in_a_root_lead_no_entry_out(root: Root, tmp_path: Path, options: list[str]) -> None:
    """Neither where the host has such a place, nor where the root has one as well."""
    outside = tmp_path.resolve() / "outside"
    outside.mkdir()
    (outside / "file").write_text("host\n")
    (root.place / "out").symlink_to(outside)
    (root.place / "etc/file").write_text("root\n")
    (root.place / "up").symlink_to("../../../../../../etc")
    for words in (["--dir", "/out/x"], ["--symlink", "to", "/out/x"], ["--file", "0", "/out/x"],
                  ["--ro-bind-data", "0", "/out/file"], ["--proc", "/out"], ["--mqueue", "/out"],
                  ["--readonly", "/out"], ["--dev", "/out"]):  # fmt: skip
        ended = root.sh("echo ran", *options, *words)
        assert (ended.status, ended.out) == (125, b""), words
    assert root.sh("echo ran", *options, "--mask", "/out/file").out == b"ran\n"
    ended = root.sh("cat /etc/file; : >/etc/x", *options, "--mask", "/up/file", "--readonly", "/up")
    assert ended.out == b""
    assert "Read-only file system" in ended.errors
    within: list[Word] = ["--tmpfs", "/mine", "--symlink", f"../../..{outside}", "/mine/link"]
    message, _ = refused(root.sh("echo ran", *options, *within, "--dir", "/mine/link/x"))
    assert message.endswith("the directory for it belongs to the host")
    assert [each.name for each in outside.iterdir()] == ["file"]
    assert (root.place / "etc/file").read_text() == "root\n"


def test_a_root_whose_null_and_proc_are_links(root: Root, tmp_path: Path) -> None:
    """As of CVE-2025-31133, 52565 and 52881: null, the terminals and /proc are ours, or nothing."""
    outside = tmp_path.resolve() / "outside"
    outside.mkdir()
    (root.place / "etc/secret").write_text("secret\n")
    (root.place / "real").mkdir()
    (root.place / "real/null").symlink_to("/etc/secret")
    (root.place / "real/pts").symlink_to(f"../../../..{outside}")
    (root.place / "dev").symlink_to("../../../real")
    ended = root.sh("cat /etc/secret; ls /real/pts /dev/pts", "--mask", "/etc/secret", "--dev=/dev")
    assert ended.errors == ""
    assert ended.out.decode().split() == ["/dev/pts:", "ptmx", "/real/pts:", "ptmx"]
    assert list(outside.iterdir()) == []
    (root.place / "proc").rmdir()
    (root.place / "proc").symlink_to("mine")
    message, _ = refused(root.sh("echo ran", "--mask", "/proc/kcore"))
    assert message == "mount proc on /proc: Too many levels of symbolic links (ELOOP)"


def test_what_a_root_has_in_place_of_proc_is_not_believed(root: Root) -> None:
    """As of CVE-2025-52881: a limit is not written there, and what is mounted not read there."""
    fake = root.place / "proc/self"
    fake.mkdir()
    (fake / "oom_score_adj").write_text("0\n")
    (fake / "mountinfo").write_text("no mounts\n")
    options = ["--share=pid", "--oom-score-adj=1000", "--mask=/etc", "--readonly=/mine"]
    ended = root.sh("cat /proc/self/*; : >/mine/x", *options)
    assert ended.out == b"no mounts\n0\n"
    assert "Read-only file system" in ended.errors
    assert (fake / "oom_score_adj").read_text() == "0\n"


def test_what_is_swapped_before_a_mask_is_made_leads_nowhere_out(
    root: Root, tmp_path: Path
) -> None:
    """At the moment between the walk and the mount."""
    require("seccomp")
    (tmp_path / "outside").write_text("host\n")
    secret = root.place / "mine/secret"
    secret.write_text("secret\n")
    with Held("move_mount") as moments:
        words = root.words("cat /mine/was", "--mask", "/mine/secret")
        argv = prepared(moments.code, pyspawn(*words))
        with Running(argv, pass_fds=[moments.fileno]) as running:
            for _ in range(len(root.binds) // 3 + 1):  # the root, and what comes before
                moments.let_go(moments.catch())
            moment = moments.catch()
            secret.rename(root.place / "mine/was")
            secret.symlink_to(f"../../../../{tmp_path}/outside")
            moments.let_go(moment)
            running.close_input()
            assert running.out.rest() == b""
            assert running.wait() == 0


# From Python


def test_from_python(place: Path) -> None:
    reader = piped(b"said\n")
    try:
        mounts = spawner.Mounts(
            [
                spawner.Tmpfs(place),
                spawner.Dir(place / "dir"),
                spawner.Symlink("dir", place / "link"),
                spawner.File(reader, place / "link/file", read_only=True),
                spawner.Proc(place / "proc"),
                spawner.Mqueue(place / "queues"),
                spawner.Mask("/etc/passwd"),
                spawner.ReadOnly("/proc/sys"),
            ]
        )
        script = f"cat {place}/dir/file /etc/passwd; ls {place}"
        told = spawner.check_output(["/bin/sh", "-c", script], mounts=mounts)
    finally:
        os.close(reader)
    assert told.decode().split() == ["said", "dir", "link", "proc", "queues"]
    with pytest.raises(OSError, match="of mounts isn't open"):
        spawner.run(["true"], mounts=mounts)


def test_a_plan_reads_nothing(place: Path) -> None:
    reader = piped(b"said\n")
    try:
        words = ["--dry-run", "--tmpfs", str(place), "--file", str(reader), f"{place}/x", "true"]
        ended = spawn(*words, pass_fds=[reader])
        assert f"make the file {place}/x of descriptor {reader}" in ended.out.decode()
        assert os.read(reader, 9) == b"said\n"
    finally:
        os.close(reader)
