"""Copies of mounts, which are then mounted elsewhere: as binds, as devices, as the root.

The launcher has opened every source, with the caller's rights, before anything was made. The init,
in its new mount namespace, opens each again, since nothing of another mount namespace can be bound,
and compares: what somebody has put in its place meanwhile isn't bound. It copies the mounts there,
recursively, and gives the copy its flags, before any mount covers a source.
"""

import errno
import posix

from spawner.errors import INIT, SetupError, SyscallError
from spawner.mount.flags import names, remount
from spawner.spec import Frozen
from spawner.steps import failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.linux import Kernel


def clone_words(path: str) -> str:
    """Return the call that copies the mounts at and below a path, as it's shown."""
    return f'open_tree(open("{path}", O_PATH), "", OPEN_TREE_CLONE|AT_RECURSIVE|AT_EMPTY_PATH)'


def flag_words(flags: int) -> str:
    """Return the call that gives a copy of mounts its flags, as it's shown."""
    return f'mount_setattr(TREE, "", AT_EMPTY_PATH|AT_RECURSIVE, {{{names(flags)}}})'


def move_words(mount: str, target: str) -> str:
    """Return the call that mounts a detached mount on its target, as it's shown."""
    return (
        f'move_mount({mount}, "", open("{target}", O_PATH), "", '
        "MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH)"
    )


class Copy(Frozen):
    """A copy of mounts, as a descriptor of the topmost, with the flags that they get.

    It has the flags already, but on kernels without mount_setattr(2).
    """

    mount: int
    flags: int
    has_flags: bool

    def finish(self, kernel: "Kernel") -> None:
        """See to the flags of a copy that has been mounted; raises SyscallError."""
        if not self.has_flags:
            remount(kernel, self.mount, self.flags)


def copy_mounts(kernel: "Kernel", what: str, path: str, held: int, flags: int) -> Copy:
    """Return a copy of the mounts at and below `path`; raises SetupError and SyscallError.

    `held` is what the launcher has opened there.
    """
    place = kernel.open_source(path)
    try:
        if kernel.identity(place) != kernel.identity(held):
            raise SetupError(
                f"{what}: another file has taken the place of {path}",
                stage=INIT,
                path=path,
                hint="let nobody else rename it while pyspawn starts, or, instead of a link in "
                "/proc, name what it stands for",
            )
        copy = clone_mounts(kernel, what, path, place)
    finally:
        posix.close(place)
    return flagged(kernel, copy, flags)


def flagged(kernel: "Kernel", copy: int, flags: int) -> Copy:
    """Return a copy of mounts with flags, where the kernel sets them; raises SyscallError."""
    try:
        kernel.set_mount_flags(copy, flags)
    except SyscallError as error:
        if error.errno != errno.ENOSYS:
            raise
        return Copy(copy, flags, has_flags=False)
    return Copy(copy, flags, has_flags=True)


def clone_mounts(kernel: "Kernel", what: str, path: str, place: int) -> int:
    """Return a copy of the mounts of an open source; raises SetupError and SyscallError."""
    try:
        return kernel.clone_tree(place)
    except SyscallError as error:
        if error.errno != errno.EINVAL:
            raise
        hint = (
            f"{path} is in another mount namespace, as behind a link of /proc, or on a mount that "
            "is unbindable: name a file that is mounted here"
        )
        raise failed(INIT, what, error, hint, path) from None
