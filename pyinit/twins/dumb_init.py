"""The twin of dumb-init 1.2."""

import _signal
import posix

from pyinit import STOPS, __version__, machine
from pyinit.twins import getopt, personality
from pyinit.twins.twin import DEBUG, Twin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class DumbInit(Twin):
    """The twin of dumb-init."""

    __slots__ = ()

    version = f"dumb-init v1.2.5 (pyinit {__version__})"
    help = """\
{version}
Usage: {name} [option] command [[arg] ...]

Run a command under pyinit in the place of dumb-init: in a session of its own, with signals
forwarded to its process group.

Options:
   -c, --single-child   No session: signals go to the command's process only.
   -r, --rewrite s:r    Forward signal r where s comes, by number; r = 0 drops it. Repeatable.
   -v, --verbose        Say on stderr what happens.
   -h, --help           Show this help and exit.
   -V, --version        Show the version and exit.

Environment variables:
   DUMB_INIT_DEBUG=1    As --verbose.
   DUMB_INIT_SETSID=0   As --single-child.
"""
    usage = """\
Usage: {name} [option] program [args]
Try {name} --help for full usage.
"""
    prefix = "[dumb-init] "

    def exec_status(self, number: int) -> int:
        """Return the exit status for an exec that failed, whatever the errno `number`."""
        return 2


def parse(name: str, words: list[str]) -> machine.Settings:
    """Return what a command line of dumb-init 1.2 asks for."""
    twin = DumbInit(name)
    values: dict[str, Any] = {"twin": twin, "suspends": True}
    own_session = True
    rewrite: dict[int, int] = {}
    names = {"help": "h", "single-child": "c", "rewrite": "r", "verbose": "v", "version": "V"}
    options = getopt.Options(words, "hvVcr:", names, permute=False)
    for letter, value in personality.understood(twin, options):
        match letter:
            case "h":
                personality.answer(twin, "help")
            case "V":
                personality.answer(twin, "version")
            case "v":
                twin.verbosity = DEBUG
            case "c":
                own_session = False
            case "r":
                source, target = _rewrite(twin, value)
                rewrite[source] = target
    if not options.rest:
        personality.answer(twin, "usage")
    if posix.environ.get(b"DUMB_INIT_DEBUG") == b"1":
        twin.verbosity = DEBUG
    if posix.environ.get(b"DUMB_INIT_SETSID") == b"0":
        own_session = False
    if own_session:
        # Stops of the terminal's kind do nothing in an orphaned group, as a new session has.
        rewrite = dict.fromkeys(STOPS, _signal.SIGSTOP) | rewrite
        values["group"] = True
        values["parting"] = rewrite.get(_signal.SIGTERM, _signal.SIGTERM)
    values["place"] = machine.OWN_SESSION if own_session else machine.OUR_GROUP
    values["rewrite"] = rewrite
    return personality.asked(values, options.rest)


def _rewrite(twin: Twin, word: str) -> tuple[int, int]:
    """Return (from, to) for dumb-init's `FROM:TO`: two numbers; what follows them is ignored."""
    source, left = getopt.integer(word)
    target = getopt.integer(left[1:])[0] if left.startswith(":") else None
    if source is None or target is None or not (1 <= source <= 31 and 0 <= target <= 31):
        personality.refuse(
            twin, f"-r: {word!r} is not FROM:TO, the numbers of two signals from 1 to 31"
        )
    return source, target
