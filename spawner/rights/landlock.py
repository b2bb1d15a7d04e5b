"""What Landlock leaves to the program, as a value that checks itself.

Each kind that is named is restricted to what is named for it; a kind that isn't named is as without
Landlock. The kernel's own access rights, which are finer, are those of `ruleset`.
"""

from spawner.errors import SpecError
from spawner.spec import Frozen, check_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from os import PathLike
    from typing import Any, TypeAlias

    Path: TypeAlias = str | PathLike[str]
    Paths: TypeAlias = Path | Iterable[Path]
    Ports: TypeAlias = int | Iterable[int]

PATHS = ("read", "write", "execute", "ioctl")
"""The kinds that paths are named for."""

PORTS = ("bind", "connect")
"""The kinds that TCP ports are named for."""

SCOPE = "scope"

SCOPES = ("abstract", "signal")
"""What can be kept in: connections to abstract UNIX sockets, and signals, landlock(7)."""

_KINDS = (*PATHS, *PORTS, SCOPE)

_SHORT = {"exec": "execute", "x": "execute"}

_NONE = "none"

_LAST_PORT = 65535


class Landlock(Frozen):
    """What the processes in the container may still do, by Landlock, landlock(7).

    `read`, `write`, `execute` and `ioctl` are absolute paths in the container, of files or of
    directories with all that is below them: what may be read and listed; what may be written,
    truncated, made, removed and renamed; which files may be executed; and which devices obey
    ioctl(2). `bind` and `connect` are TCP ports, to be listened on and to be connected to. One by
    itself needs no list, and an empty list leaves nothing; None leaves all. `scope` names what
    doesn't reach beyond the container: "abstract" UNIX sockets, and a "signal".

    Raises SpecError, and TypeError for what is neither a path nor a port.
    """

    read: tuple[str, ...] | None
    write: tuple[str, ...] | None
    execute: tuple[str, ...] | None
    ioctl: tuple[str, ...] | None
    bind: tuple[int, ...] | None
    connect: tuple[int, ...] | None
    scope: frozenset[str]

    def __init__(
        self,
        *,
        read: "Paths | None" = None,
        write: "Paths | None" = None,
        execute: "Paths | None" = None,
        ioctl: "Paths | None" = None,
        bind: "Ports | None" = None,
        connect: "Ports | None" = None,
        scope: "str | Iterable[str]" = (),
    ) -> None:
        self._set(
            read=_paths("read", read),
            write=_paths("write", write),
            execute=_paths("execute", execute),
            ioctl=_paths("ioctl", ioctl),
            bind=_ports("bind", bind),
            connect=_ports("connect", connect),
            scope=_scopes(scope),
        )
        if not any(self.restricts(kind) for kind in _KINDS):
            raise SpecError(
                "this Landlock restricts nothing", f"name one or more of {', '.join(_KINDS)}"
            )

    def restricts(self, kind: str) -> bool:
        """Tell whether a kind is restricted."""
        found = getattr(self, kind)
        return bool(found) if kind == SCOPE else found is not None

    def __str__(self) -> str:
        words = []
        for kind in (*PATHS, *PORTS):
            if (left := getattr(self, kind)) is not None:
                words.append(f"{kind} only {', '.join(map(str, left))}" if left else f"{kind} none")
        if self.scope:
            words.append(f"keep in {', '.join(sorted(self.scope))}")
        return "; ".join(words)


def merged(values: "Iterable[Landlock]") -> Landlock | None:
    """Return what all values ask for together, None for no value; raises SpecError."""
    found: dict[str, Any] = {}
    for each in values:
        for kind in filter(each.restricts, _KINDS):
            more = tuple(getattr(each, kind))
            if bool(found.get(kind, more)) != bool(more):
                raise SpecError(
                    f"Landlock can't leave both {_NONE} and something to {kind}",
                    f"leave out {kind}={_NONE}",
                )
            found[kind] = (*found.get(kind, ()), *more)
    return Landlock(**found) if found else None


def landlock(word: str) -> Landlock:
    """Return the Landlock for `KIND[,KIND]=VALUE`; raises SpecError.

    The value is one path, or ports or scopes with commas between; `none` leaves nothing.
    """
    named, equals, value = word.partition("=")
    if not equals or not value:
        raise SpecError(
            f"{word!r} is not KIND=VALUE, such as read,execute=/usr, connect=443 or scope=signal"
        )
    kinds = [_kind(kind) for kind in named.split(",")]
    for family, read in ((PATHS, _one_path), (PORTS, _listed_ports), ((SCOPE,), _listed)):
        if all(kind in family for kind in kinds):
            left: Any = () if value == _NONE and SCOPE not in kinds else read(value)
            return Landlock(**dict.fromkeys(kinds, left))
    raise SpecError(f"{named!r} are kinds that take different values: name them one by one")


def options(wanted: Landlock) -> "Iterator[str]":
    """Yield the words for `wanted`, each the value of an option."""
    for kind in (*PATHS, *PORTS):
        left = getattr(wanted, kind)
        if left is not None:
            for each in left or (_NONE,):
                yield f"{kind}={each}"
    if wanted.scope:
        yield f"{SCOPE}={','.join(sorted(wanted.scope))}"


def _kind(word: str) -> str:
    """Return the name of a kind; raises SpecError."""
    found = _SHORT.get(word.lower(), word.lower())
    if found not in _KINDS:
        raise SpecError(f"{word!r} is not one of {', '.join(_KINDS)}")
    return found


def _one_path(value: str) -> "tuple[str]":
    return (value,)


def _listed(value: str) -> list[str]:
    return value.split(",")


def _listed_ports(value: str) -> list[int]:
    """Return the ports in a list with commas; raises SpecError."""
    found = value.split(",")
    for word in found:
        if not (word.isascii() and word.isdigit()) or len(word) > 9:
            raise SpecError(f"{word!r} is not the number of a TCP port")
    return list(map(int, found))


def _paths(kind: str, given: "Paths | None") -> tuple[str, ...] | None:
    """Return paths as text, each once; raises SpecError and TypeError."""
    if given is None:
        return None
    alone = isinstance(given, str) or hasattr(given, "__fspath__")
    words: Any = (given,) if alone else given
    return tuple(dict.fromkeys(_path(kind, each) for each in words))


def _path(kind: str, given: "Path") -> str:
    found: Any = given.__fspath__() if hasattr(given, "__fspath__") else given
    if not isinstance(found, str):
        raise TypeError(f"{kind} of a Landlock names paths, not {given!r}")
    check_text(f"a path for {kind}", found)
    if not found.startswith("/"):
        raise SpecError(f"{kind} needs an absolute path in the container, not {found!r}")
    return found


def _ports(kind: str, given: "Ports | None") -> tuple[int, ...] | None:
    """Return ports, each once; raises SpecError and TypeError."""
    if given is None:
        return None
    found: list[Any] = [given] if isinstance(given, int) else list(given)
    for port in found:
        if isinstance(port, bool) or not isinstance(port, int):
            raise TypeError(f"{kind} of a Landlock names TCP ports, not {port!r}")
        if not 0 <= port <= _LAST_PORT:
            raise SpecError(f"{port} is not the number of a TCP port, 0 to {_LAST_PORT}")
    return tuple(dict.fromkeys(found))


def _scopes(given: "str | Iterable[str]") -> frozenset[str]:
    """Return scopes; raises SpecError."""
    found = frozenset((given.split(",") if given else ()) if isinstance(given, str) else given)
    for word in sorted(found.difference(SCOPES), key=repr):
        raise SpecError(f"{word!r} is not one of the scopes, {' and '.join(SCOPES)}")
    return found
