"""Another init and its twin, run side by side: what a test says has to hold for both."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from helpers.capabilities import require
from helpers.places import Place
from helpers.programs import Word, as_pid1, prepared, pyinit
from helpers.running import Ended, Running, run

KINDS = ("peer", "twin")
"""For fixtures: the tool that the machine has, and us in its place."""

SUBREAPER = {"TINI_SUBREAPER": ""}
"""Without it tini warns of itself wherever it isn't PID 1."""

_VARIABLES = ("TINI_", "DUMB_INIT_", "CATATONIT_", "POSIXLY_CORRECT", "PYINIT_")

_NONE: Mapping[str, str] = {}


def environment(variables: Mapping[str, str] = _NONE) -> dict[str, str]:
    """Return our environment without the variables that any of the tools heeds, plus these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_VARIABLES)}
    return {**kept, **variables}


class Init:
    """One of the two: the `peer` that the machine has, or the `twin` that we are."""

    def __init__(self, tool: str, kind: str, place: Place | None = None) -> None:
        if kind == "peer":
            require(tool)
        self.tool = tool
        self.is_twin = kind == "twin"
        self.inside = place is not None and place.inside

    def argv(self, *arguments: Word, prepare: str = "") -> list[Word]:
        """Return the whole argument vector; `prepare` is code that runs before the init."""
        own = pyinit("--as", self.tool) if self.is_twin else [self._path()]
        argv = [*own, *arguments]
        if prepare:
            argv = prepared(prepare, argv)
        return as_pid1(argv, "--kill-child") if self.inside else argv

    def start(
        self,
        *arguments: Word,
        prepare: str = "",
        variables: Mapping[str, str] = _NONE,
        **how: Any,
    ) -> Running:
        """Start the init; its environment is `environment(variables)`."""
        argv = self.argv(*arguments, prepare=prepare)
        return Running(argv, inside=self.inside, environment=environment(variables), **how)

    def run(
        self,
        *arguments: Word,
        prepare: str = "",
        variables: Mapping[str, str] = _NONE,
        **how: Any,
    ) -> Ended:
        """Run the init to its end; its environment is `environment(variables)`."""
        argv = self.argv(*arguments, prepare=prepare)
        return run(argv, inside=self.inside, environment=environment(variables), **how)

    def link(self, path: Path) -> Path:
        """Make the file `path`, whose name is the tool's, start the init; return it."""
        if self.is_twin:
            made = run(pyinit("--install-as", self.tool, str(path.parent)))
            assert (made.status, made.errors) == (0, "")
        else:
            path.symlink_to(self._path())
        return path

    def _path(self) -> str:
        path = shutil.which(self.tool)
        assert path
        return path


def outcome(ended: Ended) -> tuple[int, bool, bool]:
    """Return what scripts could depend on: the status, and which streams were written to."""
    return ended.status, bool(ended.out), bool(ended.errors)


def fixtures(tool: str) -> tuple[Any, ...]:
    """Return fixtures: the tool and then its twin, as a child; the same, also as PID 1; each alone.

    What a test does with the first two has to hold for both.
    """

    @pytest.fixture(params=KINDS)
    def child(request: pytest.FixtureRequest) -> Init:
        return Init(tool, request.param)

    @pytest.fixture(params=KINDS)
    def anywhere(request: pytest.FixtureRequest, place: Place) -> Init:
        return Init(tool, request.param, place)

    @pytest.fixture
    def twin() -> Init:
        return Init(tool, "twin")

    @pytest.fixture
    def peer() -> Init:
        return Init(tool, "peer")

    return child, anywhere, twin, peer
