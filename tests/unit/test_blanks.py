"""Values behind a blank, as other tools have them, and programs that aren't taken for one."""

from __future__ import annotations

import pytest

from pyinit.cmdline import parse
from spawner.command import blanks, run


def read(words: list[str]) -> tuple[dict[str, object], list[str]]:
    """Return what the command line makes of words."""
    values, program = parse(run.TABLE, words)
    while (found := blanks.joined(run.TABLE, words, len(program))) is not None:
        words = found
        values, program = parse(run.TABLE, words)
    return values, program


@pytest.mark.parametrize(
    ("words", "values", "program"),
    [
        ("--net host -- app", {"net": "host"}, "app"),
        ("--pid host --ipc private --init -- app x",
         {"pid": "host", "ipc": "private", "init": True}, "app x"),
        ("-n /run/netns/x -- app", {"net": "/run/netns/x"}, "app"),
        ("--unshare pid net -- app", {"unshare": [["pid"], ["net"]]}, "app"),
        ("--unshare=pid net time -- app", {"unshare": [["pid"], ["net"], ["time"]]}, "app"),
        ("--share net mnt --init -- app", {"share": [["net"], ["mount"]], "init": True}, "app"),
        ("--init /usr/bin/tini app", {"init": "/usr/bin/tini"}, "app"),
        ("--init tini -- app", {"init": "tini"}, "app"),
        ("--dry-run json app", {"dry_run": "json"}, "app"),
    ],
)  # fmt: skip
def test_a_value(words: str, values: dict[str, object], program: str) -> None:
    assert read(words.split()) == (values, program.split())


@pytest.mark.parametrize(
    ("words", "program"),
    [
        ("--net host example.org", "host example.org"),
        ("--net -- host x", "host x"),
        ("--net git log -- file", "git log -- file"),
        ("--net /bin/cat -- file", "/bin/cat -- file"),
        ("--unshare pid net use", "net use"),
        ("--unshare pid time ls -- x", "time ls -- x"),
        ("--hostname pid net -- use", "net -- use"),
        ("--init /usr/bin/env -- x", "/usr/bin/env -- x"),
        ("--init -- tini x", "tini x"),
        ("host -- x", "host -- x"),
        ("", ""),
    ],
)
def test_a_program(words: str, program: str) -> None:
    assert read(words.split())[1] == program.split()
