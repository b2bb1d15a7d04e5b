"""The kernel calls that the standard library of Python 3.11 does not bind."""

from __future__ import annotations

import ctypes
import os
from typing import Any

# include/uapi/linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

# include/uapi/linux/mount.h
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

# include/uapi/linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_TIMERSLACK = 29
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, function: Any, arguments: tuple[Any, ...]) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}: {os.strerror(number)}")
    return result


def _bind(name: str, *argtypes: Any) -> Any:
    function = getattr(_libc, name)
    function.argtypes = argtypes
    function.restype = ctypes.c_int
    function.errcheck = _check
    return function


_unshare = _bind("unshare", ctypes.c_int)
_setns = _bind("setns", ctypes.c_int, ctypes.c_int)
_mount = _bind(
    "mount", ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p
)
_prctl = _bind("prctl", ctypes.c_int, *[ctypes.c_ulong] * 4)


def unshare(flags: int) -> None:
    """Leave namespaces for new ones, unshare(2); a PID namespace takes effect for children."""
    _unshare(flags)


def setns(fd: int, kind: int) -> None:
    """Join the namespace that `fd` names, setns(2)."""
    _setns(fd, kind)


def mount(source: str, target: str, kind: str, flags: int) -> None:
    """Mount, bind, or change the propagation, mount(2)."""
    _mount(os.fsencode(source), os.fsencode(target), os.fsencode(kind), flags, None)


def become_subreaper() -> None:
    """Become the parent of every orphan below, PR_SET_CHILD_SUBREAPER(2const)."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(signal_number: int) -> None:
    """Get `signal_number` when the parent's thread ends, PR_SET_PDEATHSIG(2const)."""
    _prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def set_timer_slack(nanoseconds: int) -> None:
    """Let sleeps end this precisely (the default is 50,000), PR_SET_TIMERSLACK(2const)."""
    _prctl(PR_SET_TIMERSLACK, nanoseconds, 0, 0, 0)
