"""A directory is opened through no symbolic link, whatever the path looks like."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.kernels import open_descriptors
from hypothesis import given
from hypothesis import strategies as st

from spawner.errors import SyscallError
from spawner.host.paths import follow_directory, open_directory
from spawner.linux import Kernel


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tree of directories, with links that lead up, down, out, nowhere and round."""
    place = tmp_path_factory.mktemp("tree").resolve()
    (place / "a/a/a").mkdir(parents=True)
    (place / "a/b").mkdir()
    (place / "a/file").touch()
    for name, target in (("up", ".."), ("down", "a"), ("out", "/etc"), ("none", "x"), ("me", "me")):
        (place / "a" / name).symlink_to(target)
    here = os.open(".", os.O_RDONLY)
    os.chdir(place)
    yield place
    os.fchdir(here)
    os.close(here)


PARTS = st.sampled_from(["a", "a", "a", "b", "file", "up", "down", "out", "none", "me", "x",
                         ".", "..", ""])  # fmt: skip


def expected(path: str) -> tuple[str, int] | None:
    """Return the part that refuses and the errno, by a look at each part in turn."""
    place = ""
    for word in path.split("/"):
        if word in ("", "."):
            continue
        place = f"{place}/{word}" if place else word
        if not os.path.lexists(place):
            return place, errno.ENOENT
        if os.path.islink(place):
            return place, errno.ELOOP
        if not os.path.isdir(place):
            return place, errno.ENOTDIR
    return None


@given(st.lists(PARTS, max_size=6).map("/".join))
def test_every_path(tree: Path, path: str) -> None:
    path = f"./{path}"
    before = open_descriptors()
    refused = expected(path)
    if refused is not None:
        with pytest.raises(OSError, match=re.escape(os.strerror(refused[1]))) as caught:
            open_directory(path)
        assert (caught.value.filename, caught.value.errno) == refused
    else:
        found = open_directory(path)
        assert os.path.samestat(os.fstat(found), os.stat(path))
        assert not os.get_inheritable(found)
        os.close(found)
    assert open_descriptors() == before


def test_a_path_from_the_root(tree: Path) -> None:
    found = open_directory(f"{tree}//a/./b/")
    assert os.path.samestat(os.fstat(found), (tree / "a/b").stat())
    os.close(found)
    with pytest.raises(OSError, match="symbolic links") as caught:
        open_directory(f"{tree}/a/out/ssl")
    assert caught.value.filename == f"{tree}/a/out"


def test_the_root_itself() -> None:
    found = open_directory("/")
    assert os.path.samestat(os.fstat(found), os.stat("/"))
    os.close(found)


def test_a_refusal_names_the_system_call(tree: Path) -> None:
    with pytest.raises(SyscallError) as caught:
        Kernel().open_directory("a/up/a")
    assert (caught.value.syscall, caught.value.errno, caught.value.path) == (
        "openat", errno.ELOOP, "a/up",
    )  # fmt: skip


@given(st.lists(PARTS, max_size=8).map("/".join), st.booleans())
def test_a_path_is_followed_as_the_kernel_does(tree: Path, path: str, absolute: bool) -> None:
    path = f"{tree}/{path}" if absolute else f"./{path}"
    before = open_descriptors()
    assert reached(follow_directory, path) == reached(opened, path)
    assert open_descriptors() == before


def opened(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY)


def reached(function: Callable[[str], int], path: str) -> tuple[int, int] | int | None:
    """Return the directory that it opens, or the errno where it's refused."""
    try:
        found = function(path)
    except OSError as error:
        return error.errno
    status = os.fstat(found)
    assert not os.get_inheritable(found)
    os.close(found)
    return status.st_dev, status.st_ino


def test_a_link_of_proc_leads_where_its_text_says(tmp_path: Path) -> None:
    """And so not to what is open, whatever has its name by now."""
    place = tmp_path / "place"
    place.mkdir()
    held = os.open(place, os.O_PATH)
    link = f"/proc/self/fd/{held}"
    found = follow_directory(link)
    assert os.path.samestat(os.fstat(found), os.fstat(held))
    os.close(found)
    place.rmdir()
    with pytest.raises(FileNotFoundError):
        follow_directory(link)
    (tmp_path / "place (deleted)").mkdir()
    found = follow_directory(f"{link}/.")
    assert not os.path.samestat(os.fstat(found), os.fstat(held))
    os.close(found)
    os.close(held)
