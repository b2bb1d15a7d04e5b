"""`--mount-proc`: where a /proc goes, and that nobody can lead it astray."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.pyspawn import ROOT, sh
from helpers.running import run

from spawner import lean


def test_proc_elsewhere(tmp_path: Path) -> None:
    require("pidns")
    script = f"cd {tmp_path} && echo [0-9]*; readlink /proc/self"
    shown, outer = sh(script, f"--mount-proc={tmp_path}").out.split()
    assert (shown, outer != b"1") == (b"1", True)
    assert list(tmp_path.iterdir()) == []


def test_proc_in_a_directory_named_from_here(tmp_path: Path) -> None:
    require("pidns")
    (tmp_path / "a/b").mkdir(parents=True)
    argv = [*lean.pyspawn(), "--mount-proc=a/../a/b/.", "--", "/bin/sh", "-c",
            "pwd; cd a/b && echo [0-9]*"]  # fmt: skip
    assert run(argv, directory=str(tmp_path)).out.decode() == f"{tmp_path}\n1\n"


def test_mount_proc_makes_a_mount_namespace() -> None:
    require("pidns")
    alone = ["--share=all", "--mount-proc", "--pid", *([] if ROOT else ["--user"])]
    assert sh("cd /proc && echo [0-9]*", *alone).out == b"1\n"


def test_the_proc_of_the_pid_namespace_around() -> None:
    require("root")
    ended = sh("readlink /proc/self; grep -c ' /proc ' /proc/self/mountinfo",
               "--share=pid", "--mount-proc")  # fmt: skip
    number, procs = ended.out.split()
    assert int(number) > 1
    assert int(procs) >= 2


def test_a_user_namespace_has_no_right_to_the_processes_around() -> None:
    require("userns")
    ended = sh("true", "--user", "--share=pid", "--mount-proc")
    assert ended.status == 125
    message, hint = ended.errors.splitlines()
    assert message == "pyspawn: mount proc on /proc: Operation not permitted (EPERM)"
    assert "--pid" in hint
    heeded = sh("cd /proc && echo [0-9]*", "--user", "--pid", "--mount-proc")
    assert heeded.out == b"1\n"


def refused(where: Path | str) -> tuple[str, str]:
    ended = sh("echo ran", f"--mount-proc={where}")
    assert (ended.status, ended.out) == (125, b""), ended
    message, hint = ended.errors.splitlines()
    start = f"pyspawn: mount proc on {where}: "
    assert message.startswith(start)
    return message.removeprefix(start), hint


def test_no_such_directory(tmp_path: Path) -> None:
    require("pidns")
    reason, hint = refused(tmp_path / "a/b")
    assert reason == "No such file or directory (ENOENT)"
    assert f"`namei -l {tmp_path}/a/b` shows which part of it isn't there" in hint
    assert "--mount-proc" in hint
    (tmp_path / "a/b").mkdir(parents=True)
    assert sh("echo ran", f"--mount-proc={tmp_path}/a/b").out == b"ran\n"


@pytest.mark.parametrize("below", ["", "/b"])
def test_no_directory(tmp_path: Path, below: str) -> None:
    require("pidns")
    (tmp_path / "a").touch()
    reason, hint = refused(f"{tmp_path}/a{below}")
    assert reason == "Not a directory (ENOTDIR)"
    assert f"`namei -l {tmp_path}/a{below}` shows which part of it is not a directory" in hint


@pytest.mark.parametrize("below", ["", "/b"])
def test_a_symbolic_link(tmp_path: Path, below: str) -> None:
    """Where it leads is up to who made it: over /etc, as the case may be."""
    require("pidns")
    (tmp_path / "real/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    reason, hint = refused(f"{tmp_path}/link{below}")
    assert reason == "Too many levels of symbolic links (ELOOP)"
    assert f"{tmp_path}/link is a symbolic link" in hint
    real = os.path.realpath(f"{tmp_path}/link{below}")
    assert sh("echo ran", f"--mount-proc={real}").out == b"ran\n"


def test_an_empty_path() -> None:
    ended = sh("true", "--mount-proc=")
    assert ended.status == 125
    assert "empty path" in ended.errors


@pytest.mark.parametrize("option", ["--share=mount", "--unshare-try=mount"])
def test_proc_without_a_mount_namespace_is_refused(option: str) -> None:
    ended = sh("true", "--mount-proc", option)
    assert ended.status == 125
    assert ended.errors.splitlines()[0].endswith(
        "mounting proc on /proc needs a new mount namespace"
    )


def test_handlers_of_binary_formats_are_left_alone() -> None:
    """They're the machine's, in or out of sight: binfmt_misc is neither mounted nor changed."""
    require("pidns")
    before = [line for line in Path("/proc/self/mountinfo").read_text().splitlines()
              if "binfmt_misc" in line]  # fmt: skip
    ended = sh("grep -c binfmt_misc /proc/self/mountinfo")
    assert int(ended.out) == len(before)
