"""Pass streams on, up to a number of bytes in all: what the relay does once it is forked.

Each stream has a thread, whose reads and writes may wait: so nobody who is slow to read the one
holds up the other, as without a relay. A pipe could be asked for room; a terminal can't.
"""

import _thread
import posix
import select

from spawner.spec import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK = 65536
"""The capacity of a pipe in bytes, pipe(7)."""

EIO = 5
"""What stands for any other failure, asm-generic/errno-base.h."""

LATE = 1 << 20
"""The most bytes that are passed on after the end: as many as a pipe may hold, pipe(7).

Somebody who isn't ours to end may still write.
"""


class Stream(Frozen):
    """A stream to pass on: read from `source`, written to the first of `targets`.

    The others are descriptors of the same file.
    """

    source: int
    targets: tuple[int, ...]


class Budget:
    """The bytes that may still be passed on; the first one too many is told on `alarm`, once."""

    def __init__(self, most: int, alarm: int) -> None:
        self._lock = _thread.allocate_lock()
        self._left = most
        self._alarm = alarm
        self._over = False

    def grant(self, wanted: int) -> int:
        """Return how many of the bytes that are `wanted` may be passed on."""
        with self._lock:
            granted = min(wanted, self._left)
            self._left -= granted
            if granted < wanted and not self._over:
                self._over = True
                posix.write(self._alarm, b".")
        return granted


def serve(streams: "Sequence[Stream]", budget: Budget, end: int) -> int:
    """Pass all streams on until `end` can be read, and then what is left in them.

    Returns 0, or the errno of what couldn't be read or written.
    """
    failures = [0]

    def work(stream: Stream, done: "_thread.LockType") -> None:
        try:
            _pass_on(stream, budget, end)
        except Exception as error:  # noqa: BLE001  no traceback may leave this process
            failures.append(getattr(error, "errno", 0) or EIO)
            _close(stream)
        finally:
            done.release()

    locks = []
    for stream in streams:
        done = _thread.allocate_lock()
        done.acquire()
        locks.append(done)
        if stream is streams[-1]:
            work(stream, done)
        else:
            _thread.start_new_thread(work, (stream, done))
    for done in locks:
        done.acquire()
    _wait(end, select.POLLIN)
    return failures[-1]


def _pass_on(stream: Stream, budget: Budget, end: int) -> None:
    """Pass a stream on until its end, that of its reader, or the budget's; raises OSError.

    Either end closes both sides: whoever is on the other sees it as without a relay.
    """
    poll = select.poll()
    for descriptor in (stream.source, end):
        poll.register(descriptor, select.POLLIN)
    late = 0
    while late < LATE:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if stream.source not in ready:
            return  # the end, and nothing is left
        block = posix.read(stream.source, BLOCK)
        granted = budget.grant(len(block))
        if not block or not _write(stream.targets[0], block[:granted]):
            _close(stream)
            return
        if granted < len(block):
            return
        if end in ready:
            late += len(block)


def _write(target: int, block: bytes) -> bool:
    """Write all of a block; return whether there's still a reader. Raises OSError."""
    left = memoryview(block)
    while left:
        try:
            left = left[posix.write(target, left) :]
        except BlockingIOError:  # somebody has set O_NONBLOCK, which all who share the file have
            _wait(target, select.POLLOUT)
        except BrokenPipeError:
            return False
    return True


def _wait(descriptor: int, event: int) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    poll.poll()


def _close(stream: Stream) -> None:
    for descriptor in (stream.source, *stream.targets):
        posix.close(descriptor)
