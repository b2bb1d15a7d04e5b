"""Each system call of a start refused once: it works, or fails with one line, and leaves nothing.

The same with a pretended kernel, call by call and without rights, is unit/test_launch_faults.py.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from helpers import injection, workers
from helpers.capabilities import require

PARTS = 3
NEEDED = {
    "user namespace": ("userns",),
    "map-auto": ("root", "other-user", "userns", "newuidmap"),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", injection.CASES)
def test_each_call_refused(case: str) -> None:
    require("pidns", "strace", *NEEDED.get(case, ()))
    tasks = [{"case": case, "part": part, "parts": PARTS} for part in range(PARTS)]
    assert not workers.faults(injection, tasks)


@pytest.mark.parametrize("case", ["run", "exec", "limits", "rights", "mounts", "root", "dev"])
def test_the_trace_has_the_calls_of_a_start(case: str) -> None:
    """So that those which are refused are what makes a container, and none is forgotten."""
    require("pidns", "strace")
    argv = [sys.executable, "-c", f"from helpers import injection; injection.show({case!r})"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    names = subprocess.check_output(argv, env=environment, text=True).split()
    wanted = {"run": "unshare mount clone chdir sethostname",
              "exec": "setns clone fchdir",
              "limits": "prlimit64 setpriority getpriority",
              "rights": "prctl capget capset",
              "mounts": "open_tree mount_setattr fsopen fsconfig fsmount move_mount",
              "root": "open_tree mount_setattr move_mount pivot_root umount2",
              "dev": "open_tree mount_setattr fsopen fsmount move_mount symlinkat"}  # fmt: skip
    assert set(wanted[case].split()) <= set(names)
