"""The signals that pyinit forwards, and which of them the reporters among the programs tell of."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Sequence

from helpers.programs import BLOCK_ALL
from helpers.running import Running
from helpers.seccomp import Stepped

FORWARDED = sorted(
    int(number)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
)

STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
"""What a terminal sends to stop a job."""

FAULTS = (
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGABRT,
    signal.SIGTRAP,
    signal.SIGSYS,
)
"""What the kernel sends to a program at fault, and others can send as well."""

JOB_CONTROL = {signal.SIGCONT, *STOPS}
"""Of these the kernel drops pending ones when an opposite comes, so they can't wait together."""

PLAIN = [number for number in FORWARDED[:-1] if number not in JOB_CONTROL]
STANDARD = [number for number in PLAIN if number < signal.SIGRTMIN]
LAST = int(signal.SIGRTMAX)
"""The kernel takes pending signals lowest number first, so this one comes after all others."""


def reported(running: Running, *, by: str = "reporter", until: int = LAST) -> list[int]:
    """Return the numbers that a reporter says it got, up to and without `until`."""
    numbers: list[int] = []
    while True:
        tag, number = running.line().split()[:2]
        assert tag == by
        if int(number) == until:
            return numbers
        numbers.append(int(number))


def reported_by_all(running: Running, tags: set[str], until: int = LAST) -> dict[str, list[int]]:
    """Return what each of several reporters got, until all of them got `until`."""
    numbers: dict[str, list[int]] = {tag: [] for tag in tags}
    waiting = set(tags)
    while waiting:
        tag, number = running.line().split()[:2]
        if int(number) == until:
            waiting.discard(tag)
        else:
            numbers[tag].append(int(number))
    return numbers


def in_steps(
    start: Callable[[str], Running], at: int, numbers: Sequence[int]
) -> tuple[int, list[int]]:
    """Start a reporter, and signal what was started when it stands at its system call `at`.

    `start` starts it behind prepared code. Return how many calls the whole start made, of all its
    processes, and what the reporter got.
    """
    with Stepped(at, numbers) as steps, start(BLOCK_ALL + Stepped.code) as running:
        steps.watch(running)
        assert running.line().startswith("reporter ready")
        whole = steps.count
        running.send(LAST)
        return whole, reported(running)


def arrive_at_any_call(start: Callable[[str], Running], *, least: int, moments: int) -> None:
    """Check that signals at so many calls of a start, which has `least` or more, all arrive."""
    whole, got = in_steps(start, -1, [])
    assert whole > least
    assert got == []
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGRTMIN, signal.SIGRTMIN]
    for at in range(random.Random().randrange(8), whole - whole // 20, max(1, whole // moments)):
        _, got = in_steps(start, at, numbers)
        assert sorted(got) == sorted(map(int, numbers)), f"at system call {at} of {whole}"
