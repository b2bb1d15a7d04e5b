"""The command `pyinit`, from sys.argv to the exit status, with as little work as possible."""

import posix
import sys

from pyinit import OURS, TWINS, AnsweredError, child, ignored_signals, machine, supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(mask: set[int], pending: set[int]) -> "NoReturn":
    """Run `pyinit` with the arguments in sys.argv, and exit.

    `mask` is the signal mask that the process was started with (all signals are blocked by now);
    `pending` are signals that the interpreter took before they were blocked.
    """
    code = OURS
    try:
        encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
        words = [word.encode(encoding, errors) for word in sys.argv[1:]]
        if words and words[0][: len(child.HANDOVER)] == child.HANDOVER:
            handover = child.Handover.parse(words.pop(0)[len(child.HANDOVER) :].decode())
        else:
            handover = child.Handover(mask, ignored_signals(), pending)
        if sys.argv[0] != "-c" and (called := sys.argv[0].rpartition("/")[2]) in TWINS:
            words = [b"--as", called.encode(), *words]
        if not (sys.flags.isolated and sys.flags.no_site):
            from pyinit import restart

            restart.lean(words, handover)
        code = _main(words, handover)
    except BaseException as error:  # noqa: BLE001  a traceback tells users nothing
        _say(f"{type(error).__name__}: {error}")
    posix._exit(code)


def _main(words: list[bytes], handover: child.Handover) -> int:
    """Do what the command line asks for; return the exit status."""
    if words[:1] == [b"--"] and words[1:] and not _environment_asks():
        return _supervise(machine.Settings({}, words[1:]), handover, words)
    try:
        asked = _asked(words)
    except AnsweredError as answered:
        return answered.status
    if asked.twin:  # whose name comes first
        del words[: 2 if words[0] == b"--as" else 1]
    return _supervise(asked, handover, words)


def _asked(words: list[bytes]) -> machine.Settings:
    """Return what a command line, pyinit's or a twin's, asks for; raises AnsweredError."""
    option, equals, value = words[0].partition(b"=") if words else (b"", b"", b"")
    rest = [value, *words[1:]] if equals else words[1:]
    if option == b"--as":
        from pyinit import twins

        return twins.parse(rest)
    if option == b"--install-as":
        from pyinit import install

        try:
            install.install(rest)
        except install.InstallError as error:
            _say(f"--install-as: {error}")
            raise AnsweredError(OURS) from None
        raise AnsweredError(0)
    from pyinit import usage

    return usage.parse(words)


def _environment_asks() -> bool:
    """Tell whether the environment may hold an option of pyinit."""
    for name in posix.environ:  # noqa: SIM110  see "Memory" in docs/start-up.md
        if name[:7] == b"PYINIT_":
            return True
    return False


def _supervise(asked: machine.Settings, handover: child.Handover, words: list[bytes]) -> int:
    """Supervise the workload to its end, or explain why it could not be started."""
    run = supervisor.Supervisor(asked, handover, words)
    try:
        return run.run()
    except child.ExecFailed as failed:
        code = failed.status
        if asked.twin:
            code = asked.twin.exec_status(failed.errno)
            code = asked.exit_codes.get(code, code)
        run.not_started(f"exec-failed {failed.errno} {code}", failed.said, failed.hint)
        return code
    except child.ForkFailed as failed:
        from pyinit import diagnose

        said, hint = diagnose.fork_failed(failed.error)
        run.not_started(f"fork-failed {failed.error.errno or 0}", said, hint)
    except OSError as error:
        run.report.fatal(f"the start failed: {error.strerror}")
    return asked.twin.failed if asked.twin else OURS


def _say(text: str) -> None:
    """Print one line to stderr."""
    from pyinit import report

    report.Report().fatal(text)
