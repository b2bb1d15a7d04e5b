"""Say in words why an exec failed."""

import errno
import posix

from pyinit import NOT_FOUND, PIPE_BUF, errno_text, read_file, status_of_exec_errno
from pyinit.execvp import DEFAULT_PATH, ExecError, candidates


def why(program: bytes, error: ExecError, path: bytes | None) -> tuple[int, str, str | None]:
    """Return (exit status, reason, hint or None) for an exec of `program` that failed.

    The reason doesn't repeat the program's name. It is a good guess: the file is looked at only
    now, after the failure, as any reader would.
    """
    if error.errno == errno.EACCES and b"/" not in program and not _exists(error.path):
        # Not a file that is denied, but a directory that can't be looked into, as of a PATH that
        # came from another user: execvp(3) says EACCES, but nothing was found.
        found = next(filter(_exists, candidates(program, path)), None)
        if found is None:
            closed = text(error.path.rpartition(b"/")[0])
            shut = f"this user can't search {closed}"
            return NOT_FOUND, "not found in PATH", _meant(program, path) or shut
        error = ExecError(error.errno, found)
    state = status_of_exec_errno(error.errno)
    reason = errno_text(error.errno)
    if error.path != program:
        reason = f"{brief(error.path)}: {reason}"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if not program:
            return state, "the program's name is empty", None
        for candidate in candidates(program, path):
            missing = _missing_interpreter(candidate)
            if missing:
                return state, missing, None
        hint = _meant(program, path)
        if b"/" in program:
            return state, reason, hint
        if path is None:
            return state, f"not found in {text(DEFAULT_PATH)}, since PATH is not set", hint
        return state, "not found in PATH", hint
    if error.errno == errno.ENAMETOOLONG:
        return state, reason, _meant(program, path)
    if _is_directory(error.path):
        return state, f"is a directory: {reason}", None
    hint = None
    if error.errno == errno.EACCES:
        hint = _access_hint(error.path)
    elif error.errno == errno.ENOEXEC:
        hint = "the file was built for another kind of machine"
    elif error.errno == errno.E2BIG:
        hint = "arguments and environment together are too large, execve(2)"
    return state, reason, hint


def line(program: bytes, error: ExecError, path: bytes | None) -> tuple[int, str, str | None]:
    """Return (exit status, message, hint or None) for a failed exec of `program`."""
    code, reason, hint = why(program, error, path)
    return code, f"{brief(program)}: {reason}" if program else reason, hint


def text(raw: bytes) -> str:
    """Return a path or an argument as one line of text for a message."""
    decoded = raw.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in decoded)


def brief(raw: bytes, size: int = 1000) -> str:
    """Return `text` of `raw`, shortened in the middle to at most `size` bytes."""
    # Measured when it's text: a byte may become four, a character ten ("\\U0001f600").
    whole = text(raw).encode("utf-8", "backslashreplace")
    half = (size - 3) // 2
    parts = (whole,) if len(whole) <= size else (whole[:half], whole[-half:])
    return "...".join(part.decode("utf-8", "ignore") for part in parts)


def whole_line(said: str) -> bytes:
    """Return a message as one line of less than PIPE_BUF bytes, without the newline.

    A longer message loses its middle, which is somebody's very long word: what the message is about
    stands before that, and what is wrong stands behind.
    """
    said = said.replace("\\udc", "\\x")  # what the repr of a byte that is no text looks like
    return brief(said.encode("utf-8", "surrogateescape"), PIPE_BUF - 1).encode()


def _exists(path: bytes) -> bool:
    """Tell whether `path` exists, as far as this process can see."""
    try:
        posix.stat(path)
    except (OSError, ValueError):
        return False
    return True


def _is_directory(path: bytes) -> bool:
    """Tell whether `path` leads to a directory."""
    try:
        return posix.stat(path).st_mode & 0o170000 == 0o040000
    except (OSError, ValueError):
        return False


def _access_hint(path: bytes) -> str | None:
    """Return what to do about an EACCES for a file that exists."""
    try:
        mode = posix.stat(path).st_mode
    except OSError as error:
        if error.errno == errno.EACCES:
            return "grant this user search permission (x) on every directory of the path"
        return None
    if not mode & 0o111:
        return f"make the file executable: chmod +x {text(path)}"
    return (
        "check the file's permissions, its interpreter, that its file system isn't noexec, and "
        "what Landlock leaves to be executed"
    )


_BUILT_IN = (b"alias", b"cd", b"eval", b"exec", b"exit", b"export", b"set", b"source", b"trap",
             b"ulimit", b"umask", b"unset", b"wait")  # fmt: skip
"""Commands that only a shell has, sh(1)."""


_SIGNS = (b";", b"|", b"&", b"<", b">")
"""Characters that end a word for a shell, as a blank does, sh(1)."""


def _meant(program: bytes, path: bytes | None) -> str | None:
    """Return a hint about what was meant by a program that wasn't found."""
    first, _, rest = program.partition(b" ")
    for sign in _SIGNS:
        before, found, _ = first.partition(sign)
        if before and found:
            first, rest = before, program
    if rest and (first in _BUILT_IN or any(map(_exists, candidates(first, path)))):
        shown = b"'" not in program and len(program) < 200
        line = f"sh -c '{text(program)}'" if shown else "sh -c"
        return f"this is one word: pass the arguments as separate words, or use `{line}`"
    if program in _BUILT_IN:
        return f"this command exists only in a shell: use `sh -c '{text(program)} ...'`"
    if program.startswith(b"-"):
        return "options go before `--`, and the program after it"
    if program.startswith(("\N{EN DASH}".encode(), "\N{EM DASH}".encode())):
        return "the word begins with a long dash: options begin with hyphens (--)"
    name, equals, _ = program.partition(b"=")
    if equals and name.replace(b"_", b"a").isalnum():
        return f"to set a variable, use `env {brief(program)} PROGRAM`"
    if b"/" not in program and _exists(program) and not _is_directory(program):
        return f"the working directory has a file of this name: run ./{text(program)}"
    return None


def _missing_interpreter(path: bytes) -> str | None:
    """Return a message if the interpreter (`#!`) or ELF loader of `path` is missing."""
    head = read_file(path, 4096)
    if head.startswith(b"#!"):
        line = head[2:].split(b"\n", 1)[0].strip(b" \t")  # as fs/binfmt_script.c does
        interpreter = line.replace(b"\t", b" ").split(b" ", 1)[0]
        missing = "its interpreter {} is not there"
        if interpreter.endswith(b"\r"):
            missing += " (the line ends with \\r\\n)"
    elif head.startswith(b"\x7fELF"):
        interpreter = _elf_interpreter(head)
        missing = "its loader {} is not there (the program was built for another C library)"
    else:
        return None
    if not interpreter:
        return None
    try:
        posix.stat(interpreter)
    except OSError:
        return missing.format(text(interpreter))
    return None


def _elf_interpreter(head: bytes) -> bytes:
    """Return the path of the ELF loader (PT_INTERP, elf(5)) from the start of a file."""
    wide = head[4:5] == b"\x02"
    big = head[5:6] == b"\x02"

    def field(offset: int, size: int) -> int:
        return int.from_bytes(head[offset : offset + size], "big" if big else "little")

    start, size, count = (
        (field(32, 8), field(54, 2), field(56, 2))
        if wide
        else (field(28, 4), field(42, 2), field(44, 2))
    )
    for index in range(min(count, 64)):
        entry = start + index * size
        if field(entry, 4) == 3:  # PT_INTERP
            at, length = (
                (field(entry + 8, 8), field(entry + 32, 8))
                if wide
                else (field(entry + 4, 4), field(entry + 16, 4))
            )
            return head[at : at + length].rstrip(b"\0")
    return b""
