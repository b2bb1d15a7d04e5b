"""The workload's end is the end of all; with `--wait` it's that of the last process."""

from __future__ import annotations

import os
import signal

from helpers import children
from helpers.leftovers import left, leftovers
from helpers.places import Place
from helpers.running import Running
from helpers.sleeping import settle_to_wait


def test_by_default_the_workloads_end_is_the_end(place: Place) -> None:
    with left(place, kinds=("stubborn", "strange-stubborn")) as running:
        assert running.wait() == 17
        if place.inside:
            assert running.out.rest() == b""  # the kernel has killed all of the namespace


def test_wait_stays_for_all_and_keeps_the_status(place: Place) -> None:
    with left(place, "--wait", kinds=("polite", "strange-polite")) as running:
        # The workload is gone, and a signal goes to all that is left.
        children.wait_until(lambda: not workloads(running, "polite", "strange-polite"))
        running.send(signal.SIGUSR1)
        assert sorted(running.lines(2)) == ["polite 10", "strange-polite 10"]
        running.send(signal.SIGTERM)
        assert sorted(running.lines(2)) == ["polite 15", "strange-polite 15"]
        assert running.wait() == 17
        assert running.out.rest() == b""


def workloads(running: Running, *kinds: str) -> bool:
    """Tell whether more than the processes left behind lives below pyinit."""
    return len(children.below(running.pid)) > len(kinds)


def test_a_signal_that_comes_with_the_workloads_end_goes_to_what_is_left(place: Place) -> None:
    """Pending together, the lower number is taken first, signal(7): but the end came before."""
    workload = leftovers("polite", last=signal.SIGHUP)
    with place.start("--wait", "--", *workload) as running:
        assert running.line() == "polite ready"
        settle_to_wait(running.pid)
        running.send(signal.SIGSTOP)
        children.wait_state(running.pid, "T")
        (dying,) = children.of(running.pid)
        running.close_input()
        children.wait_state(dying, "Z")
        running.send(signal.SIGHUP)
        running.send(signal.SIGCONT)
        assert running.line() == f"polite {int(signal.SIGHUP)}"
        assert running.wait() == 17


def test_wait_with_nothing_left_ends_at_once(place: Place) -> None:
    assert place.run("--wait", "--", "/bin/sh", "-c", "exit 18").status == 18


def test_wait_comes_from_the_environment_too(place: Place) -> None:
    script = "(read word; echo late) & exit 19"
    environment = dict(os.environ, PYINIT_WAIT="1")
    with place.start("--", "/bin/sh", "-c", script, environment=environment) as running:
        running.close_input()
        assert running.line() == "late"
        assert running.wait() == 19
