"""Let go of descriptors that are meant for the program alone: a reader may wait for their end."""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def close_all_but(kept: "Iterable[int]") -> bool:
    """Close everything that is open above the standard descriptors, and not in `kept`.

    By their list in /proc, since a range may be a long loop; without one nothing is closed, and
    False returned.
    """
    kept = set(kept)
    try:
        names = posix.listdir("/proc/self/fd")
    except OSError:
        return False
    for descriptor in map(int, names):
        if descriptor > 2 and descriptor not in kept:
            try:
                posix.close(descriptor)
            except OSError:  # the listing's own
                continue
    return True
