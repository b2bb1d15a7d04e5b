"""Why the kernel refused, for real: rights."""

from __future__ import annotations

import errno
import os

import pytest
from helpers import seccomp
from helpers.capabilities import require
from helpers.denials import (
    BECOME_ORDINARY,
    EPERM,
    MOUNTS,
    ROOM,
    inside,
    mended,
    pyspawn,
    require_ordinary,
)
from helpers.programs import prepared
from helpers.pyspawn import hint_of
from helpers.running import run

from spawner import lean


def test_root_without_sys_admin() -> None:
    require("root")
    drop = ROOM + "libc.prctl(24, 21, 0, 0, 0)\n"  # PR_CAPBSET_DROP, CAP_SYS_ADMIN
    hint = hint_of(inside(drop), f"make a new pid namespace: {EPERM}")
    assert "root lacks CAP_SYS_ADMIN" in hint
    assert "add --user" in hint
    assert inside(drop, "--user").out == b"ran\n"


def test_an_ordinary_user_without_a_user_namespace() -> None:
    require_ordinary()
    hint = hint_of(inside(BECOME_ORDINARY, "--share", "user"), f"make a new pid namespace: {EPERM}")
    assert "leave out --share user" in hint


@pytest.mark.parametrize(
    ("call", "reason", "words", "message"),
    [
        ("unshare", errno.EPERM, [], f"make a new {{first}} namespace: {EPERM}"),
        ("unshare", errno.ENOSYS, [],
         "make a new {first} namespace: Function not implemented (ENOSYS)"),
        ("mount", errno.EPERM, [], f"make every mount private: {EPERM}"),
        ("sethostname", errno.EPERM, ["--hostname", "box"], f"set the host name to box: {EPERM}"),
        ("socket", errno.EAFNOSUPPORT, ["--net"],
         f"bring up the loopback interface: {os.strerror(errno.EAFNOSUPPORT)} (EAFNOSUPPORT)"),
    ],
)  # fmt: skip
def test_a_seccomp_filter(call: str, reason: int, words: list[str], message: str) -> None:
    require("seccomp", "userns")
    ended = inside(seccomp.deny(reason, call), *words)
    hint = hint_of(ended, message.format(first="pid" if os.geteuid() == 0 else "user"))
    assert "a seccomp filter is in force" in hint
    assert f"refuses {call}" in hint
    assert "no_new_privs" in hint
    heeded = run(pyspawn(*words))
    assert (heeded.status, heeded.out, heeded.errors) == (0, b"ran\n", "")


def test_a_seccomp_filter_of_a_container_whose_root_has_few_rights() -> None:
    require("seccomp", "root")
    drop = "libc.prctl(24, 21, 0, 0, 0)\n"  # PR_CAPBSET_DROP, CAP_SYS_ADMIN
    ended = inside(ROOM + drop + seccomp.deny(errno.EPERM, "unshare"))
    hint = hint_of(ended, f"make a new pid namespace: {EPERM}")
    assert "--cap-add SYS_ADMIN" in hint
    assert "--user" not in hint


# /proc.


@pytest.mark.parametrize("place", ["version", "sys"])
def test_a_masked_proc(place: str) -> None:
    require("userns")
    code = (
        MOUNTS
        + f"""
place = "/proc/{place}"
mount("/dev/null" if os.path.isfile(place) else place, place, None, BIND)
"""
    )
    hint = hint_of(inside(code, "--user"), f"mount proc on /proc: {EPERM}")
    assert f"(/proc/{place})" in hint
    assert "systempaths=unconfined" in hint
    unmasked = code + "check(libc.umount2(os.fsencode(place), 0))\n"
    ended = inside(unmasked, "--user")
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")
    ended = inside(code)
    assert (ended.status, ended.out) == (0, b"ran\n"), "its own mask does not bind root"


def test_a_masked_proc_locked_by_an_outer_user_namespace() -> None:
    require("userns")
    code = MOUNTS + "mount('/dev/null', '/proc/version', None, BIND)\nenter_user_namespace(NEWNS)\n"
    hint = hint_of(inside(code), f"mount proc on /proc: {EPERM}")
    assert "(/proc/version)" in hint


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ("--user", "deny setgroups in the user namespace"),
        # Without a PID namespace, only /proc shows what is to be killed in the end.
        ("--share=pid,user", "look for what the program might leave behind"),
    ],
)
def test_no_proc(option: str, what: str) -> None:
    require("userns")
    code = (
        MOUNTS
        + """
mount("room", "/proc", "tmpfs")
attempt()
check(libc.umount2(b"/proc", 0))
"""
    )
    hint = mended(inside(code, option), f"{what}: No such file or directory (ENOENT)")
    assert "/proc isn't mounted here" in hint
    assert "`mount -t proc proc /proc`" in hint


@pytest.mark.parametrize(
    "words", [("release", "/"), ("zombies",), ("exec", "1", "true"), ("--share=pid,user", "true")]
)
def test_every_command_says_that_there_is_no_proc(words: tuple[str, ...]) -> None:
    require("userns")
    code = MOUNTS + "mount('room', '/proc', 'tmpfs')\n"
    ended = run(prepared(code, [*lean.pyspawn(), *words]))
    assert (ended.status, ended.out) == (125, b"")
    first, second = ended.errors.splitlines()
    assert first.startswith("pyspawn: ")
    assert "unexpected" not in first
    assert "mount -t proc proc /proc" in second


def test_the_proc_of_another_pid_namespace() -> None:
    require("userns")
    code = (
        MOUNTS
        + """
unshare(NEWPID)
pid = os.fork()
if pid:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
for _ in range(2):  # no pid of ours is that of a process of ours out there
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)
attempt()
mount("proc", "/proc", "proc")
"""
    )
    ended = inside(code, "--user")
    assert (ended.status, ended.out) == (0, b"125\nran\n"), ended
    first, second = ended.errors.splitlines()
    assert first.startswith("pyspawn: write the gid map 0 0 1: ")
    assert "/proc shows another PID namespace" in second
    assert "--mount-proc" in second


@pytest.mark.parametrize(
    ("first", "words", "message"),
    [
        (False, [], "make a new pid namespace: Invalid argument (EINVAL)"),
        (True, [], "make a new pid namespace: Invalid argument (EINVAL)"),
        (
            False,
            ["--user"],
            "something else has reaped the container's init: No child processes (ECHILD)",
        ),
        (True, ["--user"], "fork the stage: Cannot allocate memory (ENOMEM)"),
    ],
)
def test_a_pid_namespace_that_was_unshared_without_a_fork(
    first: bool, words: list[str], message: str
) -> None:
    """As by `unshare --pid` without --fork; `first`: its first process has come and gone."""
    require("userns")
    code = MOUNTS + "unshare(NEWPID)\n"
    if first:
        code += "pid = os.fork()\nif pid == 0:\n    os._exit(0)\nos.waitpid(pid, 0)\n"
    hint = hint_of(inside(code, *words), message)
    assert "add --fork there" in hint
    heeded = (
        "pid = os.fork()\nif pid:\n    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    ended = inside(
        MOUNTS + "unshare(NEWPID)\n" + heeded + "mount('proc', '/proc', 'proc')\n", *words
    )
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")
