"""The words of `exec`, and what can be meant by them."""

from __future__ import annotations

import pytest
from helpers.joins import NONE
from helpers.specs import specified
from hypothesis import given
from hypothesis import strategies as st

from pyinit.cmdline import parse
from spawner.command import exec as joinoptions
from spawner.errors import SpecError
from spawner.joining.target import Joins
from spawner.spec import Namespaces

FLAGS = st.lists(
    st.sampled_from(["--net", "-p", "-mu", "--target-env", "--workdir=/x", "-w/y", "--env=A=b"])
)

TARGETS = st.sampled_from(["1", "/proc/1/ns", "./dir"])
PROGRAMS = st.lists(st.sampled_from(["true", "--net", "-x", "a b", ""]), min_size=1)


@given(before=FLAGS, target=TARGETS, after=FLAGS, program=PROGRAMS)
def test_options_may_stand_on_both_sides_of_the_target(
    before: list[str], target: str, after: list[str], program: list[str]
) -> None:
    words = joinoptions.split([*before, target, *after, "--", *program])
    values, rest = parse(joinoptions.TABLE, words)
    assert rest == [target, *program]
    assert values == parse(joinoptions.TABLE, [*before, *after])[0]


def test_the_words_of_a_program_are_its_own() -> None:
    words = joinoptions.split(["1", "true", "--net"])
    assert parse(joinoptions.TABLE, words) == ({}, ["1", "true", "--net"])


@pytest.mark.parametrize(
    "words", [[], ["--net"], ["--", "1", "true", "--uts"], ["--", "ps", "-ef"]]
)
def test_what_has_no_options_behind_the_target_is_left_as_it_is(words: list[str]) -> None:
    assert joinoptions.split(words) == words


@pytest.mark.parametrize(
    ("joins", "new", "words"),
    [
        (Joins(""), NONE, "the target is empty"),
        (Joins("0"), NONE, "0 can't be a process id"),
        (Joins("a\0b"), NONE, "contains a NUL"),
        (Joins(files={"net": "a\0b"}), NONE, "contains a NUL"),
        (Joins("/x", environment=True), NONE, "only a target that is a process"),
        (Joins(files={"net": "/x"}), Namespaces("net"), "can't be both new and that of /x"),
        (Joins(files={"mount": "/x"}), Namespaces("user"), "no namespace can be new where a mount"),
        (
            Joins(files={"mount": "/x", "user": "/y"}),
            Namespaces("uts"),
            "no namespace can be new where",
        ),
    ],
)
def test_what_can_not_be_meant(joins: Joins, new: Namespaces, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        specified(["true"], namespaces=new, joins=joins)


def test_joins_are_values() -> None:
    joins = Joins("7", files={"net": "/x"}, kinds=["net"], environment=True, passed=[3])
    assert joins == Joins("7", files=[("net", "/x")], kinds={"net"}, environment=True, passed={3})
    assert (joins.pid, Joins("./7").pid, Joins("٣").pid, Joins().pid) == (7, None, None, None)
