"""Report what happens: to people on stderr, to programs as JSON lines.

Neither reader may hold the launcher: a line that can't be written is dropped, and counted
(`pyinit.outlet`). Only what comes before there's a container to wait for, and its end, waits for
room: for each of the two readers a second in all.
"""

import posix

from pyinit import OURS, errno_name, errno_text, execerror, jsontext, outlet
from spawner.errors import ExecError, SetupError, SpawnerError, mark, unmarked
from spawner.made import Observer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner.made import Ending
    from spawner.spec import Spec

    Value = str | int | float | None | dict[str, int] | dict[str, str]


class Report(Observer):
    """The observer that reports: to stderr, and to `status`, the descriptor of --json-status.

    A `quiet` one is read by the API, which has its own words for options: they stay marked.
    """

    def __init__(
        self, *, status: int | None = None, quiet: bool = False, verbose: bool = False
    ) -> None:
        self.status = status
        self.quiet = quiet
        self.verbose = verbose
        self._people: outlet.Outlet | None = None
        self._programs: outlet.Outlet | None = None
        self._waits = True

    def get_ready(self) -> list[int]:
        """Open what reporting needs; return the descriptors that have to stay open."""
        ready = [] if self.quiet else [self._to_people()]
        if self.status is not None:
            ready.append(self._to_programs(self.status))
        return [descriptor for each in ready for descriptor in each.descriptors]

    def say(self, text: str) -> None:
        """Print one line for people."""
        self._line(f"pyspawn: {text}")

    def _line(self, text: str) -> None:
        if not self.quiet:
            self._to_people().write(execerror.whole_line(unmarked(text)) + b"\n", waits=self._waits)

    def _to_people(self) -> outlet.Outlet:
        if self._people is None:
            self._people = outlet.Outlet(2, _lost, patience=outlet.PATIENCE)
        return self._people

    def _to_programs(self, descriptor: int) -> outlet.Outlet:
        if self._programs is None:

            def lost(count: int) -> bytes:
                return _json({"event": "dropped", "count": count})

            self._programs = outlet.Outlet(descriptor, lost, patience=outlet.PATIENCE)
        return self._programs

    def missing(self, refused: dict[str, int]) -> None:
        """Report which optional namespaces were refused."""
        reasons = {kind: errno_text(number) for kind, number in refused.items()}
        for kind, reason in reasons.items():
            self.say(f"going on without a new {kind} namespace: {reason}")
        self._tell(event="missing", namespaces=reasons)

    def noted(self, how: str) -> None:
        """Report what was begun in another way than was asked for first."""
        self.say(how)
        self._tell(event="noted", message=how)

    @property
    def wants_namespaces(self) -> bool:  # type: ignore[override]  # read only
        """Whether to report the inode numbers of the namespaces."""
        return self.status is not None

    def created(self, pid: int, namespaces: dict[str, int]) -> None:
        """Report the first process of the container, and its namespaces."""
        self._waits = False
        self._news(f"the container is made: its first process is {pid}")
        self._tell(event="created", host_pid=pid, namespaces=namespaces)

    def started(self) -> None:
        """Report that the program's exec has happened."""
        self._news("the program has started")
        self._tell(event="started")

    def signalled(self, number: int) -> None:
        """Report a signal that is forwarded."""
        if self.verbose:
            from pyinit import signames

            self.say(f"got {signames.name(number)} for the program")

    def spared(self, number: int, seconds: float | None) -> None:
        """Explain at a terminal why a ^C doesn't end the program, and what --init would change."""
        if not posix.isatty(2):
            return
        self._waits = False
        from pyinit import signames

        then = (
            f"everything is killed in {seconds:g} s"
            if seconds is not None
            else "the program goes on"
        )
        name = signames.name(number)
        self.say(f"{name} does nothing to a program that is PID 1 and doesn't handle it: {then}")
        self._line(
            f"hint: use {mark('--init')}, which passes {name} on to a program that isn't PID 1"
        )

    def disconnected(self, how: str) -> None:
        """Report that the container's network is gone."""
        self.say(how)
        self._tell(event="disconnected", message=how)

    def killing(self) -> None:
        """Report that everything is being killed."""
        self._news("killing everything in the container")

    def left(self, pid: int | None, how: str) -> None:
        """Report a process that outlives its SIGKILL, or what else is left."""
        self.say(how)
        self._tell(event="left", host_pid=pid, message=how)

    def ended(self, ending: "Ending") -> None:
        """Report how the program ended."""
        from pyinit import signames

        name = signames.name(ending.signal) if ending.signal else None
        how = f", killed by {name}" if name else ""
        self._news(f"the program has ended with status {ending.status}{how}")
        self._waits = True
        if ending.message:
            self.say(ending.message)
        if ending.used is not None:
            self._news(used(ending.used))
            self._tell(event="resources", **ending.used)
        self._tell(event="exited", status=ending.status, signal=name, limit=ending.limit or None)

    def failed(self, error: Exception, spec: "Spec | None" = None, hint: str | None = None) -> int:
        """Report why the container or the program wasn't started; return the exit status."""
        self._waits = True
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
            self._line(f"hint: {hint}")
        self._tell(
            event="failed",
            stage=stage,
            syscall=syscall,
            errno=errno_name(number) if number else None,
            path=path,
            message=message if self.quiet else unmarked(message),
            hint=hint if self.quiet or hint is None else unmarked(hint),
            status=status,
        )
        return status

    def _news(self, text: str) -> None:
        if self.verbose:
            self.say(text)

    def _tell(self, **fields: "Value") -> None:
        if self.status is not None:
            self._to_programs(self.status).write(_json(fields), waits=self._waits)


def used(counted: "Mapping[str, str | int | float | None]") -> str:
    """Return what a container has used, in words."""
    words = {
        "memory_peak": "{} bytes of memory at most",
        "pids_peak": "{} processes and threads at most",
        "cpu_seconds": "{} s of processor time",
    }
    found = [text.format(counted[name]) for name, text in words.items() if counted[name]]
    return f"the container has used {', '.join(found) or 'what nothing has counted'}"


def _lost(count: int) -> bytes:
    """Return the line about how many lines were dropped."""
    return b"pyspawn: %d lines were dropped here\n" % count


def _json(fields: "dict[str, Value]") -> bytes:
    """Return an event as a line of JSON."""
    return jsontext.dump(fields).encode() + b"\n"


def _explain(error: SetupError, spec: "Spec | None") -> str | None:
    """Return a hint for a failure from the state of the host, or None."""
    try:
        from spawner.why import rules

        return rules.why(error, spec)
    except Exception:  # noqa: BLE001  without descriptors or memory there's no hint, but an error
        return None
