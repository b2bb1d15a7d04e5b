"""Namespaces kept as files, and joined by them later."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.containers import ROOT
from helpers.namespace_files import USERS, holder, program_of
from helpers.programs import MOUNTING, prepared, python
from helpers.pyspawn import pyspawn, refused
from helpers.running import Ended, run

from spawner import lean

BECOME_ORDINARY = """
os.setgroups([])
os.setresgid(64998, 64998, 64998)
os.setresuid(64998, 64998, 64998)
"""

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
        assert refused(run(argv))[0].startswith("there is no new namespace that could be kept")


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
