"""Why the kernel refused, for real: clocks and paths."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
from helpers import seccomp
from helpers.capabilities import require
from helpers.denials import BECOME_ORDINARY, EPERM, MOUNTS, inside, pyspawn
from helpers.programs import prepared
from helpers.pyspawn import hint_in, hint_of
from helpers.running import run

from spawner import lean


@pytest.mark.parametrize(("clock", "offset"), [("monotonic", -(10**9)), ("boottime", 9 * 10**9)])
def test_a_clock_out_of_its_range(clock: str, offset: int) -> None:
    require("userns")
    ended = run(pyspawn("--time", f"--{clock}", str(offset)))
    message = f"shift the {clock} clock by {offset} s: Numerical result out of range (ERANGE)"
    assert "use an offset nearer to 0" in hint_of(ended, message)


def test_a_working_directory_that_is_missing(tmp_path: Path) -> None:
    require("userns")
    place = tmp_path / "a"
    ended = run(pyspawn("--workdir", f"{place}/b"))
    message = f"change to the directory {place}/b: No such file or directory (ENOENT)"
    hint = hint_of(ended, message)
    assert f"`namei -l {place}/b` shows which part of it isn't there" in hint
    (place / "b").mkdir(parents=True)
    assert run(pyspawn("--workdir", f"{place}/b")).out == b"ran\n"


def test_a_working_directory_that_is_a_file(tmp_path: Path) -> None:
    require("userns")
    place = tmp_path / "file"
    place.touch()
    message = f"change to the directory {place}: Not a directory (ENOTDIR)"
    hint = hint_of(run(pyspawn("--workdir", str(place))), message)
    assert f"`namei -l {place}` shows which part of it is not a directory" in hint


def test_a_working_directory_that_is_closed(tmp_path: Path) -> None:
    require("other-user", "userns")
    place = tmp_path / "closed"
    (place / "below").mkdir(parents=True)
    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(0o755)
    place.chmod(0o700)
    ended = inside(BECOME_ORDINARY, "--workdir", f"{place}/below")
    message = f"change to the directory {place}/below: Permission denied (EACCES)"
    hint = hint_of(ended, message)
    assert f"`namei -l {place}/below` shows the mode and the owner of each part" in hint
    place.chmod(0o701)
    assert inside(BECOME_ORDINARY, "--workdir", f"{place}/below").out == b"ran\n"


def test_an_interpreter_that_the_mapped_root_cannot_reach(tmp_path: Path) -> None:
    """Root reaches it by its capabilities; in a user namespace with one id these end."""
    require("root", "userns")
    place = tmp_path / "closed"
    place.mkdir()
    (place / "python3").symlink_to(sys.executable)
    os.chown(place, 65534, 65534)
    place.chmod(0o700)
    _, *rest = pyspawn("--user", "--init")
    ended = run([f"{place}/python3", *rest])
    message = f"execute the init {place}/python3: Permission denied (EACCES)"
    hint = hint_of(ended, message)
    assert f"`namei -l {place}/python3` shows the mode and the owner of each part" in hint
    assert "another Python, such as /usr/bin/python3" in hint


def test_an_init_on_a_file_system_mounted_noexec() -> None:
    require("userns")
    code = (
        MOUNTS
        + """
import shutil
mount("room", "/mnt", "tmpfs", NOEXEC)
shutil.copy("/bin/true", "/mnt/init")
attempt()
mount(None, "/mnt", None, REMOUNT)
"""
    )
    ended = inside(code, "--init=/mnt/init")
    assert (ended.status, ended.out) == (0, b"125\n"), ended
    hint = hint_in(ended.errors, "execute the init /mnt/init: Permission denied (EACCES)")
    assert "on a file system that isn't mounted noexec" in hint


@pytest.mark.parametrize("options", [[], ["--init"], ["--user"], ["--share=pid"]], ids=" ".join)
def test_nothing_runs_for_which_nobody_could_wait(options: list[str], tmp_path: Path) -> None:
    """The program would be killed, whatever it had done by then."""
    require("seccomp", "pidns")
    code = seccomp.deny(errno.EMFILE, "signalfd", "signalfd4")
    argv = [*lean.pyspawn(), *options, "--", "/bin/sh", "-c", f"echo ran >{tmp_path}/ran"]
    ended = run(prepared(code, argv))
    assert hint_of(ended, "open a signalfd: Too many open files (EMFILE)")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_dispositions_that_can_not_be_set(init: list[str]) -> None:
    require("seccomp")
    hint = hint_of(
        inside(seccomp.deny(errno.EPERM, "rt_sigaction"), *init),
        f"set the disposition of SIGCHLD: {EPERM}",
    )
    assert "a seccomp filter is in force" in hint
    assert "refuses rt_sigaction" in hint
