"""What a workload finds with pyinit in front of it, beside what it would find without."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

from helpers.programs import RESERVED, Word, prepared, pyinit
from helpers.running import Ended, run

RARE = settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

UNKNOWABLE = {signal.SIGPIPE, signal.SIGXFSZ}
"""An interpreter ignores these before any code of ours runs, so what they were is lost."""

INHERITED = (
    "Umask", "Uid", "Gid", "Groups", "SigPnd", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm",
    "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Cpus_allowed",
)  # fmt: skip


def status_of(ended: Ended) -> dict[str, str]:
    """Return the lines of /proc/PID/status that an exec leaves as they are."""
    assert ended.status == 0, ended
    lines = (line.partition(":") for line in ended.out.decode().splitlines())
    fields = {key: value.strip() for key, _, value in lines if key in INHERITED}
    fields["SigIgn"] = f"{int(fields['SigIgn'], 16) & ~RESERVED:016x}"
    return fields


def with_and_without(prepare: str, *workload: Word) -> tuple[Ended, Ended]:
    """Run a workload prepared alike, once below pyinit and once bare."""
    return (
        run(prepared(prepare, pyinit("--", *workload))),
        run(prepared(prepare, workload)),
    )


def signal_state(mask: set[int], ignored: set[int]) -> str:
    return (
        f"for number in {sorted(map(int, ignored))}: signal.signal(number, signal.SIG_IGN)\n"
        f"signal.pthread_sigmask(signal.SIG_SETMASK, {sorted(map(int, mask))})\n"
    )


EXEC_WITH = """
entries = {entries!r}
vector = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
names = (ctypes.c_char_p * (len(entries) + 1))(*entries, None)
ctypes.CDLL(None).execve(argv[0], vector, names)
"""
