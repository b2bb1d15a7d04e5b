"""What the Python API takes about ids, as options of the launcher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner.errors import SpecError
from spawner.idmap import AUTO, IdMap
from spawner.spec import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spawner.process import Extents

_MAPS = {"root": "map-root-user", "current": "map-current-user", "auto": "map-auto"}


def wanted(
    *,
    map: str | None,  # noqa: A002  the name that `Process` has for it
    map_users: Extents | None,
    map_groups: Extents | None,
    user: int | None,
    group: int | None,
    extra_groups: Iterable[int] | None,
) -> dict[str, object]:
    """Return the options, by their names, with values as words; raises SpecError."""
    if map is not None and map not in _MAPS:
        raise SpecError(f"map can't be {map!r}", f"it is one of {', '.join(_MAPS)}")
    found: dict[str, object] = {} if map is None else {_MAPS[map]: True}
    for name, extents in (("map_users", map_users), ("map_groups", map_groups)):
        if extents is not None:
            found[name.replace("_", "-")] = _extents(name, extents)
    for name, option, value in (("user", "setuid", user), ("group", "setgid", group)):
        if value is not None:
            found[option] = str(_id(name, value))
    if extra_groups is not None:
        found["groups"] = ",".join(str(_id("extra_groups", value)) for value in extra_groups)
    return found


def _extents(name: str, extents: Extents) -> list[str]:
    if isinstance(extents, str):
        if extents != AUTO:
            raise SpecError(f"{name} can't be {extents!r}", f"it is an IdMap, or {AUTO!r}")
        return [AUTO]
    try:
        made = extents if isinstance(extents, IdMap) else IdMap(extents)
    except TypeError:
        raise SpecError(
            f"{name} can't be {extents!r}", "it is an IdMap, or a list of (inner, outer, count)"
        ) from None
    return str(made).split()


def _id(name: str, value: int) -> int:
    """Return an id; names aren't looked up, since those inside are others."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_ID:
        raise SpecError(f"{name} takes ids from 0 to {MAX_ID}, not {value!r}")
    return value
