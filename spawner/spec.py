"""The specification of a container: a frozen value, checked before any step is taken.

It holds no trace of a command line or of the host's state, so that every front end can make
one and a test can plan one without privileges.
"""

import _signal

from spawner.errors import INIT, STAGE, SpecError, mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from dataclasses import KW_ONLY
    from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform

    W = TypeVar("W", bound="Wish")

    @dataclass_transform(frozen_default=True)
    class _Value:
        """A base class that type checkers treat as a frozen dataclass."""

else:
    _Value = object


class Frozen(_Value):
    """A frozen value whose fields are those that its class annotates.

    A default is what the class holds under the field's name. The fields after `_: "KW_ONLY"` are
    given by keyword: that, and the types, the type checker checks. A class whose constructor takes
    other things than it holds has its own, which calls `_set`. dataclasses would do as much, and
    cost a start more than all that is ours.
    """

    if TYPE_CHECKING:
        _fields: ClassVar[tuple[str, ...]]
        _needed: ClassVar[set[str]]

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(name for name in cls.__annotations__ if name != "_")
        cls._needed = {name for name in cls._fields if not hasattr(cls, name)}

    def __init__(self, *values: "Any", **named: "Any") -> None:
        named.update(zip(self._fields, values, strict=False))
        if not self._needed <= named.keys() <= {*self._fields}:
            raise TypeError(f"a {type(self).__name__} accepts {', '.join(self._fields)}")
        self._set(**named)
        self._check()

    def _set(self, **values: "Any") -> None:
        self.__dict__.update(values)

    def _check(self) -> None:
        """Raise an error if the fields don't make sense together; for subclasses."""

    def _values(self) -> "tuple[Any, ...]":
        return tuple(getattr(self, name) for name in self._fields)

    def __setattr__(self, name: str, value: object) -> "NoReturn":
        raise AttributeError(f"a {type(self).__name__} is frozen: {name} can't be set")

    def __delattr__(self, name: str) -> "NoReturn":
        raise AttributeError(f"a {type(self).__name__} is frozen: {name} can't be deleted")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({fields})"


FORKER = "forker"
"""The maker of namespaces that hold for children only: STAGE or LAUNCHER, whichever forks."""


class Kind(Frozen):
    """A kind of namespace, namespaces(7): its names, its flag, its place among the steps.

    `flag` and `number` are its flag, clone(2) and linux/sched.h, and `file` is its file in
    /proc/PID/ns. `short` is its option of one letter, in unshare(1)'s spelling, `help` the words
    for that, and `title` what people call it. `maker` is the process that makes it: STAGE, FORKER
    or INIT. `place` is its turn where others are joined. With `default` a container gets a new one
    unasked.
    """

    flag: str
    number: int
    file: str
    short: str
    title: str
    help: str
    _: "KW_ONLY"
    maker: str = INIT
    place: int = 0
    default: bool = False


KINDS = {
    "user": Kind("CLONE_NEWUSER", 0x10000000, "user", "U", "user",
        "Make a new user namespace, or join.", maker=STAGE),
    "pid": Kind("CLONE_NEWPID", 0x20000000, "pid", "p", "PID",
        "Make a new PID namespace, or join.", maker=FORKER, default=True),
    "mount": Kind("CLONE_NEWNS", 0x00020000, "mnt", "m", "mount",
        "Make a new mount namespace, or join that of FILE.", place=6, default=True),
    "uts": Kind("CLONE_NEWUTS", 0x04000000, "uts", "u", "UTS",
        "Make a new UTS namespace (the host name), or join.", place=4, default=True),
    "ipc": Kind("CLONE_NEWIPC", 0x08000000, "ipc", "i", "IPC",
        "Make a new IPC namespace, or join.", place=2, default=True),
    "net": Kind("CLONE_NEWNET", 0x40000000, "net", "n", "network",
        "Make a new network namespace, with nothing but loopback in it, or join.", place=3),
    "cgroup": Kind("CLONE_NEWCGROUP", 0x02000000, "cgroup", "C", "cgroup",
        "Make a new cgroup namespace, or join.", place=1, default=True),
    "time": Kind("CLONE_NEWTIME", 0x00000080, "time", "T", "time",
        "Make a new time namespace (offsets of the clocks), or join.", maker=FORKER, place=5),
}  # fmt: skip
"""Every kind, by the name that unshare(1) gives it; in the order of making, for each maker.

The user and the PID namespace have no place in a join: each has rules of its own (`joining.enter`).
"""

NAMESPACES = tuple(KINDS)

DEFAULT_NAMESPACES = frozenset(name for name, kind in KINDS.items() if kind.default)
"""The namespaces that are new by default; the user namespace only without root."""

ALL = "all"
"""Stands for every kind in a list of namespaces."""

STOP_TIMEOUT = 10.0
"""Seconds between the stop signal and SIGKILL, the default of `docker stop`."""

HOST_NAME_MAX = 64
"""The most bytes in a host name, sethostname(2), linux/utsname.h (__NEW_UTS_LEN)."""

LONGEST_POLL = 2e6
"""Seconds of the longest poll(2); longer waits are split."""

KTIME_SEC_MAX = 9223372036
"""The most seconds that the kernel's clocks can hold, linux/ktime.h."""


def kind_of(name: str) -> str:
    """Return the kind of namespace for a name: `net` for `NET`, `mount` for the kernel's `mnt`.

    Any other word is returned as it is.
    """
    folded = name.lower() if isinstance(name, str) else name
    for kind, facts in KINDS.items():
        if folded in (kind, facts.file):
            return kind
    return ALL if folded == ALL else name


def made_by(maker: str) -> tuple[str, ...]:
    """Return the kinds of namespaces that STAGE, FORKER or INIT makes, in their order."""
    return tuple(name for name, kind in KINDS.items() if kind.maker == maker)


class Namespaces(Frozen):
    """The namespaces to make: `required` ones, and `optional` ones that may be refused.

    Takes the names in any iterable, or in text with commas; ALL stands for every one. Those that
    aren't named are the caller's. Raises SpecError for any other name.
    """

    required: frozenset[str]
    optional: frozenset[str]

    def __init__(
        self, required: "str | Iterable[str]", optional: "str | Iterable[str]" = ()
    ) -> None:
        self._set(required=_kinds("required", required), optional=_kinds("optional", optional))
        for kind in sorted(self.required & self.optional):
            what = f"the {kind} namespace is named both as required and as optional"
            raise SpecError(what, "name it only once")

    @property
    def wanted(self) -> frozenset[str]:
        """All kinds of namespaces to make, required and optional."""
        return self.required | self.optional

    def __repr__(self) -> str:
        required, optional = (
            ",".join(kind for kind in NAMESPACES if kind in kinds)
            for kinds in (self.required, self.optional)
        )
        return f"Namespaces({required!r}{f', {optional!r}' if optional else ''})"


def _kinds(where: str, names: "str | Iterable[str]") -> frozenset[str]:
    """Return kinds of namespaces; `where` says in errors where they come from."""
    words = (names.split(",") if names else ()) if isinstance(names, str) else names
    kinds = {kind_of(word) for word in words}
    _check_kinds(where, kinds)
    return frozenset(NAMESPACES if ALL in kinds else kinds)


def _check_kinds(where: str, kinds: "Iterable[str]") -> None:
    for kind in sorted(kinds, key=str):
        if kind not in NAMESPACES and kind != ALL:
            raise SpecError(
                f"{where}: {kind!r} is not a kind of namespace",
                f"the kinds are {', '.join(NAMESPACES)}, and {ALL} for every one",
            )


def choose(
    unshare: "Iterable[str]" = (),
    share: "Iterable[str]" = (),
    attempt: "Iterable[str]" = (),
    *,
    privileged: bool,
) -> Namespaces:
    """Return the new namespaces that `unshare`, `share` and `attempt` result in.

    `unshare` adds to the defaults, `share` takes away, `attempt` makes optional. The order plays
    no part: a kind named by itself beats ALL, and one named in two of the three is an error.
    `privileged` callers need no user namespace for the others. Raises SpecError.
    """
    named = {"--unshare": set(unshare), "--share": set(share), "--unshare-try": set(attempt)}
    for option, kinds in named.items():
        _check_kinds(mark(option), kinds)
    for first, second in (
        ("--unshare", "--share"),
        ("--unshare", "--unshare-try"),
        ("--unshare-try", "--share"),
    ):
        for kind in sorted(named[first] & named[second]):
            what = "every namespace" if kind == ALL else f"the {kind} namespace"
            both = f"{mark(first)} and {mark(second)}"
            raise SpecError(f"{what} is named in both {both}", "name it in only one of them")
    required = set(DEFAULT_NAMESPACES)
    if not privileged:
        required.add("user")
    optional: set[str] = set()
    if ALL in named["--unshare"]:
        required = set(NAMESPACES)
    elif ALL in named["--share"]:
        required = set()
    if ALL in named["--unshare-try"]:
        required, optional = set(), set(NAMESPACES)
    required = required - named["--share"] - named["--unshare-try"] | named["--unshare"]
    optional = optional - named["--share"] - named["--unshare"] | named["--unshare-try"]
    return Namespaces(required - {ALL}, optional - {ALL})


class Choice:
    """The namespaces that options name, to which wishes may add others.

    `unshare`, `share` and `attempt` are as for `choose`; `joined` are those of others, path by
    kind. `user` and `group` are the ids of the caller.
    """

    def __init__(
        self,
        user: int,
        group: int,
        *,
        unshare: "Iterable[str]" = (),
        share: "Iterable[str]" = (),
        attempt: "Iterable[str]" = (),
        joined: "Mapping[str, str] | None" = None,
    ) -> None:
        self.user = user
        self.group = group
        self.unshare = list(unshare)
        self.share = list(share)
        self.attempt = list(attempt)
        self.joined = dict(joined or {})

    def namespaces(self) -> Namespaces:
        """Return the new namespaces of this choice; raises SpecError."""
        return choose(self.unshare, self.share, self.attempt, privileged=self.user == 0)


class Wish(Frozen):
    """The base of wishes: what is wanted of one subject, as a value that checks itself.

    `door` names the module whose `find` looks up what the wish needs. The rest are facts, by which
    a wish judges whether it goes with others: it knows no more of them.
    """

    door = ""

    @property
    def enters(self) -> frozenset[str]:
        """The kinds of existing namespaces that the container joins, or may join."""
        return frozenset()

    @property
    def meets_others(self) -> bool:
        """Whether the program may be a file that another user has put where it is found."""
        return False

    @property
    def spreads(self) -> str:
        """The option that makes the container's mounts appear on the host, or ""."""
        return ""

    @property
    def pipes(self) -> "Iterable[int]":
        """The standard streams that become pipes."""
        return ()

    @property
    def places(self) -> "Iterable[str]":
        """The paths on which it mounts something that nothing else is to cover."""
        return ()

    @property
    def has_terminals(self) -> bool:
        """Whether /dev has terminals of the container's own."""
        return False

    @property
    def needs(self) -> "Iterable[tuple[str, str]]":
        """The kinds of namespaces that have to be new, each with a message if it isn't."""
        return ()

    def check(self, spec: "Spec") -> None:
        """Raise SpecError if the rest of `spec` conflicts with this wish."""
        for kind, message in self.needs:
            if kind not in spec.namespaces.required:
                raise SpecError(message, f"add {mark(f'--{kind}')}")


class Spec(Frozen):
    """One program and the container around it; frozen.

    `arguments` is the program's argv. `namespaces` says what is new. `wishes` are what is wanted
    beyond what stands here, in the order in which it is looked up. `init` is None where the program
    itself is PID 1, "" for pyinit, else the path of another init. `hostname`, `monotonic` and
    `boottime` (clock offsets in whole seconds) need their namespace. `workdir` is where the program
    starts, None for here. `environment` holds (name, value) pairs set on top of the caller's
    variables, or on top of none where `clear_environment`. `stop_signal` is what a SIGTERM becomes;
    `stop_timeout` is in seconds, None for no end. With `die_with_parent` the container ends with
    the process that started the launcher.

    Raises SpecError, which says why.
    """

    arguments: tuple[str, ...]
    _: "KW_ONLY"
    namespaces: Namespaces
    wishes: tuple[Wish, ...] = ()
    init: str | None = None
    hostname: str | None = None
    monotonic: int | None = None
    boottime: int | None = None
    workdir: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    clear_environment: bool = False
    stop_signal: int = _signal.SIGTERM
    stop_timeout: float | None = STOP_TIMEOUT
    die_with_parent: bool = False

    def wish(self, kind: "type[W]") -> "W | None":
        """Return the wish of this type, or None."""
        return next((wish for wish in self.wishes if isinstance(wish, kind)), None)

    @property
    def enters(self) -> frozenset[str]:
        """The kinds of existing namespaces that the container joins, or may join."""
        return frozenset().union(*(wish.enters for wish in self.wishes))

    def _check(self) -> None:
        """Raise SpecError for fields that make no sense together."""
        if not self.arguments:
            raise SpecError("no program was given", "pyspawn [OPTIONS] -- PROGRAM [ARG...]")
        for word in self.arguments:
            check_text("an argument", word)
        for wish in self.wishes:
            wish.check(self)
        self._check_hostname()
        self._check_clocks()
        if self.init is not None:
            check_text("the path of the init", self.init)
        if self.workdir is not None:
            check_text("the working directory", self.workdir)
            if not self.workdir:
                raise SpecError("the working directory is an empty path")
        for name, value in self.environment:
            check_text("an environment variable", name + value)
            if not name or "=" in name:
                raise SpecError(f"{name!r} can't be the name of an environment variable")
        if self.stop_signal not in _signal.valid_signals():
            raise SpecError(f"{self.stop_signal} is not the number of a signal")
        if self.stop_timeout is not None and not self.stop_timeout >= 0:
            raise SpecError(f"the stop time-out can't be {self.stop_timeout} seconds")

    def _check_hostname(self) -> None:
        if self.hostname is None:
            return
        check_text("the host name", self.hostname)
        if not 0 < len(self.hostname.encode("utf-8", "surrogateescape")) <= HOST_NAME_MAX:
            raise SpecError(f"a host name has 1 to {HOST_NAME_MAX} bytes: {self.hostname!r}")
        self._check_needed("a host name", "uts")

    def _check_clocks(self) -> None:
        for clock, offset in (("monotonic", self.monotonic), ("boottime", self.boottime)):
            if offset is None:
                continue
            self._check_needed(f"an offset of the {clock} clock", "time")
            if abs(offset) > KTIME_SEC_MAX:
                raise SpecError(f"{offset} seconds are more than the kernel's clocks can hold")

    def _check_needed(self, what: str, kind: str) -> None:
        """Raise SpecError if the `kind` namespace, which is needed, isn't sure to be new."""
        if kind not in self.namespaces.required:
            raise SpecError(f"{what} needs a new {kind} namespace", f"add {mark(f'--{kind}')}")


def check_text(what: str, text: str) -> None:
    """Raise SpecError for text that contains a NUL."""
    if "\0" in text:
        raise SpecError(f"{what} contains a NUL: {text!r}")
