"""What the processes of a control group have used, and which of its limits they have met.

Read when all of them have ended. What the kernel doesn't count, or doesn't tell in this version of
control groups, is None.
"""

from spawner.errors import SyscallError, mark
from spawner.host import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from spawner.limit.limits import Limits
    from spawner.limit.places import Place

    Used = dict[str, str | int | float | None]

_FILES = {
    1: {
        "memory_peak": ("memory.max_usage_in_bytes", "", 1),
        "oom_kills": ("memory.oom_control", "oom_kill", 1),
        "pids_peak": ("pids.peak", "", 1),
        "pids_refused": ("pids.events", "max", 1),
        "cpu_seconds": ("cpuacct.usage", "", 10**9),
    },
    2: {
        "memory_peak": ("memory.peak", "", 1),
        "oom_kills": ("memory.events", "oom_kill", 1),
        "pids_peak": ("pids.peak", "", 1),
        "pids_refused": ("pids.events", "max", 1),
        "cpu_seconds": ("cpu.stat", "usage_usec", 10**6),
    },
}
"""The file of each fact by version, the word before the number, and how many make a whole.

The kernel's cgroup-v1/ and cgroup-v2.rst.
"""

MEMORY, PIDS = "memory", "pids"
"""The names of limits, for programs that read how a container ended."""

_NEARLY = 0.9
"""The least share of a memory limit that is in use when the kernel ends a process for it."""


def read(directories: "Iterable[tuple[Place, str]]") -> "Used":
    """Return what is known of the processes that were in a group, by the names of `_FILES`."""
    found: Used = {"cgroup": None, **dict.fromkeys(_FILES[2]), "zombies": None}
    for place, path in directories:
        found["cgroup"] = f"v{place.version}"
        for name, (file, word, whole) in _FILES[place.version].items():
            number = _number(f"{path}/{file}", word)
            if number is not None:
                found[name] = number if whole == 1 else round(number / whole, 6)
    return found


def _number(path: str, word: str) -> int | None:
    """Return the number in a file, or the one after a word at the beginning of a line."""
    try:
        lines = proc.text(path).splitlines()
    except SyscallError:
        return None
    for line in lines:
        before, _, number = line.rpartition(" ")
        if before == word and number.isdigit():
            return int(number)
    return None


def met(
    limits: "Limits",
    used: "Used",
    status: int,
    killed: bool,
    zombies: tuple[int, str] = (0, ""),
    *,
    reaps: bool,
) -> "tuple[str, str] | None":
    """Return which limit has ended the program, "" for none, and the message about that.

    `killed` says that the program died of SIGKILL; `reaps`, that there's an init that reaps.
    `zombies` are how many there were when the first fork was refused, and whose. None
    where no limit was met, or the program did well without what it was refused.
    """
    if kills := int(used["oom_kills"] or 0):
        return _out_of_memory(limits, used, kills, killed=killed, ended=status == _KILLED)
    peak = used["pids_peak"]
    own = limits.pids is not None and (peak is None or int(peak) >= limits.pids)
    if own and used["pids_refused"] and status:
        count, parent = zombies
        dead = f", {count} of them zombies, children of {parent}" if count else ""
        more = "" if reaps else f"; without {mark('--init')}, ended orphans count, too"
        message = (
            f"forks were refused by {mark('--pids-limit')}: the container had {limits.pids} "
            f"processes and threads{dead}{more}"
        )
        return PIDS if not killed and status <= _LAST else "", message
    return None


_KILLED = 137
"""The status for a death by SIGKILL."""

_LAST = 125
"""The last status by which a shell doesn't speak of the end of another program."""


def _out_of_memory(
    limits: "Limits", used: "Used", kills: int, *, killed: bool, ended: bool
) -> "tuple[str, str]":
    who = "the program" if killed else f"{kills} process{'es' * (kills > 1)} of the container"
    verb = "was" if killed or kills == 1 else "were"
    peak = used["memory_peak"]
    most = limits.memory
    if most is None or (peak is not None and float(peak) < _NEARLY * most):
        return "", f"{who} {verb} killed: memory ran out on the host, or in a control group above"
    message = f"{who} {verb} killed by {mark('--memory')}: the container had used its {size(most)}"
    return MEMORY if killed or ended else "", message


def size(amount: int) -> str:
    """Return a number of bytes as it would be typed: `64M`."""
    for unit, factor in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if amount % factor == 0:
            return f"{amount // factor}{unit}"
    return f"{amount} bytes"
