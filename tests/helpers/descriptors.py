"""The descriptors of this process."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def held() -> dict[str, str]:
    """Return the descriptors that are open, and what is behind each."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found[entry.name] = os.readlink(entry)
    return found


@contextmanager
def none_left() -> Iterator[None]:
    """Check that what the block opens is closed after it."""
    before = held()
    yield
    gc.collect()
    assert held() == before
