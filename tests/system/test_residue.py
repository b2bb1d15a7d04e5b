"""What is left of a container to which something happened at a random moment: nothing.

RESIDUE_ROUNDS is the number of rounds a kind; without it 60 where CI is set, else 20. To repeat a
round that failed, set RESIDUE_SEED to the seed that was told, and RESIDUE_ONLY to its number.
"""

from __future__ import annotations

import os
import random

import pytest
from helpers import residue, workers
from helpers.capabilities import require

WORKERS = 3
ROUNDS = int(os.environ.get("RESIDUE_ROUNDS", "60" if os.environ.get("CI") else "20"))
SEED = int(os.environ.get("RESIDUE_SEED", random.SystemRandom().randrange(1 << 32)))
NEEDED = {
    "user namespace": ("userns",),
    "sandbox": ("userns",),
    "slirp4netns": ("root", "tun", "slirp4netns"),
}


@pytest.mark.timeout(60 + 10 * ROUNDS)
@pytest.mark.parametrize("kind", residue.KINDS)
def test_nothing_is_left(kind: str) -> None:
    require("pidns", *NEEDED.get(kind, ()))
    only = os.environ.get("RESIDUE_ONLY")
    numbers = [int(only)] if only else list(range(ROUNDS))
    tasks = [
        {"kind": kind, "seed": SEED, "numbers": numbers[first::WORKERS]}
        for first in range(min(WORKERS, len(numbers)))
    ]
    faults = workers.faults(residue, tasks)
    print(f"RESIDUE_SEED={SEED}, {kind}\n{faults}")
    assert not faults
