"""Choose the part that connects a container's network."""

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
    """The part for a network without any interface brought up."""

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Return the station at which otherwise loopback is brought up, without steps."""
        return {LOOPBACK: tuple}


def find(
    network: "Network",
    kernel: "Kernel",
    spec: "Spec",
    caller: "Caller",
    lifelines: "Iterable[int]" = (),
) -> Part | None:
    """Return the part that connects the network, or None for none; raises SetupError."""
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
