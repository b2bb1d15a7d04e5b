"""However pyinit is started, the workload finds the same."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.programs import PLACE, Word, prepared, pyinit
from helpers.running import run
from helpers.transparency import EXEC_WITH, signal_state, status_of


@pytest.fixture(params=["-m", "copied directory", "without UTF-8 mode"])
def other_start(request: pytest.FixtureRequest, tmp_path: Path) -> list[Word]:
    """Return the argv that starts pyinit in a way that is not the lean one."""
    package = Path(PLACE, "pyinit")
    if request.param == "-m":
        return ["/usr/bin/env", f"PYTHONPATH={PLACE}", sys.executable, "-m", "pyinit"]
    if request.param == "without UTF-8 mode":
        return [word for word in pyinit() if word not in ("-X", "utf8")]
    shutil.copytree(package, tmp_path / "pyinit", ignore=shutil.ignore_patterns("__pycache__"))
    return [sys.executable, "-I", "-S", str(tmp_path / "pyinit" / "__main__.py")]


def test_other_starts_keep_signal_state_and_arguments(other_start: list[Word]) -> None:
    prepare = signal_state({signal.SIGUSR1, signal.SIGRTMIN}, {signal.SIGHUP, signal.SIGCHLD})
    for argument in ("--handover=mask=0", "--handover"):
        workload: list[Word] = ["/bin/sh", "-c", "cat /proc/self/status", argument]
        ours = run(prepared(prepare, ["/usr/bin/env", *other_start, "--", *workload]))
        bare = run(prepared(prepare, workload))
        assert status_of(ours) == status_of(bare)


def test_other_starts_keep_the_environment(other_start: list[Word]) -> None:
    entries = [b"LANG=C", b"A=1", b"A=\xff", b"no equals sign", b"LISTEN_PID=1", b"PYTHONUTF8=0"]
    code = EXEC_WITH.format(entries=entries)
    workload: list[Word] = ["/bin/cat", "/proc/self/environ"]
    if other_start[0] == "/usr/bin/env":  # here it's the start itself that needs a variable
        entries.append(str(other_start[1]).encode())
        code = EXEC_WITH.format(entries=entries)
        other_start = other_start[2:]
    ended = run(prepared(code, [*other_start, "--", *workload]))
    assert ended.out.split(b"\0")[:-1] == entries


def test_other_starts_end_up_in_the_same_lean_interpreter(other_start: list[Word]) -> None:
    require("strace")
    strace: list[Word] = ["strace", "-f", "-qq", "-s", "9999", "-e", "trace=execve"]
    ended = run([*strace, *other_start, "--", "/bin/true"])
    calls = [line for line in ended.errors.splitlines() if line.endswith(" = 0")]
    assert ended.status == 0
    assert '"-I", "-S"' in calls[-2]
    assert '["/bin/true"]' in calls[-1]
