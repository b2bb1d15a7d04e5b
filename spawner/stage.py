"""The stage: the process that enters a user namespace and forks the init.

1. It makes its own process group at once. What the terminal sent to the old one stays pending here,
   since a fork doesn't pass it on, fork(2).
2. It enters a new user namespace, sends USERNS, and waits for MAPPED.
3. It takes the rest of its steps, forks the init, and sends FORKED with its pid.
4. It ends, so that the init becomes the launcher's child. Without a PID namespace it stays instead,
   as the keeper of what would outlive the init.

What goes wrong is an ERROR record. The stage doesn't print, and doesn't return.
"""

import _signal
import posix

from pyinit import OURS
from spawner import channel, init
from spawner.errors import INIT, LAUNCHER, STAGE, SetupError
from spawner.steps import attempt, take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from spawner.channel import Pipes
    from spawner.linux import Kernel
    from spawner.steps import Steps


def become(
    kernel: "Kernel", steps: "Steps", pipes: "Pipes", *, keep: bool, tell: bool
) -> "NoReturn":
    """Run as the stage, which with `keep` stays as the keeper.

    `tell` is for the init.
    """
    status = OURS
    try:
        pipes.be_child()
        status = _run(kernel, steps, pipes, keep=keep, tell=tell)
    except SetupError as error:
        pipes.tell(channel.failure(error))
    except Exception as error:  # noqa: BLE001  no traceback may leave this process
        pipes.tell(channel.failure(channel.unexpected(error, STAGE)))
    finally:
        posix._exit(status)


def _run(kernel: "Kernel", steps: "Steps", pipes: "Pipes", *, keep: bool, tell: bool) -> int:
    """Take the steps and fork the init; return the exit status."""
    attempt(STAGE, "make a process group", kernel.make_process_group)
    refused: set[str] = set()

    def tell_missing(kind: str, errno: int) -> None:
        refused.add(kind)
        pipes.tell_missing(kind, errno)

    left = take(kernel, steps, STAGE, tell_missing)
    if left[0].where == LAUNCHER:
        pipes.tell(channel.encode(channel.USERNS))
        if pipes.hear() != channel.MAPPED:
            return OURS
        while left[0].where == LAUNCHER:
            left = left[1:]
        left = take(kernel, left, STAGE, tell_missing)
    keep = keep or "pid" in refused
    if keep:
        # All that can fail comes before there's an init to be kept.
        from spawner.life import keeper

        attempt(STAGE, "become a subreaper", kernel.become_subreaper)
        news = attempt(STAGE, "open a signalfd", lambda: kernel.signalfd({_signal.SIGCHLD}))
    pid = attempt(STAGE, "fork the init", lambda: kernel.fork(INIT))
    if pid == 0:
        init.become(kernel, left, pipes, tell=tell)
    pipes.tell(channel.encode(channel.FORKED, pid=pid))
    return keeper.keep(pid, pipes, news) if keep else 0
