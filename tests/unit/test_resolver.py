"""The name server inside: what its file says, and how it's put in place."""

from __future__ import annotations

import errno
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.net import resolver


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
