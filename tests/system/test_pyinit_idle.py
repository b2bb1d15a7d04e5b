"""An idle pyinit costs nothing: no wake-up without cause."""

from __future__ import annotations

import os
import signal

import pytest
from helpers import children
from helpers.places import Place
from helpers.programs import reporter
from helpers.sleeping import settle_to_wait, switches, waits_without_timeout


@pytest.mark.parametrize("options", [[], ["-g"], ["--kill-after", "10"], ["-v"], ["-p", "TERM"]])
def test_idle_it_is_never_given_the_processor(place: Place, options: list[str]) -> None:
    with place.start(*options, "--", *reporter()) as running:
        running.line()
        running.send(signal.SIGUSR1)
        running.line()
        pid = running.pid
        settle_to_wait(pid)
        before = switches(pid)
        # An idle span: other processes come and go, none of them its child.
        for _ in range(20):
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        assert waits_without_timeout(pid), "it sleeps with a time-out, and would wake up"
        assert switches(pid) == before


def test_idle_in_a_pause_it_is_never_given_the_processor(place: Place) -> None:
    with place.start("--pause") as running:
        pid = running.pid
        settle_to_wait(pid)
        before = switches(pid)
        for _ in range(20):
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        assert waits_without_timeout(pid)
        assert switches(pid) == before


def test_a_deadline_costs_no_more_than_its_one_wake_up(place: Place) -> None:
    """While it runs there is a time-out, and once it's over there's none again."""
    with place.start("--kill-after", "100000", "--", *reporter()) as running:
        running.line()
        running.send(signal.SIGTERM)
        running.line()
        pid = running.pid
        children.wait_until(
            lambda: children.state(pid) == "S" and not waits_without_timeout(pid), "the deadline"
        )
        before = switches(pid)
        for _ in range(20):
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        assert switches(pid) == before
