"""The resolver's file inside: resolv.conf(5), over the machine's, in our own mount namespace.

The machine's name server may be one that only the machine itself can reach (a stub at 127.0.0.53),
so a helper of the network answers in its place, at an address that it says.
"""

import posix
from errno import ENOENT

from spawner import linux
from spawner.errors import INIT, SetupError
from spawner.linux import SyscallError
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

_LONGEST = 65536
"""Bytes of the machine's file that are read."""


def step(server: str) -> Step:
    """Have the C library ask `server`, and else as the machine's /etc/resolv.conf says.

    The file lies in a file system of memory. That is mounted over a directory for a moment, and the
    file bound where the path leads now, through symbolic links: no process but ours is in the mount
    namespace yet, and nothing of the machine's is written, mount(2).
    """
    return Step(
        INIT,
        f"have names looked up at {server}, by a {PATH} of our own",
        f'open("{PATH}", O_PATH), '
        f'mount("tmpfs", "{_DIRECTORY}", "tmpfs", MS_NOSUID|MS_NODEV|MS_NOEXEC, "{_OPTIONS}"), '
        f'mount("{_NEW}", "/proc/self/fd/PLACE", NULL, MS_BIND, NULL), '
        f'umount2("{_DIRECTORY}", MNT_DETACH)',
        lambda kernel, _: _bind(kernel, server),
        topic="bind-resolver",
        needs=("mount", "net"),
    )


def text(machine: str, server: str) -> str:
    """Return a resolv.conf(5) that asks `server`, and is else like the machine's."""
    kept = [
        line
        for line in machine.splitlines()
        if line.split(maxsplit=1)[:1] in (["search"], ["domain"], ["options"])
    ]
    return "".join(f"{line}\n" for line in (f"nameserver {server}", *kept))


def _bind(kernel: "Kernel", server: str) -> None:
    try:
        place = kernel.open(PATH, posix.O_PATH)
    except SyscallError as error:
        if error.errno != ENOENT:
            raise
        raise SetupError(
            f"there's no {PATH} to put one over",
            stage=INIT,
            path=PATH,
            hint=f"as root, `touch {PATH}`, or what it's a symbolic link to",
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
    """Return what the file of the descriptor `place` says; nothing if we may not read it."""
    try:
        descriptor = posix.open(
            f"/proc/self/fd/{place}", posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
        )
    except OSError:
        return ""
    try:
        return posix.read(descriptor, _LONGEST).decode("utf-8", "surrogateescape")
    except OSError:
        return ""
    finally:
        posix.close(descriptor)
