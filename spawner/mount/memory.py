"""File systems in memory, with the bounds that were asked for."""

import posix

from spawner import linux
from spawner.errors import INIT, SetupError
from spawner.mount.flags import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.linux import Kernel
    from spawner.mount.mounts import Tmpfs

TMPFS_FLAGS = linux.MS_NOSUID | linux.MS_NODEV
"""The flags of every tmpfs that is mounted for the program."""


def _options(tmpfs: "Tmpfs") -> dict[str, str]:
    """Return the options of a file system, tmpfs(5)."""
    return {
        "source": "tmpfs",
        "size": str(tmpfs.size),
        "nr_inodes": str(tmpfs.files),
        "mode": "0755" if tmpfs.is_root else "1777",
    }


def tmpfs_words(tmpfs: "Tmpfs") -> str:
    """Return the calls that make a file system, as text."""
    options = ",".join(f"{name}={value}" for name, value in _options(tmpfs).items())
    return f'fsmount(fsopen("tmpfs"), {{{options}}}, {names(TMPFS_FLAGS)})'


def make_tmpfs(kernel: "Kernel", tmpfs: "Tmpfs") -> int:
    """Return a descriptor of a new file system in memory, which has the bounds asked for.

    It's mounted nowhere yet. Raises SetupError and SyscallError.
    """
    new = kernel.make_file_system("tmpfs", _options(tmpfs), TMPFS_FLAGS)
    try:
        _check_bounds(kernel, tmpfs, new)
    except BaseException:
        posix.close(new)
        raise
    return new


def _check_bounds(kernel: "Kernel", tmpfs: "Tmpfs", new: int) -> None:
    """Raise SetupError for a file system that has other bounds than those asked for."""
    size, files = kernel.capacity(new)
    if size - tmpfs.size not in range(_page()) or files != tmpfs.files:
        raise SetupError(
            f"{tmpfs.task}: the kernel made it for {size} bytes and {files} files, not "
            f"for {tmpfs.size} and {tmpfs.files}",
            stage=INIT,
        )


def _page() -> int:
    """Return the page size in bytes, to which the size of a tmpfs is rounded up, tmpfs(5)."""
    return posix.sysconf("SC_PAGESIZE")
