"""The workload finds directory, limits and descriptors as they would be without pyinit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.places import Place
from helpers.programs import prepared, pyinit, python, reporter
from helpers.running import run
from helpers.seccomp import Held
from helpers.transparency import UNKNOWABLE, status_of, with_and_without


def test_working_directory_umask_and_limits_stay(tmp_path: Path) -> None:
    prepare = f"""
os.chdir({str(tmp_path)!r})
os.umask(0o137)
resource.setrlimit(resource.RLIMIT_NOFILE, (57, 61))
resource.setrlimit(resource.RLIMIT_STACK, (2 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
resource.setrlimit(resource.RLIMIT_CPU, (1000, 2000))
os.nice(3)
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
"""
    show = "pwd; umask; cat /proc/self/limits; nice; grep Cpus_allowed: /proc/self/status"
    ours, bare = with_and_without(prepare, "/bin/sh", "-c", show)
    assert ours.out == bare.out
    assert ours.status == bare.status == 0


def test_a_working_directory_that_was_removed_stays(tmp_path: Path) -> None:
    prepare = f"for call in (os.mkdir, os.chdir, os.rmdir): call({str(tmp_path / 'd')!r})"
    ours, bare = with_and_without(prepare, "/bin/readlink", "/proc/self/cwd")
    assert ours.out == bare.out == f"{tmp_path}/d (deleted)\n".encode()


DESCRIPTORS = """
import json, os, sys
seen = {}
for name in sorted(os.listdir("/proc/self/fd"), key=int):
    try:
        with open(f"/proc/self/fdinfo/{name}") as info:
            state = [line for line in info if line.startswith(("pos", "flags"))]
        seen[name] = [os.readlink(f"/proc/self/fd/{name}"), *state]
    except FileNotFoundError:
        pass  # the listing itself
with open(sys.argv[1], "w") as out:
    json.dump(seen, out)
"""


def descriptors_seen(prepare: str, answer: Path, *, bare: bool) -> dict[str, list[str]]:
    workload = python(DESCRIPTORS, str(answer))
    ended = run(prepared(prepare, workload if bare else pyinit("--", *workload)))
    assert ended.status == 0, ended
    found: dict[str, list[str]] = json.loads(answer.read_text())
    return found


OPENED = """
def put(opened, number):
    high = os.dup2(opened, 100, inheritable=False)
    os.close(opened)
    os.dup2(high, number, inheritable=True)
    os.close(high)
for number in (3, 4, 7, 50):
    put(os.open("/etc/passwd", os.O_RDONLY), number)
os.lseek(7, 11, os.SEEK_SET)
os.set_blocking(50, False)
put(os.open("/dev/null", os.O_WRONLY | os.O_APPEND), 5)
put(os.open("/", os.O_PATH), 9)
"""


@pytest.mark.parametrize("closed", [[], [0], [1], [2], [0, 1], [1, 2], [0, 2], [0, 1, 2]])
def test_open_descriptors_stay_and_closed_ones_stay_closed(
    tmp_path: Path, closed: list[int]
) -> None:
    null = "".join(f"put(os.open('/dev/null', os.O_RDWR), {n});" for n in (0, 1, 2))
    close = "".join(f"os.close({n});" for n in closed)
    prepare = OPENED + null + close
    ours = descriptors_seen(prepare, tmp_path / "ours", bare=False)
    bare = descriptors_seen(prepare, tmp_path / "bare", bare=True)
    assert ours == bare
    assert {"3", "4", "5", "7", "9", "50"} <= set(ours)


def test_pyinit_has_its_name_from_before_the_workloads_start() -> None:
    for _ in range(20):
        ended = run(pyinit("--", "sh", "-c", "read name </proc/$PPID/comm; echo $name"))
        assert ended.out == b"pyinit\n"


def test_pyinit_itself_keeps_no_descriptor_and_sits_in_the_root(
    place: Place, tmp_path: Path
) -> None:
    prepare = OPENED + f"os.chdir({str(tmp_path)!r})\n"
    with place.start("--", *reporter(), prepare=prepare) as running:
        running.line()
        running.send(signal.SIGUSR1)
        running.line()  # by now pyinit is in its loop
        assert sorted(os.listdir(f"/proc/{running.pid}/fd"), key=int) == ["0", "1", "2"]
        assert os.readlink(f"/proc/{running.pid}/cwd") == "/"


@pytest.mark.parametrize("options", [[], ["-v"], ["--as", "tini"]], ids=str)
def test_pyinit_has_let_go_before_the_workload_can_look(
    place: Place, tmp_path: Path, options: list[str]
) -> None:
    """Held in the last step of that, it has a workload that isn't the program yet."""
    require("seccomp")
    reader, writer = os.pipe()
    with Held("chdir") as held:
        prepare = f"os.fchdir(os.open({str(tmp_path)!r}, os.O_RDONLY))\nos.dup2({writer}, 77)\n"
        argv = [*options, "--", "/bin/cat"]
        descriptors = [held.fileno, writer]
        with place.start(*argv, prepare=prepare + held.code, pass_fds=descriptors) as running:
            os.close(writer)
            step = held.catch()
            pid = running.pid
            assert step.pid == pid
            (workload,) = children.of(pid)
            pipe = os.readlink(f"/proc/self/fd/{reader}")
            assert pipe in links(workload)
            assert pipe not in links(pid)
            children.wait_state(workload, "S")
            assert "python" in os.readlink(f"/proc/{workload}/exe")
            held.let_go(step)
            running.write(b"line\n")
            assert running.line() == "line"
            assert pipe in links(workload)
            assert os.readlink(f"/proc/{workload}/cwd") == str(tmp_path)
            assert os.readlink(f"/proc/{pid}/cwd") == "/"
            running.close_input()
            assert running.wait() == 0
    os.close(reader)


UNMOUNT = """
import ctypes, os, sys
os.chdir("/")
os.close(88)
libc = ctypes.CDLL(None, use_errno=True)
sys.exit(libc.umount(os.fsencode(sys.argv[1])) and os.strerror(ctypes.get_errno()))
"""


def links(pid: int) -> list[str]:
    """Return what the descriptors of a process lead to."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.readlink(entry))
    return found


def test_the_workload_can_unmount_what_pyinit_was_started_in(tmp_path: Path) -> None:
    require("pidns")
    prepare = f"""
def mount(*words):
    if ctypes.CDLL(None).mount(*words, 0, None):
        raise SystemExit("no mount")
mount(b"none", {os.fsencode(tmp_path)!r}, b"tmpfs")
os.dup2(os.open({str(tmp_path)!r}, os.O_RDONLY), 88)
os.chdir({str(tmp_path)!r})
"""
    for _ in range(20):
        ended = Place("pid1").run("--", *python(UNMOUNT, str(tmp_path)), prepare=prepare)
        assert (ended.status, ended.errors) == (0, "")


def test_an_end_of_file_arrives_though_pyinit_was_given_the_other_end(place: Place) -> None:
    prepare = """
reading, writing = os.pipe()
os.dup2(reading, 10); os.dup2(writing, 11)
"""
    wait_for_end = """
import posix
posix.close(11)
posix.write(1, b"end" if posix.read(10, 1) == b"" else b"data")
"""
    ended = place.run("--", *python(wait_for_end), prepare=prepare)
    assert (ended.status, ended.out) == (0, b"end")


def test_the_workload_leads_a_process_group_in_the_session_of_pyinit(place: Place) -> None:
    show = """
import posix
print(posix.getpid(), posix.getpgrp(), posix.getsid(0), posix.getsid(posix.getppid()))
"""
    pid, group, session, session_of_pyinit = place.run("--", *python(show)).out.split()
    assert group == pid
    assert session == session_of_pyinit


@pytest.mark.parametrize("number", sorted(UNKNOWABLE))
def test_a_shell_can_ignore_what_pyinit_cannot_know_of(place: Place, number: int) -> None:
    """As the manual says."""
    name = signal.Signals(number).name[3:]
    script = f'trap "" {name}; exec cat /proc/self/status'
    ended = place.run("--", "sh", "-c", script)
    assert int(status_of(ended)["SigIgn"], 16) == 1 << (number - 1)


def test_a_second_pyinit_has_the_program_not_be_a_child_of_process_1(inside: Place) -> None:
    """As the manual says, for programs that take that for their parent's death."""
    code = "import posix; posix.write(1, b'%d' % posix.getppid()); posix.kill(posix.getpid(), 15)"
    ended = inside.run("--", *pyinit("--", *python(code)))
    assert (ended.status, ended.out) == (143, b"2")


def test_nothing_is_printed_and_nothing_is_left(place: Place) -> None:
    ended = place.run("--", "/bin/true")
    assert (ended.status, ended.out, ended.errors) == (0, b"", "")
    assert not children.of(os.getpid())
