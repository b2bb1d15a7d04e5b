"""Where the twin of tini does better, and the file that stands in tini's place.

A test that takes `tini` runs twice, with the tool and with the twin; `twin` and `peer` are for
the deliberate differences of docs/twins.md.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from helpers import children, init_checks, twins
from helpers.programs import BLOCK_ALL, READY, python, reporter
from helpers.reporters import LAST, reported_by_all
from helpers.terminal import SUSPEND, Shell, Terminal
from helpers.twins import Init

tini, _, twin, _ = twins.fixtures("tini")


def test_an_ignored_sigchld_hangs_nobody_and_loses_no_status(twin: Init) -> None:
    prepare = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    assert twin.run("--", "sh", "-c", "exit 9", prepare=prepare).status == 9


def test_a_signal_before_the_group_exists_reaches_it_once(twin: Init) -> None:
    # Pending since before the twin was there: tini sends it to a group that isn't there yet.
    with twin.start("-g", "--", *reporter(), prepare=BLOCK_ALL + READY) as running:
        assert running.line() == "starting"
        running.send(signal.SIGUSR1)
        running.send(LAST)
        assert running.line().split()[1] == "ready"
        assert reported_by_all(running, {"reporter"}) == {"reporter": [signal.SIGUSR1]}


def test_the_terminal_is_not_stolen_in_the_background(twin: Init) -> None:
    with Terminal() as terminal, Shell(terminal) as shell:
        # Once it says ready it would have taken the foreground, as tini does.
        pid = shell.run(twin.argv("--", *reporter()), foreground=False)
        assert terminal.screen.next().split()[1] == "ready"
        assert terminal.foreground == shell.pid
        os.kill(pid, signal.SIGKILL)
        shell.wait(pid)


def test_the_suspend_key_gives_the_prompt_back(twin: Init) -> None:
    with Terminal() as terminal, Shell(terminal) as shell:
        pid = shell.run(twin.argv("--", *python("import posix; posix.write(1, b'up\\n'); "
                                                "posix.read(0, 1); posix._exit(4)")))  # fmt: skip
        assert terminal.screen.next() == "up"
        children.wait_until(lambda: terminal.foreground not in (pid, shell.pid))
        terminal.type(SUSPEND)
        assert "stopped" in shell.wait(pid)
        shell.resume(pid)
        terminal.type(b"\n")
        assert shell.wait(pid)["status"] == 4


@pytest.mark.parametrize("kind", twins.KINDS)
@pytest.mark.parametrize("name", ["tini", "docker-init"])
def test_ps_shows_the_name(kind: str, name: str, tmp_path: Path) -> None:
    init_checks.has_its_name(Init(name, kind), tmp_path, "-s", "--")


def test_the_mask_of_whoever_started_us_is_the_workloads(tini: Init) -> None:
    init_checks.hands_on_signal_state(tini, {signal.SIGUSR2, signal.SIGTTIN}, "--")
