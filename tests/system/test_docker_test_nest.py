"""Whatever ends docker-test, nothing of it is left: no process, mount, cgroup or file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.distribution import CHECKOUT

# In place of engines: a mount, cgroups, and a process that has left its parent and its session. All
# of them hold standard output, whose end of file is the death of the last.
INNER = """
import os, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from enginetest import cgroups
place = Path(sys.argv[1])
(place / "mounted").mkdir()
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place / "mounted"], check=True)
for top in cgroups.hierarchies():
    (top / place.name / "below").mkdir(parents=True)
if os.fork() == 0:
    os.setsid()
    for top in cgroups.hierarchies():
        if top.name in ("pids", "cgroup"):
            (top / place.name / "below" / "cgroup.procs").write_text("0")
    os.write(1, place.name.encode() + b"\\n")
    while True:
        time.sleep(3600)
os.wait()
"""

OUTER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from enginetest import cli, leftovers, materials, nest
def run(names, words, broken, place):
    os.environ[leftovers.MARK] = place.name
    return nest.enter([sys.executable, "-I", "-c", sys.argv[2], str(place), sys.argv[1]])
materials.install_packages = lambda: None
nest.PLACE = Path(sys.argv[3])  # out of the reach of other runs, which sweep
cli.run = run
sys.exit(cli.outside([], [], None))
"""

DOCKER_TEST = str(CHECKOUT / "docker-test")


def started(place: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a run in a directory, wait until its inner side is busy, return it with its name."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", OUTER, DOCKER_TEST, INNER, str(place)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def traces(place: Path, name: str) -> list[str]:
    """Return what can be found of a run."""
    places = [place / name]
    places += [top / name for top in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir())]
    return [str(place) for place in places if place.exists()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    require("root", "pidns", "pids-cgroup", "setpriv")
    process, name = started(tmp_path)
    assert traces(tmp_path, name)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "Left behind: no process, mount, cgroup" in output
    assert traces(tmp_path, name) == []


def test_what_a_killed_run_leaves_goes_with_the_next(tmp_path: Path) -> None:
    require("root", "pidns", "pids-cgroup", "setpriv")
    process, name = started(tmp_path)
    alive, other = started(tmp_path)
    process.kill()
    process.communicate(timeout=60)  # to the end of file: its processes die with it
    assert traces(tmp_path, name)
    sweeping = "import pathlib, sys; sys.path.insert(0, sys.argv[1]); from enginetest import nest; "
    sweeping += "nest.PLACE = pathlib.Path(sys.argv[2]); nest.sweep()"
    subprocess.run([sys.executable, "-I", "-c", sweeping, DOCKER_TEST, str(tmp_path)], check=True)
    assert traces(tmp_path, name) == []
    # One that is alive is not swept.
    assert traces(tmp_path, other)
    os.kill(alive.pid, signal.SIGTERM)
    alive.communicate(timeout=60)
    assert traces(tmp_path, other) == []
