"""The program's rights, as a value that checks itself.

Capabilities are named as in capabilities(7), with or without `CAP_`. As in the engines, and as with
the kinds of namespaces, the order plays no part: one that is named by itself beats ALL.
"""

from spawner.errors import SpecError
from spawner.host.proc import CAPABILITIES
from spawner.spec import ALL, Frozen, Wish, check_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike
    from typing import Any, TypeAlias

    from spawner.rights.landlock import Landlock
    from spawner.spec import Choice

    Names: TypeAlias = str | Iterable[str]

_PREFIX = "CAP_"

DEFAULT, UNCONFINED = "default", "unconfined"
"""The words for our own seccomp profile, `profile`, and for no filter; `./default` is a file."""


class Rights(Wish):
    """The rights of the program and of each process that it starts.

    `cap_drop` are capabilities that nobody in the container can have: they are gone from all five
    sets, capabilities(7). `cap_add` are some that the program has whoever it is: they are in all
    five. Both take names in text with commas or in any iterable, "all" for every one, and are held
    as a frozenset of names such as "net_admin". A capability that is named by itself beats "all",
    and what neither names is as without this. With `no_new_privs` no exec gives more than there
    was, PR_SET_NO_NEW_PRIVS(2const). `seccomp` is a filter of system calls, seccomp(2): "default"
    for pidone's own profile, the path of a file of classic BPF, or a descriptor of one; None and
    "unconfined" are none, of which the latter counts in a sandbox. With `disable_userns` nobody in
    the container can make a user namespace; it takes a new one, in which this holds.
    `landlock` is what Landlock leaves.

    Raises SpecError.
    """

    door = "spawner.rights.part"

    cap_drop: frozenset[str]
    cap_add: frozenset[str]
    no_new_privs: bool
    seccomp: str | int | None
    disable_userns: bool
    landlock: "Landlock | None"

    def __init__(
        self,
        *,
        cap_drop: "Names" = (),
        cap_add: "Names" = (),
        no_new_privs: bool = False,
        seccomp: "str | PathLike[str] | int | None" = None,
        disable_userns: bool = False,
        landlock: "Landlock | None" = None,
    ) -> None:
        self._set(
            cap_drop=names(cap_drop),
            cap_add=names(cap_add),
            no_new_privs=no_new_privs,
            seccomp=None if seccomp is None else source(seccomp),
            disable_userns=disable_userns,
            landlock=landlock,
        )
        self._check()

    def _check(self) -> None:
        for flag in ("no_new_privs", "disable_userns"):
            if not isinstance(getattr(self, flag), bool):
                raise SpecError(f"{flag} can't be {getattr(self, flag)!r}: it is true or false")
        if self.landlock is not None:
            from spawner.rights.landlock import Landlock

            if not isinstance(self.landlock, Landlock):
                raise TypeError(f"landlock needs a Landlock, or None, not {self.landlock!r}")
        for name in in_order(self.cap_drop & self.cap_add):
            what = "every capability" if name == ALL else title(name)
            raise SpecError(f"{what} is both dropped and added", "name it only once")

    @property
    def needs(self) -> "Iterable[tuple[str, str]]":
        """The user namespace, if none is to be made in it."""
        if self.disable_userns:
            yield "user", "further user namespaces can be forbidden only in a new one"

    def __repr__(self) -> str:
        drop, add = (",".join(in_order(each)) for each in (self.cap_drop, self.cap_add))
        return (
            f"Rights(cap_drop={drop!r}, cap_add={add!r}, no_new_privs={self.no_new_privs}, "
            f"seccomp={self.seccomp!r}, disable_userns={self.disable_userns}, "
            f"landlock={self.landlock!r})"
        )


class Changes(Frozen):
    """The changes to capability sets, as bits by number.

    `dropped` and `added` have none in common. With `all_else` what isn't dropped is added as well,
    as far as it is there.
    """

    last: int
    dropped: int
    added: int
    all_else: bool


def changes(rights: Rights, last: int) -> Changes:
    """Return the changes that `rights` make to the capabilities up to the number `last`.

    Raises SpecError for one that is named and that the kernel doesn't know.
    """
    dropped, added = (_bits(each, last) for each in (rights.cap_drop, rights.cap_add))
    if ALL in rights.cap_drop:
        dropped = every(last) & ~added
    return Changes(last, dropped, added, ALL in rights.cap_add)


def every(last: int) -> int:
    """Return the bits of every capability up to the number `last`."""
    return (2 << last) - 1


def _bits(named: "Iterable[str]", last: int) -> int:
    found = 0
    for name in in_order(named):
        if name == ALL:
            continue
        number = CAPABILITIES[_PREFIX + name.upper()]
        if number > last:
            raise SpecError(
                f"this kernel doesn't know {title(name)}: its last capability is number {last}, "
                f"and that would be {number}",
                "leave it out: no process has it here",
            )
        found |= 1 << number
    return found


def numbers(bits: int) -> "list[int]":
    """Return the numbers of the bits that are set."""
    return [number for number in range(bits.bit_length()) if bits >> number & 1]


def shown(bits: int) -> str:
    """Return the names of capabilities, for a message: `CAP_KILL, CAP_NET_ADMIN`."""
    known = {number: name for name, number in CAPABILITIES.items()}
    return ", ".join(known.get(number, f"capability {number}") for number in numbers(bits))


def names(given: "Names") -> "frozenset[str]":
    """Return names of capabilities, spelled as pyspawn does; raises SpecError."""
    words = (given.split(",") if given else ()) if isinstance(given, str) else given
    return frozenset(map(_name, words))


def _name(word: str) -> str:
    """Return a capability's name in pyspawn: `net_admin` for `CAP_NET_ADMIN` and `NET_ADMIN`."""
    if not isinstance(word, str):
        raise SpecError(f"{word!r} is not the name of a capability")
    found = word.upper().removeprefix(_PREFIX)
    if _PREFIX + found in CAPABILITIES or found == ALL.upper():
        return found.lower()
    from difflib import get_close_matches

    close = get_close_matches(found, [name.removeprefix(_PREFIX) for name in CAPABILITIES], 1)
    meant = f"did you mean {close[0].lower()}?" if close else "capabilities(7) lists them"
    raise SpecError(f"{word!r} is not the name of a capability: {meant}")


def in_order(named: "Iterable[str]") -> "list[str]":
    """Return names of capabilities in the order of their numbers, ALL first."""
    return sorted(named, key=lambda name: CAPABILITIES.get(_PREFIX + name.upper(), -1))


def title(name: str) -> str:
    """Return the kernel's name of a capability."""
    return _PREFIX + name.upper()


def source(given: "str | PathLike[str] | int") -> str | int:
    """Return the path or the descriptor of a filter, DEFAULT or UNCONFINED; raises SpecError.

    A number is a descriptor, also as a word: `./5` is the file of that name.
    """
    is_path = hasattr(given, "__fspath__")
    if hasattr(given, "__fspath__"):
        given = given.__fspath__()
    elif isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 11:
        given = int(given)
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 1 << 31:
        return given
    if not isinstance(given, str) or not given:
        raise SpecError(f"{given!r} is neither the path nor the descriptor of a seccomp filter")
    check_text("the path of the seccomp filter", given)
    is_word = is_path and given in (DEFAULT, UNCONFINED)
    return f"./{given}" if is_word or given.isdigit() else given


def wish(values: "Mapping[str, Any]", choice: "Choice") -> Rights:
    """Return the rights that the options ask for; raises SpecError."""
    del choice
    filters = values.get("seccomp", [])
    if len(filters) > 1:
        raise SpecError(
            "only one seccomp filter can be installed", "put the rules of all into one filter"
        )
    return Rights(
        cap_drop=frozenset().union(*values.get("cap_drop", ())),
        cap_add=frozenset().union(*values.get("cap_add", ())),
        no_new_privs=values.get("no_new_privs", False),
        seccomp=filters[0] if filters else None,
        disable_userns=values.get("disable_userns", False),
        landlock=_merged(values.get("landlock")),
    )


def _merged(values: "list[Landlock] | None") -> "Landlock | None":
    """Return what all values ask for together; raises SpecError."""
    if values is None:
        return None
    from spawner.rights.landlock import merged

    return merged(values)


def options(rights: Rights) -> "Iterable[tuple[str, str | None]]":
    """Yield the options that ask for `rights`, each with its value, or None for a flag."""
    for option, named in (("cap-drop", rights.cap_drop), ("cap-add", rights.cap_add)):
        if named:
            yield option, ",".join(in_order(named))
    if rights.no_new_privs:
        yield "no-new-privs", None
    if rights.seccomp is not None:
        yield "seccomp", str(rights.seccomp)
    if rights.disable_userns:
        yield "disable-userns", None
    if rights.landlock is not None:
        from spawner.rights import landlock

        for word in landlock.options(rights.landlock):
            yield "landlock", word
