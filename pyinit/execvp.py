"""Search for a program and execute it, as execvp(3) does.

Built on `posix.execv`, which hands over the C library's environment as it stands, with entries
that are there twice or have no `=`, which no mapping could hold.
"""

import posix

from pyinit import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_ENOENT = 2  # asm-generic/errno-base.h, the same on all machines; so is
_ENOEXEC = 8

_PATH_MAX = 4096  # linux/limits.h

DEFAULT_PATH = b"/bin:/usr/bin"
"""The path that glibc searches if PATH is unset (confstr(3), _CS_PATH)."""


class ExecError(Exception):
    """An exec that failed, with its errno and its path."""

    def __init__(self, number: int, path: bytes) -> None:
        super().__init__(number, path)
        self.errno = number
        self.path = path


def candidates(program: bytes, path: bytes | None) -> list[bytes]:
    """Return the paths to try for `program`: itself if it has a slash, else one per directory."""
    if b"/" in program or not program:
        return [program]
    if path is None:
        path = DEFAULT_PATH
    return [
        directory + b"/" + program if directory else program
        for directory in path.split(b":")
        if len(directory) < _PATH_MAX  # as glibc does (posix/execvpe.c)
    ]


def execvp(arguments: list[bytes], path: bytes | None) -> "NoReturn":
    """Replace this process by the program `arguments[0]`, looked up in `path`.

    A script without `#!` is run by /bin/sh. Raises ExecError.
    """
    search(arguments, path, posix.execv)
    raise AssertionError("execv returned")


def search(
    arguments: list[bytes], path: bytes | None, attempt: "Callable[[bytes, list[bytes]], int]"
) -> int:
    """Return the result of `attempt` for the first path with which it doesn't fail.

    `attempt` is called with a path and an argv, and raises OSError with what execve(2) said. Raises
    ExecError.
    """
    denied: ExecError | None = None
    last = ExecError(_ENOENT, arguments[0])
    for candidate in candidates(arguments[0], path):
        try:
            return _attempt(attempt, candidate, arguments)
        except ExecError as error:
            last = error
        import errno  # built in, and needed only now

        # As glibc does (posix/execvpe.c), and musl (src/process/execvp.c).
        go_on = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ESTALE, errno.ENODEV,
                 errno.ETIMEDOUT)  # fmt: skip
        if last.errno == errno.EACCES:
            denied = denied or last
        if last.errno not in go_on:
            raise last
    raise denied or last


def _attempt(
    attempt: "Callable[[bytes, list[bytes]], int]", path: bytes, arguments: list[bytes]
) -> int:
    """Execute `path`, or /bin/sh with `path` if that is a script without `#!`; raises ExecError."""
    try:
        return attempt(path, arguments)
    except OSError as error:
        if error.errno != _ENOEXEC or _is_elf(path):
            raise ExecError(error.errno or 0, path) from None
    except ValueError:  # a NUL inside, or an empty argv[0]: no program has such a name
        raise ExecError(_ENOENT, path) from None
    try:
        return attempt(b"/bin/sh", [b"sh", path, *arguments[1:]])
    except OSError as error:
        raise ExecError(error.errno or 0, b"/bin/sh") from None


def _is_elf(path: bytes) -> bool:
    """Tell whether a file is an ELF binary, elf(5), which a shell couldn't run."""
    return read_file(path, 4) == b"\x7fELF"
