"""The options of other tools: none is one of ours, and what is said to take in their place is."""

from __future__ import annotations

import re

import pytest

from pyinit import cmdline
from pyinit import options as pyinit_options
from pyinit.cmdline import Option
from spawner.command import exec, foreign, run

KNOWN = {"run": (foreign.RUN, run.TABLE), "exec": (foreign.EXEC, exec.TABLE)}


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


@pytest.mark.parametrize(
    ("word", "hint"),
    [("-m512m", "--memory"), ("-m=512m", "--memory"), ("-v/a:/b", "--bind"), ("-M", None)],
)
def test_a_value_at_a_letter_is_explained(word: str, hint: str | None) -> None:
    with pytest.raises(cmdline.UsageError, match="unknown option") as refused:
        cmdline.parse(run.TABLE, [word, "--", "true"])
    found = foreign.attached(str(refused.value))
    assert found is None if hint is None else found is not None and hint in found


@pytest.mark.parametrize("option", pyinit_options.TABLE, ids=lambda option: option.long)
def test_the_variables_of_pyinit_are_named_for_its_options(option: Option) -> None:
    hint = foreign.RUN.get(f"--{option.long}", "")
    named = re.search(r"`PYINIT_(\w+)=(\S+) pyspawn --init -- PROGRAM`", hint)
    if named is None:
        alone = {"pause", "events", "as", "install-as"}
        assert option.long in alone | {ours.long for ours in run.TABLE}
        return
    assert named[1].lower() == option.name
    assert named[2] == (option.metavar or "1").partition("[")[0]
