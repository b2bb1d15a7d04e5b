"""Ids that an ordinary user maps through newuidmap and newgidmap."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.mapping import MAPPER, ids, pyspawn, require_mapper, rows, told
from helpers.rooms import GROUP, USER, room


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
