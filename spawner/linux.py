"""Typed system calls and the kernel's constants; the C library is bound only once.

Everything that touches ctypes is in here. `_ctypes` is what the `ctypes` package is made of: it
brings the calls for 0.4 ms of start-up where the package costs 3.4 ms. `dlopen(NULL)` finds the
symbols of whatever C library the interpreter runs on, glibc or musl. A function is bound when it's
first called.

`Kernel` is handed in wherever something is done to the host, so that a test can hand in one that
records, or one that refuses. Every method raises SyscallError.

(One file, since each more would cost a start 0.1 ms.)
"""

import _signal
import posix
import sys
from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_USE_ERRNO,
    Array,
    CFuncPtr,
    _SimpleCData,
    dlopen,
    dlsym,
    get_errno,
    sizeof,
)

from pyinit import SI_PASSED_ON, signal_bits
from spawner.errors import SetupError, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, ParamSpec, TypeVar

    from pyinit.execvp import ExecError
    from spawner.host.paths import Absent
    from spawner.host.proc import Mount
    from spawner.host.running import Answer, Wait

    P = ParamSpec("P")
    T = TypeVar("T")

# linux/mount.h; the first four have the values of MOUNT_ATTR_RDONLY and so on
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_NOSYMFOLLOW = 256
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

OPEN_TREE_CLONE = 1
MOVE_MOUNT_F_EMPTY_PATH = 4
MOVE_MOUNT_T_EMPTY_PATH = 64
FSOPEN_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
FSMOUNT_CLOEXEC = 1

# sys/mount.h
MNT_DETACH = 2

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36

# linux/seccomp.h
SECCOMP_MODE_FILTER = 2

# linux/filter.h, linux/bpf_common.h
SOCK_FILTER_SIZE = 8
BPF_MAXINSNS = 4096
"""Instructions in a filter; each is a struct sock_filter of SOCK_FILTER_SIZE bytes."""

# linux/capability.h
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_LINUX_CAPABILITY_U32S_3 = 2

# linux/keyctl.h
KEYCTL_JOIN_SESSION_KEYRING = 1
KEYCTL_READ = 11
KEY_SPEC_SESSION_KEYRING = -3

# bits/socket.h, bits/socket_type.h
AF_INET = 2
SOCK_DGRAM = 2

# linux/nsfs.h: _IO(0xb7, n)
NS_GET_PARENT = 0xB702
NS_GET_NSTYPE = 0xB703

# linux/fcntl.h
AT_EMPTY_PATH = 0x1000
AT_STATX_DONT_SYNC = 0x4000
AT_RECURSIVE = 0x8000

# linux/stat.h
STATX_MNT_ID = 0x1000
STX_MNT_ID = 144
"""The offset of stx_mnt_id in a struct statx."""

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
"""Bytes in a siginfo_t, siginfo.h, and in a struct signalfd_siginfo, linux/signalfd.h."""


class Int(_SimpleCData):  # type: ignore[type-arg]  # generic for the type checker only
    """A C int."""

    _type_ = "i"


class ULong(_SimpleCData):  # type: ignore[type-arg]
    """A C unsigned long."""

    _type_ = "L"


class String(_SimpleCData):  # type: ignore[type-arg]
    """A C string, NULL for None; also any structure that the kernel only reads."""

    _type_ = "z"


class Char(_SimpleCData):  # type: ignore[type-arg]
    """A C char."""

    _type_ = "c"


class Room(Array):  # type: ignore[type-arg]
    """Room for a structure for the kernel to write: a struct statx, linux/stat.h, or less."""

    _type_ = Char
    _length_ = 256


class Code(Array):  # type: ignore[type-arg]
    """Room for the longest filter."""

    _type_ = Char
    _length_ = SOCK_FILTER_SIZE * BPF_MAXINSNS


LONG_SIZE = sizeof(ULong)
"""Bytes in a C long."""

_ARGUMENTS = {
    "capget": (String, String),  # capget(2); sys/capability.h is another library's
    "capset": (String, String),  # capset(2)
    "clearenv": (),  # clearenv(3), stdlib.h
    "fsconfig": (ULong, ULong, ULong, String, String, ULong),  # fsconfig(2)
    "fsmount": (ULong, ULong, ULong, ULong),  # fsmount(2)
    "fsopen": (ULong, String, ULong),  # fsopen(2)
    "inotify_add_watch": (Int, String, Int),  # inotify_add_watch(2), sys/inotify.h
    "inotify_init1": (Int,),  # inotify_init(2), sys/inotify.h
    "ioctl": (Int, ULong, String),  # ioctl(2), sys/ioctl.h
    "landlock_add_rule": (ULong, ULong, ULong, String, ULong),  # landlock_add_rule(2)
    "landlock_create_ruleset": (ULong, String, ULong, ULong),  # landlock_create_ruleset(2)
    "landlock_restrict_self": (ULong, ULong, ULong),  # landlock_restrict_self(2)
    "mount": (String, String, String, ULong, String),  # mount(2), sys/mount.h
    "mount_setattr": (ULong, ULong, String, ULong, String, ULong),  # mount_setattr(2)
    "move_mount": (ULong, ULong, String, ULong, String, ULong),  # move_mount(2)
    "open_tree": (ULong, ULong, String, ULong),  # open_tree(2)
    "pidfd_send_signal": (ULong, ULong, ULong, String, ULong),  # pidfd_send_signal(2)
    "pivot_root": (String, String),  # pivot_root(2), which C libraries export undeclared
    "prctl": (Int, ULong, ULong, ULong, ULong),  # prctl(2), sys/prctl.h
    "sethostname": (String, ULong),  # sethostname(2), unistd.h
    "setns": (Int, Int),  # setns(2), sched.h
    "signalfd": (Int, String, Int),  # signalfd(2), sys/signalfd.h
    "socket": (Int, Int, Int),  # socket(2), sys/socket.h
    "syscall": (ULong, ULong, ULong, ULong, ULong),  # syscall(2), unistd.h
    "statx": (Int, String, Int, Int, String),  # statx(2), sys/stat.h
    "umount2": (String, Int),  # umount2(2), sys/mount.h
    "unshare": (Int,),  # unshare(2), sched.h
}
"""The C functions in use, with the types of their arguments; each returns -1 for an error."""

_KEYCTL = {
    "aarch64": (219, 311),
    "armv": (219, 311),
    "i386": (250, 288),
    "i486": (250, 288),
    "i586": (250, 288),
    "i686": (250, 288),
    "loongarch": (219, 0),
    "mips": (5241, 4282),
    "ppc": (271, 271),
    "riscv": (219, 219),
    "s390": (280, 280),
    "x86_64": (250, 288),
}
"""The number of keyctl(2), for which C libraries have no function, asm/unistd.h.

By the beginning of what uname(2) calls the machine; for longs of 64 bits and of 32 (setarch(8) has
a 64-bit machine called by the name of its 32-bit kind).
"""

_CALLS = {
    "fsconfig": 431,
    "fsmount": 432,
    "fsopen": 430,
    "landlock_add_rule": 445,
    "landlock_create_ruleset": 444,
    "landlock_restrict_self": 446,
    "mount_setattr": 442,
    "move_mount": 429,
    "open_tree": 428,
    "pidfd_send_signal": 424,
}
"""System calls without a C function everywhere, by number, the same on every machine.

asm-generic/unistd.h; the function is syscall(2).
"""

_bound: "dict[str, _Function]" = {}


class _Function(CFuncPtr):
    """A function of the C library that returns an int."""

    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = Int


def call(name: str, *arguments: "int | bytes | Room | None") -> int:
    """Call the C function `name` and return its result; raises SyscallError for -1."""
    function = _bound.get(name)
    if function is None:
        function = _bound[name] = _bind(name)
    result: int = function(*arguments)
    return result


def system_call(name: str, *arguments: "int | bytes | None") -> int:
    """Make a system call that no C function stands for everywhere; raises SyscallError."""
    return call(name, _CALLS[name], *arguments)


def _bind(name: str) -> _Function:
    """Return the C function `name`, with its types and its check."""

    def check(result: "Any", _function: object, _arguments: object) -> "Any":
        if result == -1:
            raise SyscallError(name, get_errno())
        return result

    handle = dlopen(None, 0)  # type: ignore[arg-type]  # NULL
    function = _Function(dlsym(handle, "syscall" if name in _CALLS else name))
    function.argtypes = _ARGUMENTS[name]
    function.errcheck = check
    return function


# linux/eventpoll.h and sys/signalfd.h give these the values of the open flags.
_CLOEXEC = posix.O_CLOEXEC
_NONBLOCK = posix.O_NONBLOCK


def encode(text: str) -> bytes:
    """Return a path, name or argument as the bytes that it stands for (PEP 383)."""
    return text.encode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def named(syscall: str, do: "Callable[P, T]", *arguments: "P.args", **words: "P.kwargs") -> "T":
    """Call a function of Python's own; raises SyscallError, which names the system call."""
    try:
        return do(*arguments, **words)
    except OSError as error:
        raise SyscallError(syscall, error.errno or 0) from None


class Kernel:
    """The host's own kernel."""

    __slots__ = ()

    speaks = False
    """Whether this kernel object explains its calls on stderr (`telling`)."""

    # Processes

    def fork(self, child: str) -> int:
        """Duplicate this process; return the child's pid, and 0 in the child.

        `child` says what it will be, to whoever tells of it (`telling`). See fork(2).
        """
        return named("fork", posix.fork)

    def fork_aside(self, purpose: str = "") -> int:
        """Fork a child that isn't part of the container; `purpose` says what for."""
        del purpose
        return named("fork", posix.fork)

    def pidfd_open(self, pid: int) -> int:
        """Return a descriptor of the process `pid`, closed on exec, pidfd_open(2)."""
        return named("pidfd_open", posix.pidfd_open, pid)

    def pidfd_send_signal(self, pidfd: int, number: int) -> None:
        """Send a signal to the process of `pidfd`, pidfd_send_signal(2)."""
        named("pidfd_send_signal", _signal.pidfd_send_signal, pidfd, number)

    def pass_on_signal(self, pidfd: int, number: int) -> None:
        """Send on a signal that came from the terminal, marked by SI_PASSED_ON.

        Where such marks are refused, it's a signal like any other. See pidfd_send_signal(2).
        """
        # The beginning of a siginfo_t, sigaction(2): si_signo, si_errno, si_code.
        info = b"".join(
            value.to_bytes(4, sys.byteorder, signed=True) for value in (number, 0, SI_PASSED_ON)
        )
        name = "pidfd_send_signal"
        try:
            call(name, _CALLS[name], pidfd, number, info.ljust(SIGINFO_SIZE, b"\0"), 0)
        except SyscallError as error:
            from errno import ESRCH

            if error.errno == ESRCH:
                raise
            self.pidfd_send_signal(pidfd, number)

    def set_parent_death_signal(self, number: int) -> None:
        """Have `number` sent to this process when its parent dies, PR_SET_PDEATHSIG(2const).

        The parent is a thread of a process. A set-id exec and a change of credentials clear it.
        """
        call("prctl", PR_SET_PDEATHSIG, number, 0, 0, 0)

    def become_subreaper(self) -> None:
        """Adopt all orphans below this process, PR_SET_CHILD_SUBREAPER(2const)."""
        call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def make_process_group(self) -> None:
        """Put this process into a process group of its own, setpgid(2)."""
        named("setpgid", posix.setpgid, 0, 0)

    def move_to_process_group(self, pid: int, group: int) -> None:
        """Put a child that hasn't executed anything into a process group, setpgid(2)."""
        named("setpgid", posix.setpgid, pid, group)

    def setgroups(self, groups: "Iterable[int]") -> None:
        """Replace the supplementary groups, setgroups(2)."""
        named("setgroups", posix.setgroups, list(groups))

    def setgid(self, group: int) -> None:
        """Change the real, effective and saved group id, setresgid(2)."""
        named("setresgid", posix.setresgid, group, group, group)

    def setuid(self, user: int) -> None:
        """Change the real, effective and saved user id, setresuid(2)."""
        named("setresuid", posix.setresuid, user, user, user)

    def run_helper(self, arguments: "Sequence[str]", wait: "Wait") -> "Answer":
        """Run a program to its end, as `running.run` does; also raises what `wait` raises."""
        from spawner.host import running

        try:
            return running.run(arguments, wait)
        except SetupError:
            raise
        except OSError as error:
            raise SyscallError("posix_spawn", error.errno or 0) from None

    def leave_session_keyring(self) -> None:
        """Get a new session keyring in place of the caller's, KEYCTL_JOIN_SESSION_KEYRING(2const).

        A kernel without keys (ENOSYS) has none to hide. A seccomp filter may refuse the call
        (EPERM or ENOSYS, as those of container engines do): filters are inherited, so what comes
        of this process is refused the caller's keys as well. That is asked for, since a filter can
        tell one use of the call from another; what else hides behind these errnos is an error.
        """
        number = _keyctl_number()
        try:
            _keyctl(number, KEYCTL_JOIN_SESSION_KEYRING, 0)
        except SyscallError as error:
            from errno import ENOSYS, EPERM

            if error.errno not in (EPERM, ENOSYS) or _has_session_keys(number, error.errno):
                raise

    # Descriptors

    def pipe(self) -> tuple[int, int]:
        """Return the reading and the writing end of a pipe, closed on exec, pipe(2)."""
        return named("pipe2", posix.pipe)

    def open(self, path: str, flags: int) -> int:
        """Open `path`, closed on exec, open(2)."""
        try:
            return posix.open(path, flags | _CLOEXEC)
        except OSError as error:
            raise SyscallError("openat", error.errno or 0, path) from None

    def open_directory(self, path: str) -> int:
        """Return a descriptor of a directory; no part of `path` may be a symbolic link."""
        from spawner.host import paths

        try:
            return paths.open_directory(path)
        except OSError as error:
            raise SyscallError("openat", error.errno or 0, error.filename) from None

    def mount_id(self, descriptor: int) -> int | None:
        """Return the id of the mount that a descriptor is in, or None on older kernels.

        It asks no file system, which might not answer. See statx(2), STATX_MNT_ID.
        """
        found = Room()
        flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC
        try:
            call("statx", descriptor, b"", flags, STATX_MNT_ID, found)
        except OSError as error:
            from errno import EINVAL, ENOSYS, EPERM

            # No errno is a C library without it; with EPERM a filter answers that doesn't know it,
            # and with EINVAL a C library that stands in for an older kernel.
            if error.errno in (None, EINVAL, ENOSYS, EPERM):
                return None
            raise
        raw = bytes(found)
        if not int.from_bytes(raw[:4], sys.byteorder) & STATX_MNT_ID:
            return None
        return int.from_bytes(raw[STX_MNT_ID : STX_MNT_ID + 8], sys.byteorder)

    def open_directory_above(self, directory: int) -> int:
        """Return a descriptor of the parent of an open directory."""
        flags = posix.O_PATH | posix.O_DIRECTORY | _CLOEXEC
        try:
            return posix.open("..", flags, dir_fd=directory)
        except OSError as error:
            raise SyscallError("openat", error.errno or 0) from None

    def fchdir(self, directory: int) -> None:
        """Change the working directory to an open directory, fchdir(2)."""
        named("fchdir", posix.fchdir, directory)

    def signalfd(self, signals: "Iterable[int]") -> int:
        """Return a descriptor from which pending signals among `signals` can be read.

        It is closed on exec and doesn't block; the signals must be blocked. See signalfd(2).
        """
        return call("signalfd", -1, _sigset(signals), _CLOEXEC | _NONBLOCK)

    def keep_over_exec(self, descriptor: int) -> None:
        """Leave a descriptor open on exec, FD_CLOEXEC of fcntl(2)."""
        named("fcntl", posix.set_inheritable, descriptor, True)

    def openpty(self) -> tuple[int, int]:
        """Return the master and the slave side of a pseudo-terminal, closed on exec, openpty(3)."""
        return named("openpty", posix.openpty)

    def replace_stream(self, stream: int, descriptor: int) -> None:
        """Put a copy of `descriptor` in the place of a standard stream, dup2(2)."""
        named("dup2", posix.dup2, descriptor, stream)

    # Namespaces and what is in them

    def unshare(self, flags: int) -> None:
        """Enter new namespaces; NEWPID and NEWTIME are for children only, unshare(2)."""
        call("unshare", flags)

    def setns(self, descriptor: int, kind: int) -> None:
        """Enter the namespace of a descriptor; NEWPID takes effect for children only.

        Of a pidfd, those of its process of all the kinds at once. See setns(2).
        """
        call("setns", descriptor, kind)

    def parent_namespace(self, descriptor: int) -> int:
        """Return a descriptor of the namespace around a user or PID namespace, NS_GET_PARENT.

        It is closed on exec. EPERM: it's out of our sight, NS_GET_PARENT(2const).
        """
        return call("ioctl", descriptor, NS_GET_PARENT, None)

    def kind_of_namespace(self, descriptor: int) -> int:
        """Return the CLONE_NEW flag of the namespace that a file stands for.

        ENOTTY: it stands for none, NS_GET_NSTYPE(2const).
        """
        return call("ioctl", descriptor, NS_GET_NSTYPE, None)

    def hide(self) -> None:
        """Keep this process's memory, descriptors and program from others, PR_SET_DUMPABLE(2const).

        Until the next exec only CAP_SYS_PTRACE in our own user namespace gives access to them.
        """
        call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)

    def write_file(self, path: str, data: bytes) -> None:
        """Write `data` into an existing file by a single write(2), as /proc requires."""
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
        """Mount something, or change what is mounted at `target`, mount(2)."""
        words = [None if word is None else encode(word) for word in (source, target, kind, data)]
        try:
            call("mount", words[0], words[1], words[2], flags, words[3])
        except SyscallError as error:
            raise SyscallError("mount", error.errno or 0, target) from None

    def open_source(self, path: str) -> int:
        """Return a descriptor of what is to be bound elsewhere, open(2): O_PATH."""
        return self.open(path, posix.O_PATH)

    def identity(self, descriptor: int) -> tuple[int, int]:
        """Return what tells the file of a descriptor from all others, fstat(2), inode(7)."""
        found = named("fstat", posix.fstat, descriptor)
        return found.st_dev, found.st_ino

    def device(self, descriptor: int) -> int | None:
        """Return the number of a character device, None for any other file, fstat(2)."""
        found = named("fstat", posix.fstat, descriptor)
        return found.st_rdev if found.st_mode & 0o170000 == 0o020000 else None

    def is_directory(self, descriptor: int) -> bool:
        """Tell whether a descriptor is that of a directory, fstat(2)."""
        return named("fstat", posix.fstat, descriptor).st_mode & 0o170000 == 0o040000

    def walk(self, path: str, absent: "Absent") -> tuple[int, str]:
        """Return a descriptor of what a path leads to in our root, and its path without links.

        `absent` is called for what isn't there, as by `paths.walk`.
        """
        from spawner.host import paths

        try:
            return paths.walk(path, absent)
        except (SyscallError, SetupError):
            raise
        except OSError as error:
            raise SyscallError("openat", error.errno or 0, error.filename) from None

    def make_place(self, directory: int, name: str, *, file: bool) -> None:
        """Make an empty file or directory in an open directory, to be mounted on.

        Everybody may pass it, whatever the umask. See mkdir(2) and mknod(2).
        """
        if file:
            named("mknodat", posix.mknod, name, 0o100444, dir_fd=directory)
        else:
            named("mkdirat", posix.mkdir, name, 0o755, dir_fd=directory)
            named("fchmodat", posix.chmod, name, 0o755, dir_fd=directory)

    def symlink(self, text: str, directory: int, name: str) -> None:
        """Make a symbolic link in an open directory, symlink(2)."""
        named("symlinkat", posix.symlink, text, name, dir_fd=directory)

    def clone_tree(self, descriptor: int) -> int:
        """Return a descriptor of a copy of the mounts at and below a file; mounted nowhere yet.

        See open_tree(2).
        """
        flags = OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH | _CLOEXEC
        return call("open_tree", _CALLS["open_tree"], descriptor, b"", flags)

    def set_mount_flags(self, mount: int, flags: int) -> None:
        """Add flags to a mount and all below it; they have the values of mount(2)'s.

        See mount_setattr(2).
        """
        # A struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
        wanted = b"".join(each.to_bytes(8, sys.byteorder) for each in (flags, 0, 0, 0))
        name = "mount_setattr"
        call(name, _CALLS[name], mount, b"", AT_EMPTY_PATH | AT_RECURSIVE, wanted, len(wanted))

    def make_file_system(self, kind: str, options: "Mapping[str, str | None]", flags: int) -> int:
        """Return a descriptor of a new file system; it's mounted nowhere yet.

        An option that is None is a word by itself.
        See fsopen(2), fsconfig(2), fsmount(2) and, for the options, tmpfs(5) and mount(8).
        """
        context = call("fsopen", _CALLS["fsopen"], encode(kind), FSOPEN_CLOEXEC)
        try:
            for name, value in options.items():
                how = FSCONFIG_SET_FLAG if value is None else FSCONFIG_SET_STRING
                words = (encode(name), None if value is None else encode(value))
                call("fsconfig", _CALLS["fsconfig"], context, how, *words, 0)
            create = FSCONFIG_CMD_CREATE
            call("fsconfig", _CALLS["fsconfig"], context, create, None, None, 0)
            return call("fsmount", _CALLS["fsmount"], context, FSMOUNT_CLOEXEC, flags)
        finally:
            posix.close(context)

    def attach(self, mount: int, place: int) -> None:
        """Mount what is mounted nowhere yet on an open file, move_mount(2)."""
        flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
        call("move_mount", _CALLS["move_mount"], mount, b"", place, b"", flags)

    def pivot_root(self) -> None:
        """Make the mount of the working directory the root, and mount the old root over it.

        See pivot_root(2).
        """
        call("pivot_root", b".", b".")

    def capacity(self, descriptor: int) -> tuple[int, int]:
        """Return the bytes and the files that a file system can hold, fstatvfs(3)."""
        found = named("fstatfs", posix.fstatvfs, descriptor)
        return found.f_blocks * found.f_frsize, found.f_files

    def mounts(self, directory: int | None = None) -> "list[Mount]":
        """Return the mounts in our mount namespace and root, proc_pid_mountinfo(5).

        `directory` is an open /proc, where it isn't that of our root.
        """
        from spawner.host import proc

        found = proc.read("/proc/self/mountinfo", proc=directory)
        return proc.mounts(found.decode("utf-8", "surrogateescape"))

    def directory(self) -> str:
        """Return the path of the working directory, getcwd(2)."""
        return named("getcwd", posix.getcwd)

    def unmount(self, target: str) -> None:
        """Unmount the topmost mount at `target` lazily: files in use stay until they are closed.

        See umount2(2), MNT_DETACH.
        """
        try:
            call("umount2", encode(target), MNT_DETACH)
        except SyscallError as error:
            raise SyscallError("umount2", error.errno or 0, target) from None

    def mkdir(self, path: str) -> None:
        """Make a directory with mode 755; no part of its path may be a symbolic link.

        See mkdir(2).
        """
        above, name = self._open_above(path)
        try:
            posix.mkdir(name, 0o755, dir_fd=above)
        except OSError as error:
            raise SyscallError("mkdir", error.errno or 0, path) from None
        finally:
            posix.close(above)

    def rmdir(self, path: str, directory: int | None = None) -> None:
        """Remove an empty directory by its path, or by its name in `directory`.

        See rmdir(2).
        """
        above, name = self._open_above(path) if directory is None else (-1, _name(path))
        try:
            posix.rmdir(name, dir_fd=above if directory is None else directory)
        except OSError as error:
            raise SyscallError("rmdir", error.errno or 0, path) from None
        finally:
            if above >= 0:
                posix.close(above)

    def _open_above(self, path: str) -> tuple[int, str]:
        """Return a descriptor of the parent directory of `path`, and the name in it."""
        above, slash, _ = path.rstrip("/").rpartition("/")
        return self.open_directory(above + slash), _name(path)

    def make_file(self, path: str, data: bytes) -> None:
        """Make a new file that everybody may read, whatever the umask, open(2)."""
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL
        descriptor = self.open(path, flags)
        try:
            posix.write(descriptor, data)
            posix.fchmod(descriptor, 0o644)
        except OSError as error:
            raise SyscallError("write", error.errno or 0, path) from None
        finally:
            posix.close(descriptor)

    def sethostname(self, name: str) -> None:
        """Set the host name of the UTS namespace, sethostname(2)."""
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

    def read_file(self, path: str) -> bytes:
        """Return the content of a small file in /proc."""
        descriptor = self.open(path, posix.O_RDONLY)
        try:
            return posix.read(descriptor, 4096)
        except OSError as error:
            raise SyscallError("read", error.errno or 0, path) from None
        finally:
            posix.close(descriptor)

    # What the program starts with

    def prlimit(self, number: int, limits: tuple[int, int] | None = None) -> tuple[int, int]:
        """Return the soft and the hard limit of a resource, after setting `limits` if given.

        In both -1 is for unlimited. See prlimit(2).
        """
        import resource

        try:
            if limits is not None:
                resource.prlimit(0, number, limits)
            return resource.prlimit(0, number)
        except ValueError:  # that's how it says EINVAL
            from errno import EINVAL

            raise SyscallError("prlimit", EINVAL) from None
        except OSError as error:
            raise SyscallError("prlimit", error.errno or 0) from None

    def setpriority(self, nice: int) -> None:
        """Set the nice value of this process.

        See setpriority(2).
        """
        named("setpriority", posix.setpriority, posix.PRIO_PROCESS, 0, nice)

    def getpriority(self) -> int:
        """Return the nice value of this process.

        See getpriority(2).
        """
        return named("getpriority", posix.getpriority, posix.PRIO_PROCESS, 0)

    def prctl(self, operation: int, first: int = 0, second: int = 0) -> int:
        """Return what an operation on this process answers, prctl(2)."""
        return call("prctl", operation, first, second, 0, 0)

    def capget(self) -> tuple[int, int, int]:
        """Return the effective, the permitted and the inheritable set, as bits.

        See capget(2).
        """
        found = Room()
        call("capget", _capability_header(), found)
        # Two structures of three u32: the lower half of each set, then the upper half.
        words = [
            int.from_bytes(bytes(found)[at : at + 4], sys.byteorder)
            for at in range(0, 12 * _LINUX_CAPABILITY_U32S_3, 4)
        ]
        effective, permitted, inheritable = (words[i] | words[i + 3] << 32 for i in range(3))
        return effective, permitted, inheritable

    def capset(self, effective: int, permitted: int, inheritable: int) -> None:
        """Set the three sets of this process, capset(2)."""
        sets = (effective, permitted, inheritable)
        words = [each & 0xFFFFFFFF for each in sets] + [each >> 32 for each in sets]
        data = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
        call("capset", _capability_header(), data)

    def install_filter(self, program: bytes) -> None:
        """Have a program of classic BPF judge each system call from now on, seccomp(2).

        That takes no_new_privs, or CAP_SYS_ADMIN in our own user namespace (EACCES).
        """
        from _ctypes import addressof

        code: Any = Code()
        head: Any = Room()
        code.raw = program
        # struct sock_fprog, linux/filter.h: an unsigned short, and a pointer where pointers go.
        length = len(program) // SOCK_FILTER_SIZE
        head.raw = length.to_bytes(2, sys.byteorder).ljust(LONG_SIZE, b"\0") + addressof(
            code
        ).to_bytes(LONG_SIZE, sys.byteorder)
        call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, addressof(head), 0, 0)

    def chdir(self, path: str) -> None:
        """Change the working directory, chdir(2)."""
        try:
            posix.chdir(path)
        except OSError as error:
            raise SyscallError("chdir", error.errno or 0, path) from None

    def chdir_by_text(self, path: str) -> None:
        """Change the working directory; symbolic links are followed by their text, even in /proc.

        As chdir(2) does otherwise, whose name its errors have.
        """
        from spawner.host import paths

        try:
            descriptor = paths.follow_directory(path)
            try:
                posix.fchdir(descriptor)
            finally:
                posix.close(descriptor)
        except OSError as error:
            raise SyscallError("chdir", error.errno or 0, path) from None

    def chroot(self) -> None:
        """Make the working directory the root directory, chroot(2)."""
        named("chroot", posix.chroot, ".")

    def clear_environment(self) -> None:
        """Empty the C library's environment, clearenv(3)."""
        call("clearenv")

    def set_variable(self, name: str, value: str) -> None:
        """Set a variable of the C library's environment, setenv(3)."""
        named("setenv", posix.putenv, encode(name), encode(value))

    def take_foreground(self, terminal: int) -> None:
        """Make this process group the foreground of `terminal`; SIGTTOU has to be blocked.

        See tcsetpgrp(3).
        """
        named("tcsetpgrp", posix.tcsetpgrp, terminal, posix.getpgrp())

    def exec(self, arguments: "Sequence[bytes]", search_path: bytes | None) -> "ExecError":
        """Execute the program `arguments[0]`, looked up in `search_path` as by execvp(3).

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
        """Ignore only `ignored`, reset the other signals, then block only `mask`, signal(7)."""
        ignored = frozenset(ignored)
        valid = _signal.valid_signals()  # all but the C library's own, nptl(7)
        for number in valid - {_signal.SIGKILL, _signal.SIGSTOP}:
            wanted = _signal.SIG_IGN if number in ignored else _signal.SIG_DFL
            if _signal.getsignal(number) != wanted:
                named("sigaction", _signal.signal, number, wanted)
        named("sigprocmask", _signal.pthread_sigmask, _signal.SIG_SETMASK, valid.intersection(mask))


def _capability_header() -> bytes:
    """Return a struct __user_cap_header_struct for this process."""
    return b"".join(n.to_bytes(4, sys.byteorder) for n in (_LINUX_CAPABILITY_VERSION_3, 0))


def _name(path: str) -> str:
    """Return the last part of a path."""
    return path.rstrip("/").rpartition("/")[2] or "."


def _keyctl_number() -> int:
    """Return the number of keyctl(2) on this host; raises SyscallError if it isn't known."""
    machine = posix.uname().machine
    for name, numbers in _KEYCTL.items():
        if machine.startswith(name) and (number := numbers[LONG_SIZE == 4]):
            return number
    from errno import ENOTSUP

    raise SyscallError("keyctl", ENOTSUP)


def _keyctl(number: int, operation: int, key: int) -> None:
    try:
        call("syscall", number, operation, key, 0, 0)
    except SyscallError as error:
        raise SyscallError("keyctl", error.errno or 0) from None


def _has_session_keys(number: int, errno: int) -> bool:
    """Tell whether this process can see its session keyring."""
    try:
        _keyctl(number, KEYCTL_READ, KEY_SPEC_SESSION_KEYRING)
    except SyscallError as error:
        return error.errno != errno
    return True


def _sigset(signals: "Iterable[int]") -> bytes:
    """Return a sigset_t: an array of unsigned longs, bit n-1 of it for signal n."""
    bits = signal_bits(signals)
    size = LONG_SIZE
    words = (bits >> 8 * at & (1 << 8 * size) - 1 for at in range(0, SIGSET_SIZE, size))
    return b"".join(word.to_bytes(size, sys.byteorder) for word in words)


def _exec_path(words: list[bytes]) -> None:
    """Execute a program named by its path; return if execvp(3) has to do more.

    So the way to pyinit doesn't take the reading of one more file.
    """
    if b"/" in words[0]:
        try:
            posix.execv(words[0], words)
        except (OSError, ValueError):
            return


def close_all_but(spared: "Iterable[int]") -> bool:
    """Close all descriptors except the standard ones and those in `spared`.

    What is meant for the program alone is let go of so, since a reader may wait for its end.
    By their list in /proc, since a range may be a long loop; without one nothing is closed, and
    False returned.
    """
    spared = set(spared)
    try:
        names = posix.listdir("/proc/self/fd")
    except OSError:
        return False
    for descriptor in map(int, names):
        if descriptor > 2 and descriptor not in spared:
            try:
                posix.close(descriptor)
            except OSError:  # the listing's own
                continue
    return True
