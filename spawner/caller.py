"""What the process that started us had, which the program shall have again.

A Python interpreter changes some of it before any code of ours runs: SIGPIPE and SIGXFSZ become
ignored, SIGINT gets a handler if it had none, and in a C locale LC_CTYPE is put into the
environment (PEP 538).
"""

import _signal
import posix

from spawner.spec import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# The interpreter overwrote what these were before anybody could look.
_UNKNOWN = frozenset({_signal.SIGPIPE, _signal.SIGXFSZ})
# What PEP 538 may set LC_CTYPE to (Python/pylifecycle.c, _TARGET_LOCALES).
_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")


class Caller(Frozen):
    """The caller's effective ids, signals blocked and ignored, and its PATH."""

    __slots__ = ("group", "ignored", "mask", "search_path", "user")

    user: int
    group: int
    mask: frozenset[int]
    ignored: frozenset[int]
    search_path: bytes | None

    def __init__(
        self,
        *,
        user: int,
        group: int,
        mask: "Iterable[int]" = (),
        ignored: "Iterable[int]" = (),
        search_path: bytes | None = None,
    ) -> None:
        self._set(
            user=user,
            group=group,
            mask=frozenset(map(int, mask)),
            ignored=frozenset(ignored),
            search_path=search_path,
        )


def look(mask: "Iterable[int]") -> Caller:
    """Return what this process was started with; `mask` is what was blocked at its start."""
    ignored = (
        number
        for number in _signal.valid_signals()
        if number not in _UNKNOWN and _signal.getsignal(number) == _signal.SIG_IGN
    )
    return Caller(
        user=posix.geteuid(),
        group=posix.getegid(),
        mask=mask,
        ignored=ignored,
        search_path=posix.environ.get(b"PATH"),
    )


def restore_locale() -> None:
    """Put LC_CTYPE back to what we were started with, in the C library's environment.

    The truth is in /proc/self/environ, which stays as execve(2) left it, proc_pid_environ(5).
    Without it the variable is taken for the caller's.
    """
    value = posix.environ.get(b"LC_CTYPE")
    if value not in _COERCED:
        return
    try:
        descriptor = posix.open("/proc/self/environ", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return
    block = b""
    while part := posix.read(descriptor, 65536):
        block += part
    posix.close(descriptor)
    for entry in block.split(b"\0"):
        if entry.startswith(b"LC_CTYPE="):
            if entry[9:] != value:
                posix.putenv(b"LC_CTYPE", entry[9:])
            return
    posix.unsetenv(b"LC_CTYPE")
