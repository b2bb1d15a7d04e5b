"""What all the tools have in common, and what docs/twins.md says of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.twin_words import answered, parsed, twin_of

from pyinit import TWINS, twins
from pyinit.twins import catatonit, dumb_init, tini, voice

pytestmark = pytest.mark.usefixtures("no_twin_variables")

TOOLS = {
    "tini": tini.Tini,
    "docker-init": tini.Tini,
    "dumb-init": dumb_init.DumbInit,
    "catatonit": catatonit.Catatonit,
}


def test_the_names_that_the_start_knows_are_the_tools() -> None:
    assert set(TWINS) == set(TOOLS)
    for name, tool in TOOLS.items():
        assert type(twin_of(parsed(name, "app"))) is tool


ROOT = Path(__file__).parents[2]

needs_sources = pytest.mark.skipif(
    not (ROOT / "LICENSE").exists(), reason="the tests lie without the sources"
)


@needs_sources
def test_the_licence_is_the_projects() -> None:
    assert (ROOT / "LICENSE").read_text() == voice.LICENCE


DOCUMENTED = """
    -s -p -v -w -g -e -l -h --version TINI_SUBREAPER TINI_VERBOSITY TINI_KILL_PROCESS_GROUP
    -c --single-child -r --rewrite --verbose --help -V DUMB_INIT_DEBUG=1 DUMB_INIT_SETSID=0
    -L -P CATATONIT_DEBUG POSIXLY_CORRECT LISTEN_PID
"""


@needs_sources
def test_the_page_has_each_option_and_each_line_a_test() -> None:
    rows = [line for line in (ROOT / "docs/twins.md").read_text().splitlines() if line[:1] == "|"]
    first = " ".join(row.split("|")[1] for row in rows)
    for word in DOCUMENTED.split():
        assert re.search(rf"`{re.escape(word)}[` ]", first), word
    written = "".join(path.read_text() for path in (ROOT / "tests").glob("*/test_*.py"))
    for row in rows:
        if "---" in row or row.split("|")[3].strip().startswith("test"):
            continue
        named = re.findall(r"`(test_\w+)(?:\.py)?`", row.split("|")[3])
        assert named, row
        for name in named:
            known = f"def {name}(" in written or list((ROOT / "tests").glob(f"*/{name}.py"))
            assert known, name


@pytest.mark.parametrize("tool", TWINS)
def test_a_program_is_all_that_is_needed(tool: str) -> None:
    asked = parsed(tool, "app", "word")
    assert asked.program == [b"app", b"word"]
    assert not asked.tells_all
    assert twin_of(asked).name == tool
    assert twin_of(asked).failed == 1


@pytest.mark.parametrize("tool", TWINS)
def test_bytes_that_are_no_text_reach_the_program(tool: str) -> None:
    asked = twins.parse([tool.encode(), b"--", b"\xff\xfe", b"\xc3"])
    assert asked.program == [b"\xff\xfe", b"\xc3"]


@pytest.mark.parametrize("given_words", [[], ["nosuch"], ["TINI"], [""], ["/sbin/tini"]])
def test_another_name_is_refused(capfd: pytest.CaptureFixture[str], given_words: list[str]) -> None:
    status, out, errors = answered(capfd, *given_words)
    assert (status, out) == (125, "")
    assert "tini, docker-init, dumb-init, catatonit" in errors
