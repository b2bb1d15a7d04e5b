"""Join containers of other makers with `pyspawn exec`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

from helpers.containers import MAKERS, as_owner
from helpers.programs import Word
from helpers.running import Ended, run
from spawner import lean


def container(maker: str, place: Path) -> AbstractContextManager[int]:
    return cast("AbstractContextManager[int]", MAKERS[maker](place))


def join(pid: int | str, *words: Word, owner: bool = True, **how: object) -> Ended:
    return run(joining(pid, *words, owner=owner), **how)


def joining(pid: int | str, *words: Word, owner: bool = True) -> list[Word]:
    argv: list[Word] = [*lean.pyspawn(), "exec", str(pid), *words]
    return as_owner(argv) if owner else argv
