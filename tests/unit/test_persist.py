"""Who may write to a part of the way to a kept directory leads nobody elsewhere."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spawner.errors import SetupError, SyscallError
from spawner.life.persist import Kept
from spawner.linux import Kernel
from spawner.spec import Namespaces, Spec


@pytest.fixture
def way(tmp_path: Path) -> Path:
    """A symbolic link to a directory."""
    (tmp_path / "real" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    return tmp_path


@pytest.mark.parametrize(
    "call", [lambda path: Kernel().mkdir(path + "x"), lambda path: Kernel().rmdir(path + "below")]
)
@pytest.mark.parametrize("place", ["link/", "real/../link/", "link//./"])
def test_no_link_is_followed(way: Path, call: Callable[[str], Any], place: str) -> None:
    with pytest.raises(SyscallError) as raised:
        call(f"{way}/{place}")
    assert raised.value.errno == errno.ELOOP
    assert [entry.name for entry in (way / "real").iterdir()] == ["below"]


@pytest.mark.parametrize("place", ["{}/real/x", "{}//real/./x/", "real/x", "./real//x//"])
def test_each_way_to_write_a_path(way: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.chdir(way)
    path = place.format(way)
    Kernel().mkdir(path)
    assert (way / "real" / "x").is_dir()
    with pytest.raises(SyscallError) as raised:
        Kernel().mkdir(path)
    assert (raised.value.errno, raised.value.path) == (errno.EEXIST, path)
    Kernel().rmdir(path)
    assert not (way / "real" / "x").exists()
    with pytest.raises(SyscallError) as raised:
        Kernel().rmdir(path)
    assert (raised.value.errno, raised.value.path) == (errno.ENOENT, path)


@pytest.mark.parametrize("path", ["/", "//", ".", "./"])
def test_a_directory_that_is_always_there(path: str) -> None:
    with pytest.raises(SyscallError) as raised:
        Kernel().mkdir(path)
    assert raised.value.errno == errno.EEXIST


def test_a_directory_that_is_replaced_meanwhile(tmp_path: Path) -> None:
    """What is there then isn't touched, and the mount that has gone with the other is told of."""
    mounted = []

    class Mounting(Kernel):
        def mount(self, *words: Any) -> None:
            mounted.append(words[:3])  # and somebody has moved it

    kept = Kept(Spec(("true",), namespaces=Namespaces(["uts"])), str(tmp_path / "x"))
    with pytest.raises(SetupError) as raised:
        kept.step().act(Mounting(), "1")
    assert "another directory or mount has replaced it" in str(raised.value)
    assert raised.value.hint is not None
    assert "pyspawn-persist" in raised.value.hint
    assert len(mounted) == 1
    kept.undo(Mounting())
    assert (tmp_path / "x").is_dir()
