"""Errors as data: which process failed at which step, in which system call, and why.

The message of each error is one line for people, without a program's name in front; `hint` is a
second line that says what to do, where that is known. All of them pickle.
"""

import posix

from pyinit import OURS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LAUNCHER = "launcher"
"""The process that stays outside the new namespaces."""

STAGE = "stage"
"""The process that unshares; it forks the init."""

INIT = "init"
"""The process that sets up the container and then becomes the program, or pyinit as its PID 1."""

WITNESS = "witness"
"""The process that reports the terminal's stop signals where the program is PID 1."""

RELAY = "relay"
"""The process between the caller's terminal and the program's own."""

SCOUT = "scout"
"""The process that the launcher forks to open what may hang."""


MARK = "\udc00"
"""The character that encloses an option in a message.

No bytes decode to it: PEP 383 has only U+DC80 to U+DCFF for those that aren't text. So no word, no
path and no other program's answer can be taken for a mark.
"""


def mark(option: str) -> str:
    """Return an option, such as `--share net`, marked for each front end to spell its own way."""
    return f"{MARK}{option}{MARK}"


def unmarked(message: str) -> str:
    """Return a message without its marks: options are spelled as on a command line."""
    return message.replace(MARK, "")


class SpawnerError(Exception):
    """The base class of this package's exceptions; `hint` says what to do, or is None."""

    hint: str | None = None

    def _notes(self) -> "dict[str, list[str]] | None":
        """Return the notes of an error as state to pickle."""
        notes = getattr(self, "__notes__", None)
        return {"__notes__": list(notes)} if notes else None


class SpecError(SpawnerError, ValueError):
    """A request that makes no sense on any host: found before any step is taken."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> "tuple[Any, ...]":
        return type(self), (self.message, self.hint), self._notes()


class SetupError(SpawnerError, OSError):
    """Raised if the container could not be made; nothing of it is left then.

    `stage` is LAUNCHER, STAGE or INIT; `step` says in words what was being done; `syscall`, `path`
    and `errno` say what the kernel refused (None where no system call is to blame); `status` is
    the exit status that stands for it.
    """

    def __init__(
        self,
        step: str,
        *,
        stage: str,
        syscall: str | None = None,
        errno: int | None = None,
        path: str | None = None,
        hint: str | None = None,
        status: int = OURS,
    ) -> None:
        super().__init__(errno, posix.strerror(errno) if errno else step)
        self.step = step
        self.stage = stage
        self.syscall = syscall
        self.errno = errno
        self.path = path
        self.hint = hint
        self.status = status

    @property
    def message(self) -> str:
        """The message for people, put together only when it's shown."""
        if not self.errno:
            return self.step
        from pyinit import errno_text

        return f"{self.step}: {errno_text(self.errno)}"

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> "tuple[Any, ...]":
        return _rebuild, (type(self), self.step, self._fields()), self._notes()

    def _fields(self) -> "dict[str, Any]":
        names = ("stage", "syscall", "errno", "path", "hint", "status")
        return {name: getattr(self, name) for name in names}


class ExecError(SetupError):
    """Raised if the program could not be executed; `status` is 127 or 126."""

    @property
    def message(self) -> str:
        """The step's own words, as in "nosuch: not found in PATH (/usr/bin:/bin)"."""
        return self.step


class SyscallError(OSError):
    """Raised for a failed system call: `syscall`, `errno`, and `path` where there is one."""

    def __init__(self, syscall: str, errno: int, path: str | None = None) -> None:
        super().__init__(errno, posix.strerror(errno), path)
        self.syscall = syscall
        self.path = path

    def __reduce__(self) -> "tuple[Any, ...]":
        return type(self), (self.syscall, self.errno, self.path)


def _rebuild(kind: type[SetupError], step: str, fields: "dict[str, Any]") -> SetupError:
    """Return an unpickled error."""
    return kind(step, **fields)


def lost() -> SetupError:
    """Return the error for an init that something else has reaped."""
    from errno import ECHILD

    what = "something else has reaped the container's init"
    return SetupError(what, stage=LAUNCHER, syscall="waitpid", errno=ECHILD)


def how(changed: int) -> str:
    """Return how a process ended, in words, from its wait status."""
    from pyinit import status_of_wait

    code, signal = status_of_wait(changed)
    if signal is None:
        return f"ended with status {code}"
    from pyinit import signames

    return f"was killed by {signames.name(signal)}"
