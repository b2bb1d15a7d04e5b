"""The subordinate ids of a user: ranges beside the own id which the user may map, subuid(5).

They stand in /etc/subuid and /etc/subgid, a range a line, `OWNER:FIRST:COUNT`, where the owner is
a name or a number and has to match exactly. A directory service may hold them instead: then the
line `subid:` of nsswitch.conf(5) names it, and getsubids(1) asks it.
"""

import errno
import posix

from spawner.linux import SyscallError
from spawner.spec import MAX_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.idmap import Run
    from spawner.linux import Kernel

FILES = {"uid": "/etc/subuid", "gid": "/etc/subgid"}
"""Where the ranges stand, for user ids and for group ids."""

FIRST, COUNT = 100000, 65536
"""Where useradd(8) begins to give ranges, and how long they are, login.defs(5)."""


_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)
"""What a file gives that isn't there, or not for us."""


class Ranges:
    """What is known of one user's ranges, in their order: `found` and, if nothing, why.

    `malformed` are lines of the file that look like the user's and can't be understood, as
    (number, text).
    """

    __slots__ = ("found", "malformed")

    def __init__(self, found: "list[Run]", malformed: list[tuple[int, str]]) -> None:
        self.found = found
        self.malformed = malformed


def read(text: str, owners: "tuple[str, ...]") -> Ranges:
    """Return the ranges that the lines of a subuid(5) file give to one of `owners`."""
    found: list[Run] = []
    malformed = []
    for number, line in enumerate(text.splitlines(), 1):
        owner, _, rest = line.partition(":")
        if owner not in owners:
            continue
        run = _run(rest)
        if run is None:
            malformed.append((number, line))
        else:
            found.append(run)
    return Ranges(found, malformed)


def _run(text: str) -> "Run | None":
    """Return the range in `FIRST:COUNT`, None where it can't be one."""
    words = text.split(":")
    if len(words) != 2 or not all(word.isascii() and word.isdigit() for word in words):
        return None
    if max(map(len, words)) > 10:
        return None
    first, count = map(int, words)
    return (first, count) if count and first + count - 1 <= MAX_ID else None


def asked(text: str, owners: "tuple[str, ...]") -> "list[Run]":
    """Return the ranges in the output of getsubids(1): `0: alice 100000 65536`."""
    found = []
    for line in text.splitlines():
        words = line.partition(":")[2].split()
        run = _run(":".join(words[1:])) if words[:1] and words[0] in owners else None
        if run is not None:
            found.append(run)
    return found


def source(text: str) -> str:
    """Return where an nsswitch.conf(5) has subordinate ids looked up; "files" is its default."""
    for line in text.splitlines():
        name, colon, words = line.partition("#")[0].partition(":")
        if colon and name.strip() == "subid" and words.split():
            return words.split()[0]
    return "files"


def elsewhere() -> bool:
    """Say whether this machine has subordinate ids come from a directory service."""
    return source(contents("/etc/nsswitch.conf")) != "files"


def look(kernel: "Kernel", kind: str, owners: "tuple[str, ...]", getsubids: str | None) -> Ranges:
    """Return the ranges of a user; `kind` is "uid" or "gid", `owners` are name and number.

    `getsubids` is the path of the program of that name, if there is one. It is asked where ids
    come from a directory service, and where the file has none. Raises SyscallError.
    """
    here = read(contents(FILES[kind]), owners)
    if getsubids is None or (here.found and not elsewhere()):
        return here
    options = ("-g",) if kind == "gid" else ()
    status, out, _ = kernel.run_helper((getsubids, *options, owners[0]))
    # It ends with 1 for a user who has none.
    found = asked(out, owners) if status == 0 else []
    return Ranges(found, here.malformed)


def next_free() -> int:
    """Return the first id from which on nobody has a range, in either file."""
    first = FIRST
    for path in FILES.values():
        for line in contents(path).splitlines():
            run = _run(line.partition(":")[2])
            if run is not None:
                first = max(first, sum(run))
    return first


def contents(path: str) -> str:
    """Return the text of a file of the machine's set-up, "" where there is none for us to read.

    Raises SyscallError where that can't be known.
    """
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return ""
        raise SyscallError("openat", error.errno or 0, path) from None
    blocks = []
    try:
        while block := posix.read(descriptor, 65536):
            blocks.append(block)
    except OSError as error:
        raise SyscallError("read", error.errno or 0, path) from None
    finally:
        posix.close(descriptor)
    return b"".join(blocks).decode("utf-8", "surrogateescape")
