"""Joins as a plan knows them, made up for a test."""

from __future__ import annotations

from helpers.specs import specified
from spawner.caller import Caller
from spawner.ids.identity import Identity
from spawner.joining import hold
from spawner.joining.enter import Joined
from spawner.joining.target import Joins
from spawner.spec import Namespaces

NONE = Namespaces(())
KINDS = ("user", "pid", "mount", "uts", "ipc", "net", "cgroup", "time")


def joined(kinds: tuple[str, ...], *, privileged: bool, first: bool = False) -> Joined:
    joins = Joins("1")
    spec = specified(["true"], namespaces=NONE, joins=joins)
    held = hold.Held(joins, 100)
    held.privileged = privileged
    held.namespaces = {kind: 101 + at for at, kind in enumerate(kinds)}
    held.first = 99 if first else None
    return Joined(spec, Identity(), Caller(user=0 if privileged else 1000, group=0), held)
