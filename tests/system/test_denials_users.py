"""Why the kernel refused, for real: user namespaces."""

from __future__ import annotations

from helpers.capabilities import require
from helpers.denials import EPERM, MOUNTS, ROOM, inside, mended
from helpers.pyspawn import hint_of


def test_an_id_without_a_mapping() -> None:
    require("userns")
    code = """
user, group = os.geteuid(), os.getegid()
unshare(NEWUSER)
attempt()
write("/proc/self/setgroups", "deny")
write("/proc/self/gid_map", f"0 {group} 1")
write("/proc/self/uid_map", f"0 {user} 1")
"""
    hint = mended(inside(ROOM + code, "--user"), f"make a new user namespace: {EPERM}")
    assert "uid 65534 isn't mapped" in hint
    assert "write that namespace's uid_map first" in hint


PLAIN_ROOT = (
    MOUNTS
    + """
mount("room", "/mnt", "tmpfs")
os.mkdir("/mnt/root")
for name in os.listdir("/"):
    place = f"/mnt/root/{name}"
    if os.path.islink(f"/{name}"):
        os.symlink(os.readlink(f"/{name}"), place)
    elif os.path.isdir(f"/{name}") and name != "mnt":
        os.mkdir(place)
        mount(f"/{name}", place, None, BIND | REC)
"""
)
"""A plain directory with what the machine's root holds, to change the root to."""


def test_a_chroot() -> None:
    require("userns")
    code = PLAIN_ROOT + "os.chroot('/mnt/root')\nos.chdir('/')\n"
    hint = hint_of(inside(code, "--user"), f"make a new user namespace: {EPERM}")
    assert "no process in a chroot can make a user namespace" in hint
    assert "leave out --user" in hint
    ended = inside(code, "--share", "mount")
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")


def test_a_chroot_of_somebody_without_rights() -> None:
    require("userns")
    room = PLAIN_ROOT + "mount('/mnt/root', '/mnt/root', None, BIND | REC)\nos.chdir('/mnt/root')\n"
    # PR_CAPBSET_DROP of all but CAP_SETFCAP, which the map of user id 0 takes.
    drop = "os.chdir('/')\nfor each in {*range(41)} - {31}:\n    libc.prctl(24, each, 0, 0, 0)\n"
    hint = hint_of(
        inside(f"{room}os.chroot('.')\n{drop}", "--user"), f"make a new user namespace: {EPERM}"
    )
    assert "chroot" in hint
    assert "enter it by pivot_root(2)" in hint
    pivot = "check(libc.pivot_root(b'.', b'.'))\ncheck(libc.umount2(b'.', 2))\n"  # MNT_DETACH
    ended = inside(room + pivot + drop, "--user")
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")


def test_a_chroot_that_nothing_shows() -> None:
    require("userns")
    code = (
        PLAIN_ROOT
        + """
mount("/mnt/root", "/mnt/root", None, BIND | REC)
os.chroot('/mnt/root')
os.chdir('/')
"""
    )
    hint = hint_of(inside(code, "--user"), f"make a new user namespace: {EPERM}")
    assert "most likely a chroot" in hint


def test_a_root_directory_that_is_no_mount_point() -> None:
    require("userns")
    enter = "os.chroot('/mnt/root')\nos.chdir('/')\n"
    hint = hint_of(
        inside(PLAIN_ROOT + enter), "make every mount private: Invalid argument (EINVAL)"
    )
    assert "`mount --bind DIR DIR` before `chroot DIR`" in hint
    bind = "mount('/mnt/root', '/mnt/root', None, BIND | REC)\n"
    ended = inside(PLAIN_ROOT + bind + enter)
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")


def test_root_without_setfcap() -> None:
    require("root")
    drop = "libc.prctl(24, 31, 0, 0, 0)\n"  # PR_CAPBSET_DROP, CAP_SETFCAP
    ended = inside(ROOM + drop, "--user")
    assert ended.errors.startswith("pyspawn: write the uid map 0 0 1: "), ended
    hint = hint_of(ended, f"write the uid map 0 0 1: {EPERM}")
    assert "CAP_SETFCAP" in hint
    assert "leave out --user" in hint
    assert inside(ROOM + drop).out == b"ran\n"


def test_a_read_only_proc() -> None:
    require("userns")
    code = (
        MOUNTS
        + """
mount(None, "/proc", None, REMOUNT | BIND | RDONLY)
attempt()
mount(None, "/proc", None, REMOUNT | BIND)
"""
    )
    message = "write the gid map 0 0 1: Read-only file system (EROFS)"
    hint = mended(inside(code, "--user"), message)
    assert "`mount -o remount,bind,rw /proc`" in hint
