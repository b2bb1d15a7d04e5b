"""`--propagation`: what spreads from a mount namespace into another, and what doesn't.

The tests that need root start in a mount namespace of their own, whose tree is shared, so that what
spreads can be seen and reaches nobody.
"""

from __future__ import annotations

import pytest
from helpers.capabilities import require
from helpers.programs import MOUNTING, Word, prepared
from helpers.pyspawn import sh
from helpers.running import Ended, run

from spawner import lean

ROOM = (
    MOUNTING
    + """
REC, BIND, PRIVATE, SLAVE, SHARED, NEWNS = 16384, 4096, 1 << 18, 1 << 19, 1 << 20, 0x20000
check(libc.unshare(NEWNS))
mount(None, "/", None, REC | PRIVATE)
mount("room", "/mnt", "tmpfs")
os.mkdir("/mnt/inside")
os.mkdir("/mnt/outside")
mount(None, "/", None, REC | SHARED)
def spawn():
    pid = os.fork()
    if pid == 0:
        os.execv(argv[0], argv)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def mounted(place):
    with open("/proc/self/mountinfo") as file:
        return sum(line.split()[4] == place for line in file)
"""
)
"""A tree of mounts that is shared, with a place in it, /mnt, for those that are made and seen."""


def in_room(code: str, script: str, *options: Word) -> Ended:
    """Run a shell under pyspawn in the room, then `code`, which finds its status in `status`."""
    require("root")
    argv = [*lean.pyspawn(), *options, "--", "/bin/sh", "-c", script]
    return run(prepared(f"{ROOM}status = spawn()\n{code}\nos._exit(status)\n", argv))


MOUNT = "mount -t tmpfs inside /mnt/inside"
TELL = "print(mounted('/mnt/inside'), flush=True)"


@pytest.mark.parametrize(
    ("options", "spread"),
    [
        ([], 0),
        (["--propagation=private"], 0),
        (["--propagation=slave"], 0),
        (["--propagation=shared"], 1),
        (["--propagation=unchanged"], 1),
        (["--propagation=shared", "--user"], 0),
        (["--propagation=unchanged", "--user"], 0),
    ],
)
def test_what_spreads_to_the_outside(options: list[str], spread: int) -> None:
    ended = in_room(TELL, MOUNT, *options)
    assert (ended.status, ended.out, ended.errors) == (0, b"%d\n" % spread, "")


@pytest.mark.parametrize(
    ("how", "expected"),
    [("private", b""), ("slave", b"master:"), ("shared", b"shared:"), ("unchanged", b"shared:")],
)
@pytest.mark.parametrize("init", [[], ["--init"]])
def test_what_the_mounts_are_inside(how: str, expected: bytes, init: list[str]) -> None:
    script = (
        "while read -r a b c d place o tags; do case $place in /mnt) echo ${tags%% *};; esac; done"
    )
    ended = in_room("", f"{script} </proc/self/mountinfo", f"--propagation={how}", *init)
    assert ended.status == 0, ended
    assert ended.out.partition(b"-")[0].strip()[: len(expected)] == expected, ended


@pytest.mark.parametrize("how", ["private", "slave", "shared", "unchanged"])
@pytest.mark.parametrize("where", [[], ["--mount-proc"], ["--mount-proc=/proc"]])
def test_the_machine_keeps_its_own_proc(how: str, where: list[str]) -> None:
    """Whatever spreads: a new /proc over the machine's would hide all of its processes."""
    code = "print(mounted('/proc'), os.path.exists(f'/proc/{os.getpid()}/stat'), flush=True)"
    ended = in_room(code, "cd /proc && echo [0-9]*", f"--propagation={how}", *where)
    assert (ended.status, ended.out, ended.errors) == (0, b"1\n1 True\n", "")


@pytest.mark.parametrize("how", ["shared", "unchanged"])
def test_a_plain_directory_would_show_the_new_proc_outside(how: str) -> None:
    words = (f"--propagation={how}", "--mount-proc=/mnt/inside")
    ended = in_room(TELL, "echo ran", *words)
    assert (ended.status, ended.out) == (125, b"0\n")
    message, hint = ended.errors.splitlines()
    assert message == "pyspawn: mount proc on /mnt/inside: Invalid argument (EINVAL)"
    assert "nothing is mounted on /mnt/inside" in hint
    slave = in_room(TELL, "ls /mnt/inside/1/status", "--propagation=slave", words[1])
    assert (slave.status, slave.out) == (0, b"/mnt/inside/1/status\n0\n")
    bound = run(
        prepared(
            f"{ROOM}mount('/mnt/inside', '/mnt/inside', None, BIND)\nos._exit(spawn())\n",
            [*lean.pyspawn(), *words, "--", "/bin/ls", "/mnt/inside/1/status"],
        )
    )
    assert (bound.status, bound.out) == (0, b"/mnt/inside/1/status\n"), bound


def test_propagation_needs_a_mount_namespace() -> None:
    ended = sh("true", "--propagation=slave", "--share=mount")
    assert ended.status == 125
    assert ended.errors.splitlines() == [
        "pyspawn: the propagation of mounts 'slave' needs a new mount namespace",
        "hint: add --mount",
    ]  # fmt: skip


def test_propagation_by_another_word() -> None:
    ended = sh("true", "--propagation=rslave")
    assert ended.status == 125
    assert "'rslave'" in ended.errors
    assert "private, slave, shared, unchanged" in ended.errors
