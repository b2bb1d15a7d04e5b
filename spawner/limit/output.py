"""A bound on what a program writes to its standard streams, as a value that checks itself."""

from spawner.errors import SpecError
from spawner.spec import Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from spawner.spec import Choice


class Output(Wish):
    """The bound on standard output and standard error together, in bytes.

    No more is passed on, and a program that writes more is killed with all of its container.

    Raises SpecError.
    """

    door = "spawner.limit.relay"

    most: int

    @property
    def pipes(self) -> tuple[int, ...]:
        """The standard streams that become pipes: those for output."""
        return 1, 2

    def _check(self) -> None:
        whole = isinstance(self.most, int) and not isinstance(self.most, bool)
        if not whole or self.most < 0:
            raise SpecError(f"the output can't be limited to {self.most!r} bytes")


def wish(values: "Mapping[str, Any]", choice: "Choice") -> Output:
    """Return the bound that the option asks for; raises SpecError."""
    del choice
    return Output(values["max_output"])
