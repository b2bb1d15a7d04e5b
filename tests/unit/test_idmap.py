"""Ids of users and groups."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner import idmap
from spawner.spec import MAX_ID


@given(st.integers(0, MAX_ID))
def test_ids(number: int) -> None:
    assert idmap.identity(str(number)) == number


@pytest.mark.parametrize("word", ["", "-1", "root", "1x", "²", str(MAX_ID + 1), "9" * 40, "1 2"])
def test_what_is_no_id(word: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        idmap.identity(word)


def test_a_map_of_one() -> None:
    assert idmap.one(0, 1000) == "0 1000 1"
