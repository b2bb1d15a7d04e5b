"""Why the kernel refused: paths."""

from __future__ import annotations

import errno
import stat

import pytest
from helpers.machines import DEFAULTS, Fake, failed, spec, why

from spawner.errors import INIT, mark
from spawner.why import paths, rules


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOENT, "which part of it isn't there"),
        (errno.ENOTDIR, "which part of it is not a directory"),
        (errno.EACCES, "the mode and the owner of each part"),
        (errno.ELOOP, "symbolic links in the path form a loop"),
    ],
)
def test_a_working_directory_on_whose_way_something_refuses(number: int, words: str) -> None:
    found = why(Fake(), failed(number, "chdir", path="/srv/a/b"))
    assert "`namei -l /srv/a/b`" in found
    assert words in found
    assert "--workdir" in found


def test_an_init_that_is_not_executable() -> None:
    error = failed(errno.EACCES, "execve", path="/init", stage=INIT)
    found = why(Fake(), error, init="/init")
    assert "noexec" in found
    assert "--init=PATH" in found


def test_an_interpreter_in_a_closed_directory() -> None:
    error = failed(errno.EACCES, "execve", path="/root/python", stage=INIT)
    assert "another Python, such as /usr/bin/python3" in why(Fake(), error, init="")


def test_a_path_with_a_line_break_stays_on_one_line() -> None:
    assert r"/a\nb" in why(Fake(), failed(errno.ENOENT, "chdir", path="/a\nb"))


@pytest.mark.parametrize(("mode", "told"), [(0o700, True), (0o750, True), (0o755, False)])
def test_a_root_that_not_everybody_may_search(mode: int, told: bool) -> None:
    machine = Fake()
    machine.add("/image", stat.S_IFDIR | mode)
    error = failed(errno.EACCES, "openat", path="/proc/self/status", stage=INIT)
    asked = spec(*DEFAULTS, root="/image")
    assert ("`chmod a+x /image`" in (rules.why(error, asked, machine) or "")) == told


def test_a_mount_in_the_words_of_docker_is_no_namespace() -> None:
    hint = paths._in_other_words("mount", "type=bind,src=/a,dst=/b")
    assert hint == f"to mount something, use {mark('--bind SRC DST')} or {mark('--tmpfs DST')}"
