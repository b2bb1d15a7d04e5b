"""What the API tells of changes in overlays."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import spawner
from spawner import PIPE, Change, Mounts, Overlay, Process, aio, run

pytestmark = pytest.mark.usefixtures("pidns", "overlays")

MANY = 3000
"""More lines than a pipe holds."""

SCRIPT = "echo new >new; echo more >>changed; rm -r deleted; ls -l /proc/self/fd"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    found = tmp_path.resolve() / "place"
    (found / "deleted").mkdir(parents=True)
    for name in ("changed", "kept", "deleted/file"):
        (found / name).write_text(name)
    return found


def expected(place: Path) -> tuple[Change, ...]:
    kinds = {"changed": "changed", "deleted": "deleted", "new": "added"}
    return tuple(Change(kind, f"{place}/{name}") for name, kind in kinds.items())


@pytest.mark.parametrize("kept", [False, True])
def test_a_result_has_them_and_the_program_no_descriptor(
    place: Path, tmp_path: Path, *, kept: bool
) -> None:
    upper = tmp_path.resolve() / "upper"
    upper.mkdir()
    overlay = Overlay(place, upper=upper) if kept else Overlay(place, size="1M")
    how: dict[str, Any] = {"mounts": Mounts([overlay]), "cwd": place, "stdout": PIPE}
    before = os.listdir("/proc/self/fd")
    ended = run(["sh", "-c", SCRIPT], changes=True, **how)
    assert ended.changes == expected(place)
    assert b"memfd" not in ended.stdout
    assert os.listdir("/proc/self/fd") == before
    assert sorted(os.listdir(place)) == ["changed", "deleted", "kept"]
    assert run(["true"], **how).changes is None


def test_those_of_a_process_are_there_at_its_end_however_many(place: Path) -> None:
    script = f'read line; i=0; while [ $i -lt {MANY} ]; do : >"$i-$0"; i=$((i+1)); done'
    mounts = Mounts([Overlay(place, size="16M")])
    command = ["sh", "-c", script, "x" * 100]
    with Process(command, mounts=mounts, changes=True, cwd=place, stdin=PIPE) as process:
        assert process.changes is None
        process.communicate(b"\n")
    assert process.changes is not None
    assert {each.kind for each in process.changes} == {"added"}
    assert len({each.path for each in process.changes}) == MANY


def test_asyncio_has_them(place: Path) -> None:
    mounts = Mounts([Overlay(place, size="1M")])
    command = ["sh", "-c", SCRIPT]
    ended = asyncio.run(aio.run(command, mounts=mounts, changes=True, cwd=place, stdout=PIPE))
    assert ended.changes == expected(place)


def test_none_are_none_and_not_told_is_something_else(place: Path) -> None:
    how: dict[str, Any] = {"mounts": Mounts([Overlay(place, size="1M")]), "changes": True}
    assert run(["true"], **how).changes == ()
    process = Process(["sleep", "infinity"], **how)
    os.kill(process._launcher.pid, signal.SIGKILL)
    assert process.wait() == 128 + signal.SIGKILL
    assert process.changes is None


def test_without_an_overlay_they_make_no_sense() -> None:
    for mounts in (None, Mounts([])):
        with pytest.raises(spawner.SpecError, match="there's no overlay") as caught:
            run(["true"], mounts=mounts, changes=True)
        assert caught.value.hint == "give mounts an Overlay"
    with pytest.raises(TypeError, match="changes needs True or False"):
        run(["true"], changes=1)  # type: ignore[arg-type]


def test_a_start_that_fails_leaves_nothing_open(place: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(spawner.ExecError):
        run(["/nonexistent"], mounts=Mounts([Overlay(place, size="1M")]), changes=True)
    assert os.listdir("/proc/self/fd") == before
