"""The caller's keys stay with the caller: nothing takes the session keyring into a container."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.containers import as_owner
from helpers.programs import Word, prepared, python
from helpers.running import Ended, Running, run
from helpers.seccomp import Call, deny, number

from spawner import lean

KEYCTL = number("keyctl")

pytestmark = pytest.mark.skipif(KEYCTL is None, reason="no number of keyctl for this machine")

_CALLS = f"""
libc = ctypes.CDLL(None, use_errno=True)
def keyctl(*words):
    found = libc.syscall({KEYCTL}, *(ctypes.c_long(w) if isinstance(w, int) else w for w in words))
    return -ctypes.get_errno() if found == -1 else found
JOIN, SEARCH, READ, SESSION = 1, 10, 11, -3
"""

CALLER = f"""{_CALLS}
assert keyctl(JOIN, None) > 0
add_key = {{"x86_64": 248, "aarch64": 217}}[os.uname().machine]
assert libc.syscall(add_key, b"user", b"pidone", b"secret", 6, SESSION) > 0
"""
"""For `prepared`: the caller has a session keyring with a key in it."""

LOOK = f"""import ctypes
{_CALLS}
key = keyctl(SEARCH, SESSION, b"user", b"pidone", 0)
print(key if key < 0 else keyctl(READ, key, None, 0))
"""
"""Prints how long the caller's key is, or -errno where it isn't there."""


def program() -> list[Word]:
    return python(LOOK)


def seen(*words: Word, more: str = "") -> Ended:
    return run(prepared(CALLER + more, [*lean.pyspawn(), *words, "--", *program()]))


@pytest.fixture(autouse=True)
def keys() -> None:
    """Skip where the kernel has no keys, or a filter around us refuses them."""
    require("pidns")
    if ctypes.CDLL(None, use_errno=True).syscall(KEYCTL, 0, -3, 0) == -1:
        pytest.skip(f"keyctl: {os.strerror(ctypes.get_errno())}")


def test_the_key_is_there_for_the_callers_own() -> None:
    ended = run(prepared(CALLER, program()))
    assert (ended.status, ended.out) == (0, b"6\n"), ended


@pytest.mark.parametrize(
    "options",
    [[], ["--init"], ["--init=/usr/bin/env"], ["--user"], ["--user", "--init"], ["--share=pid"],
     ["--share=all", "--user"], ["--setuid=0"]],
    ids=" ".join,
)  # fmt: skip
def test_no_run_takes_it_along(options: list[str]) -> None:
    ended = seen(*options)
    assert (ended.status, ended.out) == (0, b"%d\n" % -errno.ENOKEY), ended


def test_no_join_takes_it_along(tmp_path: Path) -> None:
    argv = as_owner([*lean.pyspawn(), "--user", "--init", "--", "/bin/sh", "-c", "echo; cat"])
    with Running(argv) as running:
        running.line()
        (target,) = map(int, _children(running.starter))
        ways = [["exec", str(target)], ["exec", str(target), "--user", "--uts"]]
        if os.geteuid() == 0:
            ways.append([f"--uts=/proc/{target}/ns/uts"])
        for words in ways:
            ended = seen(*words)
            assert (ended.status, ended.out) == (0, b"%d\n" % -errno.ENOKEY), ended
        running.close_input()
        running.wait()


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS])
def test_a_filter_that_refuses_keys_to_all_is_no_hindrance(reason: int) -> None:
    """As Docker's: what it refuses to pyspawn it refuses to the program as well."""
    require("seccomp")
    ended = seen("--init", more=deny(reason, "keyctl"))
    assert (ended.status, ended.out) == (0, b"%d\n" % -reason), ended


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS, errno.EACCES])
def test_without_a_new_keyring_nothing_runs_that_could_read_the_old(reason: int) -> None:
    require("seccomp")
    ended = seen(more=deny(reason, Call("keyctl", 0, 1)))
    assert (ended.status, ended.out) == (125, b"")
    message, *hint = ended.errors.splitlines()
    what = f"{os.strerror(reason)} ({errno.errorcode[reason]})"
    assert message == f"pyspawn: make a new session keyring: {what}"
    # EACCES is what security modules say, which aren't to be seen here.
    assert bool(hint) == (reason != errno.EACCES)


def test_a_user_with_too_many_keys_is_told_of_the_limit() -> None:
    require("seccomp")
    ended = seen(more=deny(errno.EDQUOT, "keyctl"))
    assert ended.status == 125
    assert "make a new session keyring: Disk quota exceeded (EDQUOT)" in ended.errors
    assert "`sysctl -w kernel.keys.maxkeys=" in ended.errors
