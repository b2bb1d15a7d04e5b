"""Accept `--option VALUE` for options whose value has to follow a `=`, as other tools do.

After a flag whose value is optional comes PROGRAM. Where a word can't be that, it's the value:
`--net host -- app`, `--unshare pid net -- app`, `--init /usr/bin/tini app`, `--dry-run json app`.
"""

from spawner.spec import NAMESPACES, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyinit.cmdline import Option

INITS = ("tini", "docker-init", "dumb-init", "catatonit", "pyinit", "s6-svscan", "runsvdir")
"""Programs that are run in place of pyinit, never under it."""

SHARED, NEW = "host", "private"
"""What docker(1) and podman(1) call the host's own namespace, and a new one."""

_LISTS = ("--unshare", "--share", "--unshare-try")
_PLACES = ("/proc/", "/run/netns/", "/var/run/netns/")


def joined(table: "Iterable[Option]", words: "Sequence[str]", program: int) -> list[str] | None:
    """Return a command line in which such options and their values are joined by a `=`.

    None where there's no such value. By our own rules the last `program` words are PROGRAM.
    """
    at = len(words) - program
    if not at or not program or words[at - 1] == "--":
        return None
    option, value, rest = words[at - 1], words[at], list(words[at + 1 :])
    before = list(words[: at - 1])
    # Whether an option follows, or the `--` before the program.
    ends = rest[:1] == ["--"] or ("--" in rest and rest[0].startswith("-"))
    for known in table:
        if known.optional and option in (f"--{known.long}", f"-{known.short}"):
            if _is_value(known.long, value, ends=ends):
                return [*before, f"--{known.long}={value}", *rest]
            return None
    name = option.partition("=")[0]
    if name not in _LISTS:
        name = before[-1] if before else ""
    if name in _LISTS and kind_of(value) in NAMESPACES and _ends_list(rest):
        return [*before, option, f"{name}={value}", *rest]
    return None


def _is_value(option: str, value: str, *, ends: bool) -> bool:
    """Tell whether the word after an option with an optional value is that value."""
    if option == "init":
        return value.rpartition("/")[2] in INITS
    if option == "dry-run":
        return value == "json"
    if option not in NAMESPACES:
        return False
    return ends and (value in (SHARED, NEW) or value.startswith(_PLACES))


def _ends_list(rest: list[str]) -> bool:
    """Tell whether a list of namespaces, an option or `--` follows at this place."""
    if "--" not in rest:
        return False
    return rest[0].startswith("-") or kind_of(rest[0]) in NAMESPACES
