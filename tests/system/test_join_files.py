"""Namespaces by their files: `exec FILE`, `--net=FILE` at run time, `--persist` and `release`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.containers import ROOT
from helpers.programs import MOUNTING, Word, prepared, python
from helpers.running import Ended, Running, run

from spawner import lean
from spawner.spec import NAMESPACES

FILES = {kind: {"mount": "mnt"}.get(kind, kind) for kind in NAMESPACES}

LINKS = "cd /proc/self/ns && for kind in " + " ".join(FILES.values()) + "; do readlink $kind; done"

SHOW = ("--", "/bin/sh", "-c", LINKS)

USERS = () if ROOT else ("--user",)
"""What gives the right to make other namespaces."""

BECOME_ORDINARY = """
os.setgroups([])
os.setresgid(64998, 64998, 64998)
os.setresuid(64998, 64998, 64998)
"""


def pyspawn(*words: Word) -> list[Word]:
    return [*lean.pyspawn(), *words]


def links(pid: int | str) -> list[str]:
    return [os.readlink(f"/proc/{pid}/ns/{file}") for file in FILES.values()]


def expected(pid: int, *kinds: str) -> list[str]:
    """Return our own namespaces, but for these of another process."""
    return [
        its if kind in kinds else own
        for kind, own, its in zip(FILES, links("self"), links(pid), strict=True)
    ]


def holder(*words: str) -> Running:
    """Start a container that says when it's ready, and ends with its input."""
    require("pidns")
    program = ("--", "/bin/sh", "-c", "echo ready; exec cat")
    return Running(pyspawn("--share=all", *USERS, *words, *program))


def program_of(running: Running) -> int:
    assert running.line() == "ready", running.errors()
    return children.below(running.starter)[-1]


def refused(ended: Ended) -> tuple[str, str]:
    """Return the message and the hint of a refusal."""
    assert (ended.status, ended.out) == (125, b"")
    message, hint = ended.errors.splitlines()
    return message.removeprefix("pyspawn: "), hint.removeprefix("hint: ")


# exec by file and by directory.


def test_a_file() -> None:
    require("root")
    with holder("--uts") as running:
        pid = program_of(running)
        ended = run(pyspawn("exec", f"/proc/{pid}/ns/uts", *SHOW))
        assert ended.out.decode().split() == expected(pid, "uts")


def test_a_directory() -> None:
    with holder("--uts", "--ipc", "--net", "--user") as running:
        pid = program_of(running)
        ended = run(pyspawn("exec", f"/proc/{pid}/ns", *SHOW))
        assert ended.out.decode().split() == expected(pid, "uts", "ipc", "net", "user")
        ended = run(pyspawn("exec", f"/proc/{pid}/ns", "--net", "--user", *SHOW))
        assert ended.out.decode().split() == expected(pid, "net", "user")


@pytest.mark.parametrize(
    ("target", "words", "message"),
    [
        ("/nonesuch", (), "join /nonesuch: No such file or directory (ENOENT)"),
        ("/etc/passwd", (), "join /etc/passwd: it isn't a namespace"),
        ("/dev/null", (), "join /dev/null: it isn't a namespace"),
        ("/usr", (), "join /usr: there is no namespace in this directory"),
        ("/usr", ("--net",), "join /usr/net: No such file or directory (ENOENT)"),
        (
            "/proc/self/ns/uts",
            ("--net",),
            "join /proc/self/ns/uts: it is a uts namespace, not the net namespace",
        ),
    ],
)
def test_what_is_no_target(target: str, words: tuple[str, ...], message: str) -> None:
    ended = run(pyspawn("exec", target, *words, "--", "/bin/true"))
    assert ended.status == 125
    assert ended.errors.splitlines()[0] == f"pyspawn: {message}"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("exec", "/nonesuch", "true"), "there is no /nonesuch: name a process by its pid"),
        (("exec", "/usr", "--net", "true"), "`ls /usr` shows"),
        (("--net=/nonesuch", "true"), "`namei -l /nonesuch` shows which part of it isn't there"),
        (("release", "/nonesuch"), "`grep pyspawn-persist /proc/self/mounts` shows"),
    ],
)
def test_what_to_name_in_place_of_what_is_not_there(words: tuple[str, ...], hint: str) -> None:
    assert refused(run(pyspawn(*words)))[1].startswith(hint)


def test_a_fifo_holds_nobody(tmp_path: Path) -> None:
    fifo = tmp_path / "net"
    os.mkfifo(fifo)
    message, _ = refused(run(pyspawn("exec", str(fifo), "--", "/bin/true")))
    assert message == f"join {fifo}: it isn't a namespace"
    message, _ = refused(run(pyspawn("exec", str(tmp_path), "--", "/bin/true")))
    assert message == f"join {fifo}: it isn't a namespace"


def test_a_file_of_the_wrong_kind_in_a_directory(tmp_path: Path) -> None:
    (tmp_path / "net").symlink_to("/proc/self/ns/uts")
    message, hint = refused(run(pyspawn("exec", str(tmp_path), "--", "/bin/true")))
    assert message == f"join {tmp_path}/net: it is a uts namespace, not a net namespace"
    assert "--uts" in hint


def test_a_pid_namespace_from_below() -> None:
    """Who is in one can't join those above."""
    require("root", "pidns")
    outer = os.open("/proc/self/ns/pid", os.O_RDONLY)
    try:
        word = f"/proc/self/fd/{outer}"
        ended = run(pyspawn("--", *pyspawn("exec", word, "--", "/bin/true")), pass_fds=[outer])
    finally:
        os.close(outer)
    message, hint = refused(ended)
    assert message == "join the pid namespace: Invalid argument (EINVAL)"
    assert "from one above it" in hint


def test_a_pid_namespace_whose_process_1_has_ended() -> None:
    require("root", "pidns")
    with holder("--pid", "--mount") as running:
        pid = program_of(running)
        held = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY)
        running.close_input()
        assert running.wait() == 0
    try:
        word = f"/proc/self/fd/{held}"
        ended = run(pyspawn("exec", word, "--", "/bin/true"), pass_fds=[held])
    finally:
        os.close(held)
    message, hint = refused(ended)
    assert message == "fork the init: Cannot allocate memory (ENOMEM)"
    assert "process 1 of that PID namespace has ended" in hint


# A namespace joined at run time.


def test_one_is_joined_and_others_are_new() -> None:
    require("root")
    with holder("--net", "--uts") as running:
        pid = program_of(running)
        ended = run(pyspawn(f"--net=/proc/{pid}/ns/net", "--init", *SHOW))
        found = ended.out.decode().split()
        new = {"pid", "mount", "ipc", "uts", "cgroup"}
        for kind, link, own, its in zip(FILES, found, links("self"), links(pid), strict=True):
            assert (link == its) == (kind == "net" or (kind in ("user", "time")))
            assert (link not in (own, its)) == (kind in new)


@pytest.mark.parametrize("kind", ["uts", "ipc", "net", "cgroup", "time", "pid", "mount"])
def test_each_kind(kind: str) -> None:
    require("root")
    more = ["--mount"] if kind == "pid" else []
    with holder(f"--{kind}", *more) as running:
        pid = program_of(running)
        file = f"/proc/{pid}/ns/{FILES[kind]}"
        argv = pyspawn("--share=all", f"--{kind}={file}")
        if kind in ("pid", "mount"):  # /proc shows another namespace
            ended = run([*argv, "--", "/bin/true"])
            assert (ended.status, ended.errors) == (0, "")
            return
        assert run([*argv, *SHOW]).out.decode().split() == expected(pid, kind)


def test_a_joined_network_with_a_new_user_namespace() -> None:
    """Joined first, since in the new one there'd be no right to."""
    require("root")
    with holder("--net") as running:
        pid = program_of(running)
        ended = run(pyspawn("--share=all", "--user", f"--net=/proc/{pid}/ns/net", *SHOW))
        found = ended.out.decode().split()
        assert found[list(FILES).index("net")] == links(pid)[list(FILES).index("net")]
        assert found[0] not in (links("self")[0], links(pid)[0])


def test_a_user_namespace_and_new_ones_in_it() -> None:
    with holder("--user") as running:
        pid = program_of(running)
        words = (f"--user=/proc/{pid}/ns/user", "--uts", "--hostname", "box", "--net")
        ended = run(pyspawn(*words, "--", "/bin/sh", "-c", f"hostname; id -u; {LINKS}"))
        assert (ended.status, ended.errors) == (0, "")
        name, user, *found = ended.out.decode().split()
        assert (name, user) == ("box", "0")
        assert found[0] == links(pid)[0]
        assert found[list(FILES).index("net")] not in (links("self"), links(pid))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--net="], "--net: the path of the namespace is empty"),
        (["--net=/proc/self/ns/net", "--unshare=net"], "the net namespace is named in both"),
        (["--net=/proc/self/ns/uts"], "join /proc/self/ns/uts: it is a uts namespace, not a net"),
        (["--user=/proc/self/ns/user", "--map-root-user"], "the user namespace is named in both"),
        (
            ["--mount=/proc/self/ns/mnt", "--user", "--uts"],
            "no namespace can be new where a mount namespace is joined",
        ),
    ],
)
def test_what_can_not_be_joined(words: list[str], message: str) -> None:
    ended = run(pyspawn(*words, "--", "/bin/true"))
    assert ended.status == 125
    assert ended.errors.startswith(f"pyspawn: {message}")


def test_the_plan_says_what_is_joined() -> None:
    require("root")
    with holder("--uts", "--net", "--mount", "--user") as running:
        pid = program_of(running)
        ended = run(pyspawn("exec", str(pid), "--dry-run", "--", "/bin/true"))
        steps = [line.split(": ")[0].split(None, 1) for line in ended.out.decode().splitlines()]
    joins = [(where, what) for where, what in steps if what.startswith("join")]
    assert joins == [
        ("init", f"join the {kind} namespace") for kind in ("net", "uts", "mount", "user")
    ]
    assert steps.index(["stage", "hide from the processes inside"]) < steps.index(list(joins[0]))
    assert ["init", "import nothing from here on"] in steps


# Kept as files.


PRIVATE, SHARED = 1 << 18, 1 << 20

IN_PRIVATE = (
    MOUNTING
    + """
# A mount namespace is kept only in an older one, which recent kernels tell by numbers that each
# processor hands out for itself.
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
check(libc.unshare(0x20000))
for flag in FLAGS:
    mount(None, "/", None, 0x4000 | flag)
"""
)
"""Mounts of its own: private first, or shared ones would be so with the machine's."""


def in_private(script: str, *, spread: bool = False) -> Ended:
    """Run a shell script, in which `pyspawn` is us, with mounts of its own, shared if `spread`."""
    require("root")
    flags = (PRIVATE, SHARED) if spread else (PRIVATE,)
    define = f'pyspawn() {{ {shlex.join(lean.pyspawn())} "$@"; }}\n'
    argv = ["/bin/sh", "-c", define + script]
    return run(prepared(f"FLAGS = {flags}\n{IN_PRIVATE}", argv))


@pytest.mark.parametrize("spread", [False, True], ids=["private", "shared"])
def test_kept_joined_and_let_go(tmp_path: Path, spread: bool) -> None:
    place = tmp_path / "kept"
    script = f"""
pyspawn --net --uts --time --hostname kept --persist {place} -- readlink /proc/self/ns/uts
echo $(ls {place})
pyspawn exec {place} --uts -- sh -c 'hostname; readlink /proc/self/ns/uts'
pyspawn --share=all --net={place}/net -- cat /proc/net/dev | grep -c :
pyspawn exec {place} -- /bin/true; echo $?
pyspawn release {place}; echo $?
test -e {place}; echo $?
grep -c {place} /proc/self/mountinfo
"""
    ended = in_private(script, spread=spread)
    assert ended.errors == ""
    first, names, name, again, interfaces, joined, status, there, count = (
        ended.out.decode().splitlines()
    )
    assert names == "cgroup ipc mnt net time uts"
    assert (name, again) == ("kept", first)
    assert interfaces == "1"  # loopback
    assert (joined, status, there, count) == ("0", "0", "1", "0")


@pytest.mark.parametrize(
    ("words", "status"),
    [(("--", "/nonesuch"), 127), (("--workdir", "/nonesuch", "--", "/bin/true"), 125)],
    ids=["no program", "no directory"],
)
@pytest.mark.parametrize("init", [(), ("--init",)], ids=["", "init"])
def test_a_failure_keeps_nothing(
    tmp_path: Path, words: tuple[str, ...], status: int, init: tuple[str, ...]
) -> None:
    place = tmp_path / "kept"
    command = shlex.join(["pyspawn", "--net", *init, "--persist", str(place), *words])
    ended = in_private(f"{command}; echo $?; grep -c {place} /proc/self/mountinfo")
    assert ended.out.decode().split() == [str(status), "0"]
    assert not place.exists()


def test_an_ordinary_user_keeps_nothing(tmp_path: Path) -> None:
    place = tmp_path / "kept"
    argv = pyspawn("--net", "--persist", str(place), "--", "/bin/true")
    if ROOT:
        require("other-user")
        for directory in (tmp_path, *tmp_path.parents[:2]):
            directory.chmod(0o777)
        argv = prepared(BECOME_ORDINARY, argv)
    message, hint = refused(run(argv))
    assert message == f"keep the namespaces in {place}: Operation not permitted (EPERM)"
    assert "root" in hint
    assert not place.exists()


def test_a_directory_that_is_there_is_left_alone(tmp_path: Path) -> None:
    require("pidns")
    (tmp_path / "file").touch()
    message, hint = refused(run(pyspawn("--net", "--persist", str(tmp_path), "--", "/bin/true")))
    assert message == f"keep the namespaces in {tmp_path}: File exists (EEXIST)"
    assert "release" in hint
    assert (tmp_path / "file").exists()


def test_there_has_to_be_something_to_keep(tmp_path: Path) -> None:
    argv = pyspawn("--share=all", *USERS, "--pid", "--persist", str(tmp_path / "x"), "--", "true")
    if not USERS:
        assert refused(run(argv))[0].startswith("there is no new namespace to keep")


@pytest.mark.parametrize("name", ["plain", "nonesuch", "file", "link", "mounted", "inside"])
def test_what_is_not_ours_is_not_released(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "net").touch()
    (tmp_path / "file").touch()
    (tmp_path / "mounted").mkdir()
    (tmp_path / "link").symlink_to("kept")
    ended = in_private(
        f"""
cd {tmp_path}
mount -t tmpfs other mounted
pyspawn --net --uts --persist kept -- mkdir kept/inside
pyspawn release {"kept/inside" if name == "inside" else name}; echo $?
grep -c {tmp_path}/kept /proc/self/mountinfo
"""
    )
    status, count = ended.out.decode().split()
    assert status == "125"
    assert int(count) > 2, ended
    assert ended.errors.startswith("pyspawn: release")
    assert (tmp_path / "plain" / "net").exists()


@pytest.mark.parametrize(
    ("words", "status"), [((), 125), (("a", "b"), 125), (("--help",), 0), (("--what",), 125)]
)
def test_the_words_of_release(words: tuple[str, ...], status: int) -> None:
    ended = run(pyspawn("release", *words))
    assert ended.status == status
    assert b"Usage: pyspawn release DIR" in ended.out or "pyspawn release" in ended.errors


FAILING = """
import sys
sys.path[:0] = [sys.argv[1]]
from spawner import errors, linux
from spawner.life import persist
from spawner.errors import SetupError
from spawner.spec import Namespaces, Spec

class Failing(linux.Kernel):
    def __init__(self, name, turn):
        self.left = {name: turn}
    def __getattribute__(self, name):
        left = super().__getattribute__("left") if name != "left" else {}
        if name in left:
            left[name] -= 1
            if left[name] == 0:
                def refuse(*_):
                    raise errors.SyscallError(name, 5)
                return refuse
        return super().__getattribute__(name)

process, place, name, turn = sys.argv[2:]
spec = Spec(("true",), namespaces=Namespaces("net,uts,ipc"))
kept = persist.Kept(spec, place)
try:
    kept.step().run(Failing(name, int(turn)), process)
    print("kept")
except SetupError as error:
    print(error)
kept.undo(linux.Kernel())
with open("/proc/self/mountinfo") as mounts:
    print(sum(place in line for line in mounts))
"""


@pytest.mark.parametrize(
    ("call", "times"),
    [("mkdir", 1), ("open_directory", 3), ("mount", 5), ("make_file", 3)],
)
def test_each_call_refused_keeps_nothing(tmp_path: Path, call: str, times: int) -> None:
    place = tmp_path / "kept"
    require("root")
    with holder("--net", "--uts", "--ipc") as running:
        pid = program_of(running)
        for turn in range(1, times + 2):
            words = [lean.HERE, str(pid), str(place), call, str(turn)]
            ended = run(prepared(f"FLAGS = {(PRIVATE,)}\n{IN_PRIVATE}", [*python(FAILING), *words]))
            said, left = ended.out.decode().splitlines()
            assert left == "0"
            assert not place.exists()
            assert said == "kept" if turn > times else "(EIO)" in said, ended


MOVED = """
import os, sys
sys.path[:0] = [sys.argv[1]]
from spawner import errors, linux
from spawner.life import persist
from spawner.spec import Namespaces, Spec

def keep(place):
    kept = persist.Kept(Spec(("true",), namespaces=Namespaces("net")), place)
    kept.step().run(linux.Kernel(), sys.argv[2])
    return kept

def shown():
    with open("/proc/self/mounts") as mounts:
        return sorted(line.split()[1] for line in mounts if line.startswith("pyspawn-persist "))

os.mkdir("here")
os.mkdir("there")
place = os.path.abspath("here/kept")
first, second = keep(place), keep(os.path.abspath("there/kept"))
os.rename("here", "away")
os.rename("there", "here")
first.undo(linux.Kernel())
print([os.path.relpath(each) for each in shown()], os.listdir("away"), os.listdir("here/kept"))
second.undo(linux.Kernel())
print(shown(), os.listdir("here"))
"""
"""Whose the directories are exchanges them while something is kept in both."""


def test_what_is_taken_away_is_what_was_made_wherever_it_is_by_then(tmp_path: Path) -> None:
    require("root")
    with holder("--net") as running:
        argv = [*python(MOVED), lean.HERE, str(program_of(running))]
        ended = run(prepared(f"FLAGS = {(PRIVATE,)}\n{IN_PRIVATE}", argv), directory=str(tmp_path))
    assert ended.out.decode().splitlines() == ["['here/kept'] [] ['net']", "[] []"], ended
