"""Parse and check pyinit's command line and PYINIT_ variables; print help and usage errors.

This module is read only if there is something to parse: `pyinit -- app` needs none of it.
"""

import posix

from pyinit import OURS, AnsweredError, cmdline, machine, options

USAGE = """\
Usage: pyinit [OPTIONS] [--] PROGRAM [ARG...]
       pyinit --pause [OPTIONS]
       pyinit --as NAME [ARG...]
       pyinit --install-as NAME DIR

Run PROGRAM, forward signals to it, reap every orphan, and exit as it did. Made to be the first
process (PID 1) of a container."""

FOOTER = """\
Options end at the first word that isn't an option. All but --as, --install-as, --help and --version
may also come from the environment, as PYINIT_NAME (PYINIT_GROUP=1, PYINIT_KILL_AFTER=10); the
command line wins.

Exit status: PROGRAM's own; 128+N if signal N killed it; 127 if it wasn't found; 126 if it couldn't
be executed; 125 if pyinit itself could not do its work."""


_OTHERS = {
    "-s": "pyinit is always a subreaper: leave it out",
    "-c": "without --group, signals go to one process: leave it out",
    "--single-child": "without --group, signals go to one process: leave it out",
    "--init": "that is an option of pyspawn: leave it out",
}
"""Hints for options of tini(1), dumb-init(1) and pyspawn(1)."""


def parse(words: list[bytes]) -> machine.Settings:
    """Return what the command line and the environment ask for; raises AnsweredError."""
    try:
        values = cmdline.environment(options.TABLE, posix.environ, options.PREFIX)
        given, rest = cmdline.parse(
            options.TABLE, [word.decode("utf-8", "surrogateescape") for word in words]
        )
        values |= given
        if given.get("help"):
            raise AnsweredError(_print(cmdline.help_text(options.TABLE, USAGE, FOOTER)))
        if given.get("version"):
            from pyinit import __version__

            raise AnsweredError(_print(f"pyinit {__version__}\n"))
        program = [word.encode("utf-8", "surrogateescape") for word in rest]
        asked = machine.Settings(values, program)
        options.check(asked, values)
    except cmdline.UsageError as error:
        from pyinit import report  # only then

        hint = _OTHERS.get(error.unknown or "") or error.hint or "see pyinit --help"
        report.Report().fatal(f"{error}; {hint}")
        raise AnsweredError(OURS) from None
    return asked


def _print(text: str) -> int:
    """Print `text` to stdout; return the exit status."""
    from pyinit import outlet

    return 0 if outlet.answer(1, text.encode()) else OURS
