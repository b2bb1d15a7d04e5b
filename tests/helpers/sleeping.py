"""Prove that a process sleeps for good: by the call it waits in, and by its context switches.

Or stay awake oneself, to act at a moment that a sleep would come too late for.
"""

from __future__ import annotations

import platform
import time
from pathlib import Path

from helpers import children

# rt_sigtimedwait(2); its third argument is the time-out, NULL for none.
_WAIT_FOR_SIGNAL = {"x86_64": 128, "aarch64": 137}


def waits_without_timeout(pid: int) -> bool:
    """Tell whether `pid` is blocked in rt_sigtimedwait(2) with no time-out, proc_pid_syscall(5)."""
    words = Path(f"/proc/{pid}/syscall").read_text().split()
    return words[0] == str(_WAIT_FOR_SIGNAL.get(platform.machine())) and int(words[3], 16) == 0


def settle_to_wait(pid: int) -> None:
    """Wait until `pid` is back in its wait for a signal, whatever it had to do before."""
    children.wait_until(lambda: waits_without_timeout(pid), f"the sleep of {pid}")


def switches(pid: int) -> int:
    """Return how often `pid` was given the processor, by the counts in /proc/PID/status."""
    return sum(
        int(children.status_field(pid, name))
        for name in ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
    )


def spin(seconds: float) -> None:
    """Keep the processor busy for so long: a sleep would let whoever is watched have it."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
