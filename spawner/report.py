"""Tells what happens: to people on stderr, to programs as JSON lines.

Neither reader may hold the launcher: a line that can't be written within a second is dropped.
"""

import posix
import select

from pyinit import OURS, errno_name, errno_text, jsontext
from spawner.errors import ExecError, SetupError, SpawnerError
from spawner.launch import Observer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.spec import Spec
    from spawner.wait import Ending

    Value = str | int | None | dict[str, int] | dict[str, str]

_PATIENCE = 1000
"""Milliseconds that a reader has to make room."""

_PIPE_BUF = 4096
"""Bytes that a pipe with room takes whole, pipe(7), linux/limits.h."""


class Report(Observer):
    """Where news go: `status` is the descriptor of --json-status, or None."""

    def __init__(
        self, *, status: int | None = None, quiet: bool = False, verbose: bool = False
    ) -> None:
        self.status = status
        self.quiet = quiet
        self.verbose = verbose

    def say(self, text: str) -> None:
        """Print one line for people."""
        if self.quiet:
            return
        from pyinit import execerror

        write(2, execerror.whole_line(f"pyspawn: {text}") + b"\n")

    def missing(self, refused: dict[str, int]) -> None:
        """Say which optional namespaces were refused."""
        reasons = {kind: errno_text(number) for kind, number in refused.items()}
        for kind, reason in reasons.items():
            self.say(f"going on without a new {kind} namespace: {reason}")
        self._tell(event="missing", namespaces=reasons)

    @property
    def wants_namespaces(self) -> bool:  # type: ignore[override]  # read only
        """Whether somebody reads the inode numbers."""
        return self.status is not None

    def created(self, pid: int, namespaces: dict[str, int]) -> None:
        """Tell the first process of the container, and its namespaces."""
        self._news(f"the container is made: its first process is {pid}")
        self._tell(event="created", host_pid=pid, namespaces=namespaces)

    def started(self) -> None:
        """Tell that the exec has happened."""
        self._news("the program has started")
        self._tell(event="started")

    def signalled(self, number: int) -> None:
        """Tell of a signal that is forwarded."""
        if self.verbose:
            from pyinit import signames

            self.say(f"got {signames.name(number)} for the program")

    def disconnected(self, how: str) -> None:
        """Say that the network inside is gone, and how."""
        self.say(how)
        self._tell(event="disconnected", message=how)

    def killing(self) -> None:
        """Tell that the end is forced."""
        self._news("killing everything in the container")

    def ended(self, ending: "Ending") -> None:
        """Tell how the program ended."""
        if self.verbose:
            from pyinit import signames

            how = f", killed by {signames.name(ending.signal)}" if ending.signal else ""
            self.say(f"the program has ended with status {ending.status}{how}")
        self._tell(event="exited", status=ending.status, signal=ending.signal)

    def failed(self, error: Exception, spec: "Spec | None" = None, hint: str | None = None) -> int:
        """Tell why there's no container, or no program in it; return the exit status."""
        message = str(error)
        stage = syscall = path = number = None
        status = OURS
        if isinstance(error, SpawnerError):
            hint = error.hint
        if isinstance(error, SetupError):
            stage, syscall, path, status = error.stage, error.syscall, error.path, error.status
            number = error.errno
            if not isinstance(error, ExecError):
                hint = _explain(error, spec) or hint
        self.say(message)
        if hint:
            self._hint(hint)
        self._tell(
            event="failed",
            stage=stage,
            syscall=syscall,
            errno=errno_name(number) if number else None,
            path=path,
            message=message,
            hint=hint,
            status=status,
        )
        return status

    def _hint(self, text: str) -> None:
        if self.quiet:
            return
        from pyinit import execerror

        write(2, execerror.whole_line(f"hint: {text}") + b"\n")

    def _news(self, text: str) -> None:
        if self.verbose:
            self.say(text)

    def _tell(self, **fields: "Value") -> None:
        if self.status is not None:
            write(self.status, jsontext.dump(fields).encode() + b"\n")


def _explain(error: SetupError, spec: "Spec | None") -> str | None:
    """Return what the machine's state says of a failure; an explanation may itself fail."""
    try:
        from spawner import probe

        return probe.explain(error, spec)
    except Exception:  # noqa: BLE001  without descriptors or memory there's no hint, but an error
        return None


def write(descriptor: int, line: bytes) -> bool:
    """Write one line, or drop it where nobody makes room, or nobody reads; say whether it's out."""
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        while line and any(events & select.POLLOUT for _, events in poll.poll(_PATIENCE)):
            line = line[posix.write(descriptor, line[:_PIPE_BUF]) :]
    except OSError:
        return False
    return not line
