"""The steps that make directories, files and links, and mount the kernel's own file systems."""

import errno
import posix

from spawner import linux
from spawner.errors import INIT, SetupError, SyscallError, mark
from spawner.linux import named
from spawner.mount.copies import clone_mounts, flagged, move_words
from spawner.mount.files import Dir, File, Mqueue, Proc, Symlink, Text
from spawner.mount.ground import Ground, mount_step
from spawner.steps import Step, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from spawner.linux import Kernel

_KERNELS = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
_DATA_FLAGS = linux.MS_NOSUID | linux.MS_NODEV
_READ_ONLY = _DATA_FLAGS | linux.MS_RDONLY

MOST = 256 << 20
"""The most bytes of a file that is made from a descriptor."""

_DATA = {"source": "data", "size": str(MOST), "nr_inodes": "4", "mode": "0755"}
"""Options of the file system for data that is mounted, tmpfs(5)."""

_CHUNK = 1 << 16

_NEW = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC


def mount_kernels(ground: Ground, entry: "Proc | Mqueue") -> Step:
    """Mount a file system that shows something of the kernel's."""
    kind = entry.option
    return mount_step(
        entry.task,
        f'fsmount(fsopen("{kind}"), MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV|MOUNT_ATTR_NOEXEC), '
        + move_words("NEW", entry.target),
        lambda kernel, _: ground.mount(kernel, entry, kind, {"source": kind}, _KERNELS),
        topic=f"mount-{kind}-more",
    )


def make_directory(ground: Ground, entry: Dir) -> Step:
    """Make a directory, unless it's there."""
    return mount_step(
        entry.task,
        f'mkdir("{entry.target}", 0755)',
        lambda kernel, _: _make_directory(ground, kernel, entry),
        topic="make-directory",
    )


def _make_directory(ground: Ground, kernel: "Kernel", entry: Dir) -> None:
    place, _ = kernel.walk(entry.target, ground.maker(kernel, entry))
    try:
        if not kernel.is_directory(place):
            raise SetupError(
                f"{entry.task}: something else has that name",
                stage=INIT,
                path=entry.target,
                hint="name another directory",
            )
    finally:
        posix.close(place)


def make_link(ground: Ground, entry: Symlink) -> Step:
    """Make a symbolic link."""

    def act(kernel: "Kernel", _: str) -> None:
        def link(place: int, name: str) -> None:
            kernel.symlink(entry.text, place, name)

        _make(ground, kernel, entry, link)

    return mount_step(
        entry.task,
        f'symlink("{entry.text}", "{entry.target}")',
        act,
        topic="make-link",
    )


def make_file(ground: Ground, entry: File) -> Step:
    """Make a file of a descriptor's data, or mount one, read-only."""
    if entry.read_only:
        return mount_step(
            entry.task,
            f'fsmount(fsopen("tmpfs"), {{size={MOST}}}), read({entry.source}), write(DATA), '
            'open_tree(DATA, "", OPEN_TREE_CLONE|AT_EMPTY_PATH), '
            'mount_setattr(TREE, "", AT_EMPTY_PATH, {MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID|'
            f'MOUNT_ATTR_NODEV}}), move_mount(TREE, "", open("{entry.target}", O_PATH), "")',
            lambda kernel, _: _bind_data(ground, kernel, entry),
            topic="bind-data",
        )
    return mount_step(
        entry.task,
        f'open("{entry.target}", O_CREAT|O_EXCL), read({entry.source}), write(FILE)',
        lambda kernel, _: _write_file(ground, kernel, entry),
        topic="make-file",
    )


def make_text(ground: Ground, entry: Text) -> Step:
    """Make a file of a text."""

    def act(kernel: "Kernel", _: str) -> None:
        def write(place: int, name: str) -> None:
            _write(place, name, [linux.encode(entry.text)])

        _make(ground, kernel, entry, write)

    return mount_step(
        entry.task,
        f'open("{entry.target}", O_CREAT|O_EXCL), write(FILE)',
        act,
        topic="make-text",
    )


def _write_file(ground: Ground, kernel: "Kernel", entry: File) -> None:
    """Make a file in one of the container's own file systems; raises as `_make`."""
    _make(ground, kernel, entry, lambda place, name: _copy_data(entry, place, name))


def _make(
    ground: Ground,
    kernel: "Kernel",
    entry: "File | Symlink | Text",
    do: "Callable[[int, str], None]",
) -> None:
    """Have `do` make an entry, in an open directory and by its name there.

    Raises SetupError and SyscallError, as `make_in` does.
    """
    place, name = ground.make_in(kernel, entry)
    try:
        do(place, name)
    except SyscallError as error:
        raise _refused(entry, error) from None
    finally:
        posix.close(place)


def _bind_data(ground: Ground, kernel: "Kernel", entry: File) -> None:
    """Mount a file with a descriptor's data, read-only; raises SetupError and SyscallError."""
    new = kernel.make_file_system("tmpfs", _DATA, _DATA_FLAGS)
    try:
        _copy_data(entry, new, "data")
        copy = _clone_data(kernel, entry, new)
    finally:
        posix.close(new)
    try:
        ground.mount_copy(kernel, entry, flagged(kernel, copy, _READ_ONLY))
    finally:
        posix.close(copy)


def _clone_data(kernel: "Kernel", entry: File, new: int) -> int:
    """Return a mount of the file in a new file system; raises SetupError and SyscallError.

    That has to be mounted somewhere for the file to be bound, open_tree(2): on top of the root,
    where no path leads, and just for that.
    """
    here = kernel.open(".", posix.O_PATH | posix.O_DIRECTORY)
    try:
        root = kernel.open("/", posix.O_PATH | posix.O_DIRECTORY)
        try:
            kernel.attach(new, root)
        finally:
            posix.close(root)
        kernel.fchdir(new)
        try:
            return _clone_file(kernel, entry)
        finally:
            kernel.unmount(".")
            kernel.fchdir(here)
    finally:
        posix.close(here)


def _clone_file(kernel: "Kernel", entry: File) -> int:
    """Return a mount of the file in the working directory, which is mounted nowhere yet."""
    file = kernel.open("data", posix.O_PATH)
    try:
        return clone_mounts(kernel, entry.task, entry.target, file)
    finally:
        posix.close(file)


def _copy_data(entry: File, directory: int, name: str) -> None:
    """Make a file of what is read from a descriptor; raises SetupError.

    The program doesn't get the descriptor, unless it's a standard stream.
    """
    try:
        _write(directory, name, _read(entry))
        if entry.source > 2:
            named("fcntl", posix.set_inheritable, entry.source, False)
    except SyscallError as error:
        raise _refused(entry, error) from None


def _read(entry: File) -> "Iterator[bytes]":
    """Yield what can be read from a descriptor; raises SetupError and SyscallError."""
    left = MOST
    while block := named("read", posix.read, entry.source, _CHUNK):
        left -= len(block)
        if left < 0:
            raise _too_large(entry)
        yield block


def _write(directory: int, name: str, blocks: "Iterable[bytes]") -> None:
    """Write blocks of bytes to a new file; raises SyscallError."""
    file = named("openat", posix.open, name, _NEW, 0o644, dir_fd=directory)
    try:
        named("fchmod", posix.fchmod, file, 0o644)  # whatever the umask
        for block in blocks:
            left = block
            while left:
                left = left[named("write", posix.write, file, left) :]
    finally:
        posix.close(file)


def _refused(entry: "File | Symlink | Text", error: SyscallError) -> SetupError:
    """Return the error for what can't be made."""
    hint = None
    if error.errno == errno.EEXIST:
        hint = "nothing is replaced: name another place, or leave out what makes this one"
    elif error.errno == errno.EISDIR:
        hint = "name the descriptor of a file or pipe, not of a directory"
    elif error.errno == errno.EBADF:
        hint = "open the descriptor to be read, as in `FD<FILE`"
    elif error.errno == errno.ENOSPC:
        hint = f"give the tmpfs more room: {mark('--tmpfs DST:size=SIZE')}"
    return failed(INIT, entry.task, error, hint, entry.target)


def _too_large(entry: File) -> SetupError:
    """Return the error for a descriptor that has more data than a file may hold."""
    return SetupError(
        f"{entry.task}: there is more than {MOST >> 20}M to be read",
        stage=INIT,
        path=entry.target,
        hint="bind a file of the host's in its place",
    )
