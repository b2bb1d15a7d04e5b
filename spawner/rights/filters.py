"""Seccomp filters: read by the launcher, and installed by the init right before its exec.

It is a program of classic BPF, as seccomp_export_bpf(3) writes it: an array of struct sock_filter
in this machine's own form, linux/filter.h. From its installation on it judges every call of the
process: so what is left then is to look whether it's in force, by one read(2), and execve(2).
"""

import posix

from spawner import steps
from spawner.errors import INIT, LAUNCHER, SetupError, mark
from spawner.linux import BPF_MAXINSNS, SOCK_FILTER_SIZE
from spawner.rights.rights import DEFAULT
from spawner.steps import Step, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.linux import Kernel

STATUS = "/proc/self/status"

_EBADF = 9  # asm-generic/errno-base.h, the same on all machines

_MOST = SOCK_FILTER_SIZE * BPF_MAXINSNS

_HINT = (
    "a filter is a file of classic BPF, as seccomp_export_bpf(3) writes it and `bwrap --seccomp` "
    f"takes it: 1 to {BPF_MAXINSNS} instructions of {SOCK_FILTER_SIZE} bytes"
)


def read(kernel: "Kernel", source: "str | int") -> bytes:
    """Return the filter in a file, given by path or descriptor; raises SetupError.

    A descriptor above the standard ones is closed on exec from then on: it was for us.
    """
    name = shown(source)
    if isinstance(source, str):
        # O_NONBLOCK: nothing that lies in the place of the file may hold us.
        flags = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY
        opened = steps.attempt(
            LAUNCHER, f"open the seccomp filter {name}", lambda: kernel.open(source, flags)
        )
        try:
            return _checked(name, _content(name, opened))
        finally:
            posix.close(opened)
    found = _checked(name, _content(name, source))
    if source > 2:
        posix.set_inheritable(source, False)
    return found


def shown(source: "str | int") -> str:
    """Return the source of a filter as messages name it."""
    return f"descriptor {source}" if isinstance(source, int) else one_line(source)


def _content(name: str, descriptor: int) -> bytes:
    """Return the content of a regular file, read up to the greatest size of a filter."""
    found = b""
    try:
        if posix.fstat(descriptor).st_mode & 0o170000 != 0o100000:  # S_IFMT, S_IFREG, inode(7)
            raise SetupError(
                f"the seccomp filter {name} is not a regular file",
                stage=LAUNCHER,
                hint="save the filter to a file first: pipes and devices aren't accepted",
            )
        while block := posix.pread(descriptor, _MOST + 1 - len(found), len(found)):
            found += block
    except OSError as error:
        if isinstance(error, SetupError):
            raise
        what = f"read the seccomp filter {name}"
        hint = f"{name} isn't open for reading: {descriptor}<FILE in a shell opens it"
        raise SetupError(
            what,
            stage=LAUNCHER,
            syscall="read",
            errno=error.errno,
            hint=hint if error.errno == _EBADF else None,
        ) from None
    return found


def _checked(name: str, program: bytes) -> bytes:
    """Return a filter after checking its length; raises SetupError."""
    # No instruction begins like that, whatever the length.
    if program.lstrip()[:1] == b"{":
        raise SetupError(
            f"the seccomp filter {name} is JSON, as container engines have their profiles",
            stage=LAUNCHER,
            hint=f"{mark('--seccomp default')} is a profile like theirs; another has to be "
            "compiled, by seccomp_export_bpf(3) for instance",
        )
    if 0 < len(program) <= _MOST and len(program) % SOCK_FILTER_SIZE == 0:
        return program
    size = f"more than {_MOST}" if len(program) > _MOST else str(len(program))
    raise SetupError(
        f"the seccomp filter {name} has {size} bytes, which is not the length of a filter",
        stage=LAUNCHER,
        hint=_HINT,
    )


class Watch:
    """A look at the filters in force, by a file that is opened while it still can be."""

    def __init__(self) -> None:
        self._status = -1
        self._before = (0, 0)

    def open(self, kernel: "Kernel") -> None:
        """Look which filters are in force before another, once; raises SyscallError."""
        if self._status < 0:
            self._before = _in_force(kernel.read_file(STATUS))
            self._status = kernel.open(STATUS, posix.O_RDONLY)

    def sees_another(self) -> bool:
        """Tell whether another filter is in force now, as far as that lets us look."""
        try:
            after = _in_force(posix.read(self._status, 4096))
        except OSError:
            return True  # this answer, unlike the one before, can only be the filter's
        return after[0] == FILTERED and (after != self._before or after == (FILTERED, 0))


def install(program: bytes, source: "str | int", watch: Watch) -> Step:
    """Install a filter for the program's system calls, seccomp(2)."""
    name = shown(source)
    what = f"install the seccomp filter {name}"
    length = len(program) // SOCK_FILTER_SIZE

    def act(kernel: "Kernel", _: str) -> None:
        # What tells of a failed exec couldn't be read any more, under some filters.
        from pyinit import execerror, execvp  # noqa: F401

        watch.open(kernel)
        kernel.install_filter(program)
        if not watch.sees_another():
            raise SetupError(f"{what}: the kernel reports no such filter", stage=INIT)

    return Step(
        INIT,
        what,
        f"prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, {{{length}, {name}}})",
        act,
        topic="install-profile" if source == DEFAULT else "install-filter",
        last_act=True,
    )


def killed(source: "str | int") -> str:
    """Return the message about a program that was killed by SIGSYS under a filter, seccomp(2)."""
    which = "that it doesn't allow"
    if source == DEFAULT:
        which = "of another architecture, as 32-bit programs do"
    return (
        f"the program was killed by SIGSYS, which is how the seccomp filter {shown(source)} ends a "
        f"process that makes a system call {which}"
    )


FILTERED = 2
"""The seccomp mode of a process with filters, proc_pid_status(5)."""


def _in_force(status: bytes) -> tuple[int, int]:
    """Return the seccomp mode and the number of filters, which is 0 before Linux 5.9."""
    pairs = (line.partition(b":") for line in status.splitlines())
    found = {name: value.strip() for name, _, value in pairs}
    mode, count = (found.get(name, b"0") for name in (b"Seccomp", b"Seccomp_filters"))
    return int(mode), int(count)
