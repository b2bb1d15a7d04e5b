"""Start pyspawn with maps of ids, in a room or as it is, and read who the program is."""

from __future__ import annotations

from helpers.capabilities import require
from helpers.programs import Word, python
from helpers.running import Ended, run
from spawner import lean

MAPPER = "become()\n"
"""For `room`: go on as its user."""

IDS = """
import posix
for name in ("uid_map", "gid_map", "setgroups"):
    with open(f"/proc/self/{name}") as file:
        print(name, ",".join(" ".join(line.split()) for line in file))
print("uid", *posix.getresuid())
print("gid", *posix.getresgid())
print("groups", *posix.getgroups())
with open("/proc/self/status") as file:
    print("caps", *[line.split()[1].lstrip("0") for line in file if line.startswith("CapEff")])
"""
"""A program that tells who it is."""


def pyspawn(*words: Word, program: tuple[Word, ...] = ("/bin/echo", "ran")) -> Ended:
    return run([*lean.pyspawn(), *words, "--", *program])


def told(ended: Ended) -> dict[str, str]:
    """Return what a program of IDS said, by its first words."""
    assert (ended.status, ended.errors) == (0, ""), ended
    lines = ended.out.decode().splitlines()
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}


def ids() -> tuple[Word, ...]:
    return tuple(python(IDS))


def rows(ended: Ended) -> list[str]:
    """Return the lines of a map that was shown."""
    assert (ended.status, ended.errors) == (0, ""), ended
    return [" ".join(line.split()) for line in ended.out.decode().splitlines()]


def require_room() -> None:
    require("root", "other-user", "userns")


def require_mapper() -> None:
    require_room()
    require("newuidmap", "newgidmap")


COPIES = """
os.mkdir("/mnt/bin")
for name in ("newuidmap", "newgidmap"):
    shutil.copy(shutil.which(name), "/mnt/bin")
    os.chmod(f"/mnt/bin/{name}", MODE)
os.environ["PATH"] = "/mnt/bin"
"""
"""For `room`: helpers of the room's own."""
