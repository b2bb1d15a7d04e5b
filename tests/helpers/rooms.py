"""Rooms in which somebody has the subordinate ids, and the helpers, that a test wants them to have.

For root: each is a private mount namespace, in which files of /etc are covered by others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helpers.programs import MOUNTING, Word, prepared
from helpers.running import Ended, run
from spawner import lean

USER, GROUP = 64998, 64997
"""The user of the rooms: `mapper`, who exists nowhere else."""

PASSWD = f"root:x:0:0::/root:/bin/sh\nmapper:x:{USER}:{GROUP}::/:/bin/sh\n"

RANGES = "other:300000:65536\nmapper:100000:65536\n"
"""Subordinate ids of the room's user, and of somebody else."""

_ROOM = (
    MOUNTING
    + """
import shutil
NEWNS, BIND, REC, PRIVATE, NOSUID, REMOUNT = 0x20000, 4096, 16384, 1 << 18, 2, 32
def write(path, text, mode=0o644):
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)
check(libc.unshare(NEWNS))
mount(None, "/", None, REC | PRIVATE)
mount("room", "/mnt", "tmpfs")
os.chmod("/mnt", 0o755)
for name, text in FILES.items():
    write(f"/mnt/{name}", text)
    if not os.path.exists(f"/etc/{name}"):
        raise SystemExit(f"no /etc/{name} to cover")
    mount(f"/mnt/{name}", f"/etc/{name}", None, BIND)
def become(groups=()):
    os.setgroups(groups)
    os.setresgid(GROUP, GROUP, GROUP)
    os.setresuid(USER, USER, USER)
"""
)


def room(code: str, *words: Word, **how: Any) -> Ended:
    """Run `entered` to its end."""
    return run(entered(code, *words, **how))


def entered(
    code: str,
    *words: Word,
    program: tuple[Word, ...] = ("/bin/cat", "/proc/self/uid_map"),
    subuid: str = RANGES,
    subgid: str | None = None,
    more: Mapping[str, str] | None = None,
) -> list[Word]:
    """Return the argv of `pyspawn WORDS -- PROGRAM` in a room with these files, after `code`."""
    files = {"passwd": PASSWD, "subuid": subuid, "subgid": subuid if subgid is None else subgid}
    start = f"FILES, USER, GROUP = {files | dict(more or {})!r}, {USER}, {GROUP}\n"
    return prepared(start + _ROOM + code, [*lean.pyspawn(), *words, "--", *program])
