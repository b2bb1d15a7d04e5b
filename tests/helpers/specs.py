"""Specifications by the fields of their wishes: `specified(["true"], namespaces=..., user=5)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spawner.ids.identity import Identity
from spawner.life.persist import Keep
from spawner.limit.limits import Limits
from spawner.limit.output import Output
from spawner.mount.tree import Tree
from spawner.rights.rights import Rights
from spawner.spec import Spec, Wish
from spawner.terminal.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence


def specified(arguments: Sequence[str], **fields: Any) -> Spec:
    """Return a specification; each field goes to the wish that has one of its name."""
    wishes: list[Wish] = []
    for name in ("groups", "environment"):
        if fields.get(name) is not None:
            fields[name] = tuple(fields[name])
    for kind in (Identity, Tree, Output, Limits, Rights):
        own = {name: fields.pop(name) for name in kind._fields if name in fields}
        if own:
            wishes.append(kind(**own))
    if fields.pop("session", False):
        wishes.append(Session())
    if "persist" in fields:
        wishes.append(Keep(fields.pop("persist")))
    wishes += [fields.pop(name) for name in ("joins", "network") if name in fields]
    return Spec(tuple(arguments), wishes=tuple(wishes), **fields)
