"""Who the program is in a user namespace, and what it may do there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.pyspawn import ROOT, sh

pytestmark = pytest.mark.usefixtures("pidns")


IDS = "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups"


@pytest.mark.parametrize(
    ("options", "user", "group"),
    [
        (["--user"], 0, 0),
        (["-r"], 0, 0),
        (["--map-root-user"], 0, 0),
        (["-c"], os.geteuid(), os.getegid()),
        (["--map-current-user"], os.geteuid(), os.getegid()),
        (["--map-user=7", "--map-group=8"], 7, 8),
        (["--map-group=8"], 0, 8),
    ],
)
def test_who_one_is_in_a_user_namespace(options: list[str], user: int, group: int) -> None:
    words = sh(IDS, *options).out.decode().split()
    assert list(map(int, words[:2])) == [user, group]
    assert list(map(int, words[2:8])) == [user, os.geteuid(), 1, group, os.getegid(), 1]
    # Who maps one group without CAP_SETGID has to deny it.
    assert words[8] == ("allow" if os.geteuid() == 0 else "deny")


def test_an_ordinary_user_is_root_inside_and_nobody_else_outside(tmp_path: Path) -> None:
    made = tmp_path / "made"
    ended = sh(f"id -u; touch {made}", "--user")
    assert ended.out == b"0\n"
    assert made.stat().st_uid == os.geteuid()


def test_the_mapped_root_has_all_rights_inside_and_the_mapped_user_none() -> None:
    script = "grep -e CapEff -e CapPrm /proc/self/status | cut -f2"
    rights = [int(word, 16) for word in sh(script, "--map-root-user").out.split()]
    assert rights[0] == rights[1] == rights[0] | 1 << 21  # CAP_SYS_ADMIN, linux/capability.h
    if not ROOT:
        none = [int(word, 16) for word in sh(script, "--map-current-user").out.split()]
        assert none == [0, 0]
