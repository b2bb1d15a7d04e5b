"""The namespaces of a process, by their inodes."""

from __future__ import annotations

import os

KINDS = ("cgroup", "ipc", "mount", "net", "pid", "time", "user", "uts")
FILES = {kind: "mnt" if kind == "mount" else kind for kind in KINDS}


def inodes(pid: int | str = "self") -> dict[str, int]:
    return {kind: os.stat(f"/proc/{pid}/ns/{FILES[kind]}").st_ino for kind in KINDS}
