"""Somebody stops who makes a container, in the middle of it: the launcher hears all the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.programs import Word
from helpers.running import Running

import spawner
from spawner import lean
from spawner.spec import KINDS

STOPPED = {
    "the init": "uts",
    "the stage": "user",
    "the stage before it forks": "pid",
}
"""Who stops itself, by what it has just unshared."""

each_moment = pytest.mark.parametrize("kind", STOPPED.values(), ids=list(STOPPED))


def stopping(kind: str) -> list[str]:
    """Return the argv of a pyspawn whose process stops itself once it has unshared `kind`."""
    return lean.lean(
        f"""
import _signal, posix
from spawner import linux
unshare = linux.Kernel.unshare
def stop(self, flags):
    unshare(self, flags)
    if flags == {KINDS[kind].number}:
        posix.write(2, b"stopped\\n")
        if posix.getpid() == 1:  # nothing of ours stops that one
            _signal.pause()
        posix.kill(posix.getpid(), 19)
linux.Kernel.unshare = stop
from spawner.__main__ import main
main()
"""
    )


@contextmanager
def begun(kind: str, *words: Word, pass_fds: Iterable[int] = ()) -> Iterator[Running]:
    require("userns", "pidns")
    argv = [*stopping(kind), "--user", "--uts", *words, "--", "/bin/true"]
    with Running(argv, pass_fds=pass_fds) as running:
        children.wait_until(lambda: "stopped" in running.errors(), "the stop")
        yield running


@each_moment
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it(kind: str, number: signal.Signals) -> None:
    with begun(kind, "--stop-timeout=0.1") as running:
        below = children.below(running.pid)
        running.send(number)
        assert running.wait() == 128 + number
        assert children.wait_gone(below) == set()
        assert (
            f"make the container: got {number.name} before this step was done" in running.errors()
        )


@pytest.mark.parametrize("kind", ["user", "pid"])
def test_a_signal_is_forwarded_if_it_goes_on_in_time(kind: str) -> None:
    with begun(kind) as running:
        (stage,) = children.below(running.pid)
        children.wait_state(stage, "T")
        running.send(signal.SIGTERM)
        os.kill(stage, signal.SIGCONT)
        assert running.wait() in (0, 143)


@each_moment
@pytest.mark.parametrize("share", ["", "pid"])
def test_a_time_out_of_the_api_ends_it(
    kind: str, share: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("userns", "pidns")
    if share and kind == "pid":
        return  # there's none
    monkeypatch.setattr(lean, "pyspawn", lambda: stopping(kind))
    before = children.of(os.getpid())
    with pytest.raises(spawner.TimeoutExpired):
        spawner.Process(["true"], unshare="user,uts", share=share, start_timeout=1)
    assert children.of(os.getpid()) == before


@each_moment
def test_so_does_the_end_of_the_caller(kind: str) -> None:
    reader, writer = os.pipe()
    with begun(kind, f"--lifeline={reader}", pass_fds=[reader]) as running:
        os.close(writer)
        assert running.wait() == 125
    os.close(reader)
