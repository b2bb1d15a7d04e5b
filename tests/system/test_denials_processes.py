"""Why the kernel refused, for real: processes and descriptors."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.denials import BECOME_ORDINARY, ROOM, inside, mended, require_ordinary
from helpers.pyspawn import hint_of
from helpers.running import run

from spawner import lean


@contextlib.contextmanager
def pids_group() -> Iterator[Path]:
    """Make a control group with the pids controller, and remove it."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ")[:3]
        if kind == "cgroup2" or (kind == "cgroup" and "pids" in options.split(",")):
            group = Path(before.split(" ")[4], f"pidone-{uuid.uuid4().hex}")
            try:
                group.mkdir()
            except OSError:
                continue
            if (group / "pids.max").exists():
                try:
                    yield group
                finally:
                    group.rmdir()
                return
            group.rmdir()
    pytest.skip("missing capability pids: no pids controller that may be used")


@pytest.mark.parametrize(("limit", "step"), [(1, "fork the stage"), (2, "fork the init")])
def test_pids_max_is_reached(limit: int, step: str) -> None:
    require("root")
    with pids_group() as group:
        code = (
            ROOM
            + f"""
pid = os.fork()
if pid == 0:
    write("{group}/cgroup.procs", "0")
    write("{group}/pids.max", "{limit}")
    os.execv(argv[0], argv)
os.write(1, b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
write("{group}/pids.max", "20")
write("{group}/cgroup.procs", "0")
"""
        )
        ended = inside(code, "--user")
        message = f"{step}: Resource temporarily unavailable (EAGAIN)"
        hint = mended(ended, message)
        assert f"pids.max of {group}, {limit}, is reached" in hint
        assert (group / "cgroup.procs").read_text() == ""


def test_pids_max_is_reached_inside() -> None:
    """pyinit is there, and can't fork: it tells pyspawn, which says so once."""
    require("root")
    with pids_group() as group:
        code = f"""
import os, sys
with open("{group}/cgroup.procs", "w") as file:
    file.write("0")
with open("{group}/pids.max", "w") as file:
    file.write("2")
os.execv(sys.argv[1], sys.argv[1:])
"""
        ended = run([sys.executable, "-c", code, *lean.pyspawn(), "--init", "--", "true"])
        assert ended.status == 125
        message, hint = ended.errors.splitlines()
        assert message == (
            "pyspawn: fork the program's process: Resource temporarily unavailable (EAGAIN)"
        )
        assert f"pids.max of {group}, 2, is reached" in hint
        assert (group / "cgroup.procs").read_text() == ""


def test_a_limit_on_the_processes_of_a_user() -> None:
    require_ordinary()
    code = (
        BECOME_ORDINARY
        + """
soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
"""
    )
    ended = inside(code)
    hint = hint_of(ended, "fork the stage: Resource temporarily unavailable (EAGAIN)")
    assert "`ulimit -u`" in hint


@pytest.mark.parametrize("words", [[], ["--init"], ["--user", "--init"], ["--share", "pid"]])
def test_no_descriptor_left(words: list[str]) -> None:
    """Whatever the limit: pyspawn runs, or one line says what it lacks; it's never a traceback."""
    require("userns")
    statuses = set()
    for limit in range(4, 24):
        code = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
        ended = inside(code, *words)
        statuses.add(ended.status)
        if ended.status == 125:
            first, second = ended.errors.splitlines()
            assert first.startswith("pyspawn: ")
            assert first.endswith("Too many open files (EMFILE)")
            assert "`ulimit -n`" in second
        else:
            assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", ""), limit
    assert statuses == {0, 125}
