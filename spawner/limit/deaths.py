"""Tell which resource limit a program may have died of, by the signal that killed it.

The kernel reports no more than the signal. What other causes have in common with a limit is
therefore told as a possibility, signal(7), getrlimit(2).
"""

import _signal

from pyinit import signames
from spawner.limit.limits import UNLIMITED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spawner.limit.limits import Rlimit

_SURE = {
    "SIGXCPU": (("cpu", "rttime"), "it used more processor time than is allowed by"),
    "SIGXFSZ": (("fsize",), "it wrote a larger file than is allowed by"),
}
"""The resources whose limits alone send a signal, and what a program did to get it."""

_MEMORY = ("stack", "data", "as")
"""The resources without which an exec that has begun, or a growing stack, gets SIGSEGV."""


def told(limits: "Sequence[Rlimit]", signal: int) -> str | None:
    """Return the message about a program that `signal` has killed, if a limit explains it."""
    name = signames.name(signal)
    names, did = _SURE.get(name, ((), ""))
    found = [each for each in limits if each.resource in names]
    if found:
        return f"the program was killed by {name}: {did} {_listed(found)}"
    if signal == _signal.SIGSEGV:
        found = [each for each in limits if each.resource in _MEMORY]
        why = "can also be caused by too little memory for its start or its stack"
    elif signal == _signal.SIGKILL:
        found = [each for each in limits if _is_used_up(each)]
        why = "is what ends a process that has used up its processor time"
    if not found:
        return None
    return f"the program was killed by {name}, which {why}: see {_listed(found)}"


def _is_used_up(limit: "Rlimit") -> bool:
    """Tell whether the processes that have ended have used up a hard limit on processor time."""
    if limit.resource != "cpu" or limit.hard == UNLIMITED:
        return False
    from resource import RUSAGE_CHILDREN, getrusage

    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime >= limit.hard


def _listed(limits: "Iterable[Rlimit]") -> str:
    return " and ".join(f"the limit {each}" for each in limits)
