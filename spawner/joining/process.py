"""Open a process's namespaces, root, working directory and environment.

All is opened while its pidfd says that it lives, and looked at again before it is believed.
"""

import errno
import posix

from spawner.errors import LAUNCHER, SetupError, SyscallError
from spawner.host import proc
from spawner.host.paths import identity
from spawner.joining import hold
from spawner.joining.hold import Held
from spawner.spec import FORKER, NAMESPACES, made_by
from spawner.steps import attempt, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.linux import Kernel

_PF_KTHREAD = 0x00200000
"""The flag of kernel threads, linux/sched.h."""


def look_up(kernel: "Kernel", held: Held, pid: int, lifelines: frozenset[int]) -> dict[str, int]:
    """Return a process's namespaces, and hold its root, working directory and environment."""
    joins = held.joins
    what = f"join process {pid}"
    pidfd = attempt(LAUNCHER, what, lambda: kernel.pidfd_open(pid))
    try:
        place = _place(kernel, what, pid, pidfd)
        found = {}
        for kind in NAMESPACES if joins.kinds is None else sorted(joins.kinds):
            path = hold.path_of(f"{place}/ns", kind)
            try:
                found[kind] = held.open(kernel, path, posix.O_RDONLY)
            except SyscallError as error:
                if error.errno != errno.ENOENT or joins.kinds is not None:
                    raise
        held.ahead = [kind for kind in made_by(FORKER) if _is_ahead(place, kind, found.get(kind))]
        if "user" in found and not hold.is_ours(found["user"], "user"):
            held.maps = held.look_at_maps(place.rpartition("/")[2])
        if joins.kinds is None or "mount" in joins.kinds:
            flags = posix.O_PATH | posix.O_DIRECTORY
            root = held.open(kernel, f"{place}/root", flags)
            if held.is_root(kernel, root) and hold.is_ours(found["mount"], "mount"):
                held.drop(root)
            else:
                held.root = root
            held.directory = held.open(kernel, f"{place}/cwd", flags)
        if joins.environment:
            raw = _environment(kernel, held, place, lifelines)
            held.environment = _variables(raw)
        hold.check_unchanged(
            what, {found[kind]: hold.path_of(f"{place}/ns", kind) for kind in found}
        )
    except SyscallError as error:
        if proc.has_ended(pidfd):
            raise _gone(what, pid) from None
        raise failed(LAUNCHER, what, error) from None
    else:
        # It lives: so all of this was its own, and not of another with the same number.
        if proc.has_ended(pidfd):
            raise _gone(what, pid)
        return found
    finally:
        posix.close(pidfd)


def _environment(kernel: "Kernel", held: Held, place: str, lifelines: frozenset[int]) -> bytes:
    """Return a process's environment, read by a scout; raises SetupError.

    It lies in the memory of the process, at which nobody gets while one of its threads hangs.
    """
    what = f"join process {held.joins.pid}"
    scout = hold.send_scout(kernel, what, lambda: {"copy": held.copy(f"{place}/environ")})
    try:
        copy = scout.answer(lifelines)["copy"]
    finally:
        scout.close()
    try:
        return posix.pread(copy, hold.LONGEST_ENVIRONMENT, 0)
    finally:
        posix.close(copy)


def _is_ahead(place: str, kind: str, descriptor: int | None) -> bool:
    """Tell whether a process has unshared a namespace for its children only, namespaces(7)."""
    if descriptor is None:
        return False
    try:
        theirs = hold.at(f"{place}/ns/{kind}_for_children")
    except SyscallError as error:
        if error.errno != errno.ENOENT:  # a PID namespace without a process yet, or an older kernel
            raise
        return False
    return theirs != identity(posix.fstat(descriptor))


def _place(kernel: "Kernel", what: str, pid: int, pidfd: int) -> str:
    """Return a process's directory in /proc, which may belong to another PID namespace."""
    number = int(proc.fields(proc.text(f"/proc/self/fdinfo/{pidfd}")).get("Pid", pid))
    if number < 0:
        raise _gone(what, pid)
    place = f"/proc/{number}"
    try:
        descriptor = kernel.open(f"{place}/stat", posix.O_RDONLY)
    except SyscallError as error:
        if error.errno != errno.ENOENT or proc.has_ended(pidfd):
            raise
        raise SetupError(
            f"{what}: /proc doesn't show the process",
            stage=LAUNCHER,
            hint="/proc belongs to another PID namespace, or is mounted with hidepid: try as root",
        ) from None
    fields = proc.after_name(proc.drain(descriptor, f"{place}/stat"))
    if int(fields[6]) & _PF_KTHREAD:
        raise SetupError(
            f"{what}: the process is a kernel thread",
            stage=LAUNCHER,
            hint="name a process of the container (`ps -e` shows kernel threads in brackets)",
        )
    return place


def _gone(what: str, pid: int) -> SetupError:
    return SetupError(
        f"{what}: the process has ended",
        stage=LAUNCHER,
        hint="name a running process (`pyspawn zombies` shows those that have ended, but were not "
        "reaped)",
    )


def _variables(raw: bytes) -> dict[bytes, bytes]:
    """Return the variables in an environment, skipping words without a `=`."""
    found: dict[bytes, bytes] = {}
    for entry in raw.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if name and equals:
            found.setdefault(name, value)
    return found
