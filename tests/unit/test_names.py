"""Users and groups by name: what the files say, and what no name is."""

from __future__ import annotations

import os
import pwd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.ids import names

PASSWD = "root:x:0:0::/:\nann:x:7:8::/:\nann:x:9:9::/:\nbad:x:seven:8::/:\nshort:x\nhalf:x:5\n"


@pytest.mark.parametrize(
    ("name", "found"),
    [("root", (0, 0)), ("ann", (7, 8)), ("bad", None), ("short", None), ("half", (5, None)),
     ("an", None), ("x", None), ("", None)],
)  # fmt: skip
def test_the_first_line_counts_that_can_be_understood(
    name: str, found: tuple[int, int | None] | None
) -> None:
    assert names.numbers(PASSWD, name) == found


@given(st.integers(0, 2**32 - 2))
def test_a_number_is_an_id_and_brings_nothing_along(number: int) -> None:
    found = names.user(str(number))
    assert (found, found.group) == (number, None)
    assert names.group(str(number)) == number
    assert names.groups(f"{number},0") == (number, 0)


@pytest.mark.parametrize("word", ["", "-1", "+", "a:b", "a b", "a\nb", "a\0b", "4294967295", "a/b"])
def test_what_can_be_neither(word: str) -> None:
    with pytest.raises(ValueError, match=r"is not an id \(a number from 0 to 4294967294"):
        names.user(word)


def test_the_names_of_this_machine() -> None:
    for entry in pwd.getpwall()[:3]:
        found = names.user(entry.pw_name)
        assert (found, found.group) == (entry.pw_uid, entry.pw_gid)
    assert names.group("root") == 0
    assert names.groups("") == ()


def test_nothing_is_asked_in_a_directory_that_is_not_named_from_the_root(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(os.environ, "PATH", ".:bin")
    with pytest.raises(ValueError, match="neither a user of this host"):
        names.user("no-such-one")
