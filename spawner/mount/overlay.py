"""Lay a directory under a layer of its own, which takes all that changes.

1. A file system in memory, the *room*, covers the directory for a moment. In it are the upper
   layer, the directory in which the kernel prepares changes, and a copy of the mount of what lies
   below. So no path of the host is a word of an overlay's options, where a colon, a comma or a
   backslash would mean something else, and no other process can redirect one.
2. The kernel shows of the lower directory what is in that mount, and not what is mounted further
   below: what was covered there would come to light. That is refused, unless one of our own mounts
   covers it again.
3. The room goes, and the overlay keeps what it needs of it.

See the kernel's Documentation/filesystems/overlayfs.rst. In a user namespace the layers' notes are
attributes that begin with `user.` (Linux 5.11); `trusted.` is for who is root of the host.
"""

import errno
import posix

from spawner import linux
from spawner.errors import INIT, SetupError, SyscallError, mark
from spawner.linux import named
from spawner.mount.copies import clone_mounts, clone_words, copy_mounts, flag_words, move_words
from spawner.mount.entry import hides
from spawner.mount.flags import below, check_flags, gone, number
from spawner.mount.ground import Ground, mount_step
from spawner.mount.memory import TMPFS_FLAGS, make_tmpfs
from spawner.mount.mounts import Overlay
from spawner.steps import Step, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from spawner.host.proc import Mount
    from spawner.linux import Kernel
    from spawner.mount.changes import Watch
    from spawner.mount.upper import Upper

LOWER, UPPER, WORK, BESIDE = "lower", "upper", "work", "beside"
"""The names in the room."""

_OPTIONS = {
    "source": "overlay",
    "lowerdir": LOWER,
    "upperdir": UPPER,
    "workdir": WORK,
    "index": "off",
    "metacopy": "off",
    "redirect_dir": "nofollow",
}
"""The options, whatever a host's defaults for them are; the paths are those in the room."""

_KEPT = {
    "nosuid": linux.MS_NOSUID,
    "nodev": linux.MS_NODEV,
    "noexec": linux.MS_NOEXEC,
    "nosymfollow": linux.MS_NOSYMFOLLOW,
}
"""The flags of the lower directory's mount that the overlay has, too, as proc_pid_mountinfo(5)."""

CALLS = (
    'fsmount(fsopen("tmpfs")), fsmount(fsopen("overlay"), '
    '{"lowerdir": "lower", "upperdir": "upper", "workdir": "work"}, '
    "MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV)"
)
"""The calls that make an overlay, as they're shown."""

_ST_RDONLY = 1
"""sys/statvfs.h."""


class Layers:
    """What an overlay is made of.

    `what` says what is done, `path` names the directory on the host, and `place` is a descriptor of
    it. `lower` is a copy of its mounts, mounted nowhere yet.
    """

    def __init__(
        self, ground: Ground, overlay: Overlay, what: str, path: str, place: int, lower: int
    ) -> None:
        self._ground = ground
        self._overlay = overlay
        self._what = what
        self._path = path.rstrip("/")
        self._place = place
        self._lower = lower
        self._upper = ground.uppers.get(overlay)

    def mount(self, kernel: "Kernel", flags: int) -> int:
        """Lay the overlay over the directory; return a descriptor of it.

        It has `flags`, and those of the directory's mount, but for its being read-only. Mount
        points are made in it, where what changes is in memory. Raises SetupError and SyscallError.
        """
        here = kernel.open(".", posix.O_PATH | posix.O_DIRECTORY)
        try:
            room = make_tmpfs(kernel, self._overlay.room)
            try:
                mount, flags = self._make_in(kernel, room, here, flags)
            finally:
                posix.close(room)
        finally:
            posix.close(here)
        try:
            kernel.attach(mount, self._place)
            check_flags(kernel, self._what, mount, flags, self._ground.proc)
            self._ground.claim(kernel, self._what, mount)
            if self._upper is None:  # else they'd stay
                self._ground.made.add(number(kernel, mount))
        except BaseException:
            posix.close(mount)
            raise
        return mount

    def _make_in(self, kernel: "Kernel", room: int, here: int, flags: int) -> tuple[int, int]:
        """Return a descriptor of the new overlay, mounted nowhere yet, and its flags."""
        kernel.attach(room, self._place)
        kernel.fchdir(room)
        try:
            return self._make(kernel, room, flags)
        finally:
            kernel.unmount(".")
            kernel.fchdir(here)

    def _make(self, kernel: "Kernel", room: int, flags: int) -> tuple[int, int]:
        """Make the overlay; the room is the working directory."""
        kernel.make_place(room, LOWER, file=False)
        _attach(kernel, self._lower, LOWER)
        trusted = self._make_upper(kernel, room)
        mounts = kernel.mounts(self._ground.proc)
        first, *others = below(mounts, number(kernel, self._lower))
        self._check_below(first, others, trusted=trusted)
        flags |= sum(flag for word, flag in _KEPT.items() if word in first.options)
        mount = self._create(kernel, options(trusted=trusted), flags, trusted=trusted)
        try:
            _check_writable(self._what, mount, self._upper)
            if self._upper is not None:
                self._compare(kernel, self._upper)
            if self._ground.watch is not None:
                self._send(kernel, self._ground.watch)
        except BaseException:
            posix.close(mount)
            raise
        return mount, flags

    def _make_upper(self, kernel: "Kernel", room: int) -> bool:
        """Make the layer that takes what changes; return whether it takes trusted attributes."""
        if self._upper is None:
            kernel.make_place(room, UPPER, file=False)
            kernel.make_place(room, WORK, file=False)
        else:
            self._bring(kernel, room, self._upper)
        upper = kernel.open(UPPER, posix.O_RDONLY | posix.O_DIRECTORY)
        try:
            if self._upper is None:
                _make_alike(upper, self._lower)
            trusted = _can_write(upper, "trusted.pyspawn")
            if self._upper is not None and not trusted and not _can_write(upper, "user.pyspawn"):
                raise _without_attributes(self._what, self._upper)
        finally:
            posix.close(upper)
        return trusted

    def _send(self, kernel: "Kernel", watch: "Watch") -> None:
        """Send the layers to the launcher, which tells what has changed in the end."""
        upper = kernel.open(UPPER, posix.O_RDONLY | posix.O_DIRECTORY)
        try:
            lower = kernel.open(LOWER, posix.O_RDONLY | posix.O_DIRECTORY)
            try:
                watch.send(self._overlay, upper, lower)
            finally:
                posix.close(lower)
        finally:
            posix.close(upper)

    def _bring(self, kernel: "Kernel", room: int, upper: "Upper") -> None:
        """Let links in the room lead to an upper directory of the host's, and its work directory.

        Both are in one copy of the mount that they are on, since the kernel asks for that.
        """
        if _lies_in(kernel, upper.above, self._place):
            raise SetupError(
                f"{self._what}: {upper.path} lies in the directory whose changes it is to take",
                stage=INIT,
                path=upper.path,
                hint="name a directory elsewhere, on the same file system or another",
            )
        kernel.make_place(room, BESIDE, file=False)
        copy = self._ground.kept(self._overlay)[upper.place]
        try:
            _attach(kernel, copy.mount, BESIDE)
        finally:
            posix.close(copy.mount)
        kernel.symlink(f"{BESIDE}/{upper.name}", room, UPPER)
        kernel.symlink(f"{BESIDE}/{upper.work_name}", room, WORK)
        self._compare(kernel, upper)

    def _compare(self, kernel: "Kernel", upper: "Upper") -> None:
        """Raise SetupError where the links lead elsewhere than to what the launcher has opened."""
        for name, held in ((UPPER, upper.held), (WORK, upper.work)):
            found = kernel.open(name, posix.O_PATH | posix.O_DIRECTORY)
            try:
                if kernel.identity(found) != kernel.identity(held):
                    raise SetupError(
                        f"{self._what}: another directory has taken the place of {upper.path}",
                        stage=INIT,
                        path=upper.path,
                        hint="let nobody else rename it while pyspawn starts",
                    )
            finally:
                posix.close(found)

    def _check_below(self, first: "Mount", others: "Iterable[Mount]", *, trusted: bool) -> None:
        """Refuse to hide what is mounted below the directory; raises SetupError."""
        target = self._overlay.target
        inner = [each for each in self._ground.targets if each != target and hides(target, each)]
        for each in others:
            rest = each.point.removeprefix(first.point)
            within = target.rstrip("/") + rest
            if trusted and any(hides(point, within) for point in inner):
                continue
            point = self._path + rest
            raise SetupError(
                f"{self._what}: what is mounted on {point} can't be seen through an overlay",
                stage=INIT,
                path=point,
                hint=f"mount something on {within} after the overlay, or lay it over "
                "directories in which nothing is mounted"
                if trusted
                else "a user namespace can have no overlay over a directory in which something is "
                "mounted: lay it over other directories",
            )

    def _create(
        self, kernel: "Kernel", words: dict[str, str | None], flags: int, *, trusted: bool
    ) -> int:
        try:
            return kernel.make_file_system("overlay", words, flags)
        except SyscallError as error:
            hint = _hint(error, self._path or "/", self._upper, trusted=trusted)
            raise failed(INIT, self._what, error, hint, self._path) from None


def prepare(ground: Ground, upper: "Upper") -> Step:
    """Copy the mounts around an upper directory, before one is covered."""
    ground.uppers[upper.overlay] = upper
    what = f"copy the mounts of {upper.place}"

    def act(kernel: "Kernel", _: str) -> None:
        copy = copy_mounts(kernel, what, upper.place, upper.above, TMPFS_FLAGS)
        ground.keep(upper.overlay, upper.place, copy)

    return mount_step(
        what,
        f"{clone_words(upper.place)}, {flag_words(TMPFS_FLAGS)}",
        act,
        topic="copy-source",
    )


def make(ground: Ground, overlay: Overlay) -> Step:
    """Lay an overlay over a directory in the container."""
    return mount_step(
        overlay.task,
        f"{CALLS}, {move_words('OVERLAY', overlay.target)}",
        lambda kernel, _: _lay(ground, kernel, overlay),
        topic="mount-overlay",
    )


def _lay(ground: Ground, kernel: "Kernel", overlay: Overlay) -> None:
    """Lay an overlay over its target; raises SetupError and SyscallError."""
    here = kernel.directory()
    place, point = ground.reach(kernel, overlay, file=False)
    try:
        lower = clone_mounts(kernel, overlay.task, overlay.target, place)
        try:
            layers = Layers(ground, overlay, overlay.task, ground.root + point, place, lower)
            new = layers.mount(kernel, TMPFS_FLAGS)
        finally:
            posix.close(lower)
    finally:
        posix.close(place)
    ground.note(point)
    try:
        if ground.stays and hides(point, here):
            _return(kernel, overlay, here, new)
    finally:
        posix.close(new)


def _return(kernel: "Kernel", overlay: Overlay, here: str, mount: int) -> None:
    """Go to the working directory again, through the overlay that has covered it."""
    place, _ = kernel.walk(here, gone)
    try:
        if number(kernel, place) != number(kernel, mount):
            raise SetupError(
                f"{overlay.task}: the working directory {here} isn't in it", stage=INIT, path=here
            )
        kernel.fchdir(place)
    finally:
        posix.close(place)


def options(*, trusted: bool) -> dict[str, str | None]:
    """Return the options of an overlay; a None is a word by itself."""
    return {**_OPTIONS} if trusted else {**_OPTIONS, "userxattr": None}


def _hint(
    error: SyscallError, path: str, upper: "Upper | None" = None, *, trusted: bool
) -> str | None:
    """Return what helps where the kernel refuses an overlay."""
    if error.errno == errno.ELOOP and upper is not None:
        return f"{path} lies in {upper.path}, which takes its changes: name another directory"
    if error.errno == errno.ENODEV:
        return "this kernel has no overlay file system: as root, load it with `modprobe overlay`"
    if error.syscall == "fsconfig" and error.errno == errno.EINVAL:
        if upper is not None:
            return (
                f"the kernel can't use one of these file systems for an overlay (`stat -f {path} "
                f"{upper.path}` shows them); another overlay can't take changes, for instance: "
                "name another directory"
            )
        return (
            f"the kernel can't use this file system (`stat -f {path}` shows it) for the lower "
            "layer, as with an overlay over an overlay, or one that ignores upper and lower "
            "case: copy the directory to another file system"
        )
    if error.errno == errno.EACCES and trusted:
        return (
            "the kernel makes directories for an overlay that no process may use without "
            "CAP_DAC_OVERRIDE, which root lacks here, as in some containers: start the container "
            f"with it (docker run --cap-add DAC_OVERRIDE), or add {mark('--user')} to have it in a "
            "new namespace"
        )
    if error.errno == errno.EPERM and not trusted:
        return "overlays in a user namespace require Linux 5.11: start pyspawn as root"
    return None


def _make_alike(upper: int, lower: int) -> None:
    """Give the upper directory the owner and mode of the lower, which are those that are seen.

    An owner who isn't mapped in our user namespace can't be had (EINVAL): then it's ours.
    """
    found = posix.fstat(lower)
    try:
        named("fchown", posix.chown, upper, found.st_uid, found.st_gid)
    except SyscallError as error:
        if error.errno != errno.EINVAL:
            raise
    named("fchmod", posix.chmod, upper, found.st_mode & 0o7777)


def _can_write(upper: int, name: str) -> bool:
    """Tell whether this process may write an extended attribute, as an overlay does, xattr(7)."""
    try:
        named("fsetxattr", posix.setxattr, upper, name, b"")
        named("fremovexattr", posix.removexattr, upper, name)
    except SyscallError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP):
            return False
        raise
    return True


def _lies_in(kernel: "Kernel", inner: int, outer: int) -> bool:
    """Tell whether a directory is another one or lies in it, by what is above it."""
    wanted = kernel.identity(outer)
    here = posix.dup(inner)
    try:
        while (found := kernel.identity(here)) != wanted:
            above = kernel.open_directory_above(here)
            posix.close(here)
            here = above
            if kernel.identity(here) == found:
                return False
    finally:
        posix.close(here)
    return True


def _attach(kernel: "Kernel", mount: int, name: str) -> None:
    """Mount what is mounted nowhere yet on a directory in the working directory."""
    at = kernel.open(name, posix.O_PATH | posix.O_DIRECTORY)
    try:
        kernel.attach(mount, at)
    finally:
        posix.close(at)


def _without_attributes(what: str, upper: "Upper") -> SetupError:
    return SetupError(
        f"{what}: no extended attributes, which an overlay needs, can be written there",
        stage=INIT,
        path=upper.path,
        hint=f"name a directory that belongs to root of the container (`ls -ld {upper.path}`), on "
        "a file system that stores extended attributes, such as ext4, xfs or btrfs",
    )


def _check_writable(what: str, mount: int, upper: "Upper | None") -> None:
    """Raise SetupError for an overlay that is read-only, which the kernel makes unasked."""
    if not posix.fstatvfs(mount).f_flag & _ST_RDONLY:
        return
    hint = None
    if upper is not None:
        hint = (
            "root of the container can't make files beside it: name a directory that belongs to "
            f"root of the container (`ls -ld {upper.path}`)"
        )
    raise SetupError(f"{what}: the kernel made it read-only", stage=INIT, hint=hint)
