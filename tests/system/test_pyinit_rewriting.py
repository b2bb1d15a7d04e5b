"""`--rewrite` turns a signal into another, or drops it."""

from __future__ import annotations

import os
import signal

import pytest
from helpers.places import Place
from helpers.programs import family, reporter
from helpers.reporters import LAST, reported, reported_by_all

REWRITES = [
    (["-r", "TERM:INT"], signal.SIGTERM, [signal.SIGINT]),
    (["-r", "SIGTERM:SIGINT"], signal.SIGTERM, [signal.SIGINT]),
    (["-r15:2"], signal.SIGTERM, [signal.SIGINT]),
    (["--rewrite", "hup:quit"], signal.SIGHUP, [signal.SIGQUIT]),
    (["--rewrite=RTMIN+1:USR1"], signal.SIGRTMIN + 1, [signal.SIGUSR1]),
    (["-r", "USR1:SIGRTMAX-2"], signal.SIGUSR1, [signal.SIGRTMAX - 2]),
    (["-r", "36:37"], 36, [37]),
    (["-r", "WINCH:0"], signal.SIGWINCH, []),
    (["-r", "RTMIN:0"], signal.SIGRTMIN, []),
    (["-r", "TERM:INT"], signal.SIGHUP, [signal.SIGHUP]),
    # Rewriting is one step: what came out isn't rewritten again.
    (["-r", "TERM:INT", "-r", "INT:HUP"], signal.SIGTERM, [signal.SIGINT]),
    (["-r", "TERM:INT", "-r", "INT:TERM"], signal.SIGINT, [signal.SIGTERM]),
    (["-r", "TERM:INT", "-r", "TERM:HUP"], signal.SIGTERM, [signal.SIGHUP]),
    (["-r", "TERM:TERM"], signal.SIGTERM, [signal.SIGTERM]),
]


@pytest.mark.parametrize(
    ("options", "sent", "expected"),
    REWRITES,
    ids=[" ".join(options) + f" {int(sent)}" for options, sent, _ in REWRITES],
)
def test_a_signal_is_rewritten(
    outside: Place, options: list[str], sent: int, expected: list[int]
) -> None:
    with outside.start(*options, "--", *reporter()) as running:
        running.line()
        running.send(sent)
        running.send(LAST)
        assert reported(running) == expected


@pytest.mark.parametrize("target", ["", "-g", "--all"])
def test_rewriting_holds_in_every_target(inside: Place, target: str) -> None:
    options = [target] if target else []
    with inside.start(*options, "-r", "TERM:INT", "-r", "HUP:0", "--", *family()) as running:
        running.lines(3)
        for number in (signal.SIGTERM, signal.SIGHUP, LAST):
            running.send(number)
        tags = {"": {"leader"}, "-g": {"leader", "member"}}.get(
            target, {"leader", "member", "stranger"}
        )
        assert reported_by_all(running, tags) == {tag: [signal.SIGINT] for tag in tags}


def test_rewriting_comes_from_the_environment_too(outside: Place) -> None:
    environment = dict(os.environ, PYINIT_REWRITE="TERM:INT HUP:0,USR1:USR2")
    with outside.start("--", *reporter(), environment=environment) as running:
        running.line()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, LAST):
            running.send(number)
        assert sorted(reported(running)) == sorted([signal.SIGINT, signal.SIGUSR2])
