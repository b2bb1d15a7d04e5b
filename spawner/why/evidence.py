"""Read what the host shows of itself: the files and calls by which the rules judge.

All of it is read from the launcher, which stays outside of the new namespaces, and through a
`Host` that tests replace. Nothing here raises: what can't be read is not known.
"""

import errno
import posix

from pyinit.execerror import text
from spawner.errors import INIT
from spawner.host import proc
from spawner.spec import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import stat_result

    from spawner.errors import SetupError
    from spawner.spec import Spec

SYS_ADMIN = "CAP_SYS_ADMIN"
NET_ADMIN = "CAP_NET_ADMIN"
SETPCAP = "CAP_SETPCAP"
SETFCAP = "CAP_SETFCAP"

DENIED = (errno.EPERM, errno.EACCES)
"""The errnos of a call that needs a right which is missing."""

MAKERS = ("unshare", "clone", "clone3", "fork")
"""System calls that make namespaces; a fork does so for kinds that hold for children only."""


NO_CALL = 0
"""In the place of an errno, where no system call is to blame."""


class Host:
    """The files and calls by which the host and this process can be examined.

    Each question has an answer: None, or an errno, where there is none.
    """

    def pid(self) -> int:
        """Return the process id of this process, in its own PID namespace."""
        return posix.getpid()

    def read(self, path: str) -> str | None:
        """Return the text of a file."""
        try:
            return proc.text(path)
        except (OSError, ValueError):
            return None

    def link(self, path: str) -> str | None:
        """Return where a symbolic link points."""
        try:
            return posix.readlink(path)
        except (OSError, ValueError):
            return None

    def stat(self, path: str) -> "stat_result | int":
        """Return the status of a path, of a link itself, or an errno."""
        try:
            return posix.lstat(path)
        except OSError as error:
            return error.errno or errno.EIO
        except ValueError:
            return errno.EINVAL


class Case:
    """A refusal, and the host that it happened on."""

    def __init__(self, error: "SetupError", spec: "Spec | None", host: Host) -> None:
        self.host = host
        self.spec = spec
        self.errno = error.errno or NO_CALL
        self.syscall = error.syscall or ""
        self.path = error.path or ""
        self.step = error.step
        self.stage = error.stage
        wanted = spec.namespaces.wanted if spec else frozenset(NAMESPACES)
        words = error.step.replace(",", " ").split()
        named = [kind for kind in NAMESPACES if kind in wanted and kind in words]
        # The kinds that the refused call may have been about: those that the step names.
        self.kinds = named or [kind for kind in NAMESPACES if kind in wanted]
        self.wanted = wanted

    @property
    def names_proc(self) -> bool:
        """Tell whether the failed path is the directory that --mount-proc names."""
        from spawner.mount.tree import Tree

        tree = None if self.spec is None else self.spec.wish(Tree)
        return tree is not None and self.path == tree.mount_proc

    @property
    def root(self) -> str | None:
        """The directory that was the root when the call failed, None for the host's own."""
        from spawner.mount.tree import Tree

        tree = None if self.spec is None else self.spec.wish(Tree)
        return tree.root if tree is not None and self.stage == INIT else None

    @property
    def is_bare(self) -> bool:
        """Whether the root was an empty one, which has only what is mounted."""
        from spawner.mount.mounts import empty_root
        from spawner.mount.tree import Tree

        tree = self.spec.wish(Tree) if self.spec is not None else None
        return tree is not None and empty_root(tree.entries) is not None and self.stage == INIT

    @property
    def lacks_root_mount(self) -> bool:
        """Whether the root directory isn't a mount point, as after a chroot(2)."""
        mounts = self.mounts()
        return bool(mounts) and all(mount.point != "/" for mount in mounts)

    def making(self, kind: str) -> bool:
        """Tell whether the refused call was to make a namespace of that kind."""
        return self.syscall in MAKERS and kind in self.kinds

    def status(self, field: str) -> list[str]:
        """Return the words of a field of /proc/self/status, proc_pid_status(5)."""
        return self._status().get(field, "").split()

    def _status(self) -> dict[str, str]:
        return proc.fields(self.host.read("/proc/self/status") or "")

    def sysctl(self, name: str) -> int | None:
        """Return the number in a file below /proc/sys: `sysctl("kernel/pid_max")`."""
        return number(self.host.read(f"/proc/sys/{name}"))

    def lacks(self, capability: str) -> bool:
        """Tell whether this process is known to lack a capability, capabilities(7)."""
        return proc.holds(self._status(), capability) is False

    @property
    def uid(self) -> int | None:
        """The effective user id."""
        return number(" ".join(self.status("Uid")[1:]))

    @property
    def filtered(self) -> bool:
        """Whether a seccomp filter is in force, seccomp(2)."""
        return self.status("Seccomp") == ["2"]

    @property
    def profile(self) -> str | None:
        """The AppArmor profile of this process, None without AppArmor."""
        read = self.host.read
        if (read("/sys/module/apparmor/parameters/enabled") or "").strip() != "Y":
            return None
        found = read("/proc/self/attr/apparmor/current") or read("/proc/self/attr/current")
        return found.strip() if found else None

    def mounts(self) -> list[proc.Mount]:
        """Return the mounts that can be reached from the root directory."""
        return proc.mounts(self.host.read("/proc/self/mountinfo") or "")


def number(words: str | None) -> int | None:
    """Return the first word as a number, None where it is none."""
    word = "".join((words or "").split(None, 1)[:1])
    return int(word) if word.isascii() and word.isdigit() and len(word) < 20 else None


def shown(name: str) -> str:
    """Return a path or another name as text for a message, on one line."""
    return text(name.encode("utf-8", "surrogateescape"))
