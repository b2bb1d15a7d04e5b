"""Who the program is inside, and who may be there: maps of ids, and credentials."""

from __future__ import annotations

import errno
import os
import re
import signal
import tempfile
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.programs import Word, python
from helpers.rooms import GROUP, RANGES, USER, entered, room
from helpers.running import Ended, Running, run

import pyinit
from spawner import lean

MAPPER = "become()\n"
"""For `room`: go on as its user."""

IDS = """
import posix
for name in ("uid_map", "gid_map", "setgroups"):
    with open(f"/proc/self/{name}") as file:
        print(name, ",".join(" ".join(line.split()) for line in file))
print("uid", *posix.getresuid())
print("gid", *posix.getresgid())
print("groups", *posix.getgroups())
with open("/proc/self/status") as file:
    print("caps", *[line.split()[1].lstrip("0") for line in file if line.startswith("CapEff")])
"""
"""A program that tells who it is."""


def pyspawn(*words: Word, program: tuple[Word, ...] = ("/bin/echo", "ran")) -> Ended:
    return run([*lean.pyspawn(), *words, "--", *program])


def told(ended: Ended) -> dict[str, str]:
    """Return what a program of IDS said, by its first words."""
    assert (ended.status, ended.errors) == (0, ""), ended
    lines = ended.out.decode().splitlines()
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}


def ids() -> tuple[Word, ...]:
    return tuple(python(IDS))


def refused(ended: Ended, message: str) -> str:
    """Return the hint of a run that failed as ours do, with one line and one hint."""
    assert (ended.status, ended.out) == (125, b""), ended
    first, second, *rest = ended.errors.splitlines()
    assert first == f"pyspawn: {message}"
    assert second.startswith("hint: ")
    assert rest == []
    return second


def rows(ended: Ended) -> list[str]:
    """Return the lines of a map that was shown."""
    assert (ended.status, ended.errors) == (0, ""), ended
    return [" ".join(line.split()) for line in ended.out.decode().splitlines()]


def require_room() -> None:
    require("root", "other-user", "userns")


def require_mapper() -> None:
    require_room()
    require("newuidmap", "newgidmap")


# An ordinary user, through newuidmap and newgidmap.


def test_an_ordinary_user_has_the_own_id_and_all_subordinate_ones() -> None:
    require_mapper()
    with tempfile.TemporaryDirectory() as place:  # what pytest makes is closed to others
        Path(place).chmod(0o777)
        script = (
            f"id -u; cat /proc/self/uid_map; cd {place}; echo > f; chown 1:1 f; stat -c %u:%g f"
        )
        ended = room(MAPPER, "--map-auto", "--init", program=("/bin/sh", "-c", script))
        assert rows(ended) == ["0", f"0 {USER} 1", "1 100000 65536", "1:1"]
        found = Path(place, "f").stat()
        assert (found.st_uid, found.st_gid) == (100000, 100000)


def test_as_whoever_runs_the_tests() -> None:
    if os.geteuid() == 0:
        pytest.skip("the rooms are root's tests")
    require("subordinate-ids")
    own = told(pyspawn("--map-auto", "--init", program=ids()))
    first, second = own["uid_map"].split(",")[:2]
    assert first == f"0 {os.geteuid()} 1"
    assert second.startswith("1 ")
    assert (own["uid"], own["gid"], own["setgroups"]) == ("0 0 0", "0 0 0", "allow")


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_setgroups_stays_allowed_with_a_range_and_groups_are_kept(init: list[str]) -> None:
    require_mapper()
    found = told(room("become([64000])\n", "--map-auto", *init, program=ids()))
    assert found["gid_map"] == f"0 {GROUP} 1,1 100000 65536"
    assert found["setgroups"] == "allow"
    assert found["groups"] == "65534"  # not mapped, and not lost
    assert found["uid"] == "0 0 0"


def test_setgroups_denied_on_demand() -> None:
    require_mapper()
    found = told(room(MAPPER, "--map-auto", "--setgroups", "deny", program=ids()))
    assert found["setgroups"] == "deny"
    assert found["gid_map"] == f"0 {GROUP} 1,1 100000 65536"


def test_the_callers_place_is_kept_free_in_the_range() -> None:
    require_mapper()
    assert rows(room(MAPPER, "--map-auto", "--map-user", "1000", program=("/bin/cat",
        "/proc/self/uid_map"))) == [
        f"1000 {USER} 1", "0 100000 1000", "1001 101000 64536",
    ]  # fmt: skip
    found = told(room(MAPPER, "--map-auto", "--map-current-user", program=ids()))
    assert found["uid"] == f"{USER} {USER} {USER}"
    assert found["uid_map"] == f"{USER} {USER} 1,0 100000 {USER},{USER + 1} {100000 + USER} 538"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("mapper:100000:10\nmapper:200000:5\n", ["1 100000 10", "11 200000 5"]),
        (f"{USER}:100000:10\n", ["1 100000 10"]),
        ("mapper2:7:7\nmappe:8:8\nmapper:100000:10\n", ["1 100000 10"]),
        ("mapper:nonsense\n\nmapper:5\nmapper:100000:10\n", ["1 100000 10"]),
        ("mapper:100000:10\nmapper:100005:10\n", ["1 100000 10", "11 100010 5"]),
        (f"mapper:{USER - 1}:3\n", [f"1 {USER - 1} 1", f"2 {USER + 1} 1"]),
    ],
)
def test_which_lines_are_the_users(lines: str, expected: list[str]) -> None:
    require_mapper()
    assert rows(room(MAPPER, "--map-auto", subuid=lines)) == [f"0 {USER} 1", *expected]


def test_ranges_that_are_named() -> None:
    require_mapper()
    words = ("--map-users", "0:100000:10", "--map-groups", "0:100000:10")
    found = told(
        room(MAPPER, *words, "--setuid", "3", "--setgid", "4", "--groups", "5,6", program=ids())
    )
    assert found["uid_map"] == "0 100000 10"
    assert (found["uid"], found["gid"], found["groups"]) == ("3 3 3", "4 4 4", "5 6")
    assert found["caps"] == ""
    both = rows(room(MAPPER, "--map-root-user", "--map-users", "1:100000:10"))
    assert both == [f"0 {USER} 1", "1 100000 10"]
    auto = rows(room(MAPPER, "--map-users", "auto", program=("/bin/cat", "/proc/self/gid_map")))
    assert auto == [f"0 {GROUP} 1"]


def test_one_id_that_is_not_the_own_one() -> None:
    require_mapper()
    assert rows(room(MAPPER, "--map-users", "0:100000:1", "--setuid", "0")) == ["0 100000 1"]


# What an ordinary user is refused.


def test_no_subordinate_range_and_the_line_that_gives_one() -> None:
    require_mapper()
    message = "mapper has no subordinate user ids in /etc/subuid"
    hint = refused(room(MAPPER, "--map-auto", subuid=""), message)
    assert "to /etc/subuid and /etc/subgid" in hint
    line = re.search("`(mapper:[0-9:]+)`", hint)
    assert line is not None
    heeded = room(MAPPER, "--map-auto", subuid=f"{line[1]}\n")
    assert rows(heeded) == [f"0 {USER} 1", "1 100000 65536"]


def test_no_range_of_groups() -> None:
    require_mapper()
    ended = room(MAPPER, "--map-auto", subgid="")
    refused(ended, "mapper has no subordinate group ids in /etc/subgid")
    assert rows(room(MAPPER, "--map-users", "auto", subgid=""))[1:] == ["1 100000 65536"]


@pytest.mark.parametrize("name", ["subuid", "subgid", "nsswitch.conf"])
def test_a_file_that_is_closed(name: str) -> None:
    require_mapper()
    code = f"os.chmod('/mnt/{name}', 0o600)\n"
    switch = {"nsswitch.conf": "passwd: files\n"}
    hint = refused(room(code + MAPPER, "--map-auto", more=switch),
                   f"/etc/{name} is closed to user {USER}")  # fmt: skip
    assert f"`chmod a+r /etc/{name}` as root" in hint
    assert rows(room(code + MAPPER, *ALONE, more=switch)) == [f"0 {USER} 1"]


def test_more_ranges_than_a_map_has_room_for() -> None:
    require_mapper()
    lines = "".join(f"mapper:{first}:1\n" for first in range(200001, 201001, 2))
    ended = room(MAPPER, "--map-auto", subuid=lines)
    message = "an id map has at most 340 extents, user_namespaces(7), and this one would have more"
    assert "fewer" in refused(ended, message)


def test_another_group_than_that_of_the_login() -> None:
    require_mapper()
    ended = room("GROUP = 5\nbecome()\n", "--map-auto")
    assert (ended.status, ended.out) == (125, b"")
    first, second = ended.errors.splitlines()
    assert "newgidmap: Target" in first
    assert "only while you are in your login group" in second
    grant = {"login.defs": "GRANT_AUX_GROUP_SUBIDS yes\n"}
    assert "GRANT_AUX_GROUP_SUBIDS yes" in second
    assert rows(room("GROUP = 5\nbecome()\n", "--map-auto", more=grant))[0] == f"0 {USER} 1"


def test_a_user_without_a_name() -> None:
    require_mapper()
    code = "USER = 64996\nbecome()\n"
    message = (
        "map user ids with newuidmap: it serves only users who have a name, and user 64996 has "
        "none in passwd(5)"
    )
    for words in (["--map-auto"], ["--map-users", "0:100000:5", "--setuid", "0"]):
        for lines in ("64996:100000:10\n", ""):
            hint = refused(room(code, *words, subuid=lines), message)
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
    hint = refused(
        room(code + MAPPER, "--map-auto"),
        "map user ids with newuidmap: the /proc that is mounted here would lead it to another "
        "process, or to none",
    )
    assert "`mount -t proc proc /proc`" in hint
    heeded = code + "mount('proc', '/proc', 'proc')\n" + MAPPER
    assert rows(room(heeded, "--map-auto"))[0] == f"0 {USER} 1"


def test_a_directory_service_without_a_range() -> None:
    require_mapper()
    switch = {"nsswitch.conf": "passwd: files\nsubid: nosuch\n"}
    hint = refused(
        room(MAPPER, "--map-auto", subuid="", more=switch),
        "mapper has no subordinate user ids",
    )
    assert "/etc/nsswitch.conf" in hint


ALONE = ("--map-root-user",)
"""What the hints propose where the helpers can't do their work."""


def test_no_new_privs() -> None:
    require_mapper()
    code = "become()\nlibc.prctl(38, 1, 0, 0, 0)\n"  # PR_SET_NO_NEW_PRIVS
    hint = refused(
        room(code, "--map-auto"),
        "map user ids with newuidmap: it would run without root's rights, since no_new_privs is "
        "set",
    )
    assert "NoNewPrivileges=no" in hint
    assert "--map-root-user" in hint
    assert rows(room(code, *ALONE)) == [f"0 {USER} 1"]


COPIES = """
os.mkdir("/mnt/bin")
for name in ("newuidmap", "newgidmap"):
    shutil.copy(shutil.which(name), "/mnt/bin")
    os.chmod(f"/mnt/bin/{name}", MODE)
os.environ["PATH"] = "/mnt/bin"
"""
"""For `room`: helpers of the room's own."""


def test_a_missing_set_uid_bit() -> None:
    require_mapper()
    code = "MODE = 0o755\n" + COPIES
    hint = refused(
        room(code + MAPPER, "--map-auto"),
        "map user ids with newuidmap: /mnt/bin/newuidmap would run without root's rights",
    )
    assert "`chmod u+s /mnt/bin/newuidmap`" in hint
    heeded = code + "".join(f"os.chmod('/mnt/bin/new{k}idmap', 0o4755)\n" for k in "ug")
    assert rows(room(heeded + MAPPER, "--map-auto"))[1:] == ["1 100000 65536"]


def test_a_set_uid_bit_that_is_not_roots() -> None:
    require_mapper()
    code = "MODE = 0o4755\n" + COPIES + "os.chown('/mnt/bin/newuidmap', 5, 5)\n"
    hint = refused(
        room(code + "os.chmod('/mnt/bin/newuidmap', 0o4755)\n" + MAPPER, "--map-auto"),
        "map user ids with newuidmap: /mnt/bin/newuidmap would run without root's rights",
    )
    assert "neither the set-user-ID bit of root" in hint
    command = re.search("`(.*)` as root", hint)
    assert command is not None
    assert command[1] == "chown root /mnt/bin/newuidmap && chmod u+s /mnt/bin/newuidmap"
    heeded = f"assert os.system('PATH=/usr/bin:/bin; {command[1]}') == 0\n"
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
    hint = refused(
        ended, "map user ids with newuidmap: /mnt/bin/newuidmap would run without root's rights"
    )
    assert "mounted nosuid" in hint


@pytest.mark.parametrize("path", ["/nowhere", "bin", "", ":/nowhere", "./bin"])
def test_no_newuidmap_in_a_directory_named_from_the_root(path: str) -> None:
    require_mapper()
    code = "MODE = 0o4755\n" + COPIES + f"os.chdir('/mnt')\nos.environ['PATH'] = {path!r}\n"
    if path == "":
        code += "mount('/mnt/subuid', shutil.which('newuidmap', path=os.defpath), None, BIND)\n"
    ended = room(code + MAPPER, "--map-auto")
    hint = refused(ended, "map user ids with newuidmap: the program isn't in PATH")
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
    assert "/etc/subuid gives you" in second


@pytest.mark.parametrize("kind", ["uid", "gid"])
def test_a_file_of_ranges_that_is_a_link_is_not_followed(kind: str) -> None:
    """By newuidmap, which says nothing of it; what it was told helps."""
    require_mapper()
    code = f"""
shutil.copytree("/etc", "/mnt/etc", symlinks=True, ignore=lambda *_: ["shadow", "gshadow", "ssl"])
for name in FILES:
    check(libc.umount2(f"/etc/{{name}}".encode(), 2))
    shutil.copy(f"/mnt/{{name}}", f"/mnt/etc/{{name}}")
os.rename("/mnt/etc/sub{kind}", "/mnt/etc/ranges")
os.symlink("ranges", "/mnt/etc/sub{kind}")
mount("/mnt/etc", "/etc", None, BIND)
"""
    become = "os.chdir('/')\n" + MAPPER
    ended = room(code + become, "--map-auto")
    assert (ended.status, ended.out) == (125, b"")
    message, hint = ended.errors.splitlines()
    assert message.startswith(f"pyspawn: write the {kind} map ")
    assert hint.startswith(
        f"hint: /etc/sub{kind} is a symbolic link, which new{kind}map doesn't follow"
    )
    command = hint.partition("`")[2].rstrip("`")
    mended = room(f"{code}import subprocess\nsubprocess.run({command!r}, shell=True)\n{become}",
                  "--map-auto", program=("/bin/echo", "ran"))  # fmt: skip
    assert mended.out == b"ran\n", mended


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
    assert "a container or a security module" in second


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
    assert "--map-auto" in refused(ended, message)


def test_ids_that_an_ordinary_user_can_not_take() -> None:
    require("userns")

    def start(*words: Word) -> Ended:
        if os.geteuid() == 0:
            require_room()
            return room(MAPPER, *words)
        return pyspawn(*words, program=("/bin/cat", "/proc/self/uid_map"))

    own = USER if os.geteuid() == 0 else os.geteuid()
    hint = refused(start("--setuid", "5"),
                   f"user 5: the map 0:{own}:1 has no such user inside")  # fmt: skip
    assert "--map-user 5" in hint
    # The hint, for somebody who is to be the only one inside.
    assert rows(start("--setuid", "5", "--map-user", "5")) == [f"5 {own} 1"]
    hint = refused(
        start("--share", "user", "--setuid", "5"), "becoming another user takes CAP_SETUID"
    )
    assert "--map-auto" in hint
    message = "the supplementary groups can't be set, since setgroups is denied in the user"
    assert "--map-auto" in refused(start("--groups", "0"), f"{message} namespace")


# Root, who needs no helper.


def test_root_maps_its_own_range_and_nobody_elses() -> None:
    require_room()
    hint = refused(room("", "--map-auto"), "root has no subordinate user ids in /etc/subuid")
    line = re.search("`(root:[0-9:]+)`", hint)
    assert line is not None
    nowhere = "os.environ['PATH'] = '/nowhere'\n"
    ended = room(nowhere, "--map-auto", subuid=f"{RANGES}{line[1]}\n")
    assert rows(ended) == ["0 0 1", "1 100000 65536"]


def test_root_without_a_name() -> None:
    require_room()
    passwd = {"passwd": "mapper:x:5:5::/:/bin/sh\n", "nsswitch.conf": "passwd: files\n"}
    hint = refused(room("", "--map-auto", more=passwd),
                   "0 has no subordinate user ids in /etc/subuid")  # fmt: skip
    assert "`0:100000:65536`" in hint
    ended = room("", "--map-auto", subuid="0:165536:65536\n", more=passwd)
    assert rows(ended) == ["0 0 1", "1 165536 65536"]


def test_users_and_groups_by_name() -> None:
    """A user who is named brings the login group along, as su(1) has it; a number doesn't."""
    require_room()
    names = {"group": f"root:x:0:\nmappers:x:{GROUP}:mapper\nothers:x:77:\n"}

    def who(*words: Word) -> list[str]:
        code = ("/bin/sh", "-c", "id -u; id -g; id -G")
        return rows(room("", *words, program=code, more=names))

    assert who("--setuid", "mapper") == [str(USER), str(GROUP), str(GROUP)]
    assert who("--setuid", "mapper", "--setgid", "others") == [str(USER), "77", "77"]
    assert who("--setuid", str(USER)) == [str(USER), "0", "0"]
    assert who("--setgid", "mappers", "--groups", "others,5") == ["0", str(GROUP), f"{GROUP} 5 77"]
    assert who("--map-user", "mapper", "--map-group", "others") == [str(USER), "77", "77"]


def test_names_that_a_directory_service_has() -> None:
    require_room()
    entry = "#!/bin/sh\n[ $1 = passwd ] && echo far:x:70001:70002:::\n"
    code = f"write('/mnt/getent', {entry!r}, 0o755)\n"
    code += "os.environ['PATH'] = '/mnt:/usr/bin:/bin'\n"
    program = ("/bin/sh", "-c", "id -u; id -g")
    assert rows(room(code, "--setuid", "far", program=program)) == ["70001", "70002"]
    ended = room(code, "--setgid", "far")
    assert ended.status == 125
    assert "--setgid: 'far' is neither a group of this machine (`getent group`" in ended.errors


def test_a_name_whose_ids_are_not_mapped() -> None:
    require_room()
    hint = refused(room(MAPPER, "--setuid", "mapper"),
                   f"user {USER}: the map 0:{USER}:1 has no such user inside")  # fmt: skip
    assert f"--map-user {USER}" in hint
    ended = room(MAPPER, "--setuid", "mapper", "--map-user", "mapper")
    hint = refused(ended, f"group {GROUP}: the map 0:{GROUP}:1 has no such group inside")
    assert "--setgid 0" in hint


def in_path(name: str, script: str) -> str:
    """Return code for `room` that puts a shell script first in PATH."""
    text = f"#!/bin/sh\n{script}\n"
    return (
        "os.mkdir('/mnt/bin')\n"
        f"write('/mnt/bin/{name}', {text!r}, 0o755)\n"
        "os.environ['PATH'] = '/mnt/bin:/usr/bin:/bin'\n"
    )


def test_a_name_of_a_directory_service() -> None:
    require_room()
    code = in_path("getent", 'echo "$*" >>/mnt/asked; [ "$*" = "passwd 0" ] && echo far:x:0:0::/:')
    script = ("/bin/sh", "-c", "cat /proc/self/uid_map /mnt/asked")
    ended = room(
        code, "--map-auto", program=script, subuid="far:5000:6\nroot:7:8\n", more={"passwd": ""}
    )
    assert rows(ended) == ["0 0 1", "1 5000 6", "passwd 0"]  # asked once


def test_ranges_of_a_directory_service() -> None:
    require_room()
    answers = '[ "$*" = root ] && exec echo 0: root 500000 10\necho 0: root 600000 10'
    code = in_path("getsubids", answers)
    script = ("/bin/sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map")
    expected = ["0 0 1", "1 500000 10", "0 0 1", "1 600000 10"]
    assert rows(room(code, "--map-auto", program=script, subuid="")) == expected
    switch = {"nsswitch.conf": "passwd: files\nsubid: sss\n"}
    ended = room(code, "--map-auto", program=script, subuid="root:7:7\n", more=switch)
    assert rows(ended) == expected


HANGS = "exec 9>/proc/$PPID/fd/1\necho asked >&9\nexec sleep 1000"
"""A script: a directory service that doesn't answer. What asks it has stdout open as well."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_directory_service_that_does_not_answer(number: signal.Signals) -> None:
    require_room()
    with Running(entered(in_path("getsubids", HANGS), "--map-auto", subuid="")) as running:
        assert running.line() == "asked"
        running.send(number)
        assert running.out.rest() == b""
        assert running.wait() == 128 + number
        message, hint = running.errors().splitlines()
    assert message == f"pyspawn: run getsubids: got {number.name} meanwhile"
    assert "a directory service" in hint


def test_a_directory_service_that_does_not_know_a_name_in_time() -> None:
    require_room()
    argv = entered(in_path("getent", HANGS), "--setuid", "far")
    with Running(argv) as running:
        assert running.line() == "asked"
        running.send(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGTERM
        assert running.errors().startswith("pyspawn: run getent: got SIGTERM meanwhile\n")


# A script that has file capabilities, which the kernel doesn't heed, capabilities(7).
HELPER_HANGS = f"""
MODE = 0o4755
{COPIES}
import struct
script = "#!/bin/sh\\nexec 9>/proc/$PPID/fd/1\\necho asked >&9\\nexec /bin/sleep 1000\\n"
write("/mnt/bin/newgidmap", script, 0o755)
capabilities = struct.pack("<5I", 0x02000001, 1 << 6, 0, 0, 0)
os.setxattr("/mnt/bin/newgidmap", "security.capability", capabilities)
os.fchown(1, USER, GROUP)
{MAPPER}
"""
"""For `room`: a newgidmap that doesn't end."""


def test_a_helper_that_hangs_while_the_stage_waits() -> None:
    require_mapper()
    with Running(entered(HELPER_HANGS, "--map-auto", "--init")) as running:
        assert running.line() == "asked"
        running.send(signal.SIGTERM)
        assert running.out.rest() == b""
        assert running.wait() == 128 + signal.SIGTERM
        message, _ = running.errors().splitlines()
    assert message == "pyspawn: run newgidmap: got SIGTERM meanwhile"


@pytest.mark.parametrize(
    ("code", "ranges"),
    [(in_path("getsubids", HANGS), ""), (HELPER_HANGS, RANGES)],
    ids=["getsubids", "newgidmap"],
)
def test_a_time_out_while_nothing_answers(code: str, ranges: str) -> None:
    require_mapper()
    code += f"sys.path.insert(0, {lean.HERE!r})"
    code += """
import spawner, subprocess
try:
    spawner.run(["true"], map="auto", timeout=1)
except subprocess.TimeoutExpired:
    os.write(1, b"timed out\\n")
os._exit(0)
"""
    ended = run(entered(code, subuid=ranges))  # stdout's end: nothing is left
    assert (ended.status, ended.out) == (0, b"asked\ntimed out\n"), ended


def test_root_maps_what_it_names() -> None:
    require("root", "userns", "other-user")
    words = ("--map-users", "0:100000:65536", "--map-groups", "0:200000:65536")
    found = told(pyspawn(*words, "--setuid", "0", "--setgid", "0", program=ids()))
    assert (found["uid_map"], found["gid_map"]) == ("0 100000 65536", "0 200000 65536")
    assert (found["uid"], found["gid"], found["groups"]) == ("0 0 0", "0 0 0", "")
    assert found["setgroups"] == "allow"
    assert told(pyspawn("--user", program=ids()))["setgroups"] == "allow"
    denied = told(pyspawn("--user", "--setgroups", "deny", program=ids()))
    assert denied["setgroups"] == "deny"


def test_a_gap_where_the_program_would_be() -> None:
    require("root", "userns")
    hint = refused(
        pyspawn("--map-users", "0:100000:9"),
        "the program would have no user id inside: the caller's, 0, isn't mapped by 0:100000:9",
    )
    assert "--map-user ID," in hint
    assert "--setuid 0" in hint
    assert pyspawn("--map-users", "0:100000:9", "--setuid", "0").out == b"ran\n"
    assert pyspawn("--map-users", "0:100000:9", "--map-user", "9").out == b"ran\n"
    both = pyspawn("--map-users", "1:100000:9", "--map-root-user")
    assert both.out == b"ran\n"
    words = ("--map-users", "0:100000:9", "--map-groups", "5:100000:9", "--setuid", "8")
    assert "no group id inside" in pyspawn(*words).errors
    assert "no such group inside" in pyspawn(*words, "--setgid", "4").errors
    hint = refused(pyspawn(*words, "--setgid", "5", "--groups", "6,3"),
                   "--groups: the map 5:100000:9 has no group 3 inside")  # fmt: skip
    assert "--map-groups 3:OUTER:COUNT" in hint


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--map-users", "0:100000:10", "--map-users", "9:200000:1"],
         "the id 9 inside would be mapped twice by the map 0:100000:10 9:200000:1"),
        (["--map-users", "0:5:10", "--map-users", "20:14:1"],
         "the id 14 outside would be mapped twice by the map 0:5:10 20:14:1"),
    ],
)  # fmt: skip
def test_overlaps(words: list[str], message: str) -> None:
    assert "don't overlap" in refused(pyspawn(*words), message)


def test_an_overlap_with_the_callers_own_id() -> None:
    own = os.geteuid()
    ended = pyspawn("--map-root-user", "--map-users", "0:100000:10")
    refused(ended, f"the id 0 inside would be mapped twice by the map 0:{own}:1 0:100000:10")


def test_more_lines_than_the_kernel_takes() -> None:
    require("root", "userns")
    words = [f"--map-users={n}:{n}:1" for n in range(340)]
    assert len(rows(pyspawn(*words, program=("/bin/cat", "/proc/self/uid_map")))) == 340
    message = "an id map has at most 340 extents, user_namespaces(7), and this one would have more"
    refused(pyspawn(*words, "--map-users=340:340:1"), message)


AROUND = ("--map-users", "0:100000:10", "--map-users", "10:200000:10", "--setuid", "0")


def test_an_extent_over_the_border_of_two_around_it_is_split() -> None:
    require_room()
    inner = (*lean.pyspawn(), "--user", "--map-users", "0:5:10", "--setuid", "0", "--")
    ended = pyspawn(*AROUND, program=(*inner, "/bin/cat", "/proc/self/uid_map"))
    assert rows(ended) == ["0 5 5", "5 10 5"]


def test_ids_that_the_user_namespace_around_does_not_have() -> None:
    require_room()
    inner = (*lean.pyspawn(), "--user", "--map-users", "0:15:10", "--setuid", "0", "--")
    ended = pyspawn(*AROUND, program=(*inner, "/bin/true"))
    hint = refused(
        ended,
        "0:15:10 can't be mapped: the id 20, outside, has no mapping in the user namespace that "
        "pyspawn runs in, whose map is 0:100000:10 10:200000:10",
    )
    assert "name ids that have one" in hint


@pytest.mark.parametrize("words", [["--map-auto"], ["--map-users", "0:0:1"], ["--setgroups=deny"]])
def test_an_own_id_that_has_no_mapping(words: list[str]) -> None:
    require("userns")
    argv = ["unshare", "--user", "--", *lean.pyspawn(), "--user", *words, "--", "/bin/true"]
    hint = refused(
        run(argv),
        "uid 65534 has no mapping in the user namespace that pyspawn runs in, and without one "
        "no user namespace can be made",
    )
    assert "unshare has --map-root-user" in hint
    heeded = ["unshare", "--map-root-user", *argv[1:3], *lean.pyspawn(), "--user"]
    assert run([*heeded, "--", "/bin/echo", "ran"]).out == b"ran\n"


def test_setgroups_can_not_be_allowed_where_it_is_denied() -> None:
    require("userns")
    inner = (*lean.pyspawn(), "--user", "--setgroups")
    words = ("--setgroups=deny", "--user")
    hint = refused(
        pyspawn(*words, program=(*inner, "allow", "--", "/bin/true")),
        "setgroups can't be allowed, since it is denied in the user namespace that pyspawn runs in",
    )
    assert "leave out --setgroups" in hint
    assert pyspawn(*words, program=(*inner, "deny", "--", "/bin/echo", "ran")).out == b"ran\n"


@pytest.mark.parametrize("user", [[], ["--user"]])
def test_supplementary_groups_where_setgroups_is_denied(user: list[str]) -> None:
    """They can't be set, and stay where the program becomes somebody."""
    require("userns")

    def start(*words: str) -> Ended:
        inner = (*lean.pyspawn(), *user, *words, "--", "/bin/echo", "ran")
        return pyspawn("--user", "--setgroups=deny", program=inner)

    ended = start("--groups", "0")
    assert "leave out --groups" in ended.errors
    assert ended.errors.startswith(
        "pyspawn: the supplementary groups can't be set, since setgroups is denied in the user "
        "namespace"
    )
    assert start("--setuid", "0", "--setgid", "0").out == b"ran\n"


# Credentials.


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_root_becomes_somebody_without_a_user_namespace(init: list[str]) -> None:
    require_room()
    found = told(pyspawn(*init, "--setuid", "64998", "--setgid", "64997", program=ids()))
    assert (found["uid"], found["gid"]) == ("64998 64998 64998", "64997 64997 64997")
    assert (found["groups"], found["caps"]) == ("", "")
    groups = told(pyspawn(*init, "--groups", "5,6", program=ids()))
    assert (groups["uid"], groups["groups"]) == ("0 0 0", "5 6")


def test_who_becomes_another_user_keeps_no_groups_of_the_callers() -> None:
    require_room()
    code = "os.setgroups([5, 6])\n"
    assert told(room(code, program=ids()))["groups"] == "5 6"
    assert told(room(code, "--setuid", "64998", program=ids()))["groups"] == ""
    assert told(room(code, "--setuid", "64998", "--groups", "6", program=ids()))["groups"] == "6"


SLEEPER = "import _signal,posix; posix.write(1, b'ready\\n'); _signal.sigwait([_signal.SIGUSR1])"


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_signals_reach_somebody_else(init: list[str]) -> None:
    require_room()
    words = [*init, "--map-users=0:100000:9", "--setuid=5", "--groups=", "--"]
    with Running([*lean.pyspawn(), *words, *python(SLEEPER)]) as running:
        assert running.line() == "ready"
        running.send(signal.SIGUSR2 if init else signal.SIGKILL)
        # Without pyinit the program is PID 1, and the kernel drops what it has no handler for.
        assert running.wait() == (128 + signal.SIGUSR2 if init else -signal.SIGKILL)


@pytest.mark.parametrize("words", [["--setuid=64998", "--setgid=64997"],
                                   ["--map-users=0:100000:9", "--setuid=5"]])  # fmt: skip
@pytest.mark.parametrize("init", [[], ["--init"]])
@pytest.mark.parametrize("share", [[], ["--share=pid"]])
def test_the_death_of_pyspawn_is_the_death_of_somebody_else(
    words: list[str], init: list[str], share: list[str]
) -> None:
    """PR_SET_PDEATHSIG doesn't outlive a change of credentials."""
    require_room()
    with Running([*lean.pyspawn(), *init, *share, *words, "--", *python(SLEEPER)]) as running:
        assert running.line() == "ready"
        running.send(signal.SIGKILL)
        assert running.out.rest() == b""
        assert running.wait() == -signal.SIGKILL


def test_a_program_that_somebody_else_can_not_find() -> None:
    require_room()
    ended = pyspawn("--setuid", "64998", program=("no-such-program",))
    assert ended.status == 127
    assert ended.errors.startswith("pyspawn: no-such-program: not found in PATH")


def test_what_somebody_else_could_not_read_is_read_before() -> None:
    """A failed exec takes modules, which the program's user may not see."""
    require_room()
    package = Path(pyinit.__file__).parent
    code = f"""
shutil.copytree("{package}", "/mnt/closed")
os.chmod("/mnt/closed", 0o700)
mount("/mnt/closed", "{package}", None, BIND)
"""
    ended = room(code, "--setuid", "64998", program=("no-such-program",))
    assert ended.status == 127
    assert ended.errors.startswith("pyspawn: no-such-program: not found in PATH")


def test_mapped_users_and_a_keeper() -> None:
    require_mapper()
    script = ("/bin/sh", "-c", "sleep 1000 & id -u")
    assert rows(room(MAPPER, "--map-auto", "--share", "pid", program=script)) == ["0"]


def test_an_id_beyond_the_whole_range() -> None:
    require_mapper()
    for words, name in (("--setuid", "user"), ("--setgid", "group"), ("--groups", "group")):
        ended = room(MAPPER, "--map-auto", words, "65537")
        first, second = ended.errors.splitlines()
        assert f"no {name} 65537" in first or f"no such {name} inside" in first
        assert "65537:OUTER:COUNT" in second
        assert "--map-auto" not in second
        assert rows(room(MAPPER, "--map-auto", words, "65536"))[1:] == ["1 100000 65536"]


def test_the_plan_names_the_helpers() -> None:
    require_mapper()
    ended = room(MAPPER, "--dry-run", "--map-auto", "--setuid", "5")
    lines = [line for line in ended.out.decode().splitlines() if "map 0" in line or "group" in line]
    assert "newgidmap STAGE" in lines[0]
    assert "newuidmap STAGE" in lines[1]
    assert lines[-1] == "init      drop the supplementary groups: setgroups(0, [])"


def test_nothing_is_left_of_a_room() -> None:
    require_mapper()
    argv = entered(MAPPER, "--map-auto", "--init", program=tuple(python(SLEEPER)))
    with Running(argv) as running:
        assert running.line() == "ready"
        running.send(signal.SIGKILL)
        assert running.out.rest() == b""
        running.wait()
