"""`--max-output`: the value, and what the relay does with the streams, without a container."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from helpers.clocks import Clock
from hypothesis import given
from hypothesis import strategies as st

from spawner.errors import SpecError
from spawner.limit import relay
from spawner.limit.output import Output
from spawner.limit.passing import BLOCK, LATE, Budget, Stream, serve
from spawner.limit.relay import Relay


@pytest.mark.parametrize("most", [-1, 1.5, True, "5", None])
def test_what_is_no_number_of_bytes_is_refused(most: Any) -> None:
    with pytest.raises(SpecError, match="the output can't be limited to "):
        Output(most)


@given(
    most=st.integers(0, 30),
    wanted=st.lists(st.integers(0, 12), max_size=8),
)
def test_exactly_the_budget_is_granted_and_the_first_byte_too_many_is_told(
    most: int, wanted: list[int]
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        budget = Budget(most, writer)
        granted = 0
        for at, each in enumerate(wanted):
            granted += budget.grant(each)
            assert granted == min(most, sum(wanted[: at + 1]))
        os.write(writer, b"!")
        assert os.read(reader, 64) == (b".!" if sum(wanted) > most else b"!")
    finally:
        os.close(reader)
        os.close(writer)


class Serving:
    """A relay at work in a thread: `ins` are written to, and `outs` are what it passes on."""

    def __init__(self, most: int, count: int) -> None:
        self.ins, self.outs, streams = [], [], []
        for _ in range(count):
            source, into = os.pipe()
            out, target = os.pipe()
            self.ins.append(into)
            self.outs.append(out)
            streams.append(Stream(source, (target,)))
        self.heard, alarm = os.pipe()
        end, self._end = os.pipe()
        self.streams = streams
        self._theirs = (alarm, end)
        self._failures: list[int] = []
        self._thread = threading.Thread(
            target=lambda: self._failures.append(serve(streams, Budget(most, alarm), end))
        )
        self._thread.start()

    def finish(self) -> int:
        """End it; return what it has failed with."""
        os.write(self._end, b".")
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self._failures[0]


@contextmanager
def serving(most: int, count: int = 1) -> Iterator[Serving]:
    """Serve some streams; all is closed afterwards."""
    before = set(os.listdir("/proc/self/fd"))
    try:
        yield Serving(most, count)
    finally:
        with ExitStack() as closing:
            for name in set(os.listdir("/proc/self/fd")) - before:
                closing.callback(_close, int(name))


def _close(descriptor: int) -> None:
    with suppress(OSError):  # the listing's own
        os.close(descriptor)


def written_on(descriptor: int) -> None:
    """Write without an end."""
    while True:
        os.write(descriptor, bytes(4096))


def written(descriptor: int, blocks: Sequence[bytes]) -> None:
    for block in blocks:
        os.write(descriptor, block)


def test_what_fits_is_passed_on_and_the_end_as_well() -> None:
    with serving(10) as serves:
        written(serves.ins[0], [b"12345", b"67890"])
        os.close(serves.ins[0])
        assert os.read(serves.outs[0], 5) == b"12345"
        assert os.read(serves.outs[0], 64) == b"67890"
        assert os.read(serves.outs[0], 64) == b""
        assert serves.finish() == 0


def test_what_is_too_much_is_cut_to_the_byte_and_told() -> None:
    with serving(7) as serves:
        written(serves.ins[0], [b"12345", b"67890"])
        assert os.read(serves.heard, 64) == b"."
        assert os.read(serves.outs[0], 5) == b"12345"
        assert os.read(serves.outs[0], 64) == b"67"
        assert serves.finish() == 0


def test_two_streams_share_the_budget() -> None:
    with serving(10, 2) as serves:
        os.write(serves.ins[0], b"123456")
        assert os.read(serves.outs[0], 64) == b"123456"
        os.write(serves.ins[1], b"123456")
        assert os.read(serves.heard, 64) == b"."
        assert os.read(serves.outs[1], 64) == b"1234"
        assert serves.finish() == 0


def test_a_reader_that_is_slow_holds_up_no_other_stream() -> None:
    with serving(10**9, 2) as serves:
        for _ in range(3):  # one in each pipe, and one in the hands of the relay
            os.write(serves.ins[0], bytes(BLOCK))
        os.write(serves.ins[1], b"on")
        assert os.read(serves.outs[1], 64) == b"on"
        got = 0
        while got < 3 * BLOCK:
            got += len(os.read(serves.outs[0], BLOCK))
        assert serves.finish() == 0


def test_what_is_left_at_the_end_is_passed_on() -> None:
    """Though somebody may still write, for whom nobody waits."""
    with serving(10) as serves:
        os.write(serves.ins[0], b"left")
        assert serves.finish() == 0
        assert os.read(serves.outs[0], 64) == b"left"


def test_a_reader_that_goes_is_seen_by_who_writes() -> None:
    with serving(10**9) as serves:
        os.close(serves.outs[0])
        with pytest.raises(BrokenPipeError):
            written_on(serves.ins[0])
        assert serves.finish() == 0


def test_a_write_that_fails_is_told() -> None:
    with serving(10**9) as serves:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, serves.streams[0].targets[0])
        with pytest.raises(BrokenPipeError):
            written_on(serves.ins[0])
        assert serves.finish() == errno.ENOSPC


def test_somebody_who_writes_without_an_end_does_not_hold_up_the_end() -> None:
    out, target = os.pipe()
    end, writer = os.pipe()
    alarm = os.open("/dev/null", os.O_WRONLY)
    os.write(writer, b".")
    passed: list[int] = []

    def read() -> None:
        while block := os.read(out, BLOCK):
            passed.append(len(block))

    reading = threading.Thread(target=read)
    reading.start()
    zeros = Stream(os.open("/dev/zero", os.O_RDONLY), (target,))
    assert serve([zeros], Budget(10**9, alarm), end) == 0
    for descriptor in (zeros.source, target, end, writer, alarm):
        os.close(descriptor)
    reading.join(60)
    assert not reading.is_alive()
    os.close(out)
    assert sum(passed) == LATE


def test_an_early_end_of_the_relay_has_words() -> None:
    found = Relay(5)
    found.pid = 5
    assert found.ended(9) == (
        "the program's output is lost: the process that passes it on was killed by SIGKILL"
    )
    assert found.pid == 0
    assert found.limited(None) is None


def test_a_kill_waits_until_the_init_has_told_that_the_program_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else nobody would know whether it ran at all."""
    clock = Clock(100.0)
    monkeypatch.setattr(relay, "time", clock)
    reader, writer = os.pipe()
    try:
        found = Relay(5)
        os.write(writer, b"..")
        assert not found.reached(reader)
        assert (found.cut, found.deadline) == (True, 110.0)
        clock.now = 101.0
        found.started()
        assert found.deadline == 101.0
        found.expired()
        assert found.deadline is None
        assert found.reached(reader)
        os.close(writer)
        other = Relay(5)
        other.started()
        assert not other.reached(reader)  # the relay has ended
        assert other.limited(None) is None
    finally:
        os.close(reader)
