"""A pair of interfaces to a bridge."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.nets import ANSWER, ASK, OPEN_TUN, USER, beside, nest, program
from helpers.networks import CARRIERS, SHELL, gone, pyspawn, refused
from helpers.running import Running, run

from spawner import lean

BRIDGE = """
ip("link add br0 type bridge")
ip("address add 10.7.0.1/24 dev br0")
ip("link set br0 up")
"""


def links(running: Running) -> set[str]:
    """Return the names of the interfaces in the nest of a running pyspawn."""
    found = beside(running, "print(open('/proc/net/dev').read())")
    return {line.partition(":")[0].strip() for line in found.splitlines() if ":" in line}


def require_veth() -> None:
    require("root", "userns", "ip", "nsenter")
    pytest.importorskip("pyroute2")


@pytest.mark.parametrize("how", [(), ("--map-root-user",)], ids=["root", "in a user namespace"])
def test_a_veth_to_a_bridge(how: tuple[str, ...]) -> None:
    require_veth()
    network = "veth:br0,address=10.7.0.2/24,gateway=10.7.0.1"
    argv = nest(BRIDGE, "--init", "--network", network, *how, program=program(ANSWER, "80"))
    with Running(argv) as running:
        assert running.line() == "up"
        assert beside(running, ASK, "10.7.0.2", "80") == "HELLO\n"
        (port,) = links(running) - {"lo", "nest0", "nest1", "br0"}
        assert port.startswith("ps")
        running.close_input()
        assert (running.wait(), running.errors()) == (0, "")


def test_the_inside_of_a_veth() -> None:
    require_veth()
    network = "veth:br0,address=10.7.0.2/24,gateway=10.7.0.1"
    script = "ip -o -4 address show dev eth0; ip route show default"
    ended = run(nest(BRIDGE, "--network", network, program=(SHELL, "-c", script)))
    first, second = ended.out.decode().splitlines()
    assert " inet 10.7.0.2/24 " in first
    assert second.startswith("default via 10.7.0.1 dev eth0")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_pair_is_gone_with_pyspawn_even_if_the_namespace_is_held(number: int) -> None:
    require_veth()
    script = "echo up; exec sleep 1000"
    hold = ("--stop-timeout=0.1", "--network", "veth:br0")
    # The room stays as long as this process, which the nest forked, holds it.
    with Running(nest(BRIDGE, *hold, program=(SHELL, "-c", script))) as running:
        assert running.line() == "up"
        outside = os.open(f"/proc/{running.starter}/ns/net", os.O_RDONLY)
        init = children.in_order(running.pid)[-1]
        inside = os.open(f"/proc/{init}/ns/net", os.O_RDONLY)
        aside = [os.pidfd_open(pid) for pid in children.below(running.pid)]
        running.send(number)
        running.wait()
        assert all(map(gone, aside))
        names = run(
            ["nsenter", f"--net=/proc/self/fd/{outside}", "ip", "-o", "link"], pass_fds=[outside]
        )
        assert "br0" in names.out.decode()
        assert "ps" not in names.out.decode()
    for descriptor in (outside, inside, *aside):
        os.close(descriptor)


@pytest.mark.parametrize(
    ("bridge", "why", "remedy"),
    [
        ("br9", "", "`ip link add br9 type bridge && ip link set br9 up`"),
        ("nest0", ", only another kind of interface", "`ip link show type bridge`"),
    ],
    ids=["none", "other"],
)
def test_a_bridge_that_is_none(bridge: str, why: str, remedy: str) -> None:
    require_veth()
    ended = run(nest(BRIDGE, "--network", f"veth:{bridge}"))
    assert remedy in refused(ended, f"start veth: there's no bridge named {bridge}{why}")


def test_an_address_that_the_kernel_refuses_leaves_no_pair() -> None:
    """A multicast address: sense is not looked for in words, the kernel knows."""
    require_veth()
    script = "echo up; read line"
    words = ("--network", "veth:br0", "--share", "all")
    with Running(nest(BRIDGE, *words, program=(SHELL, "-c", script))) as running:
        assert running.line() == "up"
        refusing = [*lean.pyspawn(), "--network", "veth:br0,address=ff02::1/64", "--", "true"]
        before = links(running)
        ended = run(["nsenter", f"--net=/proc/{running.starter}/ns/net", "--", *refusing])
        assert ended.status == 125
        assert ended.errors.startswith("pyspawn: start veth: the kernel refuses: ")
        assert links(running) == before
        running.close_input()
        assert running.wait() == 1


@pytest.mark.parametrize("kind", [*CARRIERS, "veth:br0"])
def test_a_failure_before_the_network_is_needed_ends_its_process(kind: str) -> None:
    require("root", "userns", "tun", "ip", *([kind] if kind in CARRIERS else []))
    if kind not in CARRIERS:
        require_veth()
    words = ("--network", kind, "--time", "--monotonic=-9000000000")
    ended = run(nest(OPEN_TUN + BRIDGE, *words))
    assert ended.status == 125
    assert "shift the monotonic clock" in ended.errors


@pytest.mark.parametrize("kind", [*CARRIERS, "veth:br0"])
def test_a_failure_after_the_network_is_there_ends_it(kind: str) -> None:
    require("root", "userns", "tun", "ip", *([kind] if kind in CARRIERS else []))
    if kind not in CARRIERS:
        require_veth()
    ended = run(nest(OPEN_TUN + BRIDGE, "--network", kind, "--workdir", "/nosuch"))
    assert ended.status == 125
    assert "change to the directory /nosuch" in ended.errors
    assert run(nest(OPEN_TUN + BRIDGE, "--network", kind, program=("nosuch",))).status == 127


def test_a_veth_takes_root() -> None:
    require("userns")
    if os.geteuid() == 0:
        require("other-user", "ip")
        ended = run(nest(BRIDGE + USER, "--network", "veth:br0"))
    else:
        ended = pyspawn("--network", "veth:br0")
    hint = refused(ended, "start veth: making interfaces requires CAP_NET_ADMIN .*")
    assert "as root" in hint


def test_without_pyroute2_the_command_that_installs_it_is_named(tmp_path: Path) -> None:
    """From a copy of the packages in a place of their own, beside which there's no pyroute2."""
    require("root", "userns", "ip")
    import shutil

    from helpers.programs import PLACE

    for package in ("pyinit", "spawner"):
        shutil.copytree(Path(PLACE, package), tmp_path / package)
    code = BRIDGE + f"argv = [word.replace({PLACE!r}.encode(), {str(tmp_path)!r}.encode()) "
    code += "for word in argv]\n"
    ended = run(nest(code, "--network", "veth:br0"))
    hint = refused(ended, "start veth: pyroute2 can't be imported: No module named 'pyroute2'")
    assert "pip install pyroute2" in hint
