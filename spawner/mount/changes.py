"""Tell what has changed in overlays: what was added, changed and deleted.

1. The launcher makes a pair of sockets before it forks.
2. The init sends a descriptor of the upper layer and one of the lower, for each overlay that it
   makes: the layers have no path. Its own ends are closed by the exec.
3. When the container has ended, the launcher compares them. Nobody writes there any more.

The layers are the kernel's (Documentation/filesystems/overlayfs.rst): what was deleted stands in
the upper one as a character device 0:0, and a directory that hides the lower one has an attribute.
"""

import _socket
import errno
import posix

from pyinit import errno_text, jsontext, outlet
from spawner.errors import INIT, LAUNCHER
from spawner.host import paths, sockets
from spawner.steps import attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from spawner.mount.mounts import Overlay

ADDED, CHANGED, DELETED, UNKNOWN = "added", "changed", "deleted", "unknown"
"""What has become of a path; unknown for a directory in which nothing can be looked at."""

DEEPEST = 200
"""The most levels of directories that are looked at: each takes two descriptors."""

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC


class Watch:
    """The way of the layers' descriptors from the init to the launcher, and what is told then.

    Raises SetupError.
    """

    def __init__(self, descriptor: int, overlays: "tuple[Overlay, ...]") -> None:
        self._descriptor = descriptor
        self._overlays = overlays
        what = "make a pair of sockets, for what changes in overlays"
        pair = attempt(LAUNCHER, what, sockets.pair)
        # By number: each process closes what it doesn't need, whatever objects there are.
        self._here, self._there = (end.detach() for end in pair)

    @property
    def descriptors(self) -> set[int]:
        """The descriptors that the launcher needs at the end."""
        return {self._descriptor, self._here}

    def send(self, overlay: "Overlay", upper: int, lower: int) -> None:
        """Send the layers of an overlay to the launcher; raises SetupError. For the init."""
        number = self._overlays.index(overlay)
        word = bytes([number & 255, number >> 8])
        what = f"send the layers of {overlay} to the launcher"
        end = _socket.socket(fileno=self._there)
        try:
            attempt(INIT, what, lambda: sockets.send(end, word, (upper, lower)))
        finally:
            end.detach()

    def let_go(self) -> None:
        """Close the init's end."""
        posix.close(self._there)

    def tell(self) -> str:
        """Write what has changed, a line each; return a message about what can't be told, or ""."""
        out = outlet.Outlet(self._descriptor, _dropped, patience=outlet.PATIENCE)
        try:
            for overlay, upper, lower in self._received():
                try:
                    for change, path in changes(upper, lower, overlay):
                        out.write(_line(change, path), waits=True)
                finally:
                    posix.close(upper)
                    posix.close(lower)
        except OSError as error:
            out.write(_line(UNKNOWN, "/"), waits=True)  # or it would look as if that were all
            return f"the rest of what has changed can't be told: {errno_text(error.errno or 0)}"
        out.catch_up(waits=True)
        return (
            "the reader of what has changed is too slow: not all of it was told"
            if out.is_behind
            else ""
        )

    def _received(self) -> "Iterator[tuple[Overlay, int, int]]":
        """Yield the overlays that were made, with descriptors of their layers."""
        end = _socket.socket(fileno=self._here)
        try:
            while True:
                try:
                    data, layers = sockets.receive(end, 2, 2, waits=False)
                except BlockingIOError:
                    return
                if not data:
                    return
                upper, lower = layers
                yield self._overlays[data[0] | data[1] << 8], upper, lower
        finally:
            end.close()


def changes(upper: int, lower: int, overlay: "Overlay") -> "Iterator[tuple[str, str]]":
    """Yield what has become of each path that isn't as it was; raises OSError.

    Of a directory that was deleted, that alone. The mode and owner of `upper` itself are those of
    a directory of the host's, unless it's in memory.
    """
    if overlay.upper is None and posix.fstat(upper).st_mode != posix.fstat(lower).st_mode:
        yield CHANGED, overlay.target
    yield from _below(upper, lower, overlay.target.rstrip("/"), 1)


def _below(upper: int, lower: int | None, path: str, depth: int) -> "Iterator[tuple[str, str]]":
    names = sorted(posix.listdir(upper))
    for name in names:
        yield from _entry(upper, lower, name, f"{path}/{name}", depth)
    if lower is not None and depth > 1 and _is_opaque(upper):
        for name in sorted({*posix.listdir(lower)}.difference(names)):
            yield DELETED, f"{path}/{name}"


def _entry(
    upper: int, lower: int | None, name: str, path: str, depth: int
) -> "Iterator[tuple[str, str]]":
    new = posix.stat(name, dir_fd=upper, follow_symlinks=False)
    old = None if lower is None else _status(lower, name)
    if _is_whiteout(new):
        if old is not None:
            yield DELETED, path
        return
    if old is None:
        yield ADDED, path
    elif _differs(new, old) or _text(upper, name, new) != _text(lower, name, old):
        yield CHANGED, path
    if not _is_directory(new):
        return
    if depth == DEEPEST:
        yield UNKNOWN, path
        return
    opened: list[int] = []
    try:
        opened.append(posix.open(name, _DIRECTORY, dir_fd=upper))
        if old is not None and _is_directory(old):
            opened.append(posix.open(name, _DIRECTORY, dir_fd=lower))
        yield from _below(opened[0], opened[1] if opened[1:] else None, path, depth + 1)
    except PermissionError:
        yield UNKNOWN, path
    finally:
        for each in opened:
            posix.close(each)


def _status(directory: int, name: str) -> posix.stat_result | None:
    """Return the status of a name in a directory, None if it isn't there; raises OSError."""
    try:
        return posix.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _differs(new: posix.stat_result, old: posix.stat_result) -> bool:
    """Tell whether a file isn't what it was, by what the kernel keeps when it only copies it."""
    if (new.st_mode, new.st_uid, new.st_gid) != (old.st_mode, old.st_uid, old.st_gid):
        return True
    if _is_directory(new):
        return False
    return (new.st_size, new.st_mtime_ns, new.st_rdev) != (
        old.st_size,
        old.st_mtime_ns,
        old.st_rdev,
    )


def _text(directory: int | None, name: str, status: posix.stat_result) -> str:
    """Return the text of a symbolic link, "" for any other file."""
    if status.st_mode & paths.FORMAT != paths.LINK:
        return ""
    return posix.readlink(name, dir_fd=directory)


def _is_directory(status: posix.stat_result) -> bool:
    return status.st_mode & paths.FORMAT == paths.DIRECTORY


def _is_whiteout(status: posix.stat_result) -> bool:
    """Tell whether a file says that one was deleted."""
    return status.st_mode & paths.FORMAT == 0o020000 and status.st_rdev == 0


def _is_opaque(directory: int) -> bool:
    """Tell whether a directory hides the one in the lower layer."""
    for name in _OPAQUE:
        try:
            if posix.getxattr(directory, name) == b"y":
                return True
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM):
                raise
    return False


def _line(change: str, path: str) -> bytes:
    return jsontext.dump({"change": change, "path": path}).encode("ascii") + b"\n"


def _dropped(count: int) -> bytes:
    return jsontext.dump({"change": "dropped", "count": count}).encode("ascii") + b"\n"
