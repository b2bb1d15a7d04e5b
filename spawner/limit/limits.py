"""What one process can be given: a value, checked with words.

Each limit is that of a single process, and what the process starts inherits it, getrlimit(2). They
are the words of prlimit(1); a soft limit alone is the hard one as well, so that the program can't
raise it again.
"""

from pyinit import cmdline
from spawner.errors import SpecError
from spawner.spec import Frozen, Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TypeAlias

    from spawner.spec import Choice

    Amount: TypeAlias = int | str
    Given: TypeAlias = Amount | tuple[Amount, Amount]

UNLIMITED = -1
"""No limit, as getrlimit(2) has it in the signed form of RLIM_INFINITY."""

_LARGEST = 2**63 - 1
"""The largest limit that fits the C library's types everywhere."""

_WORDS = ("unlimited", "infinity", "-1")
"""What people write for no limit: ulimit and prlimit(1), systemd.exec(5), docker(1)."""

_IN_BYTES = ("core", "fsize", "memlock", "msgqueue", "rss", "stack", "data", "as")

RESOURCES = (
    *("core", "cpu", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"),
    *("rtprio", "rttime", "sigpending", "stack", "data", "as"),
)
"""Every resource of getrlimit(2), in the order in which they are set.

The memory of the process itself comes last: what sets the limits is under them from then on.
"""

NICEST, LEAST_NICE = 19, -20
"""The nice values that there are, setpriority(2)."""

OOM_SCORE_ADJ_MIN, OOM_SCORE_ADJ_MAX = -1000, 1000
"""linux/oom.h"""


class Rlimit(Frozen):
    """The soft and the hard limit of one resource, in its unit, or UNLIMITED."""

    resource: str
    soft: int
    hard: int

    def _check(self) -> None:
        if self.resource not in RESOURCES:
            known = ", ".join(sorted(RESOURCES))
            raise SpecError(f"{self.resource!r} is not one of the resources {known}")
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
    """What the program, and each process that it starts, can be given.

    `rlimits` are limits by the resources of getrlimit(2): `{"nofile": 1024, "as": "2G", "core":
    (0, "unlimited")}`, where a tuple holds the soft and the hard limit, and one number stands for
    both. They are held as a tuple of Rlimit. `nice` is the nice value, from -20 (first) to 19
    (last), and `oom_score_adj` from -1000 (never) to 1000 says how soon the process is ended where
    the host runs out of memory, proc_pid_oom_score_adj(5); None leaves these as the caller has
    them.

    Raises SpecError.
    """

    door = "spawner.limit.part"

    rlimits: tuple[Rlimit, ...]
    nice: int | None
    oom_score_adj: int | None

    def __init__(
        self,
        *,
        rlimits: "Mapping[str, Given] | None" = None,
        nice: int | None = None,
        oom_score_adj: int | None = None,
    ) -> None:
        found = [_rlimit(name, value) for name, value in (rlimits or {}).items()]
        self._set(
            rlimits=tuple(sorted(found, key=lambda each: RESOURCES.index(each.resource))),
            nice=nice,
            oom_score_adj=oom_score_adj,
        )
        self._check()

    def _check(self) -> None:
        _check_once(self.rlimits)
        _check_whole("the nice value", self.nice, LEAST_NICE, NICEST)
        _check_whole(
            "the OOM score adjustment", self.oom_score_adj, OOM_SCORE_ADJ_MIN, OOM_SCORE_ADJ_MAX
        )

    def __repr__(self) -> str:
        limits = {each.resource: (each.soft, each.hard) for each in self.rlimits}
        return f"Limits(rlimits={limits}, nice={self.nice}, oom_score_adj={self.oom_score_adj})"


def _check_once(limits: "Iterable[Rlimit]") -> None:
    """Raise SpecError for a resource that is there twice."""
    names = [each.resource for each in limits]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"{name} is limited twice", "name it once")


def _rlimit(name: str, value: "Given") -> Rlimit:
    """Return the limits of one resource: one for both, or the soft and the hard one."""
    resource = resource_of(name)
    pair: tuple[Amount, ...] = value if isinstance(value, tuple) else (value,)
    if isinstance(value, str):
        pair = tuple(value.split(":"))
    if len(pair) not in (1, 2):
        raise SpecError(f"{value!r} is not a limit of {resource}: give only a soft and a hard one")
    return Rlimit(resource, _amount(resource, pair[0]), _amount(resource, pair[-1]))


def rlimit(word: str) -> Rlimit:
    """Return what `NAME=SOFT[:HARD]` stands for; raises ValueError for anything else."""
    name, equals, limits = word.partition("=")
    if not equals or not name:
        raise ValueError(f"{word!r} is not NAME=SOFT[:HARD], as in nofile=1024")
    return _rlimit(name, limits)


def resource_of(name: str) -> str:
    """Return the resource that is meant: `nofile` for `NOFILE` and the C name `RLIMIT_NOFILE`."""
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
    """Say what a limit of a resource is."""
    units = {"cpu": "a number of seconds", "rttime": "a number of microseconds"}
    if resource in _IN_BYTES:
        return "a number of bytes, which K, M, G or T may follow, or unlimited"
    return f"{units.get(resource, 'a whole number')}, or unlimited"


def above(first: int, second: int) -> bool:
    """Tell whether a limit allows more than another."""
    if UNLIMITED in (first, second):
        return second != UNLIMITED
    return first > second


def shown(limit: int) -> str:
    """Return a limit as it is written."""
    return "unlimited" if limit == UNLIMITED else str(limit)


def _check_whole(what: str, number: int | None, lowest: int, highest: int) -> None:
    """Raise SpecError for what isn't a number from `lowest` to `highest`."""
    if number is None:
        return
    if isinstance(number, bool) or not isinstance(number, int) or not lowest <= number <= highest:
        raise SpecError(f"{what} can't be {number!r}: it goes from {lowest} to {highest}")


def wish(values: "Mapping[str, Any]", choice: "Choice") -> Limits:
    """Return the limits that the options ask for; raises SpecError."""
    del choice
    named: tuple[Rlimit, ...] = values.get("rlimit", ())
    _check_once(named)
    return Limits(
        rlimits={each.resource: (each.soft, each.hard) for each in named},
        nice=values.get("nice"),
        oom_score_adj=values.get("oom_score_adj"),
    )


def options(limits: Limits) -> "Iterable[tuple[str, str]]":
    """Yield each option that asks for `limits`, and its value."""
    for each in limits.rlimits:
        yield "rlimit", str(each)
    for name, number in (("nice", limits.nice), ("oom-score-adj", limits.oom_score_adj)):
        if number is not None:
            yield name, str(number)
