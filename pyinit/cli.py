"""`pyinit` as a command: the only place that prints usage, and that exits."""

import posix
import sys

from pyinit import child, cmdline, execvp, options, report, status, supervisor

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


def main(mask: set[int], pending: set[int]) -> "NoReturn":
    """Run `pyinit` with the words of sys.argv and exit.

    `mask` is the signal mask that the process was started with (all are blocked by now), `pending`
    are signals that the interpreter took before they were.
    """
    ignored = child.ignored_signals()
    encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    words = [word.encode(encoding, errors) for word in sys.argv[1:]]
    handover = options.Handover(mask, ignored, pending)
    if not (sys.flags.isolated and sys.flags.no_site):
        _restart_lean(words, handover)
    code = status.OURS
    try:
        code = _main(words, handover)
    except BaseException as error:  # noqa: BLE001  a traceback tells users nothing
        report.Report().say(f"{type(error).__name__}: {error}")
    posix._exit(code)


def _main(words: list[bytes], handover: options.Handover) -> int:
    """Do what the words ask for; return the exit status."""
    try:
        values = cmdline.environment(options.TABLE, posix.environ, options.PREFIX)
        given, rest = cmdline.parse(options.TABLE, [_decode(word) for word in words])
        asked = options.Options(values | given, [_encode(word) for word in rest])
        if given.get("help"):
            return _print(cmdline.help_text(options.TABLE, USAGE, FOOTER))
        if given.get("version"):
            from pyinit import __version__

            return _print(f"pyinit {__version__}\n")
        _check(asked, values | given)
    except cmdline.UsageError as error:
        hint = error.hint or "see pyinit --help"
        report.Report().say(f"{error}; {hint}")
        return status.OURS
    return _supervise(supervisor.Supervisor(asked, given.get("handover", handover)))


def _check(asked: options.Options, values: dict[str, object]) -> None:
    """Refuse what makes no sense together or here."""
    if asked.pause and asked.program:
        raise cmdline.UsageError("--pause runs no program", "leave out one of the two")
    if not asked.pause and not asked.program:
        raise cmdline.UsageError("no program given", "as in: pyinit -- sleep 60")
    if values.get("all") and values.get("group"):
        raise cmdline.UsageError("--all and --group exclude each other")
    if asked.target == options.ALL and posix.getpid() != 1:
        raise cmdline.UsageError(
            "--all is refused, since this is not PID 1: it would signal the whole machine",
            "use --group here",
        )
    if asked.events is not None:
        try:
            posix.fstat(asked.events)
        except OSError as error:
            what = status.errno_text(error.errno or 0)
            raise cmdline.UsageError(
                f"--events {asked.events}: {what}", "open it in who starts pyinit: 3>events"
            ) from None


def _supervise(run: supervisor.Supervisor) -> int:
    """Supervise to the end, and explain where the workload could not be started."""
    try:
        return run.run()
    except child.ExecFailed as failed:
        program, path = run.asked.program[0], posix.environ.get(b"PATH")
        code, reason, hint = execvp.explain(program, failed.error, path)
        said = f"{execvp.text(program)}: {reason}" + (f"; {hint}" if hint else "")
        if run.report.notice is None:
            run.report.say(said)
        else:
            run.report.notify(f"exec-failed {failed.error.errno} {code} {said}")
        return code
    except child.ForkFailed as failed:
        from pyinit import diagnose

        run.report.say(diagnose.fork_failed(failed.error))
        return status.OURS
    except OSError as error:
        what = status.errno_text(error.errno or 0)
        run.report.say(f"prctl PR_SET_PDEATHSIG: {what}; --parent-death can't be had here")
        return status.OURS


def _print(text: str) -> int:
    """Print what was asked for to stdout; return the exit status."""
    raw = text.encode()
    try:
        while raw:
            raw = raw[posix.write(1, raw) :]
    except OSError:
        return status.OURS
    return 0


def _restart_lean(words: list[bytes], handover: options.Handover) -> None:
    """Exec the same in a lean interpreter (-I -S); return only where that's impossible."""
    if not sys.executable:
        return
    directory = __file__.rpartition("/")[0].rpartition("/")[0]
    lean = [sys.executable, "-I", "-S", "-X", "utf8", "-c", START.format(directory=directory)]
    child.restore_locale()
    given = (
        []
        if any(word.startswith(b"--handover") for word in words)
        else [b"--handover", str(handover).encode()]
    )
    try:
        posix.execv(sys.executable, [_encode(word) for word in lean] + given + words)
    except OSError:
        return


def _decode(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def _encode(word: str) -> bytes:
    return word.encode("utf-8", "surrogateescape")
