"""Make DIR/NAME, a command that starts pyinit as NAME: `--install-as NAME DIR`.

The file is a script of two lines, which the kernel (execve(2), "Interpreter scripts") starts in a
lean interpreter at once; the command that an installer makes starts a heavy interpreter first. If
the interpreter's path doesn't fit the script's first line, the file is a link to that command.
"""

import os
import stat
import sys

from pyinit import TWINS, errno_text, read_file, restart

OWN_NAME = "pyinit"

_FLAGS = "-ISXutf8"

# BINPRM_BUF_SIZE (linux/binfmts.h) is 256 since Linux 5.1; before, longer lines were cut off
# silently, and an image may be run by an older kernel than the one that built it.
_LONGEST_FIRST_LINE = 127


class InstallError(Exception):
    """DIR/NAME can't be made; the message is for the user."""


def install(arguments: list[bytes]) -> None:
    """Make DIR/NAME in one step, replacing only what starts pyinit; raises InstallError."""
    if len(arguments) != 2:
        raise InstallError("two words are needed, NAME DIR")
    name, directory = (os.fsdecode(word) for word in arguments)
    names = (OWN_NAME, *TWINS)
    if name not in names:
        raise InstallError(f"{name!r} is not one of {', '.join(names)}")
    place = os.path.join(directory, name)
    if os.path.lexists(place) and not is_ours(place):
        raise InstallError(f"{place} exists and doesn't start pyinit; remove it first")
    try:
        temporary = _make(directory, name, place)
        try:
            os.rename(temporary, place)
        except OSError:
            os.unlink(temporary)
            raise
    except OSError as error:
        what = errno_text(error.errno or 0)
        raise InstallError(f"{place} can't be made: {what}") from None


def is_ours(path: str) -> bool:
    """Tell whether a file, or the target of a link, is a script that starts pyinit.

    Nothing else is opened: a FIFO would hold us, and some devices do things when they are opened.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
    except OSError:
        return False
    beginning = read_file(path, 4096)
    starts = (b"import pyinit.__main__", b"from pyinit.cli import main")
    return beginning.startswith(b"#!") and any(start in beginning for start in starts)


def _make(directory: str, name: str, place: str) -> str:
    """Make the script or the link under an unused name; return its path.

    Raises OSError, and leaves nothing behind if it does.
    """
    script = _script()
    while True:
        temporary = os.path.join(directory, f".{name}.{os.urandom(4).hex()}")
        try:
            if script is None:
                os.symlink(_command(place), temporary)
                return temporary
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o755)
        except FileExistsError:
            continue
        break
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o755)  # whatever the umask: any user of an image may start it
            file.write(script)
    except OSError:
        os.unlink(temporary)
        raise
    return temporary


def _script() -> str | None:
    """Return the script's text, or None if the interpreter's path doesn't fit its first line."""
    if not sys.executable:
        return None
    interpreter = os.path.realpath(sys.executable)
    first = f"#!{interpreter} {_FLAGS}\n"
    if len(first) > _LONGEST_FIRST_LINE or not interpreter.isascii() or len(first.split()) != 2:
        return None
    packages = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return first + restart.START.format(directory=packages) + "\n"


def _command(place: str) -> str:
    """Return the path of the installed `pyinit` command; raises InstallError if there is none."""
    beside = os.path.dirname(sys.executable)
    for directory in (beside, *os.environ.get("PATH", os.defpath).split(":")):
        command = os.path.abspath(os.path.join(directory, OWN_NAME))
        if is_ours(command) and not os.path.islink(command) and command != os.path.abspath(place):
            return command
    raise InstallError(
        f"the path {os.path.realpath(sys.executable)!r} doesn't fit the first line of a"
        " script, and no installed pyinit was found for a link"
    )
