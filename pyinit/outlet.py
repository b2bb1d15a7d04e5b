"""Write lines without waiting for a slow reader: they are dropped and counted instead.

poll(2) can't tell whether a write would wait: a terminal is writable for one byte, and others may
take a pipe's room between the question and the write. The descriptor is shared, so it can't be made
non-blocking either. The writes that don't wait, by kind of file:

* a pipe or a terminal: an open file description of our own, through /proc/self/fd, proc_pid_fd(5);
* a socket: MSG_DONTWAIT, send(2);
* a regular file: any write;
* any other (no /proc, or another user's terminal): a write that a timer interrupts.

All signals have to be blocked: those that our own writes cause are taken here.
"""

import _signal
import posix
import time

from pyinit import PIPE_BUF

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

PATIENCE = 1.0
"""Seconds that a slow reader gets, in all, for messages that mustn't be lost."""

_PAUSE = 0.002
"""Seconds between two attempts to write such a message."""

_TIMER = 0.01
"""Seconds after which the timer interrupts a write, again and again: a first signal that came just
before the write would interrupt nothing."""

_ATTEMPTS = 100
"""Writes that are begun anew because the timer had run out before: the host is busy."""

_TRUCE = 1.0
"""Seconds without another attempt after the timer interrupted a write."""

_SENT = 0, -1, -6
"""The si_code of signals that processes send: SI_USER, SI_QUEUE, SI_TKILL, sigaction(2)."""

_CLONER = 5, 2
"""The device number of /dev/ptmx, which makes a new terminal at each open, pts(4)."""

_TYPES, _FIFO, _REGULAR, _SOCKET = 0o170000, 0o010000, 0o100000, 0o140000
"""Bits of st_mode that tell a file's type, and three of the types, inode(7)."""


class Outlet:
    """A descriptor to which lines are written; `dropped` counts those that were not.

    `lost` makes a line of that number, which is written as soon as there is room again. `patience`
    is how many seconds in all may be spent on waiting for room, for lines that may wait. Without
    `reopens` no other descriptor is opened.
    """

    def __init__(
        self,
        descriptor: int,
        lost: "Callable[[int], bytes]",
        *,
        patience: float = 0,
        reopens: bool = True,
    ) -> None:
        self.descriptor = descriptor
        self.dropped = 0
        self._lost = lost
        self._patience = patience
        self._left = b""  # of a line that has begun
        self._own: int | None = None
        self._socket: _socket.socket | None = None
        self._is_regular = False
        self._truce_ends = 0.0
        try:
            self._look(reopens=reopens)
        except (OSError, ImportError):  # the timer serves for any kind
            return

    def _look(self, *, reopens: bool) -> None:
        """Choose how to write to this type of file; raises OSError and ImportError."""
        found = posix.fstat(self.descriptor)
        kind = found.st_mode & _TYPES
        if kind == _REGULAR:
            self._is_regular = True
        elif kind == _SOCKET:
            import _socket

            self._socket = _socket.socket(fileno=self.descriptor)
        elif reopens and (kind == _FIFO or posix.isatty(self.descriptor)):
            if kind == _FIFO:
                posix.write(self.descriptor, b"")  # fails if it's only for reading
            elif (posix.major(found.st_rdev), posix.minor(found.st_rdev)) == _CLONER:
                return
            flags = posix.O_WRONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
            own = posix.open(f"/proc/self/fd/{self.descriptor}", flags)
            again = posix.fstat(own)
            # No other file by a /proc that lies, nor in the place of a standard descriptor.
            if own > 2 and (again.st_dev, again.st_ino) == (found.st_dev, found.st_ino):
                self._own = own
            else:
                posix.close(own)

    def __del__(self) -> None:
        if self._socket is not None:
            self._socket.detach()  # or it would close the descriptor, which isn't ours

    @property
    def descriptors(self) -> list[int]:
        """The descriptor that has to stay open for this outlet."""
        return [self.descriptor if self._own is None else self._own]

    @property
    def is_behind(self) -> bool:
        """Whether any line was dropped, or waits for room."""
        return bool(self._left or self.dropped)

    def write(self, line: bytes, *, waits: bool = False) -> bool:
        """Write one line, or drop it if the reader is slow; return whether it was begun."""
        if self._left:
            self._flush(waits=waits)
        self.catch_up(waits=waits)
        if not self._left and not self.dropped and self._begin(line, waits=waits):
            return True
        self.dropped += 1
        return False

    def catch_up(self, *, waits: bool = False) -> None:
        """Report how many lines were dropped, if any were and there is room."""
        if self.dropped and not self._left and self._begin(self._lost(self.dropped), waits=waits):
            self.dropped = 0

    def _begin(self, line: bytes, *, waits: bool) -> bool:
        """Begin a line; return whether any of it went out, so that the rest has to follow."""
        self._left = line
        self._flush(waits=waits)
        if len(self._left) == len(line):
            self._left = b""
            return False
        return True

    def _flush(self, *, waits: bool) -> None:
        """Write as much of the current line as there is room for."""
        end = time.monotonic() + self._patience if waits and self._patience else None
        while self._left:
            try:
                done = self._put(self._left[:PIPE_BUF], waits=waits)
                self._left = self._left[done:]
            except BlockingIOError:
                if end is None:
                    return
                self._patience = max(end - time.monotonic(), 0)
                if not self._patience:
                    return
                time.sleep(_PAUSE)
            except OSError:
                # Nobody reads any more, or there's no such descriptor: nothing of it can follow.
                return

    def _put(self, data: bytes, *, waits: bool) -> int:
        """Write without waiting; return the number of bytes. Raises OSError, or BlockingIOError."""
        pending = _signal.sigpending()
        try:
            if self._socket is not None:
                # asm-generic/socket.h: MSG_DONTWAIT, MSG_NOSIGNAL
                return self._socket.send(data, 0x40 | 0x4000)
            if self._own is not None:
                return posix.write(self._own, data)
            if self._is_regular:
                return posix.write(self.descriptor, data)
            return self._put_in_time(data, pending, waits=waits)
        except BlockingIOError:
            raise
        except OSError:
            # One of these has come with it, pipe(7), setrlimit(2), and is nobody else's news.
            for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
                if number not in pending:
                    _take(number)
            raise

    def _put_in_time(self, data: bytes, pending: "set[int]", *, waits: bool) -> int:
        """Write as `_put` does, using a call that a timer interrupts."""
        if self._truce_ends > time.monotonic() and not waits:
            raise BlockingIOError
        for _ in range(_ATTEMPTS):
            if _signal.SIGALRM in pending:
                break
            written, waited = _interrupted_write(self.descriptor, data)
            if written:
                return written
            if waited:
                self._truce_ends = time.monotonic() + _TRUCE
                break
            pending = _signal.sigpending()
        raise BlockingIOError


def answer(descriptor: int, text: bytes) -> bool:
    """Write all of a text, and wait for its reader; return whether that worked.

    Nothing else goes on meanwhile, so the signals that end other programs end this one too.
    """
    endings = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)
    for number in endings:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, endings)
    try:
        while text:
            text = text[posix.write(descriptor, text) :]
    except OSError:
        return False
    return True


class _Overdue(Exception):  # noqa: N818  the word of the field
    """Raised when the timer has run out."""


def _interrupted_write(descriptor: int, data: bytes) -> "tuple[int, bool]":
    """Write until a SIGALRM comes, setitimer(2).

    Returns the number of bytes, and whether the write had to wait: on a busy host the timer may run
    out before that has begun, which says nothing of the reader. Raises OSError.

    Afterwards, timer and disposition are as before, and a SIGALRM that others sent is pending.
    """
    came: list[float] = []
    armed = [True]

    def ring(number: int, frame: object) -> None:
        came.append(time.monotonic())
        if armed:
            armed.clear()
            raise _Overdue

    written: list[int] = []
    # In one call, for the exception may come after any: no byte goes out unnoticed.
    put, call = written.extend, map(posix.write, (descriptor,), (data,))
    begun = False
    disposition = _signal.signal(_signal.SIGALRM, ring)
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGALRM})
    began = time.monotonic()
    timer, interval = _signal.setitimer(_signal.ITIMER_REAL, _TIMER, _TIMER)
    try:
        try:
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {_signal.SIGALRM})
            # What has come by now was raised there; from here on, only what interrupts the write.
            begun = True
            put(call)
        finally:
            armed.clear()
    except _Overdue:
        pass
    finally:
        passed = time.monotonic() - began
        _signal.setitimer(_signal.ITIMER_REAL, max(timer - passed, 1e-6) if timer else 0, interval)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        last = None if timer else _take(_signal.SIGALRM)
        _signal.signal(_signal.SIGALRM, disposition or _signal.SIG_DFL)
    if (came and came[0] - began < _TIMER) or (last is not None and last.si_code in _SENT):
        posix.kill(posix.getpid(), _signal.SIGALRM)
    return sum(written), begun


def _take(number: int) -> "_signal.struct_siginfo | None":
    """Take signal `number` if it is pending, and if that isn't denied."""
    try:
        return _signal.sigtimedwait({number}, 0)
    except OSError:
        return None
