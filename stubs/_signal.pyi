"""Types of the built-in module behind `signal`, as far as this project uses it."""

from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Final

SIG_BLOCK: Final[int]
SIG_UNBLOCK: Final[int]
SIG_SETMASK: Final[int]
SIG_DFL: Final[int]
SIG_IGN: Final[int]
NSIG: Final[int]
ITIMER_REAL: Final[int]
SIGABRT: Final[int]
SIGALRM: Final[int]
SIGBUS: Final[int]
SIGCHLD: Final[int]
SIGCONT: Final[int]
SIGFPE: Final[int]
SIGHUP: Final[int]
SIGILL: Final[int]
SIGINT: Final[int]
SIGIO: Final[int]
SIGKILL: Final[int]
SIGPIPE: Final[int]
SIGQUIT: Final[int]
SIGRTMAX: Final[int]
SIGRTMIN: Final[int]
SIGSEGV: Final[int]
SIGSTOP: Final[int]
SIGSYS: Final[int]
SIGTERM: Final[int]
SIGTRAP: Final[int]
SIGTSTP: Final[int]
SIGTTIN: Final[int]
SIGTTOU: Final[int]
SIGUSR1: Final[int]
SIGUSR2: Final[int]
SIGWINCH: Final[int]
SIGXFSZ: Final[int]

class struct_siginfo:
    si_signo: int
    si_code: int
    si_errno: int
    si_pid: int
    si_uid: int
    si_status: int
    si_band: int

_Handler = Callable[[int, FrameType | None], Any] | int | None

def default_int_handler(signalnum: int, frame: FrameType | None, /) -> None: ...
def getsignal(signalnum: int, /) -> _Handler: ...
def pause() -> None: ...
def pidfd_send_signal(
    pidfd: int, signalnum: int, siginfo: None = None, flags: int = 0, /
) -> None: ...
def pthread_sigmask(how: int, mask: Iterable[int], /) -> set[int]: ...
def raise_signal(signalnum: int, /) -> None: ...
def setitimer(which: int, seconds: float, interval: float = 0.0, /) -> tuple[float, float]: ...
def signal(signalnum: int, handler: _Handler, /) -> _Handler: ...
def sigpending() -> set[int]: ...
def sigtimedwait(sigset: Iterable[int], timeout: float, /) -> struct_siginfo | None: ...
def sigwaitinfo(sigset: Iterable[int], /) -> struct_siginfo: ...
def valid_signals() -> set[int]: ...
