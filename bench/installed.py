"""Finds what is measured: an installed, byte-compiled copy of ours, and the peers."""

from __future__ import annotations

import compileall
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
    """An installed copy: the interpreter, the directory of its packages, its two commands."""

    python: str
    packages: str
    pyinit: str
    pyspawn: str

    @property
    def lean_pyinit(self) -> tuple[str, ...]:
        """The command line that `pyspawn` uses for the PID 1: no `site`, no `runpy`."""
        return self._lean("pyinit")

    @property
    def lean_pyspawn(self) -> tuple[str, ...]:
        """The command line that the Python API uses for each container."""
        return self._lean("spawner")

    def _lean(self, package: str) -> tuple[str, ...]:
        code = f"import sys;sys.path[:0]=[{self.packages!r}];import {package}.__main__"
        return (self.python, "-I", "-S", "-c", code)


def find_ours() -> Ours:
    """Find the copy installed beside this interpreter and see that it is byte-compiled.

    The working directory may be the checkout, so the import system isn't asked. Raises
    NotMeasurable.
    """
    packages = Path(sysconfig.get_path("purelib"))
    scripts = Path(sysconfig.get_path("scripts"))
    for part in (
        packages / "pyinit",
        packages / "spawner",
        scripts / "pyinit",
        scripts / "pyspawn",
    ):
        if not part.exists():
            raise NotMeasurable(f"{part} is missing: `make bench` installs a copy and measures it")
    for package in ("pyinit", "spawner"):
        if not compileall.compile_dir(packages / package, quiet=2):
            raise NotMeasurable(
                f"{packages / package} isn't byte-compiled, and this user may not do it"
            )
    return Ours(sys.executable, str(packages), str(scripts / "pyinit"), str(scripts / "pyspawn"))


def find_peers() -> dict[str, str]:
    """Return the absolute path of each peer that is installed, by name."""
    search = os.environ.get("PATH", os.defpath) + ":" + _ADMINS_PATH
    return {name: path for name in PEERS if (path := shutil.which(name, path=search))}


def version(path: str) -> str:
    """Return the first line that a peer says about its version."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return (said.stdout + said.stderr).partition("\n")[0].strip()
