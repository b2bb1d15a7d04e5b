"""`pyspawn` as a command, from sys.argv to the exit status, with as little work as possible."""

import _signal
import posix
import sys

from pyinit import OURS, be_interrupted, show
from spawner import caller, channel
from spawner.errors import LAUNCHER, ExecError, SetupError, SpawnerError
from spawner.launch import Launch
from spawner.linux import Kernel, encode
from spawner.made import Observer
from spawner.spec import Spec, choose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn

    from spawner.tell.report import Report
    from spawner.tell.telling import Telling


class _Silent(Observer):
    """The observer of a run without reports, which tells only what would otherwise go unnoticed."""

    _report: "Report | None" = None

    def left(self, pid: int | None, how: str) -> None:
        """Report a process that outlives its SIGKILL, or what else is left."""
        if self._report is None:
            from spawner.tell.report import Report

            self._report = Report()
        self._report.left(pid, how)

    def spared(self, number: int, seconds: float | None) -> None:
        """Tell that a ^C doesn't end the program yet."""
        from spawner.tell.report import Report

        Report().spared(number, seconds)


def main(mask: "Iterable[int]", early: "Iterable[int]") -> "NoReturn":
    """Run `pyspawn` with the words of sys.argv and exit.

    `mask` is the signal mask that the process was started with (all are blocked by now), `early`
    are signals that the interpreter took before they were.
    """
    status = OURS
    try:
        status = _main(sys.argv[1:], mask, early)
    except Exception as error:  # noqa: BLE001  a traceback tells users nothing
        status = _unexpected(error)
    finally:
        posix._exit(status)


def _main(words: list[str], mask: "Iterable[int]", early: "Iterable[int]") -> int:
    """Do what the command line asks for; return the exit status."""
    parent = posix.getppid()
    _plug()
    found = caller.look(mask)
    caller.restore_locale()
    spec = _plain(words, found)
    if spec is not None:
        show(b"pyspawn", list(map(encode, words)))
        return _run(spec, found, early)
    if words[:1] == ["exec"]:
        _seal(found, early)
    from spawner.command import ask

    asked = ask.ask(words, found, parent)
    if isinstance(asked, int):
        return asked
    return _run(
        asked.spec,
        found,
        early,
        asked.report,
        asked.lifelines,
        asked.spared,
        background=asked.background,
        telling=asked.telling,
    )


def _seal(found: caller.Caller, early: "Iterable[int]") -> None:
    """Restart pyspawn from a sealed copy of the interpreter if a join needs that.

    What hinders that is told later, when it's known to whom (`command`).
    """
    from spawner.joining import sealed

    try:
        sealed.restart(Kernel(), found, early=early)
    except SpawnerError:
        return


def _plain(words: list[str], found: caller.Caller) -> Spec | None:
    """Return the request of `-- PROGRAM` or `--init -- PROGRAM`, or None for other words.

    They need no table of options, which takes a millisecond to read.
    """
    init = words[:1] == ["--init"]
    program = words[init + 1 :]
    if words[init : init + 1] != ["--"] or not program:
        return None
    namespaces = choose(privileged=found.user == 0)
    return Spec(tuple(program), namespaces=namespaces, init="" if init else None)


def _run(
    spec: Spec,
    found: caller.Caller,
    early: "Iterable[int]",
    report: "Report | None" = None,
    lifelines: "Iterable[int]" = (),
    spared: "Iterable[int]" = (),
    *,
    background: bool = False,
    telling: "Telling | None" = None,
) -> int:
    """Launch the container that `spec` describes; return the exit status."""
    try:
        # One that is ignored makes the kernel reap, and the status is lost, wait(2).
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    except OSError as error:
        what = "set the disposition of SIGCHLD"
        refused = SetupError(what, stage=LAUNCHER, syscall="rt_sigaction", errno=error.errno)
        return _failed(refused, spec, report)
    try:
        launch = Launch(
            telling or Kernel(),
            spec,
            found,
            report or _Silent(),
            lifelines=lifelines,
            spared=spared,
            early=early,
            background=background,
            wrap=None if telling is None else telling.tells,
        )
        ending = launch.run()
    except SpawnerError as error:
        if isinstance(error, ExecError):
            error.hint = _meant(spec, error)
        return _failed(error, spec, report)
    except OSError as error:  # of an import, mostly: no descriptor is left
        return _failed(channel.unexpected(error, LAUNCHER), spec, report)
    if report is not None:
        report.ended(ending)
    if ending.interrupted and not background:
        # So shells know that the user meant them too. As PID 1 we survive, for our exit to say it.
        be_interrupted(posix.getpid())
    return ending.status


def _meant(spec: Spec, error: ExecError) -> str | None:
    """Return the hint for a program that could not be executed, or the error's own hint."""
    try:
        if spec.enters:
            from spawner.why import joins

            if found := joins.not_found(error, spec):
                return found
        from spawner.command import meant

        found = meant.hint(sys.argv[1:], spec.arguments, error.hint)
        # What a join enters is what it is: nothing can be bound there.
        return found if found or spec.enters else meant.left_out(error)
    except OSError:  # no descriptor is left to read them, or what they need: the status stays
        return error.hint


def _failed(error: SpawnerError, spec: Spec | None, report: "Report | None") -> int:
    """Report a failure; return the exit status."""
    if report is None:
        from spawner.tell.report import Report

        report = Report()
    return report.failed(error, spec)


def _unexpected(error: Exception) -> int:
    """Report an unexpected exception, even if no memory or descriptor is left."""
    what = f"unexpected {type(error).__name__}: {error}"
    try:
        return _failed(SpawnerError(what), None, None)
    except Exception:  # noqa: BLE001  even the words for it can't be read in
        posix.write(2, f"pyspawn: {what}\n".encode("utf-8", "backslashreplace"))
        return OURS


def _plug() -> None:
    """Open /dev/null on closed standard descriptors, so that no later file gets their numbers.

    What is opened there can neither be read nor written, and the program doesn't get it, open(2).
    """
    for descriptor in (0, 1, 2):
        try:
            posix.fstat(descriptor)
        except OSError:
            try:
                posix.open("/", posix.O_PATH | posix.O_CLOEXEC)
            except OSError:  # no descriptor is left: the next call that needs one will say so
                return
