"""The options of other tools: none is one of ours, and what is said to take in their place is."""

from __future__ import annotations

import re

import pytest

from spawner import elsewhere, joinoptions, options

KNOWN = {"run": (elsewhere.RUN, options.TABLE), "exec": (elsewhere.EXEC, joinoptions.TABLE)}


@pytest.mark.parametrize("command", KNOWN)
def test_none_is_an_option(command: str) -> None:
    words, table = KNOWN[command]
    ours = {f"--{option.long}" for option in table} | {f"-{option.short}" for option in table}
    assert not ours & set(words)


@pytest.mark.parametrize("command", KNOWN)
def test_what_is_named_in_their_place_is_there(command: str) -> None:
    words, table = KNOWN[command]
    named = {name for hint in words.values() for name in re.findall(r"(?<!\S)--([a-z-]+)", hint)}
    assert named
    assert named <= {option.long for option in table}
