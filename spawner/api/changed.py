"""What has become of the files in overlays, as the launcher tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class Change(NamedTuple):
    """What has become of a file: the `kind` of change, and the `path` in the container.

    A kind is "added", "changed" or "deleted"; or "unknown" for a directory, of which what has
    changed in it can't be told.
    """

    kind: str
    path: str


def told(lines: Iterable[dict[str, Any]]) -> tuple[Change, ...]:
    """Return the changes that lines of --changes tell.

    What was dropped may have been anywhere.
    """
    return tuple(
        Change("unknown", "/")
        if line["change"] == "dropped"
        else Change(line["change"], line["path"])
        for line in lines
    )
