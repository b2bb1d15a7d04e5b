"""The steps that make a directory, or an empty file system, the root, and leave the old one.

A copy of the directory's mounts becomes the root before all else is mounted, so that all paths are
those of the container. The old root goes last: where it is gone, the kernel lets no user namespace
mount a /proc, since none is visible (fs/namespace.c, mount_too_revealing). An empty root is
made read-only, if at all, once all is mounted in it.
"""

import errno
import posix
import sys

from spawner import lean, linux
from spawner.errors import INIT, SetupError, SyscallError, mark
from spawner.host import paths
from spawner.mount.copies import clone_words, copy_mounts, flag_words, move_words
from spawner.mount.flags import check_flags, number
from spawner.mount.ground import Ground, absolute, mount_step
from spawner.mount.memory import TMPFS_FLAGS, make_tmpfs, tmpfs_words
from spawner.spec import Frozen
from spawner.steps import Step, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.linux import Kernel
    from spawner.mount.mounts import Overlay, Tmpfs


class Root(Frozen):
    """A directory that becomes the root, with its descriptor, which the launcher opened."""

    path: str
    read_only: bool
    held: int
    overlay: "Overlay | None" = None

    @property
    def flags(self) -> int:
        """The flags that its mounts get: its device files are of another host's making."""
        return linux.MS_NODEV | (linux.MS_RDONLY if self.read_only else 0)

    def __str__(self) -> str:
        how = ", read-only" if self.read_only else ""
        if self.overlay is not None:
            how = f", under an overlay {self.overlay.kept}"
        return f"make {self.path} the root directory{how}"


class Change:
    """The change of the root, in steps: the old root stays mounted until the last."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._old = -1

    def enter(self, root: Root) -> Step:
        """Make a directory, or an overlay over it, the root."""
        if root.overlay is not None:
            return self._enter_overlay(root, root.overlay)
        return mount_step(
            str(root),
            f"{clone_words(root.path)}, {flag_words(root.flags)}, "
            f"{move_words('TREE', root.path)}, "
            'fchdir(TREE), pivot_root(".", ".")',
            lambda kernel, _: self._enter(kernel, root),
            topic="change-root",
        )

    def _enter_overlay(self, root: Root, overlay: "Overlay") -> Step:
        """Make an overlay over a directory the root."""
        from spawner.mount.overlay import CALLS, Layers

        def act(kernel: "Kernel", _: str) -> None:
            self._ground.root = root.path.rstrip("/")
            self._begin(kernel)
            place = kernel.open_source(root.path)
            copy = copy_mounts(kernel, str(root), root.path, root.held, root.flags)
            try:
                layers = Layers(self._ground, overlay, str(root), root.path, place, copy.mount)
                new = layers.mount(kernel, root.flags)
            finally:
                posix.close(copy.mount)
                posix.close(place)
            try:
                _change(kernel, str(root), root.path, new)
            finally:
                posix.close(new)

        return mount_step(
            str(root),
            f"{clone_words(root.path)}, {CALLS}, {move_words('OVERLAY', root.path)}, "
            'fchdir(OVERLAY), pivot_root(".", ".")',
            act,
            topic="change-root-overlay",
        )

    def enter_empty(self, tmpfs: "Tmpfs", place: str) -> Step:
        """Make a new file system in memory the root, with `place` to mount proc on."""
        return mount_step(
            tmpfs.task,
            f"{tmpfs_words(tmpfs)}, {move_words('TMPFS', '/')}, "
            f'fchdir(TMPFS), pivot_root(".", "."), mkdir("{place}")',
            lambda kernel, _: self._enter_empty(kernel, tmpfs, place),
            topic="make-root",
        )

    def finish(self) -> Step:
        """Make the new root read-only, but not what is mounted in it."""
        return mount_step(
            "make the new root read-only",
            'mount(NULL, "/", NULL, MS_REMOUNT|MS_BIND|MS_RDONLY|MS_NOSUID|MS_NODEV, NULL)',
            lambda kernel, _: self._finish(kernel),
            topic="finish-root",
        )

    def leave(self) -> Step:
        """Unmount the old root."""
        return mount_step(
            "unmount the old root",
            'fchdir(OLD), umount2(".", MNT_DETACH), chdir("/")',
            lambda kernel, _: self._leave(kernel),
            topic="leave-old-root",
        )

    def _enter(self, kernel: "Kernel", root: Root) -> None:
        """Make a copy of a directory's mounts the root; raises SetupError and SyscallError."""
        self._ground.root = root.path.rstrip("/")
        self._begin(kernel)
        copy = copy_mounts(kernel, str(root), root.path, root.held, root.flags)
        try:
            place = kernel.open_source(root.path)
            try:
                kernel.attach(copy.mount, place)
            finally:
                posix.close(place)
            copy.finish(kernel)
            check_flags(kernel, str(root), copy.mount, root.flags)
            _change(kernel, str(root), root.path, copy.mount)
        finally:
            posix.close(copy.mount)

    def _enter_empty(self, kernel: "Kernel", tmpfs: "Tmpfs", place: str) -> None:
        """Make a new file system in memory the root; raises SetupError and SyscallError.

        In it, mount points are made; that of /proc, `place`, at once.
        """
        self._begin(kernel)
        new = make_tmpfs(kernel, tmpfs)
        try:
            kernel.attach(new, self._old)
            check_flags(kernel, tmpfs.task, new, TMPFS_FLAGS)
            _change(kernel, tmpfs.task, "/", new)
            self._ground.made.add(number(kernel, new))
        finally:
            posix.close(new)

        def absent(directory: int, name: str, _: bool) -> None:
            kernel.make_place(directory, name, file=False)

        below, _ = kernel.walk(absolute("/", place), absent)
        posix.close(below)

    def _begin(self, kernel: "Kernel") -> None:
        """Open the old root and its /proc; raises SyscallError."""
        self._old = kernel.open("/", posix.O_PATH | posix.O_DIRECTORY)
        self._ground.proc = kernel.open("/proc", posix.O_PATH | posix.O_DIRECTORY)

    def _finish(self, kernel: "Kernel") -> None:
        """Make the new root, but no mount below, read-only; raises SetupError and SyscallError."""
        flags = TMPFS_FLAGS | linux.MS_RDONLY
        kernel.mount(None, "/", None, linux.MS_REMOUNT | linux.MS_BIND | flags, None)
        ours = _number_of_root(kernel)
        found = [mount for mount in kernel.mounts(self._ground.proc) if mount.number == ours]
        if not found or "ro" not in found[0].options:
            raise SetupError("the kernel says that the new root isn't read-only", stage=INIT)

    def _leave(self, kernel: "Kernel") -> None:
        """Unmount the old root, with all that is mounted below; raises SyscallError."""
        kernel.fchdir(self._old)
        kernel.unmount(".")
        kernel.chdir("/")
        posix.close(self._old)
        if self._ground.proc is not None:
            posix.close(self._ground.proc)


def _change(kernel: "Kernel", what: str, path: str, new: int) -> None:
    """Make a mount the root, and the working directory; raises SetupError and SyscallError."""
    kernel.fchdir(new)
    _pivot(kernel, what, path)
    kernel.chdir("/")
    if _number_of_root(kernel) != number(kernel, new):
        raise SetupError(f"{what}: the kernel kept another root", stage=INIT)


def _number_of_root(kernel: "Kernel") -> str:
    """Return the number of the mount that is the root; raises SyscallError."""
    root = kernel.open("/", posix.O_PATH | posix.O_DIRECTORY)
    try:
        return number(kernel, root)
    finally:
        posix.close(root)


def _pivot(kernel: "Kernel", what: str, path: str) -> None:
    """Make the working directory the root; raises SetupError."""
    try:
        kernel.pivot_root()
    except SyscallError as error:
        hint = None
        if error.errno == errno.EINVAL:
            hint = (
                "the kernel can't change the root where the old one is an initramfs or isn't a "
                "mount point, as after a chroot: start pyspawn below a root that is mounted"
            )
        raise failed(INIT, what, error, hint, path) from None


def find_init(root: Root | None) -> Step:
    """Check that pyinit can still be found beneath the new root and mounts.

    Its interpreter would say so with a traceback.
    """
    encodings = getattr(sys.modules.get("encodings"), "__file__", None)
    init = f"{lean.HERE}/pyinit/__init__.py"
    others = [path for path in (init, encodings) if path is not None]
    needed = [*_links(lean.interpreter()), *others]

    def act(kernel: "Kernel", _: str) -> None:
        for path in needed:
            try:
                posix.close(kernel.open(path, posix.O_PATH | posix.O_NOFOLLOW))
            except SyscallError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    raise
                raise _hidden(path, root) from None

    return mount_step(
        "find pyinit and its interpreter",
        ", ".join(f'open("{path}", O_PATH|O_NOFOLLOW)' for path in needed),
        act,
        topic="find-init",
    )


def _links(path: str) -> list[str]:
    """Return a path and those that it leads to, from link to link, as on the host."""
    found = [path]
    while len(found) <= paths.MOST_LINKS:
        try:
            text = posix.readlink(path)
        except OSError:  # a file, or none
            break
        path = absolute(path.rpartition("/")[0], text)
        found.append(path)
    return found


def _hidden(path: str, root: Root | None) -> SetupError:
    """Return the error for a part of pyinit that the mounts hide."""
    place = path.rpartition("/")[0]
    if root is not None:
        advice = (
            f"start without {mark('--init')}, or choose an init that is in the root: "
            f"{mark('--init=PATH')}"
        )
    else:
        advice = f"bind {place} on itself, after what hides it, or start without {mark('--init')}"
    return SetupError(
        f"{path}, which pyinit needs, isn't in the container",
        stage=INIT,
        path=path,
        hint=advice,
    )
