"""A fork finds no module of the API half imported, where another thread is at it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.children import SAFETY_SECONDS

import spawner

HALF = """
import os, sys, threading
sys.path.insert(0, sys.argv[1])
import spawner
exec(sys.argv[3])

importing, forked = threading.Event(), threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[2] and not importing.is_set():
            importing.set()
            forked.wait(0.3)  # which has to wait for us: so this is over in vain

sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=exec, args=(sys.argv[4], {"spawner": spawner}), daemon=True)
thread.start()
importing.wait()
os.register_at_fork(after_in_parent=forked.set)
child = os.fork()
if child == 0:
    exec(sys.argv[4])
    os._exit(0)
pidfd = os.pidfd_open(child)
import select
if not select.select([pidfd], [], [], float(sys.argv[5]))[0]:
    os.kill(child, 9)
thread.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

REFUSED = """
try:
    spawner.run(["true"], unshare="nosuch")
except spawner.SpecError:
    pass
"""

TOLD = """
from spawner.api import ties
event = {"event": "failed", "stage": "init", "syscall": None, "errno": None, "path": None}
ties.failure(event | {"message": "no", "hint": None, "status": 125})
"""


@pytest.mark.parametrize(
    ("module", "first", "action"),
    [
        ("spawner.api.process", "", "spawner.run"),
        ("spawner.api.ties", "", "spawner.Process"),
        ("spawner.net.network", "spawner.run", "spawner.plan(['true'], network='none')"),
        ("spawner.api.wording", "spawner.run", REFUSED),
        ("spawner.api.wording", "spawner.run", TOLD),
    ],
    ids=["run", "Process", "network", "refused", "told"],
)
def test_a_fork_waits_for_an_import(module: str, first: str, action: str) -> None:
    place = str(Path(spawner.__file__).parent.parent)
    # Python's own warning of forks and threads is what this is about.
    argv = [
        sys.executable,
        "-W",
        "ignore::DeprecationWarning",
        "-c",
        HALF,
        place,
        module,
        first,
        action,
        str(SAFETY_SECONDS / 3),
    ]
    ended = subprocess.run(argv, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
