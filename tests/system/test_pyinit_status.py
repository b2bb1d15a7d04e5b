"""The exit status is the workload's own story; what can't be started is explained in a line."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import stat
from pathlib import Path

import pytest
from helpers import cgroups
from helpers.capabilities import require
from helpers.places import Place
from helpers.programs import Word, prepared, pyinit
from helpers.running import Ended, Running, run
from helpers.seccomp import EXEC_UNSEEN, Held, deny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BATCH = 16

HARMLESS = {
    signal.SIGCHLD,
    signal.SIGCONT,
    signal.SIGURG,
    signal.SIGWINCH,
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
}
DEADLY = sorted(int(number) for number in signal.valid_signals() - HARMLESS)


def statuses(argvs: list[list[Word]]) -> list[int]:
    """Run many programs, some at a time, and return their exit statuses in order."""
    found: list[int] = []
    for start in range(0, len(argvs), BATCH):
        batch = [Running(argv) for argv in argvs[start : start + BATCH]]
        found += [running.wait() for running in batch]
        for running in reversed(batch):
            running.__exit__(None, None, None)
    return found


def test_every_exit_status_is_passed(place: Place) -> None:
    argvs = [place.argv("--", "/bin/sh", "-c", f"exit {code}") for code in range(256)]
    assert statuses(argvs) == list(range(256))


def test_every_deadly_signal_is_128_and_its_number(place: Place) -> None:
    argvs = [place.argv("--", "/bin/sh", "-c", f"kill -{number} $$") for number in DEADLY]
    assert statuses(argvs) == [128 + number for number in DEADLY]


codes = st.integers(0, 255)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ends=codes, changes=st.dictionaries(codes, st.none() | codes, max_size=4))
def test_exit_codes_are_changed_as_asked(ends: int, changes: dict[int, int | None]) -> None:
    options = [
        word
        for code, new in changes.items()
        for word in ("-e", f"{code}" if new is None else f"{code}:{new}")
    ]
    ended = run(pyinit(*options, "--", "/bin/sh", "-c", f"exit {ends}"))
    assert ended.status == (changes.get(ends, ends) or 0)


@pytest.mark.parametrize(
    ("options", "script", "status"),
    [
        (["-e", "143"], "kill -TERM $$", 0),
        (["--exit-code", "137:7"], "kill -KILL $$", 7),
        (["-e1:2", "-e2:3"], "exit 1", 2),
        (["-e", "5:6", "-e", "5:7"], "exit 5", 7),
        (["-e", "0:9"], "exit 0", 9),
    ],
)
def test_exit_codes_of_signals_are_changed_too(
    place: Place, options: list[str], script: str, status: int
) -> None:
    assert place.run(*options, "--", "/bin/sh", "-c", script).status == status


def test_exit_codes_come_from_the_environment_too(place: Place) -> None:
    environment = dict(os.environ, PYINIT_EXIT_CODE="3 4:5")
    for ends, status in ((3, 0), (4, 5), (6, 6)):
        ended = place.run("--", "/bin/sh", "-c", f"exit {ends}", environment=environment)
        assert ended.status == status


# --- what can't be started -------------------------------------------------------------------


def failed(ended: Ended, status: int, *words: str) -> None:
    """Check that an exec failed with `status`, and one line that holds `words`."""
    assert ended.status == status, ended
    assert ended.out == b""
    assert ended.errors.count("\n") == 1, ended
    assert ended.errors.startswith("pyinit["), ended
    for word in words:
        assert word in ended.errors, ended


def script(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


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
            failed(ended, 125, "fork", "EAGAIN", "pids.max (4)", "2 of them are zombies")
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


# --- PATH ------------------------------------------------------------------------------------


def with_path(path: str | None, *arguments: Word, directory: Path, prepare: str = "") -> Ended:
    change = f"os.chdir({str(directory)!r})\n"
    change += (
        "os.environ.pop('PATH', None)\n" if path is None else f"os.environ['PATH'] = {path!r}\n"
    )
    return run(prepared(change + prepare, pyinit("--", *arguments)))


@pytest.mark.parametrize("path", [":/nowhere", "/nowhere:", "/nowhere::/elsewhere", ""])
def test_an_empty_element_of_path_is_the_working_directory(tmp_path: Path, path: str) -> None:
    script(tmp_path / "here", "#!/bin/sh\nexit 31\n")
    assert with_path(path, "here", directory=tmp_path).status == 31


def test_an_unset_path_is_the_systems(tmp_path: Path) -> None:
    assert with_path(None, "true", directory=tmp_path).status == 0
    script(tmp_path / "here", "#!/bin/sh\nexit 31\n")
    failed(with_path(None, "here", directory=tmp_path), 127, "here", "PATH")


def test_the_first_in_path_that_can_be_executed_is_taken(tmp_path: Path) -> None:
    for name, mode in (("a", None), ("b", 0o644), ("c", 0o755), ("d", 0o755)):
        (tmp_path / name).mkdir()
        if mode is not None:
            script(tmp_path / name / "tool", f"#!/bin/sh\necho {name}\n", mode)
    (tmp_path / "file").touch()
    path = ":".join(str(tmp_path / name) for name in ("file", "nothing", "a", "b", "c", "d"))
    assert with_path(path, "tool", directory=tmp_path).out == b"c\n"
    path = f"{tmp_path}/a:{tmp_path}/b:{tmp_path}/nothing"
    failed(with_path(path, "tool", directory=tmp_path), 126, "tool", "EACCES")


DROP_READ_RIGHTS = """
libc = ctypes.CDLL(None)
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: even root keeps to modes
    libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
"""


def test_a_directory_in_path_that_cannot_be_searched_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "open").mkdir()
    script(tmp_path / "closed" / "tool", "#!/bin/sh\n")
    script(tmp_path / "open" / "tool", "#!/bin/sh\nexit 33\n")
    (tmp_path / "closed").chmod(0)
    try:
        path = f"{tmp_path}/closed:{tmp_path}/open"
        ended = with_path(path, "tool", directory=tmp_path, prepare=DROP_READ_RIGHTS)
        assert ended.status == 33
        # Nothing was found, whatever may be in there.
        path = f"{tmp_path}:{tmp_path}/closed:/nowhere"
        ended = with_path(path, "tool", directory=tmp_path, prepare=DROP_READ_RIGHTS)
        failed(ended, 127, "tool", "not found in PATH", f"{tmp_path}/closed")
        # With a slash, it's the one that was meant.
        ended = with_path(path, "closed/tool", directory=tmp_path, prepare=DROP_READ_RIGHTS)
        failed(ended, 126, "closed/tool", "EACCES")
        # What is found further on, and can't be executed, is what is told of.
        (tmp_path / "open" / "tool").chmod(0o644)
        path = f"{tmp_path}/closed:{tmp_path}/open"
        ended = with_path(path, "tool", directory=tmp_path, prepare=DROP_READ_RIGHTS)
        failed(ended, 126, f"{tmp_path}/open/tool", "EACCES", "chmod +x")
    finally:
        (tmp_path / "closed").chmod(stat.S_IRWXU)


def test_a_name_with_a_slash_is_not_looked_for_in_path(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    script(tmp_path / "sub" / "tool", "#!/bin/sh\nexit 34\n")
    assert with_path("/nowhere", "sub/tool", directory=tmp_path).status == 34
    assert with_path(str(tmp_path), "sub/other", directory=tmp_path).status == 127
    assert with_path(str(tmp_path), "./tool", directory=tmp_path).status == 127


@pytest.mark.parametrize("part", [b"a", b"\xff", b"\n", "\U0001f600".encode()])
@pytest.mark.parametrize("before", [b"/", b"echo ", b"A="])
def test_the_reason_stands_behind_any_long_name(place: Place, before: bytes, part: bytes) -> None:
    ended = place.run("--", before + part * 5000)
    assert ended.status == 126
    (line,) = ended.errors.splitlines()
    assert len(line.encode()) < select.PIPE_BUF
    assert "File name too long (ENAMETOOLONG)" in line


@settings(max_examples=15, deadline=None)
@given(name=st.binary(min_size=1, max_size=30).filter(lambda raw: b"\0" not in raw))
def test_any_name_is_told_in_one_whole_line(name: bytes) -> None:
    ended = run(pyinit("--", b"/nowhere/" + name))
    assert ended.status == 127
    assert ended.errors.count("\n") == 1
    assert ended.errors.endswith("\n")
    assert ended.errors.rstrip("\n").isprintable()
