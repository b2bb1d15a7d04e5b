"""The steps that mask files and directories, or make them read-only.

What is masked was looked at by a descriptor, and so was the device that covers it: neither can be
another by the time of the mount, whoever may write to the directory.
"""

import errno
import posix

from spawner import linux
from spawner.errors import INIT, SyscallError
from spawner.mount.copies import (
    clone_mounts,
    clone_words,
    copy_mounts,
    flag_words,
    flagged,
    move_words,
)
from spawner.mount.dev import check_device, check_open
from spawner.mount.entry import hides
from spawner.mount.files import Mask, ReadOnly
from spawner.mount.flags import gone, number
from spawner.mount.ground import Ground, mount_step
from spawner.spec import Frozen
from spawner.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.linux import Kernel

NULL = "/dev/null"

_EMPTY = {"source": "mask", "size": "4K", "nr_inodes": "1", "mode": "0555"}
"""Options of the file system that covers a directory, tmpfs(5): there is room for nothing."""

_EMPTY_FLAGS = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
_NULL_FLAGS = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NOEXEC
"""Read-only, so that nobody changes the mode of the host's device; it can be written to anyway."""


class Masks(Frozen):
    """The masks of a container, with a descriptor of /dev/null, which the launcher opened."""

    masks: tuple[Mask, ...]
    held: int


def prepare(ground: Ground, masks: Masks) -> Step:
    """Copy the mount of /dev/null for each mask."""

    def act(kernel: "Kernel", _: str) -> None:
        for mask in masks.masks:
            copy = copy_mounts(kernel, mask.task, NULL, masks.held, _NULL_FLAGS)
            ground.keep(mask, NULL, copy)

    return mount_step(
        f"copy the mount of {NULL} for what is masked",
        f"{clone_words(NULL)}, …",
        act,
        topic="copy-source",
    )


def mask(ground: Ground, entry: Mask) -> Step:
    """Mask a file or directory."""
    return mount_step(
        entry.task,
        move_words('NULL or fsmount(fsopen("tmpfs"))', entry.target),
        lambda kernel, _: _mask(ground, kernel, entry),
        topic="mask",
    )


def _mask(ground: Ground, kernel: "Kernel", entry: Mask) -> None:
    """Mask a file or directory, if it's there; raises SetupError and SyscallError."""
    copy = ground.kept(entry)[NULL]
    try:
        try:
            place, point = kernel.walk(entry.target, gone)
        except SyscallError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return
            raise
        try:
            if kernel.is_directory(place):
                _mask_directory(ground, kernel, entry, place, point)
                return
            ground.cover(kernel, entry, copy.mount, place, point)
        finally:
            posix.close(place)
        copy.finish(kernel)
        ground.claim(kernel, entry.task, copy.mount, copy.flags)
        check_device(kernel, "null", copy.mount, INIT)
        check_open(entry, kernel.mounts(ground.proc), {"null": number(kernel, copy.mount)})
    finally:
        posix.close(copy.mount)


def _mask_directory(ground: Ground, kernel: "Kernel", entry: Mask, place: int, point: str) -> None:
    """Mount an empty file system on a directory; raises SetupError and SyscallError."""
    new = kernel.make_file_system("tmpfs", _EMPTY, _EMPTY_FLAGS)
    try:
        ground.cover(kernel, entry, new, place, point)
        ground.claim(kernel, entry.task, new, _EMPTY_FLAGS)
    finally:
        posix.close(new)


def make_read_only(ground: Ground, entry: ReadOnly) -> Step:
    """Make a file or directory read-only, with all that is mounted below."""
    return mount_step(
        entry.task,
        f"{clone_words(entry.target)}, {flag_words(linux.MS_RDONLY)}, "
        f"{move_words('TREE', entry.target)}",
        lambda kernel, _: _make_read_only(ground, kernel, entry),
        topic="make-read-only",
    )


def _make_read_only(ground: Ground, kernel: "Kernel", entry: ReadOnly) -> None:
    """Bind a file or directory on itself, read-only; raises SetupError and SyscallError."""
    place, point = kernel.walk(entry.target, gone)
    try:
        copy = flagged(
            kernel, clone_mounts(kernel, entry.task, entry.target, place), linux.MS_RDONLY
        )
        try:
            here = kernel.directory()
            kernel.attach(copy.mount, place)
            ground.note(point)
            copy.finish(kernel)
            ground.claim(kernel, entry.task, copy.mount, copy.flags)
            if hides(point, here):
                _return(kernel, here)
        finally:
            posix.close(copy.mount)
    finally:
        posix.close(place)


def _return(kernel: "Kernel", here: str) -> None:
    """Go to the working directory again, since a mount has covered it; raises SyscallError.

    The one that we were in can still be written.
    """
    place, _ = kernel.walk(here, gone)
    try:
        kernel.fchdir(place)
    finally:
        posix.close(place)
