"""Ids of users and groups, and the maps that give them other names inside."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.errors import SpecError
from spawner.ids import idmap
from spawner.ids.idmap import AUTO, MAX_EXTENTS, MAX_ID, Extent, IdMap

RUNS = st.tuples(st.integers(0, 60), st.integers(1, 20))
"""Few ids, so that they meet."""


@st.composite
def maps(draw: st.DrawFn) -> IdMap:
    """Draw a map: runs of inner ids in turn, and shuffled runs of outer ids."""
    counts = draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    order = draw(st.permutations(range(len(counts))))
    outer, at = {}, 0
    for index in order:
        at += draw(st.integers(0, 3))
        outer[index] = at
        at += counts[index]
    extents, at = [], 0
    for index, count in enumerate(counts):
        at += draw(st.integers(0, 3))
        extents.append(Extent(at, outer[index], count))
        at += count
    return IdMap(draw(st.permutations(extents)))


def pairs(found: IdMap) -> dict[int, int]:
    """Return inner -> outer, id by id."""
    return {item.inner + n: item.outer + n for item in found.extents for n in range(item.count)}


@given(st.integers(0, MAX_ID))
def test_ids(number: int) -> None:
    assert idmap.identity(str(number)) == number


@pytest.mark.parametrize("word", ["", "-1", "root", "1x", "²", str(MAX_ID + 1), "9" * 40, "1 2"])
def test_what_is_no_id(word: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        idmap.identity(word)


@given(st.lists(st.integers(0, MAX_ID)))
def test_lists_of_ids(numbers: list[int]) -> None:
    assert idmap.identities(",".join(map(str, numbers))) == tuple(numbers)


@given(maps())
def test_words_and_the_kernels_lines_are_read_as_written(found: IdMap) -> None:
    assert IdMap(idmap.extent(word) for word in str(found).split()) == found
    assert idmap.parse(found.text) == found
    assert pickle.loads(pickle.dumps(found)) == found
    assert [idmap.extent_or_auto(word) for word in (AUTO, "1:2:3")] == [AUTO, Extent(1, 2, 3)]


@pytest.mark.parametrize("word", ["", "1", "1:2", "1:2:3:4", "a:2:3", "1:2:x", "1:2:-3", "autos"])
def test_what_is_no_extent(word: str) -> None:
    with pytest.raises(ValueError, match=r"is not (INNER:OUTER:COUNT|an id|a number)"):
        idmap.extent_or_auto(word)


@pytest.mark.parametrize(("word", "instead"), [("all", "0:0:4294967295"), ("subids", "auto")])
def test_words_of_unshares_alone(word: str, instead: str) -> None:
    with pytest.raises(
        ValueError, match=f"'{word}' is a word that only unshare.1. knows.*{instead}"
    ):
        idmap.extent_or_auto(word)


def test_commas_have_another_order_and_are_not_guessed_at() -> None:
    with pytest.raises(ValueError, match=r"would be 0:100000:65536 here"):
        idmap.extent("100000,0,65536")


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0, 0, 0), "maps nothing"),
        ((0, 0, -1), "maps nothing"),
        ((-1, 0, 1), "goes beyond"),
        ((0, MAX_ID, 2), "goes beyond"),
        ((MAX_ID, 0, 2), "goes beyond"),
        (("0", 0, 1), "whole numbers"),
        ((True, 0, 1), "whole numbers"),
    ],
)
def test_extents_beyond_the_ids_that_there_are(numbers: tuple[int, int, int], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        Extent(*numbers)


def test_the_greatest_extent() -> None:
    assert str(Extent(0, 0, MAX_ID + 1)) == f"0:0:{MAX_ID + 1}"


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 9)), min_size=1))
def test_overlaps_are_refused_and_the_map_shown(extents: list[tuple[int, int, int]]) -> None:
    inner = [first + n for first, _, count in extents for n in range(count)]
    outer = [first + n for _, first, count in extents for n in range(count)]
    if len(set(inner)) == len(inner) and len(set(outer)) == len(outer):
        assert len(pairs(IdMap(extents))) == len(inner)
        return
    with pytest.raises(SpecError, match=r"would map the (inner|outer) id .* twice") as caught:
        IdMap(extents)
    assert " ".join(":".join(map(str, item)) for item in extents) in str(caught.value)
    assert caught.value.hint


def test_more_extents_than_the_kernel_takes() -> None:
    IdMap((n, n, 1) for n in range(MAX_EXTENTS))
    with pytest.raises(SpecError, match=f"at most {MAX_EXTENTS}"):
        IdMap((n, n, 1) for n in range(MAX_EXTENTS + 1))


def test_a_map_of_nothing() -> None:
    with pytest.raises(SpecError, match="maps nothing"):
        IdMap([])


@given(maps())
def test_translation(found: IdMap) -> None:
    both = pairs(found)
    for inner in range(60):
        assert found.to_outer(inner) == both.get(inner)
    back = {outer: inner for inner, outer in both.items()}
    for outer in range(60):
        assert found.to_inner(outer) == back.get(outer)


@given(maps(), maps())
def test_split_at_the_borders_of_the_map_around(found: IdMap, parent: IdMap) -> None:
    there = pairs(parent)
    if any(outer not in there for outer in pairs(found).values()):
        with pytest.raises(
            SpecError, match="isn't mapped in pyspawn's own user namespace"
        ) as caught:
            found.split(parent)
        assert str(found) in str(caught.value)
        return
    split = found.split(parent)
    assert pairs(split) == pairs(found)
    for item in split.extents:  # what the kernel asks for: all of it within one extent
        assert any(
            around.inner <= item.outer and item.outer + item.count <= around.inner + around.count
            for around in parent.extents
        )


@given(RUNS, st.lists(RUNS))
def test_free_runs(whole: tuple[int, int], taken: list[tuple[int, int]]) -> None:
    busy = {first + n for first, count in taken for n in range(count)}
    found = list(idmap.free(*whole, taken))
    ids = [first + n for first, count in found for n in range(count)]
    assert ids == [one for one in range(whole[0], sum(whole)) if one not in busy]


@given(maps(), st.lists(st.tuples(st.integers(0, 200), st.integers(1, 20)), max_size=5))
def test_a_subordinate_range_fills_what_is_free_and_wastes_nothing(
    named: IdMap, ranges: list[tuple[int, int]]
) -> None:
    found = idmap.fill(named.extents, ranges)
    assert found.extents[: len(named.extents)] == named.extents
    both, before = pairs(found), pairs(named)
    offered = list(
        dict.fromkeys(
            first + n
            for first, count in ranges
            for n in range(count)
            if first + n not in before.values()
        )
    )
    added = {inner: outer for inner, outer in both.items() if inner not in before}
    assert [added[inner] for inner in sorted(added)] == offered  # all of them, each once, in order
    lowest = [inner for inner in range(len(both) + 60) if inner not in before]
    assert sorted(added) == lowest[: len(added)]


def test_ranges_without_number_are_refused_at_once() -> None:
    with pytest.raises(SpecError, match="at most"):
        idmap.fill([Extent(0, 0)], ((first, 1) for first in range(1, MAX_ID, 2)))


def test_the_callers_own_id_first_and_then_the_range() -> None:
    assert str(idmap.fill([Extent(0, 1000)], [(100000, 65536)])) == "0:1000:1 1:100000:65536"
    kept = idmap.fill([Extent(1000, 1000)], [(100000, 65536)])
    assert str(kept) == "1000:1000:1 0:100000:1000 1001:101000:64536"


@given(maps())
def test_a_map_is_shown_as_it_is_written(made: IdMap) -> None:
    assert eval(repr(made)) == made
    assert IdMap(str(made)) == made
    assert hash(IdMap(str(made).split())) == hash(made)


@pytest.mark.parametrize("item", [5, (1, 2), None, (1, 2, 3, 4)])
def test_what_is_no_extent_is_a_type_error(item: Any) -> None:
    with pytest.raises(TypeError, match="is not"):
        IdMap([item])


@pytest.mark.parametrize("text", ["0:1", "0:1:2:3", "a:b:c", "0,1,2"])
def test_text_that_is_no_map_is_a_spec_error(text: str) -> None:
    with pytest.raises(SpecError):
        IdMap(text)
