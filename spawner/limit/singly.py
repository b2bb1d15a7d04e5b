"""Limit the processes of a container without a control group: each by itself, as far as that goes.

* How many there can be is RLIMIT_NPROC, which a new user namespace counts for itself since Linux
  5.14, by user: so it holds for the container where that has a single user id. Root of this host is
  exempt, wherever it goes, getrlimit(2).
* Memory is RLIMIT_DATA of each process: together they can have as much as there can be processes.

Nothing of the sort holds processors, or input and output.
"""

from spawner.errors import INIT, LAUNCHER, SetupError, mark
from spawner.limit.limits import OF_GROUPS, TRY, Rlimit
from spawner.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from spawner.caller import Caller
    from spawner.limit.limits import Limits
    from spawner.linux import Kernel
    from spawner.spec import Spec

HELD = ("memory", "pids-limit")
"""The options for which there is something to set in each process."""


def rlimits(limits: "Limits") -> "Iterator[Rlimit]":
    """Yield the resource limits that stand for those of the container, the count of processes last.

    A smaller limit that is asked for by itself stands.
    """
    given = {each.resource: each.hard for each in limits.rlimits}
    for resource, most in (("data", limits.memory), ("nproc", limits.pids)):
        if most is not None and not 0 <= given.get(resource, -1) <= most:
            yield Rlimit(resource, most, most)


def check(limits: "Limits", spec: "Spec", caller: "Caller") -> None:
    """Raise SetupError where the limits can't be enforced without a control group."""
    for option, field in OF_GROUPS.items():
        held = option in HELD or (option == "cgroup-parent" and limits.hold == TRY)
        if not held and getattr(limits, field) is not None:
            raise _impossible(
                f"{mark(f'--{option}')} requires a control group", "leave it out, or start as root"
            )
    if limits.pids is None:
        return
    if "user" not in spec.namespaces.required:
        raise _impossible(
            "the processes of a container can only be counted in a user namespace of its own",
            f"add {mark('--user')}",
        )
    if caller.user == 0:
        raise _impossible(
            "a separate limit on each process doesn't bound how many processes root has",
            "use a control group, which root can make, or start pyspawn as an ordinary user",
        )


def check_users() -> Step:
    """Make sure that the new user namespace has a single user id, for which processes count."""
    what = "make sure that the container has one user id"

    def act(kernel: "Kernel", _: str) -> None:
        counts = [line.split()[2] for line in kernel.read_file("/proc/self/uid_map").splitlines()]
        if counts != [b"1"]:
            raise SetupError(
                f"{what}: processes are counted by user, and the container has several",
                stage=INIT,
                hint="map a single user id, or limit the number of processes by a control group",
            )

    return Step(INIT, what, 'read("/proc/self/uid_map")', act, topic="check-users", makes=True)


def _impossible(why: str, hint: str) -> SetupError:
    return SetupError(why, stage=LAUNCHER, hint=hint)
