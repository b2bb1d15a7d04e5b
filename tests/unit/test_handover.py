"""The options of pyinit as values, and the handover between processes."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyinit import cmdline, options
from pyinit.child import Handover
from pyinit.machine import Settings

SIGNALS = st.sets(st.sampled_from(sorted(int(s) for s in signal.valid_signals())))


def parse(*words: str) -> Settings:
    values, rest = cmdline.parse(options.TABLE, words)
    return Settings(values, [word.encode() for word in rest])


@given(
    mask=SIGNALS,
    ignored=SIGNALS,
    pending=SIGNALS,
    foreground=st.sampled_from([None, True, False]),
    notice=st.none() | st.integers(0, 1 << 20),
)
def test_a_handover_is_read_as_written(
    mask: set[int],
    ignored: set[int],
    pending: set[int],
    foreground: bool | None,
    notice: int | None,
) -> None:
    written = str(Handover(mask, ignored, pending, foreground, notice))
    read = Handover.parse(written)
    assert (read.mask, read.ignored, read.pending) == (mask, ignored, pending)
    assert (read.foreground, read.notice) == (foreground, notice)


def test_the_sets_are_written_as_proc_does() -> None:
    assert str(Handover({2, 15}, {1}, set(), True, 5)) == (
        "mask=4002,ignored=1,pending=0,foreground=1,notice=5"
    )


def test_defaults() -> None:
    asked = parse("app", "-x")
    assert asked.program == [b"app", b"-x"]
    assert asked.target == "process"
    assert asked.term_signal == signal.SIGTERM
    assert not asked.tells_all
    assert asked.drain is asked.kill_after is asked.parent_death is asked.events is None


def test_values() -> None:
    asked = parse(
        *("-g", "-r", "HUP:TERM", "-rUSR1:0", "-e143", "-e", "3:4", "-p", "KILL", "-w"),
        *("--wait", "--drain=2", "--kill-after", "0.5", "--term-signal", "INT", "-vv", "x"),
    )
    assert asked.target == "group"
    assert asked.rewrite == {signal.SIGHUP: signal.SIGTERM, signal.SIGUSR1: 0}
    assert asked.exit_codes == {143: 0, 3: 4}
    assert asked.parent_death == signal.SIGKILL
    assert (asked.drain, asked.kill_after) == (2.0, 0.5)
    assert asked.wait
    assert asked.verbose == 2
    assert asked.tells_all


@pytest.mark.parametrize(
    "word",
    ["HUP", "HUP:", ":HUP", "HUP:NOPE", "NOPE:HUP", "KILL:TERM", "STOP:0", "CHLD:0", "TERM:65"],
)
def test_bad_rewrites_are_refused(word: str) -> None:
    with pytest.raises(cmdline.UsageError, match="--rewrite"):
        parse(f"--rewrite={word}")


@pytest.mark.parametrize("word", ["", "256", "-1", "1:", "1:256", "x", "1:2:3", "0001", "²"])
def test_bad_exit_codes_are_refused(word: str) -> None:
    with pytest.raises(cmdline.UsageError, match="--exit-code"):
        parse(f"--exit-code={word}")


def test_every_option_but_the_hidden_says_what_it_does() -> None:
    for option in options.TABLE:
        assert option.hidden or option.help.endswith(".")
