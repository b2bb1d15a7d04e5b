"""What goes along into a joined container, and what doesn't."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.containers import ROOT
from helpers.joining import container, join, joining
from helpers.programs import RESERVED, prepared, python, reporter
from helpers.running import Running, run


def test_the_environment_is_ours_unless_asked(tmp_path: Path) -> None:
    require("unshare", "pidns")
    os.environ["JOIN_TEST"] = "ours"
    try:
        with container("unshare", tmp_path) as pid:
            os.environ["JOIN_TEST"] = "mine"
            show = ("--", "/bin/sh", "-c", "echo $JOIN_TEST $MORE")
            assert join(pid, *show).out == b"mine\n"
            assert join(pid, "--target-env", "--env", "MORE=1", *show).out == b"ours 1\n"
    finally:
        del os.environ["JOIN_TEST"]


SHOW_FDS = "import os; print(*(each for each in range(256) if os.path.exists(f'/dev/fd/{each}')))"


def test_no_descriptor_goes_along_but_the_named(target: int) -> None:
    with holding("/dev/null") as first, holding("/") as second:
        given = [first, second]
        ended = join(target, "--", *python(SHOW_FDS), pass_fds=given)
        assert ended.out.decode().split() == ["0", "1", "2"]
        word = f"--pass-fd={given[0]}"
        ended = join(target, word, "--", *python(SHOW_FDS), pass_fds=given)
        assert ended.out.decode().split() == ["0", "1", "2", str(given[0])]


@contextmanager
def holding(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_signals_and_status(target: int) -> None:
    for words, status in [
        (("/bin/sh", "-c", "exit 42"), 42),
        (("/bin/sh", "-c", "kill -KILL $$"), 128 + signal.SIGKILL),
        (("/nonesuch",), 127),
        (("/tmp",), 126),
    ]:
        assert join(target, "--", *words).status == status
    with Running(joining(target, "--", *reporter())) as running:
        assert running.line().startswith("reporter ready")
        os.kill(running.starter, signal.SIGUSR1)
        assert running.line().split()[:2] == ["reporter", str(int(signal.SIGUSR1))]


def test_the_mask_and_ignored_signals_are_the_callers(target: int) -> None:
    code = """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
"""
    for owner in (True, False) if ROOT else (True,):
        argv = joining(target, "/bin/grep", "Sig[BI]", "/proc/self/status", owner=owner)
        ended = run(prepared(code, argv))
        blocked, ignored = ended.out.decode().split()[1::2]
        assert int(blocked, 16) == 1 << signal.SIGUSR1 - 1
        assert int(ignored, 16) & ~RESERVED == 1 << signal.SIGUSR2 - 1


@pytest.mark.parametrize("sealed", [False, True] if ROOT else [False])
def test_sigkill_ends_all_that_is_below(target: int, sealed: bool) -> None:
    """Also what the kernel would re-parent to the target's PID 1."""
    code = "sleep 1000 & (sleep 1000 & wait) & echo ready; wait"
    with Running(joining(target, "--", "/bin/sh", "-c", code, owner=not sealed)) as running:
        assert running.line() == "ready"
        children.wait_until(lambda: len(children.below(running.starter)) >= 5, "the tree")
        tree = children.below(running.starter)
        os.kill(running.starter, signal.SIGKILL)
        assert children.wait_gone(tree) == set()
    assert children.state(target) not in ("", "Z")


def test_a_lifeline_ends_all_that_is_below(target: int) -> None:
    reader, writer = os.pipe()
    code = "sleep 1000 & echo ready; wait"
    argv = joining(target, f"--lifeline={reader}", "--", "/bin/sh", "-c", code)
    with Running(argv, pass_fds=[reader]) as running:
        assert running.line() == "ready"
        tree = children.below(running.starter)
        os.close(writer)
        assert running.wait() == 128 + signal.SIGKILL
        assert children.wait_gone(tree) == set()
    os.close(reader)


def test_what_it_leaves_in_the_pid_namespace_stays_there(target: int) -> None:
    ended = join(target, "--", "/bin/sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!")
    assert ended.status == 0
    (left,) = children.of(target)
    children.wait_until(lambda: children.status_field(left, "Name") == "sleep", "its exec")
    assert children.status_field(left, "NSpid").split()[-1] == ended.out.decode().strip()
