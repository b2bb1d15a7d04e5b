"""Mount a resolv.conf(5) of the container's own over the host's, in its mount namespace.

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
"""Where the C library looks, resolv.conf(5) (resolv.h, _PATH_RESCONF)."""

_DIRECTORY = "/etc"
"""A directory that is there, for a file system that is there for a moment."""

_NEW = f"{_DIRECTORY}/resolv.conf"
_OPTIONS = "mode=0755,size=1M"

_SANDBOX = ("/etc", "/run")
"""What slirp4netns keeps of the host's files, slirp4netns(1), --enable-sandbox."""

_STEPS = 1000
"""Names on the way of a path, far beyond any that isn't a loop of symbolic links."""

_LONGEST = 65536
"""Bytes of the host's file that are read."""


def step(server: str) -> Step:
    """Let the C library ask `server`, and otherwise follow the host's /etc/resolv.conf.

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
    """Return a resolv.conf(5) that asks `server`, and is otherwise like the host's."""
    others = [
        line
        for line in host.splitlines()
        if line.split(maxsplit=1)[:1] in (["search"], ["domain"], ["options"])
    ]
    return "".join(f"{line}\n" for line in (f"nameserver {server}", *others))


def leads_out(path: str = PATH) -> bool:
    """Tell whether a path leads through a place that is neither in /etc nor in /run.

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
    """Copy the host's resolv.conf into /etc for this process alone, in a new mount namespace.

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
    """Return the text of the file of descriptor `place`, "" if we may not read it."""
    try:
        found = proc.read(f"/proc/self/fd/{place}", most=_LONGEST)
    except SyscallError:
        return ""
    return found.decode("utf-8", "surrogateescape")
