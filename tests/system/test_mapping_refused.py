"""What an ordinary user is refused, with the reason and a hint."""

from __future__ import annotations

import errno
import os
import re

import pytest
from helpers.capabilities import require
from helpers.mapping import COPIES, MAPPER, ids, pyspawn, require_mapper, require_room, rows, told
from helpers.programs import Word
from helpers.pyspawn import hint_of
from helpers.rooms import USER, room
from helpers.running import Ended


def test_no_subordinate_range_and_the_line_that_gives_one() -> None:
    require_mapper()
    message = "mapper has no subordinate user ids in /etc/subuid"
    hint = hint_of(room(MAPPER, "--map-auto", subuid=""), message)
    assert "to /etc/subuid and /etc/subgid" in hint
    line = re.search("`(mapper:[0-9:]+)`", hint)
    assert line is not None
    heeded = room(MAPPER, "--map-auto", subuid=f"{line[1]}\n")
    assert rows(heeded) == [f"0 {USER} 1", "1 100000 65536"]


def test_no_range_of_groups() -> None:
    require_mapper()
    ended = room(MAPPER, "--map-auto", subgid="")
    hint_of(ended, "mapper has no subordinate group ids in /etc/subgid")
    assert rows(room(MAPPER, "--map-users", "auto", subgid=""))[1:] == ["1 100000 65536"]


@pytest.mark.parametrize("name", ["subuid", "subgid", "nsswitch.conf"])
def test_a_file_that_is_closed(name: str) -> None:
    require_mapper()
    code = f"os.chmod('/mnt/{name}', 0o600)\n"
    switch = {"nsswitch.conf": "passwd: files\n"}
    hint = hint_of(room(code + MAPPER, "--map-auto", more=switch),
                   f"/etc/{name} can't be read by user {USER}")  # fmt: skip
    assert f"as root, let everybody read it: `chmod a+r /etc/{name}`" in hint
    assert rows(room(code + MAPPER, *ALONE, more=switch)) == [f"0 {USER} 1"]


def test_more_ranges_than_a_map_has_room_for() -> None:
    require_mapper()
    lines = "".join(f"mapper:{first}:1\n" for first in range(200001, 201001, 2))
    ended = room(MAPPER, "--map-auto", subuid=lines)
    message = "an id map has at most 340 extents, user_namespaces(7), and this one would have more"
    assert "fewer" in hint_of(ended, message)


def test_another_group_than_that_of_the_login() -> None:
    require_mapper()
    ended = room("GROUP = 5\nbecome()\n", "--map-auto")
    assert (ended.status, ended.out) == (125, b"")
    first, second = ended.errors.splitlines()
    assert "newgidmap: Target" in first
    assert "in your login group" in second


def test_a_user_without_a_name() -> None:
    require_mapper()
    code = "USER = 64996\nbecome()\n"
    message = (
        "map user ids with newuidmap: user 64996 has no name in passwd(5), and newuidmap serves "
        "only users who have one"
    )
    for words in (["--map-auto"], ["--map-users", "0:100000:5", "--setuid", "0"]):
        for lines in ("64996:100000:10\n", ""):
            hint = hint_of(room(code, *words, subuid=lines), message)
            assert "useradd --uid 64996" in hint
    assert rows(room(code, *ALONE)) == ["0 64996 1"]


def test_the_proc_of_another_pid_namespace() -> None:
    require_mapper()
    code = """
check(libc.unshare(0x20000000))  # CLONE_NEWPID
pid = os.fork()
if pid:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    hint = hint_of(
        room(code + MAPPER, "--map-auto"),
        "map user ids with newuidmap: /proc shows another PID namespace here, so newuidmap "
        "wouldn't find the process",
    )
    assert "`mount -t proc proc /proc`" in hint
    heeded = code + "mount('proc', '/proc', 'proc')\n" + MAPPER
    assert rows(room(heeded, "--map-auto"))[0] == f"0 {USER} 1"


def test_a_directory_service_without_a_range() -> None:
    require_mapper()
    switch = {"nsswitch.conf": "passwd: files\nsubid: nosuch\n"}
    hint = hint_of(
        room(MAPPER, "--map-auto", subuid="", more=switch),
        "mapper has no subordinate user ids",
    )
    assert "/etc/nsswitch.conf" in hint


ALONE = ("--map-root-user",)
"""What the hints propose where the helpers can't do their work."""


def test_no_new_privs() -> None:
    require_mapper()
    code = "become()\nlibc.prctl(38, 1, 0, 0, 0)\n"  # PR_SET_NO_NEW_PRIVS
    hint = hint_of(
        room(code, "--map-auto"),
        "map user ids with newuidmap: newuidmap would run without root's rights, since "
        "no_new_privs is set",
    )
    assert "NoNewPrivileges=no" in hint
    assert "--map-root-user" in hint
    assert rows(room(code, *ALONE)) == [f"0 {USER} 1"]


def test_a_missing_set_uid_bit() -> None:
    require_mapper()
    code = "MODE = 0o755\n" + COPIES
    ended = room(code + MAPPER, "--map-auto")
    assert (ended.status, ended.out) == (125, b"")
    assert ended.errors.startswith("pyspawn: write the ")
    command = re.search("`(chown .*?)`", ended.errors)
    assert command is not None
    commands = (command[1].replace("gidmap", f"{kind}idmap") for kind in "ug")
    heeded = "".join(f"assert os.system('PATH=/usr/bin:/bin; {each}') == 0\n" for each in commands)
    assert rows(room(code + heeded + MAPPER, "--map-auto"))[1:] == ["1 100000 65536"]


def test_file_capabilities_in_place_of_the_bit() -> None:
    require_mapper()
    code = "MODE = 0o755\n" + COPIES
    # linux/capability.h: VFS_CAP_REVISION_2 with the effective bit, then permitted and inheritable.
    for kind, bit in (("u", 7), ("g", 6)):
        code += (
            "import struct\n"
            f"os.setxattr('/mnt/bin/new{kind}idmap', 'security.capability', "
            f"struct.pack('<5I', 0x02000001, {1 << bit}, 0, 0, 0))\n"
        )
    assert rows(room(code + MAPPER, "--map-auto"))[1:] == ["1 100000 65536"]


def test_a_file_system_without_set_uid() -> None:
    require_mapper()
    code = "MODE = 0o4755\n" + COPIES + "mount(None, '/mnt', None, REMOUNT | BIND | NOSUID)\n"
    ended = room(code + MAPPER, "--map-auto")
    assert (ended.status, ended.out) == (125, b"")
    assert "isn't mounted nosuid" in ended.errors


@pytest.mark.parametrize("path", ["/nowhere", "bin", "", ":/nowhere", "./bin"])
def test_no_newuidmap_in_a_directory_named_from_the_root(path: str) -> None:
    require_mapper()
    code = "MODE = 0o4755\n" + COPIES + f"os.chdir('/mnt')\nos.environ['PATH'] = {path!r}\n"
    if path == "":
        code += "mount('/mnt/subuid', shutil.which('newuidmap', path=os.defpath), None, BIND)\n"
    ended = room(code + MAPPER, "--map-auto")
    hint = hint_of(ended, "map user ids with newuidmap: the program isn't in PATH")
    assert "install the package uidmap" in hint
    assert rows(room(code + MAPPER, *ALONE)) == [f"0 {USER} 1"]


def test_a_directory_of_that_name_is_no_program() -> None:
    require_mapper()
    code = "os.makedirs('/mnt/first/newuidmap')\nos.environ['PATH'] = '/mnt/first:/usr/bin:/bin'\n"
    assert rows(room(code + MAPPER, "--map-auto"))[1:] == ["1 100000 65536"]


def test_what_newuidmap_says_is_told() -> None:
    require_mapper()
    ended = room(MAPPER, "--map-users", "0:300000:5", "--setuid", "0")
    assert (ended.status, ended.out) == (125, b"")
    first, second = ended.errors.splitlines()
    assert first.startswith("pyspawn: write the uid map 0 300000 5: newuidmap: ")
    assert "not allowed" in first
    assert "`getsubids` lists these ids" in second


def test_the_own_id_and_the_next_one() -> None:
    require_mapper()
    ended = room(MAPPER, "--map-users", f"0:{USER}:2")
    assert (ended.status, ended.out) == (125, b"")
    assert ended.errors.startswith(f"pyspawn: write the uid map 0 {USER} 2: newuidmap: ")


def test_newuidmap_without_its_right() -> None:
    require_mapper()
    # PR_CAPBSET_DROP, CAP_SETUID: what a container without that capability does.
    ended = room("libc.prctl(24, 7, 0, 0, 0)\nbecome()\n", "--map-auto")
    assert (ended.status, ended.out) == (125, b"")
    first, second = ended.errors.splitlines()
    assert first.startswith(f"pyspawn: write the uid map 0 {USER} 1, 1 100000 65536: newuidmap: ")
    assert os.strerror(errno.EPERM) in first
    assert "newuidmap runs as root" in second


def test_an_ordinary_user_has_setgroups_denied() -> None:
    require("userns")
    if os.geteuid() == 0:
        require_room()
        found = told(room(MAPPER, "--map-root-user", program=ids()))
        ended = room(MAPPER, "--setgroups", "allow")
    else:
        found = told(pyspawn("--map-root-user", program=ids()))
        ended = pyspawn("--setgroups", "allow")
    assert found["setgroups"] == "deny"
    message = "setgroups can't stay allowed where an ordinary user maps only one group"
    assert "--map-auto" in hint_of(ended, message)


def test_ids_that_an_ordinary_user_can_not_take() -> None:
    require("userns")

    def start(*words: Word) -> Ended:
        if os.geteuid() == 0:
            require_room()
            return room(MAPPER, *words)
        return pyspawn(*words, program=("/bin/cat", "/proc/self/uid_map"))

    own = USER if os.geteuid() == 0 else os.geteuid()
    hint = hint_of(start("--setuid", "5"),
                   f"user 5: the map 0:{own}:1 gives the container no such user")  # fmt: skip
    assert "--map-user 5" in hint
    # The hint, for somebody who is to be the only one inside.
    assert rows(start("--setuid", "5", "--map-user", "5")) == [f"5 {own} 1"]
    hint = hint_of(
        start("--share", "user", "--setuid", "5"), "becoming another user requires CAP_SETUID"
    )
    assert "--map-auto" in hint
    message = "the supplementary groups can't be set, since setgroups is denied in the user"
    assert "--map-auto" in hint_of(start("--groups", "0"), f"{message} namespace")
