"""The command `pyspawn release`: release namespaces that are kept as files (`persist`)."""

from __future__ import annotations

import errno

from pyinit import OURS, cmdline, outlet
from spawner import linux
from spawner.errors import SetupError
from spawner.host import programs
from spawner.life.persist import WHERE, release
from spawner.tell.report import Report
from spawner.why.evidence import shown

TABLE = (cmdline.Option("help", "h", help="Show this help and exit."),)

HELP = "pyspawn release --help"
"""The command that shows the help."""

USAGE = """\
Usage: pyspawn release DIR

Let go of the namespaces that `pyspawn --persist DIR` keeps, and remove DIR. A namespace that has
processes in it, or that is kept elsewhere too, lives on."""


def main(words: list[str]) -> int:
    """Do what the words after `pyspawn release` ask for; return the exit status."""
    report = Report()
    try:
        values, rest = cmdline.parse(TABLE, words)
        if values.get("help"):
            return 0 if outlet.answer(1, cmdline.help_text(TABLE, USAGE).encode()) else OURS
        if len(rest) != 1:
            return report.failed(cmdline.UsageError("name one directory"), hint=f"see {HELP}")
        release(linux.Kernel(), rest[0])
    except cmdline.UsageError as error:
        return report.failed(error, hint=error.hint or f"see {HELP}")
    except SetupError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            command = programs.as_root(f"release {shown(rest[0])}")
            error.hint = f"only root can unmount the namespaces' files: {command}"
        elif error.errno is not None and not (error.path or "").startswith("/proc/self/"):
            error.hint = WHERE
        return report.failed(error)
    return 0
