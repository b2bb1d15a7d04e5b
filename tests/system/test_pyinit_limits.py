"""Few descriptors, small files, no room, closed streams: pyinit goes on."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import signal
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.places import Place
from helpers.programs import python, reporter
from helpers.reporters import LAST
from helpers.running import run
from helpers.seccomp import deny


@pytest.mark.parametrize("place_of_it", [11, 8191, 8192, 15000])
@pytest.mark.parametrize("denied", [False, True], ids=["", "close_range denied"])
def test_no_descriptor_is_held_however_high(place: Place, place_of_it: int, denied: bool) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard <= place_of_it:
        pytest.skip(f"at most {hard} descriptors")
    prepare = f"""
resource.setrlimit(resource.RLIMIT_NOFILE, ({hard}, {hard}))
reading, writing = os.pipe()
os.dup2(reading, 10)
os.dup2(writing, {place_of_it})
"""
    if denied:
        require("seccomp")
        prepare += deny(errno.EPERM, "close_range")
    code = f"import posix; posix.close({place_of_it}); posix._exit(7 + len(posix.read(10, 1)))"
    assert place.run("--", *python(code), prepare=prepare).status == 7


@pytest.mark.parametrize("limit", [4, 5, 6, 8])
def test_few_descriptors_are_survived(
    place: Place, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no-directory").touch()  # what's wrong with an entry of PATH takes the words for it
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{tmp_path}/no-directory")
    prepare = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
    ended = place.run("--", "/bin/sh", "-c", "exit 13", prepare=prepare)
    assert (ended.status, ended.errors) == (13, "")
    ended = place.run("--", "no-such-program", prepare=prepare)
    assert ended.status == 127
    assert ended.errors.count("\n") == 1
    assert "no-such-program" in ended.errors


def test_a_file_that_may_not_grow_is_survived(place: Place) -> None:
    """Where stderr is a file at its limit, SIGXFSZ comes of our own writing; it's not forwarded."""
    prepare = "resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))\n"
    with place.start("-v", "--", *reporter(), prepare=prepare) as running:
        running.line()
        running.send(signal.SIGUSR1)
        running.send(LAST)
        assert [line.split()[1] for line in running.lines(2)] == ["10", str(LAST)]
        assert running.errors() == ""


def test_megabytes_of_arguments_are_passed(place: Place) -> None:
    words = [bytes([65 + number]) * 100_000 for number in range(15)]
    digest = """
import hashlib, os, sys
print(hashlib.sha256(b"\\0".join(map(os.fsencode, sys.argv[1:]))).hexdigest())
"""
    ended = place.run("--", *python(digest, *words))
    assert ended.out.decode().strip() == hashlib.sha256(b"\0".join(words)).hexdigest()


def test_without_an_environment_it_runs(place: Place) -> None:
    argv = place.argv("--", "/bin/sh", "-c", "exit 14")
    assert run(["/usr/bin/env", "-i", f"PATH={os.environ['PATH']}", *argv]).status == 14
    empty = "os.environ.clear()\n"
    assert place.run("--", "true", prepare=empty).status == 0


def test_closed_streams_are_survived(place: Place) -> None:
    for closed in ([0], [1], [2], [0, 1], [1, 2], [0, 2], [0, 1, 2]):
        prepare = "".join(f"os.close({fd})\n" for fd in closed)
        assert place.run("-v", "--", "/bin/sh", "-c", "exit 15", prepare=prepare).status == 15
        assert place.run("--", "no-such-program", prepare=prepare).status == 127
        assert place.run("--nonsense", prepare=prepare).status == 125


def test_a_stderr_that_is_no_file_for_writing_is_survived(place: Place) -> None:
    prepare = "os.dup2(os.open('/dev/null', os.O_RDONLY), 2)\n"
    assert place.run("-v", "--", "/bin/sh", "-c", "exit 15", prepare=prepare).status == 15
    assert place.run("--", "no-such-program", prepare=prepare).status == 127


def test_events_go_on_though_stderr_is_gone(place: Place) -> None:
    with place.telling("-v", "--", "/bin/true", prepare="os.close(2)\n") as (running, events):
        assert running.wait() == 0
        assert [event["event"] for event in events.all()] == ["started", "reaped", "exited"]
