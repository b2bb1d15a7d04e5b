"""Event loops that asyncio.run may be given, so that a test of one can be a test of each."""

from __future__ import annotations

import importlib

import pytest

from helpers.capabilities import require

KINDS = ("asyncio", "uvloop")


def install(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have asyncio.run, and what is like it, make loops of a kind."""
    if kind == "asyncio":
        return
    require(kind)
    module = importlib.import_module(kind)
    module.new_event_loop().close()  # libuv's first keeps a pipe for signals
    monkeypatch.setattr("asyncio.events.new_event_loop", module.new_event_loop)
