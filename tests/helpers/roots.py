"""A root directory whose programs are the host's."""

from __future__ import annotations

import os
from pathlib import Path

from helpers.programs import Word
from helpers.pyspawn import spawn
from helpers.running import Ended

TOPS = [name for name in ("bin", "lib", "lib64", "sbin") if os.path.exists(f"/{name}")]


class Root:
    """A root whose programs are the host's, bound read-only."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.binds: list[Word] = ["--ro-bind", "/usr", "/usr"]
        for name in ("usr", "proc", "etc", "tmp", "mine"):
            (place / name).mkdir(parents=True)
        for name in TOPS:
            if os.path.islink(f"/{name}"):
                (place / name).symlink_to(os.readlink(f"/{name}"))
            else:
                (place / name).mkdir()
                self.binds += ["--ro-bind", f"/{name}", f"/{name}"]
        self.names = sorted([*TOPS, "etc", "mine", "proc", "tmp", "usr"])

    def words(self, script: str, *options: Word) -> list[Word]:
        return ["--rootfs", str(self.place), *self.binds, *options, "--", "/bin/sh", "-c", script]

    def sh(self, script: str, *options: Word) -> Ended:
        return spawn(*self.words(script, *options))
