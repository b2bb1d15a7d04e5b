"""Options are read as the C library reads them."""

from __future__ import annotations

import getopt as library
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyinit.twins import getopt

pytestmark = pytest.mark.usefixtures("no_twin_variables")

LETTERS = "p:hvwgle:s"
NAMES = {"help": "h", "verbose": "v", "version": "w", "rewrite": "p", "word": "e"}

words = st.lists(
    st.one_of(
        st.text(alphabet="-pghve=x:", max_size=5),
        st.sampled_from(
            ["--", "-", "", "--help", "--ver", "--verb", "--rewrite=x", "--rew", "-pv"]
        ),
    ),
    max_size=6,
)


def _ours(given_words: list[str], names: dict[str, str], permute: bool) -> object:
    options = getopt.Options(given_words, LETTERS, names, permute=permute)
    try:
        return list(options), options.rest
    except getopt.OptionError:
        return "refused"


def _theirs(given_words: list[str], names: dict[str, str], permute: bool) -> object:
    """Return what the standard library's getopt makes of it, long names as their letters."""
    valued = {letter for letter in string.ascii_letters if letter + ":" in LETTERS}
    long = [name + "=" * (letter in valued) for name, letter in names.items()]
    reads = library.gnu_getopt if permute else library.getopt
    try:
        options, rest = reads(given_words, LETTERS, long)
    except library.GetoptError:
        return "refused"
    return [(names.get(name[2:], name[1:]), value) for name, value in options], rest


@given(words, st.sampled_from([{}, NAMES]), st.booleans())
def test_options_are_read_as_the_library_reads_them(
    given_words: list[str], names: dict[str, str], permute: bool
) -> None:
    assert _ours(given_words, names, permute) == _theirs(given_words, names, permute)


@given(
    st.integers(-(10**17), 10**17), st.sampled_from(["", " ", "\t\n"]), st.text("x: ", max_size=3)
)
def test_a_number_is_read_up_to_what_is_none(number: int, before: str, after: str) -> None:
    assert getopt.integer(f"{before}{number}{after}") == (number, after)
    assert getopt.integer(f"{before}{number:+}{after}") == (number, after)


@pytest.mark.parametrize("text", ["", " ", "x", "-", "+-1", "- 1", ":"])
def test_what_is_no_number_is_left_whole(text: str) -> None:
    assert getopt.integer(text) == (None, text)


def test_a_number_of_any_length_is_read() -> None:
    number, left = getopt.integer("9" * 10000)
    assert number is not None
    assert number > 2**31
    assert left == ""
    assert getopt.integer("0" * 10000 + "7") == (7, "")
