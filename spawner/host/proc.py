"""Read and parse files of /proc and the host's configuration files.

Who judges by what stands there decides what an absent file means: `read` and `text` raise, the
others say in their first lines what they return instead. All of it is read after a failure, or for
an option: a plain start needs none of it.
"""

import errno
import posix
import select

from spawner.errors import LAUNCHER, SetupError, SyscallError

_CAPABILITIES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
    SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""

CAPABILITIES = {f"CAP_{name}": number for number, name in enumerate(_CAPABILITIES.split())}
"""The bit numbers of the capabilities that pyspawn checks, linux/capability.h."""


def read(path: str, *, proc: int | None = None, most: int | None = None) -> bytes:
    """Return the content of a file, or at least the first `most` bytes of it.

    `proc` is an open /proc in which a path of it is looked up. Raises SyscallError.
    """
    # O_NONBLOCK: nothing that lies in the place of a file may hold us.
    flags = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK
    place = path if proc is None else path.removeprefix("/proc/")
    try:
        descriptor = posix.open(place, flags, dir_fd=proc)
    except OSError as error:
        raise SyscallError("openat", error.errno or 0, path) from None
    return drain(descriptor, path, most)


def drain(descriptor: int, path: str, most: int | None = None) -> bytes:
    """Return the content of an open file, as `read` does, and close it; raises SyscallError."""
    data = bytearray()
    try:
        while (most is None or len(data) < most) and (block := posix.read(descriptor, 65536)):
            data += block
    except OSError as error:
        raise SyscallError("read", error.errno or 0, path) from None
    finally:
        posix.close(descriptor)
    return bytes(data)


def text(path: str) -> str:
    """Return the text of a file; raises SyscallError."""
    return read(path).decode("utf-8", "surrogateescape")


def contents(path: str) -> str:
    """Return the text of a configuration file of the host, or "" if the file doesn't exist.

    Raises SetupError where it is closed to us, and SyscallError.
    """
    try:
        return text(path)
    except SyscallError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return ""
        if error.syscall == "openat" and error.errno == errno.EACCES:
            raise SetupError(
                f"{path} can't be read by user {posix.geteuid()}",
                stage=LAUNCHER,
                path=path,
                hint=f"as root, let everybody read it: `chmod a+r {path}`",
            ) from None
        raise


def fields(lines: str) -> dict[str, str]:
    """Return the value of each name in lines of `NAME: VALUE`.

    By line feeds alone: a process's name may hold whatever else ends a line of Python's.
    """
    parts = (line.partition(":") for line in lines.split("\n"))
    return {name: value.strip() for name, _, value in parts}


def status() -> dict[str, str]:
    """Return the fields of this process's status, proc_pid_status(5); none without a /proc."""
    return fields(contents("/proc/self/status"))


def holds(status: dict[str, str], capability: str) -> bool | None:
    """Tell whether a process has a capability in its user namespace, by the fields of its status.

    None where they don't tell. See capabilities(7).
    """
    try:
        return bool(int(status.get("CapEff", ""), 16) >> CAPABILITIES[capability] & 1)
    except ValueError:
        return None


class Mount:
    """A line of proc_pid_mountinfo(5); raises ValueError for anything else.

    `options` are the mount's own, `settings` those of its file system.
    """

    def __init__(self, line: str) -> None:
        before, _, after = line.partition(" - ")
        self.number, self.parent, _, self.root, point, options = before.split(" ")[:6]
        self.kind, self.source, settings = after.split(" ")[:3]
        self.options = options.split(",")
        self.settings = settings.split(",")
        for octal, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            point = point.replace(octal, letter)
        self.point = point

    @property
    def below(self) -> str:
        """The prefix of all paths below the mount point, such as "/" or "/proc/"."""
        return self.point.rstrip("/") + "/"


def mounts(lines: str) -> list[Mount]:
    """Return the mounts in the text of a mountinfo file, skipping lines that aren't valid."""
    found = []
    for line in lines.split("\n"):
        try:
            found.append(Mount(line))
        except ValueError:
            continue
    return found


def stat(pid: int) -> list[str]:
    """Return the fields after the command name in /proc/PID/stat; none if the process is gone."""
    try:
        return after_name(read(f"/proc/{pid}/stat"))
    except SyscallError:
        return []


def after_name(line: bytes) -> list[str]:
    """Return the fields after the command name in a line of proc_pid_stat(5), the state first."""
    # The name, in parentheses, may hold anything.
    return line.rpartition(b")")[2].decode("ascii").split()


def children(pid: int) -> list[int]:
    """Return the pids of a process's children, listed by each of its threads, proc_pid_task(5).

    Those that were seen so far where it's gone, none where it's out of our sight or this kernel has
    no such lists.
    """
    found: list[int] = []
    try:
        for thread in posix.listdir(f"/proc/{pid}/task"):
            found += map(int, read(f"/proc/{pid}/task/{thread}/children").split())
    except OSError:
        pass
    return found


def is_own() -> bool:
    """Tell whether /proc shows the PID namespace that this process is in, pid_namespaces(7).

    Raises SyscallError where nothing is mounted there.
    """
    try:
        return posix.readlink("/proc/self") == str(posix.getpid())
    except OSError as error:
        raise SyscallError("readlink", error.errno or 0, "/proc/self") from None


def has_ended(pidfd: int) -> bool:
    """Tell whether the process of a pidfd has ended, reaped or not, pidfd_open(2)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
