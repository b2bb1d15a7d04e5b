"""Check that the limits are allowed, and plan when they are set.

What takes a right comes first, by the init, before its namespaces and the change of credentials
take rights away: the nice value, and the OOM score, for which the caller's own /proc is still
there. Resource limits come last, since the set-up itself may need more than they leave, and after
the change of credentials: a process that is over its limit on processes when it becomes another
user is refused its exec, execve(2). A hard limit is never raised, so they take no right.

The init that stays, pyinit, is under them as well, like those of the container engines.
"""

from spawner import steps
from spawner.errors import LAUNCHER, SetupError
from spawner.limit import rlimits
from spawner.limit.limits import above, shown
from spawner.steps import ENTERED, LIMITS, Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from spawner.caller import Caller
    from spawner.limit.limits import Limits, Rlimit
    from spawner.linux import Kernel
    from spawner.spec import Spec
    from spawner.steps import Step


class Bounds(Part):
    """The part that sets the limits."""

    def __init__(self, limits: "Limits") -> None:
        self._limits = limits

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Return the functions that set the limits, by station of the plan."""
        return {ENTERED: self._place, LIMITS: self._lower}

    def _place(self) -> "Iterator[Step]":
        if self._limits.nice is not None:
            yield rlimits.set_nice(self._limits.nice)
        if self._limits.oom_score_adj is not None:
            yield rlimits.set_oom_score_adj(self._limits.oom_score_adj)

    def _lower(self) -> "Iterator[Step]":
        return map(rlimits.set_rlimit, self._limits.rlimits)


def find(
    limits: "Limits",
    kernel: "Kernel",
    spec: "Spec",
    caller: "Caller",
    lifelines: "Iterable[int]" = (),
) -> Part:
    """Return the part for the limits; raises SetupError for one above the caller's hard limit."""
    del spec, caller, lifelines
    for each in limits.rlimits:
        _check(kernel, each)
    return Bounds(limits)


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
