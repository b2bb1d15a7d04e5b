"""What the loop around the machine does by itself: whose turn it is."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import NamedTuple

import pytest

from pyinit import child, machine, supervisor


class Info(NamedTuple):
    si_signo: int


@pytest.mark.parametrize(
    "pending",
    [
        {signal.SIGHUP, signal.SIGTERM},
        {signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGTERM, signal.SIGRTMAX},
    ],
    ids=["one", "several"],
)
def test_floods_of_lower_signals_keep_none_from_its_turn(
    monkeypatch: pytest.MonkeyPatch, pending: set[int]
) -> None:
    """However many there are, of which another one always is pending."""

    def take(numbers: Iterable[int], _: float = 0) -> Info | None:
        found = sorted(pending.intersection(numbers))
        return Info(found[0]) if found else None

    handover = child.Handover(set(), set(), set())
    run = supervisor.Supervisor(machine.Settings({}, [b"app"]), handover, [])
    monkeypatch.setattr(supervisor._signal, "sigwaitinfo", take)
    monkeypatch.setattr(supervisor._signal, "sigtimedwait", take)
    taken = [run._next_signal(None) for _ in range(len(pending) * supervisor._ROUND)]
    assert {info.si_signo for info in taken if info} == pending
