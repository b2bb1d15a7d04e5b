"""Connect the API's caller and its launcher by two pipes, a lifeline and a report.

A fork of the caller (`os.fork`, multiprocessing's "fork") would keep copies of the descriptors for
as long as it lives: then neither the caller's death nor the launcher's would be an end of file.
Close-on-exec is no help, since no exec follows. So every descriptor made here is closed in every
fork that Python knows of, and none is made while one is under way.

A signal handler of the caller's may raise between any two lines of ours. So signals are kept off
while a descriptor has no owner yet (`undisturbed`), and who has to see an end does (`insist`).
"""

from __future__ import annotations

import _signal
import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import threading
import weakref
from io import FileIO

from pyinit import NOT_EXECUTABLE, NOT_FOUND, errno_text
from spawner.errors import LAUNCHER, ExecError, SetupError
from spawner.forks import no_fork
from spawner.spec import LONGEST_POLL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

# Interrupts in a row after which it isn't somebody's impatience any more.
_MOST_INTERRUPTS = 1000

_ours: weakref.WeakSet[FileIO] = weakref.WeakSet()


def _let_go() -> None:
    """Close the pipes to all launchers, in a fork of the process that started them."""
    for end in list(_ours):
        end.close()


os.register_at_fork(after_in_child=_let_go)


def undisturbed(action: Callable[[], T]) -> T:
    """Return the result of `action`, called with all signals blocked in this thread.

    Where other threads take signals, their handlers run in the main thread all the same. The
    functions are C's own: an interrupt can hit one of Python's before it has begun.
    """
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())  # ahead: what raises returns nothing
    try:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        return action()
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def insist(end: Callable[[], object], ended: Callable[[], bool]) -> None:
    """Call `end` until it succeeds or `ended` is true; then raise the interrupt, if one came.

    For what needs nobody's consent, such as the end of what was killed: the kernel needs a moment.
    Signals wait meanwhile: of two in a row, the second would come while the first is being caught.
    Those that other threads take can't wait, so that it's called again. Nobody interrupts without
    an end, so that what can't succeed is raised, too.
    """
    interrupt: BaseException | None = None
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    try:
        for _ in range(_MOST_INTERRUPTS):
            try:
                _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
                end()
            except BaseException as error:  # noqa: BLE001  raised below
                interrupt = error
            else:
                break
            if ended():
                break
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    if interrupt is not None:
        try:
            raise interrupt
        finally:
            del interrupt  # or it and this frame would keep each other, and all that they hold


def pipe() -> tuple[FileIO, FileIO]:
    """Return the reading and the writing end of a pipe, both of which are closed in forks.

    Both are close-on-exec and none is a standard stream, also where one of these is closed.
    """
    with no_fork:
        return undisturbed(_pipe)


def _pipe() -> tuple[FileIO, FileIO]:
    reader, writer = os.pipe()
    ends = FileIO(reader, "rb"), FileIO(writer, "wb")
    try:
        return _keep(_above_standard(ends[0])), _keep(_above_standard(ends[1]))
    except OSError:
        _close(*ends)
        raise


def rehearse(pipes: int, nulls: int) -> None:
    """Check that this many pipes and null devices can be opened at once; raises OSError.

    They are files, which close themselves if an interrupt comes before that.
    """
    with no_fork:
        undisturbed(lambda: _rehearse(pipes, nulls))


def _rehearse(pipes: int, nulls: int) -> None:
    files: list[FileIO] = []
    try:
        for _ in range(pipes):
            files += _pipe()
        for _ in range(nulls):
            files.append(FileIO(os.devnull, "rb"))
    finally:
        _close(*files)


def _keep(file: FileIO) -> FileIO:
    _ours.add(file)
    return file


def _above_standard(file: FileIO) -> FileIO:
    if file.fileno() > 2:
        return file
    with file:
        return FileIO(fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 3), file.mode)


def _close(*files: FileIO) -> None:
    """Close files while no fork can happen, which would keep their descriptors open."""
    with no_fork:
        for file in files:
            file.close()


def _wait_readable(file: FileIO, seconds: float | None) -> bool:
    """Wait until a file is readable or at its end; return False after `seconds`."""
    poller = select.poll()
    poller.register(file, select.POLLIN)
    if seconds is None:
        return bool(poller.poll())
    while seconds > LONGEST_POLL:
        if poller.poll(LONGEST_POLL * 1000):
            return True
        seconds -= LONGEST_POLL
    return bool(poller.poll(seconds * 1000))


class Lifeline:
    """A pipe that keeps a container alive: the launcher kills all of it at data or end of file.

    `end` is the launcher's descriptor. It stays open here too: so a write can never raise SIGPIPE,
    which the caller may not ignore.
    """

    def __init__(self) -> None:
        self._reader, self._writer = pipe()
        self.end = self._reader.fileno()

    @property
    def closed(self) -> bool:
        """Whether the lifeline is closed in this process."""
        return self._writer.closed

    def cut(self) -> None:
        """Have the launcher kill everything in the container."""
        self._writer.write(b"\n")
        self.close()

    def close(self) -> None:
        """Close both ends."""
        _close(self._writer, self._reader)


class Pidfd:
    """A descriptor that refers to one process, even after its pid is reused; pidfd_open(2).

    Any thread may use it: it stays open until nobody waits any more.
    """

    def __init__(self, pid: int) -> None:
        self._file: FileIO | None = None  # it may have ended already
        self._lock = threading.Lock()
        self._waiting = 0
        self._let_go = False
        with no_fork, contextlib.suppress(ProcessLookupError):
            self._file = undisturbed(lambda: _keep(FileIO(os.pidfd_open(pid), "rb")))

    @property
    def descriptor(self) -> int | None:
        """The pidfd, which is readable once the process has ended; None if it had ended already."""
        return None if self._file is None else self._file.fileno()

    def send(self, number: int) -> None:
        """Send a signal to the process, unless it has ended or `close` was called."""
        if self._file is not None and not self._let_go:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._file.fileno(), number)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the process has ended; False when the time is over."""
        with self._lock:
            if self._file is None or self._let_go:  # who lets go has seen the end
                return True
            self._waiting += 1
        try:
            return _wait_readable(self._file, seconds)
        finally:
            with self._lock:
                self._waiting -= 1
            self._close_unused()

    def close(self) -> None:
        """Close the pidfd once no thread waits any more."""
        self._let_go = True
        self._close_unused()

    def _close_unused(self) -> None:
        with self._lock:
            unused = self._let_go and not self._waiting
        if unused and self._file is not None:
            _close(self._file)


class Report:
    """The events that a launcher has reported so far on --json-status, the descriptor `end`.

    `events` maps the name of an event to its latest record; `ended` says that no more can come.
    """

    def __init__(self) -> None:
        self._reader, self._writer = pipe()
        os.set_blocking(self._reader.fileno(), False)
        self.end = self._writer.fileno()
        self.events: dict[str, dict[str, Any]] = {}
        self.ended = False
        self._partial = b""

    @property
    def source(self) -> int:
        """The descriptor that becomes readable when there are new events."""
        return self._reader.fileno()

    @property
    def closed(self) -> bool:
        """Whether the report is closed, if only in a fork."""
        return self._reader.closed

    def launched(self) -> None:
        """Close the writing end, of which the launcher has a copy now."""
        _close(self._writer)

    def wait(self, seconds: float | None) -> bool:
        """Wait for the next events; return False if nothing came in time."""
        if not _wait_readable(self._reader, seconds):
            return False
        self.update()
        return True

    def update(self) -> None:
        """Read the events that have come."""
        while chunk := self._reader.read(65536):
            *lines, self._partial = (self._partial + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                self.events[event["event"]] = event
        self.ended = chunk is not None

    def close(self) -> None:
        """Close both ends."""
        _close(self._writer, self._reader)


class Sheet:
    """A file in memory on which a launcher writes JSON lines, by the descriptor `end`.

    Unlike a pipe it needs no reader meanwhile.
    """

    def __init__(self) -> None:
        with no_fork:
            self._file = undisturbed(_sheet)
        self.end = self._file.fileno()

    def lines(self) -> list[dict[str, Any]]:
        """Return what was written, from the beginning."""
        self._file.seek(0)
        return [json.loads(line) for line in self._file.readall().splitlines()]

    def close(self) -> None:
        """Close the file, which is gone then."""
        _close(self._file)


def _sheet() -> FileIO:
    return _keep(_above_standard(FileIO(os.memfd_create("pyspawn"), "rb+")))


def failure(event: dict[str, Any], kinds: str = "unshare") -> SetupError:
    """Return the exception for a `failed` event, with options spelled as Python keywords.

    A program that could not be executed, and a directory that could not be entered, are also what
    exec and chdir(2) raise locally: FileNotFoundError, PermissionError, ...
    """
    number = getattr(errno, event["errno"]) if event["errno"] else None
    with no_fork:
        from spawner.api import wording

    fields = {name: event[name] for name in ("syscall", "path", "hint", "status")}
    fields["hint"] = event["hint"] and wording.python(event["hint"], kinds)
    fields |= {"errno": number, "stage": event["stage"] or LAUNCHER}
    if event["status"] in (NOT_FOUND, NOT_EXECUTABLE):
        return wording.noted(_local(ExecError, event["message"], fields))
    reason = f": {errno_text(number)}" if number else ""
    step = wording.python(event["message"].removesuffix(reason), kinds)
    if event["syscall"] == "chdir":
        return wording.noted(_local(SetupError, step, fields))
    return wording.noted(SetupError(step, **fields))


def _local(kind: type[SetupError], step: str, fields: dict[str, Any]) -> SetupError:
    """Return an error that is also the built-in exception class for its errno."""
    error = _mixed(kind, type(OSError(fields["errno"], "")))(step, **fields)
    error.filename = error.path
    return error


_mixtures: dict[tuple[type[SetupError], type[OSError]], type[SetupError]] = {}


def _mixed(kind: type[SetupError], builtin: type[OSError]) -> type[SetupError]:
    """Return a class that derives from both errors, and is shown and pickled as the first."""

    def reduce(self: SetupError) -> tuple[Any, ...]:
        return _local, (kind, self.step, self._fields()), self._notes()

    names = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__reduce__": reduce}
    return _mixtures.setdefault((kind, builtin), type(kind.__name__, (kind, builtin), names))
