"""Refusals of a real kernel: the message, the hint that works, the status, and nothing left.

Each test builds a room that refuses something (in namespaces of its own, or with a limit of its
own), starts pyspawn there, and where a hint can be followed inside of the room, follows it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import seccomp
from helpers.capabilities import require
from helpers.programs import MOUNTING, Word, prepared
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


def refusal(errors: str, message: str) -> str:
    """Return the hint, after checking that there is one line and a hint, and nothing else."""
    first, second, *rest = errors.splitlines()
    assert first == f"pyspawn: {message}"
    assert second.startswith("hint: ")
    assert rest == []
    return second


def refused(ended: Ended, message: str) -> str:
    """Return the hint of a run that failed as ours do."""
    assert (ended.status, ended.out) == (125, b""), ended
    return refusal(ended.errors, message)


def mended(ended: Ended, message: str) -> str:
    """Return the hint of a first run that failed, when the second, that heeded it, did not."""
    assert (ended.status, ended.out) == (0, b"125\nran\n"), ended
    return refusal(ended.errors, message)


EPERM = "Operation not permitted (EPERM)"
ENOSPC = "No space left on device (ENOSPC)"


# Limits on namespaces.


@pytest.mark.parametrize("kind", ["pid", "mount", "uts", "ipc", "net", "cgroup", "time"])
def test_a_limit_of_zero_is_named_and_can_be_raised(kind: str) -> None:
    require("userns")
    name = f"max_{'mnt' if kind == 'mount' else kind}_namespaces"
    file = f"/proc/sys/user/{name}"
    code = f"enter_user_namespace()\nwrite({file!r}, '0')\nattempt()\nwrite({file!r}, '10000')\n"
    ended = inside(ROOM + code, f"--{kind}")
    hint = mended(ended, f"make a new {kind} namespace: {ENOSPC}")
    assert f"user.{name} is 0" in hint
    assert f"`sysctl -w user.{name}=10000`" in hint


def test_a_limit_of_zero_and_doing_without() -> None:
    require("userns")
    code = ROOM + "enter_user_namespace()\nwrite('/proc/sys/user/max_uts_namespaces', '0')\n"
    hint = refused(inside(code, "--init"), f"make a new uts namespace: {ENOSPC}")
    assert "`--share uts`" in hint
    ended = inside(code, "--init", "--share", "uts")
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")


def test_a_limit_of_zero_on_user_namespaces() -> None:
    require("userns")
    file = "/proc/sys/user/max_user_namespaces"
    code = f"enter_user_namespace()\nwrite({file!r}, '0')\nattempt()\nwrite({file!r}, '10000')\n"
    hint = mended(inside(ROOM + code, "--user"), f"make a new user namespace: {ENOSPC}")
    assert "user.max_user_namespaces is 0" in hint
    assert "--share" not in hint


NEST_USERS = """
depth = 0
while depth < MOST:
    try:
        enter_user_namespace()
    except OSError as error:
        if error.errno != 28:  # ENOSPC
            raise
        break
    depth += 1
"""
"""Enters user namespaces, each in the last, until there are MOST or no more are allowed."""


def test_user_namespaces_nested_too_deep() -> None:
    """There are 33 below the first, user_namespaces(7): the 34th is refused, and one more here."""
    require("userns")
    nest = f"{ROOM}MOST = 99\n{NEST_USERS}os.write(1, b'%d' % depth)\n"
    ended = inside(nest, "--user")
    depth = int(ended.out)
    assert 0 < depth <= 33
    assert ended.status == 125
    hint = refusal(ended.errors, f"make a new user namespace: {ENOSPC}")
    assert "can't nest any deeper" in hint
    assert "start pyspawn less deeply nested" in hint
    ended = inside(f"{ROOM}MOST = {depth - 1}\n{NEST_USERS}", "--user")
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")


NEST_PIDS = """
enter_user_namespace()
depth = 0
while depth < MOST:
    try:
        unshare(NEWPID)
    except OSError as error:
        if error.errno != 28:  # ENOSPC
            raise
        break
    depth += 1
    pid = os.fork()
    if pid:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_pid_namespaces_nested_too_deep() -> None:
    require("userns")
    nest = f"{ROOM}MOST = 99\n{NEST_PIDS}os.write(1, b'%d' % depth)\n"
    ended = inside(nest, "--pid", "--share", "mount")
    depth = int(ended.out)
    assert 0 < depth <= 32
    assert ended.status == 125
    hint = refusal(ended.errors, f"make a new pid namespace: {ENOSPC}")
    assert "start pyspawn less deeply nested" in hint
    ended = inside(f"{ROOM}MOST = {depth - 1}\n{NEST_PIDS}", "--pid", "--share", "mount")
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")


# User namespaces.


def test_an_id_without_a_mapping() -> None:
    require("userns")
    code = """
user, group = os.geteuid(), os.getegid()
unshare(NEWUSER)
attempt()
write("/proc/self/setgroups", "deny")
write("/proc/self/gid_map", f"0 {group} 1")
write("/proc/self/uid_map", f"0 {user} 1")
"""
    hint = mended(inside(ROOM + code, "--user"), f"make a new user namespace: {EPERM}")
    assert "uid 65534 has no mapping" in hint
    assert "have its uid_map written first" in hint


PLAIN_ROOT = (
    MOUNTS
    + """
mount("room", "/mnt", "tmpfs")
os.mkdir("/mnt/root")
for name in os.listdir("/"):
    place = f"/mnt/root/{name}"
    if os.path.islink(f"/{name}"):
        os.symlink(os.readlink(f"/{name}"), place)
    elif os.path.isdir(f"/{name}") and name != "mnt":
        os.mkdir(place)
        mount(f"/{name}", place, None, BIND | REC)
"""
)
"""A plain directory with what the machine's root holds, to change the root to."""


def test_a_chroot() -> None:
    require("userns")
    code = PLAIN_ROOT + "os.chroot('/mnt/root')\nos.chdir('/')\n"
    hint = refused(inside(code, "--user"), f"make a new user namespace: {EPERM}")
    assert "in a chroot no process can make a user namespace" in hint
    assert "leave out --user" in hint
    ended = inside(code, "--share", "mount")
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")


def test_a_chroot_of_somebody_without_rights() -> None:
    require("userns")
    room = PLAIN_ROOT + "mount('/mnt/root', '/mnt/root', None, BIND | REC)\nos.chdir('/mnt/root')\n"
    # PR_CAPBSET_DROP of all but CAP_SETFCAP, which the map of user id 0 takes.
    drop = "os.chdir('/')\nfor each in {*range(41)} - {31}:\n    libc.prctl(24, each, 0, 0, 0)\n"
    hint = refused(
        inside(f"{room}os.chroot('.')\n{drop}", "--user"), f"make a new user namespace: {EPERM}"
    )
    assert "chroot" in hint
    assert "enter it with pivot_root(2)" in hint
    pivot = "check(libc.pivot_root(b'.', b'.'))\ncheck(libc.umount2(b'.', 2))\n"  # MNT_DETACH
    ended = inside(room + pivot + drop, "--user")
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")


def test_a_chroot_that_nothing_shows() -> None:
    require("userns")
    code = (
        PLAIN_ROOT
        + """
mount("/mnt/root", "/mnt/root", None, BIND | REC)
os.chroot('/mnt/root')
os.chdir('/')
"""
    )
    hint = refused(inside(code, "--user"), f"make a new user namespace: {EPERM}")
    assert "most likely a chroot" in hint


def test_a_root_directory_that_is_no_mount_point() -> None:
    require("userns")
    enter = "os.chroot('/mnt/root')\nos.chdir('/')\n"
    hint = refused(
        inside(PLAIN_ROOT + enter), "make every mount private: Invalid argument (EINVAL)"
    )
    assert "`mount --bind DIR DIR` before `chroot DIR`" in hint
    bind = "mount('/mnt/root', '/mnt/root', None, BIND | REC)\n"
    ended = inside(PLAIN_ROOT + bind + enter)
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")


def test_root_without_setfcap() -> None:
    require("root")
    drop = "libc.prctl(24, 31, 0, 0, 0)\n"  # PR_CAPBSET_DROP, CAP_SETFCAP
    ended = inside(ROOM + drop, "--user")
    assert ended.errors.startswith("pyspawn: write the uid map 0 0 1: "), ended
    hint = refused(ended, f"write the uid map 0 0 1: {EPERM}")
    assert "CAP_SETFCAP" in hint
    assert "leave out --user" in hint
    assert inside(ROOM + drop).out == b"ran\n"


def test_a_read_only_proc() -> None:
    require("userns")
    code = (
        MOUNTS
        + """
mount(None, "/proc", None, REMOUNT | BIND | RDONLY)
attempt()
mount(None, "/proc", None, REMOUNT | BIND)
"""
    )
    message = "write the gid map 0 0 1: Read-only file system (EROFS)"
    hint = mended(inside(code, "--user"), message)
    assert "`mount -o remount,bind,rw /proc`" in hint


# Rights.


def test_root_without_sys_admin() -> None:
    require("root")
    drop = ROOM + "libc.prctl(24, 21, 0, 0, 0)\n"  # PR_CAPBSET_DROP, CAP_SYS_ADMIN
    hint = refused(inside(drop), f"make a new pid namespace: {EPERM}")
    assert "root has no CAP_SYS_ADMIN" in hint
    assert "add --user" in hint
    assert inside(drop, "--user").out == b"ran\n"


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


def test_an_ordinary_user_without_a_user_namespace() -> None:
    require_ordinary()
    hint = refused(inside(BECOME_ORDINARY, "--share", "user"), f"make a new pid namespace: {EPERM}")
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
    hint = refused(ended, message.format(first="pid" if os.geteuid() == 0 else "user"))
    assert "a seccomp filter is in force" in hint
    assert f"refuses {call}" in hint
    assert "no_new_privs" in hint
    heeded = run(pyspawn(*words))
    assert (heeded.status, heeded.out, heeded.errors) == (0, b"ran\n", "")


def test_a_seccomp_filter_of_a_container_whose_root_has_few_rights() -> None:
    require("seccomp", "root")
    drop = "libc.prctl(24, 21, 0, 0, 0)\n"  # PR_CAPBSET_DROP, CAP_SYS_ADMIN
    ended = inside(ROOM + drop + seccomp.deny(errno.EPERM, "unshare"))
    hint = refused(ended, f"make a new pid namespace: {EPERM}")
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
    hint = refused(inside(code, "--user"), f"mount proc on /proc: {EPERM}")
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
    hint = refused(inside(code), f"mount proc on /proc: {EPERM}")
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
            "somebody else reaped the container's init: No child processes (ECHILD)",
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
    hint = refused(inside(code, *words), message)
    assert "add --fork there" in hint
    heeded = (
        "pid = os.fork()\nif pid:\n    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    ended = inside(
        MOUNTS + "unshare(NEWPID)\n" + heeded + "mount('proc', '/proc', 'proc')\n", *words
    )
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")


# Processes and descriptors.


@contextlib.contextmanager
def pids_group() -> Iterator[Path]:
    """Make a control group with the pids controller, and remove it."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ")[:3]
        if kind == "cgroup2" or (kind == "cgroup" and "pids" in options.split(",")):
            group = Path(before.split(" ")[4], f"pidone-{uuid.uuid4().hex}")
            try:
                group.mkdir()
            except OSError:
                continue
            if (group / "pids.max").exists():
                try:
                    yield group
                finally:
                    group.rmdir()
                return
            group.rmdir()
    pytest.skip("missing capability pids: no pids controller that may be used")


@pytest.mark.parametrize(("limit", "step"), [(1, "fork the stage"), (2, "fork the init")])
def test_pids_max_is_reached(limit: int, step: str) -> None:
    require("root")
    with pids_group() as group:
        code = (
            ROOM
            + f"""
pid = os.fork()
if pid == 0:
    write("{group}/cgroup.procs", "0")
    write("{group}/pids.max", "{limit}")
    os.execv(argv[0], argv)
os.write(1, b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
write("{group}/pids.max", "20")
write("{group}/cgroup.procs", "0")
"""
        )
        ended = inside(code, "--user")
        message = f"{step}: Resource temporarily unavailable (EAGAIN)"
        hint = mended(ended, message)
        assert f"pids.max of {group} is {limit}, which is reached" in hint
        assert (group / "cgroup.procs").read_text() == ""


def test_pids_max_is_reached_inside() -> None:
    """pyinit is there, and can't fork: it tells pyspawn, which says so once."""
    require("root")
    with pids_group() as group:
        code = f"""
import os, sys
with open("{group}/cgroup.procs", "w") as file:
    file.write("0")
with open("{group}/pids.max", "w") as file:
    file.write("2")
os.execv(sys.argv[1], sys.argv[1:])
"""
        ended = run([sys.executable, "-c", code, *lean.pyspawn(), "--init", "--", "true"])
        assert ended.status == 125
        message, hint = ended.errors.splitlines()
        assert message == (
            "pyspawn: fork the program's process: Resource temporarily unavailable (EAGAIN)"
        )
        assert f"pids.max of {group} is 2, which is reached" in hint
        assert (group / "cgroup.procs").read_text() == ""


def test_a_limit_on_the_processes_of_a_user() -> None:
    require_ordinary()
    code = (
        BECOME_ORDINARY
        + """
soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
"""
    )
    ended = inside(code)
    hint = refused(ended, "fork the stage: Resource temporarily unavailable (EAGAIN)")
    assert "`ulimit -u`" in hint


@pytest.mark.parametrize("words", [[], ["--init"], ["--user", "--init"], ["--share", "pid"]])
def test_no_descriptor_left(words: list[str]) -> None:
    """Whatever the limit: pyspawn runs, or one line says what it lacks; it's never a traceback."""
    require("userns")
    statuses = set()
    for limit in range(4, 24):
        code = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
        ended = inside(code, *words)
        statuses.add(ended.status)
        if ended.status == 125:
            first, second = ended.errors.splitlines()
            assert first.startswith("pyspawn: ")
            assert first.endswith("Too many open files (EMFILE)")
            assert "`ulimit -n`" in second
        else:
            assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", ""), limit
    assert statuses == {0, 125}


# Clocks and paths.


@pytest.mark.parametrize(("clock", "offset"), [("monotonic", -(10**9)), ("boottime", 9 * 10**9)])
def test_a_clock_out_of_its_range(clock: str, offset: int) -> None:
    require("userns")
    ended = run(pyspawn("--time", f"--{clock}", str(offset)))
    message = f"set the {clock} clock off by {offset} s: Numerical result out of range (ERANGE)"
    assert "take an offset nearer to 0" in refused(ended, message)


def test_a_working_directory_that_is_missing(tmp_path: Path) -> None:
    require("userns")
    place = tmp_path / "a"
    ended = run(pyspawn("--workdir", f"{place}/b"))
    message = f"change to the directory {place}/b: No such file or directory (ENOENT)"
    hint = refused(ended, message)
    assert f"`namei -l {place}/b` shows which part of it isn't there" in hint
    (place / "b").mkdir(parents=True)
    assert run(pyspawn("--workdir", f"{place}/b")).out == b"ran\n"


def test_a_working_directory_that_is_a_file(tmp_path: Path) -> None:
    require("userns")
    place = tmp_path / "file"
    place.touch()
    message = f"change to the directory {place}: Not a directory (ENOTDIR)"
    hint = refused(run(pyspawn("--workdir", str(place))), message)
    assert f"`namei -l {place}` shows which part of it is not a directory" in hint


def test_a_working_directory_that_is_closed(tmp_path: Path) -> None:
    require("other-user", "userns")
    place = tmp_path / "closed"
    (place / "below").mkdir(parents=True)
    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(0o755)
    place.chmod(0o700)
    ended = inside(BECOME_ORDINARY, "--workdir", f"{place}/below")
    message = f"change to the directory {place}/below: Permission denied (EACCES)"
    hint = refused(ended, message)
    assert f"`namei -l {place}/below` shows the mode and the owner of each part" in hint
    place.chmod(0o701)
    assert inside(BECOME_ORDINARY, "--workdir", f"{place}/below").out == b"ran\n"


def test_an_interpreter_that_the_mapped_root_cannot_reach(tmp_path: Path) -> None:
    """Root reaches it by its capabilities; in a user namespace with one id these end."""
    require("root", "userns")
    place = tmp_path / "closed"
    place.mkdir()
    (place / "python3").symlink_to(sys.executable)
    os.chown(place, 65534, 65534)
    place.chmod(0o700)
    _, *rest = pyspawn("--user", "--init")
    ended = run([f"{place}/python3", *rest])
    message = f"execute the init {place}/python3: Permission denied (EACCES)"
    hint = refused(ended, message)
    assert f"`namei -l {place}/python3` shows the mode and the owner of each part" in hint
    assert "another Python, such as /usr/bin/python3" in hint


def test_an_init_on_a_file_system_mounted_noexec() -> None:
    require("userns")
    code = (
        MOUNTS
        + """
import shutil
mount("room", "/mnt", "tmpfs", NOEXEC)
shutil.copy("/bin/true", "/mnt/init")
attempt()
mount(None, "/mnt", None, REMOUNT)
"""
    )
    ended = inside(code, "--init=/mnt/init")
    assert (ended.status, ended.out) == (0, b"125\n"), ended
    hint = refusal(ended.errors, "execute the init /mnt/init: Permission denied (EACCES)")
    assert "on a file system that isn't mounted noexec" in hint


@pytest.mark.parametrize("options", [[], ["--init"], ["--user"], ["--share=pid"]], ids=" ".join)
def test_nothing_runs_for_which_nobody_could_wait(options: list[str], tmp_path: Path) -> None:
    """The program would be killed, whatever it had done by then."""
    require("seccomp", "pidns")
    code = seccomp.deny(errno.EMFILE, "signalfd", "signalfd4")
    argv = [*lean.pyspawn(), *options, "--", "/bin/sh", "-c", f"echo ran >{tmp_path}/ran"]
    ended = run(prepared(code, argv))
    assert refused(ended, "open a signalfd: Too many open files (EMFILE)")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_dispositions_that_can_not_be_set(init: list[str]) -> None:
    require("seccomp")
    hint = refused(
        inside(seccomp.deny(errno.EPERM, "rt_sigaction"), *init),
        f"set the disposition of SIGCHLD: {EPERM}",
    )
    assert "a seccomp filter is in force" in hint
    assert "refuses rt_sigaction" in hint
