"""`--bind`, `--tmpfs` and their like: the words, the order, and the steps by made-up kernels."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.kernels import Recording, open_descriptors
from helpers.specs import specified
from hypothesis import assume, given
from hypothesis import strategies as st

import spawner
from pyinit import cmdline
from spawner.caller import Caller
from spawner.command import run
from spawner.errors import SetupError, SpecError, SyscallError, unmarked
from spawner.host.paths import walk
from spawner.host.proc import Mount
from spawner.mount import fill, flags, mounts, overlay
from spawner.mount.dev import DEVICES
from spawner.mount.entry import Entry
from spawner.mount.files import Dir, File, Mask, Mqueue, Proc, ReadOnly, Symlink
from spawner.mount.ground import Ground, absolute
from spawner.mount.mounts import Bind, Dev, Mounts, Overlay, Tmpfs, hides
from spawner.mount.root import Change, Root
from spawner.mount.tree import Tree
from spawner.planning import find, plan
from spawner.spec import Namespaces, Spec

CALLER = Caller(user=0, group=0, search_path=b"/bin")

PLACES = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    target = draw(PLACES)
    if draw(st.integers(0, 4)) == 0:
        kinds: list[Callable[[str], Entry]] = [Dev, Dir, Mask, Mqueue, Proc, ReadOnly]
        return draw(st.sampled_from(kinds))(target)
    if draw(st.integers(0, 4)) == 0:
        number, read_only = draw(st.integers(0, 999999)), draw(st.booleans())
        return File(number, target, read_only=read_only)
    if draw(st.booleans()):
        if draw(st.booleans()):
            return Overlay(target, upper=draw(st.sampled_from(["/u", ".", "a:b=c", "-"])))
        kind = draw(st.sampled_from([Tmpfs, Overlay]))
        return kind(target, size=draw(st.integers(1, 2**63 - 1)))
    source = draw(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1))
    flags = draw(st.sampled_from([{}, {"read_only": True}, {"devices": True}]))
    if draw(st.integers(0, 4)) == 0:
        return Symlink(source, target)
    return Bind(source, target, missing_ok=draw(st.booleans()), **flags)


@given(st.lists(entries(), max_size=5))
def test_what_is_written_is_read_as_the_same(wanted: list[Entry]) -> None:
    words = [
        word for each in wanted for word in (f"--{each.option}={each.words[0]}", *each.words[1:])
    ]
    values, rest = cmdline.parse(run.TABLE, [*words, "--", "app"])
    assert (values.get("mounts", []), rest) == (wanted, ["app"])


@given(st.lists(entries(), max_size=4))
def test_a_mount_that_hides_an_earlier_one_is_refused_and_no_other(
    wanted: list[Entry],
) -> None:
    """By a model: the places that can still be seen, as a set of paths."""
    read = [each.source for each in wanted if isinstance(each, File)]
    assume(len(read) == len(set(read)))
    seen: dict[str, Entry] = {}
    hidden = False
    for each in wanted:
        if isinstance(each, (Dir, Mask, ReadOnly)):
            if not isinstance(each, Dir):
                seen[each.target] = each
            continue
        through = isinstance(each, Overlay) and isinstance(seen.get(each.target), Bind)
        before = seen.get(each.target)
        tried = [isinstance(one, Bind) and one.missing_ok for one in (before, each)]
        hidden |= before is not None and not through and not all(tried)
        hidden |= any(place.startswith(f"{each.target}/") for place in seen)
        if not isinstance(each, Symlink):
            seen[each.target] = each
    if hidden:
        with pytest.raises(SpecError, match="would hide"):
            Mounts(wanted)
        return
    found = Mounts(wanted, root="/r", read_only=True)
    names = {name: getattr(spawner, name) for name in spawner.__all__}
    assert eval(repr(found), names) == found
    assert hash(found) == hash(Mounts(wanted, root="/r", read_only=True))


@given(PLACES, PLACES)
def test_hiding(point: str, earlier: str) -> None:
    assert hides(point, earlier) == (Path(point) in [Path(earlier), *Path(earlier).parents])
    assert hides("/", earlier)


@given(st.text() | st.text("/a:size=1KMG."))
def test_any_word_is_a_tmpfs_or_refused_with_words(word: str) -> None:
    try:
        found = mounts.tmpfs(word)
    except SpecError:
        return
    assert found.target.startswith("/")
    assert found.size > 0
    assert mounts.tmpfs(*found.words) == found


@pytest.mark.parametrize(
    ("word", "target", "size"),
    [
        ("/a", "/a", 256 << 20),
        ("/a:size=1G", "/a", 1 << 30),
        ("//a/./b/:size=5", "/a/b", 5),
        ("/a:b/c", "/a:b/c", 256 << 20),
        ("/a:b:size=64k", "/a:b", 64 << 10),
    ],
)
def test_words_of_a_tmpfs(word: str, target: str, size: int) -> None:
    assert mounts.tmpfs(word) == Tmpfs(target, size=size)
    assert mounts.overlay(word) == Overlay(target, size=size)
    assert mounts.overlay("/:size=1M") == Overlay("/", size="1M")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mounts.tmpfs("/a:rw"), "'rw' is not size=SIZE"),
        (lambda: mounts.tmpfs("/a:size=0"), "the size of a tmpfs can't be 0 bytes"),
        (lambda: mounts.tmpfs("/a:size=1X"), "the size of a tmpfs: '1X' is not a number of bytes"),
        (lambda: mounts.tmpfs("/a:size=9999999999T"), "can't be"),
        (lambda: mounts.tmpfs(""), "the target of a mount is an empty path"),
        (lambda: mounts.tmpfs("a"), "is an absolute path in the container, not 'a'"),
        (lambda: mounts.tmpfs("/a/../b"), "can't have `..` in it: '/a/../b'"),
        (lambda: Bind("/a", "/./"), "the root directory can't be mounted on"),
        (lambda: Mounts([Tmpfs("/a"), Tmpfs("/./")]), "the tmpfs on / becomes the root directory"),
        (lambda: Mounts([Tmpfs("/")], root="/a"), "both make the root directory"),
        (lambda: Tree(entries=(Tmpfs("/"),), propagation="slave"), "the tmpfs on / can't be made"),
        (lambda: Tmpfs("/a\0"), "contains a NUL"),
        (lambda: mounts.overlay("/a:rw"), "the only setting of an overlay"),
        (lambda: Overlay("/a", size="0"), "the size of an overlay can't be 0 bytes"),
        (lambda: Overlay("/a", size=1, upper="/u"), "a size, or a directory for what changes"),
        (lambda: Overlay("/a", upper=""), "the upper directory of a mount is an empty path"),
        (lambda: Overlay("a"), "is an absolute path in the container, not 'a'"),
        (lambda: Mounts([Overlay("/proc")]), "the overlay on /proc would hide the container's /p"),
        (lambda: Mounts([Overlay("/")]), "the overlay on / is for a root of its own"),
        (
            lambda: Mounts([Overlay("/")], root="/r", read_only=True),
            "the root /r can't be both read-only and under an overlay",
        ),
        (
            lambda: Mounts([Overlay("/"), Tmpfs("/a"), Overlay("/")], root="/r"),
            "the overlay on / would hide the overlay on /",
        ),
        (
            lambda: Mounts([Tmpfs("/a"), Overlay("/a")]),
            "the overlay on /a would hide the tmpfs on /a",
        ),
        (
            lambda: Mounts([Bind("x", "/a"), Overlay("/a"), Overlay("/a")]),
            "the overlay on /a would hide the overlay on /a",
        ),
        (lambda: Tmpfs("/a", size=-1), "can't be -1 bytes"),
        (lambda: Bind("", "/a"), "the source of a mount is an empty path"),
        (lambda: Bind("a", "b"), "is an absolute path"),
        (lambda: Bind("/a", "/b", read_only=True, devices=True), "both read-only and with devices"),
        (lambda: mounts.bind("bind", "/a:/b", "app"), "two: --bind /a /b"),
        (lambda: mounts.bind("ro-bind", "/a:/b:ro", "app"), "two: --ro-bind /a /b"),
        (lambda: Mounts(read_only=True), "only a root of its own can be read-only"),
        (lambda: Mounts(root=""), "the root of a mount is an empty path"),
        (lambda: Tree(root="/a", propagation="shared"), "the root /a can't be made with --prop"),
        (lambda: Dev("dev"), "is an absolute path in the container, not 'dev'"),
        (lambda: Mounts([Dev(), Bind("/dev", "/dev")]), "would hide the devices on /dev"),
        (lambda: Mounts([Mask("/proc")]), "the mask on /proc would hide the container's /proc"),
        (lambda: Mounts([File(5, "/a"), File(5, "/b")]), "descriptor 5 is named for two files"),
        (lambda: File(-1, "/a"), "-1 can't be a descriptor"),
        (lambda: Symlink("", "/a"), "the text of a mount is an empty path"),
        (lambda: Mounts([File(5, "/a"), Tmpfs("/a")]), "would hide the file /a"),
        (lambda: ReadOnly("/"), "the root directory can't be mounted on"),
        (lambda: Mounts([Tmpfs("/proc")]), "the tmpfs on /proc would hide the container's /proc"),
        (
            lambda: Mounts([Tmpfs("/a/b"), Bind("x", "/a")]),
            "the bind of x on /a would hide the tmpfs on /a/b",
        ),
        (
            lambda: Tree(entries=(Tmpfs("/a"),), mount_proc="//a/p/"),
            "would hide the proc on //a/p/",
        ),
        (
            lambda: Tree(entries=(Tmpfs("/a"),), propagation="slave"),
            "can't be made with --propagation slave",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        make()
    assert message in unmarked(str(caught.value))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mounts(["/a"]), "Mounts holds a Bind, a Tmpfs, a Dev and so on, not '/a'"),  # type: ignore[list-item]
        (lambda: Bind(b"/a", "/b"), "text or a Path, not b'/a'"),  # type: ignore[arg-type]
        (lambda: Tmpfs("/a", size=1.5), "not 1.5"),  # type: ignore[arg-type]
        (lambda: Tmpfs("/a", size=True), "not True"),
        (lambda: File(True, "/a"), "a descriptor, a number, not True"),
        (lambda: Bind(5, "/b"), "not int"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_type_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


def make(*wanted: Entry, **fields: Any) -> Spec:
    return specified(["true"], namespaces=Namespaces({"pid", "mount"}), entries=wanted, **fields)


def test_mounts_need_a_mount_namespace() -> None:
    for namespaces in (Namespaces({"pid"}), Namespaces({"pid"}, {"mount"})):
        with pytest.raises(SpecError, match="needs a new mount namespace"):
            specified(["true"], namespaces=namespaces, entries=(Tmpfs("/a"),))


@pytest.mark.parametrize(
    ("size", "told"), [(1, "1"), (1025, "1025"), (1 << 20, "1M"), (5 << 30, "5G")]
)
def test_the_bound_of_a_tmpfs_is_told(size: int, told: str) -> None:
    spec = make(Tmpfs("/a", size=size))
    (step,) = [
        each
        for each in plan(spec, CALLER, find(Placing(), spec, CALLER))
        if each.topic == "mount-tmpfs"
    ]
    assert step.what == f"mount a tmpfs of at most {told} on /a"
    assert f"size={size}" in step.how


class Placing(Recording):
    """Opens made-up files, which are directories, and mounts nothing."""

    absent: tuple[str, ...] = ()

    def open(self, path: str, flags: int) -> int:
        return os.open("/", os.O_PATH)

    def open_source(self, path: str) -> int:
        self.calls.append(("open_source", path))
        if path in self.absent:
            raise SyscallError("openat", errno.ENOENT, path)
        return os.open("/", os.O_PATH)

    def is_directory(self, descriptor: int) -> bool:
        return True


def test_sources_come_first_proc_next_and_the_mounts_in_their_order() -> None:
    spec = make(Tmpfs("/a"), Bind("/s", "/a/s"), Bind("/t", "/t", read_only=True))
    before = open_descriptors()
    parts = find(Placing(), spec, CALLER)
    planned = [each for each in plan(spec, CALLER, parts) if "mount" in each.needs]
    assert [each.what for each in planned] == [
        "make every mount private",
        "copy the mounts of /s",
        "copy the mounts of /t",
        "mount proc on /proc",
        "mount a tmpfs of at most 256M on /a",
        "bind /s on /a/s",
        "bind /t on /t, read-only",
        "read back what is mounted",
    ]
    assert len(open_descriptors() - before) == 2
    for part in parts:
        part.let_go()
    assert open_descriptors() == before


def test_devices_are_held_and_looked_at() -> None:
    class Numbered(Placing):
        opened = 0
        wrong = ""

        def open_source(self, path: str) -> int:
            self.path = path
            return super().open_source(path)

        def device(self, descriptor: int) -> int | None:
            number = os.makedev(*DEVICES[self.path.removeprefix("/dev/")])
            return None if self.path == self.wrong else number

    before = open_descriptors()
    kernel = Numbered()
    (part,) = find(kernel, make(Dev()), CALLER)
    assert [path for _, path in kernel.calls] == [f"/dev/{name}" for name in DEVICES]
    assert len(open_descriptors() - before) == len(DEVICES)
    part.let_go()
    kernel.wrong = "/dev/full"
    with pytest.raises(SetupError, match="/dev/full isn't the character device 1:7") as caught:
        find(kernel, make(Dev()), CALLER)
    assert "`mknod -m 666 /dev/full c 1 7`" in str(caught.value.hint)
    assert open_descriptors() == before


def test_the_root_comes_after_the_sources_and_the_old_one_goes_last() -> None:
    spec = make(Bind("/s", "/s"), root="/r", read_only=True)
    parts = find(Placing(), spec, CALLER)
    planned = [each for each in plan(spec, CALLER, parts) if "mount" in each.needs]
    assert [each.what for each in planned] == [
        "make every mount private",
        "copy the mounts of /s",
        "make /r the root directory, read-only",
        "mount proc on /proc",
        "bind /s on /s",
        "read back what is mounted",
        "unmount the old root",
    ]
    parts[0].let_go()


def test_the_overlay_of_the_root_is_the_roots_and_others_come_in_their_order() -> None:
    more = (Bind("/s", "/s"), Overlay("/s"), Overlay("/", size=4096))
    spec = make(*more, root="/r")
    parts = find(Placing(), spec, CALLER)
    planned = [each for each in plan(spec, CALLER, parts) if "mount" in each.needs]
    assert [(each.what, each.topic) for each in planned][1:] == [
        ("copy the mounts of /s", "copy-source"),
        ("make /r the root directory, under an overlay of at most 4K", "change-root-overlay"),
        ("mount proc on /proc", "mount-proc-on"),
        ("bind /s on /s", "bind"),
        ("lay an overlay of at most 256M over /s", "mount-overlay"),
        ("read back what is mounted", "read-back-mounts"),
        ("unmount the old root", "leave-old-root"),
    ]
    parts[0].let_go()


@pytest.mark.parametrize(
    ("call", "reason", "trusted", "words"),
    [
        ("fsopen", errno.ENODEV, True, "`modprobe overlay`"),
        ("fsconfig", errno.EINVAL, True, "`stat -f /a`"),
        ("fsconfig", errno.EPERM, False, "require Linux 5.11"),
        ("fsconfig", errno.EPERM, True, None),
        ("fsconfig", errno.EACCES, True, "CAP_DAC_OVERRIDE"),
        ("fsmount", errno.EINVAL, True, None),
    ],
)
def test_why_an_overlay_is_refused(call: str, reason: int, trusted: bool, words: str) -> None:
    hint = overlay._hint(SyscallError(call, reason), "/a", trusted=trusted)
    assert hint is None if words is None else words in str(hint)


def test_a_source_that_is_not_there() -> None:
    kernel = Placing()
    kernel.absent = ("/s",)
    spec = make(Bind("/t", "/t"), Bind("/s", "/x", missing_ok=True))
    parts = find(kernel, spec, CALLER)
    told = [each.what for each in plan(spec, CALLER, parts)]
    assert "bind /t on /t" in told
    assert not [each for each in told if "/s" in each]
    parts[0].let_go()
    before = open_descriptors()
    with pytest.raises(SetupError, match="there is no /s to bind on /x") as caught:
        find(kernel, make(Bind("/t", "/t"), Bind("/s", "/x", read_only=True)), CALLER)
    assert unmarked(str(caught.value.hint)).startswith(
        "name a path that exists, or use --ro-bind-try"
    )
    assert open_descriptors() == before


LINES = """\
1 1 0:1 / / rw - ext4 a rw
2 1 0:2 / /m ro,nosuid,nodev - ext4 a rw
3 2 0:3 / /m/x ro,nosuid,nodev,noexec - ext4 a rw
4 3 0:4 / /m/x/y ro,nosuid - ext4 a rw
5 1 0:5 / /other rw - ext4 a rw
"""


class Showing(Recording):
    """Shows made-up mounts, and notes remounts."""

    number: int | None = 2

    def mounts(self, directory: int | None = None) -> list[Mount]:
        return [Mount(line) for line in LINES.splitlines()]

    def mount_id(self, descriptor: int) -> int | None:
        return self.number

    def walk(self, path: str, absent: object) -> tuple[int, str]:
        self.number = {"/m": 2, "/m/x": 3, "/m/x/y": 4}[path]
        return os.open("/", os.O_PATH), path

    def mount(self, source: Any, target: Any, kind: Any, flags: Any, data: Any) -> None:
        self.calls.append((self.number, flags))


def test_each_mount_below_is_read_back() -> None:
    assert [each.number for each in flags.below(Showing().mounts(), "2")] == ["2", "3", "4"]
    for wanted, refused in ((1, None), (3, None), (7, "/m/x/y isn't nodev")):
        try:
            flags.check_flags(Showing(), "mount it", 5, wanted)
        except SetupError as error:
            assert str(error).endswith(f"the kernel says that {refused}")  # noqa: PT017
        else:
            assert refused is None
    claims = [flags.Claim("mount it", "2", 7), flags.Claim("mount that", "4", 3)]
    flags.check(Showing(), claims)  # what is mounted by another claim is that one's
    kernel = Showing()
    kernel.number = 9
    with pytest.raises(SetupError, match="the kernel reports no such mount"):
        flags.check_flags(kernel, "mount it", 5, 0)


def test_a_remount_keeps_what_a_mount_has() -> None:
    kernel = Showing()
    flags.remount(kernel, 5, 1)
    bind = 32 | 4096
    assert kernel.calls == [(2, bind | 7), (3, bind | 15), (4, bind | 3)]


def test_what_another_mount_covers_can_not_be_remounted() -> None:
    class Covered(Showing):
        def walk(self, path: str, absent: object) -> tuple[int, str]:
            place, _ = super().walk(path, absent)
            self.number = 7 if path == "/m/x" else self.number
            return place, path

    with pytest.raises(SyscallError, match="busy"):
        flags.remount(Covered(), 5, 1)


class Unpivoted(Showing):
    """Refuses another root, or has another afterwards."""

    refused: int | None = None

    def open(self, path: str, flags: int) -> int:
        self.number = 5 if path == "/" and self.calls else 2
        return os.open("/", os.O_PATH)

    def open_source(self, path: str) -> int:
        return os.open("/", os.O_PATH)

    def clone_tree(self, descriptor: int) -> int:
        return os.open("/", os.O_PATH)

    def mounts(self, directory: int | None = None) -> list[Mount]:
        return super().mounts()[1:2]

    def pivot_root(self) -> None:
        self.calls.append(("pivot_root",))
        if self.refused is not None:
            raise SyscallError("pivot_root", self.refused)

    def mount_id(self, descriptor: int) -> int | None:
        self.number, number = 2, self.number
        return number


@pytest.mark.parametrize(
    ("refused", "message", "hint"),
    [(errno.EINVAL, "EINVAL", "an initramfs"), (errno.EPERM, "EPERM", ""),
     (None, "the kernel kept another root", "")],
)  # fmt: skip
def test_a_root_that_can_not_be_changed(refused: int | None, message: str, hint: str) -> None:
    kernel = Unpivoted()
    kernel.refused = refused
    with pytest.raises(SetupError, match=message) as caught:
        Change(Ground([], stays=True)).enter(Root("/r", False, 0)).act(kernel, "")
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("here", "path", "whole"),
    [("/a/b", "/c", "/c"), ("/a/b", "c/./d", "/a/b/c/d"), ("/a", "../../x", "/x"), ("/", ".", "/")],
)
def test_whole_paths(here: str, path: str, whole: str) -> None:
    assert absolute(here, path) == whole


# The way to a target


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of directories, with links that lead up, down, out, nowhere and round."""
    place = tmp_path_factory.mktemp("walk").resolve()
    (place / "a/a/a").mkdir(parents=True)
    (place / "a/file").touch()
    links = (("up", ".."), ("down", "a/./a"), ("out", "/etc"), ("none", "x"), ("me", "me"),
             ("far", "../../../../../../../../../etc"))  # fmt: skip
    for name, target in links:
        (place / "a" / name).symlink_to(target)
        (place / "a/a" / name).symlink_to(target)
    return place


PARTS = st.sampled_from(["a", "a", "a", "file", "up", "down", "out", "none", "me", "far", "x",
                         ".", "..", ""])  # fmt: skip


def opened(path: str, how: Callable[[str], int]) -> int:
    """Return the descriptor that `how` opens, or the errno, negative."""
    try:
        return how(path)
    except OSError as error:
        return -(error.errno or 0)


def absent(*_: object) -> None:
    raise SyscallError("openat", errno.ENOENT)


@given(st.lists(PARTS, max_size=6).map("/".join))
def test_a_walk_leads_where_the_kernel_would_go(tree: Path, path: str) -> None:
    before = open_descriptors()
    whole = f"{tree}/a/{path}"
    place = opened(whole, lambda path: walk(path, absent)[0])
    found = opened(whole, lambda path: os.open(path, os.O_PATH))
    if found < 0:
        assert place == found
    else:
        assert os.path.samestat(os.fstat(found), os.fstat(place))
        assert not os.get_inheritable(place)
        os.close(place)
        os.close(found)
        place, real = walk(whole, absent)
        assert real == os.path.realpath(whole)
        os.close(place)
    assert open_descriptors() == before


def test_a_link_of_proc_leads_where_its_text_says(tmp_path: Path) -> None:
    """The kernel would go to the descriptor, wherever that is; its text is a path of ours."""
    (tmp_path / "x").mkdir()
    outside = os.open(tmp_path / "x", os.O_PATH)
    (tmp_path / "x").rename(tmp_path / "y")
    (tmp_path / "x").mkdir()
    os.rename(tmp_path / "y", tmp_path / "z")
    place, real = walk(f"/proc/self/fd/{outside}", lambda *_: None)
    assert real == str((tmp_path / "z").resolve())
    os.close(place)
    os.close(outside)


def test_what_is_not_there_can_be_made(tmp_path: Path) -> None:
    made: list[tuple[str, bool]] = []

    def make(directory: int, name: str, last: bool) -> None:
        made.append((name, last))
        os.mkdir(name, dir_fd=directory)

    place, real = walk(f"{tmp_path}/a/b/./c", make)
    os.close(place)
    assert real == f"{tmp_path.resolve()}/a/b/c"
    assert made == [("a", False), ("b", False), ("c", True)]


def test_the_public_names_are_the_values() -> None:
    assert (spawner.Bind, spawner.Mounts, spawner.Tmpfs) == (Bind, Mounts, Tmpfs)
    assert spawner.Dev is Dev


# Data of descriptors


def test_data_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "MOST", 100_000)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        for size in (100_000, 100_001):
            (tmp_path / "from").write_bytes(b"x" * size)
            with (tmp_path / "from").open("rb") as file:
                entry = File(file.fileno(), "/a")
                if size > fill.MOST:
                    with pytest.raises(SetupError, match="to be read"):
                        fill._copy_data(entry, directory, f"to{size}")
                else:
                    fill._copy_data(entry, directory, f"to{size}")
                    assert (tmp_path / f"to{size}").read_bytes() == b"x" * size
        with pytest.raises(SetupError) as caught:
            fill._copy_data(File(0, "/a"), directory, "from")
        assert (caught.value.errno, caught.value.path) == (errno.EEXIST, "/a")
    finally:
        os.close(directory)


def test_null_is_held_for_masks_and_looked_at() -> None:
    class Numbered(Placing):
        number: int | None = os.makedev(1, 3)

        def device(self, descriptor: int) -> int | None:
            return self.number

    before = open_descriptors()
    kernel = Numbered()
    spec = make(Mask("/a"), Mask("/b"))
    (part,) = find(kernel, spec, CALLER)
    assert kernel.calls == [("open_source", "/dev/null")]
    told = [each.what for each in plan(spec, CALLER, [part])]
    assert told.count("copy the mount of /dev/null for what is masked") == 1
    assert told.index("mask /b") == told.index("mask /a") + 1
    part.let_go()
    kernel.number = os.makedev(1, 5)
    with pytest.raises(SetupError, match="/dev/null isn't the character device 1:3"):
        find(kernel, spec, CALLER)
    assert open_descriptors() == before
