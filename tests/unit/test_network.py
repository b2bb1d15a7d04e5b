"""Networks as values and words, the namespaces they take, and their steps."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from helpers.specs import specified
from hypothesis import given
from hypothesis import strategies as st

from spawner.caller import Caller
from spawner.errors import SpecError
from spawner.linux import Kernel
from spawner.net import carrier, network
from spawner.net.network import KINDS, Network, Publish, parse, publish
from spawner.planning import find, plan
from spawner.spec import Choice, Namespaces
from spawner.steps import Part

PORTS = st.integers(1, 65535)
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1, max_size=15).filter(
    lambda name: name not in (".", "..")
)

CALLER = Caller(user=1000, group=100, search_path=b"/bin")


@given(PORTS, PORTS, ADDRESSES, st.sampled_from(["tcp", "udp"]))
def test_what_is_published_is_read_as_it_is_shown(
    port: int, inner: int, address: str, protocol: str
) -> None:
    wanted = Publish(port, inner, address=address, protocol=protocol)
    assert publish(str(wanted)) == wanted
    assert str(wanted).endswith(f":{port}:{inner}/{protocol}")


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("80", ("127.0.0.1", 80, 80, "tcp")),
        ("8080:80", ("127.0.0.1", 8080, 80, "tcp")),
        ("0.0.0.0:8080:80", ("0.0.0.0", 8080, 80, "tcp")),
        ("192.0.2.1:53/udp", ("192.0.2.1", 53, 53, "udp")),
        ("[::1]:8080:80/tcp", ("::1", 8080, 80, "tcp")),
        ("[0:0::1]:80", ("::1", 80, 80, "tcp")),
    ],
)
def test_the_spellings_of_a_port(word: str, meaning: tuple[str, int, int, str]) -> None:
    found = publish(word)
    assert (found.address, found.port, found.inner, found.protocol) == meaning


@pytest.mark.parametrize(
    "word",
    [
        "", ":", "80:", ":80", "0", "65536", "80:0", "1:2:3", "127.0.0.1", "127.0.0.1:", "-1",
        "80/", "80/sctp", "80/TCP", "::1:80:80", "[::1]80", "[::1]:", "[::1", "[fe80::1%eth0]:80",
        "localhost:80", "127.0.0.1:80:80:80", "８０", "80 ", "+80", "1e3", "127.0.0.01:80", "\0",
    ],
)  # fmt: skip
def test_what_is_no_port_is_refused_with_words(word: str) -> None:
    with pytest.raises(SpecError) as raised:
        publish(word)
    assert str(raised.value)


@given(st.text())
def test_any_word_is_a_port_or_refused(word: str) -> None:
    try:
        found = publish(word)
    except SpecError:
        return
    ip_address(found.address)
    assert 0 < found.port < 65536


@st.composite
def networks(draw: st.DrawFn) -> Network:
    kind = draw(st.sampled_from(KINDS))
    if kind != "veth":
        return Network(kind)
    address = draw(st.none() | st.just("10.1.0.2/24") | st.just("fd00::2/64"))
    gateway = None
    if address is not None and draw(st.booleans()):
        gateway = "fd00::1" if ":" in address else "10.1.0.1"
    return Network(kind, bridge=draw(NAMES), address=address, gateway=gateway)


@given(networks())
def test_a_network_is_read_as_it_is_shown(wanted: Network) -> None:
    assert parse(str(wanted)) == wanted


@given(st.sampled_from(KINDS), st.text())
def test_any_word_is_a_network_or_refused(kind: str, rest: str) -> None:
    for word in (rest, f"{kind}:{rest}", f"veth:br0,{rest}", f"veth:br0,address={rest}"):
        try:
            found = parse(word)
        except SpecError:
            continue
        assert parse(str(found)) == found


@pytest.mark.parametrize(
    "word",
    [
        "", "Host", "none:", "pasta:x", "veth", "veth:", "veth:a/b", "veth:..", "veth:a b",
        "veth:0123456789abcdef", "veth:b,", "veth:b,address", "veth:b,mtu=1", "veth:b,address=",
        "veth:b,address=10.0.0.1", "veth:b,address=10.0.0.1/33", "veth:b,address=10.0.0.1/",
        "veth:b,address=10.0.0.1/255.0.0.0", "veth:b,gateway=10.0.0.1", "veth:b\0",
        "veth:b,address=10.0.0.1/24,gateway=10.0.1.1", "veth:b,address=10.0.0.1/24,gateway=x",
        "veth:b,address=10.0.0.1/24,gateway=10.0.0.1", "veth:b,address=a/1,address=10.0.0.1/8",
        "veth:b,address=10.0.0.1/24,gateway=fd00::1",
    ],
)  # fmt: skip
def test_what_is_no_network_is_refused_with_words(word: str) -> None:
    with pytest.raises(SpecError):
        parse(word)


def test_values_are_frozen_and_compare() -> None:
    one = Network("pasta", publish=[Publish(80)])
    assert one == Network("pasta", publish=(publish("127.0.0.1:80:80"),))
    assert len({one, Network("pasta", publish=[Publish(80)]), Network("pasta")}) == 2
    with pytest.raises(AttributeError, match="frozen"):
        one.kind = "host"
    assert "Publish(address='127.0.0.1'" in repr(one)


@pytest.mark.parametrize(
    ("kind", "ports", "message"),
    [
        ("pasta", ["80", "80:81"], "published twice"),
        ("slirp4netns", ["[::1]:80"], "IPv4 addresses only"),
        ("slirp4netns", ["80/udp"], "UDP replies"),
        ("slirp4netns", ["127.1.2.3:80/udp"], "UDP replies"),
        ("pasta", ["81:80/udp"], "UDP replies"),
        ("host", ["80"], "can't be published into the network host"),
        ("none", ["80"], "can't be published into the network none"),
        ("loopback", ["80"], "can't be published into the network loopback"),
    ],
)
def test_ports_that_can_not_be_published(kind: str, ports: list[str], message: str) -> None:
    with pytest.raises(SpecError, match=message) as raised:
        parse(kind, ports)
    assert raised.value.hint or "twice" in message


def test_the_same_port_of_two_addresses_or_protocols() -> None:
    assert len(parse("pasta", ["80", "80/udp", "127.0.0.2:80"]).publish) == 3
    assert len(parse("slirp4netns", ["80", "192.0.2.1:80/udp", "192.0.2.1:80"]).publish) == 3


@pytest.mark.parametrize("kind", ["none", "loopback", "slirp4netns", "pasta"])
def test_a_network_of_ones_own_makes_its_namespace(kind: str) -> None:
    choice = Choice(1000, 100)
    Network(kind).choose(choice)
    assert choice.unshare == ["net"]


@pytest.mark.parametrize(
    ("kind", "unshare", "share", "tried"),
    [
        ("host", ["net"], [], []),
        ("host", [], [], ["net"]),
        ("none", [], ["net"], []),
        ("pasta", [], [], ["net"]),
    ],
)
def test_namespaces_that_contradict_the_network(
    kind: str, unshare: list[str], share: list[str], tried: list[str]
) -> None:
    with pytest.raises(SpecError):
        Network(kind).choose(Choice(0, 0, unshare=unshare, share=share, attempt=tried))


@pytest.mark.parametrize(
    ("kind", "required", "optional"),
    [
        ("host", ["net"], []),
        ("none", [], []),
        ("loopback", [], ["net"]),
        ("pasta", ["net"], []),
        ("pasta", ["net"], ["mount"]),
        ("slirp4netns", ["mount"], ["net"]),
    ],
)
def test_a_spec_whose_namespaces_do_not_go_with_its_network(
    kind: str, required: list[str], optional: list[str]
) -> None:
    with pytest.raises(SpecError):
        specified(["true"], namespaces=Namespaces(required, optional), network=Network(kind))


@pytest.mark.parametrize("how", ["shared", "unchanged"])
def test_mounts_that_would_spread(how: str) -> None:
    with pytest.raises(SpecError, match=r"/etc/resolv\.conf"):
        specified(
            ["true"],
            namespaces=Namespaces(["net", "mount"]),
            network=Network("pasta"),
            propagation=how,
        )


def planned(kind: str) -> list[str]:
    wanted = Network(kind)
    spec = specified(
        ["true"], namespaces=Namespaces(["user", "pid", "mount", "net"]), network=wanted
    )
    if kind in network.HELPED:
        parts: tuple[Part, ...] = (carrier.Carrier(wanted, f"/usr/bin/{kind}"),)
    else:
        parts = find(Kernel(), spec, CALLER)
    return [step.topic for step in plan(spec, CALLER, parts)]


@pytest.mark.parametrize("kind", sorted(network.HELPED))
def test_the_helper_starts_between_the_namespaces_and_the_mounts(kind: str) -> None:
    topics = planned(kind)
    order = ["unshare-net", "start-carrier", "make-private", "mount-proc", "bind-resolver"]
    assert [topic for topic in topics if topic in order] == order


def test_loopback_comes_up_but_for_none() -> None:
    assert "bring-up-loopback" in planned("loopback")
    assert "bring-up-loopback" not in planned("none")
