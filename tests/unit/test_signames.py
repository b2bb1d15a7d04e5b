"""Names and numbers of signals."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyinit import signames

ALL = sorted(int(number) for number in signal.valid_signals())


@pytest.mark.parametrize("number", ALL)
def test_the_name_of_each_signal_means_that_signal(number: int) -> None:
    name = signames.name(number)
    assert name.startswith("SIG")
    for word in (name, name[3:], name.lower(), str(number)):
        assert signames.number(word) == number


@pytest.mark.parametrize("known", list(signal.Signals))
def test_names_are_those_of_the_standard_library(known: signal.Signals) -> None:
    assert signames.number(known.name) == known.value


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("RTMIN", signal.SIGRTMIN),
        ("SIGRTMAX", signal.SIGRTMAX),
        ("RTMIN+2", signal.SIGRTMIN + 2),
        ("rtmax-3", signal.SIGRTMAX - 3),
        ("CLD", signal.SIGCHLD),
        ("POLL", signal.SIGIO),
        ("IOT", signal.SIGABRT),
    ],
)
def test_other_spellings(word: str, number: int) -> None:
    assert signames.number(word) == number


@pytest.mark.parametrize(
    "word",
    ["", "0", "65", "999", "32", "33", "-1", "+9", "SIG", "SIGNOPE", "SIG_DFL", "_DFL", "RTMIN-1",
     "RTMAX+1", "RTMIN+31", "RTMIN+", "RTMIN+x", "RTMIN1", "RTMIN+²", "TERM ", "15.0",
     "SIGSIGTERM"],
)  # fmt: skip
def test_what_is_no_signal_is_refused_by_name(word: str) -> None:
    with pytest.raises(ValueError, match="is not a signal") as caught:
        signames.number(word)
    assert repr(word) in str(caught.value)


@given(st.text(max_size=10))
def test_any_word_is_a_signal_or_refused(word: str) -> None:
    try:
        number = signames.number(word)
    except ValueError:
        return
    assert number in ALL


def test_an_unknown_number_is_shown_as_digits() -> None:
    assert signames.name(32) == "32"
    assert signames.name(0) == "0"
