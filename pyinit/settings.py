"""The settings of `pyinit`, as values that every start needs.

The table of options (`options`), by which words become such values, is read only if there are words
to parse.
"""

import _signal

from pyinit import signal_bits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from pyinit.twins.twin import Twin

PROCESS = "process"
GROUP = "group"
ALL = "all"
"""The targets of signals: the workload's process, its process group, or every process."""

OWN_GROUP = "own group"
OWN_SESSION = "own session"
OUR_GROUP = "our group"
"""The workload's place: its own process group or session, or pyinit's process group."""


TWINS = ("tini", "docker-init", "dumb-init", "catatonit")
"""The names of other inits that pyinit can stand in for, `twins`."""

HANDOVER = b"--handover="
"""The beginning of the first word in a handover, docs/architecture.md."""


class Handover:
    """What the process that executed pyinit hands over to it, docs/architecture.md.

    `mask`, `ignored` and `pending` are sets of signals: blocked, ignored, and taken already on
    the workload's behalf. `foreground` says whether the launcher had the terminal's foreground;
    None leaves it to `pyinit` to find out. `notice` is the descriptor of a pipe to the launcher.
    """

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
            int(notice) if notice else None,
        )

    def __str__(self) -> str:
        """Return the word that `parse` accepts."""
        sets = {"mask": self.mask, "ignored": self.ignored, "pending": self.pending}
        word = ",".join(f"{name}={signal_bits(signals):x}" for name, signals in sets.items())
        if self.foreground is not None:
            word += f",foreground={self.foreground:d}"
        return word if self.notice is None else f"{word},notice={self.notice}"


def _signals(word: str) -> set[int]:
    bits = int(word, 16)
    return {number for number in _signal.valid_signals() if bits >> (number - 1) & 1}


class AnsweredError(Exception):
    """Raised when the command line was answered at once; pyinit exits with `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Settings:
    """The settings of pyinit with the defaults filled in; `program` is the workload's argv.

    `place`, `parting` (the signal that the workload's group is sent after the workload's end) and
    `suspends` (stop signals stop us too) are set only by another init's command line; `twin` is
    that init.
    """

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
        self.place: str = values.get("place", OWN_GROUP)
        self.parting: int = values.get("parting", 0)
        self.suspends: bool = values.get("suspends", False)
        self.twin: Twin | None = values.get("twin")

    @property
    def tells_all(self) -> bool:
        """Whether everything that happens is to be reported."""
        return bool(self.verbose or self.warn_orphans or self.events is not None)
