"""The step after which nobody in the container can make a user namespace, user_namespaces(7).

Each user namespace has a limit on those that are made in it, namespaces(7), and each that is made
counts in all that are around it. So the stage allows one in the container's own, and makes that one
itself. The program is in the inner one: it may be root there, with every capability, and set that
one's limit as it likes; over the outer one, which is full, it has no right. (A limit of 0 without a
second namespace would hold only as long as nobody there got CAP_SYS_RESOURCE, as from a process
that joins.)

1. The stage reads the maps of the outer namespace, and forks a writer, which stays in there: from
   inside, only the process's own ids could be mapped.
2. It sets the limit, enters the inner namespace, and lets the writer go on.
3. The writer gives the inner one the ids that the outer one has, and ends; its status is the errno.
4. A last process tries to make a user namespace, and has to fail.
"""

import posix
from errno import ENOSPC

from pyinit import errno_text
from spawner.errors import STAGE, SetupError, SyscallError
from spawner.host import proc
from spawner.linux import named
from spawner.spec import KINDS
from spawner.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from spawner.linux import Kernel

LIMIT = "/proc/sys/user/max_user_namespaces"

WHAT = "forbid further user namespaces"

_USER = KINDS["user"]


def forbid() -> Step:
    """Enter a user namespace in the container's own, in which no other can be made."""
    return Step(
        STAGE,
        WHAT,
        f'write("{LIMIT}", "1"), unshare({_USER.flag}), '
        'write("/proc/STAGE/gid_map", OUTER), write("/proc/STAGE/uid_map", OUTER)',
        lambda kernel, _: _forbid(kernel),
        topic="forbid-user-namespaces",
        needs=("user",),
        makes=True,
    )


def _forbid(kernel: "Kernel") -> None:
    """Take the step; raises SetupError and SyscallError."""
    stage = posix.getpid()
    maps = [
        (f"/proc/{stage}/{kind}_map", same_ids(proc.read(f"/proc/self/{kind}_map")))
        for kind in ("gid", "uid")
    ]
    reader, writer = kernel.pipe()
    aside = 0
    try:
        aside = _fork(kernel, lambda: _write_maps(kernel, maps, reader, writer))
        kernel.write_file(LIMIT, b"1")
        kernel.unshare(_USER.number)
        named("write", posix.write, writer, b"\n")
    finally:
        posix.close(writer)
        posix.close(reader)
        refused = _errno_of(aside) if aside else 0
    if refused:
        raise SyscallError("write", refused, maps[-1][0])
    _try(kernel)


def same_ids(outer: bytes) -> bytes:
    """Return the map that gives a user namespace the ids that the one around it has.

    `outer` is the text of that one's map, user_namespaces(7).
    """
    rows = (line.split() for line in outer.splitlines())
    return b"".join(b"%b %b %b\n" % (first, first, count) for first, _, count in rows)


def _write_maps(
    kernel: "Kernel", maps: "list[tuple[str, bytes]]", reader: int, writer: int
) -> None:
    """Write the maps once the stage is in the inner namespace; raises SyscallError."""
    posix.close(writer)
    if posix.read(reader, 1):
        for path, text in maps:
            kernel.write_file(path, text)


def _try(kernel: "Kernel") -> None:
    """Have a process try to make a user namespace; raises SetupError unless there's no room."""
    answer = _errno_of(_fork(kernel, lambda: kernel.unshare(_USER.number)))
    if answer != ENOSPC:
        said = f"failed for another reason: {errno_text(answer)}" if answer else "succeeded"
        raise SetupError(f"{WHAT}: an attempt to make one {said}", stage=STAGE)


def _fork(kernel: "Kernel", do: "Callable[[], object]") -> int:
    """Fork a process that does one thing; return its pid."""
    pid = kernel.fork_aside()
    if pid == 0:
        status = 255
        try:
            do()
            status = 0
        except OSError as error:
            status = error.errno or status
        finally:
            posix._exit(status)
    return pid


def _errno_of(pid: int) -> int:
    """Wait for the end of a process of `_fork`; return the errno that it met, or 0.

    Raises SetupError where it was killed.
    """
    code: int = posix.waitstatus_to_exitcode(posix.waitpid(pid, 0)[1])
    if code < 0:
        raise SetupError(f"{WHAT}: a process for that was killed by signal {-code}", stage=STAGE)
    return code
