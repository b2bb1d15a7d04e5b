"""The steps for mounts beyond those of a plain run, such as another propagation.

A directory that somebody names is opened part by part, through no symbolic link, and the mount is
made on what was opened: so nobody who may write to a part of the path can lead it elsewhere.
"""

import errno
import posix

from spawner import linux
from spawner.errors import INIT, SyscallError, mark
from spawner.mount.mounts import Overlay, empty_root
from spawner.mount.tree import PRIVATE, SHARED, SLAVE, UNCHANGED
from spawner.steps import Step, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spawner.linux import Kernel
    from spawner.mount.changes import Watch
    from spawner.mount.cover import Masks
    from spawner.mount.dev import Devices
    from spawner.mount.entry import Entry
    from spawner.mount.ground import Ground
    from spawner.mount.operations import Source
    from spawner.mount.root import Root
    from spawner.mount.tree import Tree
    from spawner.mount.upper import Upper

_FLAGS = {PRIVATE: "MS_PRIVATE", SLAVE: "MS_SLAVE", SHARED: "MS_SHARED"}
_PROC_FLAGS = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC


def inside(
    tree: "Tree",
    entries: "Iterable[Entry]" = (),
    sources: "Iterable[Source]" = (),
    *,
    stays: bool = True,
    root: "Root | None" = None,
    devices: "Iterable[Devices]" = (),
    uppers: "Iterable[Upper]" = (),
    masks: "Masks | None" = None,
    watch: "Watch | None" = None,
) -> "Iterator[Step]":
    """Yield the steps that give the new mount namespace its propagation, its /proc and its mounts.

    `entries` are those of the tree, without what isn't there, and `sources` what they bind. The
    sources come before all that is mounted, which may cover them. The program `stays` in the
    working directory or goes elsewhere. `root` is the directory that becomes the root,
    `devices` are what a directory of devices binds, `uppers` take the changes of overlays, of which
    `watch` tells at the end, and `masks` are what is masked.
    """
    if tree.propagation != UNCHANGED:
        yield propagate(tree.propagation)
    if not tree.entries and root is None:
        yield _proc(tree)
        return
    from spawner.mount import operations
    from spawner.mount.ground import Ground

    entries = list(entries)
    covers = [each.target for each in entries if each.covers and not isinstance(each, Overlay)]
    ground = Ground({"/proc", tree.mount_proc or "/proc"}, covers, stays=stays)
    ground.watch = watch
    yield from operations.prepare(ground, sources)
    yield from _prepare(ground, devices, uppers, masks)
    empty = empty_root(tree.entries)
    change = None
    if root is not None or empty is not None:
        from spawner.mount.root import Change

        change = Change(ground)
        if root is not None:
            yield change.enter(root)
        if empty is not None:
            yield change.enter_empty(empty, tree.mount_proc or "/proc")
    yield _proc(tree)
    yield from operations.make(ground, (each for each in entries if each is not empty))
    yield operations.read_back(ground)
    if change is not None:
        if empty is not None and tree.read_only:
            yield change.finish()
        yield change.leave()


def _prepare(
    ground: "Ground",
    devices: "Iterable[Devices]",
    uppers: "Iterable[Upper]",
    masks: "Masks | None",
) -> "Iterator[Step]":
    """Yield the steps that copy mounts of the host's, other than those to be bound."""
    for each in devices:
        from spawner.mount import dev

        yield dev.prepare(ground, each)
    for upper in uppers:
        from spawner.mount import overlay

        yield overlay.prepare(ground, upper)
    if masks is not None:
        from spawner.mount import cover

        yield cover.prepare(ground, masks)


def _proc(tree: "Tree") -> Step:
    """Mount a /proc where one is asked for."""
    apart = tree.propagation in (SHARED, UNCHANGED)
    if tree.mount_proc is not None:
        return mount_proc(tree.mount_proc, needs=("mount",), apart=apart, root=tree.root)
    return mount_proc("/proc", needs=("mount", "pid"), apart=apart, root=tree.root)


def change_directory(path: str) -> Step:
    """Change to a directory of a root of its own, in which links lead where their text says."""
    return Step(
        INIT,
        f"change to the directory {path}",
        f'open("{path}", O_PATH|O_NOFOLLOW|O_DIRECTORY), fchdir(DIRECTORY)',
        lambda kernel, _: kernel.chdir_by_text(path),
        topic="change-directory",
    )


def propagate(how: str) -> Step:
    """Set how mounts spread between the new mount namespace and the old, mount_namespaces(7)."""
    name = _FLAGS[how]
    flags = linux.MS_REC | getattr(linux, name)
    return Step(
        INIT,
        f"make every mount {how}",
        f'mount(NULL, "/", NULL, MS_REC|{name}, NULL)',
        lambda kernel, _: kernel.mount(None, "/", None, flags, None),
        topic=f"make-{how}",
        needs=("mount",),
    )


def mount_proc(path: str, *, needs: tuple[str, ...], apart: bool, root: str | None = None) -> Step:
    """Mount a proc file system on the directory `path`.

    With `apart` mounts spread to the host's own tree, so what is mounted there is made private
    first: a mount belongs to the propagation of what it's made on. A plain directory belongs to
    that of the mount around it, which stays as it is: so it's refused. `root` is the directory of
    the host's that is the root by then.
    """
    what = f"mount proc on {path}"

    def act(kernel: "Kernel", _: str) -> None:
        here = kernel.open(".", posix.O_PATH | posix.O_DIRECTORY)
        try:
            place = _open(kernel, what, path, root)
            try:
                kernel.fchdir(place)
            finally:
                posix.close(place)
            if apart:
                _keep_apart(kernel, what, path)
            _mount(kernel, path)
            kernel.fchdir(here)
        finally:
            posix.close(here)

    calls = [
        f'fchdir(openat(AT_FDCWD, "{path}", O_PATH|O_NOFOLLOW))',
        *(['mount(NULL, ".", NULL, MS_PRIVATE, NULL)'] if apart else []),
        'mount("proc", ".", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC, NULL)',
    ]
    return Step(
        INIT,
        what,
        ", ".join(calls),
        act,
        topic="mount-proc-apart" if apart else "mount-proc-on",
        needs=needs,
    )


def _mount(kernel: "Kernel", path: str) -> None:
    """Mount proc on the working directory, which is `path`."""
    try:
        kernel.mount("proc", ".", "proc", _PROC_FLAGS, None)
    except SyscallError as error:
        raise SyscallError(error.syscall, error.errno or 0, path) from None


def _keep_apart(kernel: "Kernel", what: str, path: str) -> None:
    """Make the mount on the working directory, which is `path`, private."""
    try:
        kernel.mount(None, ".", None, linux.MS_PRIVATE, None)
    except SyscallError as error:
        hint = None
        if error.errno == errno.EINVAL:
            hint = (
                f"nothing is mounted on {path}, so the new /proc would appear on the host: use "
                f"{mark('--propagation private')} or slave, or `mount --bind` {path} on itself"
            )
        raise failed(INIT, what, error, hint, path) from None


def _open(kernel: "Kernel", what: str, path: str, root: str | None) -> int:
    """Return a descriptor of the directory `path`; no part of it may be a symbolic link."""
    try:
        return kernel.open_directory(path)
    except SyscallError as error:
        hint = None
        if error.errno == errno.ELOOP:
            hint = (
                f"{error.path} is a symbolic link, and whoever made it decides where it leads: "
                f"name the directory itself, as `realpath {path}` shows it"
            )
        elif error.errno == errno.ENOENT and root is not None:
            hint = f"make a directory for it: `mkdir {root.rstrip('/')}{path}`"
        raise failed(INIT, what, error, hint, path) from None
