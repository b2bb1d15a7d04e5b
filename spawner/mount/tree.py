"""The mounts of a container, as a value that checks itself."""

from spawner.errors import SpecError, mark
from spawner.mount import mounts
from spawner.mount.files import Mqueue, Proc
from spawner.mount.mounts import Bind
from spawner.spec import Wish, check_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from dataclasses import KW_ONLY
    from typing import Any

    from spawner.mount.entry import Entry
    from spawner.spec import Choice

PRIVATE, SLAVE, SHARED, UNCHANGED = "private", "slave", "shared", "unchanged"
"""How mounts spread between the new mount namespace and the old one, in unshare(1)'s words."""


class Tree(Wish):
    """The mounts that a new mount namespace gets.

    `propagation` says how mounts spread, and `mount_proc` where a proc file system goes, None for
    on /proc if the PID namespace is new, too. `entries` are the other mounts, in their order.
    `root` is the directory that becomes the root, unless the first of `entries` is a tmpfs that
    does; either may be `read_only`. `changes` is a descriptor on which is told what has changed in
    overlays.
    """

    door = "spawner.mount.part"

    _: "KW_ONLY"
    propagation: str = PRIVATE
    mount_proc: str | None = None
    entries: "tuple[Entry, ...]" = ()
    root: str | None = None
    read_only: bool = False
    changes: int | None = None

    @property
    def needs(self) -> "Iterable[tuple[str, str]]":
        """The mount namespace, with a message for each setting that needs it."""
        if self.propagation != PRIVATE:
            yield (
                "mount",
                f"the propagation of mounts {self.propagation!r} needs a new mount namespace",
            )
        if self.mount_proc is not None:
            yield "mount", f"mounting proc on {self.mount_proc} needs a new mount namespace"
        if self.root is not None:
            yield "mount", f"the root {self.root} needs a new mount namespace"
        for each in self.entries:
            yield "mount", f"{each} needs a new mount namespace"
            if isinstance(each, Proc):
                yield "pid", f"{each} needs a new PID namespace"
            if isinstance(each, Mqueue):
                yield "ipc", f"{each} needs a new IPC namespace"

    @property
    def places(self) -> "Iterable[str]":
        """The targets of the binds, tmpfs and devices.

        But not of what is bound on itself, which may be covered like the host's own.
        """
        for each in self.entries:
            if not (isinstance(each, Bind) and each.source == each.target):
                yield each.target

    @property
    def has_terminals(self) -> bool:
        """Whether /dev has terminals of the container's own."""
        return mounts.Dev() in self.entries

    @property
    def spreads(self) -> str:
        """The option that makes the container's mounts appear on the host, or ""."""
        if self.propagation in (PRIVATE, SLAVE):
            return ""
        return mark(f"--propagation {self.propagation}")

    def _check(self) -> None:
        known = (PRIVATE, SLAVE, SHARED, UNCHANGED)
        if self.propagation not in known:
            raise SpecError(
                f"the propagation of mounts can't be {self.propagation!r}",
                f"the values are {', '.join(known)}",
            )
        if self.mount_proc is not None:
            check_text("the directory for proc", self.mount_proc)
            if not self.mount_proc:
                raise SpecError("the directory for proc is an empty path")
        mounts.check_order(self.entries, self.mount_proc)
        mounts.check_root(self.root, self.entries, read_only=self.read_only)
        if self.changes is not None and not mounts.overlays(self.entries):
            raise SpecError(
                "there's no overlay whose changes could be reported", f"add {mark('--overlay DST')}"
            )
        made = [f"the root {self.root}"] if self.root is not None else list(map(str, self.entries))
        if made and self.propagation != PRIVATE:
            asked = mark(f"--propagation {self.propagation}")
            raise SpecError(
                f"{made[0]} can't be made with {asked}",
                "it would spread, or what spreads would appear below it, with other flags: leave "
                "out one of them",
            )


def wish(values: "Mapping[str, Any]", choice: "Choice") -> Tree | None:
    """Return the tree that the options ask for, or None for a plain run; raises SpecError."""
    proc = values.get("mount_proc")
    entries = values.get("mounts", ())
    root = values.get("rootfs")
    makes = proc is not None or bool(entries) or root is not None
    if makes and "mount" not in (*choice.share, *choice.attempt):
        choice.unshare.append("mount")
    found = Tree(
        propagation=values.get("propagation", PRIVATE),
        mount_proc="/proc" if proc is True else proc,
        entries=tuple(entries),
        root=root,
        read_only=values.get("read_only", False),
        changes=values.get("changes"),
    )
    return None if found == Tree() else found
