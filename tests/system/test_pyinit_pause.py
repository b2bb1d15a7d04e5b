"""`--pause` runs no program: it reaps until it's asked to end."""

from __future__ import annotations

import os
import signal

import pytest
from helpers import children
from helpers.places import Place
from helpers.sleeping import settle_to_wait


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_pause_holds_until_it_is_asked_to_end(place: Place, number: int) -> None:
    with place.start("--pause") as running:
        pid = running.pid
        settle_to_wait(pid)
        for ignored in (signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH, signal.SIGQUIT):
            os.kill(pid, ignored)
        settle_to_wait(pid)
        os.kill(pid, number)
        assert running.wait() == 0
        assert running.errors() == ""
        assert running.out.rest() == b""


def test_pause_reaps_what_it_is_given(place: Place) -> None:
    """Children that came with the exec, and their orphans: all are reaped, and it goes on."""
    prepare = """
for _ in range(20):
    reader, writer = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            os.close(writer)
            os.read(reader, 1)
        else:
            os.read(0, 1)
        os._exit(0)
"""
    with place.start("--pause", prepare=prepare) as running:
        pid = running.pid
        settle_to_wait(pid)
        assert len(children.of(pid)) == 20
        running.close_input()
        children.wait_until(lambda: not children.of(pid), "the last reaping")
        os.kill(pid, signal.SIGTERM)
        assert running.wait() == 0


def test_pause_tells_of_whom_it_reaps_where_the_starter_ignored_sigchld(place: Place) -> None:
    """Else the kernel would reap, and nobody would hear of it, wait(2)."""
    prepare = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if os.fork() == 0:
    os.read(0, 1)
    os._exit(3)
"""
    with place.telling("--pause", prepare=prepare) as (running, events):
        settle_to_wait(running.pid)
        running.close_input()
        reaped = events.next()
        assert (reaped["event"], reaped["status"]) == ("reaped", 3)
        running.send(signal.SIGTERM)
        assert running.wait() == 0


def test_pause_comes_from_the_environment_too(place: Place) -> None:
    with place.start(environment=dict(os.environ, PYINIT_PAUSE="1")) as running:
        pid = running.pid
        settle_to_wait(pid)
        os.kill(pid, signal.SIGTERM)
        assert running.wait() == 0


def test_pause_with_a_program_is_a_mistake(outside: Place) -> None:
    ended = outside.run("--pause", "--", "/bin/echo", "started")
    assert (ended.status, ended.out) == (125, b"")
    assert "--pause" in ended.errors
