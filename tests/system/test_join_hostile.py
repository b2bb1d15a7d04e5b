"""A target that lays snares for whoever joins it catches nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import children, rooms
from helpers.capabilities import require
from helpers.containers import ROOT, as_owner
from helpers.joining import join, joining
from helpers.programs import Word, prepared
from helpers.pyspawn import refused
from helpers.running import Running, run
from helpers.seccomp import Held, deny

from spawner import lean


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
        assert message == "the working directory would be outside of the container's root directory"
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
        assert message == "the working directory would be outside of the container's root directory"
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
    assert message.startswith("copy the Python interpreter into memory")
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
