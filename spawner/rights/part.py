"""The part for rights: checks the capabilities, and plans when the sets are changed.

The bounding set comes first, right before the change of ids, which takes CAP_SETPCAP away; there it
is said, too, that a change of user is to leave what is to be added. The other sets follow after it.
no_new_privs comes last of them; then Landlock, and a seccomp filter last of all, which may refuse
what the others take. What forbids user namespaces is the stage's, before anything is made that
would belong to the outer one.

The init that stays, pyinit, has no more than that either: it is executed afterwards, like the inits
of the container engines. So no process of the container has rights that the program hasn't.
"""

import _signal

from spawner import steps
from spawner.errors import LAUNCHER, SetupError, SyscallError
from spawner.rights import capabilities
from spawner.rights.rights import DEFAULT, UNCONFINED, changes
from spawner.steps import BOUNDING, NESTED, RIGHTS, SEALED, Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from spawner.caller import Caller
    from spawner.linux import Kernel
    from spawner.rights.rights import Changes, Rights
    from spawner.spec import Spec
    from spawner.steps import Step

CAP_LAST_CAP = "/proc/sys/kernel/cap_last_cap"


class Lowered(Part):
    """The part that changes the init's capability sets, and seals what is left of them."""

    def __init__(
        self,
        found: "Changes | None",
        *,
        no_new_privs: bool,
        nested: "Step | None" = None,
        sealed: "Iterable[Step]" = (),
        seccomp: str | int | None = None,
    ) -> None:
        self._found = found
        self._no_new_privs = no_new_privs
        self._nested = nested
        self._sealed = tuple(sealed)
        self._seccomp = seccomp

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Return the steps that change rights, by station of the plan."""
        found: dict[str, Callable[[], Iterable[Step]]] = {
            BOUNDING: self._before_ids,
            RIGHTS: self._after_ids,
        }
        if (nested := self._nested) is not None:
            found[NESTED] = lambda: (nested,)
        if self._sealed:
            found[SEALED] = lambda: self._sealed
        return found

    def limited(self, signal: int | None, status: int = 0) -> "tuple[str, str] | None":
        """Return the message about a program that a filter has killed; no limit has a name."""
        del status
        if self._seccomp in (None, UNCONFINED) or signal != _signal.SIGSYS:
            return None
        from spawner.rights import filters

        return "", filters.killed(self._seccomp)

    def _before_ids(self) -> "Iterator[Step]":
        found = self._found
        if found is None:
            return
        if found.dropped:
            yield capabilities.drop_from_bounding(found)
        if found.added or found.all_else:
            yield capabilities.keep_over_setuid()

    def _after_ids(self) -> "Iterator[Step]":
        found = self._found
        if found is not None and found.dropped:
            yield capabilities.drop(found)
        if found is not None and (found.added or found.all_else):
            yield capabilities.add(found)
        if self._no_new_privs:
            yield capabilities.set_no_new_privs()


def find(
    rights: "Rights",
    kernel: "Kernel",
    spec: "Spec",
    caller: "Caller",
    lifelines: "Iterable[int]" = (),
) -> Part:
    """Return the part for the rights that the options ask for.

    Raises SetupError and SpecError for a capability that the kernel doesn't know, or that is to be
    added and that pyspawn doesn't have, and what `_sealed` raises.
    """
    del caller, lifelines
    found = None
    if rights.cap_drop or rights.cap_add:
        found = changes(rights, _last(kernel))
        # Whoever enters a user namespace has all of them in there.
        if "user" not in spec.namespaces.wanted | spec.enters:
            held = steps.attempt(
                LAUNCHER, "look at the capabilities", lambda: capabilities.available(kernel, found)
            )
            capabilities.check_held(found.added, held, LAUNCHER)
    nested = None
    if rights.disable_userns:
        from spawner.rights import userns

        nested = userns.forbid()
    return Lowered(
        found,
        no_new_privs=rights.no_new_privs,
        nested=nested,
        sealed=_sealed(rights, kernel, spec),
        seccomp=rights.seccomp,
    )


def _sealed(rights: "Rights", kernel: "Kernel", spec: "Spec") -> "Iterator[Step]":
    """Yield the steps after which the init can do little more than the exec.

    Raises SetupError for what can't be a filter, and for what the kernel's Landlock can't restrict.
    """
    installs = watches = None
    if rights.seccomp not in (None, UNCONFINED):
        from spawner.rights import filters

        program = _program(rights, rights.seccomp, kernel)
        watch = filters.Watch()
        watches = watch.open  # a file of /proc, which Landlock may close
        installs = filters.install(program, rights.seccomp, watch)
    if rights.landlock is not None:
        from spawner.rights import ruleset

        yield ruleset.restrict(
            ruleset.find(rights.landlock), rights.landlock, init=spec.init == "", before=watches
        )
    if installs is not None:
        yield installs


def _program(rights: "Rights", source: str | int, kernel: "Kernel") -> bytes:
    """Return a filter; raises SetupError for what can't be one."""
    if source == DEFAULT:
        from spawner.rights import profile

        return profile.program(rights.cap_add, rights.cap_drop)
    from spawner.rights import filters

    return filters.read(kernel, source)


def keeps_in() -> bool:
    """Tell whether the kernel's Landlock can keep in signals and abstract sockets, landlock(7)."""
    from spawner.rights import ruleset
    from spawner.rights.landlock import SCOPE

    try:
        return ruleset.version() >= ruleset.LEAST[SCOPE]
    except SyscallError:  # there's none, or a filter allows none
        return False


def _last(kernel: "Kernel") -> int:
    """Return the number of the last capability that the kernel knows, capabilities(7)."""
    what = "look how many capabilities there are"
    text = steps.attempt(LAUNCHER, what, lambda: kernel.read_file(CAP_LAST_CAP)).strip()
    if not text.isdigit() or not int(text) < capabilities.BITS:
        raise SetupError(f"{what}: {CAP_LAST_CAP} has {text!r}", stage=LAUNCHER)
    return int(text)
