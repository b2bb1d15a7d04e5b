"""Directories that somebody names, opened so that nobody else can lead them elsewhere."""

import errno
import posix

_FORMAT, _DIRECTORY, _LINK = 0o170000, 0o040000, 0o120000
"""The file type in a mode, inode(7)."""

_FLAGS = posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC


def open_directory(path: str) -> int:
    """Return a descriptor (O_PATH) of a directory, to which no part of `path` is a symbolic link.

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


def _check(descriptor: int) -> None:
    """Raise OSError for what is no directory."""
    kind = posix.fstat(descriptor).st_mode & _FORMAT
    if kind != _DIRECTORY:
        number = errno.ELOOP if kind == _LINK else errno.ENOTDIR
        raise OSError(number, posix.strerror(number))
