"""Every namespace by itself, every pair, and all: as root and as an ordinary user, with an init.

Each run works or explains. Works: what was asked for is new, and nothing else is. Explains: one
line and a hint, the status for failures of ours, and no program was run.
"""

from __future__ import annotations

import itertools
import os

import pytest
from helpers.capabilities import require
from helpers.programs import prepared
from helpers.running import Ended, run

from spawner import lean
from spawner.spec import NAMESPACES

ROOT = os.geteuid() == 0
FILES = {kind: {"mount": "mnt"}.get(kind, kind) for kind in NAMESPACES}

BECOME_ORDINARY = """
os.setgroups([])
os.setresgid(64999, 64999, 64999)
os.setresuid(64999, 64999, 64999)
"""

ASKED = [(), *((kind,) for kind in NAMESPACES), *itertools.combinations(NAMESPACES, 2), NAMESPACES]
"""None, each, each pair, and all of them."""

LINKS = "cd /proc/self/ns && for kind in " + " ".join(FILES.values()) + "; do readlink $kind; done"

OURS = [os.readlink(f"/proc/self/ns/{file}") for file in FILES.values()]

each_user = pytest.mark.parametrize("ordinary", [False, True] if ROOT else [True])
each_init = pytest.mark.parametrize("init", [[], ["--init"]], ids=["program", "init"])


def start(words: list[str], *, ordinary: bool) -> Ended:
    require("pidns")
    argv = [*lean.pyspawn(), *words, "--", "/bin/sh", "-c", LINKS]
    if ordinary and ROOT:
        require("other-user")
        return run(prepared(BECOME_ORDINARY, argv))
    return run(argv)


def new_ones(ended: Ended) -> set[str]:
    """Return the kinds that are not ours."""
    links = ended.out.decode().split()
    return {kind for kind, ours, its in zip(FILES, OURS, links, strict=True) if ours != its}


@each_user
@each_init
@pytest.mark.parametrize("asked", ASKED, ids="-".join)
def test_only_these(asked: tuple[str, ...], init: list[str], ordinary: bool) -> None:
    words = ["--share=all", *(f"--{kind}" for kind in asked), *init]
    ended = start(words, ordinary=ordinary)
    if ordinary and asked and "user" not in asked:
        explained(ended, asked)
        ended = start([*words, "--user"], ordinary=ordinary)  # as the hint says
        asked = ("user", *asked)
    assert (ended.status, ended.errors) == (0, "")
    assert new_ones(ended) == set(asked)


def explained(ended: Ended, asked: tuple[str, ...]) -> None:
    """Check that a run said what it lacks, in one line, and how to get it."""
    assert (ended.status, ended.out) == (125, b"")
    message, hint = ended.errors.splitlines()
    first = next(
        kind for kind in ("pid", "time", "mount", "uts", "ipc", "net", "cgroup") if kind in asked
    )
    assert message == (f"pyspawn: make a new {first} namespace: Operation not permitted (EPERM)")
    assert hint.startswith("hint: ")
    assert "--user" in hint


@each_user
@each_init
@pytest.mark.parametrize("asked", ASKED, ids="-".join)
def test_these_on_top_of_those_unasked(
    asked: tuple[str, ...], init: list[str], ordinary: bool
) -> None:
    unasked = {"pid", "mount", "ipc", "uts", "cgroup"} | ({"user"} if ordinary else set())
    listed = [f"--unshare={','.join(asked)}"] if asked else []
    ended = start([*listed, *init], ordinary=ordinary)
    assert (ended.status, ended.errors) == (0, "")
    assert new_ones(ended) == unasked | set(asked)


@each_user
@each_init
def test_all_by_their_common_name(init: list[str], ordinary: bool) -> None:
    ended = start(["--unshare=all", *init], ordinary=ordinary)
    assert (ended.status, ended.errors) == (0, "")
    assert new_ones(ended) == set(NAMESPACES)


@each_user
@each_init
@pytest.mark.parametrize("kept", [each for each in ASKED if each], ids="-".join)
def test_all_but_these(kept: tuple[str, ...], init: list[str], ordinary: bool) -> None:
    words = ["--unshare=all", f"--share={','.join(kept)}", *init]
    ended = start(words, ordinary=ordinary)
    left = tuple(kind for kind in NAMESPACES if kind not in kept)
    if ordinary and left and "user" in kept:
        explained(ended, left)
        return
    assert (ended.status, ended.errors) == (0, "")
    assert new_ones(ended) == set(left)
