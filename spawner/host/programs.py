"""Find the host's programs, and tell how root runs this pyspawn.

They are found by PATH, in directories named from the root only, so that nothing that lies in the
working directory is ever run.
"""

import posix
import sys

from spawner.host.paths import FORMAT, REGULAR

DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The directories to search where PATH isn't set."""


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
