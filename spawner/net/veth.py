"""Connect a container to a bridge by a veth(4) pair, as root.

The kernel takes both away with the network namespace inside, some time after its last process. So
that it's gone when pyspawn is, and also where somebody else holds the namespace, a process aside
(`aside`) makes the pair, waits for the end, of the launcher too, and deletes it. pyroute2, which
speaks with the kernel about networks, is imported there and nowhere else.

1. Before anything is made, the process looks for pyroute2 and the bridge, and says that it's ready.
2. Its word is the init's pid. It makes the pair, the inner end in the init's namespace, joins that,
   configures the end, and says that it's ready once more.
3. When the container or the launcher has ended, it deletes the pair.
"""

import posix
from errno import ENODEV

from spawner.errors import LAUNCHER, SetupError, how, mark
from spawner.net.aside import Backend, complain, read_words
from spawner.spec import KINDS
from spawner.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from spawner.linux import Kernel
    from spawner.net.aside import Ends
    from spawner.net.network import Network

INNER = "eth0"
"""The name of the interface in the container."""

_NO_PYROUTE2 = "pyroute2 can't be imported"
_NO_BRIDGE = "there's no bridge"
_OTHER = "only another kind of interface"


class Pair(Backend):
    """A process outside that makes a veth pair, and deletes it at the end."""

    def step(self) -> Step:
        """Return the step that makes the pair."""
        network = self.network
        parts = [f"RTM_NEWLINK veth in INIT, RTM_SETLINK master {network.bridge}"]
        if network.address is not None:
            parts.append(f"RTM_NEWADDR {network.address}")
        if network.gateway is not None:
            parts.append(f"RTM_NEWROUTE default via {network.gateway}")
        return Step(
            LAUNCHER,
            f"make a veth pair to the bridge {network.bridge}",
            f"sendmsg(NETLINK_ROUTE, {', '.join(parts)})",
            lambda _, process: self._start(process),
            topic="make-veth",
            needs=("net",),
        )

    def ended(self, changed: int) -> str:
        """Note how the process ended, by its wait status; return the message about that."""
        self.pid = 0
        return (
            f"the process that would delete the veth pair {how(changed)}: the kernel will delete it"
        )

    def _begin(self, kernel: "Kernel") -> None:
        super()._begin(kernel)
        self._await()

    def _start(self, process: str) -> None:
        self._send([process])
        self._await()

    def _failed(self, why: str | None) -> SetupError:
        error = super()._failed(why)
        error.hint = _hint(error.step, self.network)
        return error

    def _serve(self, kernel: "Kernel", ends: "Ends", launcher: int) -> None:
        try:
            from pyroute2 import IPRoute
            from pyroute2.netlink.exceptions import NetlinkError
        except ImportError as error:
            complain(f"{_NO_PYROUTE2}: {error}")
            return
        try:
            self._connect(kernel, ends, IPRoute)
        except NetlinkError as error:
            complain(f"the kernel refuses: {posix.strerror(error.code)}")

    def _connect(self, kernel: "Kernel", ends: "Ends", connect: "Callable[[], Any]") -> None:
        host = connect()
        bridge = _bridge(host, self.network.bridge or "")
        if bridge is None:
            return
        posix.write(ends.ready, b"1")
        words = read_words(ends.words)
        if not words:
            return
        process = words[0].decode()
        name = f"ps{posix.urandom(6).hex()}"
        inner = {"ifname": INNER, "net_ns_pid": int(process)}
        host.link("add", ifname=name, kind="veth", peer=inner)
        index = host.link_lookup(ifname=name)[0]
        try:
            host.link("set", index=index, master=bridge, state="up")
            _join(kernel, process)
            self._configure(connect())
            posix.write(ends.ready, b"1")
            posix.read(ends.end, 1)
        finally:
            _delete(host, index)
        posix._exit(0)

    def _configure(self, inside: "Any") -> None:
        """Give the container's end its address and its route."""
        index = inside.link_lookup(ifname=INNER)[0]
        if self.network.address is not None:
            address, _, length = self.network.address.partition("/")
            inside.addr("add", index=index, address=address, prefixlen=int(length))
        inside.link("set", index=index, state="up")
        if self.network.gateway is not None:
            inside.route("add", dst="default", gateway=self.network.gateway)


def find(network: "Network") -> Pair:
    """Return the part that makes a pair, after checking that it can; raises SetupError."""
    from spawner.host import proc

    status = proc.status()
    for name in ("CAP_NET_ADMIN", "CAP_SYS_ADMIN"):
        if proc.holds(status, name) is False:
            raise SetupError(
                f"start veth: making interfaces requires {name} in the host's network namespace",
                stage=LAUNCHER,
                hint="start pyspawn as root, or use a network that needs no right "
                f"({mark('--network pasta')})",
            )
    return Pair(network)


def _bridge(host: "Any", name: str) -> int | None:
    """Return the index of a bridge; fail with a message if there is none of that name."""
    found = host.link_lookup(ifname=name)
    if not found:
        complain(f"{_NO_BRIDGE} named {name}")
        return None
    kind = host.get_links(found[0])[0].get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND")
    if kind != "bridge":
        complain(f"{_NO_BRIDGE} named {name}, {_OTHER}")
        return None
    index: int = found[0]
    return index


def _join(kernel: "Kernel", process: str) -> None:
    """Enter the network namespace of a process."""
    descriptor = kernel.open(f"/proc/{process}/ns/net", posix.O_RDONLY)
    try:
        kernel.setns(descriptor, KINDS["net"].number)
    finally:
        posix.close(descriptor)


def _delete(host: "Any", index: int) -> None:
    """Delete the pair, unless the kernel has deleted it already."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        host.link("del", index=index)
    except NetlinkError as error:
        if error.code != ENODEV:
            raise


def _hint(what: str, network: "Network") -> str | None:
    """Return the hint for a failure of the process."""
    if _NO_PYROUTE2 in what:
        return (
            "`pip install pyroute2` in pyspawn's virtual environment, or, where pyspawn runs "
            "with the system's Python, install the distribution's package (Debian: "
            "python3-pyroute2)"
        )
    if _NO_BRIDGE in what and what.endswith(_OTHER):
        return "name a bridge that `ip link show type bridge` shows"
    if _NO_BRIDGE in what:
        name = network.bridge
        return (
            f"as root, `ip link add {name} type bridge && ip link set {name} up`, or name a bridge "
            "that exists"
        )
    return None
