"""Mount a container's own resolv.conf(5) over the host's in its mount namespace.

The host's name server may be one that only the host itself can reach (a stub at 127.0.0.53),
so a helper of the network answers in its place, at an address that it says.
"""

import posix
from errno import ENOENT

from spawner import linux
from spawner.errors import INIT, SetupError, SyscallError
from spawner.host import proc
from spawner.spec import KINDS
from spawner.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.linux import Kernel

PATH = "/etc/resolv.conf"
"""The file that the C library reads, resolv.conf(5)."""

_DIRECTORY = "/etc"
"""An existing directory on which a tmpfs is mounted for a moment."""

_NEW = f"{_DIRECTORY}/resolv.conf"
_OPTIONS = "mode=0755,size=1M"

_SANDBOX = ("/etc", "/run")
"""The host's directories that slirp4netns keeps, slirp4netns(1), --enable-sandbox."""

_STEPS = 1000
"""The most names to follow on a path: more than any path has that isn't a loop."""

_LONGEST = 65536
"""The most bytes read of the host's file."""


def step(server: str) -> Step:
    """Mount a resolv.conf that names `server`, and otherwise follows the host's.

    The file lies in a file system of memory. That is mounted over a directory for a moment, and the
    file bound where the path leads now, through symbolic links: no process but ours is in the mount
    namespace yet, and nothing of the host's is written, mount(2).
    """
    return Step(
        INIT,
        f"mount a {PATH} that names the server {server}",
        f'open("{PATH}", O_PATH), '
        f'mount("tmpfs", "{_DIRECTORY}", "tmpfs", MS_NOSUID|MS_NODEV|MS_NOEXEC, "{_OPTIONS}"), '
        f'mount("{_NEW}", "/proc/self/fd/PLACE", NULL, MS_BIND, NULL), '
        f'umount2("{_DIRECTORY}", MNT_DETACH)',
        lambda kernel, _: _bind(kernel, server),
        topic="bind-resolver",
        needs=("mount", "net"),
    )


def text(host: str, server: str) -> str:
    """Return the host's resolv.conf(5) with its name servers replaced by `server`."""
    others = [
        line
        for line in host.splitlines()
        if line.split(maxsplit=1)[:1] in (["search"], ["domain"], ["options"])
    ]
    return "".join(f"{line}\n" for line in (f"nameserver {server}", *others))


def leads_out(path: str = PATH) -> bool:
    """Tell whether a path leads anywhere outside /etc and /run.

    So it does where distributions make it a symbolic link to /nix or, on the way to /run, /var/run.
    """
    place, ahead = "", _parts(path)
    for _ in range(_STEPS):
        if not ahead:
            return False
        name = ahead.pop(0)
        if name == "..":
            place = place.rpartition("/")[0]
            continue
        place = f"{place}/{name}"
        if place not in _SANDBOX and not place.startswith(tuple(f"{top}/" for top in _SANDBOX)):
            return True
        try:
            target = posix.readlink(place)
        except OSError:  # it's no symbolic link, or it isn't there
            continue
        ahead = _parts(target) + ahead
        place = "" if target.startswith("/") else place.rpartition("/")[0]
    return True


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def bring_along(kernel: "Kernel") -> None:
    """Copy the host's resolv.conf into a private /etc of this process.

    For slirp4netns, whose sandbox keeps only /etc and /run of the host's files. Where there is
    no such file, the init says so, `step`. Raises SyscallError and OSError.
    """
    try:
        place = kernel.open(PATH, posix.O_PATH)
    except SyscallError as error:
        if error.errno != ENOENT:
            raise
        return
    raw = _read(place).encode("utf-8", "surrogateescape")
    posix.close(place)
    kernel.unshare(KINDS["mount"].number)
    kernel.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE, None)
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    kernel.mount("tmpfs", _DIRECTORY, "tmpfs", flags, _OPTIONS)
    kernel.make_file(_NEW, raw)


def _bind(kernel: "Kernel", server: str) -> None:
    try:
        place = kernel.open(PATH, posix.O_PATH)
    except SyscallError as error:
        if error.errno != ENOENT:
            raise
        raise SetupError(
            f"there is no {PATH} to mount one over",
            stage=INIT,
            path=PATH,
            hint=f"as root, create it with `touch {PATH}`, or create the file that it links to",
        ) from None
    try:
        raw = text(_read(place), server).encode("utf-8", "surrogateescape")
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        kernel.mount("tmpfs", _DIRECTORY, "tmpfs", flags, _OPTIONS)
        kernel.make_file(_NEW, raw)
        kernel.mount(_NEW, f"/proc/self/fd/{place}", None, linux.MS_BIND, None)
        kernel.unmount(_DIRECTORY)
    finally:
        posix.close(place)


def _read(place: int) -> str:
    """Return the text of the file of descriptor `place`, or "" if it can't be read."""
    try:
        found = proc.read(f"/proc/self/fd/{place}", most=_LONGEST)
    except SyscallError:
        return ""
    return found.decode("utf-8", "surrogateescape")
