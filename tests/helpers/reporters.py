"""The signals that pyinit forwards, and which of them the reporters among the programs tell of."""

from __future__ import annotations

import signal

from helpers.running import Running

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
