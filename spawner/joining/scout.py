"""Fork a process that opens things for the launcher where that may hang or can't be undone.

A file system may be a program's (FUSE) or lie across a network that is gone: a process that asks it
something may wait forever, out of reach even of a SIGKILL. And no process that enters a user
namespace can come back. The launcher has signals to take, and does neither:

    launcher                              scout (forked; hidden)
     fork ----------------------------->   closes what others may read; opens, enters
     poll: answer, signals, lifelines
     <- a record, with descriptors -----   waits for the end of the socket
     looks at the scout, if it has to
     SIGKILL; reaps it, if it ends
"""

from __future__ import annotations

import _signal
import _socket
import posix

from spawner import channel
from spawner.errors import LAUNCHER, SCOUT, SetupError, SyscallError
from spawner.host import ends, sockets
from spawner.making import Ear
from spawner.steps import attempt, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spawner.linux import Kernel

    Found = dict[str, int]
    """Descriptors by name."""

ANSWER = 10.0
"""Seconds that a scout may take, which is ample for a network file system that works."""

_REAPING = 1.0
"""Seconds that a killed scout may take to end."""

_FOUND = "found"


class Scout:
    """A process forked to open files or enter namespaces for the launcher."""

    def __init__(self, kernel: Kernel, what: str, task: Callable[[], Found]) -> None:
        """Fork the scout, which calls `task` for the descriptors; raises SetupError."""
        self._kernel = kernel
        self._what = what
        self._socket, theirs = attempt(LAUNCHER, what, sockets.pair)
        try:
            self.pid = attempt(LAUNCHER, what, lambda: kernel.fork(SCOUT))
            if self.pid == 0:
                _be(kernel, what, task, self._socket, theirs)
        except SetupError:
            self._socket.close()
            raise
        finally:
            theirs.close()

    def answer(self, watched: Iterable[int] = ()) -> Found:
        """Return the descriptors that the scout sends; raises SetupError.

        `watched` are the launcher's lifelines. When it doesn't answer, or pyspawn is told to end,
        it is closed.
        """
        ear = Ear(self._kernel, self._what, watched)
        try:
            answered = ear.wait(self._socket.fileno(), seconds=ANSWER)
        except SetupError as error:
            error.hint = self._why()
            raise
        finally:
            ear.close()
        if not answered:
            what = f"{self._what}: no answer within {ANSWER:g} s"
            raise SetupError(what, stage=LAUNCHER, hint=self._why())
        data, numbers = sockets.receive(self._socket, 65536, 64)
        if not data:
            what = f"{self._what}: the process that pyspawn forked to open it was killed"
            raise SetupError(what, stage=LAUNCHER)
        record = channel.decode(data[:-1])
        if record.kind == channel.ERROR:
            raise channel.error_of(record)
        return dict(zip(record.fields, numbers, strict=True))

    def close(self) -> int:
        """Kill the scout; return its pid if it doesn't end, otherwise 0."""
        if not self.pid:
            return 0
        self._socket.close()
        posix.kill(self.pid, _signal.SIGKILL)  # our child, unreaped: the pid is its own
        pid, self.pid = self.pid, 0
        if ends.reap(pid, _REAPING) is not None:
            return 0
        if ends.state(pid) in ("R", "Z", "") and ends.reap(pid) is not None:
            return 0
        return pid

    def _why(self) -> str:
        """Kill the scout, and return the hint for a scout that didn't answer."""
        left = self.close()
        hint = (
            "the file is probably on a FUSE or network file system that doesn't answer: unmount "
            "that with `umount -f` or `umount -l`"
        )
        if left:
            hint += (
                f"; process {left}, which waits for it, can't be killed until then and is left "
                "behind"
            )
        return hint


def _be(
    kernel: Kernel,
    what: str,
    task: Callable[[], Found],
    ours: _socket.socket,
    theirs: _socket.socket,
) -> None:
    """Run as the scout: get the descriptors, send them, and wait to be killed."""
    found: Found = {}
    try:
        ours.close()
        try:
            kernel.set_parent_death_signal(_signal.SIGKILL)
            _let_go({theirs.fileno(), 2} if kernel.speaks else {theirs.fileno()})
            kernel.hide()
            found = task()
            data = channel.encode(_FOUND, **found)
        except SetupError as error:
            data = channel.failure(error)
        except SyscallError as error:
            data = channel.failure(failed(LAUNCHER, what, error))
        except Exception as error:  # noqa: BLE001  no traceback may leave this process
            data = channel.failure(channel.unexpected(error, LAUNCHER))
        sockets.send(theirs, data, found.values())
        theirs.recv(1)
    finally:
        posix._exit(0)


def _let_go(spared: set[int]) -> None:
    """Close all pipes and sockets except those in `spared`; raises SyscallError.

    Their readers wait for the end of file, and would do so for as long as this process hangs. Files
    stay open: the path that is looked at may lead to one, by /dev/fd.
    """
    place = "/proc/self/fd"
    try:
        names = posix.listdir(place)
    except OSError as error:
        raise SyscallError("openat", error.errno or 0, place) from None
    for descriptor in map(int, names):
        try:
            kind, _, _ = posix.readlink(f"{place}/{descriptor}").partition(":")
        except OSError:  # the listing's own
            continue
        if kind in ("pipe", "socket") and descriptor not in spared:
            posix.close(descriptor)
