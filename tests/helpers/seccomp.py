"""Deny system calls, or hold them until a test lets go: seccomp(2) filters for a program.

`deny` returns code for `programs.prepared`. `Held` stops a program right at a system call, by
the kernel's own notification (seccomp_unotify(2)): what happens "between fork and exec" is then
a moment that a test can stand in, with no clock.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import os
import platform
import select
import socket
import struct
import threading
from collections.abc import Sequence
from typing import NamedTuple

from helpers import children
from helpers.running import Running, StuckError

_libc = ctypes.CDLL(None, use_errno=True)

# linux/audit.h, AUDIT_ARCH_*; numbers from asm/unistd.h of each machine.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NUMBERS = {
    "x86_64": {
        "chdir": 80,
        "clone": 56,
        "clone3": 435,
        "close_range": 436,
        "execve": 59,
        "execveat": 322,
        "fchdir": 81,
        "fcntl": 72,
        "fork": 57,
        "fchown": 93,
        "fsetxattr": 190,
        "fsmount": 432,
        "getpgid": 121,
        "getpgrp": 111,
        "getppid": 110,
        "getsid": 124,
        "ioctl": 16,
        "keyctl": 250,
        "lseek": 8,
        "kill": 62,
        "memfd_create": 319,
        "mount": 165,
        "mount_setattr": 442,
        "move_mount": 429,
        "open_tree": 428,
        "pivot_root": 155,
        "umount2": 166,
        "pidfd_open": 434,
        "pidfd_send_signal": 424,
        "pipe": 22,
        "pipe2": 293,
        "poll": 7,
        "prctl": 157,
        "read": 0,
        "rt_sigaction": 13,
        "rt_sigprocmask": 14,
        "rt_sigtimedwait": 128,
        "seccomp": 317,
        "statx": 332,
        "sethostname": 170,
        "setns": 308,
        "setpgid": 109,
        "setsid": 112,
        "signalfd": 282,
        "signalfd4": 289,
        "socket": 41,
        "unshare": 272,
        "vfork": 58,
    },
    "aarch64": {
        "chdir": 49,
        "clone": 220,
        "clone3": 435,
        "close_range": 436,
        "execve": 221,
        "execveat": 281,
        "fchdir": 50,
        "fcntl": 25,
        "fchown": 55,
        "fsetxattr": 7,
        "fsmount": 432,
        "getpgid": 155,
        "getppid": 173,
        "getsid": 156,
        "ioctl": 29,
        "keyctl": 219,
        "lseek": 62,
        "kill": 129,
        "memfd_create": 279,
        "mount": 40,
        "mount_setattr": 442,
        "move_mount": 429,
        "open_tree": 428,
        "pivot_root": 41,
        "umount2": 39,
        "pidfd_open": 434,
        "pidfd_send_signal": 424,
        "pipe2": 59,
        "prctl": 167,
        "read": 63,
        "rt_sigaction": 134,
        "rt_sigprocmask": 135,
        "rt_sigtimedwait": 137,
        "seccomp": 277,
        "sethostname": 161,
        "setns": 268,
        "setpgid": 154,
        "setsid": 157,
        "signalfd4": 74,
        "socket": 198,
        "unshare": 97,
    },
}

_NEW_LISTENER = 8  # SECCOMP_FILTER_FLAG_NEW_LISTENER, linux/seccomp.h
_PIDFD_GETFD = 438  # pidfd_getfd(2), the same on all machines

ALLOW = 0x7FFF0000
NOTIFY = 0x7FC00000
_ERRNO = 0x00050000
KILL = 0x80000000

# linux/filter.h, linux/bpf_common.h
_LOAD = 0x20
_JUMP_IF_EQUAL = 0x15
_RETURN = 0x06


class Call(NamedTuple):
    """A system call by name, perhaps only with a given value in one argument (lower 32 bits)."""

    name: str
    argument: int | None = None
    value: int = 0


def number(name: str) -> int | None:
    """Return the number of a system call, None where this machine has no such call.

    Raises KeyError for a call that is in no table: nothing would be denied.
    """
    if not any(name in numbers for numbers in _NUMBERS.values()):
        raise KeyError(name)
    return _NUMBERS[platform.machine()].get(name)


def _program(calls: list[Call], verdict: int, otherwise: int) -> bytes:
    """Return the filter that gives `verdict` for `calls`, and `otherwise` for all else."""

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    # struct seccomp_data: nr at 0, arch at 4, args from 16, 8 bytes each.
    steps = [
        step(_LOAD, 4),
        step(_JUMP_IF_EQUAL, _ARCHITECTURES[platform.machine()], 1, 0),
        step(_RETURN, ALLOW),
    ]
    for call in calls:
        wanted = number(call.name)
        if wanted is None:
            continue
        steps.append(step(_LOAD, 0))
        if call.argument is None:
            steps.append(step(_JUMP_IF_EQUAL, wanted, 0, 1))
        else:
            steps.append(step(_JUMP_IF_EQUAL, wanted, 0, 3))
            steps.append(step(_LOAD, 16 + 8 * call.argument))
            steps.append(step(_JUMP_IF_EQUAL, call.value, 0, 1))
        steps.append(step(_RETURN, verdict))
    steps.append(step(_RETURN, otherwise))
    return b"".join(steps)


_INSTALL = """
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
steps = {steps!r}
filter = Filter(len(steps) // 8, steps)
if libc.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS
    raise OSError(ctypes.get_errno(), "no_new_privs")
listener = libc.syscall({seccomp}, 1, {flags}, ctypes.byref(filter))
if listener < 0:
    raise OSError(ctypes.get_errno(), "seccomp")
"""


def deny(reason: int, *calls: str | Call) -> str:
    """Return code for `prepared`: from then on `calls` fail with the errno `reason`."""
    return _INSTALL.format(
        steps=filtering(calls, refusal(reason)), seccomp=number("seccomp"), flags=0
    )


def refusal(reason: int) -> int:
    """Return the verdict by which a call fails with the errno `reason`."""
    return _ERRNO | reason


def block_raw(mask: int) -> str:
    """Return code for `prepared`: block `mask`, also what the C library lets nobody block."""
    call = f"ctypes.CDLL(None).syscall({number('rt_sigprocmask')}, signal.SIG_SETMASK"
    return f"{call}, ctypes.byref(ctypes.c_uint64({mask})), None, 8)\n"


def filtering(calls: Sequence[str | Call], verdict: int) -> bytes:
    """Return a compiled filter that gives `verdict` for `calls`, and allows all others."""
    wanted = [call if isinstance(call, Call) else Call(call) for call in calls]
    return _program(wanted, verdict, ALLOW)


def _install(calls: list[Call], verdict: int, flags: int, otherwise: int = ALLOW) -> str:
    steps = _program(calls, verdict, otherwise)
    return _INSTALL.format(steps=steps, seccomp=number("seccomp"), flags=flags)


# An exec that execve's filter doesn't see: execveat(2) with a path and the same environment.
EXEC_UNSEEN = f"""
vector = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
environ = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ")
ctypes.CDLL(None).syscall({number("execveat")}, -100, argv[0], vector, environ, 0)
"""
"""For `prepared`, after `deny(..., "execve")`: the exec of argv that is not denied."""


class Moment(NamedTuple):
    """A process held at a system call: its host pid, and the kernel's name for the moment."""

    identity: int
    pid: int
    call: int


class Held:
    """The test's end of a filter that holds `calls` of a program; see `code`.

    Pass `fileno` to the program, and `code` to `prepared`. `catch` waits for the next held call,
    `let_go` lets it run. Once closed, held calls fail with ENOSYS, so nothing hangs for good.
    """

    def __init__(self, *calls: str | Call) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._listener = -1
        wanted = [call if isinstance(call, Call) else Call(call) for call in calls]
        self.code = (
            _install(wanted, NOTIFY, _NEW_LISTENER)
            + "import socket\n"
            + f"channel = socket.socket(fileno={self._theirs.fileno()})\n"
            + "socket.send_fds(channel, [b'x'], [listener])\n"
            + "channel.close(); os.close(listener)\n"
        )
        self.fileno = self._theirs.fileno()

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *error: object) -> None:
        self._ours.close()
        self._theirs.close()
        if self._listener >= 0:
            os.close(self._listener)

    def _listen(self) -> int:
        if self._listener < 0:
            if not children.wait_readable(self._ours.fileno()):
                raise StuckError("no filter was installed")
            _, descriptors, _, _ = socket.recv_fds(self._ours, 1, 1)
            (self._listener,) = descriptors
        return self._listener

    def catch(self) -> Moment:
        """Wait for the next held call."""
        if not children.wait_readable(self._listen()):
            raise StuckError("no held system call came")
        return self._receive()

    def _receive(self) -> Moment:
        return _receive(self._listener)

    def let_go(self, moment: Moment) -> None:
        """Let a held call run as if nothing had been there; one that died meanwhile is fine."""
        _let_go(self._listener, moment)


def _receive(listener: int) -> Moment:
    # struct seccomp_notif: id, pid, flags, then struct seccomp_data, 80 bytes in all.
    record = array.array("B", bytes(80))
    fcntl.ioctl(listener, 0xC0502100, record)  # SECCOMP_IOCTL_NOTIF_RECV
    identity, pid, _, call = struct.unpack_from("=QIIi", record.tobytes())
    return Moment(identity, pid, call)


def _let_go(listener: int, moment: Moment) -> None:
    # struct seccomp_notif_resp: id, val, error, flags (SECCOMP_USER_NOTIF_FLAG_CONTINUE).
    response = array.array("B", struct.pack("=QqiI", moment.identity, 0, 0, 1))
    with contextlib.suppress(FileNotFoundError):
        fcntl.ioctl(listener, 0xC0182101, response)  # SECCOMP_IOCTL_NOTIF_SEND


class Stepped:
    """Stops a program at each of its system calls, and sends it signals at one of them.

    Use `code` in `prepared`, then `watch`; the program goes on by itself. `count` is how many
    calls it has made. Leave the `with` block once the program is gone.
    """

    code = """
number = os.dup(1); os.close(number)  # the lowest free one, which the listener will get
os.write(1, b"%d\\n" % number)
""" + _install([], ALLOW, _NEW_LISTENER, otherwise=NOTIFY)

    def __init__(self, at: int, numbers: Sequence[int]) -> None:
        self.count = 0
        self._at = at
        self._numbers = numbers
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Stepped:
        return self

    def __exit__(self, *error: object) -> None:
        if self._thread is not None:
            self._thread.join()

    def watch(self, running: Running) -> None:
        """Begin to let the program's system calls go, one after the other."""
        number = int(running.line())
        listener = -1

        def installed() -> bool:
            nonlocal listener
            listener = _libc.syscall(_PIDFD_GETFD, process, number, 0)
            return listener >= 0

        with children.pidfd(running.pid) as process:
            children.wait_until(installed, "the filter")
        self._thread = threading.Thread(target=self._go_on, args=(listener, running.pid))
        self._thread.start()

    def _go_on(self, listener: int, pid: int) -> None:
        poller = select.poll()
        poller.register(listener, select.POLLIN)
        while not any(events & select.POLLHUP for _, events in poller.poll()):
            with contextlib.suppress(FileNotFoundError):
                moment = _receive(listener)
                if self.count == self._at:
                    for number in self._numbers:
                        os.kill(pid, number)
                self.count += 1
                _let_go(listener, moment)
        os.close(listener)
