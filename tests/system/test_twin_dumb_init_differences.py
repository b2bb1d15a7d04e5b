"""Where the twin of dumb-init does better, and the file that stands in dumb-init's place.

A test that takes `dumb_init` runs twice, with the tool and with the twin; `twin` and `peer` are
for the deliberate differences of docs/twins.md.
"""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest
from helpers import children, init_checks, twins
from helpers.capabilities import require
from helpers.programs import family, reporter
from helpers.seccomp import deny
from helpers.twins import Init

dumb_init, _, twin, _ = twins.fixtures("dumb-init")


def test_the_mask_and_ignored_signals_reach_the_workload(twin: Init) -> None:
    # dumb-init unblocks and resets all of them.
    init_checks.hands_on_signal_state(twin, {signal.SIGUSR2, signal.SIGTTIN})


@pytest.mark.parametrize("words", [[], ["-c"]])
def test_the_twin_adopts_orphans_wherever_it_runs(twin: Init, words: list[str]) -> None:
    init_checks.adopts_orphans(twin, *words)


def test_a_session_that_is_denied_is_done_without(twin: Init) -> None:
    # dumb-init gives up with status 1. A process group can still be had.
    require("seccomp")
    with twin.start(*family(), prepare=deny(errno.EPERM, "setsid")) as running:
        # The stranger of the family dies of the denial.
        ready = {line.split()[0] for line in running.lines(2)}
        assert ready == {"leader", "member"}
        running.send(signal.SIGUSR1)
        heard = sorted(line.split()[0] for line in running.lines(2))
        assert heard == ["leader", "member"]
        running.send(signal.SIGKILL)


@pytest.mark.parametrize("kind", twins.KINDS)
def test_ps_shows_the_name(kind: str, tmp_path: Path) -> None:
    init_checks.has_its_name(Init("dumb-init", kind), tmp_path)


def test_it_keeps_no_directory_busy(dumb_init: Init, tmp_path: Path) -> None:
    with dumb_init.start(*reporter(), directory=str(tmp_path)) as running:
        running.line()
        children.wait_until(lambda: os.readlink(f"/proc/{running.pid}/cwd") == "/", "its root")
        (workload,) = children.of(running.pid)
        assert os.readlink(f"/proc/{workload}/cwd") == str(tmp_path)
