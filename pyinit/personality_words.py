"""What a twin says: help, version, licence, complaints and news, in the form of the tool.

The form is what scripts look for: which stream, the first words of a line, the program's name.
The words behind it are ours.
"""

import posix

from pyinit import __version__, report, signames
from pyinit.twin import DEBUG, FATAL, INFO, WARNING, Twin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyinit.reaper import Usage

_TINI_USAGE = """\
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

_DUMB_INIT_HELP = """\
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

_DUMB_INIT_USAGE = """\
Usage: {name} [option] program [args]
Try {name} --help for full usage.
"""

_CATATONIT_USAGE = """\
usage: {name} [-ghLPV] [--] <progname> [<arguments>...]
"""

_CATATONIT_HELP = (
    _CATATONIT_USAGE
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

LICENCE = """\
MIT License

Copyright (c) 2026 The pidone authors

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
"""The file LICENSE, which an installed package may come without."""

_VERSIONS = {
    # What stands behind " - " Docker reads as a commit, if it can, in its "init version".
    "tini": f"tini version 0.19.0 - pyinit {__version__}",
    "dumb-init": f"dumb-init v1.2.5 (pyinit {__version__})",
    "catatonit": f"tini version 0.2.0_catatonit - pyinit {__version__}",
}

_TEXTS = {
    "tini": {"help": _TINI_USAGE, "usage": _TINI_USAGE},
    "dumb-init": {"help": _DUMB_INIT_HELP, "usage": _DUMB_INIT_USAGE},
    "catatonit": {"help": _CATATONIT_HELP, "usage": _CATATONIT_USAGE},
}

# What each prints to stdout; all else goes to stderr.
_ON_STDOUT = {
    "tini": ("help", "version", "licence"),
    "dumb-init": (),
    "catatonit": ("version", "licence"),
}

_PREFIXES = {
    "tini": "[{level:5} tini ({pid})] ",
    "dumb-init": "[dumb-init] ",
    "catatonit": "{level} (catatonit:{pid}): ",
}

_LEVELS = {
    FATAL: "FATAL",
    WARNING: "WARN",
    INFO: "INFO",
    DEBUG: "DEBUG",
}

# News that a tool with levels gives at the first of them; all others are for the second.
_FIRST = ("started", "exited")


def answer(twin: Twin, wanted: str, complaint: str) -> tuple[int, str]:
    """Return the descriptor and the text of an answer, with `complaint` before a usage."""
    version = _VERSIONS[twin.tool]
    if wanted == "version":
        text = version + "\n"
    elif wanted == "licence":
        text = LICENCE
    else:
        text = _TEXTS[twin.tool][wanted].format(name=twin.name, version=version)
    if complaint:
        text = f"{twin.name}: {complaint}\n{text}"
    return (1 if wanted in _ON_STDOUT[twin.tool] else 2), text


class Voice(report.Report):
    """Tells what happens as the twin's tool does: its prefix, its levels, on stderr."""

    def __init__(self, twin: Twin, *, warn_orphans: bool = False) -> None:
        super().__init__(verbose=max(0, twin.verbosity - WARNING))
        self._twin = twin
        self._warns = warn_orphans

    def fatal(self, text: str) -> None:
        """Say why we can't go on; for that a reader is waited for, but not for long."""
        self._speak(FATAL, text, waits=True)

    def say(self, text: str) -> None:
        """Say what went wrong, where the tool's level lets us."""
        self._speak(WARNING, text)

    @property
    def _names_the_dead(self) -> bool:
        return self._warns or self._twin.verbosity >= DEBUG

    def reaped(
        self,
        pid: int,
        name: bytes,
        status: int,
        signal: int | None,
        usage: "Usage | None",
        own: bool,
    ) -> None:
        """Tell of a child that was reaped, an orphan in the words that tini's users look for."""
        if self._warns and not own:
            how = f"killed by {signames.name(signal)}" if signal else f"exited with {status}"
            shown = name.decode("utf-8", "backslashreplace") or "?"
            self.say(f"Reaped zombie process with pid={pid} ({shown}, {how})")
        super().reaped(pid, name, status, signal, usage, own)

    def _event(self, line: str, **fields: "report.Value") -> None:
        first = fields.get("event") in _FIRST
        self._speak(INFO if first else DEBUG, line)

    def _speak(self, level: int, text: str, *, waits: bool = False) -> None:
        """Print one line if the twin's verbosity reaches its level."""
        if level <= self._twin.verbosity:
            self._line(self._prefixed(text, level), waits=waits)

    def _prefixed(self, text: str, level: int = WARNING) -> str:
        prefix = _PREFIXES[self._twin.tool]
        return prefix.format(level=_word(self._twin, level), pid=posix.getpid()) + text


def _word(twin: Twin, level: int) -> str:
    """Return what a tool calls a level."""
    if twin.tool == "catatonit" and level == FATAL:
        return "ERROR"
    return _LEVELS[level]
