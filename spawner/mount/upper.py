"""The directory of the host's that takes an overlay's changes, and the kernel's work directory.

The kernel prepares changes in a directory beside the upper one, on the same mount. It's ours: made
before anything is forked, locked as long as we live, and removed at the end. Where we were killed
by SIGKILL it stays, and the next overlay with the same upper directory takes it over.
"""

import contextlib
import errno
import fcntl
import posix

from spawner.errors import LAUNCHER, SetupError, SyscallError
from spawner.host import paths
from spawner.steps import attempt, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.linux import Kernel
    from spawner.mount.mounts import Overlay

_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC


class Upper:
    """An upper directory, and the work directory beside it, with descriptors of both.

    `above` is a descriptor of the directory that holds both, and `place` its path; `name` and
    `work_name` are what they are called in there. Raises SetupError.
    """

    def __init__(self, kernel: "Kernel", overlay: "Overlay", path: str) -> None:
        self.overlay = overlay
        self.path = path
        self.work = -1
        self._what = f"open {path} for the changes in {overlay.target}"
        self.held = attempt(LAUNCHER, self._what, lambda: kernel.open_source(path))
        self.above = -1
        try:
            self._look(kernel)
        except BaseException:
            self.close()
            raise

    def _look(self, kernel: "Kernel") -> None:
        if not attempt(LAUNCHER, self._what, lambda: kernel.is_directory(self.held)):
            raise self._refused(
                f"{self.path} isn't a directory, which {self.overlay} needs for what changes",
                f"name a directory, which may be empty: `mkdir {self.path}.d`",
            )
        self.above = attempt(LAUNCHER, self._what, lambda: kernel.open_directory_above(self.held))
        here, _, self.name = _path(self.held).rpartition("/")
        self.place = here or "/"
        self.work_name = f".pyspawn-{kernel.identity(self.held)[1]}"
        if not self.name or kernel.mount_id(self.above) != kernel.mount_id(self.held):
            raise self._refused(
                f"something is mounted on {self.path}, and the kernel needs another directory "
                "beside it, on the same mount",
                f"name a directory in it: `mkdir {self.path}/upper`",
            )

    def make(self) -> None:
        """Make the work directory, and lock it; raises SetupError."""
        try:
            work = self._make()
            try:
                self._own(work)
            except BaseException:
                posix.close(work)
                raise
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                raise self._refused(
                    f"another container keeps its changes in {self.path}",
                    "name another directory, or wait for that container's end",
                ) from None
            raise SetupError(
                self.task,
                stage=LAUNCHER,
                syscall="mkdirat",
                errno=error.errno,
                path=self.work_path,
                hint=f"name a directory of yours, in {self.place} or elsewhere, where you can make "
                "others",
            ) from None

    @property
    def task(self) -> str:
        """What is done beside the upper directory, as an imperative."""
        return f"make a directory beside {self.path}, in which the kernel prepares changes"

    @property
    def work_path(self) -> str:
        """The path of the work directory."""
        return f"{self.place.rstrip('/')}/{self.work_name}"

    def _make(self) -> int:
        """Make the work directory, or take over what is left of one, and lock it."""
        work = -1
        while work < 0:
            with contextlib.suppress(FileExistsError):
                posix.mkdir(self.work_name, 0o700, dir_fd=self.above)
            work = posix.open(self.work_name, _DIRECTORY, dir_fd=self.above)
            try:
                fcntl.flock(work, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not self._is_there(work):  # whoever had it has removed it meanwhile
                    posix.close(work)
                    work = -1
            except BaseException:
                posix.close(work)
                raise
        return work

    def _is_there(self, work: int) -> bool:
        """Tell whether a work directory is still there."""
        try:
            found = posix.stat(self.work_name, dir_fd=self.above, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return paths.identity(found) == paths.identity(posix.fstat(work))

    def _own(self, directory: int) -> None:
        """Keep the work directory, and give it to the owner of the upper, who may be another.

        One that a third has made beforehand is refused: they could change what is prepared there.
        """
        upper, work = posix.fstat(self.held), posix.fstat(directory)
        if work.st_uid not in (posix.geteuid(), upper.st_uid):
            raise PermissionError(errno.EPERM, posix.strerror(errno.EPERM))
        posix.chmod(directory, 0o700)
        if work.st_uid != upper.st_uid:
            posix.chown(directory, upper.st_uid, -1)
        self.work = directory

    def remove(self) -> str:
        """Remove the work directory; return a message about what stays, or ""."""
        if self.work < 0:
            return ""
        try:
            _clear(self.work)
            posix.rmdir(self.work_name, dir_fd=self.above)
        except OSError as error:
            return f"{self.work_path} can't be removed: {posix.strerror(error.errno or 0)}"
        finally:
            posix.close(self.work)
            posix.close(self.above)
            self.work = self.above = -1
        return ""

    def let_go(self) -> None:
        """Close what isn't needed any more: all, unless a work directory is to be removed."""
        if self.work < 0:
            self.close()
        elif self.held >= 0:
            posix.close(self.held)
            self.held = -1

    def close(self) -> None:
        """Close the descriptors."""
        for descriptor in (self.held, self.above, self.work):
            if descriptor >= 0:
                posix.close(descriptor)
        self.held = self.above = self.work = -1

    @property
    def descriptors(self) -> set[int]:
        """The descriptors that the launcher needs at the end."""
        return {each for each in (self.above, self.work) if each >= 0}

    def _refused(self, message: str, hint: str) -> SetupError:
        return SetupError(message, stage=LAUNCHER, path=self.path, hint=hint)


def _path(directory: int) -> str:
    """Return the path of an open directory; raises SetupError."""
    try:
        return posix.readlink(f"/proc/self/fd/{directory}")
    except OSError as error:
        raise failed(
            LAUNCHER,
            "find where a directory is",
            SyscallError("readlinkat", error.errno or 0, "/proc/self/fd"),
        ) from None


def _clear(directory: int) -> None:
    """Remove what the kernel has left in its work directory, whose modes allow nothing."""
    for name in posix.listdir(directory):
        kind = posix.stat(name, dir_fd=directory, follow_symlinks=False).st_mode & paths.FORMAT
        if kind != paths.DIRECTORY:
            posix.unlink(name, dir_fd=directory)
            continue
        try:
            posix.rmdir(name, dir_fd=directory)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            posix.chmod(name, 0o700, dir_fd=directory)
            below = posix.open(name, _DIRECTORY, dir_fd=directory)
            try:
                _clear(below)
            finally:
                posix.close(below)
            posix.rmdir(name, dir_fd=directory)
