"""Signals through the API, and threads that start programs."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from helpers.trees import python

import spawner
from spawner import PIPE, CompletedProcess, Process, run

pytestmark = pytest.mark.usefixtures("pidns")

SAY_SIGNALS = """
import signal, sys
numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print("ready", flush=True)
while True:
    print(signal.sigwaitinfo(numbers).si_signo, flush=True)
"""


@pytest.mark.parametrize("init", [True, False])
def test_signals_reach_the_program(init: bool) -> None:
    # Continuing what isn't stopped is no news, and job control belongs to the terminal's tests.
    wanted = [signal.SIGUSR1, signal.SIGINT, signal.SIGRTMIN + 3, signal.SIGHUP, signal.SIGTERM]
    with Process(python(SAY_SIGNALS), init=init, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in wanted:
            process.send_signal(number)
            assert int(process.stdout.readline()) == number
        process.kill()
    assert (process.returncode, process.signal) == (137, 9)


def test_a_signal_right_after_the_start_is_not_lost() -> None:
    for _ in range(20):
        process = Process(["sleep", "inf"])
        process.terminate()
        assert (process.wait(), process.signal) == (143, 15)


def test_terminate_sends_the_stop_signal() -> None:
    args = ["sh", "-c", "trap 'exit 9' USR1; echo ready; while :; do sleep 0.01; done"]
    with Process(args, stop_signal="USR1", stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
    assert process.returncode == 9


def test_what_ignores_the_stop_signal_is_killed_after_a_while() -> None:
    args = ["sh", "-c", "trap '' TERM; echo ready; sleep inf"]
    with Process(args, stop_timeout=0.05, stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait() == 137


def test_many_threads_run_many_containers() -> None:
    wrong: list[CompletedProcess[str]] = []

    def work(number: int) -> None:
        for turn in range(10):
            word = f"{number}.{turn}"
            ended = run(["sh", "-c", f"echo {word}; exit {number}"], stdout=PIPE, text=True)
            if (ended.returncode, ended.stdout) != (number, f"{word}\n"):
                wrong.append(ended)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_container_outlives_the_thread_that_started_it() -> None:
    made: list[Process[bytes]] = []
    thread = threading.Thread(target=lambda: made.append(Process(["cat"], stdin=PIPE, stdout=PIPE)))
    thread.start()
    thread.join()
    assert made[0].communicate(b"alive") == (b"alive", None)
    assert made[0].returncode == 0


@pytest.mark.parametrize("turn", range(20))
def test_a_wait_in_one_thread_and_a_kill_in_another(turn: int) -> None:
    process = Process(["sleep", "inf"])
    results: list[int] = []

    def wait() -> None:
        results.append(process.wait())

    threads = [threading.Thread(target=work) for work in (wait, process.kill, wait, process.kill)]
    for thread in threads[turn % 2 :] + threads[: turn % 2]:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [137, 137]


def test_a_namespace_goes_by_each_of_its_names() -> None:
    with spawner.Process(["cat"], stdin=spawner.PIPE, unshare="NET,Mnt") as process:
        inodes = process.namespaces
        assert inodes["mnt"] == inodes["MOUNT"] == inodes["mount"] == inodes.get("Mnt")
        assert inodes["mount"] == os.stat(f"/proc/{process.pid}/ns/mnt").st_ino
        assert "NET" in inodes
        assert "nets" not in inodes
        assert inodes.get("nets") is None
        with pytest.raises(KeyError):
            inodes["nets"]
        user = [] if os.geteuid() == 0 else ["User"]
        for names in (",".join(["mnt", "NET", *user]), ["MNT", "net", *user]):
            with spawner.JoinedProcess(process, ["true"], namespaces=names) as guest:
                assert guest.namespaces["mnt"] == inodes["mount"]
                assert guest.namespaces["net"] == inodes["net"]
                assert guest.namespaces["uts"] != inodes["uts"]
    assert not {"mnt", "Time"} & set(spawner.run(["true"], unshare_try="TIME").missing)
