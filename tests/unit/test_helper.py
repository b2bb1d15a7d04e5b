"""Programs of the machine that the launcher runs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from spawner import caller
from spawner.errors import SetupError, SyscallError
from spawner.host import programs
from spawner.ids import helpers
from spawner.linux import Kernel

SHELL = "/bin/sh"


def run(*arguments: str, watched: Iterable[int] = ()) -> tuple[int, str, str]:
    return helpers.ask(Kernel(), arguments, watched)


def test_what_a_program_says_and_how_it_ends() -> None:
    assert run(SHELL, "-c", "echo out; echo errors >&2; exit 3") == (
        3,
        "out\n",
        "errors\n",
    )
    assert run(SHELL, "-c", "kill -KILL $$") == (-signal.SIGKILL, "", "")


def test_neither_of_two_full_pipes_waits_for_the_other() -> None:
    code = (
        "import os\nfor _ in range(40):\n    os.write(1, b'x' * 9999)\n    os.write(2, b'y' * 9999)"
    )
    status, out, errors = run(sys.executable, "-c", code)
    assert (status, len(out), len(errors)) == (0, 399960, 399960)


def test_it_speaks_english_and_knows_nothing_of_the_callers_variables() -> None:
    out = run("/usr/bin/env")[1]
    assert sorted(out.split()) == ["LC_ALL=C", f"PATH={programs.DEFAULT_PATH.decode()}"]


def test_it_has_no_input() -> None:
    reader, writer = os.pipe()
    kept = os.dup(0)
    os.dup2(reader, 0)
    try:
        assert run("/bin/cat") == (0, "", "")
    finally:
        os.dup2(kept, 0)
        for descriptor in (kept, reader, writer):
            os.close(descriptor)


def test_a_program_that_can_not_be_run_leaves_no_descriptor(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(SyscallError, match="No such file"):
        run(str(tmp_path / "none"))
    assert os.listdir("/proc/self/fd") == before


@contextlib.contextmanager
def hanging() -> Iterator[tuple[tuple[str, ...], int]]:
    """Give a program that hangs, with a child; at the end of the block both have to be gone.

    It writes to a pipe, whose reading end is given as well.
    """
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    with open(reader, "rb", buffering=0) as file:
        try:
            script = f"sleep 1000 & echo >/proc/self/fd/{writer}; exec sleep 1000"
            yield (SHELL, "-c", script), reader
        finally:
            os.close(writer)
            file.readall()


@pytest.fixture
def blocked() -> Iterator[None]:
    """Block the signals that end pyspawn, as it does, and drop those that have come."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, caller.endings())
    yield
    while signal.sigtimedwait(caller.endings(), 0):
        continue
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.mark.usefixtures("blocked")
def test_a_program_that_hangs_while_a_signal_waits() -> None:
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    with hanging() as (command, _), pytest.raises(SetupError) as caught:
        run(*command)
    assert str(caught.value) == "run sh: got SIGTERM before this step was done"
    assert caught.value.status == 128 + signal.SIGTERM


def test_a_program_that_hangs_and_nobody_waits() -> None:
    with hanging() as (command, lifeline), pytest.raises(SetupError) as caught:
        run(*command, watched=[lifeline])
    assert str(caught.value) == "run sh: pyspawn was told to end before this step was done"


@pytest.mark.usefixtures("blocked")
def test_a_signal_is_left_where_the_program_ends_in_time() -> None:
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    assert run(SHELL, "-c", "echo a") == (0, "a\n", "")
    assert signal.sigpending() == {signal.SIGTERM}


def test_signals_that_end_us_but_for_those_that_are_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert caller.endings() == {signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}
    finally:
        signal.signal(signal.SIGHUP, before)


def test_which_directories_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app").touch(mode=0o644)
    (tmp_path / "bin" / "app").mkdir(parents=True)
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "app").touch(mode=0o755)
    monkeypatch.chdir(tmp_path / "good")
    search = os.fsencode(f"::.:../good:{tmp_path}:{tmp_path}/bin:{tmp_path}/none")
    assert programs.find("app", search) is None
    assert (
        programs.find("app", search + os.fsencode(f":{tmp_path}/good/")) == f"{tmp_path}/good/app"
    )
    assert programs.find("sh", None) == programs.find("sh", b"") is not None


def test_a_command_for_root_names_the_whole_path() -> None:
    """The PATH that sudo(8) has leads to no virtual environment."""
    command = programs.as_root("--version").partition("`")[2].rstrip("`").split()
    assert command[0] == sys.executable
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("pyspawn ")
