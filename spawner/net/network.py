"""The container's network and published ports, as values that check themselves.

The kinds:

* `host`: no new network namespace.
* `none`: a new one with nothing up. `loopback`: with its loopback interface up.
* `slirp4netns`, `pasta`: a program outside carries the packets of an interface inside, and needs
  no privileges for it (`aside`).
* `veth`: a pair of interfaces, one inside and one a port of an existing bridge, by root (`veth`).
"""

from spawner.errors import SpecError, mark
from spawner.linux import IFNAMSIZ
from spawner.spec import ALL, Frozen, Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from ipaddress import IPv4Interface, IPv6Interface
    from typing import Any, NoReturn

    from spawner.spec import Choice, Spec

KINDS = ("host", "none", "loopback", "slirp4netns", "pasta", "veth")
"""Every kind of network."""

HELPED = frozenset({"slirp4netns", "pasta"})
"""Kinds of networks whose packets a program outside carries."""

RESOLVERS = {"slirp4netns": "10.0.2.3", "pasta": "169.254.1.1"}
"""Addresses at which a helper answers for the host's name server.

The host's may be a stub at 127.0.0.53, which inside is nobody.
"""

LOCAL = "127.0.0.1"
"""The address at which a port is published by default: on this host only."""

_SPELLING = "a port is published by [ADDRESS:]PORT[:PORT][/udp], as in 127.0.0.1:8080:80"

_VETH = "as in veth:BRIDGE,address=10.1.0.2/24,gateway=10.1.0.1"


class Publish(Frozen):
    """A port of the host that leads to a port of the container.

    `address` is the host's own, an IPv4 or IPv6 address, and `port` is there; `inner` is the
    port inside; `protocol` is "tcp" or "udp". Raises SpecError.
    """

    address: str
    inner: int
    port: int
    protocol: str

    def __init__(
        self, port: int, inner: int | None = None, *, address: str = LOCAL, protocol: str = "tcp"
    ) -> None:
        inner = port if inner is None else inner
        for number in (port, inner):
            if not 0 < number < 1 << 16:
                raise SpecError(f"{number} can't be a port: ports go from 1 to 65535", _SPELLING)
        if protocol not in ("tcp", "udp"):
            raise SpecError(
                f"{protocol!r} is not a protocol whose ports can be published: only those of tcp "
                "and udp can"
            )
        if address != LOCAL:
            address = _host(address)
        self._set(address=address, port=port, inner=inner, protocol=protocol)

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}:{self.inner}/{self.protocol}"


def _host(address: str) -> str:
    """Return an IP address in its shortest form; raises SpecError."""
    from ipaddress import ip_address

    try:
        if "%" not in address:
            return str(ip_address(address))
    except ValueError:
        pass
    raise SpecError(f"{address!r} is not an address of this host", _SPELLING)


def _interface(address: str) -> "IPv4Interface | IPv6Interface":
    """Return an IP address with its network; raises SpecError."""
    from ipaddress import ip_interface

    host, slash, length = address.partition("/")
    try:
        if slash and host and length.isdigit():
            return ip_interface(address)
    except ValueError:
        pass
    raise SpecError(f"{address!r} is not an address with a prefix length", _VETH)


def publish(word: str) -> Publish:
    """Return the Publish for `[ADDRESS:]PORT[:PORT][/udp]`; an IPv6 address is in brackets.

    Raises SpecError.
    """
    rest, slash, protocol = word.partition("/")
    address = LOCAL
    if rest.startswith("["):
        address, bracket, rest = rest[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise SpecError(f"{word!r} can't be published", _SPELLING)
        rest = rest[1:]
    elif rest.partition(":")[0] and not _is_number(rest.partition(":")[0]):
        address, _, rest = rest.partition(":")
    elif rest.count(":") > 1:
        raise SpecError(f"{word!r} can't be published", _SPELLING)
    ports = rest.split(":")
    if len(ports) > 2 or not all(map(_is_number, ports)):
        raise SpecError(f"{word!r} can't be published", _SPELLING)
    return Publish(
        int(ports[0]), int(ports[-1]), address=address, protocol=protocol if slash else "tcp"
    )


def _is_number(word: str) -> bool:
    """Tell whether a word is short enough, and made of digits, to be a port."""
    return word.isascii() and word.isdigit() and len(word) <= 5


class Network(Wish):
    """The network of a container; frozen.

    `kind` is one of KINDS. `publish` are ports of the host's that lead inside. A `veth` needs
    the `bridge` that it's to be a port of, and may have an `address` (with the length of its
    prefix) and a `gateway`.

    Raises SpecError, which says why.
    """

    door = "spawner.net.part"

    kind: str
    publish: tuple[Publish, ...]
    bridge: str | None
    address: str | None
    gateway: str | None

    def __init__(
        self,
        kind: str,
        *,
        publish: "Iterable[Publish]" = (),
        bridge: str | None = None,
        address: str | None = None,
        gateway: str | None = None,
    ) -> None:
        ports = tuple(publish) if hasattr(publish, "__iter__") else (publish,)
        if not all(isinstance(port, Publish) for port in ports):
            raise TypeError(f"publish needs Publish values in a list, not {publish!r}")
        self._set(kind=kind, publish=ports, bridge=bridge, address=address, gateway=gateway)
        self._check()

    def __str__(self) -> str:
        """Return the word that `parse` accepts."""
        pairs = [
            f",{name}={value}"
            for name, value in (("address", self.address), ("gateway", self.gateway))
            if value is not None
        ]
        return self.kind if self.bridge is None else f"{self.kind}:{self.bridge}{''.join(pairs)}"

    @property
    def connected(self) -> bool:
        """Whether the namespace has more than a loopback interface."""
        return self.kind in HELPED or self.kind == "veth"

    def _check(self) -> None:
        if self.kind not in KINDS:
            raise SpecError(
                f"{self.kind!r} isn't a kind of network", f"the kinds are {', '.join(KINDS)}"
            )
        if self.publish:
            self._check_publish()
        for name in ("bridge", "address", "gateway"):
            if getattr(self, name) is not None and self.kind != "veth":
                raise SpecError(
                    f"the network {self.kind} doesn't accept {name}", f"use veth, {_VETH}"
                )
        if self.kind == "veth":
            self._check_veth()

    def _check_publish(self) -> None:
        if self.kind not in HELPED:
            hints = {
                "host": "leave it out: programs in the host's network can be reached as they are",
                "veth": "leave it out: the address of a veth can be reached from the bridge as "
                "it is",
            }
            raise SpecError(
                f"a port can't be published into the network {self.kind}",
                hints.get(self.kind, "use slirp4netns or pasta"),
            )
        taken = set()
        for port in self.publish:
            place = (port.address, port.port, port.protocol)
            if place in taken:
                raise SpecError(f"{port}: this host port is published twice")
            taken.add(place)
            self._check_port(port)

    def _check_port(self, port: Publish) -> None:
        """Refuse ports that a helper accepts but doesn't really publish."""
        if self.kind == "slirp4netns" and ":" in port.address:
            raise SpecError(f"{port}: slirp4netns publishes on IPv4 addresses only", "use pasta")
        if port.protocol != "udp":
            return
        if self.kind == "slirp4netns" and port.address.startswith("127."):
            # An answer would go to the host's loopback, which is closed to what is inside.
            raise SpecError(
                f"{port}: slirp4netns drops the UDP replies of ports published on loopback",
                "publish on another address of this host, or use pasta",
            )
        if self.kind == "pasta" and port.port != port.inner:
            raise SpecError(
                f"{port}: pasta before 2024_07_26 drops UDP replies when the port numbers outside "
                "and inside the container differ",
                "use the same port number on both sides, as in "
                f"{port.address}:{port.inner}:{port.inner}/udp, and have the program listen on it",
            )

    def _check_veth(self) -> None:
        if not self.bridge:
            raise SpecError("a veth needs a bridge to which it is attached", f"name one, {_VETH}")
        raw = self.bridge.encode("utf-8", "surrogateescape")
        if len(raw) >= IFNAMSIZ or set(raw) & set(b"/:, \t\n\0") or raw in (b".", b".."):
            raise SpecError(f"{self.bridge!r} can't be the name of an interface")
        own = None if self.address is None else _interface(self.address)
        if self.gateway is None:
            return
        if own is None:
            raise SpecError(
                "a gateway needs an address of the container's own, too", f"add one, {_VETH}"
            )
        from ipaddress import ip_address

        try:
            gateway = ip_address(self.gateway)
        except ValueError:
            raise SpecError(f"{self.gateway!r} is not the address of a gateway", _VETH) from None
        if gateway not in own.network or gateway == own.ip:
            raise SpecError(
                f"the gateway {gateway} is outside of {own.network}, or the veth's own address"
            )

    def choose(self, choice: "Choice") -> None:
        """Add the net namespace that this network needs to `choice`; raises SpecError."""
        unshare, share, tried = choice.unshare, choice.share, choice.attempt
        if "net" in choice.joined:
            raise SpecError(
                f"{mark(f'--network {self.kind}')} and {mark('--net=FILE')} exclude each other: "
                "each chooses the network namespace",
                "leave out one of the two",
            )
        if self.kind == "host":
            if "net" in unshare or "net" in tried:
                raise SpecError(
                    f"{mark('--network host')} and a new net namespace exclude each other",
                    "leave out one of the two",
                )
            if ALL in unshare or ALL in tried:
                share.append("net")
            return
        if "net" in share or "net" in tried:
            option = mark("--share" if "net" in share else "--unshare-try")
            raise SpecError(
                f"{mark(f'--network {self.kind}')} needs a new net namespace, and {option} names "
                "net",
                f"leave net out of {option}",
            )
        unshare.append("net")

    @property
    def needs(self) -> "Iterable[tuple[str, str]]":
        """The net namespace, and the mount namespace for a name server."""
        if self.kind != "host":
            yield "net", f"the network {self.kind} needs a new net namespace"
        if self.kind in HELPED:
            why = "for its own /etc/resolv.conf"
            yield "mount", f"the network {self.kind} needs a new mount namespace {why}"

    def check(self, spec: "Spec") -> None:
        """Raise SpecError if the rest of `spec` conflicts with this network."""
        if self.kind == "host":
            if "net" in spec.namespaces.wanted:
                raise SpecError("the host's network and a new net namespace exclude each other")
            return
        super().check(spec)
        if self.kind not in HELPED:
            return
        if spec.enters:
            raise SpecError(
                f"{self.kind} can't connect a container that joins existing namespaces, since "
                "such a container can be closed to other processes while it is made",
                "make all of its namespaces new, or connect the container as root with "
                f"{mark('--network veth:BRIDGE')}",
            )
        for spreads in filter(None, (wish.spreads for wish in spec.wishes)):
            raise SpecError(
                f"the network {self.kind} mounts its own /etc/resolv.conf, and with {spreads} "
                "that mount would propagate to the host",
                f"use {mark('--propagation private')} or slave",
            )
        if any("/etc/resolv.conf" in wish.places for wish in spec.wishes):
            raise SpecError(
                f"the network {self.kind} mounts its own /etc/resolv.conf, which would hide the "
                "one that is asked for",
                f"leave out the mount, or use {mark('--network none')}",
            )


def wish(values: "Mapping[str, Any]", choice: "Choice") -> Network:
    """Return the network that the options name; raises SpecError."""
    if "network" not in values:
        unnamed()
    found = parse(values["network"], values.get("publish", ()))
    found.choose(choice)
    return found


def unnamed() -> "NoReturn":
    """Refuse published ports without a network to publish from."""
    raise SpecError(
        "a port can be published only into a network of the container's own",
        f"add {mark('--network slirp4netns')} or {mark('--network pasta')}",
    )


def parse(word: str, ports: "Iterable[str]" = ()) -> Network:
    """Return the network for `KIND[:BRIDGE][,NAME=VALUE]...`, with the ports published.

    Raises SpecError.
    """
    kind, colon, rest = word.partition(":")
    found: dict[str, str] = {}
    if colon:
        bridge, *pairs = rest.split(",")
        found["bridge"] = bridge
        for pair in pairs:
            name, equals, value = pair.partition("=")
            if not equals or name not in ("address", "gateway"):
                raise SpecError(f"{pair!r} is not a network setting", _VETH)
            if name in found:
                raise SpecError(f"{word!r} sets {name} twice", _VETH)
            found[name] = value
    return Network(
        kind,
        publish=[publish(port) for port in ports],
        bridge=found.get("bridge"),
        address=found.get("address"),
        gateway=found.get("gateway"),
    )
