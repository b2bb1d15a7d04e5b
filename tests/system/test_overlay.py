"""`--overlay`: what is changed in a directory, or in a root, stays in the container."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.mounted import mounted
from helpers.programs import MOUNTING, Word, prepared
from helpers.pyspawn import pyspawn, refused, said, sh, spawn
from helpers.roots import Root
from helpers.running import Ended, Running, run
from helpers.seccomp import Held, deny

import spawner

EVERYBODY = [[], ["--user"]]
"""With the caller's rights and with those of a namespace."""


pytestmark = pytest.mark.usefixtures("pidns", "overlays")


@pytest.fixture
def overlays() -> None:
    require("overlay")


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path.resolve() / "root")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with files, whose name has what means something in an overlay's options."""
    found = tmp_path.resolve() / "a:b,c\\d e=f"
    (found / "below/deep").mkdir(parents=True)
    (found / "file").write_text("old\n")
    (found / "below/deep/file").write_text("deep\n")
    return found


def tree(place: Path) -> dict[str, tuple[object, ...]]:
    """Return all that can be seen of a directory's files but the times of reading."""
    found = {}
    for path in (place, *place.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (status.st_mode, status.st_uid, status.st_mtime_ns, status.st_ino, data)
    return found


CHANGES = """
cat file below/deep/file && echo new >file && echo made >made && cat file made &&
rm -r below && mkdir below && ls -a below && mv file moved && chmod 600 moved && ls && pwd
"""
SEEN = "old deep new made . .. below made moved"


@pytest.mark.parametrize("options", EVERYBODY)
def test_a_directory_can_be_changed_and_stays_as_it_is(place: Path, options: list[str]) -> None:
    """The working directory, too: the program starts in it, and so in the overlay."""
    before = tree(place)
    for words in (["--overlay", f"{place}:size=1M"], ["--overlay", f"{place.parent}:size=1M"]):
        ended = sh(CHANGES, *options, *words, directory=place)
        assert (ended.status, ended.errors) == (0, "")
        assert " ".join(ended.out.decode().splitlines()) == f"{SEEN} {place}"
    assert tree(place) == before
    assert mounted(str(place)) == []


@pytest.mark.parametrize("options", [*EVERYBODY, ["--share=pid", "--user"]])
def test_a_root_can_be_changed_and_stays_as_it_is(root: Root, options: list[str]) -> None:
    (root.place / "mine/file").write_text("old\n")
    before = tree(root.place)
    script = "cat /mine/file; echo new >/mine/file; cat /mine/file; mkdir /made; ls /; pwd"
    ended = root.sh(script, "--overlay", "/", *options)
    assert (ended.status, ended.errors) == (0, "")
    assert ended.out.decode().split() == ["old", "new", *sorted([*root.names, "made"]), "/"]
    assert tree(root.place) == before
    ended = root.sh("echo new >/mine/file; : >/made", "--overlay", "/mine", "--read-only", *options)
    assert ended.errors.count("Read-only file system") == 1
    assert tree(root.place) == before


@pytest.mark.parametrize("options", EVERYBODY)
def test_over_a_bind_and_with_mount_points_of_its_own(
    root: Root, place: Path, options: list[str]
) -> None:
    """Of a directory that is read-only in the container else, and of one that isn't there."""
    before = tree(place)
    binds = ["--ro-bind", str(place), "/mine", "--overlay", "/mine:size=1M"]
    more = ["--tmpfs", "/mine/in/memory", "--bind", str(place / "file"), "/mine/another"]
    ended = root.sh(f"cd /mine && {CHANGES}", *options, *binds)
    assert (ended.status, ended.errors) == (0, "")
    ended = root.sh("ls /mine /mine/in; cat /mine/another", *options, *binds, *more)
    assert (ended.status, ended.errors) == (0, "")
    assert ended.out.decode().split() == [
        *("/mine:", "another", "below", "file", "in"),
        *("/mine/in:", "memory", "old"),
    ]
    ended = root.sh("ls /made", *options, "--overlay", "/", "--tmpfs", "/made/here")
    assert (ended.out, ended.errors) == (b"here\n", "")
    assert tree(place) == before
    assert sorted(each.name for each in root.place.iterdir()) == root.names


@pytest.mark.parametrize("options", EVERYBODY)
def test_it_is_bounded_and_has_the_owner_and_mode_of_the_directory(
    place: Path, options: list[str]
) -> None:
    place.chmod(0o1770)
    fill = "head -c 2M /dev/zero >big; stat -c %a:%u .; cat /proc/self/mountinfo"
    words = ["--overlay", f"{place}:size=1M", "--map-root-user", *options]
    ended = sh(fill, *words[: None if options else 2], directory=place)
    assert "No space left on device" in ended.errors
    told, *lines = ended.out.decode().splitlines()
    assert told == f"1770:{0 if options else os.getuid()}" or not options
    (line,) = (line for line in lines if " - overlay " in line)
    assert line.split()[5].split(",")[:3] == ["rw", "nosuid", "nodev"]
    assert "lowerdir=lower,upperdir=upper,workdir=work" in line
    assert ("userxattr" in line) == (bool(options) or os.geteuid() != 0)


BELOW = (
    MOUNTING
    + """
NEWNS, REC, PRIVATE, NOEXEC = 0x20000, 16384, 1 << 18, 8
check(libc.unshare(NEWNS))
mount(None, "/", None, REC | PRIVATE)
mount("room", PLACE, "tmpfs", NOEXEC)
os.mkdir(PLACE + "/below")
if DEEPER:
    mount("room", PLACE + "/below", "tmpfs")
os.execv(argv[0], argv)
"""
)


def below(place: Path, script: str, *options: Word, deeper: bool) -> Ended:
    """Run a script where a file system that isn't for programs is mounted on `place`."""
    words = pyspawn("--overlay", f"{place}:size=1M", *options, "--", "/bin/sh", "-c", script)
    settings = f"PLACE, DEEPER = {str(place)!r}, {deeper}\n"
    return run(prepared(settings + BELOW, words))


@pytest.mark.parametrize("options", EVERYBODY)
def test_flags_of_the_directorys_mount_stay(place: Path, options: list[str]) -> None:
    require("root")
    script = f"cp /bin/true '{place}/true'; '{place}/true'; echo $?"
    ended = below(place, script, *options, deeper=False)
    assert ended.out == b"126\n"
    assert "Permission denied" in ended.errors


def test_what_is_mounted_below_is_not_hidden_unasked(place: Path) -> None:
    require("root")
    message, hint = refused(below(place, "echo ran", deeper=True))
    assert message == (
        f"lay an overlay of at most 1M over {place}: what is mounted on {place}/below can't be "
        "seen through an overlay"
    )
    assert hint.startswith(f"mount something on {place}/below after the overlay, or")
    again = ["--bind", "/etc/passwd", f"{place}/below/x"]
    message, _ = refused(below(place, "echo ran", *again, deeper=True))
    assert f"mounted on {place}/below" in message
    again = ["--tmpfs", f"{place}/below"]
    assert below(place, "echo ran", *again, deeper=True).out == b"ran\n"
    for more in ([], again):
        message, hint = refused(below(place, "echo ran", "--user", *more, deeper=True))
        assert f"mounted on {place}/below" in message
        assert hint.startswith("a user namespace can have no overlay over a directory in which")


# What is refused


def test_what_can_not_be_a_lower_directory(place: Path) -> None:
    message, hint = refused(sh("echo ran", "--overlay", f"{place}/file:size=1M"))
    assert message.endswith("a directory can't be mounted on a file")
    message, _ = refused(sh("echo ran", "--overlay", f"{place}/none:size=1M"))
    assert message.endswith(f"there is no {place}/none to mount on")
    # An overlay over an overlay over an overlay (FILESYSTEM_MAX_STACK_DEPTH).
    inner = pyspawn("--share=all", "--mount", "--overlay", f"{place}:size=1M", "--", "/bin/true")
    middle = pyspawn("--share=all", "--mount", "--overlay", f"{place}:size=1M", "--", *inner)
    message, hint = refused(spawn("--overlay", f"{place}:size=1M", "--", *middle))
    assert message == f"lay an overlay of at most 1M over {place}: Invalid argument (EINVAL)"
    assert f"(`stat -f {place}`)" in hint


@pytest.mark.parametrize("options", EVERYBODY)
@pytest.mark.parametrize("call", ["fsetxattr", "fchown"])
def test_a_call_that_is_refused(place: Path, call: str, options: list[str]) -> None:
    require("seccomp")
    words = pyspawn(*options, "--overlay", f"{place}:size=1M", "--", "/bin/echo", "ran")
    ended = run(prepared(deny(errno.EIO, call), words))
    assert (ended.status, ended.out) == (125, b"")
    assert said(ended)[0].startswith(f"pyspawn: lay an overlay of at most 1M over {place}: ")
    assert said(ended)[0].endswith("(EIO)")


@pytest.mark.parametrize("call", ["fsmount", "move_mount", "umount2"])
@pytest.mark.parametrize("options", EVERYBODY)
def test_sigkill_at_a_call(place: Path, call: str, options: list[str]) -> None:
    """Of the launcher, while the init is at the last such call: nothing is left."""
    require("seccomp")
    before = tree(place)
    with Held(call) as moments:
        words = pyspawn(*options, "--overlay", f"{place}:size=1M", "--", "/bin/sleep", "1000")
        with Running(prepared(moments.code, words), pass_fds=[moments.fileno]) as running:
            for _ in range({"fsmount": 1, "move_mount": 2, "umount2": 0}[call]):
                moments.let_go(moments.catch())
            moment = moments.catch()
            tree_of = children.below(running.starter)
            assert moment.pid in tree_of
            os.kill(running.starter, signal.SIGKILL)
            moments.let_go(moment)
            while children.wait_gone(tree_of, 0.1):
                with contextlib.suppress(FileNotFoundError):
                    moments.let_go(moments.catch())
    assert mounted(str(place)) == []
    assert tree(place) == before


def test_from_python(root: Root, place: Path) -> None:
    before = tree(place)
    overlay = spawner.Overlay(place, size="1M")
    mounts = spawner.Mounts([overlay])
    for options in ({}, {"unshare": "user"}):
        code = f"import os; os.remove({str(place / 'file')!r}); print(os.listdir({str(place)!r}))"
        assert (
            spawner.check_output(
                [sys.executable, "-I", "-S", "-c", code],
                mounts=mounts,
                **options,  # type: ignore[call-overload]
            )
            == b"['below']\n"
        )
    assert tree(place) == before
    told = [step.what for step in spawner.plan(["true"], mounts=mounts)]
    assert f"lay an overlay of at most 1M over {place}" in told
    mounts = spawner.Mounts([spawner.Overlay("/", size=1 << 20)], root=root.place)
    told = [step.what for step in spawner.plan(["true"], mounts=mounts, init=False)]
    assert f"make {root.place} the root directory, under an overlay of at most 1M" in told
