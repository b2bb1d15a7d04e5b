"""The lock that keeps Python code from forking.

A module that another thread is importing during a fork stays half imported in the child, where a
thread that needs it would wait forever. So an import holds them off.
"""

import _thread
import posix

no_fork = _thread.RLock()
"""Held by a thread that imports or opens descriptors, during which no fork may happen."""


def _hold() -> None:
    no_fork.acquire()


def _meet() -> None:
    """Catch an exception raised by a signal handler during the fork.

    Python only prints it. Otherwise this thread would keep the lock, and all others would wait for
    it forever.
    """


def _go_on() -> None:
    """Release the lock if this thread holds it."""
    try:  # noqa: SIM105  contextlib is more than a command needs
        no_fork.release()
    except RuntimeError:
        pass


def _anew() -> None:
    """Replace the lock in a forked child, in which the thread that holds it may not exist."""
    no_fork._at_fork_reinit()  # type: ignore[attr-defined]


posix.register_at_fork(before=_hold, after_in_parent=_meet, after_in_child=_anew)
posix.register_at_fork(after_in_parent=_go_on)
