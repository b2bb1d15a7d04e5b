"""The steps that make binds, tmpfs, devices and a new root.

1. The launcher has opened every source, with the caller's rights, before anything was made.
2. The init, in its new mount namespace, opens each source again, since nothing of another mount
   namespace can be bound, and compares: what somebody has put in its place meanwhile isn't bound.
   It copies the mounts there, recursively, and gives the copy its flags, before any mount covers a
   source.
3. Then it mounts one after the other, in their order. A target is walked to part by part
   (`paths.walk`), and the mount is made on what was opened: so nobody who may write to a part of
   the path can lead it elsewhere. By then it is known where the path leads, so what would hide an
   earlier mount, or the working directory, is refused.
4. With a root of its own, a copy of that directory's mounts becomes the root before all else is
   mounted, so that all paths are those of the container. The old root goes last: where it is gone,
   the kernel lets no user namespace mount a /proc, since none is visible (fs/namespace.c,
   mount_too_revealing).
5. What is mounted is looked at by its number, with all that is mounted below: each has the flags
   that were asked for, or there's no container.

A mount point that isn't there is made only in a tmpfs of these steps' own making: everything else
is the host's. Such a tmpfs may be the root, too; it's made read-only, if at all, once all is made.
"""

import errno
import posix
import sys

# All that the init reads later, when a mount may have covered the place where it is.
from pyinit import execerror, execvp  # noqa: F401
from spawner import lean, linux
from spawner.errors import INIT, SetupError, SyscallError, mark
from spawner.host import paths, proc  # noqa: F401
from spawner.mount.mounts import Bind, Dev, Tmpfs, hides, shown
from spawner.spec import Frozen
from spawner.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from spawner.host.proc import Mount
    from spawner.linux import Kernel
    from spawner.mount.mounts import Entry

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

_TMPFS_FLAGS = linux.MS_NOSUID | linux.MS_NODEV

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
           "tty": (5, 0)}  # fmt: skip
"""The devices that programs rely on, by their numbers, null(4), random(4), tty(4)."""

LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2",
         "ptmx": "pts/ptmx"}  # fmt: skip
"""The symbolic links in /dev, proc_pid_fd(5), pts(4)."""

_DEV = {"source": "dev", "size": "64K", "nr_inodes": "64", "mode": "0755"}
_SHM = {"source": "shm", "size": "64M", "nr_inodes": "16384", "mode": "1777"}
_PTS = {"source": "devpts", "ptmxmode": "0666", "mode": "0620"}
"""Options of the file systems, tmpfs(5). Each devpts has terminals of its own, pts(4)."""

_DEVICE_FLAGS = linux.MS_NOSUID | linux.MS_NOEXEC
_DEV_FLAGS = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
_PTS_FLAGS = linux.MS_NOSUID | linux.MS_NOEXEC


class Source(Frozen):
    """A bind, with the descriptor of its source, which the launcher opened."""

    bind: Bind
    held: int


class Devices(Frozen):
    """A directory of devices, with their descriptors by name, which the launcher opened."""

    dev: Dev
    held: tuple[tuple[str, int], ...]


class Root(Frozen):
    """A directory that becomes the root, with its descriptor, which the launcher opened."""

    path: str
    read_only: bool
    held: int

    @property
    def flags(self) -> int:
        """The flags that its mounts get: its device files are of another host's making."""
        return linux.MS_NODEV | (linux.MS_RDONLY if self.read_only else 0)

    def __str__(self) -> str:
        return f"make {self.path} the root directory" + (", read-only" if self.read_only else "")


class Ground:
    """What the init has mounted so far, and what it has prepared to mount.

    `points` are where something is mounted already, which isn't to be hidden. The program `stays`
    in the working directory, if it doesn't go to one with a whole path.
    """

    def __init__(self, points: "Iterable[str]", *, stays: bool) -> None:
        self._points = list(points)
        self._stays = stays
        self._made: set[str] = set()
        self._ready: dict[Bind, int] = {}
        self._plain: set[Bind] = set()
        self._devices: dict[Dev, list[tuple[str, int, bool]]] = {}
        self._old = -1
        self._root = ""
        self._proc: int | None = None

    def prepare(self, kernel: "Kernel", source: Source) -> None:
        """Make a copy of the mounts of a source; raises SetupError and SyscallError."""
        bind = source.bind
        copy, has_flags = _copy(kernel, _what(bind), bind.source, source.held, flags_of(bind))
        self._ready[bind] = copy
        if not has_flags:
            self._plain.add(bind)

    def enter(self, kernel: "Kernel", root: Root) -> None:
        """Make a copy of a directory's mounts the root; raises SetupError and SyscallError.

        The old root stays mounted, until `leave`.
        """
        self._root = root.path.rstrip("/")
        self._old = kernel.open("/", posix.O_PATH | posix.O_DIRECTORY)
        self._proc = kernel.open("/proc", posix.O_PATH | posix.O_DIRECTORY)
        copy, has_flags = _copy(kernel, str(root), root.path, root.held, root.flags)
        try:
            place = kernel.open_source(root.path)
            try:
                kernel.attach(copy, place)
            finally:
                posix.close(place)
            if not has_flags:
                _remount(kernel, copy, root.flags)
            _check_flags(kernel, str(root), copy, root.flags)
            self._change_root(kernel, str(root), root.path, copy)
        finally:
            posix.close(copy)

    def enter_empty(self, kernel: "Kernel", tmpfs: Tmpfs, place: str) -> None:
        """Make a new file system in memory the root; raises SetupError and SyscallError.

        In it, mount points are made; that of /proc, `place`, at once.
        """
        self._old = kernel.open("/", posix.O_PATH | posix.O_DIRECTORY)
        self._proc = kernel.open("/proc", posix.O_PATH | posix.O_DIRECTORY)
        new = self._new_tmpfs(kernel, tmpfs)
        try:
            kernel.attach(new, self._old)
            _check_flags(kernel, _what(tmpfs), new, _TMPFS_FLAGS)
            self._change_root(kernel, _what(tmpfs), "/", new)
            self._made.add(_number(kernel, new))
        finally:
            posix.close(new)

        def absent(directory: int, name: str, _: bool) -> None:
            kernel.make_place(directory, name, file=False)

        below, _ = kernel.walk(absolute("/", place), absent)
        posix.close(below)

    def _change_root(self, kernel: "Kernel", what: str, path: str, new: int) -> None:
        """Make a mount the root, and the working directory; raises SetupError and SyscallError."""
        kernel.fchdir(new)
        _pivot(kernel, what, path)
        kernel.chdir("/")
        found = kernel.open("/", posix.O_PATH | posix.O_DIRECTORY)
        try:
            if _number(kernel, found) != _number(kernel, new):
                raise SetupError(f"{what}: the kernel kept another one", stage=INIT)
        finally:
            posix.close(found)

    def finish(self, kernel: "Kernel") -> None:
        """Make the new root, but no mount below, read-only; raises SetupError and SyscallError."""
        flags = _TMPFS_FLAGS | linux.MS_RDONLY
        kernel.mount(None, "/", None, linux.MS_REMOUNT | linux.MS_BIND | flags, None)
        root = kernel.open("/", posix.O_PATH | posix.O_DIRECTORY)
        try:
            number = _number(kernel, root)
        finally:
            posix.close(root)
        found = [mount for mount in kernel.mounts(self._proc) if mount.number == number]
        if not found or "ro" not in found[0].options:
            raise SetupError("the kernel says that the new root isn't read-only", stage=INIT)

    def leave(self, kernel: "Kernel") -> None:
        """Unmount the old root, with all that is mounted below; raises SyscallError."""
        kernel.fchdir(self._old)
        kernel.unmount(".")
        kernel.chdir("/")
        posix.close(self._old)
        if self._proc is not None:
            posix.close(self._proc)

    def bind(self, kernel: "Kernel", bind: Bind) -> None:
        """Mount the copy of a source's mounts; raises SetupError and SyscallError."""
        copy = self._ready.pop(bind)
        try:
            self._attach(kernel, bind, copy, file=not kernel.is_directory(copy))
            if bind in self._plain:
                _remount(kernel, copy, flags_of(bind))
            _check_flags(kernel, _what(bind), copy, flags_of(bind), self._proc)
        finally:
            posix.close(copy)

    def mount_tmpfs(self, kernel: "Kernel", tmpfs: Tmpfs) -> None:
        """Mount a new file system in memory; raises SetupError and SyscallError."""
        new = self._new_tmpfs(kernel, tmpfs)
        try:
            self._attach(kernel, tmpfs, new, file=False)
            _check_flags(kernel, _what(tmpfs), new, _TMPFS_FLAGS, self._proc)
            self._made.add(_number(kernel, new))
        finally:
            posix.close(new)

    def _new_tmpfs(self, kernel: "Kernel", tmpfs: Tmpfs) -> int:
        """Return a descriptor of a new file system in memory, which has the bounds asked for."""
        new = kernel.make_file_system("tmpfs", tmpfs_options(tmpfs), _TMPFS_FLAGS)
        try:
            self._check_bounds(kernel, tmpfs, new)
        except BaseException:
            posix.close(new)
            raise
        return new

    def _check_bounds(self, kernel: "Kernel", tmpfs: Tmpfs, new: int) -> None:
        """Raise SetupError for a file system that has other bounds than those asked for."""
        size, files = kernel.capacity(new)
        if size - tmpfs.size not in range(_page()) or files != tmpfs.files:
            raise SetupError(
                f"{_what(tmpfs)}: the kernel made it for {size} bytes and {files} files, not "
                f"for {tmpfs.size} and {tmpfs.files}",
                stage=INIT,
            )

    def ready_devices(self, kernel: "Kernel", devices: Devices) -> None:
        """Make copies of the mounts of the devices; raises SetupError and SyscallError."""
        for name, held in devices.held:
            path = f"/dev/{name}"
            copy, has_flags = _copy(kernel, _what(devices.dev), path, held, _DEVICE_FLAGS)
            self._devices.setdefault(devices.dev, []).append((name, copy, has_flags))

    def make_devices(self, kernel: "Kernel", dev: Dev) -> None:
        """Mount a directory, and in it the devices; raises SetupError and SyscallError."""
        self._mount(kernel, dev, "tmpfs", _DEV, _DEV_FLAGS)
        for name, copy, has_flags in self._devices[dev]:
            try:
                self._attach(kernel, Bind(f"/dev/{name}", f"{dev.target}/{name}"), copy, file=True)
                if not has_flags:
                    _remount(kernel, copy, _DEVICE_FLAGS)
                _check_flags(kernel, _what(dev), copy, _DEVICE_FLAGS, self._proc)
                self._check_opens(kernel, dev, name, copy)
            finally:
                posix.close(copy)
        below = {"pts": ("devpts", _PTS, _PTS_FLAGS), "shm": ("tmpfs", _SHM, _DEV_FLAGS)}
        for name, (kind, options, flags) in below.items():
            self._mount(kernel, Tmpfs(f"{dev.target}/{name}"), kind, options, flags)
        place, _ = kernel.walk(dev.target, _gone)
        try:
            for name, text in LINKS.items():
                kernel.symlink(text, place, name)
        finally:
            posix.close(place)

    def _check_opens(self, kernel: "Kernel", dev: Dev, name: str, copy: int) -> None:
        """Raise SetupError for a device file that isn't the right device, or can't be opened."""
        check_device(kernel, name, copy, INIT)
        for mount in below(kernel.mounts(self._proc), _number(kernel, copy)):
            if "nodev" in mount.options:
                raise SetupError(
                    f"{_what(dev)}: /dev/{name} is on a mount with nodev, and can't be opened",
                    stage=INIT,
                    path=f"/dev/{name}",
                    hint="start pyspawn where /dev is mounted without nodev",
                )

    def _mount(
        self, kernel: "Kernel", entry: "Entry", kind: str, options: dict[str, str], flags: int
    ) -> None:
        """Mount a new file system of a kind, in which mount points are made."""
        new = kernel.make_file_system(kind, options, flags)
        try:
            self._attach(kernel, entry, new, file=False)
            _check_flags(kernel, _what(entry), new, flags, self._proc)
            self._made.add(_number(kernel, new))
        finally:
            posix.close(new)

    def _attach(self, kernel: "Kernel", entry: "Entry", mount: int, *, file: bool) -> None:
        """Mount a detached mount on the target of `entry`; raises SetupError and SyscallError."""

        def absent(directory: int, name: str, last: bool) -> None:
            if _number(kernel, directory) not in self._made:
                raise _nowhere(entry, self._root)
            kernel.make_place(directory, name, file=file and last)

        place, point = kernel.walk(entry.target, absent)
        try:
            self._check(kernel, entry, point)
            if kernel.is_directory(place) == file:
                raise _unlike(entry, file=file)
            kernel.attach(mount, place)
        finally:
            posix.close(place)
        self._points.append(point)

    def _check(self, kernel: "Kernel", entry: "Entry", point: str) -> None:
        """Refuse to hide an earlier mount or the working directory; raises SetupError."""
        leads = "" if point == entry.target else f", which leads to {point},"
        here = kernel.directory()
        for earlier in self._points:
            if hides(point, absolute(here, earlier)):
                raise SetupError(
                    f"{entry}{leads} would hide what is mounted on {earlier}",
                    stage=INIT,
                    path=entry.target,
                    hint=f"name the target as `realpath {entry.target}` shows it, and before what "
                    "is mounted below it",
                )
        if self._stays and hides(point, here):
            raise SetupError(
                f"{entry}{leads} would hide the working directory, {here}",
                stage=INIT,
                path=entry.target,
                hint=f"name a directory in the container where PROGRAM starts, by its whole path: "
                f"{mark(f'--workdir {here}')}",
            )


def absolute(here: str, path: str) -> str:
    """Return the absolute path, without symbolic links, of one that may be relative to `here`."""
    found: list[str] = []
    for word in (path if path.startswith("/") else f"{here}/{path}").split("/"):
        if word == "..":
            found = found[:-1]
        elif word not in ("", "."):
            found.append(word)
    return "/" + "/".join(found)


def flags_of(bind: Bind) -> int:
    """Return the flags that a bind adds to those of its source."""
    return (
        linux.MS_NOSUID
        | (0 if bind.devices else linux.MS_NODEV)
        | (linux.MS_RDONLY if bind.read_only else 0)
    )


def tmpfs_options(tmpfs: Tmpfs) -> dict[str, str]:
    """Return the options of a file system, tmpfs(5)."""
    return {
        "source": "tmpfs",
        "size": str(tmpfs.size),
        "nr_inodes": str(tmpfs.files),
        "mode": "0755" if tmpfs.is_root else "1777",
    }


def prepare(ground: Ground, sources: "Iterable[Source]") -> "Iterator[Step]":
    """Yield the steps that copy the mounts of each source."""
    for source in sources:
        names = "|".join(_names(flags_of(source.bind)))
        yield Step(
            INIT,
            f"copy the mounts of {source.bind.source}",
            f'open_tree(open("{source.bind.source}", O_PATH), "", '
            "OPEN_TREE_CLONE|AT_RECURSIVE|AT_EMPTY_PATH), "
            f'mount_setattr(TREE, "", AT_EMPTY_PATH|AT_RECURSIVE, {{{names}}})',
            lambda kernel, _, source=source: ground.prepare(kernel, source),  # type: ignore[misc]
            topic="copy-source",
            needs=("mount",),
        )


def enter(ground: Ground, root: Root) -> Step:
    """Make a directory the root."""
    names = "|".join(_names(root.flags))
    return Step(
        INIT,
        str(root),
        f'open_tree(open("{root.path}", O_PATH), "", '
        "OPEN_TREE_CLONE|AT_RECURSIVE|AT_EMPTY_PATH), "
        f'mount_setattr(TREE, "", AT_EMPTY_PATH|AT_RECURSIVE, {{{names}}}), '
        f'move_mount(TREE, "", open("{root.path}", O_PATH), "", '
        "MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH), "
        'fchdir(TREE), pivot_root(".", ".")',
        lambda kernel, _: ground.enter(kernel, root),
        topic="change-root",
        needs=("mount",),
    )


def enter_empty(ground: Ground, tmpfs: Tmpfs, proc: str) -> Step:
    """Make a new file system in memory the root, with a mount point for `proc`."""
    options = ",".join(f"{name}={value}" for name, value in tmpfs_options(tmpfs).items())
    return Step(
        INIT,
        _what(tmpfs),
        f'fsmount(fsopen("tmpfs"), {{{options}}}, {"|".join(_names(_TMPFS_FLAGS))}), '
        'move_mount(TMPFS, "", open("/", O_PATH), "", '
        "MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH), "
        f'fchdir(TMPFS), pivot_root(".", "."), mkdir("{proc}")',
        lambda kernel, _: ground.enter_empty(kernel, tmpfs, proc),
        topic="make-root",
        needs=("mount",),
    )


def finish(ground: Ground) -> Step:
    """Make the new root read-only, but not what is mounted in it."""
    return Step(
        INIT,
        "make the new root read-only",
        'mount(NULL, "/", NULL, MS_REMOUNT|MS_BIND|MS_RDONLY|MS_NOSUID|MS_NODEV, NULL)',
        lambda kernel, _: ground.finish(kernel),
        topic="finish-root",
        needs=("mount",),
    )


def leave(ground: Ground) -> Step:
    """Unmount the old root."""
    return Step(
        INIT,
        "unmount the old root",
        'fchdir(OLD), umount2(".", MNT_DETACH), chdir("/")',
        lambda kernel, _: ground.leave(kernel),
        topic="leave-old-root",
        needs=("mount",),
    )


def prepare_devices(ground: Ground, devices: Devices) -> Step:
    """Copy the mounts of each device."""
    return Step(
        INIT,
        "copy the mounts of the devices",
        'open_tree(open("/dev/null", O_PATH), "", OPEN_TREE_CLONE|AT_RECURSIVE|AT_EMPTY_PATH), …',
        lambda kernel, _: ground.ready_devices(kernel, devices),
        topic="copy-source",
        needs=("mount",),
    )


def check_device(kernel: "Kernel", name: str, descriptor: int, where: str) -> None:
    """Raise SetupError for a device file that isn't the device of its name."""
    if kernel.device(descriptor) == posix.makedev(*DEVICES[name]):
        return
    numbers = ":".join(map(str, DEVICES[name]))
    raise SetupError(
        f"/dev/{name} isn't the character device {numbers}",
        stage=where,
        path=f"/dev/{name}",
        hint=f"as root, make it anew: `mknod -m 666 /dev/{name} c {numbers.replace(':', ' ')}`",
    )


def make(ground: Ground, entries: "Iterable[Entry]") -> "Iterator[Step]":
    """Yield the steps that make the mounts, in their order."""
    for each in entries:
        if isinstance(each, Dev):
            yield _dev(ground, each)
        else:
            yield _bind(ground, each) if isinstance(each, Bind) else _tmpfs(ground, each)


def find_init(root: Root | None) -> Step:
    """Check that pyinit can still be found beneath the new root and mounts.

    Its interpreter would say so with a traceback.
    """
    encodings = getattr(sys.modules.get("encodings"), "__file__", None)
    init = f"{lean.HERE}/pyinit/__init__.py"
    needed = [path for path in (sys.executable, init, encodings) if path is not None]

    def act(kernel: "Kernel", _: str) -> None:
        for path in needed:
            try:
                posix.close(kernel.open(path, posix.O_PATH))
            except SyscallError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    raise
                raise _hidden(path, root) from None

    return Step(
        INIT,
        "find pyinit and its interpreter",
        ", ".join(f'open("{path}", O_PATH)' for path in needed),
        act,
        topic="find-init",
        needs=("mount",),
    )


def _hidden(path: str, root: Root | None) -> SetupError:
    """Return the error for a part of pyinit that the mounts hide."""
    place = path.rpartition("/")[0]
    if root is not None:
        advice = f"do without an init, or choose one that is in the root: {mark('--init=PATH')}"
    else:
        advice = f"bind {place} on itself, after what hides it, or do without an init"
    return SetupError(
        f"{path}, which pyinit needs, isn't in the container",
        stage=INIT,
        path=path,
        hint=advice,
    )


def _bind(ground: Ground, bind: Bind) -> Step:
    return Step(
        INIT,
        _what(bind),
        f'move_mount(TREE, "", open("{bind.target}", O_PATH), "", '
        "MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH)",
        lambda kernel, _: ground.bind(kernel, bind),
        topic="bind",
        needs=("mount",),
    )


def _tmpfs(ground: Ground, tmpfs: Tmpfs) -> Step:
    options = ",".join(f"{name}={value}" for name, value in tmpfs_options(tmpfs).items())
    return Step(
        INIT,
        _what(tmpfs),
        f'fsmount(fsopen("tmpfs"), {{{options}}}, {"|".join(_names(_TMPFS_FLAGS))}), '
        f'move_mount(TMPFS, "", open("{tmpfs.target}", O_PATH), "", '
        "MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH)",
        lambda kernel, _: ground.mount_tmpfs(kernel, tmpfs),
        topic="mount-tmpfs",
        needs=("mount",),
    )


def _dev(ground: Ground, dev: Dev) -> Step:
    return Step(
        INIT,
        _what(dev),
        f'fsmount(fsopen("tmpfs")), move_mount(DEV, "", open("{dev.target}", O_PATH), ""), '
        f'move_mount(NULL, "", open("{dev.target}/null", O_PATH), ""), …, '
        'fsmount(fsopen("devpts")), …',
        lambda kernel, _: ground.make_devices(kernel, dev),
        topic="mount-dev",
        needs=("mount",),
    )


def _what(entry: "Entry") -> str:
    """Return what a mount does, as an imperative."""
    if isinstance(entry, Dev):
        return f"mount the devices on {entry.target}"
    if isinstance(entry, Tmpfs) and entry.is_root:
        return f"make a tmpfs of at most {shown(entry.size)} the root directory"
    if isinstance(entry, Tmpfs):
        return f"mount a tmpfs of at most {shown(entry.size)} on {entry.target}"
    how = ", read-only" if entry.read_only else ", with devices" if entry.devices else ""
    return f"bind {entry.source} on {entry.target}{how}"


def _names(flags: int) -> list[str]:
    return [f"MOUNT_ATTR_{name}" for flag, name in _NAMES.items() if flags & flag]


def _page() -> int:
    """Return the page size in bytes, to which the size of a tmpfs is rounded up, tmpfs(5)."""
    return posix.sysconf("SC_PAGESIZE")


def _copy(kernel: "Kernel", what: str, path: str, held: int, flags: int) -> tuple[int, bool]:
    """Return a copy of the mounts at and below `path`, and whether it has `flags`.

    It hasn't on kernels without mount_setattr(2). `held` is what the launcher has opened there.
    Raises SetupError and SyscallError.
    """
    place = kernel.open_source(path)
    try:
        if kernel.identity(place) != kernel.identity(held):
            raise SetupError(
                f"{what}: another file has taken the place of {path}",
                stage=INIT,
                path=path,
                hint="let nobody else rename it while pyspawn starts, or name what a link of "
                "/proc stands for",
            )
        copy = _clone(kernel, what, path, place)
    finally:
        posix.close(place)
    try:
        kernel.set_mount_flags(copy, flags)
    except SyscallError as error:
        if error.errno != errno.ENOSYS:
            raise
        return copy, False
    return copy, True


def _pivot(kernel: "Kernel", what: str, path: str) -> None:
    """Make the working directory the root; raises SetupError."""
    try:
        kernel.pivot_root()
    except SyscallError as error:
        hint = None
        if error.errno == errno.EINVAL:
            hint = (
                "the kernel can't change the root where the old one is an initramfs or no mount "
                "point, as after a chroot: start pyspawn below a root that is mounted"
            )
        raise SetupError(
            what,
            stage=INIT,
            syscall=error.syscall,
            errno=error.errno,
            path=path,
            hint=hint,
        ) from None


def _clone(kernel: "Kernel", what: str, path: str, place: int) -> int:
    """Return a copy of the mounts of an open source; raises SetupError and SyscallError."""
    try:
        return kernel.clone_tree(place)
    except SyscallError as error:
        if error.errno != errno.EINVAL:
            raise
        raise SetupError(
            what,
            stage=INIT,
            syscall=error.syscall,
            errno=error.errno,
            path=path,
            hint=f"{path} is in another mount namespace, as behind a link of /proc, or on a "
            "mount that is unbindable: name a file that is mounted here",
        ) from None


def _nowhere(entry: "Entry", root: str) -> SetupError:
    """Return the error for a mount point that doesn't exist in a directory of the host.

    `root` is where our root lies on the host.
    """
    kind = "file or directory" if isinstance(entry, Bind) else "directory"
    return SetupError(
        f"{_what(entry)}: there is no {entry.target} to mount on",
        stage=INIT,
        path=entry.target,
        hint=f"nothing is made in the host's own directories: make the {kind} "
        f"{root}{entry.target} first, or mount a tmpfs above it, in which mount points are made",
    )


def _unlike(entry: "Entry", *, file: bool) -> SetupError:
    """Return the error for a file that would be mounted on a directory, or the reverse."""
    names = ("a file", "a directory") if file else ("a directory", "a file")
    return SetupError(
        f"{_what(entry)}: {names[0]} can't be mounted on {names[1]}",
        stage=INIT,
        path=entry.target,
        hint=f"name {names[0]} as the target, which may be empty",
    )


def _number(kernel: "Kernel", descriptor: int) -> str:
    """Return the id of the mount that a descriptor is in; raises SyscallError."""
    number = kernel.mount_id(descriptor)
    if number is not None:
        return str(number)
    path = f"/proc/self/fdinfo/{descriptor}"
    found = proc.fields(proc.text(path)).get("mnt_id")
    if found is None:
        raise SyscallError("read", errno.ENODATA, path)
    return found


def below(mounts: "Sequence[Mount]", number: str) -> "list[Mount]":
    """Return a mount, by its id, and all mounts on it, directly or not."""
    found = [mount for mount in mounts if mount.number == number]
    for mount in found:  # it grows meanwhile
        found += [other for other in mounts if other.parent == mount.number != other.number]
    return found


def _check_flags(
    kernel: "Kernel", what: str, mount: int, flags: int, directory: int | None = None
) -> None:
    """Raise SetupError unless a mount, and each below it, has all of `flags`.

    `directory` is an open /proc, None for that of our root.
    """
    found = below(kernel.mounts(directory), _number(kernel, mount))
    if not found:
        raise SetupError(f"{what}: the kernel reports no such mount", stage=INIT)
    for each in found:
        lacking = [word for word, flag in _FLAGS.items() if flags & flag]
        lacking = [word for word in lacking if word not in each.options]
        if lacking:
            words = " and ".join(lacking)
            raise SetupError(f"{what}: the kernel says that {each.point} isn't {words}", stage=INIT)


def _remount(kernel: "Kernel", mount: int, flags: int) -> None:
    """Add flags to a mount and all below it, on kernels without mount_setattr(2).

    One by one, each with the flags that it has, mount(2): in a user namespace the kernel refuses to
    take one away. What another covers can't be reached by a path, and is an error.
    """
    for each in below(kernel.mounts(), _number(kernel, mount)):
        place, _ = kernel.walk(each.point, _gone)
        try:
            if _number(kernel, place) != each.number:
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


def _gone(_: int, name: str, __: bool) -> None:
    raise SyscallError("openat", errno.ENOENT, name)
