"""Flags of mounts, such as read-only: set on a mount and all below it, and read back.

What is mounted is looked at by its number, with all that is mounted below: each has the flags that
were asked for, or there's no container.
"""

import errno
import posix

from spawner import linux
from spawner.errors import INIT, SetupError, SyscallError
from spawner.host import proc
from spawner.spec import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from spawner.host.proc import Mount
    from spawner.linux import Kernel

_FLAGS = {
    "ro": linux.MS_RDONLY,
    "nosuid": linux.MS_NOSUID,
    "nodev": linux.MS_NODEV,
    "noexec": linux.MS_NOEXEC,
    "nosymfollow": linux.MS_NOSYMFOLLOW,
}
"""The flags of a mount by the words of proc_pid_mountinfo(5).

A remount without one of them would take it away. Those of access times stay where none is named,
mount(2).
"""

_NAMES = {linux.MS_RDONLY: "RDONLY", linux.MS_NOSUID: "NOSUID", linux.MS_NODEV: "NODEV"}


def names(flags: int) -> str:
    """Return the names of a mount's flags, mount_setattr(2)."""
    return "|".join(f"MOUNT_ATTR_{name}" for flag, name in _NAMES.items() if flags & flag)


def number(kernel: "Kernel", descriptor: int) -> str:
    """Return the id of the mount that a descriptor is in; raises SyscallError."""
    told = kernel.mount_id(descriptor)
    if told is not None:
        return str(told)
    path = f"/proc/self/fdinfo/{descriptor}"
    found = proc.fields(proc.text(path)).get("mnt_id")
    if found is None:
        raise SyscallError("read", errno.ENODATA, path)
    return found


def below(mounts: "Sequence[Mount]", number: str, others: "Container[str]" = ()) -> "list[Mount]":
    """Return a mount, by its id, and all mounts on it, directly or not.

    But not `others`, nor what is on them.
    """
    found = [mount for mount in mounts if mount.number == number]
    for mount in found:  # it grows meanwhile
        found += [
            other
            for other in mounts
            if other.parent == mount.number != other.number and other.number not in others
        ]
    return found


class Claim(Frozen):
    """A claim to be checked: the mount of that id, and each that came with it, has all of `flags`.

    `what` says what was done, for a message.
    """

    what: str
    number: str
    flags: int


def check_flags(
    kernel: "Kernel", what: str, mount: int, flags: int, directory: int | None = None
) -> None:
    """Raise SetupError unless a mount, and each below it, has all of `flags`.

    `directory` is an open /proc, None for that of our root.
    """
    check(kernel, [Claim(what, number(kernel, mount), flags)], directory)


def check(kernel: "Kernel", claims: "Iterable[Claim]", directory: int | None = None) -> None:
    """Raise SetupError for the first claim that isn't true; `directory` is as for `check_flags`.

    What is mounted below by another claim is that one's.
    """
    mounts = kernel.mounts(directory)
    claims = list(claims)
    numbers = {claim.number for claim in claims}
    for claim in claims:
        _check(claim, below(mounts, claim.number, numbers))


def _check(claim: Claim, found: "Sequence[Mount]") -> None:
    """Raise SetupError unless all mounts found have the flags of a claim."""
    what = claim.what
    if not found:
        raise SetupError(f"{what}: the kernel reports no such mount", stage=INIT)
    for each in found:
        lacking = [word for word, flag in _FLAGS.items() if claim.flags & flag]
        lacking = [word for word in lacking if word not in each.options]
        if lacking:
            words = " and ".join(lacking)
            raise SetupError(f"{what}: the kernel says that {each.point} isn't {words}", stage=INIT)


def remount(kernel: "Kernel", mount: int, flags: int) -> None:
    """Add flags to a mount and all below it, on kernels without mount_setattr(2).

    One by one, each with the flags that it has, mount(2): in a user namespace the kernel refuses to
    take one away. What another covers can't be reached by a path, and is an error.
    """
    for each in below(kernel.mounts(), number(kernel, mount)):
        place, _ = kernel.walk(each.point, gone)
        try:
            if number(kernel, place) != each.number:
                raise SyscallError("mount", errno.EBUSY, each.point)
            kept = sum(flag for word, flag in _FLAGS.items() if word in each.options)
            kernel.mount(
                None,
                f"/proc/self/fd/{place}",
                None,
                linux.MS_REMOUNT | linux.MS_BIND | kept | flags,
                None,
            )
        finally:
            posix.close(place)


def gone(_: int, name: str, __: bool) -> None:
    """Raise SyscallError for a part of a path that has to be there."""
    raise SyscallError("openat", errno.ENOENT, name)
