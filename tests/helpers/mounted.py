"""What is mounted at a place, in the mount namespace of the tests."""

from __future__ import annotations

from pathlib import Path


def mounted(place: str) -> list[str]:
    """Return the lines of the mounts at a place and below; another test may mount elsewhere."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if f"{line.split()[4]}/".startswith(f"{place}/")]
