"""The id maps of a container and the ids of its program, as a value that checks itself."""

from spawner.errors import SpecError, mark
from spawner.ids.idmap import MAX_ID
from spawner.spec import Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from dataclasses import KW_ONLY
    from typing import Any

    from spawner.ids.idmap import IdMap
    from spawner.ids.names import User
    from spawner.spec import Choice, Spec

NGROUPS_MAX = 65536
"""The most supplementary groups that a process can have, linux/limits.h."""


class Identity(Wish):
    """The ids of a new user namespace, and those of the program, in it or on this host.

    `map_user` and `map_group` are the ids that the caller has in a new user namespace, None for no
    other than the maps `user_map` and `group_map` give; with `auto_users` and `auto_groups` the
    caller's subordinate ranges fill what these leave free. `setgroups` is "allow" or "deny" for
    setgroups(2) inside, None for what has to be. `user`, `group` and `groups` (supplementary) are
    who the program is, None for the caller.
    """

    door = "spawner.ids.part"

    _: "KW_ONLY"
    map_user: int | None = 0
    map_group: int | None = 0
    user_map: "IdMap | None" = None
    group_map: "IdMap | None" = None
    auto_users: bool = False
    auto_groups: bool = False
    setgroups: str | None = None
    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None

    @property
    def is_own(self) -> bool:
        """Whether the maps hold only the caller's own user and group ids."""
        return (
            None not in (self.map_user, self.map_group)
            and (self.user_map, self.group_map, self.setgroups) == (None, None, None)
            and not (self.auto_users or self.auto_groups or self.chooses)
        )

    @property
    def chooses(self) -> bool:
        """Whether the program may get other ids than the caller's."""
        return (self.user, self.group, self.groups) != (None, None, None)

    @property
    def needs(self) -> "Iterable[tuple[str, str]]":
        """The user namespace, with a message for each setting that needs it."""
        for kind, whole, auto in (
            ("user", self.user_map, self.auto_users),
            ("group", self.group_map, self.auto_groups),
        ):
            if whole is not None or auto:
                yield "user", f"a map of {kind} ids needs a new user namespace"
        if self.setgroups is not None:
            yield "user", "allowing or denying setgroups needs a new user namespace"

    def _check(self) -> None:
        for kind, numbers in (
            ("user", (self.map_user, self.user)),
            ("group", (self.map_group, self.group, *(self.groups or ()))),
        ):
            for number in numbers:
                if number is not None and not 0 <= number <= MAX_ID:
                    raise SpecError(f"{number} can't be a {kind} id: ids go from 0 to {MAX_ID}")
        if self.groups is not None and len(self.groups) > NGROUPS_MAX:
            raise SpecError(f"a process has at most {NGROUPS_MAX} supplementary groups")
        for kind, own, whole, auto in (
            ("user", self.map_user, self.user_map, self.auto_users),
            ("group", self.map_group, self.group_map, self.auto_groups),
        ):
            if own is None and whole is None and not auto:
                hint = f"add {mark(f'--map-{kind}')} or {mark(f'--map-{kind}s')}"
                raise SpecError(f"no {kind} id is mapped", hint)
        if self.setgroups not in (None, "allow", "deny"):
            raise SpecError(f"setgroups is allow or deny, not {self.setgroups!r}")

    def check(self, spec: "Spec") -> None:
        """Raise SpecError for ids that need a new user namespace where that is only optional."""
        for kind, mapped in (("user", self.map_user), ("group", self.map_group)):
            if mapped and "user" not in spec.namespaces.wanted:
                raise SpecError(
                    f"{kind} id {mapped} can be mapped only in a new user namespace",
                    f"add {mark('--user')}",
                )
        super().check(spec)
        if self.chooses and "user" in spec.namespaces.optional:
            # Without it the numbers would be other people.
            raise SpecError(
                "running as another user or group of the container needs a new user namespace",
                f"add {mark('--user')}",
            )


def wish(values: "Mapping[str, Any]", choice: "Choice") -> Identity | None:
    """Return the identity that the options ask for, or None for that of a plain run.

    Raises UsageError and SpecError.
    """
    from pyinit.cmdline import UsageError

    named = [name for name in ("map_root_user", "map_current_user") if values.get(name)]
    if len(named) > 1:
        raise UsageError(
            f"{mark('--map-root-user')} and {mark('--map-current-user')} exclude each other"
        )
    for name in ("map_user", "map_group"):
        if name in values and named:
            chosen, other = named[0].replace("_", "-"), name.replace("_", "-")
            raise UsageError(f"{mark(f'--{chosen}')} and {mark(f'--{other}')} exclude each other")
    maps = {**_maps(values, "user", choice.user), **_maps(values, "group", choice.group)}
    names = ("map_user", "map_group", "map_auto", "map_users", "map_groups")
    if (named or any(name in values for name in names)) and "user" not in choice.attempt:
        choice.unshare.append("user")
    found = Identity(
        **maps,
        setgroups=values.get("setgroups"),
        user=values.get("setuid"),
        group=_group(values),
        groups=values.get("groups"),
    )
    return None if found == Identity() else found


def _maps(values: "Mapping[str, Any]", kind: str, own: int) -> "dict[str, Any]":
    """Return the map that the options ask for: the caller becomes id 0 unless they name another id.

    Named extents are the whole map: the caller's own id is part of it only where it's named, or
    comes with the subordinate range.
    """
    extents = values.get(f"map_{kind}s", ())
    auto = values.get("map_auto", False) or "auto" in extents
    named = [extent for extent in extents if extent != "auto"]
    inner: int | None
    if values.get("map_current_user"):
        inner = own
    elif named and not auto and not values.get("map_root_user"):
        inner = values.get(f"map_{kind}")
    else:
        inner = values.get(f"map_{kind}", 0)
    found: dict[str, Any] = {f"map_{kind}": inner, f"auto_{kind}s": auto}
    if named:
        from spawner.ids.idmap import Extent, IdMap

        IdMap([*([] if inner is None else [Extent(inner, own)]), *named])
        found[f"{kind}_map"] = IdMap(named)
    return found


def _group(values: "Mapping[str, Any]") -> int | None:
    """Return the group that was named, or else the login group of the user who was named."""
    if "setgid" in values or "setuid" not in values:
        return values.get("setgid")
    user: User | int = values["setuid"]
    return getattr(user, "group", None)
