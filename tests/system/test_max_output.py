"""`--max-output`: what is passed on, what ends it, and that the relay shows nowhere else."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.programs import python
from helpers.pyspawn import each_shape, pyspawn, said, sh, spawn, status_of
from helpers.running import Running, run
from helpers.terminal import Terminal

import spawner
from spawner import aio

pytestmark = pytest.mark.usefixtures("pidns")

ENDLESS = "trap '' TERM HUP PIPE; sleep 1000 & while :; do echo 0123456789; done"
BOTH = "while :; do echo out; echo err >&2; done"
OVER = "pyspawn: the program was killed by --max-output: it has written more than {} bytes"


@each_shape
def test_exactly_so_much_is_passed_on_and_everything_is_killed(options: list[str]) -> None:
    ended = sh(ENDLESS, *options, "--max-output=100")
    assert (ended.status, ended.out) == (137, (b"0123456789\n" * 10)[:100])
    assert said(ended) == [OVER.format(100)]


@pytest.mark.parametrize("options", [[], ["--init"], ["--share=pid"]])
@pytest.mark.parametrize(("most", "status"), [(4, 3), (3, 137), (0, 137)])
def test_what_has_written_too_much_counts_as_killed_also_when_it_has_ended(
    options: list[str], most: int, status: int
) -> None:
    script = "printf 1234; exit 3"
    ended, events = status_of(f"--max-output={most}", *options, "--", "/bin/sh", "-c", script)
    assert (ended.status, ended.out) == (status, b"1234"[:most])
    assert said(ended) == ([] if status == 3 else [OVER.format(most)])
    name, limit = (None, None) if status == 3 else ("SIGKILL", "output")
    assert events[-1] == {"event": "exited", "status": status, "signal": name, "limit": limit}


def test_both_streams_count_and_stay_apart() -> None:
    ended = sh(BOTH, "--max-output=1000")
    errors, told, rest = ended.errors.partition("pyspawn: ")
    assert told + rest == OVER.format(1000) + "\n"
    assert len(errors) + len(ended.out) == 1000
    assert ("err\n" * 1000).startswith(errors)
    assert (b"out\n" * 1000).startswith(ended.out)
    ended = sh("echo out; echo err >&2", "--max-output=8")
    assert (ended.status, ended.out, ended.errors) == (0, b"out\n", "err\n")


def test_one_file_for_both_keeps_the_order() -> None:
    script = "for i in 1 2 3; do echo o$i; echo e$i >&2; done"
    argv = pyspawn("--max-output=1K", "--", "/bin/sh", "-c", script)
    ended = run(["/bin/sh", "-c", 'exec "$@" 2>&1', "sh", *argv])
    assert (ended.status, ended.out) == (0, b"o1\ne1\no2\ne2\no3\ne3\n")


def test_all_of_a_large_output_arrives(tmp_path: Path) -> None:
    """Also what is still in the pipe when the program has ended, to a reader that is slow."""
    with Running(pyspawn("--max-output=1M", "--", "head", "-c", "200000", "/dev/zero")) as running:
        assert running.out.rest() == bytes(200000)
        assert running.wait() == 0


def test_a_reader_that_goes_ends_the_program_as_without_a_relay() -> None:
    reader, writer = os.pipe()
    with open(writer, "wb") as out:
        running = Running(pyspawn("--init", "--max-output=1G", "--", "yes"), stdout=out)
    with running:
        assert os.read(reader, 2) == b"y\n"
        os.close(reader)
        assert running.wait() == 128 + signal.SIGPIPE
        assert running.errors() == ""


def test_a_reader_that_never_reads_holds_up_no_kill() -> None:
    """The one that was told to end waits for nobody for long."""
    with Running(pyspawn("--init", "--max-output=1G", "--stop-timeout=0", "--", "yes")) as running:
        assert running.line() == "y"
        os.kill(running.starter, signal.SIGTERM)
        assert running.wait() in (128 + signal.SIGTERM, 128 + signal.SIGKILL)


def test_a_file_that_is_full_is_told() -> None:
    with open("/dev/full", "wb") as full:
        ended = Running(pyspawn("--init", "--max-output=1G", "--", "yes"), stdout=full)
        with ended:
            assert ended.wait() == 128 + signal.SIGPIPE
            assert ended.errors() == (
                "pyspawn: the program's output was cut off: No space left on device (ENOSPC)\n"
            )


def test_the_relay_is_out_of_the_containers_reach_and_dies_with_the_launcher() -> None:
    with Running(pyspawn("--max-output=1K", "--", "/bin/sh", "-c", "echo on; exec cat")) as running:
        assert running.line() == "on"
        os.kill(running.starter, signal.SIGKILL)
        assert running.out.rest() == b""  # the relay held it
        assert running.wait() == -signal.SIGKILL


def test_a_terminal_gets_the_output_of_both(terminal: Terminal) -> None:
    script = "echo out; echo err >&2; [ -t 0 ] && ! [ -t 1 ] && echo apart"
    argv = pyspawn("--max-output=1K", "--", "/bin/sh", "-c", script)
    with terminal.lead(argv) as running:
        assert [terminal.screen.next() for _ in range(3)] == ["out", "err", "apart"]
        assert running.wait() == 0


def test_a_session_of_its_own_is_no_way_round(terminal: Terminal) -> None:
    """As in a pipeline, the keyboard isn't the program's then."""
    script = "read key; exec 5>&1; [ -t 5 ] || echo 123456789; exec sleep 1000"
    argv = pyspawn("--new-session", "--max-output=4", "--", "/bin/sh", "-c", script)
    with terminal.lead(argv) as running:
        assert terminal.screen.next() == f"1234{OVER.format(4)}"
        assert running.wait() == 137


def test_what_an_init_complains_of_that_can_not_start_is_no_output_of_the_program() -> None:
    ended = spawn("--init", "--rlimit=nofile=0", "--max-output=0", "--", "/bin/echo", "ran")
    assert (ended.status, ended.out) == (125, b"")
    assert said(ended)[0].endswith(" before it had started the program")


def test_explanations_are_no_output() -> None:
    ended = sh("echo 123", "--explain", "--max-output=4")
    assert (ended.status, ended.out) == (0, b"123\n")
    told = ["launcher: fork for the output\n", "init: write standard output and error into pipes"]
    places = [ended.errors.index(each) for each in [*told, "init: execute /bin/sh\n"]]
    assert places == sorted(places)


def test_a_join_has_one_too() -> None:
    with spawner.Process(["cat"], stdin=spawner.PIPE) as process:
        ended = spawn("exec", str(process.pid), "--max-output=5", "--", "/bin/sh", "-c", ENDLESS)
        assert (ended.status, ended.out, said(ended)) == (137, b"01234", [OVER.format(5)])
        assert process.poll() is None
        joined = spawner.join(process, ["yes"], max_output="1K", stdout=spawner.PIPE)
        assert (len(joined.stdout), joined.limit) == (1024, "output")


@pytest.mark.parametrize(
    ("word", "message"),
    [("lots", "'lots' is not a number of bytes"), ("-1", "'-1' is not a number of bytes")],
)
def test_what_makes_no_sense(word: str, message: str) -> None:
    ended = spawn("--max-output", word, "--", "/bin/echo", "ran")
    assert (ended.status, ended.out) == (125, b"")
    assert said(ended)[0].startswith(f"pyspawn: --max-output: {message}")


# From Python


@pytest.mark.parametrize("init", [True, False])
def test_run(init: bool) -> None:
    ended = spawner.run(["sh", "-c", BOTH], max_output=100, capture_output=True, init=init)
    assert len(ended.stdout) + len(ended.stderr) == 100
    assert (ended.returncode, ended.signal, ended.limit) == (137, signal.SIGKILL, "output")
    ended = spawner.run(["echo", "123"], max_output=4, text=True, stdout=spawner.PIPE, init=init)
    assert (ended.stdout, ended.returncode, ended.limit) == ("123\n", 0, None)


def test_the_error_says_it() -> None:
    with pytest.raises(spawner.CalledProcessError, match="was ended by its limit on output") as got:
        spawner.check_output(["yes"], max_output="1K")
    assert len(got.value.output) == 1024


def test_the_twin_for_asyncio() -> None:
    ended = asyncio.run(aio.run(["yes"], max_output=1000, stdout=spawner.PIPE))
    assert (len(ended.stdout), ended.limit) == (1000, "output")


def test_somebody_else_is_bounded_as_well() -> None:
    require("root", "other-user")
    ended = spawn("--setuid=65534", "--max-output=10", "--", *python("print('x' * 100)"))
    assert (ended.status, ended.out) == (137, b"x" * 10)
