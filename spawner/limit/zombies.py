"""See whose zombies take up a limit on processes, at the moment when the first fork is refused.

They are gone when all has ended. The kernel tells of a refusal by a change of pids.events,
inotify(7); since Linux 6.11 in version 2 alone. All of this is for the message: where it can't be
had, that says less.
"""

import posix

from spawner import linux
from spawner.errors import SyscallError
from spawner.host import ends, proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

IN_MODIFY = 2
"""linux/inotify.h"""


def watch(path: str) -> int:
    """Return a descriptor that becomes readable when a file changes, -1 if there's none left."""
    held = -1
    try:
        held = linux.call("inotify_init1", posix.O_CLOEXEC | posix.O_NONBLOCK)
        linux.call("inotify_add_watch", held, linux.encode(path), IN_MODIFY)
    except SyscallError:
        if held >= 0:
            posix.close(held)
        return -1
    return held


def count(pids: "Iterable[int]") -> tuple[int, str]:
    """Return how many zombies the processes have as children, and who has the most of them."""
    found = {pid: sum(ends.state(each) == "Z" for each in proc.children(pid)) for pid in pids}
    if not any(found.values()):
        return 0, ""
    parent = max(found, key=lambda pid: found[pid])
    return sum(found.values()), f"{ends.name(parent)} (process {parent})"
