"""A process that looks in the launcher's place, where a look may not end, or can't be undone.

A file system may be a program's (FUSE) or lie across a network that is gone: whoever asks it
something may wait for ever, out of reach even of a SIGKILL. And who enters a user namespace can't
come back. The launcher has signals to take, and does neither:

    launcher                              scout (forked; hidden)
     fork ----------------------------->   opens, enters
     poll: answer, signals, lifelines
     <- a record, with descriptors -----   waits for the end of the socket
     looks at the scout, if it has to
     SIGKILL; reaps it, if it ends
"""

from __future__ import annotations

import _signal
import _socket
import posix
import select
import sys

from spawner import channel, helper
from spawner.errors import LAUNCHER, OURS, SCOUT, SetupError
from spawner.linux import SyscallError
from spawner.steps import attempt, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spawner.linux import Kernel

    Found = dict[str, int]
    """Descriptors by name."""

PATIENCE = 10.0
"""Seconds that a look may take: a network file system that answers does so in less."""

_PATIENCE_AT_END = 2.0
"""Seconds that it may still take when pyspawn has been told to end."""

_REAPING = 1.0
"""Seconds that one that was killed may take to end, unless it hangs in the kernel."""

_FOUND = "found"

_INT = 4
"""Bytes in a C int, by which descriptors are passed on, unix(7)."""


class Scout:
    """One scout, until `close`; `pid` is its pid, and `what` says what it does."""

    def __init__(self, kernel: Kernel, what: str, task: Callable[[], Found]) -> None:
        """Fork it; `task` is what it does, and returns descriptors. Raises SetupError."""
        self._kernel = kernel
        self._what = what
        self._socket, theirs = attempt(LAUNCHER, what, _pair)
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
        """Wait for what it has found, and return that; raises SetupError.

        `watched` are the launcher's lifelines. When it doesn't answer, or pyspawn is told to end,
        it is closed.
        """
        signals = attempt(LAUNCHER, self._what, lambda: self._kernel.signalfd(helper.endings()))
        try:
            self._wait(signals, frozenset(watched))
        finally:
            posix.close(signals)
        data, control, _, _ = self._socket.recvmsg(
            65536, _socket.CMSG_SPACE(64 * _INT), _socket.MSG_CMSG_CLOEXEC
        )
        raw = b"".join(each[2] for each in control)
        numbers = [
            int.from_bytes(raw[at : at + _INT], sys.byteorder) for at in range(0, len(raw), _INT)
        ]
        if not data:
            raise SetupError(f"{self._what}: the process that looks was killed", stage=LAUNCHER)
        record = channel.decode(data[:-1])
        if record.kind == channel.ERROR:
            raise channel.error_of(record)
        return dict(zip(record.fields, numbers, strict=True))

    def close(self) -> int:
        """End it; return its pid where it can't end, else 0."""
        if not self.pid:
            return 0
        self._socket.close()
        posix.kill(self.pid, _signal.SIGKILL)  # our child, unreaped: the pid is its own
        pid, self.pid = self.pid, 0
        return 0 if _reap(pid) else pid

    def _wait(self, signals: int, watched: frozenset[int]) -> None:
        """Return when there's an answer, or when it has ended; raises SetupError.

        A signal to end is left to be read by whoever forwards it, if the look ends in time.
        """
        poll = select.poll()
        for descriptor in (self._socket.fileno(), signals, *watched):
            poll.register(descriptor, select.POLLIN)
        patience, caught = PATIENCE, 0
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(patience * 1000)}
            if self._socket.fileno() in ready:
                return
            if ready & watched:
                raise self._given_up("nobody waits for it any more", 0)
            if not ready:
                if caught:
                    raise self._given_up(f"got {_name(caught)} meanwhile", caught)
                raise self._given_up(f"no answer within {PATIENCE:g} s", 0)
            poll.unregister(signals)
            patience = _PATIENCE_AT_END
            caught = min(_signal.sigpending() & helper.endings(), default=_signal.SIGTERM)

    def _given_up(self, why: str, signal: int) -> SetupError:
        from pyinit import SIGNALLED

        left = self.close()
        hint = (
            "it seems to lie on a file system that doesn't answer, a program's (FUSE) or across a "
            "network: `umount -f` or `umount -l` that"
        )
        if left:
            hint += f"; process {left}, which asked it, can't be killed until then, and is left"
        status = SIGNALLED + signal if signal else OURS
        return SetupError(f"{self._what}: {why}", stage=LAUNCHER, hint=hint, status=status)


def _pair() -> tuple[_socket.socket, _socket.socket]:
    try:
        return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    except OSError as error:
        raise SyscallError("socketpair", error.errno or 0) from None


def _be(
    kernel: Kernel,
    what: str,
    task: Callable[[], Found],
    ours: _socket.socket,
    theirs: _socket.socket,
) -> None:
    """Be the scout: find what is to be found, pass it on, and wait for the end."""
    found: Found = {}
    try:
        ours.close()
        try:
            kernel.set_parent_death_signal(_signal.SIGKILL)
            kernel.hide()
            found = task()
            data = channel.encode(_FOUND, **found)
        except SetupError as error:
            data = channel.failure(error)
        except SyscallError as error:
            data = channel.failure(failed(LAUNCHER, what, error))
        except Exception as error:  # noqa: BLE001  no traceback may leave this process
            data = channel.failure(channel.unexpected(error, LAUNCHER))
        raw = b"".join(each.to_bytes(_INT, sys.byteorder) for each in found.values())
        theirs.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, raw)] if raw else [])
        theirs.recv(1)
    finally:
        posix._exit(0)


def _name(number: int) -> str:
    from pyinit import signames

    return signames.name(number)


def _reap(pid: int) -> bool:
    """Reap a child that was killed; return whether it has ended within the time that it has."""
    try:
        pidfd = posix.pidfd_open(pid)
    except OSError:
        return posix.waitpid(pid, posix.WNOHANG)[0] == pid
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(_REAPING * 1000):
            return False
        posix.waitpid(pid, 0)
        return True
    finally:
        posix.close(pidfd)
