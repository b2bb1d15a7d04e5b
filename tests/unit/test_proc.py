"""What is read of /proc, and how it is taken apart, whatever names stand in it."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.errors import SyscallError
from spawner.host import proc

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0\n\\/"), min_size=1)
"""Names as /proc shows them, which escapes line feeds and backslashes."""


@given(NAMES)
def test_no_name_of_a_process_adds_a_field(name: str) -> None:
    found = proc.fields(f"Name:\t{name}\nUid:\t1\t2\t3\t4\n")
    assert found["Uid"] == "1\t2\t3\t4"
    assert set(found) == {"Name", "Uid", ""}


@given(NAMES.map(lambda name: name.replace(" ", "\\040").replace("\t", "\\011")))
def test_a_mount_point_may_have_any_name(name: str) -> None:
    lines = f"23 1 0:21 / /{name} rw,nosuid shared:1 - tmpfs some rw,size=1\nnonsense\n"
    (found,) = proc.mounts(lines)
    assert found.point == f"/{name}".replace("\\040", " ").replace("\\011", "\t")
    assert (found.number, found.root, found.kind, found.source) == ("23", "/", "tmpfs", "some")
    assert found.options == ["rw", "nosuid"]


@pytest.mark.parametrize(("sets", "held"), [("80", True), ("7f", False), ("", None), ("x", None)])
def test_a_capability_is_held_or_not_or_nobody_says(sets: str, held: bool | None) -> None:
    assert proc.holds({"CapEff": sets}, "CAP_SETUID") is held


def test_the_first_bytes_of_a_file_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b"x" * 200_000)
    assert len(proc.read(str(path))) == 200_000
    assert 10 <= len(proc.read(str(path), most=10)) < 200_000


def test_who_reads_says_which_call_was_refused(tmp_path: Path) -> None:
    with pytest.raises(SyscallError) as opened:
        proc.read(str(tmp_path / "none"))
    with pytest.raises(SyscallError) as was_read:
        proc.read(str(tmp_path))
    assert (opened.value.syscall, opened.value.errno) == ("openat", errno.ENOENT)
    assert (was_read.value.syscall, was_read.value.errno) == ("read", errno.EISDIR)
    assert was_read.value.path == str(tmp_path)


def test_a_file_that_is_not_there_has_no_contents(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert proc.contents(str(tmp_path / "none")) == ""
    assert proc.contents(str(tmp_path / "file" / "below")) == ""
    with pytest.raises(SyscallError):
        proc.contents(str(tmp_path))


def test_nothing_that_lies_in_the_place_of_a_file_holds_us(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert proc.read(str(tmp_path / "fifo")) == b""


def test_a_process_that_is_gone_shows_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert proc.stat(process.pid) == []
    assert proc.children(process.pid) == []


def test_a_pidfd_tells_the_end() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        pidfd = os.pidfd_open(process.pid)
        assert not proc.has_ended(pidfd)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert proc.has_ended(pidfd)
        os.close(pidfd)
