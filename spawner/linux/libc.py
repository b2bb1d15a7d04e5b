"""The C library, bound in one place, and the numbers of the kernel's interface by their headers.

`_ctypes` is what the `ctypes` package is made of: it brings the calls for 0.6 ms of start-up where
the package costs 3.4 ms. `dlopen(NULL)` finds the symbols of whatever C library the interpreter
runs on, glibc or musl. A function is bound when it's first called.
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

# linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# linux/mount.h
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REC = 16384
MS_PRIVATE = 1 << 18

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

# bits/socket.h, bits/socket_type.h
AF_INET = 2
SOCK_DGRAM = 2

# linux/sockios.h
SIOCSIFFLAGS = 0x8914

# linux/if.h
IFF_UP = 1
IFNAMSIZ = 16

IFREQ_SIZE = 40
"""Bytes in a struct ifreq, linux/if.h: the name and a union of at most 24 bytes."""

SIGSET_SIZE = 128
"""Bytes in a sigset_t of glibc and of musl, bits/types/__sigset_t.h."""

SIGINFO_SIZE = 128
"""Bytes in a struct signalfd_siginfo, linux/signalfd.h."""

NAMESPACE_FLAGS = {
    "cgroup": "CLONE_NEWCGROUP",
    "ipc": "CLONE_NEWIPC",
    "mount": "CLONE_NEWNS",
    "net": "CLONE_NEWNET",
    "pid": "CLONE_NEWPID",
    "time": "CLONE_NEWTIME",
    "user": "CLONE_NEWUSER",
    "uts": "CLONE_NEWUTS",
}
"""The flag, by its name above, of each kind of namespace, namespaces(7)."""


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

_ARGUMENTS = {
    "clearenv": (),  # clearenv(3), stdlib.h
    "ioctl": (Int, ULong, String),  # ioctl(2), sys/ioctl.h
    "mount": (String, String, String, ULong, String),  # mount(2), sys/mount.h
    "prctl": (Int, ULong, ULong, ULong, ULong),  # prctl(2), sys/prctl.h
    "sethostname": (String, ULong),  # sethostname(2), unistd.h
    "signalfd": (Int, String, Int),  # signalfd(2), sys/signalfd.h
    "socket": (Int, Int, Int),  # socket(2), sys/socket.h
    "unshare": (Int,),  # unshare(2), sched.h
}
"""The functions in use, with the types of their arguments; each returns an int, -1 for errors."""

_bound: "dict[str, _Function]" = {}


class _Function(CFuncPtr):
    """A function of the C library that returns an int."""

    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = Int


def call(name: str, *arguments: int | bytes | None) -> int:
    """Call the C function `name` and return its result; raises SyscallError for -1."""
    function = _bound.get(name)
    if function is None:
        function = _bound[name] = _bind(name)
    result: int = function(*arguments)
    return result


def _bind(name: str) -> _Function:
    """Return the C function `name`, with its types and its check."""

    def check(result: "Any", _function: object, _arguments: object) -> "Any":
        if result == -1:
            raise SyscallError(name, get_errno())
        return result

    handle = dlopen(None, 0)  # type: ignore[arg-type]  # NULL
    function = _Function(dlsym(handle, name))
    function.argtypes = _ARGUMENTS[name]
    function.errcheck = check
    return function
