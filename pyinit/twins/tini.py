"""The twin of tini 0.19, which Docker calls docker-init."""

import posix

from pyinit import __version__, machine
from pyinit.twins import getopt, personality
from pyinit.twins.twin import WARNING, Twin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Tini(Twin):
    """The twin of tini."""

    __slots__ = ()

    # What stands behind " - " Docker reads as a commit, if it can, in its "init version".
    version = f"tini version 0.19.0 - pyinit {__version__}"
    help = usage = """\
{name} ({version})
Usage: {name} [OPTIONS] PROGRAM -- [ARGS] | --version

Run PROGRAM under pyinit in the place of tini: forward signals, reap orphans, exit as it did.

Options:

  --version     Show the version and exit; only as the one word.
  -h            Show this help and exit.
  -l            Show the licence and exit.
  -v            Say more on stderr; once for the start and the end, twice for all that happens.
  -w            Warn of each orphan that is reaped.
  -g            Send signals to the process group of PROGRAM.
  -e CODE       Exit with 0 where PROGRAM's exit code is CODE (0 to 255). Repeatable.
  -p SIGNAL     Send SIGNAL (as in SIGKILL) to PROGRAM when our parent dies.
  -s            Be a subreaper, as we always are where we aren't PID 1.

Environment variables:

  TINI_KILL_PROCESS_GROUP   As -g, whatever the value.
  TINI_SUBREAPER            As -s, whatever the value.
  TINI_VERBOSITY            How much to say, from 0 (only what is fatal) to 3; 1 without it.

"""
    on_stdout = ("help", "version", "licence")
    prefix = "[{level:5} tini ({pid})] "

    def exec_status(self, number: int) -> int:
        """Return the exit status for an exec that failed with errno `number`."""
        import errno

        return {errno.ENOENT: 127, errno.EACCES: 126}.get(number, 1)


def parse(name: str, words: list[str]) -> machine.Settings:
    """Return what a command line of tini 0.19 asks for."""
    twin = Tini(name)
    values: dict[str, Any] = {"twin": twin}
    codes: list[tuple[int, int]] = []
    if words == ["--version"]:
        personality.answer(twin, "version")
    options = getopt.Options(words, "p:hvwgle:s", permute=getopt.permutes())
    for letter, value in personality.understood(twin, options):
        match letter:
            case "h":
                personality.answer(twin, "help")
            case "l":
                personality.answer(twin, "licence")
            case "v":
                twin.verbosity += 1
            case "w":
                values["warn_orphans"] = True
            case "g":
                values["group"] = True
            case "e":
                codes.append((_exit_code(twin, value), 0))
            case "p":
                values["parent_death"] = _parent_death(twin, value)
            case "s":
                pass  # we are always a subreaper
    if not options.rest:
        personality.answer(twin, "usage")
    if b"TINI_KILL_PROCESS_GROUP" in posix.environ:
        values["group"] = True
    if (level := posix.environ.get(b"TINI_VERBOSITY")) is not None:
        twin.verbosity = getopt.integer(level.decode("utf-8", "surrogateescape"))[0] or 0
    if twin.verbosity < WARNING:
        values["warn_orphans"] = False
    values["exit_code"] = codes
    return personality.asked(values, options.rest)


def _exit_code(twin: Twin, word: str) -> int:
    """Return the exit code that tini's -e accepts; an empty word is 0, as for strtol(3)."""
    code, left = getopt.integer(word)
    if left or not 0 <= (code or 0) <= 255:
        personality.refuse(twin, f"-e: {word!r} is not an exit code from 0 to 255")
    return code or 0


def _parent_death(twin: Twin, word: str) -> int:
    """Return the signal that tini's -p accepts: by a full name, such as SIGTERM."""
    from pyinit import signames

    try:
        number = signames.number(word) if word.startswith("SIG") else 0
    except ValueError:
        number = 0
    if not number:
        personality.refuse(twin, f"-p: {word!r} is not the name of a signal, such as SIGTERM")
    return number
