"""Tells what happens: to people on stderr, to programs as JSON lines.

PID 1 must never wait for a reader: a line that would block is dropped. The descriptors are shared
with others, so they can't be made non-blocking; poll(2) is asked first. No line is longer than
PIPE_BUF, so lines stay whole among those of others, pipe(7).
"""

import posix

from pyinit import execerror, signames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyinit.reaper import Usage

    Value = str | int | float | None

_new_poll: "Callable[[], select.poll] | None" = None
try:
    import select  # now, while it can be found: the root may change
except ImportError:  # a small Python
    pass
else:
    _new_poll = select.poll


class Report:
    """Where news go; `events` is a descriptor or None."""

    def __init__(
        self, *, verbose: int = 0, warn_orphans: bool = False, events: int | None = None
    ) -> None:
        self.verbose = verbose
        self.warn_orphans = warn_orphans
        self.events = events
        self._pid = posix.getpid()

    def get_ready(self) -> None:
        """Read in what the news will need, while the root is still ours."""
        _would_block(2)
        if self.events is not None:
            from pyinit import jsontext  # noqa: F401

    def say(self, text: str) -> None:
        """Print one line for people."""
        self._line(f"pyinit[{self._pid}]: {text}")

    def fatal(self, text: str) -> None:
        """Say why we can't go on."""
        self.say(text)

    def _line(self, text: str) -> None:
        """Print one whole line."""
        _write(2, execerror.whole_line(text) + b"\n")

    def started(self, pid: int, program: bytes) -> None:
        """Tell that the workload's exec happened."""
        self._event(f"started {execerror.text(program)} as {pid}", event="started", pid=pid)

    def forwarded(self, number: int, sent: int, sender: int, target: str) -> None:
        """Tell of a signal that came and of the one that went, if any (`sent` is 0 if not)."""
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
        """Tell of a child that was reaped; `own` says that it was the workload."""
        shown = name.decode("utf-8", "backslashreplace")
        how = f"killed by {signames.name(signal)}" if signal else f"exited with {status}"
        kind = "workload" if own else "orphan"
        line = f"reaped {kind} {pid} ({execerror.text(name) or '?'}), {how}"
        if self.warn_orphans and not own and not self.verbose:
            self.say(line)
        self._event(
            line,
            event="reaped",
            pid=pid,
            name=shown,
            status=None if signal else status,
            signal=signames.name(signal) if signal else None,
            user_seconds=round(usage.user_seconds, 6) if usage else None,
            system_seconds=round(usage.system_seconds, 6) if usage else None,
            max_rss_bytes=usage.max_rss_bytes if usage else None,
        )

    def stopped(self, pid: int, signal: int) -> None:
        """Tell of a child that was stopped."""
        name = signames.name(signal)
        self._event(f"{pid} was stopped by {name}", event="stopped", pid=pid, signal=name)

    def continued(self, pid: int) -> None:
        """Tell of a child that was continued."""
        self._event(f"{pid} continued", event="continued", pid=pid)

    def exited(self, status: int, signal: int | None) -> None:
        """Tell how the workload ended, and with which status we follow it."""
        name = signames.name(signal) if signal else None
        how = f", the workload was killed by {name}" if name else ""
        self._event(f"exiting with {status}{how}", event="exited", status=status, signal=name)

    def _event(self, line: str, **fields: "Value") -> None:
        if self.verbose:
            self.say(line)
        if self.events is not None:
            from pyinit import jsontext

            _write(self.events, jsontext.dump(fields).encode() + b"\n")


def _write(fd: int, line: bytes) -> None:
    """Write one line, or drop it where that would block or fail."""
    if _would_block(fd):
        return
    try:
        posix.write(fd, line)
    except OSError:
        # Nobody reads, or there's no such descriptor: that's no reason to fall over.
        return


def _would_block(fd: int) -> bool:
    """Tell whether a write is known to have to wait; where nobody can tell, it's tried."""
    if _new_poll is None:
        return False
    try:
        poll = _new_poll()
        poll.register(fd, select.POLLOUT)
        return not any(events & select.POLLOUT for _, events in poll.poll(0))
    except OSError:
        return False
