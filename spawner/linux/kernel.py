"""The kernel as an object: a method for each system call that making a container takes.

It is handed in wherever something is done to the machine, so that a test can hand in one that
records, or one that refuses. Every method raises SyscallError.
"""

import _signal
import posix
import sys

from spawner.linux.libc import (
    AF_INET,
    IFF_UP,
    IFNAMSIZ,
    IFREQ_SIZE,
    LONG_SIZE,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    SIGSET_SIZE,
    SIOCSIFFLAGS,
    SOCK_DGRAM,
    SyscallError,
    call,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import ParamSpec, TypeVar

    from pyinit.execvp import ExecError

    P = ParamSpec("P")
    T = TypeVar("T")

# linux/eventpoll.h and sys/signalfd.h give these the values of the open flags.
_CLOEXEC = posix.O_CLOEXEC
_NONBLOCK = posix.O_NONBLOCK


def encode(text: str) -> bytes:
    """Return a path, name or argument as the bytes that it stands for (PEP 383)."""
    return text.encode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def _named(syscall: str, do: "Callable[P, T]", *arguments: "P.args", **words: "P.kwargs") -> "T":
    """Call a function of `posix`, and name the system call in its error."""
    try:
        return do(*arguments, **words)
    except OSError as error:
        raise SyscallError(syscall, error.errno or 0) from None


class Kernel:
    """The machine's own kernel."""

    __slots__ = ()

    # Processes

    def fork(self) -> int:
        """Duplicate this process; return the child's pid, and 0 in the child.

        See fork(2).
        """
        return _named("fork", posix.fork)

    def pidfd_open(self, pid: int) -> int:
        """Return a descriptor of the process `pid`, closed on exec.

        See pidfd_open(2).
        """
        return _named("pidfd_open", posix.pidfd_open, pid)

    def pidfd_send_signal(self, pidfd: int, number: int) -> None:
        """Send a signal to the process of `pidfd`.

        See pidfd_send_signal(2).
        """
        _named("pidfd_send_signal", _signal.pidfd_send_signal, pidfd, number)

    def set_parent_death_signal(self, number: int) -> None:
        """Have `number` sent to this process when its parent dies, PR_SET_PDEATHSIG(2const).

        The parent is a thread of a process. A set-id exec and a change of credentials clear it.
        """
        call("prctl", PR_SET_PDEATHSIG, number, 0, 0, 0)

    def become_subreaper(self) -> None:
        """Have orphans below this process re-parented to it, PR_SET_CHILD_SUBREAPER(2const)."""
        call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def make_process_group(self) -> None:
        """Put this process into a process group of its own, setpgid(2)."""
        _named("setpgid", posix.setpgid, 0, 0)

    # Descriptors

    def pipe(self) -> tuple[int, int]:
        """Return the two ends of a pipe, closed on exec, the one to read from first.

        See pipe(2).
        """
        return _named("pipe2", posix.pipe)

    def open(self, path: str, flags: int) -> int:
        """Open `path`, closed on exec.

        See open(2).
        """
        try:
            return posix.open(path, flags | _CLOEXEC)
        except OSError as error:
            raise SyscallError("openat", error.errno or 0, path) from None

    def signalfd(self, signals: "Iterable[int]") -> int:
        """Return a descriptor from which the pending ones of `signals` can be read.

        It is closed on exec and doesn't block; the signals must be blocked. See signalfd(2).
        """
        return call("signalfd", -1, _sigset(signals), _CLOEXEC | _NONBLOCK)

    def keep_over_exec(self, descriptor: int) -> None:
        """Leave a descriptor open on exec, FD_CLOEXEC of fcntl(2)."""
        _named("fcntl", posix.set_inheritable, descriptor, True)

    # Namespaces and what is in them

    def unshare(self, flags: int) -> None:
        """Enter new namespaces; NEWPID and NEWTIME are for children only.

        See unshare(2).
        """
        call("unshare", flags)

    def write_file(self, path: str, data: bytes) -> None:
        """Write `data` into an existing file by one write(2), as files of /proc want it."""
        descriptor = self.open(path, posix.O_WRONLY)
        try:
            posix.write(descriptor, data)
        except OSError as error:
            raise SyscallError("write", error.errno or 0, path) from None
        finally:
            posix.close(descriptor)

    def mount(
        self, source: str | None, target: str, kind: str | None, flags: int, data: str | None
    ) -> None:
        """Mount something, or change what is mounted at `target`.

        See mount(2).
        """
        words = [None if word is None else encode(word) for word in (source, target, kind, data)]
        try:
            call("mount", words[0], words[1], words[2], flags, words[3])
        except SyscallError as error:
            raise SyscallError("mount", error.errno or 0, target) from None

    def sethostname(self, name: str) -> None:
        """Set the host name of the UTS namespace.

        See sethostname(2).
        """
        raw = encode(name)
        call("sethostname", raw, len(raw))

    def bring_up(self, interface: str) -> None:
        """Bring up a network interface, netdevice(7): SIOCSIFFLAGS."""
        descriptor = call("socket", AF_INET, SOCK_DGRAM | _CLOEXEC, 0)
        request = encode(interface).ljust(IFNAMSIZ, b"\0")
        request += IFF_UP.to_bytes(2, sys.byteorder)
        try:
            call("ioctl", descriptor, SIOCSIFFLAGS, request.ljust(IFREQ_SIZE, b"\0"))
        finally:
            posix.close(descriptor)

    # What the program starts with

    def chdir(self, path: str) -> None:
        """Change the working directory.

        See chdir(2).
        """
        try:
            posix.chdir(path)
        except OSError as error:
            raise SyscallError("chdir", error.errno or 0, path) from None

    def clear_environment(self) -> None:
        """Empty the C library's environment, clearenv(3)."""
        call("clearenv")

    def set_variable(self, name: str, value: str) -> None:
        """Set a variable of the C library's environment, setenv(3)."""
        _named("setenv", posix.putenv, encode(name), encode(value))

    def take_foreground(self, terminal: int) -> None:
        """Make our process group the foreground of `terminal`; SIGTTOU must be blocked.

        See tcsetpgrp(3).
        """
        _named("tcsetpgrp", posix.tcsetpgrp, terminal, posix.getpgrp())

    def exec(self, arguments: "Sequence[bytes]", search_path: bytes | None) -> "ExecError":
        """Become the program `arguments[0]`, as execvp(3) finds it in `search_path`.

        Returns only where that failed, with the reason.
        """
        words = list(arguments)
        _exec_path(words)
        from pyinit import execvp

        try:
            execvp.execvp(words, search_path)
        except execvp.ExecError as error:
            return error

    def set_signals(self, ignored: "Iterable[int]", mask: "Iterable[int]") -> None:
        """Ignore exactly `ignored`, default for the rest, then block exactly `mask`, signal(7)."""
        ignored = frozenset(ignored)
        for number in _signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP}:
            wanted = _signal.SIG_IGN if number in ignored else _signal.SIG_DFL
            if _signal.getsignal(number) != wanted:
                _named("sigaction", _signal.signal, number, wanted)
        _named("sigprocmask", _signal.pthread_sigmask, _signal.SIG_SETMASK, mask)


def _sigset(signals: "Iterable[int]") -> bytes:
    """Return a sigset_t: an array of unsigned longs, bit n-1 of it for signal n."""
    bits = sum(1 << (number - 1) for number in signals)
    size = LONG_SIZE
    words = (bits >> 8 * at & (1 << 8 * size) - 1 for at in range(0, SIGSET_SIZE, size))
    return b"".join(word.to_bytes(size, sys.byteorder) for word in words)


def _exec_path(words: list[bytes]) -> None:
    """Exec a program that is named by its path; return where execvp(3) has to say more.

    So the way to pyinit doesn't take the reading of one more file.
    """
    if b"/" in words[0]:
        try:
            posix.execv(words[0], words)
        except (OSError, ValueError):
            return
