"""`--time-limit`: everything is killed when the time is over, whoever stands in the way."""

from __future__ import annotations

import asyncio
import os
import pickle
import select
import signal
from pathlib import Path

import pytest
from helpers.programs import python
from helpers.pyspawn import each_shape, pyspawn, said, sh, spawn, status_of
from helpers.running import Running

import spawner
from spawner import aio

pytestmark = pytest.mark.usefixtures("pidns")

STUBBORN = "trap '' TERM HUP INT; sleep 1000 & sleep 1000 & wait; sleep 1000"
SHORT = "--time-limit=0.2"
OVER = "pyspawn: the program was killed by --time-limit: it has run for 0.2 s"


@each_shape
def test_everything_is_killed(options: list[str]) -> None:
    """The end of its output, which every one of them holds, is the end of all of them."""
    ended = sh(STUBBORN, *options, SHORT, "--stop-timeout=infinity")
    assert (ended.status, ended.out, said(ended)) == (137, b"", [OVER])


@pytest.mark.parametrize("options", [[], ["--init"], ["--share=pid"]])
def test_programs_are_told_which_limit_it_was(options: list[str]) -> None:
    ended, events = status_of(SHORT, *options, "--", "/bin/sleep", "1000")
    assert (ended.status, said(ended)) == (137, [OVER])
    assert events[-1] == {"event": "exited", "status": 137, "signal": "SIGKILL", "limit": "time"}


@pytest.mark.parametrize("how", ["exit 3", "kill -9 $$"])
def test_what_ends_in_time_ends_as_it_does(how: str) -> None:
    ended, events = status_of("--time-limit=1000", "--init", "--", "/bin/sh", "-c", how)
    status, name = (3, None) if how == "exit 3" else (137, "SIGKILL")
    assert (ended.status, said(ended)) == (status, [])
    assert events[-1] == {"event": "exited", "status": status, "signal": name, "limit": None}


@pytest.mark.parametrize("options", [["--init"], ["--share=pid"]])
def test_a_flood_of_signals_does_not_hold_it_up(options: list[str]) -> None:
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"
        "os.write(1, b'on\\n')\n"
        "signal.pause()\n"
    )
    with Running(pyspawn(SHORT, *options, "--", *python(code))) as running:
        assert running.line() in ("on", "")  # where the host is busy, the time is over already
        pidfd = os.pidfd_open(running.starter)
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        while not ended.poll(0):
            os.kill(running.starter, signal.SIGUSR1)
        os.close(pidfd)
        assert running.wait() == 137
        assert running.errors() == f"{OVER}\n"


def test_a_launcher_that_is_stopped_meanwhile_kills_when_it_goes_on() -> None:
    with Running(pyspawn(SHORT, "--init", "--", "/bin/sleep", "1000")) as running:
        os.kill(running.starter, signal.SIGSTOP)
        os.waitid(os.P_PID, running.starter, os.WSTOPPED | os.WNOWAIT)
        os.kill(running.starter, signal.SIGCONT)
        assert running.wait() == 137
        assert running.errors() == f"{OVER}\n"


def test_a_program_that_is_stopped_is_killed_as_well() -> None:
    ended = sh("kill -STOP $$", SHORT, "--init")
    assert (ended.status, said(ended)) == (137, [OVER])


def test_a_join_has_one_too() -> None:
    with spawner.Process(["cat"], stdin=spawner.PIPE) as process:
        ended = spawn("exec", str(process.pid), SHORT, "--", "/bin/sh", "-c", STUBBORN)
        assert (ended.status, ended.out, said(ended)) == (137, b"", [OVER])
        assert process.poll() is None


# From Python

LIMITS = spawner.Limits(time=0.2)


@pytest.mark.parametrize("init", [True, False])
def test_run(init: bool) -> None:
    ended = spawner.run(["sleep", "1000"], limits=LIMITS, init=init)
    assert (ended.returncode, ended.signal, ended.limit) == (137, signal.SIGKILL, "time")
    assert spawner.run(["true"], limits=spawner.Limits(time=1000)).limit is None


def test_the_process_and_its_error() -> None:
    with spawner.Process(["sleep", "1000"], limits=LIMITS) as process:
        assert process.limit is None
        assert process.wait() == 137
        assert process.limit == "time"
    with pytest.raises(spawner.CalledProcessError) as caught:
        spawner.check_output(["sleep", "1000"], limits=LIMITS)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert error.limit == "time"
        assert str(error) == "Command '['sleep', '1000']' was ended by its limit on time."


def test_the_twin_for_asyncio() -> None:
    ended = asyncio.run(aio.run(["sleep", "1000"], limits=LIMITS))
    assert (ended.returncode, ended.limit) == (137, "time")


# Deaths by other limits


def test_a_program_that_a_limit_kills_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    ended = sh(f"exec head -c 100 /dev/zero >{file}", "--init", "--rlimit=fsize=10")
    line = "the program was killed by SIGXFSZ: it wrote a larger file than is allowed by"
    assert (ended.status, said(ended)) == (153, [f"pyspawn: {line} the limit fsize=10"])
    assert file.stat().st_size == 10
    ended, events = status_of("--rlimit=as=64K", "--", "/bin/true")
    (line,) = said(ended)
    assert line.startswith(
        "pyspawn: the program was killed by SIGSEGV, which can also be caused by "
    )
    assert line.endswith("see the limit as=65536")
    assert (ended.status, events[-1]["limit"]) == (139, None)
