"""Choose what connects a container's network: a program, a pair of interfaces, or nothing."""

from spawner.steps import LOOPBACK, Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from spawner.caller import Caller
    from spawner.linux import Kernel
    from spawner.net.network import Network
    from spawner.spec import Spec
    from spawner.steps import Step


class Bare(Part):
    """The part for a network in which no interface is up."""

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Say that no interface is brought up."""
        return {LOOPBACK: tuple}


def find(
    network: "Network",
    kernel: "Kernel",
    spec: "Spec",
    caller: "Caller",
    lifelines: "Iterable[int]" = (),
) -> Part | None:
    """Return the part that connects the network, None for nothing to do; raises SetupError."""
    del kernel, lifelines
    if network.kind == "none":
        return Bare()
    if network.kind == "veth":
        from spawner.net import veth

        return veth.find(network)
    if not network.connected:
        return None
    from spawner.net import carrier

    return carrier.find(network, caller, users="user" in spec.namespaces.wanted)
