"""catatonit and its twin, side by side: each option, and where the twin does better.

A test that takes `catatonit` runs twice, with the tool and with the twin; `twin` and `peer` are
for the deliberate differences of docs/twins.md.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from helpers import children, init_checks, twins
from helpers.programs import BLOCK_ALL, READY, python, reporter
from helpers.reporters import FAULTS, FORWARDED, STOPS
from helpers.twins import Init, outcome

catatonit, anywhere, twin, _ = twins.fixtures("catatonit")


@pytest.mark.parametrize("word", ["-V", "--version", "--ver", "--v"])
def test_version(catatonit: Init, word: str) -> None:
    ended = catatonit.run(word)
    assert outcome(ended) == (0, True, False)
    # Docker looks for these words in its init's version.
    assert ended.out.startswith(b"tini version 0.")
    assert b"_catatonit" in ended.out
    assert ended.out.count(b"\n") == 1


def test_help(catatonit: Init) -> None:
    ended = catatonit.run("-h")
    assert outcome(ended) == (0, False, True)
    usage = "usage: catatonit [-ghLPV] [--] <progname> [<arguments>...]"
    assert ended.errors.splitlines()[0] == usage
    for option in ("-g ", "-h ", "-L ", "-P ", "-V, --version "):
        assert f"\n  {option}" in ended.errors


def test_licence(catatonit: Init) -> None:
    assert outcome(catatonit.run("-L")) == (0, True, False)


def test_no_program(catatonit: Init) -> None:
    for words in ([], ["-g"], ["--"]):
        ended = catatonit.run(*words)
        assert outcome(ended) == (1, False, True)
        first, second = ended.errors.splitlines()
        assert first.startswith("ERROR (catatonit:")
        assert second.startswith("usage: catatonit [-ghLPV]")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-x"], "invalid option -- 'x'"),
        (["-gx", "true"], "invalid option -- 'x'"),
        (["sh", "-c", "true"], "invalid option -- 'c'"),
        (["--nosuch"], "unrecognized option '--nosuch'"),
        (["--version=3"], "option '--version' doesn't allow an argument"),
    ],
)
def test_bad_options(catatonit: Init, words: list[str], complaint: str) -> None:
    ended = catatonit.run(*words)
    assert outcome(ended) == (1, False, True)
    first, second = ended.errors.splitlines()
    assert first.endswith(f"catatonit: {complaint}")
    assert second.startswith("usage: catatonit [-ghLPV]")


def test_the_first_answer_counts(catatonit: Init) -> None:
    assert catatonit.run("-V", "-x").status == 0
    assert catatonit.run("-x", "-V").status == 1


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["echo", "-g", "a"], b"a\n"),
        (["echo", "--", "-g", "a"], b"-g a\n"),
        (["--", "echo", "-V", "--", "a"], b"-V -- a\n"),
        (["-g", "echo", "-"], b"-\n"),
    ],
)
def test_options_may_stand_behind_the_program(
    catatonit: Init, words: list[str], out: bytes
) -> None:
    ended = catatonit.run(*words)
    assert (ended.status, ended.out, ended.errors) == (0, out, "")


def test_posixly_correct_ends_that(catatonit: Init) -> None:
    ended = catatonit.run("echo", "-V", "a", variables={"POSIXLY_CORRECT": ""})
    assert (ended.status, ended.out) == (0, b"-V a\n")


@pytest.mark.parametrize("code", [0, 1, 42, 127, 128, 255])
def test_the_status_is_the_programs(anywhere: Init, code: int) -> None:
    assert anywhere.run("--", "sh", "-c", f"exit {code}").status == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_a_death_by_signal_is_128_more(anywhere: Init, number: int) -> None:
    assert anywhere.run("--", "sh", "-c", f"kill -{int(number)} $$").status == 128 + number


@pytest.mark.parametrize(
    "program", ["/nosuch", "pidone-no-such-program", "/etc", "/etc/passwd", ""]
)
def test_a_failed_exec_is_1(anywhere: Init, program: str) -> None:
    ended = anywhere.run("--", program)
    assert outcome(ended) == (1, False, True)
    assert ended.errors.startswith("ERROR (catatonit:")


UNLIKE = {*STOPS, *FAULTS}
"""Those that catatonit doesn't forward: it drops the one kind and dies of the other."""


def test_signals_are_forwarded(anywhere: Init) -> None:
    init_checks.forwards(anywhere, sorted(set(FORWARDED) - UNLIKE), "--")


@pytest.mark.parametrize(("words", "members"), [([], {"leader"}), (["-g"], {"leader", "member"})])
def test_targets(anywhere: Init, words: list[str], members: set[str]) -> None:
    init_checks.reaches(anywhere, members, *words, "--")


def test_the_workload_has_a_group_of_its_own(catatonit: Init) -> None:
    show = python("import posix; posix.write(1, b'%d' % (posix.getpgrp() == posix.getpid()))")
    assert catatonit.run("--", *show).out == b"1"


@pytest.mark.parametrize("words", [["-P"], ["-gP"], ["-P", "echo", "never"], ["echo", "-P"]])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_pause_ends_with_0_when_asked(anywhere: Init, words: list[str], number: int) -> None:
    # Blocked since before it was there, so that none can come too early.
    with anywhere.start(*words, prepare=BLOCK_ALL + READY) as running:
        assert running.line() == "starting"
        for other in (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
            running.send(other)
        running.send(number)
        assert running.wait() == 0
        assert (running.out.rest(), running.errors()) == (b"", "")


def test_subreaper(catatonit: Init) -> None:
    init_checks.adopts_orphans(catatonit, "--")


def test_listen_pid_names_the_workload(catatonit: Init) -> None:
    prepare = "os.environ['LISTEN_PID'] = str(os.getpid())\n"
    code = "import posix; posix.write(1, b'%d' % (b'%d' % posix.getpid() == "
    code += "posix.environ[b'LISTEN_PID']))"
    assert catatonit.run("--", *python(code), prepare=prepare).out == b"1"


def test_descriptors_are_let_go(catatonit: Init) -> None:
    reading, writing = os.pipe()
    code = "import posix; posix.close(int(__import__('sys').argv[1])); posix.write(1, b'up\\n'); "
    code += "posix.read(0, 1)"
    with catatonit.start("--", *python(code, str(writing)), pass_fds=[writing]) as running:
        os.close(writing)
        assert running.line() == "up"
        assert os.read(reading, 1) == b""  # the end: nobody holds it any more
    os.close(reading)


@pytest.mark.parametrize("value", ["1", "", "0"])
def test_news(catatonit: Init, value: str) -> None:
    ended = catatonit.run("echo", "word", variables={"CATATONIT_DEBUG": value})
    assert (ended.status, ended.out) == (0, b"word\n")
    assert "DEBUG (catatonit:" in ended.errors
    assert catatonit.run("echo", "word").errors == ""


def test_stops_of_terminals_and_faults_that_were_sent_are_forwarded(twin: Init) -> None:
    init_checks.forwards(twin, sorted(UNLIKE), "--")


def test_the_mask_and_ignored_signals_reach_the_workload(twin: Init) -> None:
    # catatonit blocks SIGTSTP, SIGTTIN and SIGTTOU in it: no job control below.
    init_checks.hands_on_signal_state(twin, {signal.SIGUSR2}, "--")


def test_an_ignored_sigchld_hangs_nobody_and_loses_no_status(twin: Init) -> None:
    prepare = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    assert twin.run("--", "sh", "-c", "exit 9", prepare=prepare).status == 9


def test_a_variable_reserved_for_the_future_refuses_nothing(twin: Init) -> None:
    ended = twin.run("echo", "word", variables={"CATATONIT_LOG": "1"})
    assert (ended.status, ended.out, ended.errors) == (0, b"word\n", "")


def test_it_keeps_no_directory_busy(twin: Init, tmp_path: Path) -> None:
    with twin.start("--", *reporter(), directory=str(tmp_path)) as running:
        running.line()
        children.wait_until(lambda: os.readlink(f"/proc/{running.pid}/cwd") == "/", "its root")


@pytest.mark.parametrize("kind", twins.KINDS)
def test_ps_shows_the_name(kind: str, tmp_path: Path) -> None:
    init_checks.has_its_name(Init("catatonit", kind), tmp_path, "--")
