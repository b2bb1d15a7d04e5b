"""`pyinit` as a command: the only place that prints usage, and that exits."""

import posix
import sys

from pyinit import child, settings, status, supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

USAGE = """\
Usage: pyinit [OPTIONS] [--] PROGRAM [ARG...]
       pyinit --pause [OPTIONS]

Run PROGRAM, forward signals to it, reap every orphan, and exit as it did. Made to be the first
process (PID 1) of a container."""

FOOTER = """\
Options end at the first word that isn't one. Each may also come from the environment, as
PYINIT_NAME (PYINIT_GROUP=1, PYINIT_KILL_AFTER=10); the command line wins.

Exit status: PROGRAM's own; 128+N if signal N killed it; 127 if it wasn't found; 126 if it couldn't
be executed; 125 if pyinit itself could not do its work."""

START = "import sys;sys.path[:0]=[{directory!r}];import pyinit.__main__"
"""The code of a lean start, docs/architecture.md, "Start-up"."""


HANDOVER = b"--handover="
"""The first word's beginning where an earlier process hands over, docs/architecture.md."""


def main(mask: set[int], pending: set[int]) -> "NoReturn":
    """Run `pyinit` with the words of sys.argv and exit.

    `mask` is the signal mask that the process was started with (all are blocked by now), `pending`
    are signals that the interpreter took before they were.
    """
    code = status.OURS
    try:
        encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
        words = [word.encode(encoding, errors) for word in sys.argv[1:]]
        if words and words[0].startswith(HANDOVER):
            handover = settings.Handover.parse(words.pop(0)[len(HANDOVER) :].decode())
        else:
            handover = settings.Handover(mask, child.ignored_signals(), pending)
        if not (sys.flags.isolated and sys.flags.no_site):
            _restart_lean(words, handover)
        code = _main(words, handover)
    except BaseException as error:  # noqa: BLE001  a traceback tells users nothing
        _say(f"{type(error).__name__}: {error}")
    posix._exit(code)


def _main(words: list[bytes], handover: settings.Handover) -> int:
    """Do what the words ask for; return the exit status."""
    if words[:1] == [b"--"] and words[1:] and not _environment_asks():
        return _supervise(settings.Settings({}, words[1:]), handover)
    from pyinit import cmdline, options

    try:
        values = cmdline.environment(options.TABLE, posix.environ, options.PREFIX)
        given, rest = cmdline.parse(options.TABLE, [_decode(word) for word in words])
        values |= given
        if given.get("help"):
            return _print(cmdline.help_text(options.TABLE, USAGE, FOOTER))
        if given.get("version"):
            from pyinit import __version__

            return _print(f"pyinit {__version__}\n")
        asked = settings.Settings(values, [_encode(word) for word in rest])
        options.check(asked, values)
    except cmdline.UsageError as error:
        _say(f"{error}; {error.hint or 'see pyinit --help'}")
        return status.OURS
    return _supervise(asked, handover)


def _environment_asks() -> bool:
    """Tell whether any option may come from the environment."""
    return any(name.startswith(b"PYINIT_") for name in posix.environ)


def _supervise(asked: settings.Settings, handover: settings.Handover) -> int:
    """Supervise to the end, and explain where the workload could not be started."""
    run = supervisor.Supervisor(asked, handover)
    try:
        return run.run()
    except child.ExecFailed as failed:
        from pyinit import execvp

        program, path = asked.program[0], posix.environ.get(b"PATH")
        code, reason, hint = execvp.explain(program, failed.error, path)
        said = f"{execvp.text(program[:1000])}: {reason}" + (f"; {hint}" if hint else "")
        if handover.notice is None:
            _say(said)
        else:
            run.notify(f"exec-failed {failed.error.errno} {code} {said}")
        return code
    except child.ForkFailed as failed:
        from pyinit import diagnose

        _say(diagnose.fork_failed(failed.error))
        return status.OURS
    except OSError as error:
        what = status.errno_text(error.errno or 0)
        _say(f"prctl PR_SET_PDEATHSIG: {what}; --parent-death can't be had here")
        return status.OURS


def _say(text: str) -> None:
    """Print one line for people, to stderr."""
    from pyinit import report

    report.Report().say(text)


def _print(text: str) -> int:
    """Print what was asked for to stdout; return the exit status."""
    raw = text.encode()
    try:
        while raw:
            raw = raw[posix.write(1, raw) :]
    except OSError:
        return status.OURS
    return 0


def _restart_lean(words: list[bytes], handover: settings.Handover) -> None:
    """Exec the same in a lean interpreter (-I -S); return only where that's impossible."""
    if not sys.executable:
        return
    directory = __file__.rpartition("/")[0].rpartition("/")[0]
    lean = ["-I", "-S", "-X", "utf8", "-c", START.format(directory=directory)]
    child.restore_locale()
    try:
        posix.execv(
            sys.executable,
            [
                _encode(sys.executable),
                *(_encode(word) for word in lean),
                HANDOVER + str(handover).encode(),
                *words,
            ],
        )
    except OSError:
        return


def _decode(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def _encode(word: str) -> bytes:
    return word.encode("utf-8", "surrogateescape")
