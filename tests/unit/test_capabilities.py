"""What a machine can't do is found out once, and the skip says what is missing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from helpers import capabilities
from helpers.capabilities import has, require
from helpers.running import Ended, run

ASK = """
import sys
import pytest
from helpers.capabilities import require
try:
    require(*sys.argv[1:])
except (pytest.skip.Exception, pytest.fail.Exception) as outcome:
    print(type(outcome).__name__, outcome.msg)
else:
    print("there")
"""


def asked(*names: str, keep: str = "", ci: bool = False) -> str:
    """Ask for capabilities as root with no rights, or only those to keep; return the outcome."""
    require("root", "setpriv")
    argv = ["setpriv", f"--bounding-set=-all{keep}", "--inh-caps=-all", "--", sys.executable, "-c"]
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    environment |= {"PYTHONPATH": str(Path(capabilities.__file__).parents[1])}
    environment |= {"CI": "true"} if ci else {}
    ended: Ended = run([*argv, ASK, *names], environment=environment)
    assert (ended.status, ended.errors) == (0, "")
    return ended.out.decode().strip()


def test_root_without_rights_skips_and_the_reason_says_so() -> None:
    for name in ("root", "pidns", "other-user", "tun"):
        expected = f"Skipped missing capability {name}: root has no capabilities(7)"
        assert asked(name) == expected
    assert asked("CAP_KILL") == "Skipped missing capability CAP_KILL: we have no CAP_KILL"


def test_root_with_one_right_is_told_those_that_it_lacks() -> None:
    said = asked("root", keep=",+sys_admin")
    assert "root has no CAP_CHOWN, " in said
    assert "CAP_SYS_ADMIN" not in said


def test_a_right_that_makes_namespaces_serves_those_who_need_no_more() -> None:
    assert asked("pid1", keep=",+sys_admin") == "there"
    assert asked("pidns", keep=",+sys_admin").startswith("Skipped missing capability pidns: ")
    assert "unshare" in asked("pid1")


def test_in_ci_a_missing_right_of_root_is_a_failure() -> None:
    assert asked("root", ci=True).startswith("Failed missing capability root: ")
    assert asked("pidns", ci=True).startswith("Failed missing capability pidns: ")


def test_what_is_there_is_there() -> None:
    if has("root"):
        require("pidns", "CAP_SYS_ADMIN", "sh")
    with pytest.raises((pytest.skip.Exception, pytest.fail.Exception), match="no program nonesuch"):
        require("nonesuch")
