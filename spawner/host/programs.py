"""Find programs of the host, and tell whether they'd have root's rights.

They are found by PATH, in directories named from the root only, so that nothing that lies in the
working directory is ever run.
"""

import posix
import sys

from spawner.host.paths import FORMAT, REGULAR

DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are where no PATH says so."""

_SET_USER_ID = 0o4000
"""The bit in a mode that has a program run as its owner, inode(7)."""

_NO_SUID = 2
"""The flag of a file system on which that bit counts for nothing, statvfs(3) (ST_NOSUID)."""


def find(name: str, search_path: bytes | None) -> str | None:
    """Return the absolute path of a program, None where there's none."""
    for raw in (search_path or DEFAULT_PATH).split(b":"):
        if not raw.startswith(b"/"):
            continue
        place = f"{raw.decode('utf-8', 'surrogateescape').rstrip('/')}/{name}"
        try:
            regular = posix.stat(place).st_mode & FORMAT == REGULAR
        except OSError:
            continue
        if regular and posix.access(place, posix.X_OK):
            return place
    return None


def as_root(words: str) -> str:
    """Return the command by which root runs this pyspawn, whatever PATH sudo(8) has."""
    return f"as root, `{sys.executable} -m spawner {words}`"


def powerless(path: str) -> str | None:
    """Return why a program would run without root's rights, None where it has them.

    By the set-user-ID bit and the owner root, or by file capabilities, capabilities(7); neither
    counts on a file system mounted nosuid.
    """
    found = posix.stat(path)
    suid = found.st_mode & _SET_USER_ID and found.st_uid == 0
    if not suid:
        try:
            posix.getxattr(path, "security.capability")
        except OSError:
            own = f"chown root {path} && " if found.st_uid else ""
            return (
                f"it has neither the set-user-ID bit of root nor file capabilities: `{own}chmod "
                f"u+s {path}` as root, or reinstall the package uidmap (shadow-utils on Fedora)"
            )
    if posix.statvfs(path).f_flag & _NO_SUID:
        return (
            "its file system is mounted nosuid, which takes its rights: `mount -o remount,suid` it "
            "as root"
        )
    return None
