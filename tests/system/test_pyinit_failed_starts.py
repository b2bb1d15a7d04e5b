"""What can't be started is explained in a line, with the status that a shell gives."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest
from helpers import cgroups
from helpers.capabilities import require
from helpers.failed_starts import failed, script, with_path
from helpers.places import Place
from helpers.running import Ended
from helpers.seccomp import EXEC_UNSEEN, Held, deny


def test_a_program_that_is_nowhere_is_127_and_named(place: Place) -> None:
    failed(place.run("--", "no-such-program"), 127, "no-such-program", "PATH")


def test_a_path_that_is_not_there_is_127_and_named(place: Place, tmp_path: Path) -> None:
    failed(place.run(f"{tmp_path}/nothing"), 127, f"{tmp_path}/nothing", "ENOENT")
    (tmp_path / "file").touch()
    failed(place.run(f"{tmp_path}/file/below"), 127, f"{tmp_path}/file/below", "ENOTDIR")
    (tmp_path / "dangling").symlink_to("nothing")
    failed(place.run(f"{tmp_path}/dangling"), 127, f"{tmp_path}/dangling")


def test_an_empty_name_is_127(place: Place) -> None:
    failed(place.run("--", ""), 127, "empty")


def test_a_missing_interpreter_is_127_and_named(place: Place, tmp_path: Path) -> None:
    path = script(tmp_path / "lost", "#!/nowhere/interpreter -x\n")
    failed(place.run(path), 127, path, "/nowhere/interpreter")
    path = script(tmp_path / "dos", "#!/bin/sh\r\nexit 0\r\n")
    failed(place.run(path), 127, path, r"\r")


def test_a_missing_interpreter_is_named_for_a_program_in_path_too(tmp_path: Path) -> None:
    script(tmp_path / "lost", "#!/nowhere/interpreter -x\n")
    ended = with_path(str(tmp_path), "lost", directory=tmp_path)
    failed(ended, 127, "lost", "/nowhere/interpreter")


def test_a_missing_loader_is_127_and_named(outside: Place, tmp_path: Path) -> None:
    loader = next(Path("/lib64").glob("ld-linux*"), None)
    if loader is None:
        pytest.skip("no /lib64/ld-linux* to misspell in a copy of /bin/true")
    binary = Path("/bin/true").read_bytes()
    named = str(loader).encode()
    assert named in binary
    copied = tmp_path / "true"
    copied.write_bytes(binary.replace(named, named[:-1] + b"X"))
    copied.chmod(0o755)
    failed(outside.run(str(copied)), 127, str(copied), str(loader)[:-1] + "X")


def test_a_directory_is_126(place: Place, tmp_path: Path) -> None:
    failed(place.run("/etc"), 126, "/etc", "directory")
    failed(place.run(str(tmp_path)), 126, str(tmp_path), "directory")


def test_a_file_that_is_not_executable_is_126(place: Place, tmp_path: Path) -> None:
    path = script(tmp_path / "plain", "#!/bin/sh\n", 0o644)
    failed(place.run(path), 126, path, "EACCES", "chmod +x")


def test_an_interpreter_that_is_not_executable_is_126(place: Place, tmp_path: Path) -> None:
    plain = script(tmp_path / "plain", "", 0o644)
    path = script(tmp_path / "lost", f"#!{plain}\n")
    failed(place.run(path), 126, path, "EACCES")


def test_a_script_without_an_interpreter_line_is_run_by_the_shell(
    place: Place, tmp_path: Path
) -> None:
    path = script(tmp_path / "bare", 'echo "$0" "$@"; exit 21\n')
    ended = place.run(path, "a b", "c")
    assert (ended.status, ended.out) == (21, f"{path} a b c\n".encode())
    empty = script(tmp_path / "empty", "")
    assert place.run(empty).status == 0


def test_a_program_for_another_machine_is_126(place: Place, tmp_path: Path) -> None:
    foreign = bytearray(Path("/bin/true").read_bytes())
    foreign[18:20] = b"\xfe\xfe"  # e_machine, elf(5)
    path = tmp_path / "foreign"
    path.write_bytes(foreign)
    path.chmod(0o755)
    failed(place.run(str(path)), 126, str(path), "ENOEXEC")


def test_a_loop_of_links_is_126(place: Place, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    failed(place.run(f"{tmp_path}/loop"), 126, f"{tmp_path}/loop", "ELOOP")


def test_a_name_that_is_too_long_is_126(place: Place) -> None:
    failed(place.run("/" + "n" * 300), 126, "ENAMETOOLONG")


def test_a_fifo_in_the_place_of_a_program_is_126(place: Place, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o755)
    failed(place.run(f"{tmp_path}/fifo"), 126, "EACCES")


def test_a_program_that_is_being_written_is_126(outside: Place, tmp_path: Path) -> None:
    path = tmp_path / "busy"
    path.write_bytes(Path("/bin/true").read_bytes())
    path.chmod(0o755)
    with path.open("ab"):
        failed(outside.run(str(path)), 126, str(path), "ETXTBSY")


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (errno.E2BIG, 126),
        (errno.ENOMEM, 126),
        (errno.EIO, 126),
        (errno.EMFILE, 126),
        (errno.ENFILE, 126),
        (errno.EPERM, 126),
        (errno.EINVAL, 126),
        (errno.EAGAIN, 126),
        (errno.ELIBBAD, 126),
        (errno.ENOSYS, 126),
        (errno.ENOENT, 127),
    ],
    ids=lambda value: errno.errorcode.get(value, "") if value < 120 else str(value),
)
def test_any_failure_of_the_exec_is_explained(place: Place, reason: int, status: int) -> None:
    require("seccomp")
    ended = place.run("--", "/bin/true", prepare=deny(reason, "execve") + EXEC_UNSEEN)
    failed(ended, status, "/bin/true", errno.errorcode[reason])


@pytest.mark.parametrize("reason", [errno.EAGAIN, errno.ENOMEM, errno.EPERM, errno.ENOSYS])
def test_a_fork_that_fails_is_125_with_the_reason(place: Place, reason: int) -> None:
    require("seccomp")
    forks = deny(reason, "clone", "clone3", "fork", "vfork")
    ended = place.run("--", "/bin/true", prepare=forks)
    failed(ended, 125, "fork", errno.errorcode[reason])


def test_a_limit_on_processes_is_125_with_the_reason(outside: Place) -> None:
    require("other-user")
    limit = """
os.setgroups([]); os.setgid(54321); os.setuid(54321)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
os.chdir("/")
"""
    failed(outside.run("--", "/bin/true", prepare=limit), 125, "fork", "EAGAIN", "ulimit -u")


JOIN = """
with open({procs!r}, "w") as procs:
    procs.write(str(os.getpid()))
"""

ZOMBIES = """
ready, told = os.pipe()
if os.fork() == 0:
    with open("/proc/self/comm", "w") as name:
        name.write("careless")
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    os.write(told, b"x")
    os.close(1)
    signal.pause()
os.read(ready, 1)
"""


def test_a_reached_pids_max_is_told_with_the_zombies_that_hold_it(place: Place) -> None:
    """pyinit, a careless parent and two zombies of its make four; the next fork is one too many."""
    require("pids-cgroup")
    with cgroups.below("pids", pids_max="4") as cgroup:
        join = JOIN.format(procs=str(cgroup / "cgroup.procs"))
        with place.start("--", "/bin/true", prepare=join + ZOMBIES) as running:
            careless = "2" if place.inside else ""
            out = running.out.rest()
            ended = Ended(running.wait(), out, running.errors())
            failed(ended, 125, "fork", "EAGAIN", "pids.max (4)", "2 of the processes are zombies")
            failed(ended, 125, f"careless ({careless}")


def test_an_argument_list_that_is_too_long_is_126(outside: Place) -> None:
    """It was not for pyinit itself: its child's stack limit shrinks right before the exec."""
    require("seccomp")
    with (
        Held("execve") as held,
        outside.start(
            "--", "/bin/true", *["x" * 10_000] * 30, prepare=held.code, pass_fds=[held.fileno]
        ) as running,
    ):
        held.let_go(held.catch())
        workload = held.catch()
        resource.prlimit(workload.pid, resource.RLIMIT_STACK, (1 << 18, 1 << 18))
        held.let_go(workload)
        held.let_go(held.catch())  # what fails is tried once more, by whoever can say why
        out = running.out.rest()
        failed(Ended(running.wait(), out, running.errors()), 126, "/bin/true", "E2BIG")
