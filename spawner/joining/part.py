"""Find the target and return the part that joins it.

The others are taken to be hostile. Everything is looked up and opened by the launcher, or by a
scout in its place (`scout`), before any namespace is entered. No path is looked up later that
somebody inside decides on, but for the program's own.
"""

import _signal
import posix

from spawner.errors import LAUNCHER, SetupError, SyscallError, mark
from spawner.host import proc
from spawner.ids import credentials
from spawner.joining import files, hold, inside, process
from spawner.joining.enter import Joined
from spawner.joining.hold import Held
from spawner.spec import KINDS, NAMESPACES
from spawner.steps import attempt, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from spawner.caller import Caller
    from spawner.ids.identity import Identity
    from spawner.joining.target import Joins
    from spawner.linux import Kernel
    from spawner.spec import Spec


def find(
    joins: "Joins",
    kernel: "Kernel",
    spec: "Spec",
    caller: "Caller",
    lifelines: "Iterable[int]" = (),
) -> Joined:
    """Return the part that joins the namespaces in `joins`; raises SetupError.

    `lifelines` are descriptors whose becoming readable ends the start.
    """
    named = credentials.named(spec)
    return Joined(spec, named, caller, _hold(joins, named, kernel, caller, frozenset(lifelines)))


def _hold(
    joins: "Joins",
    named: "Identity",
    kernel: "Kernel",
    caller: "Caller",
    lifelines: frozenset[int],
) -> Held:
    """Open the namespaces in `joins`, and choose the program's ids in them; raises SetupError."""
    place = attempt(
        LAUNCHER, "open /proc", lambda: kernel.open("/proc", posix.O_PATH | posix.O_DIRECTORY)
    )
    held = Held(joins, place)
    try:
        # Or /proc would be closed by the time that it's needed for that.
        attempt(LAUNCHER, "see which mount /proc is", lambda: held.mount(kernel, place))
        _open(kernel, held, lifelines)
        if held.enters_user:
            _choose_who(kernel, held, named, caller, lifelines)
        elif "user" in joins.enters:
            held.groups_stay = proc.contents("/proc/self/setgroups").strip() == "deny"
    except BaseException:
        held.let_go()
        raise
    return held


def _open(kernel: "Kernel", held: Held, lifelines: frozenset[int]) -> None:
    """Open all the namespaces; raises SetupError."""
    joins = held.joins
    found: dict[str, int] = {}
    if joins.pid is not None:
        found = process.look_up(kernel, held, joins.pid, lifelines)
    found |= files.look_up(kernel, held, lifelines)
    for kind in NAMESPACES:
        descriptor = found.get(kind)
        if descriptor is None:
            continue
        if hold.is_ours(descriptor, kind):
            held.drop(descriptor)
        else:
            held.namespaces[kind] = descriptor
    if joins.target is not None:
        _check_elsewhere(held, joins)
    held.privileged = bool(proc.holds(proc.status(), "CAP_SYS_ADMIN"))
    if held.enters_user and not held.privileged:
        held.first = _below_ours(kernel, held.namespaces["user"])
        if held.first is not None:
            held.hold(held.first)


def _choose_who(
    kernel: "Kernel", held: Held, named: "Identity", caller: "Caller", lifelines: frozenset[int]
) -> None:
    """Choose the program's ids in the user namespace; raises SetupError."""
    maps = held.maps or _maps_of_file(kernel, held, lifelines)
    drops = caller.user == 0 and held.privileged and not held.denied
    held.who = inside.choose(named, caller, maps, drops=drops)


def _maps_of_file(kernel: "Kernel", held: Held, lifelines: frozenset[int]) -> inside.Maps:
    """Return the id maps of a user namespace given as a file; raises SetupError.

    A scout enters it, and shows them from there.
    """
    what = "join the user namespace"
    place = (
        [held.namespaces["user"]] if held.first is None else [held.first, held.namespaces["user"]]
    )

    def enter() -> dict[str, int]:
        for descriptor in place:
            kernel.setns(descriptor, KINDS["user"].number)
        # The new credentials may have undone both, prctl(2).
        kernel.hide()
        kernel.set_parent_death_signal(_signal.SIGKILL)
        return {}

    scout = hold.send_scout(kernel, what, enter)
    try:
        scout.answer(lifelines)
        return held.look_at_maps(str(scout.pid))
    except SyscallError as error:
        raise failed(LAUNCHER, what, error) from None
    finally:
        scout.close()


def _check_elsewhere(held: Held, joins: "Joins") -> None:
    """Refuse a target that is, even in part, in pyspawn's own namespaces.

    The program would run right here, or with half of what is in a container, where whoever named a
    target meant all of it.
    """
    what = f"join {joins.target}" if joins.pid is None else f"join process {joins.pid}"
    if not held.namespaces and held.root is None:
        which = "its namespaces" if joins.kinds is None else "the namespaces that are named"
        raise SetupError(
            f"{what}: pyspawn is already in {which}",
            stage=LAUNCHER,
            hint="name a process of the container: `lsns -t pid` shows the first process of each"
            + ("" if joins.pid is None else f", `pgrep -lP {joins.pid}` the children of this one"),
        )
    for kind in held.ahead:
        if joins.kinds is None or kind not in held.namespaces:
            raise SetupError(
                f"{what}: its new {kind} namespace holds only its children, not the process itself",
                stage=LAUNCHER,
                hint=f"name one of its children (`pgrep -lP {joins.pid}` shows them), or join "
                f"only the other namespaces, each by its own option ({mark('--mount')} and so on)",
            )


def _below_ours(kernel: "Kernel", descriptor: int) -> int | None:
    """Return the ancestor of a user namespace that is a child of this process's own.

    None where that's the other itself. Raises SetupError where it isn't below ours at all.
    """
    above: int | None = None
    at = descriptor
    while True:
        try:
            parent = kernel.parent_namespace(at)
        except SyscallError as error:
            what = "join the user namespace: it isn't a descendant of pyspawn's own"
            why = failed(LAUNCHER, what, error)
            why.hint = "run pyspawn in an ancestor of that user namespace, on the host for instance"
            raise why from None
        if hold.is_ours(parent, "user"):
            posix.close(parent)
            return above
        if above is not None:
            posix.close(above)
        above = at = parent
