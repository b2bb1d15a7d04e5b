"""Run the host's programs for the launcher: newuidmap, newgidmap, getsubids, getent.

They run from outside of every new namespace, with all signals blocked, as the launcher has them: a
^C meanwhile is the launcher's, and comes after.
"""

import _signal
import posix

from spawner.host.ends import reap
from spawner.host.programs import DEFAULT_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Answer = tuple[int, str, str]
    """Exit status (or -SIGNAL), standard output and standard error of a program."""

    Wait = Callable[..., set[int]]
    """A function that waits until any of some descriptors is readable, and returns the readable."""


def run(arguments: "Sequence[str]", wait: "Wait") -> "Answer":
    """Run a program to its end; return its exit status (or -SIGNAL), output and complaints.

    It gets an environment that has it speak English, and no input. Where `wait` raises, it is
    killed. Raises OSError.
    """
    ends: list[int] = []
    pid = 0
    try:
        ends += posix.pipe()
        ends += posix.pipe()
        out, out_writer, errors, errors_writer = ends
        actions = [
            (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", posix.O_RDONLY, 0),
            (posix.POSIX_SPAWN_DUP2, out_writer, 1),
            (posix.POSIX_SPAWN_DUP2, errors_writer, 2),
        ]
        environment = {b"LC_ALL": b"C", b"PATH": DEFAULT_PATH}
        pid = posix.posix_spawn(
            arguments[0], list(arguments), environment, file_actions=actions, setpgroup=0
        )
        for writer in (out_writer, errors_writer):
            ends.remove(writer)
            posix.close(writer)
        texts = _read((out, errors), wait)
        found, pid = posix.waitpid(pid, 0)[1], 0
    finally:
        for descriptor in ends:
            posix.close(descriptor)
        if pid:
            posix.killpg(pid, _signal.SIGKILL)
            reap(pid)
    return posix.waitstatus_to_exitcode(found), texts[0], texts[1]


def _read(readers: tuple[int, int], wait: "Wait") -> list[str]:
    """Return what two pipes deliver until both reach end of file."""
    blocks: dict[int, list[bytes]] = {reader: [] for reader in readers}
    left = set(readers)
    while left:
        for reader in wait(*left):
            block = posix.read(reader, 65536)
            blocks[reader].append(block)
            if not block:
                left.discard(reader)
    return [b"".join(blocks[reader]).decode("utf-8", "surrogateescape") for reader in readers]
