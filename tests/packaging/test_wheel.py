"""What is in the wheel and in the sdist, and that one comes from the other."""

from __future__ import annotations

import email
import email.message
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from helpers.distribution import CHECKOUT, succeed

import pyinit

SCRIPTS = {"pyinit", "pyspawn"}
PAGES = {"pyinit.1", "pyspawn.1"}


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def sources() -> set[str]:
    """Return the files of both packages, as the wheel should have them."""
    return {
        str(path.relative_to(CHECKOUT))
        for package in ("pyinit", "spawner")
        for path in (CHECKOUT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_the_wheel_has_both_packages_whole_and_nothing_else(wheel: Path) -> None:
    beside = {name for name in names(wheel) if name.split("/")[0] in ("pyinit", "spawner")}
    assert beside == sources()
    assert {"pyinit/py.typed", "spawner/py.typed"} <= beside
    tops = {name.split("/")[0] for name in names(wheel)}
    version = pyinit.__version__
    assert tops == {
        "pyinit",
        "spawner",
        f"pidone-{version}.data",
        f"pidone-{version}.dist-info",
    }


def test_the_wheel_has_commands_manual_pages_and_licence(wheel: Path) -> None:
    version = pyinit.__version__
    data = f"pidone-{version}.data"
    assert {name for name in names(wheel) if name.startswith(data)} == {
        *(f"{data}/scripts/{script}" for script in SCRIPTS),
        *(f"{data}/data/share/man/man1/{page}" for page in PAGES),
    }
    assert f"pidone-{version}.dist-info/licenses/LICENSE" in names(wheel)


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_a_command_is_a_plain_script_that_the_installer_completes(wheel: Path, script: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        member = archive.getinfo(f"pidone-{pyinit.__version__}.data/scripts/{script}")
        assert archive.read(member).splitlines()[0] == b"#!python"
        assert (member.external_attr >> 16) & 0o777 == 0o755


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    says = metadata(wheel)
    assert says["Name"] == "pidone"
    assert says["Version"] == pyinit.__version__
    assert says["Requires-Python"] == ">=3.11"
    assert says["License-Expression"] == "MIT"
    assert says.get_all("Requires-Dist") == ["psutil>=5.9", "pyroute2>=0.7; extra == 'veth'"]
    assert says.get_all("Provides-Extra") == ["veth"]
    text = says.get_payload(decode=True)  # as bytes: the header names no charset
    assert text == (CHECKOUT / "README.md").read_bytes()


def test_the_wheel_of_the_sdist_is_the_wheel_of_the_checkout(wheel: Path, tmp_path: Path) -> None:
    succeed(
        *(sys.executable, "-m", "build", "--no-isolation", "--wheel"),
        *("--outdir", tmp_path, CHECKOUT),
    )
    (direct,) = tmp_path.glob("*.whl")
    assert direct.read_bytes() == wheel.read_bytes()


def _is_left_over(path: Path) -> bool:
    """Tell whether a file was left by running something: caches, compiled modules."""
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def test_the_sdist_is_enough_to_test_from(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    for directory in ("bench", "demo", "docs", "pyinit", "scripts", "spawner", "tests", "tools"):
        wanted = {
            str(path.relative_to(CHECKOUT))
            for path in (CHECKOUT / directory).rglob("*")
            if path.is_file() and not _is_left_over(path.relative_to(CHECKOUT))
        }
        assert wanted <= inside, directory
    assert {"Makefile", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"} <= inside


def test_a_build_that_starts_from_nothing(tmp_path: Path) -> None:
    """The tools that pyproject.toml names for a build are all that a build needs."""
    succeed(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-input", "--no-deps"),
        *("--wheel-dir", tmp_path, CHECKOUT),
    )
    assert len(list(tmp_path.glob("*.whl"))) == 1
