"""What a network can't be is refused before anything starts."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.nets import CLOSED_TUN, OPEN_TUN, USER, nest
from helpers.networks import CARRIERS, as_caller, pyspawn, refused
from helpers.running import run

from spawner import lean


@pytest.mark.parametrize("kind", CARRIERS)
def test_an_unreadable_tun_starts_nothing(kind: str) -> None:
    require("root", "other-user", "userns", "tun", "ip", kind)
    trace = "--json-status=1"
    ended = run(nest(CLOSED_TUN + USER, "--network", kind, trace))
    first, second = ended.errors.splitlines()
    assert ended.status == 125
    assert first == (
        f"pyspawn: start {kind}: open /dev/net/tun, which it needs: Permission denied (EACCES)"
    )
    assert "chmod 666 /dev/net/tun" in second
    (told,) = map(json.loads, ended.out.splitlines())
    assert (told["event"], told["stage"]) == ("failed", "launcher")


@pytest.mark.parametrize("kind", CARRIERS)
def test_the_hint_for_an_unreadable_tun_works(kind: str) -> None:
    require("root", "other-user", "userns", "tun", "ip", kind)
    mended = "subprocess.run('chmod 666 /dev/net/tun', shell=True, check=True)\n"
    ended = run(nest(CLOSED_TUN + mended + USER, "--network", kind))
    assert (ended.status, ended.out) == (0, b"ran\n"), ended


def test_a_user_whose_tun_is_closed_by_the_machine() -> None:
    require("userns", "slirp4netns")
    if os.geteuid() == 0 or os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("the machine lets this user open /dev/net/tun")
    ended = pyspawn("--network", "slirp4netns")
    assert refused(ended, r"start slirp4netns: open /dev/net/tun, which it needs: .*")


@pytest.mark.parametrize("kind", CARRIERS)
def test_no_tun_at_all(kind: str) -> None:
    require("root", "userns", "ip", kind)
    ended = run(nest("mount('room', '/dev/net', 'tmpfs')\n", "--network", kind))
    hint = refused(ended, f"start {kind}: open /dev/net/tun, which it needs: .*ENOENT.")
    assert "mknod" in hint


def test_pasta_without_a_default_route() -> None:
    require("root", "userns", "tun", "ip", "pasta")
    ended = run(nest(OPEN_TUN + "ip('route delete default')\n", "--network", "pasta"))
    hint = refused(ended, "start pasta: .*xternal interface.*")
    assert "default route" in hint


@pytest.mark.parametrize(("kind", "package"), [("slirp4netns", "slirp4netns"), ("pasta", "passt")])
def test_a_missing_program_names_its_package(kind: str, package: str, tmp_path: Path) -> None:
    require("userns")
    environment = {**os.environ, "PATH": str(tmp_path)}
    ended = run([*lean.pyspawn(), "--network", kind, "--", "/bin/true"], environment=environment)
    hint = refused(ended, f"start {kind}: the program isn't in PATH")
    assert f"package {package}," in hint


@pytest.mark.parametrize("kind", CARRIERS)
def test_a_taken_port(kind: str) -> None:
    require("root", "userns", "tun", "ip", kind)
    take = """
import _socket
taken = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
taken.bind(("127.0.0.1", 18080))
taken.listen()
os.set_inheritable(taken.fileno(), True)
"""
    ended = run(nest(OPEN_TUN + take, "--network", kind, "--publish", "18080:80"))
    hint = refused(ended, r"publish 127.0.0.1:18080:80/tcp: Address already in use .EADDRINUSE.")
    assert "another port" in hint


def test_a_port_of_roots_and_an_address_of_somebody_elses() -> None:
    words = ("--publish", "80")
    hint = refused(
        run(as_caller("a user", "pasta", *words)),
        r"publish 127.0.0.1:80:80/tcp: Permission denied .EACCES.",
    )
    assert "ip_unprivileged_port_start" in hint
    ended = run(as_caller("root", "pasta", "--publish", "198.51.100.1:80"))
    refused(ended, r"publish 198.51.100.1:80:80/tcp: .* .EADDRNOTAVAIL.")


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--network", "bridge"], "'bridge' isn't a kind of network", "slirp4netns, pasta, veth"),
        (["--publish", "80"], "a port can be published only into a network", "--network pasta"),
        (
            ["--network", "host", "--publish", "80"],
            "a port can't be published into",
            "leave it out",
        ),
        (["--network", "none", "--publish", "80"], "a port can't be published into", "pasta"),
        (["--network", "veth:b", "--publish", "80"], "a port can't be published", "the bridge"),
        (["--network", "pasta", "--publish", "x"], "'x' can't be published", "PORT"),
        (["--network", "pasta", "--share", "net"], "--network pasta needs a new net", "leave net"),
        (
            ["--network", "pasta", "--share", "mount"],
            "the network pasta needs a new mou",
            "--mount",
        ),
        (["--network", "host", "--net"], "--network host and a new net", "leave out one"),
        (["--network", "pasta", "--propagation", "shared"], ".*propagate to the host", "private"),
        (
            ["--network", "host", "--net=/proc/self/ns/net"],
            ".*--net=FILE exclude each other",
            "leave",
        ),
        (["--network", "pasta", "--net=/proc/self/ns/net"], ".*--net=FILE exclude each", "leave"),
        (["--network", "pasta", "--ipc=/proc/self/ns/ipc"], "pasta can't connect", "veth"),
        (["--network", "veth"], "a veth needs a bridge", "veth:BRIDGE"),
        (["--network", "veth:a/b"], "'a/b' can't be the name of an interface", ""),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], message: str, hint: str) -> None:
    ended = pyspawn(*words)
    assert (ended.status, ended.out) == (125, b"")
    first, *rest = ended.errors.splitlines()
    assert re.match(f"pyspawn: {message}", first), first
    assert hint in "".join(rest)
