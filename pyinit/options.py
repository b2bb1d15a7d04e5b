"""The table of `pyinit`'s options, and the checks on what they ask for together."""

import _signal
import posix

from pyinit import cmdline, errno_text, machine, signames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "PYINIT"
"""Options may also come from the environment, as PYINIT_NAME; the command line wins."""


def _rewrite(word: str) -> tuple[int, int]:
    """Return (from, to) for `FROM:TO`; `to` is 0 for a signal that is dropped."""
    source, colon, target = word.partition(":")
    if not colon:
        raise ValueError(f"{word!r} is not FROM:TO, such as HUP:TERM, or HUP:0 to drop a SIGHUP")
    number = signames.number(source)
    if number in (_signal.SIGKILL, _signal.SIGSTOP):
        raise ValueError(f"{signames.name(number)} can't be caught, so it can't be rewritten")
    if number == _signal.SIGCHLD:
        raise ValueError("SIGCHLD is about pyinit's own children and is never forwarded")
    return number, 0 if target == "0" else signames.number(target)


def _exit_code(word: str) -> tuple[int, int]:
    """Return (code, new code) for `CODE` or `CODE:NEW`, each from 0 to 255."""
    code, colon, new = word.partition(":")
    return _code(code), _code(new) if colon else 0


def _code(word: str) -> int:
    if not (word.isascii() and word.isdigit()) or len(word) > 3 or int(word) > 255:
        raise ValueError(f"{word!r} is not an exit status (0 to 255)")
    return int(word)


def _first_word(word: str) -> str:
    """Refuse an option that `cli` understands only as the first word."""
    raise ValueError("allowed only as the first word of the command line")


TABLE = (
    cmdline.Option(
        "group", "g", help="Forward signals to the workload's process group, not to its process."
    ),
    cmdline.Option(
        "all", help="Forward signals to every process in the PID namespace (only as PID 1)."
    ),
    cmdline.Option(
        "rewrite",
        "r",
        metavar="FROM:TO",
        convert=_rewrite,
        many=True,
        help="Forward signal TO instead of FROM (names or numbers); TO = 0 drops FROM. Repeatable.",
    ),
    cmdline.Option(
        "parent-death",
        "p",
        metavar="SIGNAL",
        convert=signames.number,
        help="Send SIGNAL to the workload when the process that started pyinit dies.",
    ),
    cmdline.Option(
        "warn-orphans",
        "w",
        help="Report each orphan that is reaped: its pid, its command, how it ended.",
    ),
    cmdline.Option(
        "exit-code",
        "e",
        metavar="CODE[:NEW]",
        convert=_exit_code,
        many=True,
        help="Exit with NEW (or 0) if the workload's status is CODE. Repeatable.",
    ),
    cmdline.Option(
        "wait",
        help="After the workload's end, wait for all other processes; exit with the workload's"
        " status.",
    ),
    cmdline.Option(
        "drain",
        metavar="SECONDS",
        convert=cmdline.seconds,
        help="After the workload's end, send SIGTERM to what is left, wait SECONDS, then SIGKILL.",
    ),
    cmdline.Option(
        "kill-after",
        metavar="SECONDS",
        convert=cmdline.seconds,
        help="Kill everything SECONDS after a SIGTERM, SIGINT or SIGQUIT was forwarded.",
    ),
    cmdline.Option(
        "term-signal",
        metavar="SIGNAL",
        convert=signames.number,
        help="Send SIGNAL wherever SIGTERM would be sent (forwarded, or by --drain).",
    ),
    cmdline.Option(
        "pause",
        help="Run no workload: hold the namespace and reap until SIGTERM or SIGINT; exit with 0.",
    ),
    cmdline.Option(
        "events",
        metavar="FD",
        convert=cmdline.descriptor,
        help="Report events on descriptor FD, as one JSON object per line.",
    ),
    cmdline.Option(
        "verbose",
        "v",
        count=True,
        help="Report events on stderr, in words.",
    ),
    cmdline.Option(
        "as",
        metavar="NAME",
        convert=_first_word,
        help="Act as tini, docker-init, dumb-init or catatonit, whose command line follows. Only "
        "as the first word; a link or script of that name does the same.",
        words_only=True,
    ),
    cmdline.Option(
        "install-as",
        metavar="NAME DIR",
        convert=_first_word,
        help="Make DIR/NAME, which starts pyinit as the twin NAME, or as pyinit. Only as the first"
        " word.",
        words_only=True,
    ),
    # Not PYINIT_VERSION: an image's recipe may name there what it installs.
    cmdline.Option("help", "h", help="Show this help and exit.", words_only=True),
    cmdline.Option("version", "V", help="Show the version and exit.", words_only=True),
)


def check(asked: machine.Settings, given: "Mapping[str, object]") -> None:
    """Refuse options that conflict, or that don't work here; raises cmdline.UsageError."""
    if asked.pause and asked.program:
        what = "--pause can't be combined with a program"
        raise cmdline.UsageError(what, "leave out the program, or --pause")
    if not asked.pause and not asked.program:
        what = "no program was given"
        raise cmdline.UsageError(what, "name a program, as in: pyinit -- sleep 60")
    if given.get("all") and given.get("group"):
        raise cmdline.UsageError("--all and --group exclude each other")
    if asked.target == machine.ALL and posix.getpid() != 1:
        raise cmdline.UsageError(
            "--all is refused: pyinit is not PID 1 here, and would signal the whole host",
            "use --group instead",
        )
    if asked.events is not None:
        try:
            cmdline.check_writable(asked.events)
        except OSError as error:
            raise cmdline.UsageError(
                f"--events {asked.events}: {errno_text(error.errno or 0)}",
                "open the descriptor when you start pyinit, for example with "
                f"`{asked.events}>FILE` in a shell",
            ) from None
