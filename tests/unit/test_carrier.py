"""What the helpers of a network are told."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.net import aside, carrier, slirpapi
from spawner.net.network import Publish


def test_slirp4netns_is_shut_in() -> None:
    shared = ["/bin/s", "--configure", "--ready-fd=5", "--exit-fd=6", "--disable-host-loopback",
              "--enable-seccomp"]  # fmt: skip
    words = carrier.slirp4netns("/bin/s", "42", ready="5", end="6", root=False, api="/tmp/a")
    assert words == [*shared, "--api-socket=/tmp/a", "42", "tap0"]
    words = carrier.slirp4netns("/bin/s", "42", ready="5", end="6", root=True)
    place = ["--netns-type=path", "/proc/42/ns/net", "tap0"]
    assert words == [*shared, "--enable-sandbox", *place]


def test_pasta_forwards_what_is_published_and_nothing_else() -> None:
    ports = [Publish(8080, 80), Publish(80, address="::1"), Publish(53, protocol="udp")]
    words = carrier.pasta("/bin/p", users="/proc/42/ns/user", ports=ports, root=False)
    pairs = list(pairwise(words))
    assert [value for name, value in pairs if name == "--tcp-ports"] == [
        "127.0.0.1/8080:80",
        "::1/80:80",
    ]
    assert [value for name, value in pairs if name == "--udp-ports"] == ["127.0.0.1/53:53"]
    for name in ("--tcp-ns", "--udp-ns"):
        assert (name, "none") in pairs
    assert "--runas" not in words
    none = carrier.pasta("/bin/p", users=None, ports=[], root=True)
    pairs = list(pairwise(none))
    assert {("--tcp-ports", "none"), ("--udp-ports", "none"), ("--runas", "0:0")} <= set(pairs)
    assert "--userns" not in none


@given(st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1), min_size=1))
def test_words_arrive_as_they_were_sent(words: list[str]) -> None:
    kept = [word.encode("utf-8", "replace") for word in words]
    reader, writer = os.pipe()
    try:
        os.write(writer, b"".join(word + b"\0" for word in kept) + b"\0")
        assert aside.read_words(reader) == kept
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("sent", [b"", b"a", b"a\0", b"a\0b"])
def test_words_of_a_launcher_that_died_are_none(sent: bytes) -> None:
    reader, writer = os.pipe()
    os.write(writer, sent)
    os.close(writer)
    try:
        assert aside.read_words(reader) == []
    finally:
        os.close(reader)


def test_what_slirp4netns_is_asked() -> None:
    assert slirpapi.hostfwd(Publish(8080, 80)) == {
        "execute": "add_hostfwd",
        "arguments": {
            "proto": "tcp",
            "host_addr": "127.0.0.1",
            "host_port": 8080,
            "guest_addr": "10.0.2.100",
            "guest_port": 80,
        },
    }
