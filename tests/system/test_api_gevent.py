"""Under gevent's monkey-patching all works, and who waits lets the other greenlets run."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers.capabilities import require

PROGRAM = """
import os, sys, warnings
warnings.filterwarnings("ignore")  # gevent's own, of what was imported before
if sys.argv[1] == "later":
    import spawner.api.process, spawner.api.dryrun
import gevent, gevent.monkey
gevent.monkey.patch_all()
import spawner

turns = [0]
def take_turns():
    while True:
        turns[0] += 1
        gevent.sleep(0)
taking = gevent.spawn(take_turns)

def run(*args, **options):
    before = turns[0]
    ended = spawner.run(args, **options)
    assert turns[0] > before, args
    return ended

assert spawner.plan(["true"])
assert run("sh", "-c", "exit 3").returncode == 3
for timeout in (None, 60):
    ended = run("cat", input=b"in", capture_output=True, timeout=timeout)
    assert (ended.stdout, ended.stderr) == (b"in", b""), ended
for program, seconds, kind in (
    (["sleep", "inf"], 0.2, spawner.TimeoutExpired), (["nosuch"], 60, spawner.ExecError)
):
    try:
        run(*program, timeout=seconds)
    except kind:
        continue
    raise AssertionError(program)

# One waits for another, so they have to run at once.
reader, writer = os.pipe()
first = gevent.spawn(spawner.run, ["cat"], stdin=reader, stdout=spawner.PIPE)
second = gevent.spawn(spawner.run, ["echo", "hello"], stdout=writer)
second.join()
os.close(writer)
gevent.sleep(0)
first.join()
os.close(reader)
assert first.value.stdout == b"hello\\n"

with spawner.Process(["sleep", "inf"]) as process:
    process.kill()
assert process.returncode == 137
assert spawner.run(["true"]).returncode == 0
print("all well")
"""


@pytest.mark.parametrize("when", ["before", "later"])
def test_all_works_in_greenlets(when: str) -> None:
    require("pidns", "gevent")
    argv = [sys.executable, "-c", PROGRAM, when]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=100)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "all well\n", "")
