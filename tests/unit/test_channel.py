"""The records and notices: what is written comes back, and nothing else is believed."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner import channel
from spawner.errors import ExecError, SetupError
from spawner.linux import Kernel

# What the interpreter makes of any bytes (PEP 383).
TEXT = st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=10)


@given(NAMES, st.dictionaries(NAMES, TEXT | st.integers(0), max_size=5))
def test_records_come_back(kind: str, fields: dict[str, str | int]) -> None:
    line = channel.encode(kind, **fields)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    record = channel.decode(line[:-1])
    assert record.kind == kind
    assert record.fields == {name: str(value) for name, value in fields.items()}


def test_absent_fields_are_left_out() -> None:
    assert channel.encode("error", path=None, errno=1) == b"error errno=1\n"


@given(st.binary())
def test_any_line_is_a_record_or_an_error(line: bytes) -> None:
    try:
        channel.decode(line)
    except channel.ChannelError:
        return


@pytest.mark.parametrize("line", [b"forked pid", b"forked pid=%zz", b"forked pid=%", b"\xff"])
def test_what_is_no_record_is_an_error(line: bytes) -> None:
    with pytest.raises(channel.ChannelError):
        channel.decode(line)


@pytest.mark.parametrize(
    "line", [b"forked", b"forked pid=", b"forked pid=-1", b"forked pid=%c2%b2"]
)
def test_a_number_has_to_be_one(line: bytes) -> None:
    with pytest.raises(channel.ChannelError, match="pid"):
        channel.decode(line).number("pid")


@given(st.lists(st.binary(max_size=20).filter(lambda raw: b"\n" not in raw)), st.data())
def test_lines_are_cut_wherever_the_reads_end(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    for reader in (channel.Lines(), channel.Notices()):
        found: list[bytes] = []
        left = stream
        while left:
            size = data.draw(st.integers(1, len(left)))
            found += reader.feed(left[:size])  # type: ignore[attr-defined]
            left = left[size:]
        assert found == lines


@given(TEXT, TEXT, st.none() | TEXT, st.none() | st.integers(1, 4095), st.sampled_from([125, 127]))
def test_errors_come_back(
    step: str, stage: str, path: str | None, errno: int | None, status: int
) -> None:
    for kind in (SetupError, ExecError):
        error = kind(step, stage=stage, syscall="x", path=path, errno=errno, status=status)
        again = channel.error_of(channel.decode(channel.failure(error)[:-1]))
        assert type(again) is kind
        assert str(again) == str(error)
        for name in ("step", "stage", "syscall", "path", "errno", "hint", "status"):
            assert getattr(again, name) == getattr(error, name)


def test_the_launchers_death_is_seen() -> None:
    pipes = channel.Pipes()
    pipes.open(Kernel(), notice=False)
    try:
        assert pipes.launcher_lives()
        pipes.close("go_writer")
        assert not pipes.launcher_lives()
        assert pipes.hear() == b""
        pipes.close("status_reader")
        pipes.tell(b"nobody hears\n")  # and nobody minds
    finally:
        pipes.close(*channel.Pipes.ENDS)


def test_the_ends_of_the_pipes() -> None:
    def open_ends(pipes: channel.Pipes) -> set[str]:
        return {name for name in channel.Pipes.ENDS if getattr(pipes, name) >= 0}

    pipes = channel.Pipes()
    assert open_ends(pipes) == set()
    pipes.open(Kernel(), notice=True)
    try:
        descriptors = [getattr(pipes, name) for name in channel.Pipes.ENDS]
        assert not any(map(os.get_inheritable, descriptors))
        assert not os.get_blocking(pipes.notice_writer)
        pipes.be_launcher()
        assert open_ends(pipes) == {"status_reader", "go_writer", "notice_reader"}
        pipes.be_child()
        assert open_ends(pipes) == set()
    finally:
        pipes.close(*channel.Pipes.ENDS)


@pytest.mark.parametrize(
    ("line", "kind", "numbers", "text"),
    [
        (b"started 2", "started", [2], ""),
        (b"exec-failed 2 127 nosuch: not found; why", "exec-failed", [2, 127],
         "nosuch: not found; why"),
        (b"stopped 20", "stopped", [20], ""),
        (b"exited 137 9", "exited", [137, 9], ""),
        (b"exited 0 0", "exited", [0, 0], ""),
    ],
)  # fmt: skip
def test_notices(line: bytes, kind: str, numbers: list[int], text: str) -> None:
    found = channel.parse_notice(line)
    assert found is not None
    assert (found.kind, found.numbers, found.text) == (kind, numbers, text)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"started",
        b"started x",
        b"started -1",
        b"started \xc2\xb2",
        b"started 99999999999999999999",
        b"stopped 65",
        b"exited 256 0",
        b"exited 1",
        b"exec-failed 2 200 x",
        b"killed 9",
    ],
)
def test_no_nonsense_is_believed(line: bytes) -> None:
    assert channel.parse_notice(line) is None


@given(st.binary())
def test_any_notice_is_taken_without_an_error(line: bytes) -> None:
    channel.parse_notice(line)


def test_a_notice_without_an_end_is_dropped_and_the_next_one_heard() -> None:
    lines = channel.Notices()
    assert lines.feed(b"x" * (channel.LONGEST_NOTICE + 1)) == []
    assert lines.feed(b"x" * channel.LONGEST_NOTICE + b"\nstarted 2\n") == [b"started 2"]
    assert lines.feed(b"y" * (channel.LONGEST_NOTICE + 1) + b"\nstarted 3\n") == [b"started 3"]
