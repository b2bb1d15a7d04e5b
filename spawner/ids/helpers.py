"""Run the helper programs for ids: newuidmap, newgidmap, getsubids, getent.

They may ask a directory service that doesn't answer: so a signal to end has them killed after a
while, and the end of the caller at once (`making.Ear`).
"""

from spawner.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spawner.host.running import Answer
    from spawner.linux import Kernel


def ask(kernel: "Kernel", arguments: "Sequence[str]", watched: "Iterable[int]" = ()) -> "Answer":
    """Run a program to its end; return its exit status (or -SIGNAL), output and complaints.

    Raises SetupError where it had to be killed: on a signal, or as one of `watched` can be read.
    """
    from spawner.making import Ear

    name = arguments[0].rpartition("/")[2]
    ear = Ear(kernel, f"run {name}", watched)
    try:
        return kernel.run_helper(arguments, ear.wait)
    except SetupError as error:
        error.hint = (
            f"if {name} hangs, check the directory service that it asks (see nsswitch.conf(5))"
        )
        raise
    finally:
        ear.close()
