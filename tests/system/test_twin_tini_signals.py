"""tini and its twin, side by side: signals, groups, the parent's death, orphans.

A test that takes `tini` runs twice, with the tool and with the twin; `twin` and `peer` are for
the deliberate differences of docs/twins.md.
"""

from __future__ import annotations

import signal

import pytest
from helpers import init_checks, twins
from helpers.programs import python, reporter
from helpers.reporters import FAULTS, FORWARDED
from helpers.running import Running
from helpers.twins import SUBREAPER, Init, environment, outcome

tini, anywhere, twin, peer = twins.fixtures("tini")

UNLIKE = {signal.SIGTTIN, signal.SIGTTOU, *FAULTS}
"""Those that tini doesn't forward: it ignores the one kind and dies of the other."""


def test_signals_are_forwarded(anywhere: Init) -> None:
    init_checks.forwards(anywhere, sorted(set(FORWARDED) - UNLIKE), "--")


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
    init_checks.reaches(anywhere, members, *words, "--", variables=variables)


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


@pytest.mark.parametrize(
    ("words", "variables"),
    [(["-s"], {}), (["-gs"], {}), ([], {"TINI_SUBREAPER": ""}), ([], {"TINI_SUBREAPER": "0"})],
)
def test_subreaper(tini: Init, words: list[str], variables: dict[str, str]) -> None:
    init_checks.adopts_orphans(tini, *words, "--", variables=variables)


def test_the_twin_is_a_subreaper_unasked_and_silent_about_it(twin: Init, peer: Init) -> None:
    init_checks.adopts_orphans(twin, "--")
    assert peer.run("true").errors.count("\n") > 2  # its wall of warnings


def test_stops_of_terminals_and_faults_that_were_sent_are_forwarded(twin: Init) -> None:
    # gunicorn counts its workers by SIGTTIN.
    init_checks.forwards(twin, sorted(UNLIKE), "--")
