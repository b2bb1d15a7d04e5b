"""A file system of the target's that doesn't answer holds nobody but who has to go there."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from helpers import children, fuse
from helpers.programs import Word, prepared
from helpers.running import Lines, Running

from spawner import lean

ENTER = """
libc = ctypes.CDLL(None, use_errno=True)
if libc.setns(os.open("/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC), 0):
    sys.exit("setns")
"""
"""For `prepared`: enter the mount namespace of a target."""


def pyspawn(*words: Word) -> list[Word]:
    return [*lean.pyspawn(), *words]


@pytest.mark.parametrize(
    ("where", "words"),
    [("root", ()), ("directory", ()), ("none", ("--workdir", "{place}/x")), ("none", ())],
    ids=["root", "directory", "workdir", "elsewhere"],
)
def test_the_launcher_goes_where_nobody_answers_through_the_init(
    tmp_path: Path, where: str, words: tuple[str, ...]
) -> None:
    """It looks at neither the root nor a directory: it is there to take signals."""
    reader, writer = os.pipe()
    more = [word.format(place=tmp_path) for word in words]
    with fuse.target(tmp_path, where) as target:
        target.hang()
        argv = pyspawn("exec", str(target.pid), f"--json-status={writer}", *more, "/bin/true")
        with Running(argv, pass_fds=[writer]) as running:
            os.close(writer)
            try:
                event = json.loads(Lines(reader).next())
                assert event["event"] == "created"
                if where != "none" or words:
                    children.wait_until(lambda: hangs(event["host_pid"]), "the init")
                    assert not hangs(running.starter)
                else:
                    assert running.wait() == 0
            finally:
                target.end()
    os.close(reader)


IMPATIENT = lean.lean(
    "import spawner.machine;spawner.machine.LIMIT=0.5;from spawner.__main__ import main;main()"
)
"""A pyspawn that awaits for half a second what it has killed."""


def test_an_init_that_hangs_is_left_and_told(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with fuse.target(tmp_path, "root") as target:
        target.hang()
        words = ["exec", str(target.pid), f"--json-status={writer}", "--stop-timeout=0.1"]
        with Running([*IMPATIENT, *words, "/bin/true"], pass_fds=[writer]) as running:
            os.close(writer)
            try:
                pid = json.loads(Lines(reader).next())["host_pid"]
                children.wait_until(lambda: hangs(pid), "the init")
                os.kill(running.starter, signal.SIGTERM)
                assert running.wait() == 128 + signal.SIGKILL
                assert f"{pid} (" in running.errors()
                assert "state D" in running.errors()
            finally:
                target.end()
    os.close(reader)


PATHS: list[tuple[str, ...]] = [
    ("exec", "{place}", "--"),
    ("exec", "{place}/x", "--net", "--"),
    ("--net={place}/net", "--"),
]


@pytest.mark.parametrize("words", PATHS)
@pytest.mark.parametrize("by", ["signal", "lifeline"])
def test_a_scout_hangs_in_the_launchers_place(
    tmp_path: Path, words: tuple[str, ...], by: str
) -> None:
    reader, writer = os.pipe()
    status, teller = os.pipe()
    with fuse.target(tmp_path, "none") as target:
        target.hang()
        at = words.index("--")
        given = [word.format(place=tmp_path) for word in words]
        given[at:at] = [f"--lifeline={reader}", f"--json-status={teller}"]
        argv = prepared(ENTER.format(pid=target.pid), pyspawn(*given, "/bin/true"))
        with Running(argv, pass_fds=[reader, teller]) as running:
            os.close(teller)
            try:
                children.wait_until(lambda: hanging(running.starter) != [], "the scout")
                (scout,) = hanging(running.starter)
                assert not hangs(running.starter)
                if by == "signal":
                    os.kill(running.starter, signal.SIGTERM)
                else:
                    os.write(writer, b".")
                assert running.wait() == (128 + signal.SIGTERM if by == "signal" else 125)
                message, hint = running.errors().splitlines()
                assert ("got SIGTERM before this step was done" in message) == (by == "signal")
                assert "doesn't answer" in hint
                assert (f"process {scout}," in hint) == (children.state(scout) not in ("", "Z"))
                assert running.out.rest() == b""  # nothing of the caller's is held meanwhile
                assert Lines(status).rest().count(b"\n") == 1
            finally:
                target.end()
    for descriptor in (reader, writer, status):
        os.close(descriptor)


def hanging(pid: int) -> list[int]:
    """Return the children of a process that wait for the file system."""
    return [child for child in children.of(pid) if hangs(child)]


def hangs(pid: int) -> bool:
    """Tell whether a process waits for an answer of the file system."""
    try:
        where = Path(f"/proc/{pid}/wchan").read_text()
    except ProcessLookupError:
        return False
    return where.startswith("request_wait")
