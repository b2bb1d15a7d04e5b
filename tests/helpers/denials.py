"""Rooms in which a real kernel refuses something, and what pyspawn says of it there.

Each test builds a room that refuses something (in namespaces of its own, or with a limit of its
own), starts pyspawn there, and where a hint can be followed inside of the room, follows it.
"""

from __future__ import annotations

import os

from helpers.capabilities import require
from helpers.programs import MOUNTING, Word, prepared
from helpers.pyspawn import hint_in
from helpers.running import Ended, run
from spawner import lean

ROOM = (
    MOUNTING
    + """
NEWTIME, NEWNS, NEWUTS, NEWUSER, NEWPID = 0x80, 0x20000, 0x4000000, 0x10000000, 0x20000000
BIND, REC, REMOUNT, RDONLY, NOEXEC, PRIVATE = 4096, 16384, 32, 1, 8, 1 << 18
def unshare(flags):
    check(libc.unshare(flags))
def write(path, text):
    with open(path, "w") as file:
        file.write(text)
def enter_user_namespace(more=0):
    user, group = os.geteuid(), os.getegid()
    unshare(NEWUSER | more)
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"0 {user} 1")
    write("/proc/self/gid_map", f"0 {group} 1")
def attempt(words=argv):
    pid = os.fork()
    if pid == 0:
        os.execv(words[0], words)
    os.write(1, b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
)
"""What the code of the rooms can use. `attempt` prints the status of pyspawn, then goes on."""


MOUNTS = ROOM + "enter_user_namespace(NEWNS)\nmount(None, '/', None, REC | PRIVATE)\n"
"""A room whose mounts may be changed, for whoever runs the tests."""


def pyspawn(*words: Word) -> list[Word]:
    return [*lean.pyspawn(), *words, "--", "/bin/echo", "ran"]


def inside(code: str, *words: Word) -> Ended:
    """Run `pyspawn WORDS -- /bin/echo ran` in the room that `code` builds."""
    return run(prepared(code, pyspawn(*words)))


def mended(ended: Ended, message: str) -> str:
    """Return the hint of a first run that failed, when the second, that heeded it, did not."""
    assert (ended.status, ended.out) == (0, b"125\nran\n"), ended
    return hint_in(ended.errors, message)


EPERM = "Operation not permitted (EPERM)"

BECOME_ORDINARY = (
    ROOM
    + """
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(64999, 64999, 64999)
    os.setresuid(64999, 64999, 64999)
"""
)
"""A user who runs nothing else, for a run by root; else whoever runs the tests."""


def require_ordinary() -> None:
    if os.geteuid() == 0:
        require("other-user")
