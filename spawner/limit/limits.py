"""Limits of the container and of each process, as a value that checks itself.

Memory, processes and processors of the container are held by a control group, cgroups(7), and named
as in podman-run(1); its time is held by the launcher. A resource limit is that of a single process,
and what the process starts inherits it, getrlimit(2). Their names are those of prlimit(1); a soft
limit alone is the hard one as well, so that the program can't raise it again.
"""

from pyinit import cmdline
from spawner.errors import SpecError, mark
from spawner.spec import Frozen, Wish, check_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TypeAlias

    from spawner.spec import Choice

    Amount: TypeAlias = int | str
    Given: TypeAlias = Amount | tuple[Amount, Amount]

UNLIMITED = -1
"""No limit: RLIM_INFINITY as a signed number, getrlimit(2)."""

_LARGEST = 2**63 - 1
"""The largest limit that the C library's types can hold on every machine."""

_WORDS = ("unlimited", "infinity", "-1")
"""Words for no limit, as in prlimit(1), systemd.exec(5) and docker(1)."""

_IN_BYTES = ("core", "fsize", "memlock", "msgqueue", "rss", "stack", "data", "as")

RESOURCES = (
    *("core", "cpu", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"),
    *("rtprio", "rttime", "sigpending", "stack", "data", "as"),
)
"""Every resource of getrlimit(2), in the order in which they are set.

The memory of the process itself comes last: what sets the limits is under them from then on.
"""

_MEANT = {
    **dict.fromkeys(
        ("memory", "mem", "ram"),
        f"the container's memory is limited by {mark('--memory')}, a process's by data=SIZE, and "
        "all that a process maps by as=SIZE",
    ),
    **dict.fromkeys(
        ("pids", "processes", "procs"),
        f"the container's processes are limited by {mark('--pids-limit')}, a user's by nproc=N",
    ),
    **dict.fromkeys(("files", "fds", "fd"), "open files are limited by nofile=N"),
    "time": f"processor time is limited by cpu=SECONDS, and time by {mark('--time-limit')}",
}
"""What to use in the place of words that name no resource."""

NICEST, LEAST_NICE = 19, -20
"""The greatest and the least nice value, setpriority(2)."""

OOM_SCORE_ADJ_MIN, OOM_SCORE_ADJ_MAX = -1000, 1000
"""The bounds of the OOM score adjustment, linux/oom.h."""

LEAST_MEMORY = 1 << 16
"""Bytes in fewer of which no process can exist: at least a page on every machine."""

LEAST_CPUS, MOST_CPUS = 0.01, 8192
"""The kernel's smallest quota is a millisecond, in each tenth of a second."""

LEAST_WEIGHT, MOST_WEIGHT = 1, 10000
"""The bounds of cpu.weight and io.weight, cgroup-v2.rst; 100 is that of every group."""

MOST_PIDS = 1 << 22
"""The most processes that any host can have, PID_MAX_LIMIT in linux/threads.h."""

SHORTEST = 1e-9
"""Seconds of the shortest time limit."""


class Rlimit(Frozen):
    """The soft and the hard limit of one resource, in its unit, or UNLIMITED."""

    resource: str
    soft: int
    hard: int

    def _check(self) -> None:
        _check_resource(self.resource)
        for limit in (self.soft, self.hard):
            if not UNLIMITED <= limit <= _LARGEST:
                raise SpecError(f"{limit} is not a valid limit for {self.resource}")
        if self.resource == "cpu" and 0 in (self.soft, self.hard):
            raise SpecError("the kernel would turn a cpu limit of 0 seconds into 1 second")
        if above(self.soft, self.hard):
            raise SpecError(
                f"the soft limit of {self.resource}, {shown(self.soft)}, is above the hard limit, "
                f"{shown(self.hard)}"
            )

    def __str__(self) -> str:
        limits = shown(self.soft)
        return f"{self.resource}={limits}" + (
            "" if self.hard == self.soft else f":{shown(self.hard)}"
        )


class Limits(Wish):
    """The limits of the container, and of the program and each process that it starts.

    `memory` is what all processes together can have, in bytes, or text such as "64M", and
    `memory_swap` what they can have with swap, or "unlimited"; without it they get no swap. `pids`
    is how many processes and threads there can be, and `cpus` how many processors' time they can
    use, such as 1.5. `cpu_weight` and `io_weight`, from 1 to 10000, are the shares that they get
    where processor time or input and output are scarce; others have 100. `cpuset` lists the
    processors to run on, as in "0-3,5". `cgroup_parent` is the control group in which that of the
    container is made. `hold` says what holds all these: "cgroup", a control group; "process",
    limits on each process by itself, which there are for `memory` and `pids`; or "try", the second
    where the first can't be had.

    `rlimits` are limits by the resources of getrlimit(2): `{"nofile": 1024, "as": "2G", "core":
    (0, "unlimited")}`, where a tuple holds the soft and the hard limit, and one number stands for
    both. They are held as a tuple of Rlimit. `nice` is the nice value, from -20 (first) to 19
    (last), and `oom_score_adj` from -1000 (never) to 1000 says how soon the process is ended where
    the host runs out of memory, proc_pid_oom_score_adj(5); None leaves these as the caller has
    them. `time` is how many seconds the program may run, by the clock on the wall; then everything
    in the container is killed. None is without an end.

    Raises SpecError.
    """

    door = "spawner.limit.part"

    memory: int | None
    memory_swap: int | None
    pids: int | None
    cpus: float | None
    cpu_weight: int | None
    cpuset: str | None
    io_weight: int | None
    cgroup_parent: str | None
    hold: str
    rlimits: tuple[Rlimit, ...]
    nice: int | None
    oom_score_adj: int | None
    time: float | None

    def __init__(
        self,
        *,
        memory: "Amount | None" = None,
        memory_swap: "Amount | None" = None,
        pids: int | None = None,
        cpus: float | str | None = None,
        cpu_weight: int | None = None,
        cpuset: str | None = None,
        io_weight: int | None = None,
        cgroup_parent: str | None = None,
        hold: str = "cgroup",
        rlimits: "Mapping[str, Given] | None" = None,
        nice: int | None = None,
        oom_score_adj: int | None = None,
        time: float | None = None,
    ) -> None:
        found = [_rlimit(name, value) for name, value in (rlimits or {}).items()]
        self._set(
            memory=None if memory is None else _bytes("memory", memory),
            memory_swap=None if memory_swap is None else _bytes("memory and swap", memory_swap),
            pids=pids,
            cpus=None if cpus is None else processors(cpus),
            cpu_weight=cpu_weight,
            cpuset=cpuset,
            io_weight=io_weight,
            cgroup_parent=cgroup_parent,
            hold=hold,
            rlimits=tuple(sorted(found, key=lambda each: RESOURCES.index(each.resource))),
            nice=nice,
            oom_score_adj=oom_score_adj,
            time=time,
        )
        self._check()

    @property
    def takes_group(self) -> bool:
        """Whether enforcing them requires a control group."""
        return any(getattr(self, name) is not None for name in OF_GROUPS.values())

    def _check(self) -> None:
        if self.hold not in HOLDERS:
            raise SpecError(f"{self.hold!r} is not one of {', '.join(HOLDERS)}")
        if self.hold != CGROUP and not self.takes_group:
            raise SpecError(
                "there is no limit of the container to enforce",
                f"add one, such as {mark('--pids-limit N')}",
            )
        self._check_memory()
        _check_whole("the limit on processes", self.pids, 1, MOST_PIDS)
        for what in ("cpu_weight", "io_weight"):
            weight = getattr(self, what)
            _check_whole(f"the {what[:-7]} weight", weight, LEAST_WEIGHT, MOST_WEIGHT)
        if self.cpuset is not None:
            _check_processors(self.cpuset)
        if self.cgroup_parent is not None:
            self._check_parent(self.cgroup_parent)
        _check_once(self.rlimits)
        _check_whole("the nice value", self.nice, LEAST_NICE, NICEST)
        _check_whole(
            "the OOM score adjustment", self.oom_score_adj, OOM_SCORE_ADJ_MIN, OOM_SCORE_ADJ_MAX
        )
        _check_time(self.time)

    def _check_memory(self) -> None:
        if self.memory == UNLIMITED:
            raise SpecError("memory is unlimited without a limit", "leave the limit out")
        if self.memory is not None and self.memory < LEAST_MEMORY:
            raise SpecError(f"no program can start in {self.memory} bytes of memory")
        if self.memory_swap is None:
            return
        if self.memory is None:
            raise SpecError(
                "memory and swap together can only be limited along with memory",
                f"add {mark('--memory BYTES')}",
            )
        if above(self.memory, self.memory_swap):
            raise SpecError(
                f"memory and swap together, {self.memory_swap}, are less than memory alone, "
                f"{self.memory}",
                f"{mark('--memory-swap')} counts both: give it as much as {mark('--memory')}, or "
                "more",
            )

    def _check_parent(self, parent: str) -> None:
        if not isinstance(parent, str):
            raise SpecError(f"{parent!r} is not the path of a control group")
        check_text("the path of a control group", parent)
        if not parent.startswith("/") or ".." in parent.split("/"):
            raise SpecError(
                f"the path of the control group, {parent!r}, doesn't start at the root",
                "name it as in /proc/PID/cgroup, or as it is found below /sys/fs/cgroup",
            )
        if not any(getattr(self, name) is not None for name in _HELD):
            raise SpecError(
                "a control group is made only to enforce a limit",
                f"add one, such as {mark('--pids-limit N')}",
            )

    def __repr__(self) -> str:
        limits = {each.resource: (each.soft, each.hard) for each in self.rlimits}
        given = {name: getattr(self, name) for name in OF_GROUPS.values()}
        named = {
            **{name: value for name, value in given.items() if value is not None},
            **({} if self.hold == CGROUP else {"hold": self.hold}),
            "rlimits": limits,
            **{name: getattr(self, name) for name in ("nice", "oom_score_adj", "time")},
        }
        return f"Limits({', '.join(f'{name}={value!r}' for name, value in named.items())})"


CGROUP, PROCESS, TRY = "cgroup", "process", "try"
HOLDERS = (CGROUP, PROCESS, TRY)
"""What can enforce the limits of a container."""

OF_GROUPS = {
    "memory": "memory",
    "memory-swap": "memory_swap",
    "pids-limit": "pids",
    "cpus": "cpus",
    "cpu-weight": "cpu_weight",
    "cpuset": "cpuset",
    "io-weight": "io_weight",
    "cgroup-parent": "cgroup_parent",
}
"""The field of each option that requires a control group."""

_HELD = tuple(name for name in OF_GROUPS.values() if name != "cgroup_parent")


def _bytes(what: str, given: "Amount") -> int:
    """Return an amount of memory in bytes; raises SpecError."""
    if isinstance(given, int) and not isinstance(given, bool) and given >= UNLIMITED:
        return _within(what, given)
    if isinstance(given, str):
        if given.lower() in _WORDS:
            return UNLIMITED
        try:
            return _within(what, cmdline.size(given))
        except SpecError:
            raise
        except ValueError:
            pass
    raise SpecError(f"{given!r} is not {_unit('as')}, for {what}")


def _within(what: str, amount: int) -> int:
    if amount > _LARGEST:
        raise SpecError(f"{amount} is not a valid limit for {what}")
    return amount


def memory(word: str) -> int:
    """Return a number of bytes, which K, M, G or T may follow, or UNLIMITED; raises SpecError."""
    return _bytes("memory", word)


def processors(given: float | str) -> float:
    """Return a number of processors, which may have decimals; raises SpecError."""
    found = given
    if isinstance(given, str):
        digits = given.replace(".", "", 1)
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 12:
            raise SpecError(f"{given!r} is not a number of processors, such as 2 or 0.5")
        found = float(given)
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise SpecError(f"{given!r} is not a number of processors, such as 2 or 0.5")
    if not LEAST_CPUS <= found <= MOST_CPUS:
        raise SpecError(f"the number of processors goes from {LEAST_CPUS} to {MOST_CPUS}")
    return round(float(found), 5)


def numbers(text: str) -> frozenset[int]:
    """Return the numbers in a list such as `0-3,5`, cpuset(7); raises ValueError."""
    found: set[int] = set()
    for part in text.strip().split(",") if text.strip() else ():
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and len(end) <= 4 for end in ends):
            raise ValueError(f"{text!r} is not a list of processors, such as 0-3,5")
        if int(ends[0]) > int(ends[1]):
            raise ValueError(f"{part} in a list of processors goes backwards")
        found.update(range(int(ends[0]), int(ends[1]) + 1))
    return frozenset(found)


def _check_processors(listed: str) -> None:
    if not isinstance(listed, str):
        raise SpecError(f"{listed!r} is not a list of processors, such as 0-3,5")
    try:
        found = numbers(listed)
    except ValueError as error:
        raise SpecError(str(error)) from None
    if not found:
        raise SpecError("the list of processors is empty")


def _check_once(limits: "Iterable[Rlimit]") -> None:
    """Raise SpecError for a resource that is limited twice."""
    names = [each.resource for each in limits]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"{name} is limited twice", "name it once")


def _check_resource(resource: str) -> None:
    """Raise SpecError for a word that names no resource, with what may have been meant."""
    if resource in _MEANT:
        raise SpecError(f"{resource!r} is not a resource: {_MEANT[resource]}")
    if resource not in RESOURCES:
        known = ", ".join(sorted(RESOURCES))
        raise SpecError(f"{resource!r} is not one of the resources {known}")


def _rlimit(name: str, value: "Given") -> Rlimit:
    """Return the limits of one resource, given as one value for both or as soft and hard."""
    resource = resource_of(name)
    _check_resource(resource)
    pair: tuple[Amount, ...] = value if isinstance(value, tuple) else (value,)
    if isinstance(value, str):
        pair = tuple(value.split(":"))
    if len(pair) not in (1, 2):
        raise SpecError(f"{value!r} is not a limit of {resource}: give only a soft and a hard one")
    return Rlimit(resource, _amount(resource, pair[0]), _amount(resource, pair[-1]))


def rlimit(word: str) -> Rlimit:
    """Return the limits in `NAME=SOFT[:HARD]`; raises ValueError."""
    name, equals, limits = word.partition("=")
    if not equals or not name:
        raise ValueError(f"{word!r} is not NAME=SOFT[:HARD], as in nofile=1024")
    return _rlimit(name, limits)


def resource_of(name: str) -> str:
    """Return a resource's name in pyspawn: `nofile` for `NOFILE` or `RLIMIT_NOFILE`."""
    return name.lower().removeprefix("rlimit_") if isinstance(name, str) else name


def _amount(resource: str, given: "Amount") -> int:
    """Return a limit in the unit of its resource; raises SpecError."""
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    if not isinstance(given, str):
        raise SpecError(f"{given!r} is not a limit of {resource}, {_unit(resource)}")
    if given.lower() in _WORDS:
        return UNLIMITED
    try:
        found = cmdline.size(given)
    except ValueError:
        found = -1
    if found < 0 or not (resource in _IN_BYTES or given.isdigit()):
        raise SpecError(f"{given!r} is not a limit of {resource}, {_unit(resource)}")
    return found


def _unit(resource: str) -> str:
    """Return what a limit of a resource has to be, in words."""
    units = {"cpu": "a number of seconds", "rttime": "a number of microseconds"}
    if resource in _IN_BYTES:
        return "a number of bytes, which K, M, G or T may follow, or unlimited"
    return f"{units.get(resource, 'a whole number')}, or unlimited"


def above(first: int, second: int) -> bool:
    """Tell whether one limit allows more than another."""
    if UNLIMITED in (first, second):
        return second != UNLIMITED
    return first > second


def shown(limit: int) -> str:
    """Return a limit as text."""
    return "unlimited" if limit == UNLIMITED else str(limit)


def _check_whole(what: str, number: int | None, lowest: int, highest: int) -> None:
    """Raise SpecError unless a value is a whole number from `lowest` to `highest`."""
    if number is None:
        return
    if isinstance(number, bool) or not isinstance(number, int) or not lowest <= number <= highest:
        raise SpecError(f"{what} can't be {number!r}: it goes from {lowest} to {highest}")


def _check_time(seconds: float | None) -> None:
    """Raise SpecError unless a time limit is a number of seconds that isn't over at once."""
    if seconds is None:
        return
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not number or not SHORTEST <= seconds < float("inf"):
        shown = f"{seconds:g}" if number else repr(seconds)
        raise SpecError(
            f"the time limit can't be {shown}: it must be a finite number of seconds above 0"
        )


def wish(values: "Mapping[str, Any]", choice: "Choice") -> Limits:
    """Return the limits that the options ask for; raises SpecError."""
    del choice
    named: tuple[Rlimit, ...] = values.get("rlimit", ())
    _check_once(named)
    return Limits(
        **{field: values.get(option.replace("-", "_")) for option, field in OF_GROUPS.items()},
        hold=values.get("limits", CGROUP),
        rlimits={each.resource: (each.soft, each.hard) for each in named},
        nice=values.get("nice"),
        oom_score_adj=values.get("oom_score_adj"),
        time=values.get("time_limit"),
    )


def options(limits: Limits) -> "Iterable[tuple[str, str]]":
    """Yield the options that set `limits`, each with its value."""
    for name, field in OF_GROUPS.items():
        value = getattr(limits, field)
        if value is not None:
            yield name, shown(value) if field.startswith("memory") else f"{value}"
    if limits.hold != CGROUP:
        yield "limits", limits.hold
    for each in limits.rlimits:
        yield "rlimit", str(each)
    for name, number in (("nice", limits.nice), ("oom-score-adj", limits.oom_score_adj)):
        if number is not None:
            yield name, str(number)
    if limits.time is not None:
        yield "time-limit", f"{limits.time:.9f}"
