"""Find what a program needs beside the system's own directories: its interpreter above all.

A program may be a link to another place, or a script, whose interpreter may be a link in turn: that
of a virtual environment leads to a Python elsewhere, as of pyenv, uv or conda. All files and
directories on that way are found; they are to be seen under the same names in a container.

The program may be hostile, and with it its first line, the links beside it and its pyvenv.cfg. So
they lead to programs alone, which have the mode bits of one, and to what lies, without a link, in
the directory of a Python: not to somebody's home or keys. Where each path leads is told with it,
since it may lead elsewhere a moment later.
"""

import posix

from spawner.host import programs
from spawner.host.paths import FORMAT, LINK, MOST_LINKS, REGULAR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Where distributions keep programs and their libraries, hier(7)."""

STORES = ("/nix/store", "/gnu/store")
"""Where those that give each package a directory of its own keep them: any may need any other."""

_OWN = ("bin", "lib", "lib64", "ssl", "pyvenv.cfg")
"""What belongs to a Python in a directory that is all its own."""

_PYENVS = ("bin", "completions", "libexec", "plugins", "pyenv.d", "shims", "version", "versions")
"""What pyenv(1) is made of, in a directory that may be called otherwise."""

_EXECUTABLE = 0o111
"""Bits of st_mode: whoever may execute a file, inode(7)."""

_MARKS = ("pyvenv.cfg", "conda-meta")
"""What only the directory of a Python has: a virtual environment, site(3), or conda's."""

_LONGEST = 4096
"""The most bytes that are read of a file: more than the kernel reads of a script's first line."""


def needs(program: str, search_path: bytes | None) -> dict[str, str]:
    """Return the files and directories, outside of SYSTEM, that a program needs.

    Each of them by its path, with the path without links that it led to when it was looked at.
    `program` is an absolute path; one that isn't there needs nothing. Scripts that name their
    interpreter by env(1) get that of `search_path`.
    """
    found: dict[str, str] = {}
    left = [program]
    for path in left:  # it grows meanwhile
        if len(left) > MOST_LINKS:
            break
        below = [each for each in _of(path) if not covered(each[0], (*SYSTEM, *found))]
        found.update(below)
        left += [each for each in _next(path, search_path) if each not in left]
    return found


def covered(path: str, directories: "Iterable[str]") -> bool:
    """Tell whether a path is one of the directories, or below one."""
    return any(path == each or path.startswith(each.rstrip("/") + "/") for each in directories)


def _of(path: str) -> "Iterator[tuple[str, str]]":
    """Yield what belongs to a program, itself and its Python's library, and where each leads."""
    program = _program(path)
    if program is None:
        return
    directory, _, _ = path.rpartition("/")
    prefix, _, last = directory.rpartition("/")
    if last == "shims" and _program(f"{prefix}/libexec/pyenv") is not None:
        yield from _within(prefix, _PYENVS)
        return
    if last == "bin" and _is_own(prefix):
        yield from _within(prefix, _OWN)
        return
    yield path, program
    if last == "bin":
        for library in ("lib", "lib64"):
            names = filter(_is_pythons, _names(f"{prefix}/{library}"))
            yield from _within(prefix, (f"{library}/{name}" for name in names))


def _program(path: str) -> str | None:
    """Return where a path leads, without links, if that's a regular file that may be executed."""
    found = _opened(path)
    if found is None:
        return None
    mode, place = found
    return place if mode & FORMAT == REGULAR and mode & _EXECUTABLE else None


def _within(prefix: str, names: "Iterable[str]") -> "Iterator[tuple[str, str]]":
    """Yield the paths of those names that lead to what lies below `prefix`, and where to."""
    above = real(prefix)
    for name in names if above is not None else ():
        found = real(f"{prefix}/{name}")
        if found is not None and found.startswith(f"{above}/"):
            yield f"{prefix}/{name}", found


def _is_own(prefix: str) -> bool:
    """Tell whether a directory is all a Python's own, and not, say, somebody's home."""
    if any(_kind(f"{prefix}/{name}") for name in _MARKS):
        return True
    above, _, name = prefix.rpartition("/")
    return name.startswith(("cpython-", "pypy", "graalpy")) or above.endswith("/versions")


def _is_pythons(name: str) -> bool:
    """Tell whether a name in a directory of libraries is Python's."""
    return name.startswith(("python3.", "libpython3", "pypy3"))


def _next(path: str, search_path: bytes | None) -> "Iterator[str]":
    """Yield where a link, a script or a virtual environment leads, in absolute paths."""
    directory, _, name = path.rpartition("/")
    config = _text(f"{directory.rpartition('/')[0]}/pyvenv.cfg")
    for line in config.splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip() == "home" and value.strip().startswith("/"):
            yield f"{value.strip().rstrip('/')}/{name}"
    place = real(directory)
    if place not in (None, directory):
        yield f"{place}/{name}"
    if _kind(path, follow=False) == LINK:
        text = posix.readlink(path)
        yield _normal(text if text.startswith("/") else f"{directory}/{text}")
    else:
        yield from _interpreter(path, search_path)


def _interpreter(path: str, search_path: bytes | None) -> "Iterator[str]":
    """Yield the interpreter that a script names in its first line, execve(2)."""
    first = _text(path).partition("\n")[0]
    if not first.startswith("#!"):
        return
    words = first[2:].split()
    if not words or not words[0].startswith("/"):
        return
    yield words[0]
    if words[0].endswith("/env"):
        named = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        place = programs.find(named[0], search_path) if named else None
        if place is not None:
            yield place


def _kind(path: str, *, follow: bool = True) -> int | None:
    """Return the type of a file, inode(7); None where there's none to be seen."""
    try:
        return posix.stat(path, follow_symlinks=follow).st_mode & FORMAT
    except (OSError, ValueError):
        return None


def _names(directory: str) -> list[str]:
    try:
        return sorted(posix.listdir(directory))
    except OSError:
        return []


def _text(path: str) -> str:
    """Return the beginning of a regular file as text, "" if it can't be read."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except (OSError, ValueError):
        return ""
    try:
        if posix.fstat(descriptor).st_mode & FORMAT != REGULAR:
            return ""
        return posix.read(descriptor, _LONGEST).decode("utf-8", "surrogateescape")
    except OSError:
        return ""
    finally:
        posix.close(descriptor)


def direct(path: str) -> str:
    """Return an absolute path without empty, `.` and `..` parts, which leads to the same file."""
    directory, _, name = path.rpartition("/")
    if ".." in directory.split("/"):
        directory = real(directory) or directory
    return _normal(f"{directory}/{name}")


def real(path: str) -> str | None:
    """Return a path without links, None where it leads to nothing or that can't be told."""
    found = _opened(path)
    return None if found is None else found[1]


def _opened(path: str) -> tuple[int, str] | None:
    """Return the mode of what a path leads to, and its path without links; None as `real` does."""
    try:
        descriptor = posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        return posix.fstat(descriptor).st_mode, posix.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return None
    finally:
        posix.close(descriptor)


def _normal(path: str) -> str:
    """Return an absolute path without `.` and `..`, whose directories are taken as no links."""
    found: list[str] = []
    for word in path.split("/"):
        if word == "..":
            found = found[:-1]
        elif word not in ("", "."):
            found.append(word)
    return "/" + "/".join(found)
