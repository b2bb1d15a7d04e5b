"""What a check found, and what becomes of it in the table."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(enum.Enum):
    """How a promise fared under one engine."""

    KEPT = "kept"
    NOT_KEPT = "NOT KEPT"
    UNPROVEN = "UNPROVEN"
    """Kept, but so it was without an init, where it should have been broken: nothing is shown."""
    SKIPPED = "skipped"


class Init(enum.Enum):
    """Who is PID 1 of the container."""

    PYINIT = "pyinit"
    NONE = "no init"
    ENGINE = "engine's --init"
    PAUSE = "pyinit --pause"
    """Of a pod whose containers share its PID namespace."""


@dataclass(frozen=True)
class Finding:
    """What was seen, in a few words, and whether that is what was promised."""

    kept: bool
    detail: str


def judge(seen: dict[Init, Finding], broken_without: bool) -> Verdict:
    """Judge what was seen of a promise under one engine.

    It is kept if it is with pyinit, in the container or above it as the pod's pause. Where a
    container without an init is expected to break it, that must have been seen too: a check that
    nothing can fail shows nothing.
    """
    ours = [seen[init] for init in (Init.PYINIT, Init.PAUSE) if init in seen]
    if not ours:
        return Verdict.SKIPPED
    if not all(one.kept for one in ours):
        return Verdict.NOT_KEPT
    bare = seen.get(Init.NONE)
    if broken_without and bare is not None and bare.kept:
        return Verdict.UNPROVEN
    return Verdict.KEPT
