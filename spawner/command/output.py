"""What the commands that look at processes have in common: words in, text and failures out."""

import posix

from pyinit import OURS, cmdline


def pid(word: str) -> int:
    """Return the process id that a word is; raises UsageError."""
    if not (word.isascii() and word.isdigit()) or len(word) > 9:
        raise cmdline.UsageError(f"{word!r} is not a process id")
    return int(word)


def fail(command: str, message: str, hint: str | None) -> int:
    """Print why a command failed, and what to do; return the exit status."""
    write(2, f"pyspawn: {command}: {message}\n" + (f"hint: {hint}\n" if hint else ""))
    return OURS


def write(descriptor: int, text: str) -> None:
    """Write all of `text` to a descriptor; a reader that has gone is not an error."""
    rest = text.encode("utf-8", "backslashreplace")
    try:
        while rest:
            rest = rest[posix.write(descriptor, rest) :]
    except BrokenPipeError:
        pass
