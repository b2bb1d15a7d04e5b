"""What is written into a control group for each limit, by the version of its hierarchy.

Version 1 has a hierarchy for each controller, cgroups(7) and the kernel's cgroup-v1/; version 2 has
one for all, cgroup-v2.rst. What is unlimited isn't written: a new group is.
"""

from spawner.limit.limits import UNLIMITED, numbers
from spawner.spec import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spawner.limit.limits import Limits

PERIOD = 100_000
"""Microseconds in which a quota of processor time is counted, the kernel's default."""

SWAP = ("memory.swap.max", "memory.memsw.limit_in_bytes")
"""The files that are only there where the kernel accounts for swap."""

INHERITED = ""
"""Stands for what the parent of a group has in the same file."""

CPUS = ("cpuset.cpus", "cpuset.mems")
"""The files that hold lists of numbers, which the kernel may spell another way."""


class Setting(Frozen):
    """A value for a file of a control group, and the option that asks for it."""

    controller: str
    file: str
    value: str
    option: str


def controllers(limits: "Limits", version: int) -> "tuple[str, ...]":
    """Return the controllers without which the limits can't be enforced."""
    return tuple(dict.fromkeys(each.controller for each in settings(limits, version, 4096)))


def settings(limits: "Limits", version: int, page: int) -> "tuple[Setting, ...]":
    """Return what has to be written, in this order; `page` is the size of a page in bytes.

    The kernel counts memory in whole pages, and rounds down.
    """
    return tuple((_first if version == 1 else _second)(limits, page))


def _first(limits: "Limits", page: int) -> "Iterator[Setting]":
    if limits.memory is not None:
        yield _memory("memory.limit_in_bytes", limits.memory, page, "memory")
        both = limits.memory if limits.memory_swap is None else limits.memory_swap
        if both != UNLIMITED:
            # After the memory, which it can't be less than.
            yield _memory("memory.memsw.limit_in_bytes", both, page, "memory-swap")
    yield from _pids(limits)
    if limits.cpus is not None:
        yield Setting("cpu", "cpu.cfs_period_us", str(PERIOD), "cpus")
        yield Setting("cpu", "cpu.cfs_quota_us", str(quota(limits.cpus)), "cpus")
    if limits.cpu_weight is not None:
        yield Setting("cpu", "cpu.shares", str(shares(limits.cpu_weight)), "cpu-weight")
    if limits.cpuset is not None:
        # Without memory nodes no process may enter the group; INHERITED stands for the parent's.
        yield Setting("cpuset", "cpuset.mems", INHERITED, "cpuset")
        yield Setting("cpuset", "cpuset.cpus", limits.cpuset, "cpuset")
    if limits.io_weight is not None:
        yield Setting("io", "io.weight", f"default {limits.io_weight}", "io-weight")


def _second(limits: "Limits", page: int) -> "Iterator[Setting]":
    if limits.memory is not None:
        yield _memory("memory.max", limits.memory, page, "memory")
        both = limits.memory if limits.memory_swap is None else limits.memory_swap
        if both != UNLIMITED:
            yield _memory("memory.swap.max", both - limits.memory, page, "memory-swap")
    yield from _pids(limits)
    if limits.cpus is not None:
        yield Setting("cpu", "cpu.max", f"{quota(limits.cpus)} {PERIOD}", "cpus")
    if limits.cpu_weight is not None:
        yield Setting("cpu", "cpu.weight", str(limits.cpu_weight), "cpu-weight")
    if limits.cpuset is not None:
        yield Setting("cpuset", "cpuset.cpus", limits.cpuset, "cpuset")
    if limits.io_weight is not None:
        yield Setting("io", "io.weight", f"default {limits.io_weight}", "io-weight")


def _memory(file: str, amount: int, page: int, option: str) -> Setting:
    return Setting("memory", file, str(amount // page * page), option)


def _pids(limits: "Limits") -> "Iterator[Setting]":
    if limits.pids is not None:
        yield Setting("pids", "pids.max", str(limits.pids), "pids-limit")


def quota(cpus: float) -> int:
    """Return the microseconds of a period that stand for a number of processors."""
    return round(cpus * PERIOD)


def shares(weight: int) -> int:
    """Return the shares of version 1 that are a weight of version 2, as the kernel has them."""
    return max(2, (weight * 1024 + 50) // 100)


def stricter(wanted: "Iterable[Setting]", left: "Iterable[tuple[str, str]]") -> "Iterator[Setting]":
    """Yield the settings of version 2, none of them wider than those of groups that are `left`.

    Those are files and their contents, of each group that the container would otherwise be in.
    """
    found = {each.file: each for each in wanted}
    for file, text in left:
        held = found.get(file)
        if file.startswith("cpuset"):
            if text and held is None:
                found[file] = Setting("cpuset", file, text, "cpuset")
        elif _share(text) < (_share(held.value) if held else _share("max")):
            found[file] = Setting(file.partition(".")[0], file, text, held.option if held else "")
    yield from found.values()


def _share(text: str) -> float:
    """Return how much a limit of version 2 allows, as a number to compare with its like."""
    first, _, period = text.partition(" ")
    if first == "max":
        return float("inf")
    return int(first) / int(period or 1)


LEFT = (
    *("memory.max", "memory.high", "memory.swap.max", "pids.max", "cpu.max", "cpuset.cpus"),
    "cpuset.mems",
)
"""The limits of version 2 that hold for a group and all below it."""


def is_same(file: str, wanted: str, found: str) -> bool:
    """Tell whether a file says what was written into it."""
    if file in CPUS:
        return numbers(wanted) == numbers(found)
    return wanted == found.partition("\n")[0].strip()
