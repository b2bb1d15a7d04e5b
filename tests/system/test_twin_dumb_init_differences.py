"""Where the twin of dumb-init does better, and the file that stands in dumb-init's place.

A test that takes `dumb_init` runs twice, with the tool and with the twin; `twin` and `peer` are
for the deliberate differences of docs/twins.md.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path

import pytest
from helpers import children, twins
from helpers.capabilities import require
from helpers.programs import family, prepared, python, reporter
from helpers.running import Running, run
from helpers.seccomp import deny
from helpers.twins import Init

dumb_init, _, twin, _ = twins.fixtures("dumb-init")


def test_the_mask_and_ignored_signals_reach_the_workload(twin: Init) -> None:
    # dumb-init unblocks and resets all of them.
    prepare = "signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR2, signal.SIGTTIN})\n"
    prepare += "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    show = [shutil.which("grep") or "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
    assert twin.run(*show, prepare=prepare).out == run(prepared(prepare, show)).out


ORPHAN = """
import posix
# Tells whose child an orphan of its own is.
reading, writing = posix.pipe()
if posix.fork() == 0:
    if posix.fork() == 0:
        posix.close(writing)
        posix.read(reading, 1)
        posix.write(1, b"%d\\n" % posix.getppid())
    posix._exit(0)
posix.wait()
posix.close(writing)
posix.read(0, 1)
"""


@pytest.mark.parametrize("words", [[], ["-c"]])
def test_the_twin_adopts_orphans_wherever_it_runs(twin: Init, words: list[str]) -> None:
    with twin.start(*words, *python(ORPHAN)) as running:
        assert running.line() == str(running.pid)
        running.close_input()
        assert running.wait() == 0


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
    path = Init("dumb-init", kind).link(tmp_path / "dumb-init")
    with Running([str(path), *reporter()]) as running:
        running.line()
        comm = Path(f"/proc/{running.pid}/comm")
        children.wait_until(lambda: comm.read_text() == "dumb-init\n", "its name")


def test_it_keeps_no_directory_busy(dumb_init: Init, tmp_path: Path) -> None:
    with dumb_init.start(*reporter(), directory=str(tmp_path)) as running:
        running.line()
        children.wait_until(lambda: os.readlink(f"/proc/{running.pid}/cwd") == "/", "its root")
        (workload,) = children.of(running.pid)
        assert os.readlink(f"/proc/{workload}/cwd") == str(tmp_path)
