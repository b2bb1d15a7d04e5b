"""Messages of a twin while it runs, in the style of the tool.

The form is what scripts look for: which stream, the first words of a line, the program's name.
The words behind it are ours.
"""

import posix

from pyinit import report
from pyinit.twins.twin import DEBUG, FATAL, INFO, WARNING, Twin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyinit.report import Value

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
"""The text of the file LICENSE, which an installed package may lack."""

# News that a tool with levels gives at the first of them; all others are for the second.
_FIRST = ("started", "exited")


class Voice(report.Report):
    """Reports what happens in the style of the tool: its prefix and its levels, on stderr."""

    def __init__(self, twin: Twin, *, warn_orphans: bool = False) -> None:
        super().__init__(warn_orphans=warn_orphans)
        self._twin = twin

    def fatal(self, text: str) -> None:
        """Say why pyinit can't go on, waiting a little for a slow reader."""
        self._speak(FATAL, text, waits=True)

    def say(self, text: str) -> None:
        """Report what went wrong, if the tool's level allows that."""
        self._speak(WARNING, text)

    @property
    def _names_the_dead(self) -> bool:
        return self.warn_orphans or self._twin.verbosity >= DEBUG

    def _warn(self, line: str, pid: int, what: str) -> None:
        """Warn of an orphan in the words that tini's users look for."""
        self.say(f"Reaped zombie process with pid={pid} ({what})")

    def _event(self, line: str, **fields: "Value") -> None:
        first = fields.get("event") in _FIRST
        self._speak(INFO if first else DEBUG, line)

    def _speak(self, level: int, text: str, *, waits: bool = False) -> None:
        """Print one line if the twin's verbosity allows its level."""
        if level <= self._twin.verbosity:
            self._line(self._prefixed(text, level), waits=waits)

    def _prefixed(self, text: str, level: int = WARNING) -> str:
        return self._twin.prefix.format(level=self._twin.levels[level], pid=posix.getpid()) + text
