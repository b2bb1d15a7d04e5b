"""dumb-init and its twin, side by side: rewriting, and signals that stop.

A test that takes `dumb_init` runs twice, with the tool and with the twin; `twin` and `peer` are
for the deliberate differences of docs/twins.md.
"""

from __future__ import annotations

import signal

import pytest
from helpers import children, twins
from helpers.places import Place
from helpers.programs import python, reporter
from helpers.reporters import LAST, STOPS, reported
from helpers.twins import Init, outcome

dumb_init, anywhere, _, _ = twins.fixtures("dumb-init")


@pytest.mark.parametrize("words", [["-r", "10:12"], ["-r10:12"], ["--rewrite", "10:12"],
                                   ["--rewrite=10:12"], ["-cr10:12"]])  # fmt: skip
def test_rewriting(anywhere: Init, words: list[str]) -> None:
    with anywhere.start(*words, *reporter()) as running:
        running.line()
        running.send(signal.SIGUSR1)
        running.send(LAST)
        assert reported(running) == [signal.SIGUSR2]


def test_rewriting_to_0_drops(dumb_init: Init) -> None:
    with dumb_init.start("-r", "10:0", *reporter()) as running:
        running.line()
        running.send(signal.SIGUSR1)
        running.send(LAST)
        assert reported(running) == []


def test_rewriting_many_and_the_last_counts(dumb_init: Init) -> None:
    words = ["-r", "1:2", "-r", "2:3", "--rewrite", "15:1", "-r15:10"]
    with dumb_init.start(*words, *reporter()) as running:
        running.line()
        for sent, comes in ((1, 2), (2, 3), (15, 10), (3, 3)):
            running.send(sent)
            assert running.line().split()[:2] == ["reporter", str(comes)]


@pytest.mark.parametrize("value", ["9:1", "17:10", "19:10", " 1: +2", "1:2x", "01:02"])
def test_rewriting_that_is_overlooked_or_lax(dumb_init: Init, value: str) -> None:
    ended = dumb_init.run("-r", value, "true")
    assert (ended.status, ended.errors) == (0, "")


@pytest.mark.parametrize(
    "value", ["", ":", "15", "15:", ":15", "0:15", "32:15", "15:32", "-1:2", "15:-1", "TERM:INT",
              "15=3", "15 :3"]
)  # fmt: skip
def test_bad_rewriting(dumb_init: Init, value: str) -> None:
    assert outcome(dumb_init.run("-r", value, "true")) == (1, False, True)


@pytest.mark.parametrize("number", STOPS)
def test_stop_signals_stop_the_session_and_the_init(dumb_init: Init, number: int) -> None:
    with dumb_init.start(*python("import posix; posix.write(1, b'up\\n'); posix.read(0, 1)")) as (
        running
    ):
        running.line()
        (workload,) = children.of(running.pid)
        running.send(number)
        children.wait_state(workload, "T")
        children.wait_state(running.pid, "T")
        running.send(signal.SIGCONT)
        children.wait_state(workload, "S")
        children.wait_state(running.pid, "S")
        running.close_input()
        assert running.wait() == 0


@pytest.mark.parametrize(
    ("words", "number", "comes"),
    [
        (["-c"], signal.SIGTSTP, [signal.SIGTSTP]),
        (["-c"], signal.SIGTTIN, [signal.SIGTTIN]),
        (["-c"], signal.SIGTTOU, [signal.SIGTTOU]),
        (["-r", "20:10"], signal.SIGTSTP, [signal.SIGUSR1]),
        (["-r", "20:0"], signal.SIGTSTP, []),
        (["-r", "20:20"], signal.SIGTSTP, [signal.SIGTSTP]),
        (["-c", "-r", "21:15"], signal.SIGTTIN, [signal.SIGTERM]),
    ],
)
def test_stop_signals_that_are_forwarded_otherwise(
    dumb_init: Init, words: list[str], number: int, comes: list[int]
) -> None:
    with dumb_init.start(*words, *reporter()) as running:
        running.line()
        running.send(number)
        for wanted in comes:
            assert running.line().split()[:2] == ["reporter", str(int(wanted))]
        children.wait_state(running.pid, "T")
        running.send(signal.SIGCONT)
        running.send(LAST)
        assert reported(running) == [signal.SIGCONT]


@pytest.mark.parametrize("kind", twins.KINDS)
def test_pid_1_is_never_stopped(inside: Place, kind: str) -> None:
    init = Init("dumb-init", kind, inside)
    with init.start("-r", "20:10", *reporter()) as running:
        running.line()
        for _ in range(2):
            running.send(signal.SIGTSTP)
            assert running.line().split()[:2] == ["reporter", str(int(signal.SIGUSR1))]


def test_the_workloads_own_stop_stops_nobody_else(dumb_init: Init) -> None:
    script = "kill -STOP $$; echo on; read word; exit 5"
    with dumb_init.start("-c", "sh", "-c", script) as running:
        children.wait_until(lambda: bool(children.of(running.pid)))
        (workload,) = children.of(running.pid)
        children.wait_state(workload, "T")
        running.send(signal.SIGCONT)
        assert running.line() == "on"
        assert children.state(running.pid) != "T"
        running.close_input()
        assert running.wait() == 5
