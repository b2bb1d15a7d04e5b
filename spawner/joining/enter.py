"""The order in which existing namespaces are joined, and what the program gets from the target.

The order is the kernel's, setns(2): whoever has no rights here enters the user namespace below ours
first, whose owner has them all in there; then the others; then the user namespace that is the
target's, if it's one further below. Whoever has rights enters the user namespace last. The PID
namespace is entered by the process that forks, for the fork.
"""

from spawner.errors import INIT, STAGE
from spawner.ids import credentials
from spawner.joining import steps
from spawner.spec import KINDS
from spawner.steps import ENTERED, IDS, JOINED, LISTENERS, PLACE, VARIABLES, Part, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from spawner.caller import Caller
    from spawner.ids.identity import Identity
    from spawner.joining.hold import Held
    from spawner.spec import Spec


class Joined(Part):
    """The part that joins the namespaces `held`; `closes` says to close the caller's descriptors.

    `named` is who the program is to be.
    """

    strays = True

    def __init__(self, spec: "Spec", named: "Identity", caller: "Caller", held: "Held") -> None:
        self.spec = spec
        self.named = named
        self.held = held
        self.looks = held.looks
        self.closes = held.joins.target is not None
        self._user = caller.user

    def let_go(self) -> None:
        """Close the descriptors held here; forked processes have their own copies."""
        self.held.let_go()

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Return the steps that join, and that set directory, environment and ids, by station."""
        found: dict[str, Callable[[], Iterable[Step]]] = {
            JOINED: self.before_fork,
            ENTERED: self.after_fork,
            PLACE: self.places,
            VARIABLES: self.variables,
        }
        if self.closes:
            found[LISTENERS] = tuple
        if self.held.enters_user:
            found[IDS] = lambda: (steps.become(self.held.who),)
        elif "user" in self.held.joins.enters:
            found[IDS] = lambda: credentials.become(self.named, groups_stay=self.held.groups_stay)
        return found

    def search_path(self, found: bytes | None) -> bytes | None:
        """Return the PATH of the target's environment, if the program gets that environment."""
        return found if self.held.environment is None else self.held.environment.get(b"PATH")

    @property
    def _early(self) -> bool:
        """Whether all namespaces are joined before the fork, as for a user namespace with new ones.

        Those are to be made in it, and what is joined may be out of its reach.
        """
        new = self.spec.namespaces.wanted
        return "user" in new or (self.held.enters_user and bool(new))

    @property
    def _hostile(self) -> bool:
        """Whether processes of the container can see the ones that join it."""
        return (
            bool(self.held.namespaces.keys() & {"user", "pid", "mount"})
            or self.held.root is not None
        )

    @property
    def _checks(self) -> bool:
        """Whether the working directory has to be checked, since others may have chosen it."""
        chosen = self.spec.workdir is not None or self.held.directory is not None
        return self._hostile and chosen

    def before_fork(self) -> "Iterator[Step]":
        """Yield the stage's steps."""
        if self._hostile:
            yield steps.hide()
        if self._early:
            yield from self._enter(STAGE)
        elif self.held.enters_user and not self.held.privileged:
            yield steps.enter_user(STAGE, self._outermost)
        if "pid" in self.held.namespaces:
            yield steps.enter("pid", self.held.namespaces["pid"], STAGE)

    def after_fork(self) -> "Iterator[Step]":
        """Yield the init's steps that come before the container is made."""
        if self.closes:
            yield steps.keep_descriptors_out(self.held.joins.passed)
        if "mount" in self.held.namespaces or self.held.root is not None:
            yield steps.import_no_more()
        if not self._early:
            yield from self._enter(INIT)

    def places(self) -> "Iterator[Step]":
        """Yield the steps that change the init's root and working directory."""
        yield steps.close_namespaces(self._entered())
        if self.held.root is not None:
            yield steps.enter_root(self.held.root)
        if self.spec.workdir is not None:
            yield steps.change_directory(self.held, self.spec.workdir, checked=self._hostile)
        elif self.held.directory is not None:
            yield steps.enter_directory(self.held, self.held.directory, checked=self._hostile)

    def variables(self) -> "Iterator[Step]":
        """Yield the steps that give the program the target's environment."""
        if self.held.environment is not None:
            yield steps.take_environment(self.held.environment)

    @property
    def _outermost(self) -> int:
        return self.held.namespaces["user"] if self.held.first is None else self.held.first

    def _enter(self, where: str) -> "Iterator[Step]":
        """Yield the steps that join all namespaces but the PID namespace."""
        entered = not self._early and self.held.enters_user and not self.held.privileged
        if self._early and self.held.enters_user and not self.held.privileged:
            yield steps.enter_user(where, self._outermost)
            entered = True
        for kind in sorted(self.held.namespaces, key=lambda name: KINDS[name].place):
            if KINDS[kind].place:
                yield steps.enter(kind, self.held.namespaces[kind], where)
        if self.held.enters_user and (not entered or self.held.first is not None):
            if self._user == 0:
                yield steps.drop_groups(where, self.held)
            yield steps.enter_user(where, self.held.namespaces["user"])

    def _entered(self) -> list[int]:
        """Return the descriptors that are no longer needed once all namespaces are joined."""
        held = [*self.held.namespaces.values()]
        if not (self.held.asks_proc and self._checks):
            held.append(self.held.proc)
        if self.held.first is not None:
            held.append(self.held.first)
        return held
