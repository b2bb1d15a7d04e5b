"""The workload finds the mask and the ignored signals that pyinit was started with."""

from __future__ import annotations

import signal

import pytest
from helpers.places import Place
from helpers.programs import RESERVED, prepared, pyinit
from helpers.running import run
from helpers.seccomp import block_raw
from helpers.transparency import RARE, UNKNOWABLE, signal_state, status_of, with_and_without
from hypothesis import given
from hypothesis import strategies as st

CATCHABLE = sorted(
    int(number) for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
)


@RARE
@given(
    mask=st.sets(st.sampled_from(CATCHABLE)),
    ignored=st.sets(st.sampled_from([n for n in CATCHABLE if n not in UNKNOWABLE])),
)
def test_mask_and_ignored_signals_are_those_of_the_start(mask: set[int], ignored: set[int]) -> None:
    ours, bare = with_and_without(signal_state(mask, ignored), "/bin/cat", "/proc/self/status")
    assert status_of(ours) == status_of(bare)


@pytest.mark.parametrize(
    ("mask", "ignored"),
    [(set(), set()), (set(CATCHABLE), set()), (set(), set(CATCHABLE) - UNKNOWABLE)],
    ids=["plain", "all blocked", "all ignored"],
)
def test_status_is_that_of_a_bare_start_also_for_pid_1(
    inside: Place, mask: set[int], ignored: set[int]
) -> None:
    prepare = signal_state(mask, ignored)
    ours = inside.run("--", "/bin/cat", "/proc/self/status", prepare=prepare)
    bare = inside.run_bare("/bin/cat", "/proc/self/status", prepare=prepare)
    assert status_of(ours) == status_of(bare)


def test_signals_that_the_interpreter_ignores_are_back_at_their_default(place: Place) -> None:
    ended = place.run("--", "/bin/cat", "/proc/self/status")
    assert status_of(ended)["SigIgn"] == "0" * 16
    assert status_of(ended)["SigBlk"] == "0" * 16


def test_what_the_c_library_lets_nobody_block_is_no_matter(place: Place) -> None:
    """A raw system call, which some runtimes use, blocks it nevertheless."""
    everything = sum(1 << (number - 1) for number in CATCHABLE)
    prepare = block_raw(everything | RESERVED)
    ended = place.run("--", "/bin/cat", "/proc/self/status", prepare=prepare)
    assert int(status_of(ended)["SigBlk"], 16) & ~RESERVED == everything
    assert ended.errors == ""


@RARE
@given(mask=st.sets(st.sampled_from(CATCHABLE)), ignored=st.sets(st.sampled_from(CATCHABLE)))
def test_a_launchers_handover_is_given_to_the_workload(mask: set[int], ignored: set[int]) -> None:
    def bits(numbers: set[int]) -> str:
        return f"{sum(1 << (number - 1) for number in numbers):016x}"

    handover = f"mask={bits(mask)},ignored={bits(ignored)},foreground=0"
    ours = run(
        prepared(
            signal_state(set(CATCHABLE), set()),
            pyinit(f"--handover={handover}", "--", "/bin/cat", "/proc/self/status"),
        )
    )
    assert status_of(ours)["SigBlk"] == bits(mask)
    assert status_of(ours)["SigIgn"] == bits(ignored)
