"""The steps that set limits in the init, each of which is read back afterwards."""

from spawner.errors import INIT, SetupError
from spawner.limit.limits import UNLIMITED, shown
from spawner.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.limit.limits import Rlimit
    from spawner.linux import Kernel

OOM_SCORE_ADJ = "/proc/self/oom_score_adj"

RLIMIT_LOCKS = 10
"""asm-generic/resource.h, the same on every kind of machine; Python has no name for it."""


def number(resource: str) -> int:
    """Return the number of a resource on this kind of machine, asm/resource.h."""
    import resource as numbers

    found: int = getattr(numbers, f"RLIMIT_{resource.upper()}", RLIMIT_LOCKS)
    return found


def words(wanted: "Rlimit") -> str:
    """Return the words for the step that sets a limit: `set the limit nofile to 1024`."""
    found = f"set the limit {wanted.resource} to {shown(wanted.soft)}"
    return found if wanted.hard == wanted.soft else f"{found}, at most {shown(wanted.hard)}"


def set_rlimit(wanted: "Rlimit") -> Step:
    """Set the soft and the hard limit of a resource, prlimit(2)."""
    what = words(wanted)
    limits = (wanted.soft, wanted.hard)
    how = ", ".join("RLIM_INFINITY" if each == UNLIMITED else str(each) for each in limits)

    def act(kernel: "Kernel", _: str) -> None:
        # What tells of a failed exec couldn't be read any more, below some limits.
        from pyinit import execerror, execvp  # noqa: F401

        which = number(wanted.resource)
        kernel.prlimit(which, limits)
        _hold(what, limits, kernel.prlimit(which))

    return Step(
        INIT,
        what,
        f"prlimit(0, RLIMIT_{wanted.resource.upper()}, {{{how}}}, NULL)",
        act,
        topic="set-rlimit",
    )


def set_nice(nice: int) -> Step:
    """Set the nice value, setpriority(2)."""
    what = f"set the nice value to {nice}"

    def act(kernel: "Kernel", _: str) -> None:
        kernel.setpriority(nice)
        _hold(what, nice, kernel.getpriority())

    return Step(
        INIT, what, f"setpriority(PRIO_PROCESS, 0, {nice})", act, topic="set-nice", makes=True
    )


def set_oom_score_adj(adjustment: int) -> Step:
    """Set the OOM score adjustment, proc_pid_oom_score_adj(5)."""
    what = f"set the OOM score adjustment to {adjustment}"

    def act(kernel: "Kernel", _: str) -> None:
        kernel.write_file(OOM_SCORE_ADJ, b"%d" % adjustment)
        _hold(what, b"%d" % adjustment, kernel.read_file(OOM_SCORE_ADJ).strip())

    return Step(
        INIT,
        what,
        f'write("{OOM_SCORE_ADJ}", "{adjustment}")',
        act,
        topic="set-oom-score-adj",
        makes=True,
    )


def _hold(what: str, wanted: object, found: object) -> None:
    """Raise SetupError if the kernel has set another limit than the one given."""
    if wanted != found:
        raise SetupError(f"{what}: the kernel set {found!r} instead of {wanted!r}", stage=INIT)
