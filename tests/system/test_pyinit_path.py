"""A program is looked up in PATH as by execvp(3)."""

from __future__ import annotations

import select
import stat
from pathlib import Path

import pytest
from helpers.failed_starts import failed, script, with_path
from helpers.places import Place
from helpers.programs import pyinit
from helpers.running import run
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("path", [":/nowhere", "/nowhere:", "/nowhere::/elsewhere", ""])
def test_an_empty_element_of_path_is_the_working_directory(tmp_path: Path, path: str) -> None:
    script(tmp_path / "here", "#!/bin/sh\nexit 31\n")
    assert with_path(path, "here", directory=tmp_path).status == 31


def test_an_unset_path_is_the_systems(tmp_path: Path) -> None:
    assert with_path(None, "true", directory=tmp_path).status == 0
    script(tmp_path / "here", "#!/bin/sh\nexit 31\n")
    failed(with_path(None, "here", directory=tmp_path), 127, "here", "PATH")


def test_the_first_in_path_that_can_be_executed_is_taken(tmp_path: Path) -> None:
    for name, mode in (("a", None), ("b", 0o644), ("c", 0o755), ("d", 0o755)):
        (tmp_path / name).mkdir()
        if mode is not None:
            script(tmp_path / name / "tool", f"#!/bin/sh\necho {name}\n", mode)
    (tmp_path / "file").touch()
    path = ":".join(str(tmp_path / name) for name in ("file", "nothing", "a", "b", "c", "d"))
    assert with_path(path, "tool", directory=tmp_path).out == b"c\n"
    path = f"{tmp_path}/a:{tmp_path}/b:{tmp_path}/nothing"
    failed(with_path(path, "tool", directory=tmp_path), 126, "tool", "EACCES")


DROP_READ_RIGHTS = """
libc = ctypes.CDLL(None)
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: even root keeps to modes
    libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
"""


def test_a_directory_in_path_that_cannot_be_searched_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "open").mkdir()
    script(tmp_path / "closed" / "tool", "#!/bin/sh\n")
    script(tmp_path / "open" / "tool", "#!/bin/sh\nexit 33\n")
    (tmp_path / "closed").chmod(0)
    try:
        path = f"{tmp_path}/closed:{tmp_path}/open"
        ended = with_path(path, "tool", directory=tmp_path, prepare=DROP_READ_RIGHTS)
        assert ended.status == 33
        # Nothing was found, whatever may be in there.
        path = f"{tmp_path}:{tmp_path}/closed:/nowhere"
        ended = with_path(path, "tool", directory=tmp_path, prepare=DROP_READ_RIGHTS)
        failed(ended, 127, "tool", "not found in PATH", f"{tmp_path}/closed")
        # With a slash, it's the one that was meant.
        ended = with_path(path, "closed/tool", directory=tmp_path, prepare=DROP_READ_RIGHTS)
        failed(ended, 126, "closed/tool", "EACCES")
        # What is found further on, and can't be executed, is what is told of.
        (tmp_path / "open" / "tool").chmod(0o644)
        path = f"{tmp_path}/closed:{tmp_path}/open"
        ended = with_path(path, "tool", directory=tmp_path, prepare=DROP_READ_RIGHTS)
        failed(ended, 126, f"{tmp_path}/open/tool", "EACCES", "chmod +x")
    finally:
        (tmp_path / "closed").chmod(stat.S_IRWXU)


def test_a_name_with_a_slash_is_not_looked_for_in_path(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    script(tmp_path / "sub" / "tool", "#!/bin/sh\nexit 34\n")
    assert with_path("/nowhere", "sub/tool", directory=tmp_path).status == 34
    assert with_path(str(tmp_path), "sub/other", directory=tmp_path).status == 127
    assert with_path(str(tmp_path), "./tool", directory=tmp_path).status == 127


@pytest.mark.parametrize("part", [b"a", b"\xff", b"\n", "\U0001f600".encode()])
@pytest.mark.parametrize("before", [b"/", b"echo ", b"A="])
def test_the_reason_stands_behind_any_long_name(place: Place, before: bytes, part: bytes) -> None:
    ended = place.run("--", before + part * 5000)
    assert ended.status == 126
    (line,) = ended.errors.splitlines()
    assert len(line.encode()) < select.PIPE_BUF
    assert "File name too long (ENAMETOOLONG)" in line


@settings(max_examples=15)
@given(name=st.binary(min_size=1, max_size=30).filter(lambda raw: b"\0" not in raw))
def test_any_name_is_told_in_one_whole_line(name: bytes) -> None:
    ended = run(pyinit("--", b"/nowhere/" + name))
    assert ended.status == 127
    assert ended.errors.count("\n") == 1
    assert ended.errors.endswith("\n")
    assert ended.errors.rstrip("\n").isprintable()
