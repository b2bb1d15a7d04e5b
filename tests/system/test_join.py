"""`pyspawn exec`: the namespaces of containers that others have made, joined by pid."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import cast

import pytest
from helpers import children, rooms
from helpers.capabilities import require
from helpers.containers import (
    BECOME_OWNER,
    MAKERS,
    OWNED,
    OWNER,
    ROOT,
    as_owner,
    subordinate,
    unmapped,
)
from helpers.programs import CATCHER, RESERVED, Word, prepared, python, reporter
from helpers.running import Ended, Running, run
from helpers.seccomp import Held, deny
from helpers.terminal import INTERRUPT, SUSPEND, Shell, Terminal

from spawner import lean
from spawner.spec import NAMESPACES

FILES = {kind: {"mount": "mnt"}.get(kind, kind) for kind in NAMESPACES}

LINKS = "cd /proc/self/ns && for kind in " + " ".join(FILES.values()) + "; do readlink $kind; done"

ELSEWHERE = 64998
"""A user with no container."""


def container(maker: str, place: Path) -> AbstractContextManager[int]:
    return cast("AbstractContextManager[int]", MAKERS[maker](place))


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    """A container of the ordinary user's, by its program's pid."""
    require("unshare")
    with container("unshare", tmp_path) as pid:
        yield pid


def join(pid: int | str, *words: Word, owner: bool = True, **how: object) -> Ended:
    return run(joining(pid, *words, owner=owner), **how)


def joining(pid: int | str, *words: Word, owner: bool = True) -> list[Word]:
    argv: list[Word] = [*lean.pyspawn(), "exec", str(pid), *words]
    return as_owner(argv) if owner else argv


def links(pid: int) -> list[str]:
    return [os.readlink(f"/proc/{pid}/ns/{file}") for file in FILES.values()]


CASES = [
    (maker, owner)
    for maker in MAKERS
    for owner in (False, True)
    if (owner and maker in OWNED) or (not owner and ROOT)
]


@pytest.mark.parametrize(
    ("maker", "owner"), CASES, ids=[f"{m}, {'owner' if o else 'root'}" for m, o in CASES]
)
def test_each_namespace_of_each_container(maker: str, owner: bool, tmp_path: Path) -> None:
    with container(maker, tmp_path) as pid:
        ended = join(pid, "--", "/bin/sh", "-c", f"pwd; {LINKS}", owner=owner)
        assert (ended.status, ended.errors) == (0, "")
        directory, *found = ended.out.decode().split()
        assert found == links(pid)
        assert directory == "/tmp"  # where the target is


def test_it_is_a_member_of_the_pid_namespace(target: int) -> None:
    ended = join(target, "--", "/bin/sh", "-c", "cat /proc/1/comm; readlink /proc/self")
    first, own = ended.out.decode().split()
    assert first == "cat"
    assert 1 < int(own) < 100


def test_only_the_named_ones(target: int) -> None:
    ended = join(target, "--net", "--user", "--", "/bin/sh", "-c", f"pwd; {LINKS}")
    directory, *found = ended.out.decode().split()
    named = {"net", "user"}
    own, its = links(os.getpid()), links(target)
    assert found == [i if kind in named else o for kind, o, i in zip(FILES, own, its, strict=True)]
    assert directory == str(Path.cwd())


def test_options_may_stand_before_the_target(target: int) -> None:
    argv = [*lean.pyspawn(), "exec", "--user", "--uts", str(target), "--", "/bin/true"]
    assert run(as_owner(argv)).status == 0


# Who the program is.


@pytest.mark.parametrize("owner", [True, False] if ROOT else [True])
def test_it_is_root_inside(target: int, owner: bool) -> None:
    ended = join(target, "--", "/bin/sh", "-c", "id -u; id -g; grep Groups /proc/self/status",
                 owner=owner)  # fmt: skip
    assert ended.out.decode().split()[:3] == ["0", "0", "Groups:"]


def test_groups_of_root_are_not_taken_along(target: int) -> None:
    require("root")
    argv = prepared("os.setgroups([4, 24])\n", joining(target, "/bin/grep", "Groups",
                    "/proc/self/status", owner=False))  # fmt: skip
    assert run(argv).out.decode().split() == ["Groups:"]


def test_who_else_it_is() -> None:
    """With a range of ids, of a container that root has made in a user namespace."""
    require("root", "pidns")
    words = ["--map-users", "0:100000:1000", "--map-groups", "0:100000:1000", "-S0", "-G0", "--",
             "/bin/sh", "-c", "echo ready; exec cat"]  # fmt: skip
    with Running([*lean.pyspawn(), *words]) as running:
        assert running.line() == "ready"
        (pid,) = children.below(running.starter)[-1:]
        show = ("/bin/sh", "-c", "id -u; id -g; id -G")
        ended = join(pid, *show, owner=False)
        assert ended.out.decode().split() == ["0", "0", "0"]
        ended = join(pid, "-S", "5", "-G", "6", "--groups", "7,8", "--", *show, owner=False)
        assert ended.out.decode().split("\n")[:3] == ["5", "6", "6 7 8"]
        uid = Path(f"/proc/{pid}/uid_map").read_text().split()[1]
        assert uid == "100000"


def test_the_owner_has_the_rights_of_the_inside(target: int) -> None:
    """Who may become another user there can't do so here."""
    ended = join(target, "-S", "0", "-G", "0", "--", "id", "-u")
    assert (ended.status, ended.out, ended.errors) == (0, b"0\n", "")
    message, hint = refused(join(target, "-S", "5", "--", "id"))
    assert message == "join the user namespace: user 5 isn't mapped in it"
    assert hint.startswith("an id of --setuid isn't mapped inside")
    message, hint = refused(join(target, "-S", "5", "--uts", "--", "id"))
    assert message == "becoming another user takes CAP_SETUID"
    assert hint.startswith("name --user as well")


WAYS = {
    "pid": ("{pid}",),
    "directory": ("/proc/{pid}/ns",),
    "kinds": ("{pid}", "--user", "--mount"),
    "kinds of a directory": ("/proc/{pid}/ns", "--user", "--mount"),
    "file": ("/proc/{pid}/ns/user",),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("mapped", "missing"), [((), "user"), (("gid",), "user"), (("uid",), "group")]
)
def test_who_is_not_mapped_does_not_enter(
    tmp_path: Path, way: str, mapped: tuple[str, ...], missing: str
) -> None:
    """A program of theirs would run with an id that is root's outside."""
    with unmapped(tmp_path, *mapped) as (pid, mark):
        for more in ((), ("--setuid=0",), ("--setgid=0",)):
            words = [word.format(pid=pid) for word in WAYS[way]]
            message, hint = refused(join(*words, *more, "--", "/bin/true", owner=False))
            assert message == f"join the user namespace: no {missing} is mapped in it"
            assert "_map is empty" in hint
        for option in (f"--user=/proc/{pid}/ns/user", f"--mount=/proc/{pid}/ns/mnt"):
            words = [f"--user=/proc/{pid}/ns/user", option, "--share=all", "--", "/bin/true"]
            message, _ = refused(run([*lean.pyspawn(), *words]))
            assert message == f"join the user namespace: no {missing} is mapped in it"
        assert not mark.exists()


def test_the_owner_is_not_mapped(tmp_path: Path) -> None:
    with unmapped(tmp_path, "gid") as (pid, mark):
        message, _ = refused(join(pid, "--", "/bin/true"))
        assert message == "join the user namespace: no user is mapped in it"
        assert not mark.exists()


@pytest.mark.parametrize("setgroups", ["allow", "deny"])
@pytest.mark.parametrize("way", ["{pid}", "/proc/{pid}/ns", "/proc/{pid}/ns/user"])
def test_the_overflow_id_is_not_the_callers(tmp_path: Path, setgroups: str, way: str) -> None:
    """Who owns the namespace shows as 65534 inside, which is another's id by its map."""
    require("root")
    secret = tmp_path / "secret"
    secret.write_text("mine")
    secret.chmod(0o600)
    os.chown(secret, OWNER, OWNER)
    tmp_path.chmod(0o755)
    show = ("/bin/sh", "-c", f"id -u; id -g; cat {secret} || :")
    with subordinate(setgroups) as pid:
        ended = join(way.format(pid=pid), "--user", "--", *show)
        assert ended.out.decode().split() == ["0", "0"], ended
        assert "Permission denied" in ended.errors
        become = BECOME_OWNER.replace("setgroups([])", "setgroups([24])")
        argv = [*lean.pyspawn(), "exec", way.format(pid=pid), "--user", "--", *show]
        ended = run(prepared(become, argv))
        if setgroups == "deny":
            message, hint = refused(ended)
            assert message.endswith("your supplementary group 24 isn't mapped in it")
            assert "setgroups" in hint
        else:
            assert ended.out.decode().split() == ["0", "0"], ended


# What goes along, and what doesn't.


def test_the_environment_is_ours_unless_asked(tmp_path: Path) -> None:
    require("unshare", "pidns")
    os.environ["JOIN_TEST"] = "ours"
    try:
        with container("unshare", tmp_path) as pid:
            os.environ["JOIN_TEST"] = "mine"
            show = ("--", "/bin/sh", "-c", "echo $JOIN_TEST $MORE")
            assert join(pid, *show).out == b"mine\n"
            assert join(pid, "--target-env", "--env", "MORE=1", *show).out == b"ours 1\n"
    finally:
        del os.environ["JOIN_TEST"]


SHOW_FDS = "import os; print(*(each for each in range(256) if os.path.exists(f'/dev/fd/{each}')))"


def test_no_descriptor_goes_along_but_the_named(target: int) -> None:
    with holding("/dev/null") as first, holding("/") as second:
        given = [first, second]
        ended = join(target, "--", *python(SHOW_FDS), pass_fds=given)
        assert ended.out.decode().split() == ["0", "1", "2"]
        word = f"--pass-fd={given[0]}"
        ended = join(target, word, "--", *python(SHOW_FDS), pass_fds=given)
        assert ended.out.decode().split() == ["0", "1", "2", str(given[0])]


@contextmanager
def holding(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_signals_and_status(target: int) -> None:
    for words, status in [
        (("/bin/sh", "-c", "exit 42"), 42),
        (("/bin/sh", "-c", "kill -KILL $$"), 128 + signal.SIGKILL),
        (("/nonesuch",), 127),
        (("/tmp",), 126),
    ]:
        assert join(target, "--", *words).status == status
    with Running(joining(target, "--", *reporter())) as running:
        assert running.line().startswith("reporter ready")
        os.kill(running.starter, signal.SIGUSR1)
        assert running.line().split()[:2] == ["reporter", str(int(signal.SIGUSR1))]


def test_the_mask_and_ignored_signals_are_the_callers(target: int) -> None:
    code = """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
"""
    for owner in (True, False) if ROOT else (True,):
        argv = joining(target, "/bin/grep", "Sig[BI]", "/proc/self/status", owner=owner)
        ended = run(prepared(code, argv))
        blocked, ignored = ended.out.decode().split()[1::2]
        assert int(blocked, 16) == 1 << signal.SIGUSR1 - 1
        assert int(ignored, 16) & ~RESERVED == 1 << signal.SIGUSR2 - 1


@pytest.mark.parametrize("sealed", [False, True] if ROOT else [False])
def test_sigkill_ends_all_that_is_below(target: int, sealed: bool) -> None:
    """Also what the kernel would re-parent to the target's PID 1."""
    code = "sleep 1000 & (sleep 1000 & wait) & echo ready; wait"
    with Running(joining(target, "--", "/bin/sh", "-c", code, owner=not sealed)) as running:
        assert running.line() == "ready"
        children.wait_until(lambda: len(children.below(running.starter)) >= 5, "the tree")
        tree = children.below(running.starter)
        os.kill(running.starter, signal.SIGKILL)
        assert children.wait_gone(tree) == set()
    assert children.state(target) not in ("", "Z")


def test_a_lifeline_ends_all_that_is_below(target: int) -> None:
    reader, writer = os.pipe()
    code = "sleep 1000 & echo ready; wait"
    argv = joining(target, f"--lifeline={reader}", "--", "/bin/sh", "-c", code)
    with Running(argv, pass_fds=[reader]) as running:
        assert running.line() == "ready"
        tree = children.below(running.starter)
        os.close(writer)
        assert running.wait() == 128 + signal.SIGKILL
        assert children.wait_gone(tree) == set()
    os.close(reader)


def test_what_it_leaves_in_the_pid_namespace_stays_there(target: int) -> None:
    ended = join(target, "--", "/bin/sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!")
    assert ended.status == 0
    (left,) = (pid for pid in children.of(target) if children.status_field(pid, "Name") == "sleep")
    assert children.status_field(left, "NSpid").split()[-1] == ended.out.decode().strip()


# What can't be joined.


def refused(ended: Ended) -> tuple[str, str]:
    """Return the message and the hint of a refusal."""
    assert (ended.status, ended.out) == (125, b"")
    message, hint = ended.errors.splitlines()
    assert message.startswith("pyspawn: ")
    assert hint.startswith("hint: ")
    return message[9:], hint[6:]


def test_the_wrong_owner(target: int) -> None:
    require("root", "other-user")
    become = f"os.setgroups([]); os.setresgid(*3*[{ELSEWHERE}]); os.setresuid(*3*[{ELSEWHERE}])\n"
    ended = run(prepared(become, joining(target, "--", "/bin/true", owner=False)))
    message, hint = refused(ended)
    assert message == f"join process {target}: Permission denied (EACCES)"
    assert f"runs as user id {OWNER}, and you are {ELSEWHERE}" in hint
    assert join(target, "--", "/bin/true", owner=True).status == 0  # as the hint says


def test_named_without_the_user_namespace_that_gives_the_right(target: int) -> None:
    message, hint = refused(join(target, "--uts", "--", "/bin/true"))
    assert message == "join the uts namespace: Operation not permitted (EPERM)"
    assert "name --user as well" in hint
    assert join(target, "--uts", "--user", "--", "/bin/true").status == 0


def test_a_pid_that_nobody_has() -> None:
    message, hint = refused(join(2**22 + 1, "--", "/bin/true"))
    assert "No such process (ESRCH)" in message or "Invalid argument" in message
    assert "pid" in hint or "process" in hint


def test_a_zombie() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        children.wait_state(pid, "Z")
        message, hint = refused(join(pid, "--", "/bin/true", owner=False))
        assert message == f"join process {pid}: it has ended"
        assert "zombie" in hint
    finally:
        os.waitpid(pid, 0)


def test_a_kernel_thread() -> None:
    if children.state(2) == "" or "kthreadd" not in Path("/proc/2/comm").read_text():
        pytest.skip("no kernel thread shows here")
    message, _ = refused(join(2, "--", "/bin/true", owner=False))
    assert message == "join process 2: it is part of the kernel"


def test_a_process_that_is_where_we_are_is_refused() -> None:
    message, hint = refused(join(os.getpid(), "--", "/bin/true", owner=False))
    assert message == f"join process {os.getpid()}: its namespaces are yours as well"
    assert "lsns" in hint


@pytest.mark.parametrize(
    ("words", "which"),
    [
        (("{pid}", "--mount"), "the namespaces that are named"),
        (("{pid}", "--net", "--user"), "the namespaces that are named"),
        (("/proc/{pid}/ns",), "its namespaces"),
        (("/proc/{pid}/ns", "--uts"), "the namespaces that are named"),
        (("/proc/{pid}/ns/net",), "its namespaces"),
        (("/proc/{pid}/ns/net", "--net"), "the namespaces that are named"),
    ],
)
def test_files_that_are_where_we_are_are_refused(words: tuple[str, ...], which: str) -> None:
    """A program that was meant for a container doesn't run right here."""
    target, *kinds = (word.format(pid=os.getpid()) for word in words)
    message, hint = refused(join(target, *kinds, "--", "/bin/echo", "here", owner=False))
    name = f"process {target}" if target.isdigit() else target
    assert message == f"join {name}: {which} are yours as well"
    assert "lsns" in hint


@pytest.mark.parametrize("kind", ["pid", "time"])
def test_of_who_has_made_a_namespace_for_its_children_one_of_them_is_to_be_named(kind: str) -> None:
    """`unshare --fork` itself is in the mount namespace that it has made, but not in the others."""
    require("root", "unshare")
    shell = ["/bin/sh", "-c", "echo ready; exec cat"]
    with Running(["unshare", "--mount", f"--{kind}", "--fork", *shell]) as running:
        assert running.line() == "ready"
        starter = running.starter
        (child,) = children.of(starter)
        for kinds in ((), (f"--{kind}", "--mount")):
            message, hint = refused(join(starter, *kinds, "--", "/bin/true", owner=False))
            wanted = f"only its children are in the {kind} namespace that it has made"
            assert message == f"join process {starter}: {wanted}"
            assert f"`pgrep -lP {starter}` shows them" in hint
        show = ("--", "/bin/readlink", f"/proc/self/ns/{kind}", "/proc/self/ns/mnt")
        assert join(child, "--mount", "--", "/bin/true", owner=False).status == 0
        if kind == "time":
            found = join(child, *show, owner=False).out.decode().split()
            assert found == [os.readlink(f"/proc/{child}/ns/{name}") for name in (kind, "mnt")]
        # What it is in itself may be named.
        assert join(starter, "--mount", "--", "/bin/true", owner=False).status == 0


def test_of_a_launcher_the_container_is_to_be_named() -> None:
    """The pid that a shell knows is that of `pyspawn`, which stays outside."""
    require("pidns")
    program = ["--", "/bin/sh", "-c", "echo ready; exec cat"]
    with Running([*lean.pyspawn(), "--init", *program]) as running:
        assert running.line() == "ready"
        launcher = running.starter
        first = children.below(launcher)[0]
        message, hint = refused(join(launcher, "--", "/bin/true", owner=False))
        assert message == f"join process {launcher}: its namespaces are yours as well"
        assert f"`pgrep -lP {launcher}` what this one has started" in hint
        assert join(first, "--", "/bin/true", owner=False).status == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no target was given"),
        (["0", "--", "true"], "0 can't be a process id"),
        (["99999999999", "--", "true"], "99999999999 can't be a process id"),
        (["9" * 5000, "--", "true"], "9 can't be a process id"),
        (["", "--", "true"], "the target is an empty word"),
        (["/proc/self/ns", "--target-env", "--", "true"], "only a process has an environment"),
        (["1", "--nonsense", "true"], "unknown option --nonsense"),
    ],
)
def test_what_can_not_be_meant(words: list[str], message: str) -> None:
    ended = run([*lean.pyspawn(), "exec", *words])
    assert refused(ended)[0].endswith(message)


def test_an_option_of_run() -> None:
    message, hint = refused(run([*lean.pyspawn(), "exec", "1", "--hostname", "x", "true"]))
    assert message == "unknown option --hostname"
    assert hint.startswith("only pyspawn run takes that option")


@pytest.mark.parametrize("words", [[], ["-t", "1", "true"], ["--target", "1", "true"]])
def test_how_it_is_written(words: list[str]) -> None:
    _, hint = refused(run([*lean.pyspawn(), "exec", *words]))
    assert re.search(r"pyspawn exec (PID|TARGET) -- PROGRAM", hint)


def test_help() -> None:
    ended = run([*lean.pyspawn(), "exec", "--help"])
    assert ended.status == 0
    assert ended.out.startswith(b"Usage: pyspawn exec TARGET")
    assert b"--target-env" in ended.out


# A hostile target.


def test_a_program_that_is_its_own_interpreter_leads_to_a_sealed_copy(tmp_path: Path) -> None:
    """A script whose interpreter is /proc/self/exe is run by what we are (CVE-2019-5736)."""
    require("root", "unshare", "pidns")
    script = tmp_path / "script"
    code = (
        "import os\n"
        "print(os.readlink('/proc/self/exe'))\n"
        "try: os.open('/proc/self/exe', os.O_WRONLY)\n"
        "except OSError as error: print(type(error).__name__, error.errno)\n"
    )
    script.write_text(f"#!/proc/self/exe\n{code}")
    script.chmod(0o755)
    with Running(["unshare", "--fork", "--pid", "--mount-proc", "/bin/sh", "-c",
                  "echo ready; exec cat"]) as running:  # fmt: skip
        assert running.line() == "ready"
        (pid,) = children.below(running.starter)[-1:]
        ended = join(pid, "--", str(script), owner=False)
    lines = ended.out.decode().splitlines()
    assert lines[0] == "/memfd:pyspawn (deleted)", ended
    # ETXTBSY while it runs; sealed against writing for ever.
    assert lines[1].startswith(("OSError", "PermissionError"))


SANDBOX = ("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run",
           "--unshare-pid", "/bin/sh", "-c")  # fmt: skip
"""Whose root has the device and the inode of ours."""

LAYS = f"""
cd /run
for at in cwd root {" ".join(f"fd/{number}" for number in range(20))}; do
    ln -s /proc/self/$at evil${{at#fd/}}
done
echo ready
exec cat
"""
"""Lays links that lead to whatever the process has that follows them (CVE-2024-21626)."""


@contextmanager
def sandbox(code: str, *, owner: bool) -> Iterator[int]:
    require("bwrap", "pidns")
    bwrap = shutil.which("bwrap")
    assert bwrap is not None
    argv: list[Word] = [bwrap, *SANDBOX, code]
    with Running(as_owner(argv) if owner else argv) as running:
        assert running.line() == "ready", running.errors()
        yield children.below(running.starter)[-1]


HOLDS = """
outside = os.open({outside!r}, os.O_RDONLY)
for number in (7, 9):
    os.dup2(outside, number)
"""


@pytest.mark.parametrize("owner", [True, False] if ROOT else [True])
def test_the_working_directory_leads_to_no_descriptor(tmp_path: Path, owner: bool) -> None:
    """No link leads to a directory of ours: one that we, or the caller, have open."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for directory in (outside, tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o777)
    with sandbox(LAYS, owner=owner) as pid:
        for name in ("cwd", "root", *map(str, range(20))):
            words = ["--pass-fd=9", "--workdir", f"/run/evil{name}", "--", "/bin/sh", "-c"]
            argv = joining(pid, *words, "touch mark", owner=owner)
            ended = run(prepared(HOLDS.format(outside=str(outside)), argv))
            assert os.listdir(outside) == [], ended
            if ended.status == 125:
                assert ended.errors.startswith("pyspawn: change to the directory"), ended
            else:
                assert "touch: cannot touch" in ended.errors, ended  # what it found is theirs


def test_no_descriptor_of_the_callers_leads_to_a_program(tmp_path: Path) -> None:
    """Nor is a file run that only the caller can reach."""
    require("root")
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho outside\n")
    program.chmod(0o755)
    with sandbox("mount -t tmpfs none /tmp; " + LAYS, owner=False) as pid:
        argv = joining(pid, "--", "/run/evil7/program", owner=False)
        ended = run(prepared(HOLDS.format(outside=str(tmp_path)), argv))
        assert (ended.status, ended.out) == (127, b"")


def test_a_working_directory_of_the_targets_that_is_outside(tmp_path: Path) -> None:
    """It looks like one that is inside, by its inode, since / is bound to the root."""
    require("root", "unshare")
    code = """
libc = ctypes.CDLL(None, use_errno=True)
root = sys.argv[-1]
if libc.unshare(0x20000) or libc.mount(None, b"/", None, ctypes.c_ulong(0x4000 | 1 << 18), None):
    sys.exit("unshare")
os.chdir("/tmp")
if libc.mount(b"/", root.encode(), None, ctypes.c_ulong(0x1000), None):
    sys.exit("mount")
os.chroot(root)
os.write(1, b"ready\\n")
os.read(0, 1)
os._exit(0)
"""
    with Running(prepared(code, [str(tmp_path)])) as running:
        assert running.line() == "ready", running.errors()
        message, hint = refused(join(running.pid, "--", "/bin/true", owner=False))
        assert message == "change to a directory that is outside of the root"
        assert "--workdir /" in hint
        ended = join(running.pid, "--workdir", "/tmp", "--", "/bin/pwd", owner=False)
        assert (ended.status, ended.out) == (0, b"/tmp\n")


IN_ANOTHER_ROOT = """
mount --bind / {root} && mount -o remount,bind,ro {root} || exit 3
chroot {root} sleep 1000 & pid=$!
while ! test "$(cat /proc/$pid/comm)" = sleep; do :; done
"$@" exec $pid -- /bin/sh -c 'touch {place}/mark'
kill $pid
"""


def test_a_root_that_is_ours_in_another_mount(tmp_path: Path) -> None:
    """A process in it is elsewhere: there, for instance, nothing can be written."""
    require("root", "unshare")
    root = tmp_path / "root"
    root.mkdir()
    code = IN_ANOTHER_ROOT.format(root=root, place=tmp_path)
    argv = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", code, "sh"]
    ended = run([*argv, *lean.pyspawn()])
    assert "Read-only file system" in ended.errors, ended
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_where_statx_is_refused(number: int) -> None:
    """/proc tells of mounts as well."""
    require("root", "seccomp")
    with sandbox(LAYS, owner=False) as pid:
        code = deny(number, "statx")
        ended = run(prepared(code, joining(pid, "--", "/bin/pwd", owner=False)))
        assert (ended.status, ended.out) == (0, b"/run\n"), ended
        ended = run(prepared(code, joining(pid, "-w", "/tmp", "/bin/pwd", owner=False)))
        assert (ended.status, ended.out) == (0, b"/tmp\n"), ended
        words = ("-w", "/run/evilroot/tmp", "--", "/bin/pwd")
        ended = run(prepared(code, joining(pid, *words, owner=False)))
        assert (ended.status, ended.out) == (0, b"/tmp\n"), ended


def test_a_directory_outside_of_the_root(tmp_path: Path) -> None:
    """A target that has left its root behind takes nobody along."""
    require("root", "unshare")
    code = """
os.chdir("/")
os.chroot(sys.argv[-1])
os.write(1, b"ready\\n")
os.read(0, 1)
os._exit(0)
"""
    inside = tmp_path / "root"
    inside.mkdir()
    with Running(prepared(code, [str(inside)])) as running:
        assert running.line() == "ready"
        ended = join(running.pid, "--", "/bin/true", owner=False)
        message, hint = refused(ended)
        assert message == "change to a directory that is outside of the root"
        assert "--workdir /" in hint
        ended = join(running.pid, "--workdir", "/", "--", "/bin/true", owner=False)
        assert ended.status == 127  # there's nothing inside


def test_nothing_of_the_targets_files_is_imported(tmp_path: Path) -> None:
    """Modules that lie where ours do, in the target's mounts, are never read."""
    require("root", "unshare", "strace")
    place = str(Path(lean.HERE))
    code = f'mount -t tmpfs none "{place}" && echo ready && exec cat'
    with Running(["unshare", "--mount", "--fork", "/bin/sh", "-c", code]) as running:
        assert running.line() == "ready"
        (pid,) = children.below(running.starter)[-1:]
        for words, status in ((("/bin/true",), 0), (("nonesuch",), 127), (("-S5", "true"), 0)):
            ended = join(pid, *words, owner=False)
            assert ended.status == status, ended
            assert "Traceback" not in ended.errors
            assert "unexpected" not in ended.errors


@pytest.mark.parametrize(
    "name", [b"no\x1b[31mthing", b"no\xff\xc2\x9bthing", "no\u202ething".encode()]
)
def test_what_is_told_of_the_targets_files_is_printable(tmp_path: Path, name: bytes) -> None:
    """Whoever wrote them chose the words, and no codec can be read in any more."""
    require("root", "unshare")
    script = tmp_path / "script"
    script.write_bytes(b"#!/" + name + b"\n")
    script.chmod(0o755)
    with Running(["unshare", "--mount", "--fork", "/bin/sh", "-c", "echo ready; cat"]) as running:
        assert running.line() == "ready"
        (pid,) = children.below(running.starter)[-1:]
        ended = join(pid, "--", str(script), owner=False)
    assert ended.status == 127, ended
    assert ended.errors.startswith(f"pyspawn: {script}: its interpreter /no")
    assert ended.errors.rstrip("\n").isprintable()


def test_who_enters_can_not_be_looked_into(target: int, tmp_path: Path) -> None:
    """The init is seen from inside before its exec, but neither its program nor descriptors."""
    require("root", "strace")
    log = tmp_path / "log"
    argv = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=prctl,setns,execve",
            *joining(target, "--", "/bin/true", owner=False)]  # fmt: skip
    assert run(argv).status == 0
    calls = [line.split(None, 1)[1] for line in log.read_text().splitlines()]
    first = next(at for at, call in enumerate(calls) if call.startswith("setns("))
    assert any("PR_SET_DUMPABLE, SUID_DUMP_DISABLE" in call for call in calls[:first])


@pytest.mark.parametrize("call", ["setns", "fchdir"])
def test_it_is_not_looked_into_while_it_enters(target: int, call: str) -> None:
    """Held at its first step inside, and at its last: root of the container sees it, no more."""
    require("seccomp", "userns")
    with Held(call) as held:
        argv = prepared(held.code, joining(target, "--", "/bin/true"))
        with Running(argv, pass_fds=[held.fileno]):
            moment = held.catch()
            while call == "setns" and children.status_field(moment.pid, "NSpid").count("\t") == 0:
                held.let_go(moment)  # it isn't in the PID namespace yet
                moment = held.catch()
            inner = children.status_field(moment.pid, "NSpid").split()[-1]
            look = f"cat /proc/{inner}/comm; readlink /proc/{inner}/exe; ls /proc/{inner}/fd"
            ended = join(target, "--", "/bin/sh", "-c", look)
            assert ended.out.decode().split("\n")[1:] == [""]  # its name, and nothing else
            assert ended.errors.count("Permission denied") == 1


@pytest.mark.parametrize("way", ["{pid}", "/proc/{pid}/ns"])
@pytest.mark.parametrize("turn", range(6))
def test_sigkill_at_any_moment_of_entering(target: int, turn: int, way: str) -> None:
    """Nothing is left, whether a namespace was entered or not, be it by a scout."""
    require("seccomp")
    with Held("setns") as held:
        program = ("/bin/sh", "-c", "sleep 1000")
        argv = prepared(held.code, joining(way.format(pid=target), "--", *program))
        with Running(argv, pass_fds=[held.fileno]) as running:
            for _ in range(turn):
                held.let_go(held.catch())
            moment = held.catch()
            tree = children.below(running.starter)
            assert moment.pid in tree
            os.kill(running.starter, signal.SIGKILL)
            held.let_go(moment)
            while children.wait_gone(tree, 0.1):
                # What isn't dead yet is held again; the listener fails once nobody is left.
                with contextlib.suppress(FileNotFoundError):
                    held.let_go(held.catch())
    assert children.state(target) not in ("", "Z")


def test_an_interpreter_that_can_not_be_sealed(target: int) -> None:
    require("root", "seccomp")
    argv = joining(target, "--", "/bin/true", owner=False)
    ended = run(prepared(deny(errno.EPERM, "memfd_create"), argv))
    message, hint = refused(ended)
    assert message.startswith("copy our interpreter into memory")
    assert message.endswith("Operation not permitted (EPERM)")
    assert hint


def test_whole_ranges_of_ids() -> None:
    """As rootless podman has them: root inside is the owner, who isn't root here."""
    require("root", "other-user", "newuidmap", "pidns")
    program = ("/bin/sh", "-c", "echo ready; exec cat")
    code = "id -u; id -g; grep Groups /proc/self/status; wc -l < /proc/self/uid_map"
    become = f"""
os.setgroups([4])
os.setresgid({rooms.GROUP}, {rooms.GROUP}, {rooms.GROUP})
os.setresuid({rooms.USER}, {rooms.USER}, {rooms.USER})
"""
    with Running(rooms.entered("become([4])\n", "--map-auto", program=program)) as running:
        assert running.line() == "ready", running.errors()
        pid = children.below(running.starter)[-1]
        for prepare in (become, ""):
            argv = joining(pid, "--", "/bin/sh", "-c", code, owner=False)
            ended = run(prepared(prepare, argv))
            assert ended.out.decode().split() == ["0", "0", "Groups:", "2"], ended


def test_it_is_the_interpreter_that_is_sealed_for_root_only(target: int) -> None:
    """An ordinary user can't write the interpreter, unless it's their own."""
    own = os.stat(os.path.realpath(sys.executable))
    writable = bool(own.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    sealed = os.geteuid() in (0, own.st_uid) or writable
    argv = joining(target, "--", "/bin/sh", "-c", "echo ready; exec cat", owner=not ROOT)
    with Running(argv) as running:
        assert running.line() == "ready"
        assert os.readlink(f"/proc/{running.starter}/exe").startswith("/memfd:") == sealed


# At a terminal.


def test_it_is_a_job_like_any_other(terminal: Terminal, target: int) -> None:
    """^C reaches it once, ^Z stops it, fg continues it, and the terminal is given back."""
    with Shell(terminal) as shell:
        job = shell.run(joining(target, "--", *python(CATCHER)))
        assert terminal.screen.next().startswith("catcher ready")
        terminal.type(INTERRUPT)
        assert terminal.screen.next() == f"catcher {int(signal.SIGINT)}"
        os.kill(job, signal.SIGKILL)
        assert shell.wait(job)["status"] == -signal.SIGKILL
        job = shell.run(joining(target, "--", "/bin/sh", "-c", "echo on; read line; exit 6"))
        assert terminal.screen.next() == "on"
        terminal.type(SUSPEND)
        assert shell.wait(job) == {"stopped": int(signal.SIGTSTP), "foreground": job}
        shell.resume(job)
        terminal.type(b"go on\n")
        assert shell.wait(job) == {"status": 6, "foreground": job}


def test_each_step_is_told_while_it_is_taken(target: int) -> None:
    ended = join(target, "--explain", "--", "/bin/true")
    assert ended.status == 0
    told = [line for line in ended.errors.splitlines() if re.match("(launcher|stage|init): ", line)]
    wanted = [
        f"launcher: open the user namespace of process {target}",
        f"launcher: open the pid namespace of process {target}",
        f"launcher: open the root of process {target}",
        f"launcher: open the working directory of process {target}",
        "stage: hide from the processes inside",
        "stage: join the user namespace",
        "stage: join the pid namespace",
        "stage: fork the init",
        "init: keep the caller's descriptors out",
        "init: import nothing from here on",
        "init: join the mount namespace",
        "init: close the descriptors of the namespaces",
        "init: change to the target's directory",
        "init: become user 0 and group 0",
        "init: die with the launcher",
    ]
    assert [line for line in told if line in wanted] == wanted
    # What was told is what a dry run says, in its form; descriptors may have other numbers.
    planned = join(target, "--dry-run", "--explain", "--", "/bin/true").out.decode()
    assert re.sub(r"\d+", "", planned) == re.sub(r"\d+", "", ended.errors)
    assert "new PID namespace" not in planned.replace("There is no new PID namespace", "")
    # No two steps have the same words.
    parts = planned.rstrip().split("\n\n")[3:]
    words = [part.split("\n", 2)[2] for part in parts if "\n    openat(" not in part]
    assert len(set(words)) == len(words) > 20


def test_what_a_scout_opens_is_told(target: int) -> None:
    place = f"/proc/{target}/ns"
    for words in ((place, "--uts", "--user"), (f"--user={place}/user", f"--uts={place}/uts")):
        argv = [*lean.pyspawn(), *(("exec",) if place in words else ("--share=all",)), *words]
        ended = run(as_owner([*argv, "--explain", "--", "/bin/true"]))
        assert ended.status == 0, ended
        assert "launcher: fork a scout\n" in ended.errors
        assert f"scout: open {place}/uts\n" in ended.errors
        shown = run(as_owner([*argv, "--dry-run", "--", "/bin/true"])).out
        assert f"scout     open {place}/uts: openat".encode() in shown


@pytest.mark.parametrize("owner", [True, False] if ROOT else [True])
def test_a_program_in_the_path_of_the_target(tmp_path: Path, owner: bool) -> None:
    """It isn't in the caller's, where it's looked up: the hint says how it would be."""
    place = tmp_path / "programs"
    place.mkdir()
    for directory in (place, tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    program = place / "theirs"
    program.write_text("#!/bin/sh\necho here\n")
    program.chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{path}:relative:{place}"
    try:
        with container("unshare", tmp_path) as pid:
            os.environ["PATH"] = path
            ended = join(pid, "--", "theirs", owner=owner)
            assert ended.status == 127
            hint = ended.errors.splitlines()[-1]
            assert hint.startswith("hint: theirs was looked up in your PATH")
            assert "--target-env" in hint
            assert join(pid, "--target-env", "--", "theirs", owner=owner).out == b"here\n"
            for words in (("--target-env", "--", "nonesuch"), ("--", "/theirs")):
                assert "--target-env" not in join(pid, *words, owner=owner).errors
    finally:
        os.environ["PATH"] = path


def test_a_name_would_be_one_of_the_targets_own(target: int) -> None:
    """Its files aren't read, and this machine's names may be somebody else in there."""
    for option, database in (("--setuid", "passwd"), ("--setgid", "group"), ("--groups", "group")):
        ended = join(target, option, "root", "--", "/bin/true")
        assert ended.status == 125
        assert (
            f"{option}: 'root' is not an id, and pyspawn doesn't read the files of TARGET"
            in ended.errors
        )
        assert f"`pyspawn exec TARGET -- getent {database} root` shows the id" in ended.errors


def test_without_a_program_it_is_the_shell(target: int) -> None:
    ended = join(target, typed=b"echo $0 in; readlink /proc/self/ns/uts; exit 7\n",
                 environment={**os.environ, "SHELL": "/bin/sh"})  # fmt: skip
    assert ended.status == 7, ended
    assert ended.out.decode().split() == ["/bin/sh", "in", os.readlink(f"/proc/{target}/ns/uts")]
