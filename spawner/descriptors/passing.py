"""Which descriptors the program gets, as a value that checks itself.

An open directory of the host's leads to all that lies around it, whatever the root is: by openat(2)
with `..`, or by /proc/self/fd. So where the rest is kept out, descriptors have to be named, too.
"""

from spawner.errors import SpecError
from spawner.spec import Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from spawner.spec import Choice

STANDARD = (0, 1, 2)
"""The standard streams, which the program gets unless they're closed, stdin(3)."""

NONE = "none"
"""The word for no descriptor but the standard streams."""


class Passing(Wish):
    """The descriptors that the program gets: `passed`, and the standard streams."""

    door = "spawner.descriptors.part"

    passed: tuple[int, ...] = ()


def numbers(word: str) -> tuple[int, ...]:
    """Return the descriptors in a list with commas, or none; raises ValueError."""
    from pyinit import cmdline

    return () if word == NONE else tuple(map(cmdline.descriptor, word.split(",")))


def wish(values: "Mapping[str, Any]", choice: "Choice") -> Passing:
    """Return what the options ask for; raises SpecError."""
    del choice
    lists = values["pass_fds"]
    if () in lists and len(lists) > 1:
        raise SpecError(f"descriptors are named beside {NONE}", "leave out one of them")
    return Passing(tuple(sorted({number for numbers in lists for number in numbers})))
