"""Call prctl(2) without importing `ctypes`, which takes 2.7 ms.

Both settings belong to this process: a fork doesn't inherit them, and they need no undoing.
"""

from pyinit import errno_text

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def become_subreaper() -> None:
    """Become the parent of orphaned descendants: PR_SET_CHILD_SUBREAPER(2const).

    Raises OSError, also where the interpreter comes without `_ctypes`.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_parent_death_signal(signal: int) -> None:
    """Have `signal` sent to us when the thread that started us dies: PR_SET_PDEATHSIG(2const).

    Raises OSError, also where the interpreter comes without `_ctypes`.
    """
    _prctl(_PR_SET_PDEATHSIG, signal)


def _prctl(operation: int, argument: int) -> None:
    try:
        import _ctypes
    except ImportError as error:
        raise OSError(38, f"this Python comes without ctypes: {error}") from None  # ENOSYS

    class Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "i"

    class ULong(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "L"

    class Prctl(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
        _restype_ = Int

    prctl = Prctl(_ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl"))  # type: ignore[arg-type]
    if prctl(Int(operation), ULong(argument), ULong(0), ULong(0), ULong(0)) != 0:
        number = _ctypes.get_errno()
        raise OSError(number, f"prctl: {errno_text(number)}")
