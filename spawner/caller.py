"""Look up the signals, ids and locale that pyspawn was started with, and the program gets again.

A Python interpreter changes some of it before any code of ours runs: SIGPIPE and SIGXFSZ become
ignored, SIGINT gets a handler if it had none, and in a C locale LC_CTYPE is put into the
environment (PEP 538).
"""

import _signal
import posix

from pyinit import ignored_signals
from spawner.spec import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_ENDINGS = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)
"""Signals by which terminals and service managers ask a program to end."""


class Caller(Frozen):
    """The caller's effective ids, signals blocked and ignored, and its PATH.

    `listens` says whether descriptors to listen on were passed to it, sd_listen_fds(3).
    """

    user: int
    group: int
    mask: frozenset[int] = frozenset()
    ignored: frozenset[int] = frozenset()
    search_path: bytes | None = None
    listens: bool = False


def look(mask: "Iterable[int]") -> Caller:
    """Return what this process was started with; `mask` is its first signal mask."""
    return Caller(
        user=posix.geteuid(),
        group=posix.getegid(),
        mask=frozenset(map(int, mask)),
        ignored=frozenset(ignored_signals()),
        search_path=posix.environ.get(b"PATH"),
        listens=posix.environ.get(b"LISTEN_PID") == b"%d" % posix.getpid(),
    )


def endings() -> set[int]:
    """Return the signals that end pyspawn, without those that were ignored when it started."""
    return {number for number in _ENDINGS if _signal.getsignal(number) is not _signal.SIG_IGN}


def restore_locale() -> None:
    """Restore LC_CTYPE in the C library's environment, which Python changes when it starts."""
    if b"LC_CTYPE" in posix.environ:
        from pyinit import coercion

        coercion.undo()
