"""What has been mounted in a container so far, and how more is mounted.

A target is walked to part by part (`paths.walk`), and the mount is made on what was opened: so
nobody who may write to a part of the path can lead it elsewhere. By then it is known where the path
leads, so what would hide an earlier mount, or the working directory, is refused.

A mount point that isn't there is made only in a file system of our own making: everything else is
the host's.
"""

import posix

# All that the init reads later, when a mount may have covered the place where it is.
from pyinit import execerror, execvp  # noqa: F401
from spawner.errors import INIT, SetupError, mark
from spawner.host import paths, proc  # noqa: F401
from spawner.mount.copies import Copy
from spawner.mount.entry import hides
from spawner.mount.files import File, Mask
from spawner.mount.flags import Claim, check, number
from spawner.mount.mounts import Bind, Overlay
from spawner.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from spawner.host.paths import Absent
    from spawner.linux import Kernel
    from spawner.mount.changes import Watch
    from spawner.mount.entry import Entry
    from spawner.mount.upper import Upper
    from spawner.steps import Act


def mount_step(what: str, how: str, act: "Act", topic: str) -> Step:
    """Return a step of the init's that takes a mount namespace of its own."""
    return Step(INIT, what, how, act, topic=topic, needs=("mount",))


class Ground:
    """What the init has mounted so far.

    `points` are where something is mounted already, which isn't to be hidden, and `targets` are
    where more will be. The program `stays` in the working directory, if it doesn't go to one with a
    whole path. `root` is where our root lies on the host, and `proc` an open /proc, where it isn't
    that of our root. `made` has the numbers of the mounts in which mount points are made, and
    `uppers` the directories that take what changes in overlays, of which `watch` tells at the end.
    """

    def __init__(
        self, points: "Iterable[str]", targets: "Iterable[str]" = (), *, stays: bool
    ) -> None:
        self._points = list(points)
        self._fixed = {*self._points}
        self._bound: set[str] = set()
        self.targets = [*self._points, *targets]
        self.stays = stays
        self.made: set[str] = set()
        self.uppers: dict[Overlay, Upper] = {}
        self.watch: Watch | None = None
        self.root = ""
        self.proc: int | None = None
        self._claims: list[Claim] = []
        self._ready: dict[Entry, dict[str, Copy]] = {}

    def keep(self, entry: "Entry", path: str, copy: Copy) -> None:
        """Keep the copy of the mounts of `path`, until `entry` is made."""
        self._ready.setdefault(entry, {})[path] = copy

    def kept(self, entry: "Entry") -> dict[str, Copy]:
        """Return the copies that were kept for `entry`, by their paths."""
        return self._ready.pop(entry)

    def mount_copy(self, kernel: "Kernel", entry: "Entry", copy: Copy) -> None:
        """Mount a copy on the target of `entry`; raises SetupError and SyscallError."""
        point = self.attach(kernel, entry, copy.mount, file=not kernel.is_directory(copy.mount))
        self._bound.add(point)
        copy.finish(kernel)
        self.claim(kernel, entry.task, copy.mount, copy.flags)

    def claim(self, kernel: "Kernel", what: str, mount: int, flags: int = 0) -> None:
        """Note which flags a mount has to have in the end, if any; raises SyscallError."""
        self._claims.append(Claim(what, number(kernel, mount), flags))

    def check(self, kernel: "Kernel") -> None:
        """Read back what has been mounted, all at once: to list mounts is what takes time.

        Raises SetupError and SyscallError.
        """
        check(kernel, self._claims, self.proc)

    def mount(
        self, kernel: "Kernel", entry: "Entry", kind: str, options: "Mapping[str, str]", flags: int
    ) -> None:
        """Mount a new file system of a kind; in one in memory, mount points are made."""
        new = kernel.make_file_system(kind, options, flags)
        try:
            self.attach(kernel, entry, new, file=False)
            self.claim(kernel, entry.task, new, flags)
            if kind == "tmpfs":
                self.made.add(number(kernel, new))
        finally:
            posix.close(new)

    def attach(self, kernel: "Kernel", entry: "Entry", mount: int, *, file: bool) -> str:
        """Mount a detached mount on the target of `entry`; return where that leads.

        Raises SetupError and SyscallError.
        """
        place, point = self.reach(kernel, entry, file=file)
        try:
            kernel.attach(mount, place)
        finally:
            posix.close(place)
        self.note(point)
        return point

    def note(self, point: str) -> None:
        """Remember that something is mounted on a path, which has no links."""
        self._points.append(point)
        self._bound.discard(point)

    def reach(self, kernel: "Kernel", entry: "Entry", *, file: bool) -> tuple[int, str]:
        """Return a descriptor of the target of `entry`, and its path without links.

        Raises SetupError and SyscallError.
        """

        def absent(directory: int, name: str, last: bool) -> None:
            if number(kernel, directory) not in self.made:
                raise _nowhere(entry, self.root)
            kernel.make_place(directory, name, file=file and last)

        place, point = kernel.walk(entry.target, absent)
        try:
            self._check(kernel, entry, point)
            _check_kind(kernel, entry, place, file=file)
        except BaseException:
            posix.close(place)
            raise
        return place, point

    def cover(self, kernel: "Kernel", entry: "Entry", mount: int, place: int, point: str) -> None:
        """Mount a detached mount on what a walk has opened; raises SetupError and SyscallError."""
        self._check(kernel, entry, point)
        kernel.attach(mount, place)
        self.note(point)

    def make_in(self, kernel: "Kernel", entry: "Entry") -> tuple[int, str]:
        """Return a descriptor of the directory in which `entry` is made, and its name there.

        The directory is made, too. Raises SetupError, where it isn't the container's own, and
        SyscallError.
        """
        above, _, name = entry.target.rpartition("/")
        place, _ = kernel.walk(above or "/", self.maker(kernel, entry))
        try:
            self._check_ours(kernel, entry, place)
        except BaseException:
            posix.close(place)
            raise
        return place, name

    def maker(self, kernel: "Kernel", entry: "Entry") -> "Absent":
        """Return what makes a directory on the way to `entry`, where that is the container's."""

        def absent(directory: int, name: str, _: bool) -> None:
            self._check_ours(kernel, entry, directory)
            kernel.make_place(directory, name, file=False)

        return absent

    def _check_ours(self, kernel: "Kernel", entry: "Entry", directory: int) -> None:
        """Raise SetupError for a directory in which nothing is made."""
        if number(kernel, directory) not in self.made:
            raise SetupError(
                f"{entry.task}: the directory for it belongs to the host",
                stage=INIT,
                path=entry.target,
                hint="nothing is made in the host's own directories: mount a tmpfs above it, "
                f"{mark('--tmpfs DST')}",
            )

    def _check(self, kernel: "Kernel", entry: "Entry", point: str) -> None:
        """Refuse to hide an earlier mount or the working directory; raises SetupError."""
        leads = "" if point == entry.target else f", which leads to {point},"
        _check_proc(entry, point, leads)
        here = kernel.directory()
        over = isinstance(entry, Overlay)
        spared = self._bound & {point} if over else set()
        if isinstance(entry, Mask):
            spared = {*self._points} - self._fixed
        for earlier in self._points:
            if earlier not in spared and hides(point, absolute(here, earlier)):
                raise SetupError(
                    f"{entry}{leads} would hide what is mounted on {earlier}",
                    stage=INIT,
                    path=entry.target,
                    hint=f"name the target as `realpath {entry.target}` shows it, and before what "
                    "is mounted below it",
                )
        if self.stays and not over and hides(point, here):
            raise SetupError(
                f"{entry}{leads} would hide the working directory, {here}",
                stage=INIT,
                path=entry.target,
                hint="name the directory of the container in which PROGRAM is to start, by its "
                f"absolute path: {mark(f'--workdir {here}')}",
            )


def _check_proc(entry: "Entry", point: str, leads: str) -> None:
    """Refuse to cover what the init writes and reads in /proc itself; raises SetupError.

    A link in a root may be anybody's, and lead there: a limit would be written to a plain file, and
    be read back from it.
    """
    _, first, name, *_ = [*point.split("/"), "", ""]
    if first != "proc" or not name:
        return
    if name.isdigit():
        raise SetupError(
            f"{entry}{leads} would cover what /proc shows of a process",
            stage=INIT,
            path=entry.target,
            hint="pyspawn checks its own work by what /proc shows there: choose another target",
        )
    if not hides("/proc", entry.target):
        raise SetupError(
            f"{entry}{leads} would cover a part of /proc",
            stage=INIT,
            path=entry.target,
            hint=f"name {point} itself, if that is meant, and not a link to it",
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


def _nowhere(entry: "Entry", root: str) -> SetupError:
    """Return the error for a mount point that doesn't exist in a directory of the host.

    `root` is where our root lies on the host.
    """
    kind = "file or directory" if isinstance(entry, Bind) else "directory"
    kind = "file" if isinstance(entry, File) else kind
    return SetupError(
        f"{entry.task}: there is no {entry.target} to mount on",
        stage=INIT,
        path=entry.target,
        hint=f"nothing is made in the host's own directories: make the {kind} "
        f"{root}{entry.target} first, or mount a tmpfs above it, in which mount points are made",
    )


def _check_kind(kernel: "Kernel", entry: "Entry", place: int, *, file: bool) -> None:
    """Refuse to mount a file on a directory, or the reverse; raises SetupError."""
    if kernel.is_directory(place) != file:
        return
    names = ("a file", "a directory") if file else ("a directory", "a file")
    raise SetupError(
        f"{entry.task}: {names[0]} can't be mounted on {names[1]}",
        stage=INIT,
        path=entry.target,
        hint=f"name {names[0]} as the target, which may be empty",
    )
