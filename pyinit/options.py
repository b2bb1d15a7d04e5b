"""What `pyinit` can be asked: the table of its options, and the value that they become."""

import _signal

from pyinit import cmdline, signames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

PREFIX = "PYINIT"
"""Each option may also come from the environment, as PYINIT_NAME; the command line wins."""

PROCESS = "process"
GROUP = "group"
ALL = "all"
"""Where signals go: the workload's process, its process group, every process there is."""


def _rewrite(word: str) -> tuple[int, int]:
    """Return (from, to) of `FROM:TO`; `to` is 0 for a signal that is dropped."""
    source, colon, target = word.partition(":")
    if not colon:
        raise ValueError(f"{word!r} is not FROM:TO, as in HUP:TERM, or HUP:0 to drop it")
    number = signames.number(source)
    if number in (_signal.SIGKILL, _signal.SIGSTOP):
        raise ValueError(f"{signames.name(number)} can't be caught, so it can't be rewritten")
    if number == _signal.SIGCHLD:
        raise ValueError("SIGCHLD tells of our own children and is never forwarded")
    return number, 0 if target == "0" else signames.number(target)


def _exit_code(word: str) -> tuple[int, int]:
    """Return (code, new code) of `CODE` or `CODE:NEW`, each 0 to 255."""
    code, colon, new = word.partition(":")
    return _code(code), _code(new) if colon else 0


def _code(word: str) -> int:
    if not (word.isascii() and word.isdigit()) or len(word) > 3 or int(word) > 255:
        raise ValueError(f"{word!r} is not an exit status (0 to 255)")
    return int(word)


class Handover:
    """What an earlier process knew and `pyinit` can't see: docs/architecture.md, "The handover".

    `mask`, `ignored` and `pending` are sets of signals: blocked, ignored, and taken already on
    the workload's behalf. `foreground` says whether the launcher had the terminal's foreground;
    None leaves it to `pyinit` to find out. `notice` is the descriptor of a pipe to the launcher.
    """

    __slots__ = ("foreground", "ignored", "mask", "notice", "pending")

    def __init__(
        self,
        mask: set[int],
        ignored: set[int],
        pending: set[int],
        foreground: bool | None = None,
        notice: int | None = None,
    ) -> None:
        self.mask = mask
        self.ignored = ignored
        self.pending = pending
        self.foreground = foreground
        self.notice = notice

    @classmethod
    def parse(cls, word: str) -> "Handover":
        """Return the handover written as `mask=HEX,ignored=HEX,foreground=0|1,notice=FD`.

        The sets are hexadecimal as in /proc/PID/status, proc(5); each field may be absent.
        Raises ValueError.
        """
        fields = dict(part.partition("=")[::2] for part in word.split(","))
        notice = fields.get("notice", "")
        return cls(
            _signals(fields.get("mask", "0")),
            _signals(fields.get("ignored", "0")),
            _signals(fields.get("pending", "0")),
            fields["foreground"] == "1" if "foreground" in fields else None,
            cmdline.descriptor(notice) if notice else None,
        )

    def __str__(self) -> str:
        """Return the word that `parse` takes."""
        word = f"mask={_hex(self.mask)},ignored={_hex(self.ignored)},pending={_hex(self.pending)}"
        if self.foreground is not None:
            word += f",foreground={self.foreground:d}"
        return word if self.notice is None else f"{word},notice={self.notice}"


def _signals(word: str) -> set[int]:
    bits = int(word, 16)
    return {number for number in _signal.valid_signals() if bits >> (number - 1) & 1}


def _hex(signals: set[int]) -> str:
    return f"{sum(1 << (number - 1) for number in signals):x}"


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
        help="Forward signal TO in place of FROM, by name or number; TO = 0 drops it. Repeatable.",
    ),
    cmdline.Option(
        "parent-death",
        "p",
        metavar="SIGNAL",
        convert=signames.number,
        help="Send SIGNAL to the workload when whoever started pyinit dies.",
    ),
    cmdline.Option(
        "warn-orphans",
        "w",
        help="Name each orphan that is reaped: its pid, its command, how it ended.",
    ),
    cmdline.Option(
        "exit-code",
        "e",
        metavar="CODE[:NEW]",
        convert=_exit_code,
        many=True,
        help="Exit with NEW (or 0) where the workload's status is CODE. Repeatable.",
    ),
    cmdline.Option(
        "wait", help="After the workload's end, wait for all other processes; keep its status."
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
        help="SIGKILL everything SECONDS after SIGTERM, SIGINT or SIGQUIT was forwarded.",
    ),
    cmdline.Option(
        "term-signal",
        metavar="SIGNAL",
        convert=signames.number,
        help="Send SIGNAL wherever SIGTERM would be sent (forwarded, or by --drain).",
    ),
    cmdline.Option(
        "pause",
        help="No workload: hold the namespace and reap until SIGTERM or SIGINT, then exit 0.",
    ),
    cmdline.Option(
        "events",
        metavar="FD",
        convert=cmdline.descriptor,
        help="Write what happens to descriptor FD, a JSON object a line.",
    ),
    cmdline.Option(
        "verbose",
        "v",
        count=True,
        help="Say on stderr what happens, as --events does for programs.",
    ),
    cmdline.Option("help", "h", help="Show this help and exit."),
    cmdline.Option("version", "V", help="Show the version and exit."),
    cmdline.Option("handover", metavar="WHAT", convert=Handover.parse, hidden=True),
)


class Options:
    """What was asked for, with the defaults filled in; `program` is the workload's argv."""

    __slots__ = ("drain", "events", "exit_codes", "kill_after", "parent_death", "pause",
                 "program", "rewrite", "target", "term_signal", "verbose", "wait",
                 "warn_orphans")  # fmt: skip

    def __init__(self, values: "Mapping[str, Any]", program: "Iterable[bytes]" = ()) -> None:
        self.program = list(program)
        self.target: str = ALL if values.get("all") else GROUP if values.get("group") else PROCESS
        self.rewrite: dict[int, int] = dict(values.get("rewrite", ()))
        self.parent_death: int | None = values.get("parent_death")
        self.warn_orphans: bool = values.get("warn_orphans", False)
        self.exit_codes: dict[int, int] = dict(values.get("exit_code", ()))
        self.wait: bool = values.get("wait", False)
        self.drain: float | None = values.get("drain")
        self.kill_after: float | None = values.get("kill_after")
        self.term_signal: int = values.get("term_signal", _signal.SIGTERM)
        self.pause: bool = values.get("pause", False)
        self.events: int | None = values.get("events")
        self.verbose: int = values.get("verbose", 0)
