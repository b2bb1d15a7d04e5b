"""tini and its twin, side by side: signals, groups, the parent's death, orphans.

A test that takes `tini` runs twice, with the tool and with the twin; `twin` and `peer` are for
the deliberate differences of docs/twins.md.
"""

from __future__ import annotations

import os
import signal

import pytest
from helpers import twins
from helpers.programs import family, python, reporter
from helpers.reporters import LAST, reported_by_all
from helpers.running import Running
from helpers.twins import SUBREAPER, Init, environment, outcome

tini, anywhere, twin, peer = twins.fixtures("tini")

FORWARDED = sorted(
    int(number)
    for number in signal.valid_signals()
    - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU}
    - {signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT}
    - {signal.SIGTRAP, signal.SIGSYS}
)


def test_signals_are_forwarded(anywhere: Init) -> None:
    with anywhere.start("--", *reporter()) as running:
        running.line()
        for number in FORWARDED:
            running.send(number)
            assert running.line().split()[:2] == ["reporter", str(number)]


@pytest.mark.parametrize(
    ("words", "variables", "members"),
    [
        ([], {}, {"leader"}),
        (["-g"], {}, {"leader", "member"}),
        (["-vg"], {}, {"leader", "member"}),
        ([], {"TINI_KILL_PROCESS_GROUP": "1"}, {"leader", "member"}),
        ([], {"TINI_KILL_PROCESS_GROUP": ""}, {"leader", "member"}),
        ([], {"TINI_KILL_PROCESS_GROUP": "0"}, {"leader", "member"}),
    ],
)
def test_group(
    anywhere: Init, words: list[str], variables: dict[str, str], members: set[str]
) -> None:
    variables = {**variables, "TINI_VERBOSITY": "0"}
    with anywhere.start(*words, "--", *family(), variables=variables) as running:
        ready = {line.split()[0]: line.split()[2] for line in running.lines(3)}
        running.send(signal.SIGUSR1)
        running.send(LAST)
        assert reported_by_all(running, members) == {tag: [signal.SIGUSR1] for tag in members}
        # The others hear of nothing but what they are told by their pids.
        if not anywhere.inside:
            others = {"leader", "member", "stranger"} - members
            for tag in others:
                os.kill(int(ready[tag]), LAST)
            assert reported_by_all(running, others) == {tag: [] for tag in others}


def test_the_workload_has_a_group_of_its_own(tini: Init) -> None:
    show = python("import posix; posix.write(1, b'%d' % (posix.getpgrp() == posix.getpid()))")
    assert tini.run("--", *show).out == b"1"


PARENT = """
import os, subprocess, sys
# Starts what stands on its command line, and lives for as long as its input is open.
subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
os.read(0, 1)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1"])
def test_the_parents_death_is_a_signal(tini: Init, name: str) -> None:
    argv = tini.argv("-p", name, "--", *reporter())
    with Running(python(PARENT, *argv), environment=environment(SUBREAPER)) as running:
        running.line()
        running.close_input()
        assert running.line().split()[:2] == ["reporter", str(int(signal.Signals[name]))]


def test_parent_death_of_sigkill_kills_the_twins_workload_too(twin: Init) -> None:
    argv = twin.argv("-p", "SIGKILL", "--", *reporter())
    with Running(python(PARENT, *argv)) as running:
        running.line()
        running.close_input()
        assert running.out.rest() == b""  # nobody is left who could write


@pytest.mark.parametrize("name", ["TERM", "sigterm", "15", "SIGNOPE", "", "SIG"])
def test_bad_parent_death_signals(tini: Init, name: str) -> None:
    ended = tini.run("-p", name, "true")
    assert outcome(ended) == (1, False, True)
    assert ended.errors.startswith("[FATAL tini (")
    assert "-p" in ended.errors


TINI_KNOWS = [
    *("HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2"),
    *("PIPE", "ALRM", "TERM", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU"),
    *("XFSZ", "VTALRM", "PROF", "WINCH", "SYS"),
]


@pytest.mark.parametrize("name", TINI_KNOWS)
def test_good_parent_death_signals(tini: Init, name: str) -> None:
    ended = tini.run(f"-pSIG{name}", "true", variables=SUBREAPER)
    assert (ended.status, ended.errors) == (0, "")


ORPHAN = """
import posix
# Tells whose child it is, and then whose child an orphan of its own is.
reading, writing = posix.pipe()
posix.write(1, b"%d\\n" % posix.getppid())
if posix.fork() == 0:
    if posix.fork() == 0:
        posix.close(writing)
        posix.read(reading, 1)
        posix.write(1, b"%d\\n" % posix.getppid())
    posix._exit(0)
posix.wait()
posix.close(writing)
posix.read(0, 1)
"""


@pytest.mark.parametrize(
    ("words", "variables"),
    [(["-s"], {}), (["-gs"], {}), ([], {"TINI_SUBREAPER": ""}), ([], {"TINI_SUBREAPER": "0"})],
)
def test_subreaper(tini: Init, words: list[str], variables: dict[str, str]) -> None:
    with tini.start(*words, "--", *python(ORPHAN), variables=variables) as running:
        assert running.lines(2) == [str(running.pid)] * 2
        running.close_input()
        assert running.wait() == 0
        assert running.errors() == ""


def test_the_twin_is_a_subreaper_unasked_and_silent_about_it(twin: Init, peer: Init) -> None:
    with twin.start("--", *python(ORPHAN)) as running:
        assert running.lines(2) == [str(running.pid)] * 2
        running.close_input()
        assert running.wait() == 0
        assert running.errors() == ""
    assert peer.run("true").errors.count("\n") > 2  # its wall of warnings


def test_stops_of_terminals_and_faults_that_were_sent_are_forwarded(twin: Init) -> None:
    # tini ignores the one kind, dies of the other; gunicorn counts its workers by SIGTTIN.
    with twin.start("--", *reporter()) as running:
        running.line()
        for number in sorted(set(signal.valid_signals()) - set(FORWARDED)):
            if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD):
                running.send(number)
                assert running.line().split()[:2] == ["reporter", str(int(number))]
