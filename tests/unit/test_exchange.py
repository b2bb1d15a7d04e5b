"""What goes through a program's pipes arrives, however often whoever carries it is interrupted."""

from __future__ import annotations

import io
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.api.exchange import Exchange, decode, encode

TEXT = st.text(st.characters(blacklist_categories=["Cs"]))


@given(TEXT, st.sampled_from(["utf-8", "utf-16", "latin-1", "ascii"]))
def test_text_is_what_a_stream_of_text_makes_of_it(text: str, encoding: str) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding, errors="replace", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        written = raw.getvalue()
    assert encode(text, encoding, "replace") == written
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    if encoding.startswith("utf"):
        assert decode(written, encoding, None) == lines


@pytest.mark.parametrize("data", [b"bytes", 5, None])
def test_what_is_no_text_is_a_type_error(data: object) -> None:
    with pytest.raises(TypeError):
        encode(data, None, None)


@settings(max_examples=20)
@given(st.integers(0, 400_000), st.integers(0, 6), st.booleans())
def test_all_arrives_over_any_number_of_time_outs(size: int, turns: int, text: bool) -> None:
    """The program repeats what it reads; its buffers fill, so both directions wait."""
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    with subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        encoding="latin-1" if text else None, errors="strict" if text else None,
    ) as program:  # fmt: skip
        given_ = data.decode("latin-1") if text else data
        exchange = Exchange(given_, program.stdin, (program.stdout, None))
        seen = b""
        for _ in range(turns):
            exchange.go_on(time.monotonic() + 0.0005)
            raw, nothing = exchange.raw
            assert nothing is None
            assert raw is not None
            assert raw.startswith(seen)
            assert data.startswith(raw)
            seen = raw
        assert exchange.go_on(None)
        assert exchange.go_on(None)  # at the end there's nothing to wait for
        expected = data.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
        assert exchange.output == [expected if text else data, None]
    assert program.returncode == 0


@pytest.mark.timeout(10)
def test_what_never_ends_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spawner.api.exchange._BLOCK", 1)
    with open("/dev/zero", "rb", buffering=0) as endless:
        assert not Exchange(None, None, (endless, None)).go_on(time.monotonic() + 0.001)


def test_what_has_come_is_taken_at_the_deadline() -> None:
    with subprocess.Popen(["echo", "all"], stdout=subprocess.PIPE) as program:
        program.wait()
        exchange = Exchange(None, None, (program.stdout, None))
        assert exchange.go_on(time.monotonic())
    assert exchange.output == [b"all\n", None]


def test_a_program_that_does_not_read_is_no_error() -> None:
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as program:
        program.wait()
        exchange = Exchange(b"x" * 1_000_000, program.stdin, (None, None))
        assert exchange.go_on(None)
    assert exchange.output == [None, None]


def test_what_is_closed_already_is_left_alone() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.close()
        program.stdout.close()
        exchange = Exchange(b"data", program.stdin, (program.stdout, None))
        assert exchange.go_on(None)
        assert exchange.output == [b"", None]
