"""What all entries among the mounts of a container have in common, and their paths."""

import posix

from spawner.errors import SpecError, mark
from spawner.spec import Frozen, check_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import TypeAlias

    Path: TypeAlias = str | PathLike[str]

ROOT = "/"
"""The target of a tmpfs that becomes the root directory."""


class Entry(Frozen):
    """Something that is mounted or made in a container, at its `target`, an absolute path there.

    `covers` says whether it takes the place of what is at its target, and `stays` whether nothing
    may be mounted over it later.
    """

    target: str
    covers = True
    stays = True

    @property
    def task(self) -> str:
        """What is done, as an imperative."""
        raise NotImplementedError

    @property
    def option(self) -> str:
        """The command-line option for this."""
        raise NotImplementedError

    @property
    def words(self) -> tuple[str, ...]:
        """The values of the option; for most, the target alone."""
        return (self.target,)


def hides(point: str, earlier: str) -> bool:
    """Tell whether a mount on `point` hides what is mounted on `earlier`; both paths are normal."""
    return earlier == point or earlier.startswith(point.rstrip("/") + "/")


def normal(path: str) -> str:
    """Return a path without its empty and `.` parts."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def path_of(what: str, path: "Path") -> str:
    """Return a path as text; raises SpecError for an empty one, and TypeError."""
    found = posix.fspath(path)
    if not isinstance(found, str):
        raise TypeError(f"the {what} of a mount is text or a Path, not {path!r}")
    check_text(f"the {what} of a mount", found)
    if not found:
        raise SpecError(f"the {what} of a mount is an empty path")
    return found


def target_of(path: "Path", *, root: bool = False) -> str:
    """Return a mount's target as a normal path; raises SpecError for `/`, unless `root`."""
    found = path_of("target", path)
    if not found.startswith("/"):
        raise SpecError(
            f"the target of a mount is an absolute path in the container, not {found!r}"
        )
    if ".." in found.split("/"):
        raise SpecError(f"the target of a mount can't have `..` in it: {found!r}")
    if normal(found) == ROOT and not root:
        raise SpecError(
            f"the root directory can't be mounted on: use {mark('--rootfs DIR')}, or "
            f"nothing for the host's, or {mark('--rootfs /')} with {mark('--read-only')}"
        )
    return normal(found)
