"""The C library, bound in one place: argument types, result, check and error together.

`_ctypes` is what the `ctypes` package is made of: it brings the calls for 0.7 ms of start-up where
the package costs 3.4 ms. `dlopen(NULL)` finds the symbols of whatever C library the interpreter
runs on, glibc or musl.
"""

import posix
from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    _SimpleCData,
    dlopen,
    dlsym,
    get_errno,
    sizeof,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class SyscallError(OSError):
    """A system call that the kernel refused: `syscall`, `errno`, and `path` where there is one."""

    def __init__(self, syscall: str, errno: int, path: str | None = None) -> None:
        super().__init__(errno, posix.strerror(errno), path)
        self.syscall = syscall
        self.path = path

    def __reduce__(self) -> "tuple[Any, ...]":
        return type(self), (self.syscall, self.errno, self.path)


class Int(_SimpleCData):  # type: ignore[type-arg]  # generic for the type checker only
    """A C int."""

    _type_ = "i"


class ULong(_SimpleCData):  # type: ignore[type-arg]
    """A C unsigned long."""

    _type_ = "L"


class String(_SimpleCData):  # type: ignore[type-arg]
    """A C string, or NULL for None; also a structure that the kernel only reads."""

    _type_ = "z"


LONG_SIZE = sizeof(ULong)
"""Bytes in a C long."""

_HANDLE = dlopen(None, 0)  # type: ignore[arg-type]  # NULL


class _Function(CFuncPtr):
    """A function of the C library that returns an int."""

    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = Int


def bind(name: str, *argument_types: "type[_SimpleCData[Any]]") -> _Function:
    """Return the C function `name`, checked: it returns an int, or raises SyscallError for -1."""

    def check(result: "Any", _function: object, _arguments: object) -> "Any":
        if result == -1:
            raise SyscallError(name, get_errno())
        return result

    function = _Function(dlsym(_HANDLE, name))
    function.argtypes = argument_types
    function.errcheck = check
    return function


clearenv = bind("clearenv")
"""clearenv(3), stdlib.h."""

ioctl = bind("ioctl", Int, ULong, String)
"""ioctl(2), sys/ioctl.h, with an argument that the kernel only reads."""

mount = bind("mount", String, String, String, ULong, String)
"""mount(2), sys/mount.h."""

prctl = bind("prctl", Int, ULong, ULong, ULong, ULong)
"""prctl(2), sys/prctl.h."""

sethostname = bind("sethostname", String, ULong)
"""sethostname(2), unistd.h."""

signalfd = bind("signalfd", Int, String, Int)
"""signalfd(2), sys/signalfd.h."""

socket = bind("socket", Int, Int, Int)
"""socket(2), sys/socket.h."""

unshare = bind("unshare", Int)
"""unshare(2), sched.h."""
