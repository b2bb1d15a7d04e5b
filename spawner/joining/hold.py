"""Hold a target's namespaces by descriptors, and check which they are."""

import errno
import posix

from spawner.errors import LAUNCHER, SCOUT, SetupError, SyscallError
from spawner.host import proc
from spawner.host.paths import identity
from spawner.joining import inside
from spawner.spec import KINDS, NAMESPACES
from spawner.steps import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from spawner.joining.scout import Scout
    from spawner.joining.target import Joins
    from spawner.linux import Kernel
    from spawner.steps import Look

_FLAG_NAMES = (
    ("O_PATH", posix.O_PATH),
    ("O_DIRECTORY", posix.O_DIRECTORY),
    ("O_NONBLOCK", posix.O_NONBLOCK),
    ("O_NOCTTY", posix.O_NOCTTY),
)
"""Names of open(2) flags; a file opened without O_PATH is read."""

LONGEST_ENVIRONMENT = 8 << 20
"""The most bytes read of an environment: more than an exec can pass, execve(2)."""


class Held:
    """A target, held by descriptors that are closed on exec.

    `namespaces` are those that differ from ours; `first` is the user namespace to enter before all
    others, if it isn't the one in `namespaces`. `root` and `directory` are a process's, and
    `environment` its variables, where they are wanted. `maps` are a user namespace's, where they
    are known of the process, and `who` is the program in there. `ahead` are the kinds in which only
    a process's children are where it seems to be. `proc` is a descriptor of /proc, and `asks_proc`
    says that only that tells of mounts. `groups_stay` says that setgroups(2) is denied where no
    user namespace is entered.
    """

    def __init__(self, joins: "Joins", place: int) -> None:
        self.joins = joins
        self.privileged = False
        self.namespaces: dict[str, int] = {}
        self.first: int | None = None
        self.root: int | None = None
        self.directory: int | None = None
        self.environment: dict[bytes, bytes] | None = None
        self.maps: inside.Maps | None = None
        self.who = inside.Who(0, 0, ())
        self.looks: list[Look] = []
        self.ahead: list[str] = []
        self.asks_proc = False
        self.groups_stay = False
        self.proc = place
        self._held = [place]

    def hold(self, descriptor: int) -> int:
        """Add a descriptor to those held, and return it."""
        self._held.append(descriptor)
        return descriptor

    def open(self, kernel: "Kernel", path: str, flags: int) -> int:
        """Open a file of the target and hold the descriptor; raises SyscallError."""
        descriptor = self.hold(kernel.open(path, flags))
        self.looks += look(LAUNCHER, path, flags)
        return descriptor

    def drop(self, descriptor: int) -> None:
        """Close a held descriptor that isn't needed."""
        self._held.remove(descriptor)
        posix.close(descriptor)

    def let_go(self) -> None:
        """Close the held descriptors; forked processes have their own copies."""
        while self._held:
            posix.close(self._held.pop())

    def look_at_maps(self, process: str) -> inside.Maps:
        """Return the id maps of a process's user namespace; raises SyscallError."""
        return inside.look(self._read, process)

    def copy(self, path: str) -> int:
        """Return a descriptor of a copy, in memory, of a /proc file; raises SyscallError."""
        data = self._read(path)
        try:
            copy = posix.memfd_create("copy")
            while data:
                data = data[posix.write(copy, data) :]
        except OSError as error:
            raise SyscallError("memfd_create", error.errno or 0) from None
        return copy

    @property
    def denied(self) -> bool:
        """Whether setgroups(2) is denied in the user namespace of this process."""
        return self._read("/proc/self/setgroups").strip() == b"deny"

    def _read(self, path: str) -> bytes:
        """Return the content of a file in the caller's /proc; raises SyscallError."""
        return proc.read(path, proc=self.proc, most=LONGEST_ENVIRONMENT)

    @property
    def enters_user(self) -> bool:
        """Whether a user namespace is among the held namespaces."""
        return "user" in self.namespaces

    def place(self, kernel: "Kernel", descriptor: int) -> tuple[int, int, int]:
        """Return the mount, device and inode that identify a directory."""
        return self.mount(kernel, descriptor), *identity(posix.fstat(descriptor))

    def mount(self, kernel: "Kernel", descriptor: int) -> int:
        """Return the id of the mount that a descriptor is in; raises SyscallError.

        No file system is asked for it. Where statx(2) doesn't tell, that is noted.
        """
        found = None if self.asks_proc else kernel.mount_id(descriptor)
        if found is not None:
            return found
        self.asks_proc = True
        path = f"/proc/self/fdinfo/{descriptor}"
        number = proc.fields(self._read(path).decode()).get("mnt_id")
        if number is None:
            raise SyscallError("read", errno.ENODATA, path)
        return int(number)

    def is_root(self, kernel: "Kernel", descriptor: int) -> bool:
        """Tell whether a directory is this process's root directory.

        Nothing is asked of the file system of another mount, which may never answer.
        """
        root = kernel.open("/", posix.O_PATH | posix.O_DIRECTORY)
        try:
            if self.mount(kernel, root) != self.mount(kernel, descriptor):
                return False
            return identity(posix.fstat(root)) == identity(posix.fstat(descriptor))
        finally:
            posix.close(root)


def look(where: str, path: str, flags: int) -> "tuple[Look, ...]":
    """Return what the process `where` reports on opening a target's file, if it's one that does."""
    if where == SCOUT:
        return (_opening(where, path, f"open {path}", flags),)
    parts = path.split("/")[1:]
    if where != LAUNCHER or parts[0] != "proc" or len(parts) < 3 or not parts[1].isdigit():
        return ()
    what = {"root": "root", "cwd": "working directory"}.get(parts[2])
    if parts[2] == "ns":
        kind = next(kind for kind in NAMESPACES if KINDS[kind].file == parts[3])
        what = f"{kind} namespace"
    if what is None:
        return ()
    return (_opening(where, path, f"open the {what} of process {parts[1]}", flags),)


def _opening(where: str, path: str, what: str, flags: int) -> "Look":
    names = "|".join(name for name, flag in _FLAG_NAMES if flags & flag) or "O_RDONLY"
    return where, one_line(what), one_line(f'openat(AT_FDCWD, "{path}", {names})')


def check_unchanged(what: str, opened: dict[int, str]) -> None:
    """Refuse a process that has changed namespaces; raises SetupError and SyscallError.

    `opened` are descriptors of namespaces with the paths that they were opened by. A process that
    was here when its user namespace was opened would be joined without that one, its mounts and
    programs with our rights. It only ever goes further down, setns(2): who is still in the user
    namespace that was opened was in it all the time, and with it in all that was opened since.
    """
    for descriptor, path in opened.items():
        if at(path) != identity(posix.fstat(descriptor)):
            raise SetupError(
                f"{what}: the process entered other namespaces while pyspawn was opening them",
                stage=LAUNCHER,
                path=path,
                hint="try again once the container has started, after checking that this is the "
                "process you mean",
            )


def send_scout(kernel: "Kernel", what: str, task: "Callable[[], dict[str, int]]") -> "Scout":
    """Fork a scout; its module is imported only here, since most joins don't need one."""
    from spawner.joining import scout

    return scout.Scout(kernel, what, task)


def path_of(directory: str, kind: str) -> str:
    """Return the path of a namespace file in a directory that is laid out like /proc/PID/ns."""
    return f"{directory}/{KINDS[kind].file}"


def is_ours(descriptor: int, kind: str) -> bool:
    """Tell whether this process is already in a namespace, namespaces(7)."""
    return identity(posix.fstat(descriptor)) == _own(kind)


def _own(kind: str) -> tuple[int, int] | None:
    try:
        return identity(posix.stat(f"/proc/self/ns/{KINDS[kind].file}"))
    except OSError:
        return None


def at(path: str) -> tuple[int, int]:
    """Return the device and inode of a file in /proc; raises SyscallError."""
    try:
        return identity(posix.stat(path))
    except OSError as error:
        raise SyscallError("newfstatat", error.errno or 0, path) from None
