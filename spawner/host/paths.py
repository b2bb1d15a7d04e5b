"""Open what paths lead to so that no other process can redirect them."""

import errno
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Absent = Callable[[int, str, bool], None]

FORMAT, REGULAR, DIRECTORY, LINK = 0o170000, 0o100000, 0o040000, 0o120000
"""Bits of st_mode that tell a file's type, and three of the types, inode(7)."""

MOST_LINKS = 40
"""The most symbolic links that a path may lead through, path_resolution(7)."""

_FLAGS = posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC


def open_directory(path: str) -> int:
    """Return a descriptor (O_PATH) of a directory; no part of `path` may be a symbolic link.

    Part by part, so that nobody can put a link in place between a look and a use,
    path_resolution(7). Raises OSError, with the part of the path that refuses: ELOOP for a link.
    """
    place = "/" if path.startswith("/") else "."
    here = posix.open(place, _FLAGS | posix.O_DIRECTORY)
    try:
        for word in path.split("/"):
            if word in ("", "."):
                continue
            place = word if place == "." else f"{place.rstrip('/')}/{word}"
            there = posix.open(word, _FLAGS, dir_fd=here)
            posix.close(here)
            here = there
            _check(here)
    except OSError as error:
        posix.close(here)
        raise OSError(error.errno, error.strerror, place) from None
    return here


def follow_directory(path: str) -> int:
    """Return a descriptor (O_PATH) of a directory, following symbolic links by their text.

    So a link of /proc, to a descriptor for instance, leads where its text says, and never out of
    our root, proc_pid_fd(5). Raises OSError, as chdir(2) would.
    """
    here = _start(path)
    left = path.split("/")[::-1]
    links = 0
    try:
        while left:
            word = left.pop()
            if word in ("", "."):
                continue
            try:
                there = posix.open(word, _FLAGS | posix.O_DIRECTORY, dir_fd=here)
            except NotADirectoryError:
                text = _text(word, here)
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, posix.strerror(errno.ELOOP)) from None
                left += text.split("/")[::-1]
                if not text.startswith("/"):
                    continue
                there = _start(text)
            posix.close(here)
            here = there
    except OSError:
        posix.close(here)
        raise
    return here


def walk(path: str, absent: "Absent") -> tuple[int, str]:
    """Return a descriptor (O_PATH) of what an absolute path leads to, and its path without links.

    Each part is opened in turn, and links are followed by the text of what was opened: so none of
    /proc leads to what it stands for, and nobody can put another in place between a look and a use.
    `..` leads to where we came from, so never out of our root. For a name that isn't there,
    `absent` is called with a descriptor of its directory and whether it is the last one: it makes
    it, or raises. Raises OSError, with the part of the path that refuses.
    """
    way = [("", posix.open("/", _FLAGS | posix.O_DIRECTORY))]
    left = path.split("/")[::-1]
    links = 0
    try:
        while left:
            word = left.pop()
            if word in ("", "."):
                continue
            if word == "..":
                _back(way, max(len(way) - 1, 1))
                continue
            place = f"{_joined(way).rstrip('/')}/{word}"
            there = _there(word, way[-1][1], place, absent, last=not left)
            kind = posix.fstat(there).st_mode & FORMAT
            if kind != LINK:
                way.append((word, there))
                if left and kind != DIRECTORY:
                    raise OSError(errno.ENOTDIR, posix.strerror(errno.ENOTDIR), place)
                continue
            try:
                text = posix.readlink("", dir_fd=there)
            finally:
                posix.close(there)
            links += 1
            if links > MOST_LINKS:
                raise OSError(errno.ELOOP, posix.strerror(errno.ELOOP), place)
            if text.startswith("/"):
                _back(way, 1)
            left += text.split("/")[::-1]
        found = _joined(way)
        return way.pop()[1], found
    finally:
        _back(way, 0)


def _there(word: str, directory: int, place: str, absent: "Absent", *, last: bool) -> int:
    """Return a descriptor of a name in a directory; raises OSError for `place`."""
    for made in (False, True):
        try:
            return posix.open(word, _FLAGS, dir_fd=directory)
        except OSError as error:
            if made or error.errno != errno.ENOENT:
                raise OSError(error.errno, error.strerror, place) from None
        absent(directory, word, last)
    raise AssertionError


def _joined(way: list[tuple[str, int]]) -> str:
    """Return the path of where a walk has come to."""
    return "/".join(name for name, _ in way) or "/"


def _back(way: list[tuple[str, int]], length: int) -> None:
    """Go back on a walk."""
    while len(way) > length:
        posix.close(way.pop()[1])


def _start(path: str) -> int:
    """Return a descriptor of the directory where a path begins: the root or the working one."""
    return posix.open("/" if path.startswith("/") else ".", _FLAGS | posix.O_DIRECTORY)


def _text(word: str, directory: int) -> str:
    """Return the text of a symbolic link; raises NotADirectoryError for anything else."""
    try:
        return posix.readlink(word, dir_fd=directory)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise NotADirectoryError(errno.ENOTDIR, posix.strerror(errno.ENOTDIR)) from None


def _check(descriptor: int) -> None:
    """Raise OSError unless the file is a directory."""
    kind = posix.fstat(descriptor).st_mode & FORMAT
    if kind != DIRECTORY:
        number = errno.ELOOP if kind == LINK else errno.ENOTDIR
        raise OSError(number, posix.strerror(number))


def identity(status: posix.stat_result) -> tuple[int, int]:
    """Return the device and inode that identify a file, inode(7)."""
    return status.st_dev, status.st_ino
