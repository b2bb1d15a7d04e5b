"""Restart pyspawn from a sealed copy of its interpreter before it joins hostile processes.

A program there may be a script whose interpreter is /proc/self/exe, or lead to it by a link: then
the kernel executes what we are, an interpreter of this host, in their hands, and whoever may
write the file can open it for writing from there (CVE-2019-5736 of runc). What they get hold of
like this is a copy in memory that nobody can write, memfd_create(2).

It is needed for root, who may write any file or enter as whoever owns it, and where the file
belongs to who goes in: it costs the copy and one more start of the interpreter.
"""

from __future__ import annotations

import errno
import posix
import sys

from spawner.errors import LAUNCHER, SetupError
from spawner.steps import attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from spawner.caller import Caller
    from spawner.linux import Kernel

_EXE = "/proc/self/exe"
_NAME = "pyspawn"

_MFD_EXEC = 0x10
"""Makes a memfd executable, linux/memfd.h; older kernels lack the flag and don't need it."""

_BLOCK = 1 << 20


def restart(
    kernel: Kernel, caller: Caller, spared: Iterable[int] = (), early: Iterable[int] = ()
) -> None:
    """Execute the sealed copy with the same arguments; return if it runs already or isn't needed.

    `spared` are descriptors that it gets, and `early` signals that were taken from it. Raises
    SetupError.
    """
    try:
        if posix.readlink(_EXE).startswith(f"/memfd:{_NAME} "):
            return
    except OSError as error:
        raise SetupError(
            "find the Python interpreter that runs pyspawn",
            stage=LAUNCHER,
            syscall="readlink",
            errno=error.errno,
            path=_EXE,
        ) from None
    source = attempt(LAUNCHER, "open the interpreter", lambda: kernel.open(_EXE, posix.O_RDONLY))
    status = posix.fstat(source)
    if caller.user not in (0, status.st_uid) and not status.st_mode & 0o022:
        posix.close(source)
        return
    copy = _copy(source, status.st_size)
    for descriptor in spared:
        kernel.keep_over_exec(descriptor)
    for number in early:
        posix.kill(posix.getpid(), number)
    kernel.set_signals(caller.ignored, caller.mask)
    try:
        posix.execv(f"/proc/self/fd/{copy}", sys.orig_argv)
    except OSError as error:
        raise SetupError(
            "start a sealed copy of the interpreter",
            stage=LAUNCHER,
            syscall="execve",
            errno=error.errno,
            path=f"memfd:{_NAME}",
        ) from None


def _copy(source: int, size: int) -> int:
    """Return a descriptor of a sealed copy of the interpreter; raises SetupError."""
    import fcntl

    copy = -1
    try:
        copy = _memfd()
        _fill(copy, source, size)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, seals)
    except OSError as error:
        if copy >= 0:
            posix.close(copy)
        raise SetupError(
            "copy the Python interpreter into memory, so that the container can't write to its "
            "file",
            stage=LAUNCHER,
            syscall="memfd_create",
            errno=error.errno,
            hint=_hint(error.errno),
        ) from None
    return copy


def _hint(number: int | None) -> str | None:
    """Return the hint for a copy that was refused, or None."""
    if number in (errno.EACCES, errno.EPERM):
        return (
            "as root, allow executable files in memory (`sysctl -w vm.memfd_noexec=1`), or run "
            "pyspawn as a user who can't write to its interpreter"
        )
    if number == errno.EFBIG:
        return (
            "raise the limit on the size of files, which also holds for the copy: `ulimit -f "
            "unlimited`"
        )
    return None


def _fill(copy: int, source: int, size: int) -> None:
    """Copy a file of this size; raises OSError, also if the file is shorter."""
    at = 0
    while at < size:
        sent = posix.sendfile(copy, source, at, min(_BLOCK, size - at))
        if not sent:
            raise OSError(errno.EIO, posix.strerror(errno.EIO))
        at += sent


def _memfd() -> int:
    flags = posix.MFD_CLOEXEC | posix.MFD_ALLOW_SEALING
    try:
        return posix.memfd_create(_NAME, flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return posix.memfd_create(_NAME, flags)
