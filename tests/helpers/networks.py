"""Start pyspawn with a network, for whom and by which helper a test asks."""

from __future__ import annotations

import re
import select
from pathlib import Path

import pytest

from helpers import children
from helpers.capabilities import require
from helpers.nets import OPEN_TUN, ROOT, USER, nest
from helpers.programs import Word
from helpers.pyspawn import refusal
from helpers.running import Ended, run
from spawner import lean

CARRIERS = ["slirp4netns", "pasta"]

CALLERS = {
    "root": (ROOT, ()),
    "root in a user namespace": (ROOT, ("--map-root-user",)),
    "a user": (USER, ()),
    "a user as themself": (USER, ("--map-current-user",)),
    "a user with a keeper": (USER, ("--share", "pid")),
}
"""Who runs pyspawn, and how: each is another way to the helper's rights."""

carriers = pytest.mark.parametrize("kind", CARRIERS)
callers = pytest.mark.parametrize("caller", CALLERS)
SHELL = "/bin/sh"


def pyspawn(*words: Word, program: tuple[Word, ...] = ("/bin/echo", "ran")) -> Ended:
    return run([*lean.pyspawn(), *words, "--", *program])


def as_caller(caller: str, kind: str, *words: Word, **more: object) -> list[Word]:
    """Return the argv of a pyspawn with a network, in a nest; asks for what that takes."""
    code, how = CALLERS[caller]
    if code == USER:
        require("other-user")
    require("root", "userns", "tun", "ip", "nsenter", *([kind] if kind in CARRIERS else []))
    return nest(OPEN_TUN + code, "--network", kind, *how, *words, **more)  # type: ignore[arg-type]


def refused(ended: Ended, message: str) -> str:
    """Return the hint of a run that failed with a message of this pattern."""
    assert (ended.status, ended.out) == (125, b""), ended
    said, hint = refusal(ended.errors)
    assert re.fullmatch(message, said), said
    return hint


def fake(directory: Path, name: str, script: str) -> str:
    """Put a program in the place of a helper; return code for a nest that has it found."""
    directory.chmod(0o755)
    for above in directory.parents[:2]:
        above.chmod(0o755)
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"os.environ['PATH'] = {str(directory)!r} + ':' + os.environ['PATH']\n"


def gone(pidfd: int) -> bool:
    """Wait for the end of a process."""
    return bool(select.select([pidfd], [], [], children.SAFETY_SECONDS)[0])


def sockets() -> set[Path]:
    """Return the directories of helpers' sockets, of other launches too."""
    return set(Path("/tmp").glob("pyspawn-*"))


def left_in_tmp(before: set[Path]) -> list[Path]:
    """Return those that have come since `before`, but for those of other launches, which pass."""
    found = sockets() - before
    children.wait_until(lambda: not any(map(Path.exists, found)), f"the end of {found}")
    return [path for path in found if path.exists()]
