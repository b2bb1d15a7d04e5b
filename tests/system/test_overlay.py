"""`--overlay`: what is changed in a directory, or in a root, stays in the container."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import stat
import sys
from pathlib import Path
from typing import Any

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
    for option in ("--overlay", "--readonly"):  # both show what is there
        message, _ = refused(below(place, "echo ran", option, f"{place}/below", deeper=True))
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
    assert f"(`stat -f {place}` shows it)" in hint


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


# Changes that stay


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    found = tmp_path.resolve() / "up,per: \\"
    found.mkdir()
    return found


@pytest.mark.parametrize("options", EVERYBODY)
def test_changes_go_to_a_directory_and_stay(place: Path, upper: Path, options: list[str]) -> None:
    """And are there again in the next container, whether it was root's or a user's."""
    before = tree(place)
    words = [*options, "--overlay-upper", str(upper), str(place)]
    ended = sh(CHANGES, *words, directory=place)
    assert (ended.status, ended.errors) == (0, "")
    assert " ".join(ended.out.decode().splitlines()) == f"{SEEN} {place}"
    assert (upper / "moved").read_text() == "new\n"
    assert stat.S_ISCHR((upper / "file").stat().st_mode)  # a whiteout: it's deleted
    ended = sh("ls -a . below; rm -r below", *words, directory=place)
    assert (ended.status, ended.errors) == (0, "")
    listed = [".", "..", "below", "made", "moved"]
    assert ended.out.decode().split() == [".:", *listed, "below:", ".", ".."]
    assert tree(place) == before
    assert sorted(upper.parent.iterdir()) == sorted([place, upper])


def test_changes_of_a_root_in_a_directory(root: Root, upper: Path) -> None:
    before = tree(root.place)
    words = ["--overlay-upper", str(upper), "/"]
    assert root.sh("echo new >/mine/made", *words).errors == ""
    assert (upper / "mine/made").read_text() == "new\n"
    message, _ = refused(root.sh("echo ran", *words, "--tmpfs", "/mine/place"))
    assert message.endswith("there is no /mine/place to mount on")
    assert tree(root.place) == before
    assert sorted(upper.parent.iterdir()) == sorted([root.place, upper])


def test_a_directory_that_can_not_take_changes(place: Path, upper: Path) -> None:
    def answer(directory: object, target: Path = place) -> tuple[str, str]:
        return refused(sh("echo ran", "--overlay-upper", str(directory), str(target)))

    message, hint = answer(place / "file", place / "below")
    assert message.startswith(f"{place}/file isn't a directory")
    message, hint = answer(place / "below/deep")
    assert message.endswith(f"{place}/below/deep lies in the directory whose changes it is to take")
    message, hint = answer(place, place / "below")
    assert message.endswith("Too many levels of symbolic links (ELOOP)")
    assert hint.startswith(f"{place}/below lies in {place}, which takes its changes")
    message, hint = answer("/proc")
    assert message.startswith("something is mounted on /proc, and the kernel needs another")
    message, hint = answer(upper / "none")
    assert message.endswith("No such file or directory (ENOENT)")
    assert "`namei -l" in hint
    assert sorted(upper.parent.iterdir()) == sorted([place, upper])


def test_only_one_container_at_a_time_has_a_directory_for_its_changes(
    place: Path, upper: Path
) -> None:
    words = ["--overlay-upper", str(upper), str(place), "--"]
    with Running(pyspawn(*words, "/bin/cat")) as running:
        running.write(b"there\n")
        assert running.line() == "there"
        message, _ = refused(spawn(*words, "/bin/true"))
        assert message == f"another container keeps its changes in {upper}"
        running.close_input()
        assert running.wait() == 0
    assert spawn(*words, "/bin/true").status == 0


def test_what_somebody_else_has_laid_beside_it_is_left_alone(place: Path, upper: Path) -> None:
    require("root", "other-user")
    beside = upper.parent / f".pyspawn-{upper.stat().st_ino}"
    beside.mkdir()
    (beside / "file").touch()
    os.chown(beside, 64998, 64998)
    words = ["--overlay-upper", str(upper), str(place), "--", "/bin/true"]
    message, hint = refused(spawn(*words))
    assert message.startswith(f"make a directory beside {upper}, in which the kernel prepares")
    assert "name a directory of yours" in hint
    assert (beside / "file").exists()


@pytest.mark.parametrize("options", EVERYBODY)
def test_after_sigkill_the_next_one_takes_over(
    place: Path, upper: Path, options: list[str]
) -> None:
    words = pyspawn(*options, "--overlay-upper", str(upper), str(place), "--")
    with Running([*words, "/bin/sh", "-c", f"echo x >'{place}/file'; exec cat"]) as running:
        running.write(b"there\n")
        assert running.line() == "there"
        tree_of = children.below(running.starter)
        os.kill(running.starter, signal.SIGKILL)
        assert not children.wait_gone(tree_of)
    assert mounted(str(place)) == []
    left = {f".pyspawn-{upper.stat().st_ino}"}
    assert {each.name for each in upper.parent.iterdir()} - {place.name, upper.name} == left
    ended = run([*words, "/bin/cat", str(place / "file")])
    assert (ended.out, ended.errors) == (b"x\n", "")
    assert sorted(upper.parent.iterdir()) == sorted([place, upper])


# What has changed


def changes_of(*words: Word, **how: Any) -> tuple[Ended, list[dict[str, str]]]:
    """Run pyspawn with --changes; return how it ended and what it told there."""
    reader, writer = os.pipe()
    with Running(pyspawn(f"--changes={writer}", *words), pass_fds=[writer], **how) as running:
        os.close(writer)
        with open(reader) as told:
            found = [json.loads(line) for line in told]
        running.close_input()
        out = running.out.rest()
        return Ended(running.wait(), out, running.errors()), found


TRY = """
import json, os, random, shutil, stat, sys
chance = random.Random(int(sys.argv[1]))
def place(deepest=3):
    return "/".join(chance.choice("abc") for _ in range(chance.randint(1, deepest)))
def write(path):
    with open(path, "a") as file:
        file.write(chance.choice(["", "x"]))
ACTS = [write, write, os.mkdir, os.mkdir, os.remove, shutil.rmtree, os.rmdir,
        lambda path: os.symlink(chance.choice("xy"), path), lambda path: os.chmod(path, 0o700),
        lambda path: os.rename(path, place()), lambda path: os.link(path, place())]
def change():
    for _ in range(60):
        try:
            chance.choice(ACTS)(place())
        except OSError:
            pass
def state(path):
    found = os.lstat(path)
    if stat.S_ISDIR(found.st_mode):
        return [True, found.st_mode]
    text = os.readlink(path) if stat.S_ISLNK(found.st_mode) else ""
    return [False, found.st_mode, found.st_size, found.st_mtime_ns, text]
def tree():
    found = {}
    for above, directories, files in os.walk("."):
        for name in directories + files:
            path = f"{above}/{name}"[2:]
            found[path] = state(path)
    return found
change()
print(json.dumps(tree()))
"""


def expected(old: dict[str, list[Any]], new: dict[str, list[Any]]) -> list[tuple[str, str]]:
    """Return what has changed by two looks at a tree."""

    def was_directory(path: str) -> bool:
        above = path.rpartition("/")[0]
        return not above or (above in new and new[above][0])

    found = [("added", path) for path in new.keys() - old.keys()]
    found += [("changed", path) for path in new.keys() & old.keys() if new[path] != old[path]]
    found += [("deleted", path) for path in old.keys() - new.keys() if was_directory(path)]
    return sorted(found)


@pytest.mark.parametrize("seed", range(2))
def test_changes_are_those_between_two_looks(tmp_path: Path, seed: int) -> None:
    """Random ones, of a random tree, in memory and in a directory."""
    place = tmp_path.resolve() / "tree"
    upper = tmp_path.resolve() / "upper"
    place.mkdir()
    upper.mkdir()
    program: list[Word] = [sys.executable, "-I", "-S", "-c", TRY]
    old = json.loads(run([*program, str(seed)], directory=place).out)
    memory = ["--overlay", f"{place}:size=1M"]
    kept = ["--overlay-upper", str(upper), str(place)]
    for options in (*EVERYBODY, ["--share=pid", "--init"]):
        for overlay in (memory, kept):
            words = [*options, *overlay, "--", *program, str(seed + 100)]
            ended, told = changes_of(*words, directory=place)
            assert (ended.status, ended.errors) == (0, "")
            found = [(each["change"], each["path"].removeprefix(f"{place}/")) for each in told]
            assert sorted(found) == expected(old, json.loads(ended.out))
            run(["/bin/sh", "-c", "rm -rf ./*"], directory=upper)


def test_names_that_are_no_text_and_a_tree_that_is_too_deep(place: Path) -> None:
    script = (
        "import os\nos.close(os.open(b'\\xff\\n', os.O_CREAT | os.O_WRONLY))\n"
        "for _ in range(210):\n    os.mkdir('d')\n    os.chdir('d')\n"
    )
    words = ["--overlay", f"{place}:size=2M", "--", sys.executable, "-I", "-S", "-c", script]
    ended, told = changes_of(*words, directory=place)
    assert (ended.status, ended.errors) == (0, "")
    assert told[-1] == {"change": "added", "path": f"{place}/\udcff\n"}
    assert [each["change"] for each in told[:-1]] == ["added"] * 200 + ["unknown"]
    assert told[-2]["path"] == told[-3]["path"] == f"{place}{'/d' * 200}"


def test_changes_of_several_and_of_none(root: Root, place: Path) -> None:
    words = [
        "--ro-bind",
        str(place),
        "/mine",
        "--overlay",
        "/mine:size=1M",
        "--overlay",
        "/:size=1M",
    ]
    script = "rm /mine/file; : >/made; chmod 700 /mine; ls /proc/self/fd"
    ended, told = changes_of(*root.words(script, *words))
    assert sorted((each["change"], each["path"]) for each in told) == [
        ("added", "/made"),
        ("changed", "/mine"),
        ("deleted", "/mine/file"),
    ]
    assert ended.out.split() == [b"0", b"1", b"2", b"3"]  # the last is of the listing
    for program in ("/bin/true", "/nonexistent"):
        _, told = changes_of("--overlay", f"{place}:size=1M", "--", program)
        assert told == []


def test_a_reader_that_does_not_read_holds_nothing_up(place: Path) -> None:
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(4096))
        os.set_blocking(writer, True)
        words = [f"--changes={writer}", "--overlay", f"{place}:size=1M", "--"]
        ended = run(pyspawn(*words, "/bin/rm", str(place / "file")), pass_fds=[writer])
    finally:
        os.close(reader)
        os.close(writer)
    assert ended.status == 0
    told = "the reader of what has changed is too slow: not all of it was told"
    assert ended.errors == f"pyspawn: {told}\n"


def test_changes_without_an_overlay_are_refused() -> None:
    message, hint = refused(spawn("--changes=1", "--", "/bin/true"))
    assert message == "there's no overlay whose changes could be reported"
    assert hint == "add --overlay DST"
