"""The steps that make binds and file systems, in their order.

1. The launcher has opened every source, with the caller's rights, before anything was made.
2. The init copies the mounts of each source, before any mount covers one (`copies`).
3. With a root of its own, that becomes the root before all else is mounted (`root`).
4. Then it mounts one after the other, each on what a walk by descriptor has led to (`ground`).
5. What is mounted is read back (`flags`), before anything else runs.
6. The old root goes last.
"""

import posix

from spawner import linux
from spawner.mount.copies import clone_words, copy_mounts, flag_words, move_words
from spawner.mount.files import Dir, File, Mask, Mqueue, Proc, ReadOnly, Symlink, Text
from spawner.mount.flags import number
from spawner.mount.ground import Ground, mount_step
from spawner.mount.memory import TMPFS_FLAGS, make_tmpfs, tmpfs_words
from spawner.mount.mounts import Bind, Dev, Overlay, Tmpfs
from spawner.spec import Frozen
from spawner.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spawner.linux import Kernel
    from spawner.mount.entry import Entry


class Source(Frozen):
    """A bind, with the descriptor of its source, which the launcher opened."""

    bind: Bind
    held: int


def flags_of(bind: Bind) -> int:
    """Return the flags that a bind adds to those of its source."""
    return (
        linux.MS_NOSUID
        | (0 if bind.devices else linux.MS_NODEV)
        | (linux.MS_RDONLY if bind.read_only else 0)
    )


def prepare(ground: Ground, sources: "Iterable[Source]") -> "Iterator[Step]":
    """Yield the steps that copy the mounts of each source."""
    for source in sources:
        words = f"{clone_words(source.bind.source)}, {flag_words(flags_of(source.bind))}"
        yield mount_step(
            f"copy the mounts of {source.bind.source}",
            words,
            lambda kernel, _, source=source: _copy(ground, kernel, source),  # type: ignore[misc]
            topic="copy-source",
        )


def make(ground: Ground, entries: "Iterable[Entry]") -> "Iterator[Step]":
    """Yield the steps that make the mounts, in their order."""
    for each in entries:
        if each == Proc():  # it's mounted with every PID namespace
            continue
        yield _step(ground, each)


def _step(ground: Ground, entry: "Entry") -> Step:
    """Return the step that makes one of the mounts."""
    if isinstance(entry, Bind):
        return _bind(ground, entry)
    if isinstance(entry, Tmpfs):
        return _tmpfs(ground, entry)
    if isinstance(entry, Dev):
        from spawner.mount import dev

        return dev.make(ground, entry)
    if isinstance(entry, Overlay):
        from spawner.mount import overlay

        return overlay.make(ground, entry)
    if isinstance(entry, (Mask, ReadOnly)):
        from spawner.mount import cover

        if isinstance(entry, Mask):
            return cover.mask(ground, entry)
        return cover.make_read_only(ground, entry)
    from spawner.mount import fill

    if isinstance(entry, (Proc, Mqueue)):
        return fill.mount_kernels(ground, entry)
    if isinstance(entry, Dir):
        return fill.make_directory(ground, entry)
    if isinstance(entry, Symlink):
        return fill.make_link(ground, entry)
    if isinstance(entry, File):
        return fill.make_file(ground, entry)
    if isinstance(entry, Text):
        return fill.make_text(ground, entry)
    raise AssertionError(entry)


def read_back(ground: Ground) -> Step:
    """Check the flags of all that is mounted."""
    return mount_step(
        "read back what is mounted",
        'read("/proc/self/mountinfo")',
        lambda kernel, _: ground.check(kernel),
        topic="read-back-mounts",
    )


def _bind(ground: Ground, bind: Bind) -> Step:
    return mount_step(
        bind.task,
        move_words("TREE", bind.target),
        lambda kernel, _: _mount_bind(ground, kernel, bind),
        topic="bind",
    )


def _tmpfs(ground: Ground, tmpfs: Tmpfs) -> Step:
    return mount_step(
        tmpfs.task,
        f"{tmpfs_words(tmpfs)}, {move_words('TMPFS', tmpfs.target)}",
        lambda kernel, _: _mount_tmpfs(ground, kernel, tmpfs),
        topic="mount-tmpfs",
    )


def _copy(ground: Ground, kernel: "Kernel", source: Source) -> None:
    """Make a copy of the mounts of a source; raises SetupError and SyscallError."""
    bind = source.bind
    copy = copy_mounts(kernel, bind.task, bind.source, source.held, flags_of(bind))
    ground.keep(bind, bind.source, copy)


def _mount_bind(ground: Ground, kernel: "Kernel", bind: Bind) -> None:
    """Mount the copy of a source's mounts; raises SetupError and SyscallError."""
    copy = ground.kept(bind)[bind.source]
    try:
        ground.mount_copy(kernel, bind, copy)
    finally:
        posix.close(copy.mount)


def _mount_tmpfs(ground: Ground, kernel: "Kernel", tmpfs: Tmpfs) -> None:
    """Mount a new file system in memory; raises SetupError and SyscallError."""
    new = make_tmpfs(kernel, tmpfs)
    try:
        ground.attach(kernel, tmpfs, new, file=False)
        ground.claim(kernel, tmpfs.task, new, TMPFS_FLAGS)
        ground.made.add(number(kernel, new))
    finally:
        posix.close(new)
