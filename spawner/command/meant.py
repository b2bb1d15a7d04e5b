"""Guess what was meant by a word that can't be executed, for a hint.

It's about how it stands on the command line: what the name itself shows is for pyinit.execerror.
"""

import errno
import posix

from pyinit import cmdline
from spawner.command import exec, foreign, run
from spawner.errors import mark
from spawner.spec import NAMESPACES
from spawner.why.evidence import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner.errors import ExecError

_COMMANDS = ("run", "exec", "release", "zombies", "signals")


def hint(words: "Sequence[str]", program: "Sequence[str]", found: str | None = None) -> str | None:
    """Return the hint for the command line `words`, which ends in `program`.

    `found` is the hint that the file itself gave. Behind `--` a program is a program.
    """
    before = words[: len(words) - len(program)]
    if not _is_named(words[len(before) :], program):
        sh = "exec TARGET" if words[:1] == ["exec"] else "[OPTIONS]"
        return (
            f"without PROGRAM your $SHELL is run: name a program that exists, as in `pyspawn {sh} "
            "-- /bin/sh`"
        )
    word = program[0]
    if not before or list(before) == ["run"]:
        return found or _command(word)
    option = before[-1]
    if not program[1:]:  # behind a value there would be the program
        return found
    if before[-2:-1] == ["--overlay"] and "/" in word and "/" in program[1]:
        return foreign.OVERLAY
    otherwise = foreign.TAKEN.get(option)
    if otherwise and _is_no_name(word):
        return f"if {word} was meant as the value of {option}: {otherwise}"
    table = exec.TABLE if before[0] == "exec" else run.TABLE
    for known in table:
        if not known.optional or option not in (f"--{known.long}", f"-{known.short}"):
            continue
        if known.long in NAMESPACES and word.isdigit():
            return f"to join process {word}: `pyspawn exec {word} -- PROGRAM`"
        if "/" in word and (known.long in NAMESPACES or not found):
            return f"if {word} was meant as the value of {option}: --{known.long}={word}"
    return found


def left_out(error: "ExecError") -> str | None:
    """Return the hint for a program that is there on the host, but not in the container."""
    path = error.path or ""
    if error.errno != errno.ENOENT or not path.startswith("/"):
        return None
    if " is not there" in error.step:  # its interpreter isn't; the program itself is
        return None
    try:
        mode = posix.stat(path).st_mode
    except (OSError, ValueError):  # nor is it there
        return None
    place = shown(path)
    first = "" if mode & 0o111 else f"`chmod +x {place}`, and "
    bind = mark(f"--ro-bind {place} {place}")
    return f"it is there on the host, but not in the container: {first}add {bind}"


def _is_named(words: "Sequence[str]", program: "Sequence[str]") -> bool:
    """Tell whether the last words name the program: --sandbox makes the path of one absolute."""
    if not words or list(words[1:]) != list(program[1:]):
        return False
    return words[0] == program[0] or program[0].endswith("/" + words[0].rpartition("/")[2])


def _is_no_name(word: str) -> bool:
    """Tell whether a word is hardly the name of a program, mistyped, nor a variable."""
    name, equals, _ = word.partition("=")
    return word[:1].isdigit() or ":" in word or "," in word or (equals != "" and not name.isupper())


def _command(word: str) -> str | None:
    """Return the hint for a first word that resembles a command of pyspawn, such as `exec`."""
    if word in ("help", "version"):
        return f"did you mean pyspawn --{word}?"
    import difflib

    close = difflib.get_close_matches(word, _COMMANDS, 1, cmdline.CLOSE)
    return f"did you mean pyspawn {close[0]}?" if close else None
