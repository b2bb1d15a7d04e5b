"""The existing namespaces that a container joins, as a frozen value that checks itself."""

from spawner.errors import SpecError
from spawner.spec import KINDS, Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from spawner.spec import Spec


class Joins(Wish):
    """The namespaces to join: those of `target`, and those in `files`, path by kind.

    `target` is a pid, the path of a namespace file, or that of a directory of them. `kinds` are
    those of the target's that are entered, None for all. With `environment` the program gets the
    target's variables in place of the caller's; only a process has some. `passed` are descriptors
    that the program gets besides the standard ones; it gets all where there's no target.
    """

    door = "spawner.joining.part"

    target: str | None
    files: tuple[tuple[str, str], ...]
    kinds: frozenset[str] | None
    environment: bool
    passed: frozenset[int]

    def __init__(
        self,
        target: str | None = None,
        *,
        files: "Mapping[str, str] | Iterable[tuple[str, str]]" = (),
        kinds: "Iterable[str] | None" = None,
        environment: bool = False,
        passed: "Iterable[int]" = (),
    ) -> None:
        self._set(
            target=target,
            files=tuple(dict(files).items()),
            kinds=None if kinds is None else frozenset(kinds),
            environment=environment,
            passed=frozenset(passed),
        )

    @property
    def pid(self) -> int | None:
        """The pid of the target, or None if the target is a path."""
        word = self.target
        if word is None or not (word.isascii() and word.isdigit()):
            return None
        return int(word[:18])  # what is too long for int() is too large all the same

    @property
    def meets_others(self) -> bool:
        """Whether the program may be a file that another user has put where it is found."""
        return self.target is not None or "mount" in dict(self.files)

    @property
    def enters(self) -> frozenset[str]:
        """The kinds of namespaces that are named, or that the target may have."""
        named = frozenset(KINDS) if self.kinds is None else self.kinds
        return frozenset(dict(self.files)) | (frozenset() if self.target is None else named)

    def check(self, spec: "Spec") -> None:
        """Raise SpecError if the target makes no sense, or not with the new namespaces."""
        new = spec.namespaces
        if self.target == "":
            raise SpecError("the target is empty", "name a pid, or a path")
        for word in (self.target or "", *(path for _, path in self.files)):
            if "\0" in word:
                raise SpecError(f"{word!r} contains a NUL, which no path can hold")
        pid = self.pid
        if pid is not None and not 0 < pid < 1 << 31:
            raise SpecError(
                f"{self.target} can't be a process id",
                "name a process by its id, as `ps -e` shows it",
            )
        if self.environment and pid is None:
            raise SpecError(
                "only a target that is a process has an environment", "name the target by its pid"
            )
        joined = dict(self.files)
        for kind in joined:
            if kind in new.wanted:
                raise SpecError(
                    f"the {kind} namespace can't be both new and that of {joined[kind]}",
                    "name it only once",
                )
        if "mount" in joined and new.wanted and ("user" in joined or "user" in new.wanted):
            raise SpecError(
                "no namespace can be new where a mount namespace is joined and the user "
                "namespace is joined or new",
                "join both with `pyspawn exec DIR`, which makes no new namespace",
            )
