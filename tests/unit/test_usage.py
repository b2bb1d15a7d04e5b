"""What a control group has counted, and which limit has ended the program by that."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spawner.api import resources
from spawner.errors import unmarked
from spawner.limit import usage, zombies
from spawner.limit.limits import Limits
from spawner.limit.places import Place
from spawner.tell import report

LIMITS = Limits(memory="64M", pids=64)
NOTHING: dict[str, Any] = {
    "cgroup": "v2", "memory_peak": 1 << 26, "oom_kills": 0, "pids_peak": 64, "pids_refused": 0,
    "cpu_seconds": 0.5,
}  # fmt: skip

FILES = {
    1: {
        "memory.max_usage_in_bytes": "4096\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        "pids.peak": "7\n",
        "pids.events": "max 2\n",
        "cpuacct.usage": "1500000000\n",
    },
    2: {
        "memory.peak": "4096\n",
        "memory.events": "low 0\nhigh 0\nmax 9\noom 3\noom_kill 3\noom_group_kill 0\n",
        "pids.peak": "7\n",
        "pids.events": "max 2\n",
        "cpu.stat": "usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n",
    },
}


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_read(tmp_path: Path, version: int) -> None:
    for name, text in FILES[version].items():
        (tmp_path / name).write_text(text)
    found = usage.read([(Place(version, str(tmp_path), ()), str(tmp_path))])
    assert found == {
        "cgroup": f"v{version}", "memory_peak": 4096, "oom_kills": 3, "pids_peak": 7,
        "pids_refused": 2, "cpu_seconds": 1.5, "zombies": None,
    }  # fmt: skip
    told = resources.told({"event": "resources", **found})
    assert told is not None
    assert (told.cgroup, told.oom_kills, told.cpu_seconds) == (f"v{version}", 3, 1.5)
    words = "4096 bytes of memory at most, 7 processes and threads at most, 1.5 s of processor time"
    assert report.used(found) == f"the container has used {words}"


def test_what_the_kernel_does_not_tell(tmp_path: Path) -> None:
    (tmp_path / "pids.peak").write_text("many\n")
    found = usage.read([(Place(2, str(tmp_path), ()), str(tmp_path))])
    assert found == {"cgroup": "v2", **dict.fromkeys([*found][1:])}
    assert len(found) == 7
    assert report.used(found) == "the container has used what nothing has counted"
    assert usage.met(LIMITS, found, 1, killed=False, reaps=True) is None
    assert resources.told(None) is None


@pytest.mark.parametrize(
    ("used", "status", "killed", "limit", "words"),
    [
        ({"oom_kills": 1}, 137, True, "memory", "the program was killed by --memory: the "),
        ({"oom_kills": 1}, 137, False, "memory", "1 process of the container was killed by"),
        ({"oom_kills": 2}, 0, False, "", "2 processes of the container were killed by --memory"),
        ({"oom_kills": 1, "memory_peak": 1 << 20}, 137, True, "", "memory ran out on the host, or"),
        ({"oom_kills": 1, "memory_peak": None}, 137, True, "memory", "killed by --memory"),
        ({"pids_refused": 5}, 2, False, "pids", "forks were refused by --pids-limit"),
        ({"pids_refused": 5}, 134, False, "", "forks were refused by --pids-limit"),
        ({"pids_refused": 5, "pids_peak": None}, 2, False, "pids", "forks were refused by"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("reaps", [True, False])
def test_the_limit_that_was_met(
    used: dict[str, Any], status: int, killed: bool, limit: str, words: str, reaps: bool
) -> None:
    found = usage.met(LIMITS, {**NOTHING, **used}, status, killed, reaps=reaps)
    assert found is not None
    assert found[0] == limit
    assert words in unmarked(found[1])
    assert ("without --init" in unmarked(found[1])) is ("forks" in words and not reaps)


@pytest.mark.parametrize(
    ("limits", "used", "status"),
    [
        (LIMITS, {}, 1),
        (LIMITS, {"pids_refused": 5}, 0),
        (LIMITS, {"pids_refused": 5, "pids_peak": 60}, 1),  # a group above has refused it
        (Limits(memory="64M"), {"pids_refused": 5}, 1),
    ],
)
def test_no_limit_was_met(limits: Limits, used: dict[str, Any], status: int) -> None:
    assert usage.met(limits, {**NOTHING, **used}, status, killed=False, reaps=True) is None


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (1 << 30, "1G"),
        (1 << 26, "64M"),
        (65536, "64K"),
        (1000, "1000 bytes"),
        (1536 << 20, "1536M"),
    ],
)
def test_sizes_as_they_would_be_typed(amount: int, text: str) -> None:
    assert usage.size(amount) == text


def test_what_is_left_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    report.Report().left(None, "remove the control group /x: Permission denied (EACCES)")
    assert capfd.readouterr().err == (
        "pyspawn: remove the control group /x: Permission denied (EACCES)\n"
    )


def test_the_first_refusal_makes_a_descriptor_readable(tmp_path: Path) -> None:
    (tmp_path / "pids.events").write_text("max 0\n")
    held = zombies.watch(str(tmp_path / "pids.events"))
    assert select.select([held], [], [], 0)[0] == []
    (tmp_path / "pids.events").write_text("max 1\n")
    assert select.select([held], [], [])[0] == [held]
    os.close(held)
    assert zombies.watch(str(tmp_path / "none")) == -1


def test_whose_zombies_there_are() -> None:
    code = "import os, sys\nfor _ in range(3):\n  if not os.fork(): os._exit(0)\n"
    code += "os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT); print(flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while (found := zombies.count([process.pid, os.getpid()]))[0] < 3:
            os.sched_yield()
        assert found[1].endswith(f" (process {process.pid})")
    assert zombies.count([process.pid]) == (0, "")
    used = {**NOTHING, "pids_refused": 1}
    met = usage.met(LIMITS, used, 1, killed=False, zombies=(3, "sh (process 5)"), reaps=True)
    assert met is not None
    assert met[1].endswith(
        "64 processes and threads, 3 of them zombies, children of sh (process 5)"
    )
