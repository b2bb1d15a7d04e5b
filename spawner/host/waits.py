"""Which threads wait for signals, in rt_sigtimedwait(2) as of sigwait(3), and for which."""

import posix
import sys

from spawner.host import proc

_SIGTIMEDWAIT = {
    "aarch64": (b"137",),
    "armv7l": (b"177", b"421"),
    "i686": (b"177", b"421"),
    "loongarch64": (b"137",),
    "ppc64le": (b"176",),
    "riscv64": (b"137",),
    "s390x": (b"177",),
    "x86_64": (b"128",),
}
"""The numbers of rt_sigtimedwait(2) by what uname(2) calls the machine, asm/unistd.h."""

_SET = 8
"""The size of a set of signals in bytes, which is the kernel's sigset_t and not the C library's."""


def awaits_signals(pid: int) -> bool:
    """Tell whether a thread of `pid` waits for signals; False where it can't be seen."""
    try:
        return any(_call(pid, int(thread)) for thread in posix.listdir(f"/proc/{pid}/task"))
    except OSError:  # denied, or this kernel doesn't tell
        return False


def awaited(pid: int, thread: int) -> int:
    """Return the signals that a thread waits for, as bits like those of SigBlk; 0 where it doesn't.

    They stand in its memory. Raises OSError where they can't be seen, which takes the right to
    trace it, proc_pid_syscall(5), proc_pid_mem(5).
    """
    call = _call(pid, thread)
    if not call:
        return 0
    descriptor = posix.open(f"/proc/{pid}/task/{thread}/mem", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        found = posix.pread(descriptor, _SET, int(call[1], 16))
    finally:
        posix.close(descriptor)
    return int.from_bytes(found, sys.byteorder)


def _call(pid: int, thread: int) -> list[bytes]:
    """Return the words of a thread's rt_sigtimedwait(2), its number first; none of another call."""
    numbers = _SIGTIMEDWAIT.get(posix.uname().machine, ())
    words = proc.read(f"/proc/{pid}/task/{thread}/syscall").split()
    return words if words and words[0] in numbers else []
