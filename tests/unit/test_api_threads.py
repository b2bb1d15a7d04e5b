"""Threads that wait for one process, and forks beside it, keep nothing of it."""

from __future__ import annotations

import contextlib
import os
import threading

import pytest
from helpers import descriptors
from helpers.fake_launcher import PATIENT, launcher

import spawner
from spawner import TimeoutExpired

pytestmark = pytest.mark.usefixtures("no_descriptor_left")


def test_all_threads_that_communicate_get_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "started(); os.write(1, b'out' + sys.stdin.buffer.read()); exited(3)")
    process = spawner.Process(["app"], stdin=spawner.PIPE, stdout=spawner.PIPE)
    results: list[object] = []

    def talk() -> None:
        results.append(process.communicate())

    def wait() -> None:
        results.append(process.wait(60))

    threads = [threading.Thread(target=work) for work in (talk, wait, talk, wait, talk)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, results)) == ["(b'out', None)"] * 3 + ["3"] * 2


def test_a_second_thread_waits_its_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, PATIENT)
    process = spawner.Process(["app"], stdout=spawner.PIPE)
    results: list[object] = []
    talking = threading.Event()

    def talk() -> None:
        talking.set()
        results.append(process.communicate())

    thread = threading.Thread(target=talk)
    thread.start()
    talking.wait()
    with pytest.raises(TimeoutExpired):
        process.communicate(timeout=0.01)
    process.kill()
    thread.join()
    assert results == [(b"", None)]
    assert process.returncode == 137


def test_a_fork_keeps_nothing_and_can_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, PATIENT)
    before = descriptors.held()
    process = spawner.Process(["app"])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        now = descriptors.held()  # where libuv was used, it makes its own anew
        problems = [f"kept {number}: {now[number]}" for number in now.keys() - before.keys()]
        for method in (
            *(process.poll, process.wait, process.communicate, process.terminate, process.kill),
            lambda: process.__exit__(None, None, None),
        ):
            with contextlib.suppress(ChildProcessError):
                problems.append(f"{method} gave {method()}")
        process.__del__()  # of no effect
        os.write(writer, repr(problems).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader) as told:
        problems = [
            word for word in eval(told.read()) if f"pipe:[{os.fstat(reader).st_ino}]" not in word
        ]
    assert problems == []
    assert process.poll() is None
    process.kill()
    assert process.wait() == 137
