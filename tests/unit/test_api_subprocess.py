"""What subprocess has besides: short ways, limits, umask and the size of pipes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from helpers.fake_launcher import launcher

import spawner
from spawner import TimeoutExpired, aio

pytestmark = pytest.mark.usefixtures("no_descriptor_left")


def test_a_start_has_a_limit_of_its_own_in_run(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "created(); until_cut()")
    for limits, seconds in (
        ({"start_timeout": 0.02, "timeout": 60}, 0.02),
        ({"start_timeout": 60, "timeout": 0.02}, 0.02),
        ({"start_timeout": 0.02}, 0.02),
    ):
        for call in (
            spawner.run,
            spawner.check_output,
            spawner.call,
            lambda args, **limits: spawner.join(os.getpid(), args, **limits),
            lambda args, **limits: asyncio.run(aio.run(args, **limits)),
            lambda args, **limits: asyncio.run(aio.join(os.getpid(), args, **limits)),
        ):
            with pytest.raises(TimeoutExpired) as caught:
                call(["app"], **limits)  # type: ignore[operator]
            assert caught.value.timeout == seconds
    launcher(monkeypatch, "started(); sys.stdin.read(1); exited(3)")
    assert spawner.run(["app"], input=b"x", start_timeout=60).returncode == 3


def calls() -> list[tuple[str, Callable[..., object]]]:
    return [
        ("spawner", lambda name, *a, **k: getattr(spawner, name)(*a, **k)),
        ("aio", lambda name, *a, **k: asyncio.run(getattr(aio, name)(*a, **k))),
    ]


@pytest.mark.parametrize(("twin", "do"), calls(), ids=lambda each: str(each)[:7])
def test_the_short_ways_are_those_of_subprocess(
    monkeypatch: pytest.MonkeyPatch, twin: str, do: Callable[..., object]
) -> None:
    """What each returns and raises, for a program that echoes its input and ends with 0 or 3."""
    code = "started(); os.write(1, b'out:' + sys.stdin.buffer.read()); exited(int(program[-1]))"
    launcher(monkeypatch, code)
    ours, theirs = (
        ["app", "0"],
        [sys.executable, "-Sc", "import sys; print(end='out:'+sys.stdin.read())"],
    )
    for options in ({"input": b"x"}, {"input": None}, {"input": "x", "text": True},
                    {"input": None, "text": True}, {"input": None, "encoding": "utf-8"},
                    {"input": None, "universal_newlines": True}):  # fmt: skip
        said: dict[str, Any] = options  # type: ignore[assignment]
        assert do("check_output", ours, **said) == subprocess.check_output(theirs, **said)
    quiet = {"stdin": spawner.DEVNULL, "stdout": spawner.DEVNULL}
    assert do("call", ["app", "3"], **quiet) == 3
    assert do("check_call", ours, **quiet) == 0
    for name in ("check_call", "check_output"):
        with pytest.raises(spawner.CalledProcessError) as caught:
            do(name, ["app", "3"], stdin=spawner.DEVNULL)
        assert (caught.value.returncode, caught.value.cmd) == (3, ["app", "3"])
    assert caught.value.output == b"out:"
    for options in ({"stdout": -1}, {"check": True}):
        with pytest.raises(ValueError, match="argument not allowed, it will be overridden"):
            do("check_output", ours, **options)


@pytest.mark.parametrize(("twin", "do"), calls(), ids=lambda each: str(each)[:7])
def test_umask_and_pipesize(
    monkeypatch: pytest.MonkeyPatch, twin: str, do: Callable[..., object]
) -> None:
    code = """
import fcntl
started()
mask = os.umask(0)
os.write(1, b"%o %d" % (mask, fcntl.fcntl(1, fcntl.F_GETPIPE_SZ)))
exited(0)
"""
    launcher(monkeypatch, code)
    before = os.umask(0o022)
    try:
        assert do("check_output", ["app"]) == b"22 65536"
        assert do("check_output", ["app"], umask=0o077, pipesize=4096) == b"77 4096"
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
