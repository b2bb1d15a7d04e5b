"""docs/twins.md tells of all that the tools have, and each of its lines has its tests."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.distribution import CHECKOUT

TOOLS = {
    "tini": "test_twin_tini",
    "dumb-init": "test_twin_dumb_init",
    "catatonit": "test_twin_catatonit",
}
PAGE = CHECKOUT / "docs" / "twins.md"
TESTS = CHECKOUT / "tests"

if not PAGE.exists():
    pytest.skip("the tests lie without the sources", allow_module_level=True)


def section(tool: str) -> str:
    """Return the part of the page on a tool."""
    parts = re.split(r"(?m)^## ", PAGE.read_text())
    (found,) = (part for part in parts if re.match(rf"{tool}\b", part))
    return found


def tables(tool: str) -> tuple[list[list[str]], list[list[str]]]:
    """Return the rows of a tool's options, and those of the deliberate differences."""
    options, differences = section(tool).split("Deliberate differences:")
    rows = []
    for part in (options, differences):
        lines = [line for line in part.splitlines() if line.startswith("|")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        assert all(len(row) == 3 for row in cells)
        rows.append(cells[2:])  # behind the heads and the rule
    return rows[0], rows[1]


@cache
def functions(file: Path) -> dict[str, ast.FunctionDef]:
    """Return the functions of a test file by name."""
    tree = ast.parse(file.read_text())
    return {one.name: one for one in tree.body if isinstance(one, ast.FunctionDef)}


def files_of(tool: str) -> list[Path]:
    """Return the test files that run a tool and its twin side by side."""
    return sorted((TESTS / "system").glob(f"{TOOLS[tool]}*.py"))


def for_both(file: Path) -> set[str]:
    """Return the arguments that stand for the tool and for the twin in turn."""
    (names,) = re.findall(r"(?m)^(\w+, \w+), \w+, \w+ = twins\.fixtures\(", file.read_text())
    return {*names.split(", "), "kind"}


def arguments(function: ast.FunctionDef) -> set[str]:
    return {argument.arg for argument in function.args.args}


@pytest.mark.parametrize("tool", TOOLS)
def test_each_option_has_tests_that_the_tool_itself_passes(tool: str) -> None:
    options, _ = tables(tool)
    assert options
    for row in options:
        named = re.findall(r"`(test_\w+)`", row[2])
        assert named, row
        for name in named:
            (file,) = (file for file in files_of(tool) if name in functions(file))
            assert arguments(functions(file)[name]) & for_both(file), f"{name}: not with the tool"


@pytest.mark.parametrize("tool", TOOLS)
def test_each_deliberate_difference_has_a_test(tool: str) -> None:
    _, differences = tables(tool)
    assert differences
    for row in differences:
        named = re.findall(r"`(test_\w+)`", row[2])
        files = [CHECKOUT / path for path in re.findall(r"`(tests/[\w/]+\.py)`", row[2])]
        files += files_of(tool)
        whole = [TESTS / "system" / name for name in re.findall(r"`(test_\w+\.py)`", row[2])]
        assert named or whole, row
        assert all(file.exists() for file in whole), row
        for name in named:
            known = [file for file in files if file.exists() and name in functions(file)]
            assert known, name


@pytest.mark.parametrize("tool", TOOLS)
def test_each_test_of_a_twin_is_on_the_page(tool: str) -> None:
    page = section(tool)
    names = [name for file in files_of(tool) for name in functions(file)]
    for name in names:
        if name.startswith("test_"):
            assert f"`{name}`" in page, f"{name}: of what line is this the test?"


@pytest.mark.parametrize("tool", TOOLS)
def test_the_page_has_all_that_the_tools_help_has(tool: str) -> None:
    require(tool)
    ended = subprocess.run(
        [tool, "-h"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said = ended.stdout.decode()
    options = re.findall(r"(?m)(?:^ *|, )(--?[A-Za-z][-a-z]*)", said)
    assert len(options) > 4, said
    for option in options:
        assert re.search(rf"`{option}[` ]", section(tool)), option


@pytest.mark.parametrize("tool", TOOLS)
def test_the_page_has_all_variables_that_the_tools_program_knows(tool: str) -> None:
    require(tool)
    program = Path(shutil.which(tool) or "").read_bytes()
    prefix = tool.upper().replace("-", "_").encode()
    variables = set(re.findall(rb"(?<![A-Z_])%b_[A-Z_]+(?![A-Z_])" % prefix, program))
    assert variables
    for variable in variables:
        assert re.search(rf"`{variable.decode()}[`=]", section(tool)), variable
