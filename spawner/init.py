"""The init from its fork to its exec: the first process of the container.

1. It makes its own process group at once, and drops what the terminal sent to the old one: so a ^C
   during the set-up reaches the launcher alone.
2. It enters the namespaces that are its own to make, and sends MADE.
3. After GO it sets up the inside. Before the last steps it checks that the launcher still lives,
   since a death before PDEATHSIG was set would go unnoticed, and sends EXEC.
4. The exec closes the status pipe.

What goes wrong is an ERROR record. The init doesn't print, and doesn't return.
"""

import _signal
import posix

from pyinit import OURS
from spawner import channel
from spawner.errors import INIT, SetupError
from spawner.spec import KINDS
from spawner.steps import attempt, take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from spawner.channel import Pipes
    from spawner.linux import Kernel
    from spawner.steps import Steps


def become(kernel: "Kernel", steps: "Steps", pipes: "Pipes", *, tell: bool) -> "NoReturn":
    """Run as the init: take `steps`, of which the last is the exec.

    With `tell` the inode numbers of its namespaces are told.
    """
    try:
        pipes.be_child()
        own = _own_directory() if tell else None
        rest = take(kernel, steps, INIT, pipes.tell_missing)
        drop_pending()
        pipes.tell(channel.encode(channel.MADE, **_namespaces(own)))
        if pipes.hear() == channel.GO:
            _set_up(kernel, rest, pipes)
    except SetupError as error:
        pipes.tell(channel.failure(error))
    except Exception as error:  # noqa: BLE001  no traceback may leave this process
        pipes.tell(channel.failure(channel.unexpected(error, INIT)))
    finally:
        posix._exit(OURS)


def drop_pending() -> None:
    """Discard the signals that are pending."""
    while _signal.sigtimedwait(_signal.valid_signals(), 0):
        pass


def _set_up(kernel: "Kernel", steps: "Steps", pipes: "Pipes") -> None:
    """Take the init's steps, then exec."""
    complete = False
    for step in steps:
        if step.where != INIT:
            continue  # the launcher has taken it, before GO
        if step.last_act and not complete:
            complete = True
            if not pipes.launcher_lives():
                return
            pipes.tell(channel.encode(channel.EXEC))
            attempt(INIT, "keep a pipe over the exec", lambda: pipes.hand_over(kernel))
        step.run(kernel)


def _own_directory() -> int | None:
    """Return a descriptor of /proc/self/ns, opened while /proc is still the caller's."""
    try:
        return posix.open("/proc/self/ns", posix.O_PATH | posix.O_CLOEXEC)
    except OSError:  # there's no /proc
        return None


def _namespaces(directory: int | None) -> dict[str, int]:
    """Return the inode number of each of this process's namespaces, by kind, namespaces(7)."""
    found: dict[str, int] = {}
    if directory is None:
        return found
    for name, kind in KINDS.items():
        try:
            found[name] = posix.stat(kind.file, dir_fd=directory).st_ino
        except OSError:  # this kernel doesn't have the kind
            continue
    posix.close(directory)
    return found
