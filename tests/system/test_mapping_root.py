"""Root maps without a helper."""

from __future__ import annotations

import os
import re
import signal

import pytest
from helpers.capabilities import require
from helpers.mapping import COPIES, MAPPER, ids, pyspawn, require_mapper, require_room, rows, told
from helpers.programs import Word
from helpers.pyspawn import hint_of
from helpers.rooms import GROUP, RANGES, USER, entered, room
from helpers.running import Ended, Running, run

from spawner import lean


def test_root_maps_its_own_range_and_nobody_elses() -> None:
    require_room()
    hint = hint_of(room("", "--map-auto"), "root has no subordinate user ids in /etc/subuid")
    line = re.search("`(root:[0-9:]+)`", hint)
    assert line is not None
    nowhere = "os.environ['PATH'] = '/nowhere'\n"
    ended = room(nowhere, "--map-auto", subuid=f"{RANGES}{line[1]}\n")
    assert rows(ended) == ["0 0 1", "1 100000 65536"]


def test_root_without_a_name() -> None:
    require_room()
    passwd = {"passwd": "mapper:x:5:5::/:/bin/sh\n", "nsswitch.conf": "passwd: files\n"}
    hint = hint_of(room("", "--map-auto", more=passwd),
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
    assert "--setgid: 'far' is neither a group of this host (`getent group`" in ended.errors


def test_a_name_whose_ids_are_not_mapped() -> None:
    require_room()
    hint = hint_of(room(MAPPER, "--setuid", "mapper"),
                   f"user {USER}: the map 0:{USER}:1 gives the container no such user")  # fmt: skip
    assert f"--map-user {USER}" in hint
    ended = room(MAPPER, "--setuid", "mapper", "--map-user", "mapper")
    hint = hint_of(ended, f"group {GROUP}: the map 0:{GROUP}:1 gives the container no such group")
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
    assert message == f"pyspawn: run getsubids: got {number.name} before this step was done"
    assert "the directory service" in hint


def test_a_directory_service_that_does_not_know_a_name_in_time() -> None:
    require_room()
    argv = entered(in_path("getent", HANGS), "--setuid", "far")
    with Running(argv) as running:
        assert running.line() == "asked"
        running.send(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGTERM
        assert running.errors().startswith(
            "pyspawn: run getent: got SIGTERM before this step was done\n"
        )


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
    assert message == "pyspawn: run newgidmap: got SIGTERM before this step was done"


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
    spawner.run(["true"], map="auto", timeout=SECONDS)
except subprocess.TimeoutExpired:
    os.write(1, b"timed out\\n")
os._exit(0)
"""
    for seconds in ("0.5", "2", "8", "30"):
        ended = run(entered(code.replace("SECONDS", seconds), subuid=ranges))
        if ended.out != b"timed out\n":  # else the time was over before anybody was asked
            break
    # And stdout has come to its end: nothing is left.
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
    hint = hint_of(
        pyspawn("--map-users", "0:100000:9"),
        "the program would have no user id in the container: the caller's, 0, isn't mapped by "
        "0:100000:9",
    )
    assert "--map-user ID," in hint
    assert "--setuid 0" in hint
    assert pyspawn("--map-users", "0:100000:9", "--setuid", "0").out == b"ran\n"
    assert pyspawn("--map-users", "0:100000:9", "--map-user", "9").out == b"ran\n"
    both = pyspawn("--map-users", "1:100000:9", "--map-root-user")
    assert both.out == b"ran\n"
    words = ("--map-users", "0:100000:9", "--map-groups", "5:100000:9", "--setuid", "8")
    assert "no group id in the container" in pyspawn(*words).errors
    assert "gives the container no such group" in pyspawn(*words, "--setgid", "4").errors
    hint = hint_of(pyspawn(*words, "--setgid", "5", "--groups", "6,3"),
                   "--groups: the map 5:100000:9 gives the container no group 3")  # fmt: skip
    assert "--map-groups 3:OUTER:COUNT" in hint


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--map-users", "0:100000:10", "--map-users", "9:200000:1"],
         "the map 0:100000:10 9:200000:1 would map the inner id 9 twice"),
        (["--map-users", "0:5:10", "--map-users", "20:14:1"],
         "the map 0:5:10 20:14:1 would map the outer id 14 twice"),
    ],
)  # fmt: skip
def test_overlaps(words: list[str], message: str) -> None:
    assert "don't overlap" in hint_of(pyspawn(*words), message)


def test_an_overlap_with_the_callers_own_id() -> None:
    own = os.geteuid()
    ended = pyspawn("--map-root-user", "--map-users", "0:100000:10")
    hint_of(ended, f"the map 0:{own}:1 0:100000:10 would map the inner id 0 twice")


def test_more_lines_than_the_kernel_takes() -> None:
    require("root", "userns")
    words = [f"--map-users={n}:{n}:1" for n in range(340)]
    assert len(rows(pyspawn(*words, program=("/bin/cat", "/proc/self/uid_map")))) == 340
    message = "an id map has at most 340 extents, user_namespaces(7), and this one would have more"
    hint_of(pyspawn(*words, "--map-users=340:340:1"), message)


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
    hint = hint_of(
        ended,
        "0:15:10 can't be mapped: the outer id 20 isn't mapped in pyspawn's own user namespace, "
        "whose map is 0:100000:10 10:200000:10",
    )
    assert "name ids that are mapped" in hint


@pytest.mark.parametrize("words", [["--map-auto"], ["--map-users", "0:0:1"], ["--setgroups=deny"]])
def test_an_own_id_that_has_no_mapping(words: list[str]) -> None:
    require("userns")
    argv = ["unshare", "--user", "--", *lean.pyspawn(), "--user", *words, "--", "/bin/true"]
    hint = hint_of(
        run(argv),
        "uid 65534 isn't mapped in pyspawn's own user namespace, so pyspawn can't make another",
    )
    assert "unshare has --map-root-user" in hint
    heeded = ["unshare", "--map-root-user", *argv[1:3], *lean.pyspawn(), "--user"]
    assert run([*heeded, "--", "/bin/echo", "ran"]).out == b"ran\n"


def test_setgroups_can_not_be_allowed_where_it_is_denied() -> None:
    require("userns")
    inner = (*lean.pyspawn(), "--user", "--setgroups")
    words = ("--setgroups=deny", "--user")
    hint = hint_of(
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
