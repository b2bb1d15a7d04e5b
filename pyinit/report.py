"""Report what happens, to people on stderr and to programs as JSON lines.

PID 1 never waits for a reader: a line that would block is dropped, and counted (`outlet`). No line
is longer than PIPE_BUF, so lines stay whole among those of others, pipe(7).
"""

import posix

from pyinit import execerror, outlet, signames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyinit.reaper import Usage

    Value = str | int | float | None


class Report:
    """Reports what happens; `events` is a descriptor for JSON lines, or None."""

    def __init__(
        self, *, verbose: int = 0, warn_orphans: bool = False, events: int | None = None
    ) -> None:
        self.verbose = verbose
        self.warn_orphans = warn_orphans
        self.events = events
        self._pid = posix.getpid()
        self._people: outlet.Outlet | None = None
        self._programs: outlet.Outlet | None = None

    def get_ready(self) -> None:
        """Import and open what reports need, before the workload can change the root."""
        self._to_people()
        if self.events is not None:
            self._to_programs()

    @property
    def descriptors(self) -> list[int]:
        """The descriptors that have to stay open for reports."""
        open_by_now = (where for where in (self._people, self._programs) if where)
        return [each for where in open_by_now for each in where.descriptors]

    def say(self, text: str) -> None:
        """Print one line to stderr."""
        self._line(self._prefixed(text))

    def fatal(self, text: str) -> None:
        """Say why pyinit can't go on, waiting a little for a slow reader."""
        self._line(self._prefixed(text), waits=True)

    @property
    def _names_the_dead(self) -> bool:
        """Whether each reaped child is reported on stderr."""
        return bool(self.verbose or self.warn_orphans)

    def unsaid(self, count: int) -> None:
        """Note that `count` deaths weren't reported, since too many came at once."""
        if self._names_the_dead:
            self._to_people().dropped += count
        if self.events is not None:
            self._to_programs().dropped += count

    def catch_up(self) -> None:
        """Report how many events went unreported, if there is room for that."""
        for where in (self._people, self._programs):
            if where:
                where.catch_up()

    def _prefixed(self, text: str) -> str:
        """Return a line with pyinit's prefix for messages on stderr."""
        return f"pyinit[{self._pid}]: {text}"

    def _line(self, text: str, *, waits: bool = False) -> None:
        """Print one line without a prefix."""
        self._to_people().write(execerror.whole_line(text) + b"\n", waits=waits)

    def _to_people(self) -> outlet.Outlet:
        if self._people is None:

            def lost(count: int) -> bytes:
                return self._prefixed(f"{count} lines were dropped here").encode() + b"\n"

            self._people = outlet.Outlet(2, lost, patience=outlet.PATIENCE)
        return self._people

    def _to_programs(self) -> outlet.Outlet:
        if self._programs is None:
            from pyinit import jsontext

            def lost(count: int) -> bytes:
                return jsontext.dump({"event": "dropped", "count": count}).encode() + b"\n"

            self._programs = outlet.Outlet(self.events or 0, lost)
        return self._programs

    def started(self, pid: int, program: bytes) -> None:
        """Report that the workload's exec has happened."""
        self._event(f"started {execerror.text(program)} as {pid}", event="started", pid=pid)

    def forwarded(self, number: int, sent: int, sender: int, target: str) -> None:
        """Report that signal `number` came, and `sent` went to `target` (0: it was dropped)."""
        name = signames.name(number)
        origin = "us" if sender == self._pid else sender or "outside"
        text = f"{name} from {origin}: "
        text += f"sent {signames.name(sent)} to {target}" if sent else "dropped"
        self._event(
            text,
            event="signal",
            signal=name,
            number=number,
            sender=sender,
            sent=signames.name(sent) if sent else None,
            target=target,
        )

    def reaped(
        self,
        pid: int,
        name: bytes,
        status: int,
        signal: int | None,
        usage: "Usage | None",
        own: bool,
    ) -> None:
        """Report that a child was reaped; `own` says that it was the workload."""
        who = execerror.text(name) or "?"
        how = f"killed by {signames.name(signal)}" if signal else f"exited with {status}"
        kind = "workload" if own else "orphan"
        line = f"reaped {kind} {pid} ({who}), {how}"
        if self.warn_orphans and not own:
            self._warn(line, pid, f"{who}, {how}")
        self._event(
            line,
            event="reaped",
            pid=pid,
            name=name.decode("utf-8", "backslashreplace"),
            status=None if signal else status,
            signal=signames.name(signal) if signal else None,
            user_seconds=round(usage.user_seconds, 6) if usage else None,
            system_seconds=round(usage.system_seconds, 6) if usage else None,
            max_rss_bytes=usage.max_rss_bytes if usage else None,
        )

    def _warn(self, line: str, pid: int, what: str) -> None:
        """Warn of an orphan, unless it is reported on stderr anyway."""
        if not self.verbose:
            self.say(line)

    def stopped(self, pid: int, signal: int) -> None:
        """Report that a child was stopped."""
        name = signames.name(signal)
        self._event(f"{pid} was stopped by {name}", event="stopped", pid=pid, signal=name)

    def continued(self, pid: int) -> None:
        """Report that a child was continued."""
        self._event(f"{pid} continued", event="continued", pid=pid)

    def exited(self, status: int, signal: int | None) -> None:
        """Report how the workload ended, and the status with which pyinit exits."""
        name = signames.name(signal) if signal else None
        how = f", the workload was killed by {name}" if name else ""
        self._event(f"exiting with {status}{how}", event="exited", status=status, signal=name)

    def _event(self, line: str, **fields: "Value") -> None:
        if self.verbose:
            self.say(line)
        if self.events is not None:
            from pyinit import jsontext

            self._to_programs().write(jsontext.dump(fields).encode() + b"\n")
