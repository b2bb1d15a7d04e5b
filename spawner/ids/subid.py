"""Look up a user's subordinate ids: ranges that the user may map, subuid(5).

They stand in /etc/subuid and /etc/subgid, a range a line, `OWNER:FIRST:COUNT`, where the owner is
a name or a number and has to match exactly. A directory service may hold them instead: then the
line `subid:` of nsswitch.conf(5) names it, and getsubids(1) asks it.
"""

from spawner.host.proc import contents
from spawner.ids.idmap import MAX_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spawner.host.running import Answer
    from spawner.ids.idmap import Run

    Ask = Callable[[Sequence[str]], Answer]
    """A function that runs a program of the host."""

FILES = {"uid": "/etc/subuid", "gid": "/etc/subgid"}
"""The files that list the subordinate ranges."""


def read(text: str, owners: "tuple[str, ...]") -> "list[Run]":
    """Return the ranges that a subuid(5) file gives to any of `owners`."""
    found: list[Run] = []
    # By line feeds alone, as the helpers do: what else may end a line is part of a wrong one.
    for line in text.split("\n"):
        owner, _, rest = line.partition(":")
        run = _run(rest) if owner in owners else None
        if run is not None:
            found.append(run)
    return found


def _run(text: str) -> "Run | None":
    """Return the range in `FIRST:COUNT`, or None for anything else.

    To newuidmap a zero in front means octal digits: that is nothing to guess about.
    """
    words = text.split(":")
    if len(words) != 2 or not all(word.isascii() and word.isdigit() for word in words):
        return None
    if any(len(word) > 10 or (len(word) > 1 and word.startswith("0")) for word in words):
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
    """Return the sources of subordinate ids in an nsswitch.conf(5); "files" by default."""
    for line in text.splitlines():
        name, colon, words = line.partition("#")[0].partition(":")
        if colon and name.strip() == "subid" and words.split():
            return words.split()[0]
    return "files"


def elsewhere() -> bool:
    """Tell whether subordinate ids come from a directory service on this host."""
    return source(contents("/etc/nsswitch.conf")) != "files"


def look(ask: "Ask", kind: str, owners: "tuple[str, ...]", getsubids: str | None) -> "list[Run]":
    """Return the ranges of a user; `kind` is "uid" or "gid", `owners` are name and number.

    `getsubids` is the path of the program of that name, if there is one. It is asked where ids
    come from a directory service, and where the file has none: `ask` runs it. Raises SyscallError
    and SetupError.
    """
    here = read(contents(FILES[kind]), owners)
    if getsubids is None or (here and not elsewhere()):
        return here
    options = ("-g",) if kind == "gid" else ()
    status, out, _ = ask((getsubids, *options, owners[0]))
    # It ends with 1 for a user who has none.
    return asked(out, owners) if status == 0 else []


def name(ask: "Ask", user: int, getent: str | None) -> str | None:
    """Return a user's name from passwd(5) or a directory service, or None.

    `getent` is the path of getent(1), if there is one, which `ask` runs: a look-up of our own could
    not be ended where the service doesn't answer. Raises SyscallError and SetupError.
    """
    here = name_in(contents("/etc/passwd"), user)
    if here is not None or getent is None:
        return here
    status, out, _ = ask((getent, "passwd", str(user)))
    return name_in(out, user) if status == 0 else None


def name_in(text: str, user: int) -> str | None:
    """Return a user's name from the lines of a passwd(5) file."""
    for line in text.split("\n"):
        words = line.split(":")
        # With a sign in front it's not a user, but says who else is one, nsswitch.conf(5).
        if words[0] and words[0][0] not in "+-#" and words[2:3] == [str(user)]:
            return words[0]
    return None
