"""`-v` tells people what happens."""

from __future__ import annotations

import re
import signal

import pytest
from helpers import children
from helpers.places import Place


@pytest.mark.parametrize("option", ["-v", "--verbose", "-vv"])
def test_verbose_says_the_same_to_people(place: Place, option: str) -> None:
    with place.start(option, "--", "sh", "-c", "echo out; read word; exit 4") as running:
        assert running.line() == "out"
        running.send(signal.SIGWINCH)
        children.wait_until(lambda: "SIGWINCH" in running.errors(), "the line")
        running.close_input()
        assert running.wait() == 4
        assert running.out.rest() == b""
        lines = running.errors().splitlines()
    own = r"\d+" if not place.inside else "1"
    assert all(re.fullmatch(rf"pyinit\[{own}\]: \S.*", line) for line in lines)
    assert len(lines) == 4
    assert "started" in lines[0]
    assert "SIGWINCH" in lines[1]
    assert "reaped" in lines[2]
    assert "4" in lines[3]


def test_verbose_names_the_pid_it_has(outside: Place) -> None:
    with outside.start("-v", "--", "/bin/true") as running:
        assert running.wait() == 0
        assert running.errors().startswith(f"pyinit[{running.pid}]: ")
