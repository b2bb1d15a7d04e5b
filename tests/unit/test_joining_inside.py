"""Who the program is in a namespace that is joined: ids, groups and variables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.caller import Caller
from spawner.errors import SetupError
from spawner.ids.identity import Identity
from spawner.joining import inside, process
from spawner.joining.inside import Ids

ROWS = st.lists(st.tuples(st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2), st.integers(1, 9)))


def text(rows: list[tuple[int, int, int]]) -> bytes:
    return "".join(f"{a:10} {b:10} {c:10}\n" for a, b, c in rows).encode()


@given(ROWS)
def test_ids_of_a_map(rows: list[tuple[int, int, int]]) -> None:
    ids = Ids(text(rows))
    inner = {number for first, _, count in rows for number in range(first, first + count)}
    assert all(ids.holds(number) for number in inner)
    assert not ids.holds(2**32 + 10)
    assert ids.lowest == (min(inner) if inner else None)


@given(ROWS, st.integers(0, 2**32 - 2))
def test_an_id_of_ours_is_looked_up_in_the_outer_column(
    rows: list[tuple[int, int, int]], number: int
) -> None:
    found = Ids(text(rows)).inner(number)
    inside = [a + number - b for a, b, c in rows if b <= number < b + c]
    assert found == (inside[0] if inside else None)


def chosen(
    users: bytes,
    groups: bytes,
    /,
    *,
    denied: bool = False,
    caller: tuple[int, int] = (1000, 1000),
    drops: bool = False,
    **given: Any,
) -> tuple[int, int, tuple[int, ...] | None]:
    named = Identity(**given)
    maps = inside.Maps(users, groups, denied=denied)
    who = inside.choose(named, Caller(user=caller[0], group=caller[1]), maps, drops=drops)
    return who.user, who.group, who.groups


WIDE = b"0 100000 65536\n"


@pytest.mark.parametrize("denied", [False, True])
def test_the_overflow_id_is_no_mapping(denied: bool) -> None:
    """Seen from inside, who isn't mapped is 65534, and that is an id of this map."""
    with unlisted():
        assert chosen(WIDE, WIDE, denied=denied)[:2] == (0, 0)
        assert chosen(b"7 100000 65536\n", WIDE, denied=denied)[:2] == (7, 0)


@contextmanager
def unlisted(*groups: int) -> Iterator[None]:
    """Have these supplementary groups, as far as is asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("posix.getgroups", lambda: list(groups))
        yield


def test_ids_that_are_mapped_stay_where_setgroups_is_denied() -> None:
    with unlisted(4, 24):
        assert chosen(b"5 1000 1", b"6 1000 1", denied=True) == (5, 6, None)
        assert chosen(b"0 7 1\n5 1000 1", b"6 1000 1", denied=True) == (5, 6, None)
    assert chosen(b"0 7 1\n5 1000 1", b"6 1000 1") == (0, 6, ())


@pytest.mark.parametrize(
    ("users", "groups", "more", "words"),
    [
        (b"", b"0 1000 1", {}, "no user is mapped"),
        (b"0 1000 1", b"", {}, "no group is mapped"),
        (b"", b"", {"user": 0}, "no user is mapped"),
        (b"0 1000 1", b"0 1000 1", {"user": 5}, "user 5 isn't mapped"),
        (b"0 1000 1", b"0 1000 1", {"group": 5}, "group 5 isn't mapped"),
        (b"0 1000 1", b"0 1000 1", {"groups": [5]}, "group 5 isn't mapped"),
    ],
)
@pytest.mark.parametrize("denied", [False, True])
@pytest.mark.parametrize("caller", [(0, 0), (1000, 1000), (65534, 65534)])
def test_nobody_keeps_an_id_without_a_mapping(
    users: bytes,
    groups: bytes,
    more: dict[str, Any],
    words: str,
    denied: bool,
    caller: tuple[int, int],
) -> None:
    with unlisted(), pytest.raises(SetupError, match=f"join the user namespace: {words}"):
        chosen(users, groups, denied=denied, caller=caller, **more)


def test_groups_that_can_not_be_dropped() -> None:
    """Where the program isn't the caller, it doesn't have the caller's groups either."""
    with unlisted(24):
        assert chosen(WIDE, WIDE) == (0, 0, ())
        assert chosen(WIDE, WIDE, denied=True, drops=True) == (0, 0, None)
        for users in (WIDE, b"0 1000 1"):
            with pytest.raises(SetupError, match="supplementary group 24 isn't mapped"):
                chosen(users, WIDE, denied=True)
        assert chosen(WIDE, b"0 100000 9\n9 24 1", denied=True) == (0, 0, None)


NAMES = st.binary(min_size=1).filter(lambda raw: not set(b"=\0") & set(raw))
VALUES = st.binary().filter(lambda raw: b"\0" not in raw)


@given(st.dictionaries(NAMES, VALUES), st.binary().filter(lambda raw: b"=" not in raw))
def test_an_environment_may_hold_anything(wanted: dict[bytes, bytes], junk: bytes) -> None:
    raw = b"".join(b"%s=%s\0" % pair for pair in wanted.items())
    assert process._variables(raw) == wanted
    assert process._variables(junk + b"\0" + raw) == wanted
    assert process._variables(b"=no name\0" + raw) == wanted
