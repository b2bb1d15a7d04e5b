"""tini and its twin, side by side: exit statuses, and programs that can't be started.

A test that takes `tini` runs twice, with the tool and with the twin; `twin` and `peer` are for
the deliberate differences of docs/twins.md.
"""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest
from helpers import twins
from helpers.twins import SUBREAPER, Init, outcome

tini, anywhere, _, _ = twins.fixtures("tini")


@pytest.mark.parametrize("code", [0, 1, 42, 125, 126, 127, 128, 255])
def test_the_status_is_the_programs(anywhere: Init, code: int) -> None:
    assert anywhere.run("--", "sh", "-c", f"exit {code}").status == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGHUP])
def test_a_death_by_signal_is_128_more(anywhere: Init, number: int) -> None:
    assert anywhere.run("--", "sh", "-c", f"kill -{int(number)} $$").status == 128 + number


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (["-e", "3"], 3, 0),
        (["-e3"], 3, 0),
        (["-e3"], 4, 4),
        (["-e", "3", "-e", "4"], 4, 0),
        (["-ge143"], 143, 0),
        (["-e", "0"], 0, 0),
        (["-e", "255"], 255, 0),
        (["-e", " +3"], 3, 0),
        (["-e", ""], 3, 3),
    ],
)
def test_exit_codes_become_0(tini: Init, words: list[str], code: int, status: int) -> None:
    ended = tini.run(*words, "--", "sh", "-c", f"exit {code}", variables=SUBREAPER)
    assert (ended.status, ended.errors) == (status, "")


def test_the_code_of_a_death_by_signal_becomes_0_too(tini: Init) -> None:
    assert tini.run("-e", "143", "--", "sh", "-c", "kill $$").status == 0


def test_the_code_of_a_failed_exec_becomes_0_too(tini: Init) -> None:
    assert tini.run("-e", "127", "--", "/nosuch").status == 0
    assert tini.run("-e", "126", "--", "/etc").status == 0


@pytest.mark.parametrize("value", ["256", "-1", "x", "1x", "0x1", "99999999999999999999", "3,4"])
def test_bad_exit_codes(tini: Init, value: str) -> None:
    ended = tini.run("-e", value, "true")
    assert outcome(ended) == (1, False, True)
    assert ended.errors.startswith("[FATAL tini (")
    assert "-e" in ended.errors


@pytest.fixture
def unfit(tmp_path: Path) -> dict[str, str]:
    """Give paths that can't be executed, by why."""
    plain = tmp_path / "plain"
    plain.write_text("text")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    orphan = tmp_path / "script"
    orphan.write_text("#!/nosuch/interpreter\n")
    orphan.chmod(0o755)
    return {
        "missing": str(tmp_path / "missing"),
        "empty": "",
        "directory": str(tmp_path),
        "plain": str(plain),
        "beneath a file": str(plain / "name"),
        "loop": str(loop),
        "no interpreter": str(orphan),
        "not in PATH": "pidone-no-such-program",
    }


@pytest.mark.parametrize(
    ("why", "status"),
    [
        ("missing", 127),
        ("empty", 127),
        ("not in PATH", 127),
        ("no interpreter", 127),
        ("directory", 126),
        ("plain", 126),
        ("beneath a file", 1),
        ("loop", 1),
    ],
)
def test_failed_execs(anywhere: Init, unfit: dict[str, str], why: str, status: int) -> None:
    # A directory of PATH that may not be searched would make it EACCES.
    variables = {**SUBREAPER, "PATH": os.defpath}
    ended = anywhere.run("--", unfit[why], variables=variables)
    assert outcome(ended) == (status, False, True)
    assert ended.errors.startswith("[FATAL tini (")
    assert unfit[why] in ended.errors


def test_a_script_without_a_first_line_is_run_by_the_shell(tini: Init, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$1"; exit 7\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    ended = tini.run("--", str(script), "word")
    assert (ended.status, ended.out) == (7, b"word\n")
