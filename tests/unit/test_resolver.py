"""The name server inside: what its file says, and how it's put in place."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.backends import Acting
from helpers.kernels import Recording
from hypothesis import given
from hypothesis import strategies as st

from spawner import making
from spawner.errors import SetupError, SyscallError
from spawner.linux import Kernel
from spawner.net import resolver

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_the_resolver_keeps_all_but_the_servers() -> None:
    machine = "# by hand\nnameserver 127.0.0.53\nsearch a.example b.example\n\noptions  edns0\nx\n"
    assert resolver.text(machine, "10.0.2.3") == (
        "nameserver 10.0.2.3\nsearch a.example b.example\noptions  edns0\n"
    )


@pytest.mark.parametrize(
    ("links", "leads"),
    [
        ({}, False),
        ({"/etc/resolv.conf": "../run/stub.conf"}, False),
        ({"/etc/resolv.conf": "/run/stub.conf"}, False),
        ({"/etc/resolv.conf": "static", "/etc/static": "/nix/conf"}, True),
        ({"/etc/resolv.conf": "/var/run/conf", "/var/run": "/run"}, True),
        ({"/etc/resolv.conf": "../../nonesuch"}, True),
        ({"/etc/resolv.conf": "resolv.conf"}, True),
        ({"/etc/resolv.conf": "/etcetera/conf"}, True),
        ({"/etc/resolv.conf": "/run/a", "/run/a": "b", "/run/b": "../etc/./c"}, False),
    ],
)
def test_where_the_machines_resolver_leads(
    monkeypatch: pytest.MonkeyPatch, links: dict[str, str], leads: bool
) -> None:
    def readlink(path: str) -> str:
        if path not in links:
            raise OSError(errno.EINVAL, "no link")
        return links[path]

    monkeypatch.setattr(resolver, "posix", SimpleNamespace(readlink=readlink))
    assert resolver.leads_out("/etc/resolv.conf") is leads


@given(st.text())
def test_any_file_of_the_machines_leaves_one_server(machine: str) -> None:
    lines = resolver.text(machine, "10.0.2.3").splitlines()
    assert lines[0] == "nameserver 10.0.2.3"
    assert not any(line.split()[:1] == ["nameserver"] for line in lines[1:])


class Placing(Recording):
    """A kernel that opens /etc/resolv.conf as a file of a test's, and may refuse one call."""

    def __init__(self, path: Path, refused: str | None = None) -> None:
        super().__init__()
        self._path = path
        self._refused = refused

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name in ("calls", "open"):
            return super().__getattribute__(name)
        if name == self._refused:
            raise SyscallError(name, errno.EPERM)
        return super().__getattribute__(name)

    def open(self, path: str, flags: int) -> int:
        assert path == "/etc/resolv.conf"
        try:
            return os.open(self._path, flags | os.O_CLOEXEC)
        except OSError as error:
            raise SyscallError("openat", error.errno or 0, path) from None


def test_the_resolver_is_bound_where_the_path_led_before(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.53\nsearch example\n")
    kernel = Placing(path)
    resolver.step("10.0.2.3").run(kernel)
    (_, _, etc, *_), (_, new, data), (_, source, target, _, flags, _), last = kernel.calls
    assert etc == "/etc"
    assert data == b"nameserver 10.0.2.3\nsearch example\n"
    assert (source, flags) == (new, 4096)
    assert target.startswith("/proc/self/fd/")
    assert last == ("unmount", "/etc")


@pytest.mark.parametrize("call", ["mount", "make_file", "unmount"])
def test_a_refused_call_is_named(tmp_path: Path, call: str) -> None:
    path = tmp_path / "resolv.conf"
    path.touch()
    with pytest.raises(SetupError) as raised:
        resolver.step("10.0.2.3").run(Placing(path, call))
    assert (raised.value.syscall, raised.value.errno) == (call, errno.EPERM)
    assert raised.value.stage == "init"


def test_no_file_to_cover(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"there is no /etc/resolv\.conf") as raised:
        resolver.step("10.0.2.3").run(Placing(tmp_path / "nosuch"))
    assert raised.value.hint


def test_a_file_that_is_a_pipe_holds_nobody(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    kernel = Placing(path)
    resolver.step("10.0.2.3").run(kernel)
    assert kernel.calls[1][2] == b"nameserver 10.0.2.3\n"


def test_a_signal_to_end_is_heard_while_one_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is left for whoever forwards it."""
    monkeypatch.setattr(making.Ear.__init__, "__defaults__", (0.1,))
    found = Acting(lambda ends: os.read(ends.end, 1))
    found.begin(Kernel())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(
            SetupError, match="start pasta: got SIGTERM before this step was done"
        ) as raised:
            found.start("word")
        assert raised.value.status == 143
        assert signal.sigtimedwait({signal.SIGTERM}, 0) is not None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        found.stop()
