"""See, wait for and clean up processes, through /proc and pidfds."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

SAFETY_SECONDS = 60.0
"""The net under every wait: only a hang ever meets it."""

GRACE_SECONDS = 20.0
"""How long a process that is being killed may take to die before it counts as left behind."""

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def become_subreaper() -> None:
    """Make orphans below this process its children (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def of(pid: int) -> frozenset[int]:
    """Return the pids of the children of `pid`, zombies too."""
    return frozenset(in_order(pid))


def in_order(pid: int) -> list[int]:
    """Return the pids of the children of `pid`, zombies too, each thread's in their order.

    Which their pids don't tell, for these begin anew (proc_pid_task(5), children).
    """
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found.extend(map(int, (task / "children").read_text().split()))
    return found


def below(pid: int) -> list[int]:
    """Return all descendants of `pid`, parents before their children, and siblings in order."""
    found: list[int] = []
    queue = in_order(pid)
    while queue:
        child = queue.pop(0)
        found.append(child)
        queue.extend(in_order(child))
    return found


def state(pid: int) -> str:
    """Return the one-letter state of `pid` (proc_pid_stat(5)); "" once it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    return chr(text[text.rindex(b")") + 2])


def runs(pid: int) -> bool:
    """Tell whether `pid` lives and isn't stopped, whatever it waits for at the moment."""
    return state(pid) not in ("", *"TtZX")


def wait_until(holds: Callable[[], bool], what: str = "it") -> None:
    """Look again and again until `holds()`: for what no event tells of."""
    deadline = time.monotonic() + SAFETY_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"{what} does not come"
        os.sched_yield()


def wait_state(pid: int, wanted: str) -> None:
    """Wait until the living process `pid` is in one of the `wanted` states."""

    def holds() -> bool:
        now = state(pid)
        assert now, f"{pid} is gone"
        return now in wanted

    wait_until(holds, f"state {wanted} of {pid}")


def status_field(pid: int | str, name: str) -> str:
    """Return one field of /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    raise KeyError(name)


def zombies(pid: int) -> list[int]:
    """Return the dead children that `pid` has not reaped."""
    return [child for child in sorted(of(pid)) if state(child) == "Z"]


def _describe(pid: int) -> str:
    with contextlib.suppress(OSError):
        return f"{pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    return str(pid)


def _alive(pids: Collection[int]) -> set[int]:
    return {pid for pid in pids if state(pid) not in ("", "Z", "X")}


@contextlib.contextmanager
def pidfd(pid: int) -> Iterator[int]:
    """Hold a pidfd of `pid`, readable once it has died (pidfd_open(2))."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def wait_readable(descriptor: int, seconds: float = SAFETY_SECONDS) -> bool:
    """Wait until `descriptor` is readable or at its end; False when the time is over."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(max(0.0, seconds) * 1000))


def wait_gone(pids: Collection[int], seconds: float = SAFETY_SECONDS) -> set[int]:
    """Wait until all of `pids` are dead (perhaps unreaped); return those that still live."""
    deadline = time.monotonic() + seconds
    for pid in pids:
        try:
            with pidfd(pid) as descriptor:
                wait_readable(descriptor, deadline - time.monotonic())
        except ProcessLookupError:
            continue
    return _alive(pids)


def settle(before: Collection[int]) -> list[str]:
    """Reap the children that came since `before`; kill, and name, those that live on."""
    new = of(os.getpid()) - frozenset(before)
    left = sorted(wait_gone(new, GRACE_SECONDS))
    names = [_describe(pid) for pid in left]
    kill_all(before)
    return names


def kill_all(before: Collection[int] = ()) -> None:
    """Kill and reap every child but those of `before`, and what becomes ours by that."""
    while new := of(os.getpid()) - frozenset(before):
        for pid in new:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
