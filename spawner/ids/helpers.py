"""Asks the helpers that know of ids: newuidmap, newgidmap, getsubids, getent."""

from spawner.errors import LAUNCHER, SetupError
from spawner.host.running import Stopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spawner.host.running import Answer
    from spawner.linux import Kernel


def ask(kernel: "Kernel", arguments: "Sequence[str]", watched: "Iterable[int]" = ()) -> "Answer":
    """Run a program as `Kernel.run_helper` does; raises SetupError where it had to be killed."""
    try:
        return kernel.run_helper(arguments, watched)
    except Stopped as stopped:
        name = arguments[0].rpartition("/")[2]
        if stopped.signal is None:
            raise SetupError(
                f"nobody waits any more for what {name} was asked", stage=LAUNCHER
            ) from None
        from pyinit import SIGNALLED, signames

        raise SetupError(
            f"got {signames.name(stopped.signal)} while {name} was running",
            stage=LAUNCHER,
            hint=f"if {name} hangs, a directory service that it asks may not answer",
            status=SIGNALLED + stopped.signal,
        ) from None
