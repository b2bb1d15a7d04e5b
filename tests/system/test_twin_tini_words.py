"""tini and its twin, side by side: their answers, how they read their words, and their news.

A test that takes `tini` runs twice, with the tool and with the twin; `twin` and `peer` are for
the deliberate differences of docs/twins.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import twins
from helpers.programs import python
from helpers.running import Running
from helpers.twins import SUBREAPER, Init, outcome

tini, anywhere, twin, _ = twins.fixtures("tini")


def test_version(tini: Init) -> None:
    ended = tini.run("--version")
    assert outcome(ended) == (0, True, False)
    assert ended.out.startswith(b"tini version 0.19.0")
    assert ended.out.count(b"\n") == 1


def test_version_only_as_the_one_word(tini: Init) -> None:
    for words in (["--version", "true"], ["-v", "--version"], ["--versio"], ["--help"]):
        ended = tini.run(*words)
        assert outcome(ended) == (1, False, True)
        assert ended.errors.splitlines()[0].endswith(": invalid option -- '-'")


def test_help(tini: Init) -> None:
    ended = tini.run("-h")
    assert outcome(ended) == (0, True, False)
    first, second = ended.out.decode().splitlines()[:2]
    assert first.startswith("tini (tini version 0.19.0")
    assert second == "Usage: tini [OPTIONS] PROGRAM -- [ARGS] | --version"
    for word in ("-h", "-s", "-p", "-v", "-w", "-g", "-e", "-l", "--version", "TINI_SUBREAPER",
                 "TINI_VERBOSITY", "TINI_KILL_PROCESS_GROUP"):  # fmt: skip
        assert word in ended.out.decode()


def test_licence(tini: Init) -> None:
    ended = tini.run("-l")
    assert outcome(ended) == (0, True, False)
    assert b"Permission is hereby granted, free of charge" in ended.out


def test_no_program(tini: Init) -> None:
    for words in ([], ["-s"], ["--"], ["-vg", "--"]):
        ended = tini.run(*words)
        assert outcome(ended) == (1, False, True)
        assert "Usage: tini [OPTIONS] PROGRAM" in ended.errors


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-x"], "invalid option -- 'x'"),
        (["-vx", "true"], "invalid option -- 'x'"),
        (["-g5", "true"], "invalid option -- '5'"),
        (["sh", "-c", "true"], "invalid option -- 'c'"),
        (["-:"], "invalid option -- ':'"),
        (["-e"], "option requires an argument -- 'e'"),
        (["-vp"], "option requires an argument -- 'p'"),
    ],
)
def test_bad_options(tini: Init, words: list[str], complaint: str) -> None:
    ended = tini.run(*words)
    assert outcome(ended) == (1, False, True)
    assert ended.errors.splitlines()[0].endswith(f"tini: {complaint}")
    assert "Usage: tini [OPTIONS] PROGRAM" in ended.errors


def test_the_first_answer_counts(tini: Init) -> None:
    assert tini.run("-h", "-x").status == 0
    assert tini.run("-x", "-h").status == 1
    assert tini.run("-l", "-e", "300").status == 0
    assert tini.run("-e", "300", "-l").status == 1


@pytest.mark.parametrize("kind", twins.KINDS)
@pytest.mark.parametrize("name", ["tini", "docker-init"])
def test_usage_goes_by_the_links_name(kind: str, name: str, tmp_path: Path) -> None:
    init = Init(name, kind)
    path = init.link(tmp_path / name)
    with Running([str(path)]) as running:
        assert running.wait() == 1
        assert f"Usage: {name} [OPTIONS] PROGRAM" in running.errors()


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["echo", "-s", "a"], b"a\n"),
        (["echo", "a", "-gs"], b"a\n"),
        (["echo", "-e", "3", "a"], b"a\n"),
        (["echo", "--", "-s", "a"], b"-s a\n"),
        (["--", "echo", "-s", "--", "a"], b"-s -- a\n"),
        (["echo", "-s", "--", "-g", "a"], b"-g a\n"),
        (["-se3", "echo", "-"], b"-\n"),
        (["echo", "", "-s", "a"], b" a\n"),
    ],
)
def test_options_may_stand_behind_the_program(tini: Init, words: list[str], out: bytes) -> None:
    ended = tini.run(*words, variables=SUBREAPER)
    assert (ended.status, ended.out, ended.errors) == (0, out, "")


def test_posixly_correct_ends_that(tini: Init) -> None:
    ended = tini.run("echo", "-s", "a", variables={**SUBREAPER, "POSIXLY_CORRECT": ""})
    assert (ended.status, ended.out, ended.errors) == (0, b"-s a\n", "")


def news(init: Init, *words: str, **variables: str) -> int:
    """Return how many lines it says of itself, on either stream."""
    ended = init.run(*words, "--", "true", variables={**SUBREAPER, **variables})
    assert ended.status == 0
    return ended.out.count(b"\n") + ended.errors.count("\n")


def test_each_v_says_more(tini: Init) -> None:
    silent, some, more = news(tini), news(tini, "-v"), news(tini, "-v", "-v")
    assert 0 == silent < some < more <= news(tini, "-vvv")


def test_the_variable_wins_over_v(tini: Init) -> None:
    assert news(tini, "-vvv", TINI_VERBOSITY="0") == 0
    assert news(tini, "-vvv", TINI_VERBOSITY="1") == 0
    assert news(tini, TINI_VERBOSITY="2") == news(tini, "-v")
    assert news(tini, TINI_VERBOSITY="3") == news(tini, "-vv")
    assert news(tini, "-vv", TINI_VERBOSITY="") == 0
    assert news(tini, "-vv", TINI_VERBOSITY="x") == 0


def test_the_twins_news_leave_stdout_to_the_program(twin: Init) -> None:
    ended = twin.run("-vv", "--", "echo", "word")
    assert ended.out == b"word\n"
    assert "[INFO  tini (" in ended.errors
    assert "[DEBUG tini (" in ended.errors


WAITS = """
import posix
# Leaves an orphan that dies at once, prints its pid, and ends when it has been reaped.
reading, writing = posix.pipe()
if posix.fork() == 0:
    if orphan := posix.fork():
        posix.write(writing, b"%d" % orphan)
    posix._exit(0)
posix.wait()
orphan = int(posix.read(reading, 100))
while True:
    try:
        posix.kill(orphan, 0)
    except ProcessLookupError:
        break
    posix.sched_yield()
posix.write(1, b"%d" % orphan)
"""


@pytest.mark.parametrize("words", [["-w"], ["-sw"], ["-ww"]])
def test_reaped_orphans_are_warned_of(anywhere: Init, words: list[str]) -> None:
    ended = anywhere.run(*words, "--", *python(WAITS), variables=SUBREAPER)
    lines = ended.errors.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("[WARN  tini (")
    assert f"Reaped zombie process with pid={ended.out.decode()}" in lines[0]


def test_without_w_no_orphan_is_warned_of(tini: Init) -> None:
    assert tini.run("--", *python(WAITS), variables=SUBREAPER).errors == ""
    variables = {**SUBREAPER, "TINI_VERBOSITY": "0"}
    assert tini.run("-w", "--", *python(WAITS), variables=variables).errors == ""


def test_what_is_fatal_is_said_at_any_verbosity(tini: Init) -> None:
    ended = tini.run("--", "/nosuch", variables={"TINI_VERBOSITY": "0"})
    assert ended.status == 127
    assert ended.errors.startswith("[FATAL tini (")
