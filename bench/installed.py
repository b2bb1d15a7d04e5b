"""Finds what is measured: an installed, byte-compiled copy of ours, and the peers."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

PEERS = ("tini", "dumb-init", "catatonit", "unshare", "bwrap", "crun", "runc")
_ADMINS_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


class NotMeasurable(Exception):  # noqa: N818  a state of the installation, with words for the user
    """There is no copy of ours whose figures would mean anything."""


@dataclass(frozen=True)
class Ours:
    """An installed copy: its two commands, and the lean command lines that programs use."""

    pyinit: str
    pyspawn: str
    lean_pyinit: tuple[str, ...]
    lean_pyspawn: tuple[str, ...]


_ASK_THE_COPY = """
import json
from pyinit import restart
from spawner import lean
lean_pyinit = [*lean.lean("")[:-1], restart.START.format(directory=lean.HERE)]
print(json.dumps([lean.HERE, lean_pyinit, lean.pyspawn()]))
"""


def find_ours() -> Ours:
    """Find the copy installed beside this interpreter and see that it is byte-compiled.

    Another interpreter is asked, which doesn't look into the working directory: that may be the
    checkout. Raises NotMeasurable.
    """
    asked = subprocess.run(
        [sys.executable, "-I", "-c", _ASK_THE_COPY], capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        reason = asked.stderr.strip().rpartition("\n")[2]
        raise NotMeasurable(f"no installed copy of ours ({reason}); `make bench` installs one")
    here, lean_pyinit, lean_pyspawn = json.loads(asked.stdout)
    if (Path(here) / "pyproject.toml").exists():
        raise NotMeasurable(f"{here} is a checkout; `make bench` installs a copy")
    for package in ("pyinit", "spawner"):
        if not compileall.compile_dir(Path(here) / package, quiet=2):
            raise NotMeasurable(
                f"{here}/{package} isn't byte-compiled, and this user may not do it"
            )
    scripts = Path(sysconfig.get_path("scripts"))
    return Ours(
        str(scripts / "pyinit"), str(scripts / "pyspawn"), tuple(lean_pyinit), tuple(lean_pyspawn)
    )


def find_peers() -> dict[str, str]:
    """Return the absolute path of each peer that is installed, by name."""
    return {name: path for name in PEERS if (path := find(name))}


def find(name: str) -> str | None:
    """Return the absolute path of a program, or None where it isn't installed."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":" + _ADMINS_PATH)


def version(path: str) -> str:
    """Return the first line that a peer says about its version."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return (said.stdout + said.stderr).partition("\n")[0].strip()
