"""Check that the limits are allowed, plan when they are set, and see which one ended the program.

The control group is made by the launcher before anything else, and the init enters it before it
makes its namespaces, first of all: so all of the container is in there, and the root of the new
cgroup namespace is the group. Where the stage stays as the keeper, that is outside: it's ours.

What takes a right comes first, by the init, before its namespaces and the change of credentials
take rights away: the nice value, and the OOM score, for which the caller's own /proc is still
there. Resource limits come last, since the set-up itself may need more than they leave, and after
the change of credentials: a process that is over its limit on processes when it becomes another
user is refused its exec, execve(2). A hard limit is never raised, so they take no right.

The init that stays, pyinit, is under them as well, like those of the container engines. The time
is held by the launcher, which isn't.
"""

import _signal
import posix
import time

from spawner import steps
from spawner.errors import INIT, LAUNCHER, SetupError, mark
from spawner.limit import rlimits
from spawner.limit.limits import PROCESS, RESOURCES, TRY, above, shown
from spawner.machine import LIMIT
from spawner.steps import ENTERED, LIMITS, Part, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from spawner.caller import Caller
    from spawner.limit.group import Group
    from spawner.limit.limits import Limits, Rlimit
    from spawner.limit.places import Place
    from spawner.linux import Kernel
    from spawner.spec import Spec

MAKE_GROUP = "make a control group"
"""What the launcher does in each hierarchy, in words."""

TIME = "time"
"""The name of the time limit, for programs that read how a container ended."""


class Bounds(Part):
    """The part that sets the limits, and enforces the time limit.

    `places` are those in which the control group `name` is made; there are none where no limit
    requires one, or where the processes are limited `singly`, each by itself. `fallback` checks
    that they can be, for the case that the group can't be had; None rules it out. `reaps` says
    that the container has an init that reaps.
    """

    def __init__(
        self,
        limits: "Limits",
        places: "Sequence[Place]" = (),
        name: str = "",
        *,
        reaps: bool = False,
        singly: bool = False,
        fallback: "Callable[[], None] | None" = None,
    ) -> None:
        self._limits = limits
        self._reaps = reaps
        self._singly = singly
        self._fallback = fallback
        self._deadline: float | None = None
        self._over = False
        self._places = places
        self._name = name
        self._group: Group | None = None
        self._watch = -1
        self._zombies: tuple[int, str] | None = None
        self.looks = [
            (LAUNCHER, MAKE_GROUP, f'mkdir("{place.parent}/{name}", 0755)') for place in places
        ]

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Return the functions that set the limits, by station of the plan."""
        return {ENTERED: self._place, LIMITS: self._lower}

    def begin(self, kernel: "Kernel") -> None:
        """Make the control group and set its limits; raises SetupError."""
        if not self._places:
            return
        try:
            self._make(kernel)
        except SetupError as error:
            if self._fallback is None:
                raise
            self.stop()
            self._places = ()
            self._group = self.used = None
            self.hold_singly(error)

    def _make(self, kernel: "Kernel") -> None:
        from spawner.limit import group, places

        self._group = made = group.Group(kernel, self._name)
        for place in self._places:
            made.make(place)
        made.limit(places.chosen(self._limits, made.directories, posix.sysconf("SC_PAGESIZE")))
        made.open()
        if self._limits.pids is not None:
            self._watch = made.watch()

    def hold_singly(self, error: SetupError) -> None:
        """Limit each process by itself, since a control group can't be had; or raise its error."""
        if self._fallback is not None:
            try:
                self._fallback()
            except SetupError:
                raise error from None
        self._singly = True
        self.note = f"without a control group, each process is limited by itself: {error}"

    @property
    def descriptors(self) -> set[int]:
        """The descriptor that tells of a refused fork."""
        return {self._watch} - {-1}

    @property
    def alarms(self) -> "Iterable[int]":
        """The same descriptor, which is readable once a fork was refused."""
        return self.descriptors

    def reached(self, alarm: int) -> bool:
        """See whose zombies there are when a fork is refused; nothing is killed for that."""
        if self._group is not None:
            self._zombies = self._group.zombies()
        self._watch = -1
        posix.close(alarm)
        return False

    def let_go(self) -> None:
        """Close the files by which the init enters the group."""
        if self._group is not None:
            self._group.close()

    def stop(self) -> list[int]:
        """Remove the group, after killing what is in it; return what outlives its SIGKILL."""
        if self._group is None:
            return []
        if self.used is None:
            self.used = self._group.used()
            if self._limits.pids is not None:
                self.used["zombies"] = self._zombies[0] if self._zombies else None
        try:
            return self._group.remove()
        except SetupError as error:
            self.leftover = str(error)
            return []

    def _enter(self) -> "Step":
        files = ", ".join(f"{place.parent}/{self._name}/cgroup.procs" for place in self._places)
        return Step(
            INIT,
            "enter the control group",
            f'write("{files}", "0")',
            lambda _, __: self._group.enter() if self._group else None,
            topic="enter-cgroup",
            makes=True,
        )

    def _place(self) -> "Iterator[Step]":
        if self._places:
            yield self._enter()
        if self._singly and self._limits.pids is not None:
            from spawner.limit import singly

            yield singly.check_users()
        if self._limits.nice is not None:
            yield rlimits.set_nice(self._limits.nice)
        if self._limits.oom_score_adj is not None:
            yield rlimits.set_oom_score_adj(self._limits.oom_score_adj)

    def _lower(self) -> "Iterator[Step]":
        wanted = {each.resource: each for each in self._limits.rlimits}
        if self._singly:
            from spawner.limit import singly

            wanted.update((each.resource, each) for each in singly.rlimits(self._limits))
        return map(rlimits.set_rlimit, sorted(wanted.values(), key=_place))

    def executed(self) -> None:
        """Start the time limit's clock, even if the init never says that the program has started.

        What runs beside it without a PID namespace may have stopped it.
        """
        if self._limits.time is not None:
            self._deadline = time.monotonic() + self._limits.time + LIMIT

    def started(self) -> None:
        """Start the time limit's clock now."""
        if self._limits.time is not None:
            self._deadline = time.monotonic() + self._limits.time

    @property
    def deadline(self) -> float | None:
        """The moment at which the time is over, once the program runs."""
        return self._deadline

    def expired(self) -> None:
        """Note that the time is over."""
        self._deadline = None
        self._over = True

    def limited(self, signal: int | None, status: int = 0) -> "tuple[str, str] | None":
        """Return the limit that ended the program, if one has, and the message about that."""
        if self._over and signal == _signal.SIGKILL:
            ran = f"it has run for {self._limits.time:g} s"
            return TIME, f"the program was killed by {mark('--time-limit')}: {ran}"
        if self.used is not None:
            from spawner.limit import usage

            killed = signal == _signal.SIGKILL
            dead = self._zombies or (0, "")
            found = usage.met(self._limits, self.used, status, killed, dead, reaps=self._reaps)
            if found is not None:
                return found
        if signal is None or not self._limits.rlimits:
            return None
        from spawner.limit import deaths

        message = deaths.told(self._limits.rlimits, signal)
        return None if message is None else ("", message)


def find(
    limits: "Limits",
    kernel: "Kernel",
    spec: "Spec",
    caller: "Caller",
    lifelines: "Iterable[int]" = (),
) -> Part:
    """Return the part for the limits; raises SetupError for one above the caller's hard limit."""
    del lifelines
    for each in limits.rlimits:
        _check(kernel, each)
    if not limits.takes_group:
        return Bounds(limits)
    from spawner.limit import group, places, singly

    def check() -> None:
        singly.check(limits, spec, caller)
        for each in singly.rlimits(limits):
            _check(kernel, each)

    if limits.hold == PROCESS:
        check()
        return Bounds(limits, singly=True)
    reaps, fallback = spec.init is not None, check if limits.hold == TRY else None
    try:
        found = places.find(limits)
    except SetupError as error:
        if fallback is None:
            raise
        bounds = Bounds(limits, fallback=fallback)
        bounds.hold_singly(error)
        return bounds
    return Bounds(limits, found, group.name(), reaps=reaps, fallback=fallback)


def _place(limit: "Rlimit") -> int:
    return RESOURCES.index(limit.resource)


def _check(kernel: "Kernel", wanted: "Rlimit") -> None:
    """Refuse to raise a hard limit, even as root: pyspawn never widens a limit."""
    what = f"read the limit {wanted.resource}"
    number = rlimits.number(wanted.resource)
    _, most = steps.attempt(LAUNCHER, what, lambda: kernel.prlimit(number))
    if not above(wanted.hard, most):
        return
    raise SetupError(
        f"the limit {wanted.resource} can't be {shown(wanted.hard)}: the hard limit of pyspawn "
        f"itself is {shown(most)}",
        stage=LAUNCHER,
        hint=(
            f"ask for {wanted.resource}={shown(most)} at most, or have root raise the hard limit "
            f"first: `prlimit --{wanted.resource}={shown(wanted.hard)} pyspawn ...`"
        ),
    )
