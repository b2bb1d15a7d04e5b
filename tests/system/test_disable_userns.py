"""`--disable-userns`: nobody in the container makes a user namespace, whatever rights it has."""

from __future__ import annotations

import errno

import pytest
from helpers import children, rooms
from helpers.capabilities import require
from helpers.containers import as_owner
from helpers.programs import MOUNTING, Word, prepared, python
from helpers.pyspawn import ROOT, hint_of, pyspawn, refused, spawn
from helpers.running import Ended, Running, run
from helpers.seccomp import number

import spawner

pytestmark = pytest.mark.usefixtures("pidns")


@pytest.fixture(autouse=True)
def _limits() -> None:
    require("sysctls")


TRY = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, call):
    if os.fork() == 0:
        try:
            print(name, ctypes.get_errno() if call() < 0 else "made", flush=True)
        finally:
            os._exit(0)
    os.wait()
def clone():
    pid = libc.syscall({number("clone")}, 0x10000000 | 17, None, None, None, None)
    if pid == 0:
        os._exit(0)
    return pid
LIMIT = "/proc/sys/user/max_user_namespaces"
try:
    with open(LIMIT, "w") as file:
        file.write("4711")
except OSError as error:
    print("limit", error.errno, flush=True)
else:
    print("limit", open(LIMIT).read().strip(), flush=True)
attempt("unshare", lambda: libc.unshare(0x10000000))
attempt("clone", clone)
"""
"""Raises the limit, if it may, and tries both ways of making a user namespace."""

NONE = f"unshare {errno.ENOSPC}\nclone {errno.ENOSPC}\n"

SHAPES: dict[str, list[str]] = {
    "root": [],
    "root with pyinit": ["--init"],
    "keeper": ["--share=pid"],
    "no capability": ["--cap-drop=all", "--no-new-privs"],
    "itself": ["--map-current-user"],
    "mounts and network": ["--net", "--hostname=box", "--tmpfs=/srv"],
}


def tried(*options: Word, owner: bool = False) -> Ended:
    argv = pyspawn("--user", *options, "--", *python(TRY))
    return run(as_owner(argv) if owner else argv)


@pytest.mark.parametrize("options", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize(
    "owner", [False, True] if ROOT else [False], ids=["caller", "other"][: 1 + ROOT]
)
def test_none_can_be_made(options: list[str], owner: bool) -> None:
    ended = tried("--disable-userns", *options, owner=owner)
    assert (ended.status, ended.errors) == (0, ""), ended
    # Root in there sets a limit, but not the one that counts.
    limit, _, rest = ended.out.decode().partition("\n")
    sets = not {"--cap-drop=all", "--map-current-user"}.intersection(options)
    assert limit in (["limit 4711"] if sets else ["limit 4711", f"limit {errno.EACCES}"])
    assert rest == NONE


def test_without_it_one_can_be_made() -> None:
    assert tried().out == b"limit 4711\nunshare made\nclone made\n"


def test_the_ids_and_rights_are_those_of_any_user_namespace() -> None:
    script = "cat /proc/self/[ug]id_map /proc/self/setgroups; grep ^Cap /proc/self/status"
    script += "; hostname box && mount -t tmpfs none /mnt && umount /mnt && hostname"
    out = [
        spawn("--user", "--hostname=x", *more, "--", "/bin/sh", "-c", script)
        for more in ([], ["--disable-userns"])
    ]
    assert (out[1].status, out[1].errors) == (0, "")
    columns = [[line.split() for line in each.out.decode().splitlines()] for each in out]
    for row in columns[0]:
        if len(row) == 3:
            row[1] = row[0]  # seen from the outer namespace
    assert columns[0] == columns[1]


def test_subordinate_ids() -> None:
    require("root", "other-user", "userns", "newuidmap")
    words = ("--init", "--map-auto", "--disable-userns", "--setuid=5", "--setgid=6")
    script = "cat /proc/self/uid_map; id -u; unshare --user true"
    ended = rooms.room("become()\n", *words, program=("/bin/sh", "-c", script))
    lines = [line.split() for line in ended.out.decode().splitlines()]
    assert lines == [["0", "0", "1"], ["1", "1", "65536"], ["5"]], ended
    assert "No space left on device" in ended.errors


def test_who_joins_can_make_none_either() -> None:
    """With all capabilities in the namespace that is joined."""
    code = "print('ready', flush=True); input()"
    with Running(pyspawn("--user", "--disable-userns", "--", *python(code))) as running:
        assert running.line() == "ready"
        (pid,) = children.of(running.pid)
        ended = run(pyspawn("exec", str(pid), "--", *python(TRY)))
        running.write(b"\n")
    assert (ended.status, ended.out.decode(), ended.errors) == (0, "limit 4711\n" + NONE, "")


@pytest.mark.parametrize(
    "words",
    [["--share=user"] if not ROOT else [], ["--unshare-try=user"], ["--dry-run", "--share=all"]],
)
def test_it_takes_a_new_user_namespace(words: list[str]) -> None:
    message, hint = refused(spawn(*words, "--disable-userns", "--", "/bin/echo", "ran"))
    assert message == "further user namespaces can be forbidden only in a new one"
    assert hint == "add --user"


def test_a_limit_that_can_not_be_set() -> None:
    require("root")
    code = MOUNTING + (
        "check(libc.unshare(0x20000))\n"
        'mount(None, "/", None, 0x4000 | 1 << 18)\n'
        'mount("/proc/sys", "/proc/sys", None, 4096)\n'
        'mount(None, "/proc/sys", None, 4096 | 32 | 1)\n'
    )
    argv = pyspawn("--user", "--disable-userns", "--", "/bin/echo", "ran")
    message = "forbid further user namespaces: Read-only file system (EROFS)"
    assert "/proc/sys is mounted read-only" in hint_of(run(prepared(code, argv)), message)


def test_from_python() -> None:
    rights = spawner.Rights(disable_userns=True)
    ended = spawner.run(python(TRY), unshare="user", rights=rights, stdout=spawner.PIPE)
    assert ended.stdout.decode() == "limit 4711\n" + NONE
    assert "forbid further user namespaces" in [
        step.what for step in spawner.plan(["true"], unshare="user", rights=rights)
    ]
