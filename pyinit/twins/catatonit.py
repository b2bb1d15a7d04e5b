"""The twin of catatonit 0.2."""

import posix

from pyinit import __version__, machine
from pyinit.twins import getopt, personality
from pyinit.twins.twin import DEBUG, FATAL, Twin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Catatonit(Twin):
    """The twin of catatonit."""

    __slots__ = ()

    version = f"tini version 0.2.0_catatonit - pyinit {__version__}"
    usage = """\
usage: {name} [-ghLPV] [--] <progname> [<arguments>...]
"""
    help = (
        usage
        + """
Run a program under pyinit in the place of catatonit.

options:
  -g              Forward signals to the program's process group.
  -h              Show this help and exit.
  -L              Show the licence and exit.
  -P              Pause: run no program; reap until SIGTERM or SIGINT.
  -V, --version   Show the version and exit.

CATATONIT_DEBUG in the environment: say on stderr what happens.
"""
    )
    on_stdout = ("version", "licence")
    prefix = "{level} (catatonit:{pid}): "
    levels = ("ERROR", "WARN", "INFO", "DEBUG")


def parse(name: str, words: list[str]) -> machine.Settings:
    """Return what a command line of catatonit 0.2 asks for."""
    twin = Catatonit(name, FATAL)
    values: dict[str, Any] = {"twin": twin}
    if b"CATATONIT_DEBUG" in posix.environ:
        twin.verbosity = DEBUG
    options = getopt.Options(words, "ghLPV", {"version": "V"}, permute=getopt.permutes())
    for letter, _ in personality.understood(twin, options):
        match letter:
            case "g":
                values["group"] = True
            case "h":
                personality.answer(twin, "help")
            case "L":
                personality.answer(twin, "licence")
            case "P":
                values["pause"] = True
            case "V":
                personality.answer(twin, "version")
    if values.get("pause"):
        return personality.asked(values, [])  # as the tool has it: a program is overlooked
    if not options.rest:
        personality.complain(twin, "no program given")
        personality.answer(twin, "usage")
    return personality.asked(values, options.rest)
