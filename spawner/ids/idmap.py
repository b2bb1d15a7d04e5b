"""User and group ids inside and outside a user namespace, as values; pure.

user_namespaces(7), "User and group ID mappings": a map is a few extents, each of which gives the
`count` ids from `outer` on, outside, the names from `inner` on. Outside is the user namespace of
who writes the map.
"""

from spawner.errors import SpecError
from spawner.spec import Frozen

MAX_ID = 4294967294
"""The greatest user or group id; the next one, (uid_t) -1, means none, credentials(7)."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Run = tuple[int, int]
    """A run of consecutive ids: (first, count)."""

MAX_EXTENTS = 340
"""The most extents in a map, linux/user_namespace.h (UID_GID_MAP_MAX_EXTENTS)."""

AUTO = "auto"
"""Stands for all of the caller's subordinate ids in a list of extents."""


def unknown(name: str, database: str) -> str:
    """Return the message for a name that isn't in the database "passwd" or "group"."""
    kind = "user" if database == "passwd" else "group"
    return (
        f"{name!r} is neither a {kind} of this host (`getent {database}` shows them) nor an id "
        f"(a number from 0 to {MAX_ID}, as id(1) shows it)"
    )


def identity(word: str) -> int:
    """Return a user or group id; raises ValueError, with a message for users."""
    if not (word.isascii() and word.isdigit()) or len(word) > 10 or int(word) > MAX_ID:
        raise ValueError(f"{word!r} is not an id (a number from 0 to {MAX_ID}, as id(1) shows it)")
    return int(word)


def identities(word: str) -> tuple[int, ...]:
    """Return the ids in a list with commas, which may be empty; raises ValueError."""
    return tuple(map(identity, word.split(","))) if word else ()


class Extent(Frozen):
    """`count` consecutive ids, from `inner` on inside and from `outer` on outside.

    Raises SpecError for what isn't an id.
    """

    inner: int
    outer: int
    count: int

    def __init__(self, inner: int, outer: int, count: int = 1) -> None:
        self._set(inner=inner, outer=outer, count=count)
        for value in self._values():
            if not isinstance(value, int) or isinstance(value, bool):
                raise SpecError(f"{value!r} can't be part of an id map: only whole numbers can")
        if count < 1:
            raise SpecError(f"{self} maps nothing: the count has to be 1 or more")
        if min(inner, outer) < 0 or max(inner, outer) + count - 1 > MAX_ID:
            raise SpecError(f"{self} goes beyond the range of ids, 0 to {MAX_ID}")

    def __str__(self) -> str:
        return f"{self.inner}:{self.outer}:{self.count}"

    def part(self, start: int, count: int) -> "Extent":
        """Return the part of the extent with `count` ids, beginning `start` ids after its first."""
        return Extent(self.inner + start, self.outer + start, count)


def extent(word: str) -> Extent:
    """Return the extent in `INNER:OUTER:COUNT`; raises ValueError, with a message for users."""
    parts = word.split(":")
    if len(parts) == 3:
        return Extent(identity(parts[0]), identity(parts[1]), _count(parts[2]))
    turned = word.split(",")
    if len(turned) == 3:
        # unshare(1) before 2.39 has the outer id first: to guess could map root by mistake.
        raise ValueError(
            f"{word!r} has commas, as in older versions of unshare, where the outer id comes "
            f"first: that would be {turned[1]}:{turned[0]}:{turned[2]} here"
        )
    raise ValueError(f"{word!r} is not INNER:OUTER:COUNT")


def _extent(item: "Extent | tuple[int, int, int] | str") -> Extent:
    """Return an Extent from an Extent, a tuple or text; raises SpecError."""
    if isinstance(item, Extent):
        return item
    if isinstance(item, str):
        try:
            return extent(item)
        except SpecError:
            raise
        except ValueError as error:
            raise SpecError(str(error)) from None
    try:
        inner, outer, count = item
    except (TypeError, ValueError):
        raise TypeError(f"{item!r} is not (inner, outer, count)") from None
    return Extent(inner, outer, count)


def _count(word: str) -> int:
    if not (word.isascii() and word.isdigit()) or len(word) > 10:
        raise ValueError(f"{word!r} is not a number of ids")
    return int(word)


_UNSHARES = {
    "all": f"name the ids: for root, 0:0:{MAX_ID + 1}",
    "subids": "auto maps subordinate ids, from the lowest free id on",
}
"""Words that only unshare(1) accepts, with what to write here instead."""


def extent_or_auto(word: str) -> Extent | str:
    """Return the extent in `INNER:OUTER:COUNT`, or AUTO; raises ValueError."""
    if word in _UNSHARES:
        raise ValueError(f"{word!r} is a word that only unshare(1) knows: {_UNSHARES[word]}")
    return AUTO if word == AUTO else extent(word)


class IdMap(Frozen):
    """A user or group id map: a list of extents that don't overlap, inside or outside.

    Takes extents, (inner, outer, count) or INNER:OUTER:COUNT in any iterable, or text with spaces
    between them. It compares by them. Raises SpecError, which shows the map, where ids are mapped
    twice, and where there are more than MAX_EXTENTS extents or none; TypeError for anything else.
    """

    extents: tuple[Extent, ...]

    def __init__(self, extents: "str | Iterable[Extent | tuple[int, int, int] | str]") -> None:
        items = extents.split() if isinstance(extents, str) else extents
        made = tuple(_extent(item) for item in items)
        self._set(extents=made)
        if not made:
            raise SpecError("an id map without extents maps nothing")
        if len(made) > MAX_EXTENTS:
            raise SpecError(
                f"an id map has at most {MAX_EXTENTS} extents, user_namespaces(7), and this one "
                "would have more",
                "name fewer and longer extents",
            )
        for side in ("inner", "outer"):
            self._check_overlap(side)

    def _check_overlap(self, side: str) -> None:
        end = -1
        for item in sorted(self.extents, key=lambda item: int(getattr(item, side))):
            start = getattr(item, side)
            if start <= end:
                raise SpecError(
                    f"the map {self} would map the {side} id {start} twice",
                    "name extents that don't overlap, as INNER:OUTER:COUNT",
                )
            end = start + item.count - 1

    def __str__(self) -> str:
        return " ".join(map(str, self.extents))

    def __repr__(self) -> str:
        return f"IdMap({str(self)!r})"

    @property
    def text(self) -> str:
        """The map as the kernel reads it: a line for each extent."""
        return "\n".join(f"{item.inner} {item.outer} {item.count}" for item in self.extents)

    def to_outer(self, inner: int) -> int | None:
        """Return the outer id that an inner id is mapped to, or None if it isn't mapped."""
        for item in self.extents:
            if 0 <= inner - item.inner < item.count:
                return item.outer + inner - item.inner
        return None

    def to_inner(self, outer: int) -> int | None:
        """Return the inner id that an outer id is mapped to, or None if it isn't mapped."""
        for item in self.extents:
            if 0 <= outer - item.outer < item.count:
                return item.inner + outer - item.outer
        return None

    def split(self, parent: "IdMap") -> "IdMap":
        """Return the map split so that no extent crosses an extent boundary of the parent's map.

        The kernel refuses one that does, and ids that the user namespace outside, whose own map is
        `parent`, doesn't have. Those raise SpecError here.
        """
        found: list[Extent] = []
        for item in self.extents:
            done = 0
            while done < item.count:
                count = _together(parent, item.outer + done)
                if not count:
                    raise SpecError(
                        f"{self} can't be mapped: the outer id {item.outer + done} isn't mapped in "
                        f"pyspawn's own user namespace, whose map is {parent}",
                        "name ids that are mapped, or start pyspawn where these are mapped",
                    )
                count = min(count, item.count - done)
                found.append(item.part(done, count))
                done += count
        return IdMap(found)


def _together(parent: IdMap, start: int) -> int:
    """Return how many ids from `start` on lie in the same extent of the parent's map."""
    for item in parent.extents:
        if 0 <= start - item.inner < item.count:
            return item.inner + item.count - start
    return 0


def parse(text: str) -> IdMap:
    """Return the map in the text of a /proc/PID/uid_map; raises ValueError."""
    return IdMap(Extent(*map(int, line.split())) for line in text.splitlines())


def free(start: int, count: int, taken: "Iterable[Run]") -> "Iterator[Run]":
    """Yield the runs of ids among the `count` from `start` on that aren't in `taken`."""
    end = start + count
    for first, number in sorted(taken):
        if first + number <= start:
            continue
        if first >= end:
            break
        if first > start:
            yield start, first - start
        start = first + number
    if start < end:
        yield start, end - start


def fill(extents: "Iterable[Extent]", ranges: "Iterable[Run]") -> IdMap:
    """Return a map of `extents`, to which all ids of `ranges` are added.

    They become the ids inside that the extents leave free, from the lowest on. An id that one of
    the extents, or an earlier range, has mapped already is mapped once.
    """
    found = list(extents)
    inside = list(free(0, MAX_ID + 1, [(item.inner, item.count) for item in found]))
    for start, number in ranges:
        if len(found) > MAX_EXTENTS:
            break  # which is refused, however many more there are
        runs = list(free(start, number, [(item.outer, item.count) for item in found]))
        for first, count in runs:
            while count and inside:
                inner, room = inside.pop(0)
                used = min(count, room)
                found.append(Extent(inner, first, used))
                first, count = first + used, count - used  # noqa: PLW2901
                if used < room:
                    inside.insert(0, (inner + used, room - used))
    return IdMap(found)
