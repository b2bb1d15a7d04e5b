"""The workload sees what it would have seen without pyinit in front of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.places import Place
from helpers.programs import (
    PLACE,
    RESERVED,
    Word,
    prepared,
    pyinit,
    python,
    reporter,
)
from helpers.running import Ended, run
from helpers.seccomp import Held, block_raw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

RARE = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

CATCHABLE = sorted(
    int(number) for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
)
UNKNOWABLE = {signal.SIGPIPE, signal.SIGXFSZ}
"""An interpreter ignores these before any code of ours runs, so what they were is lost."""

INHERITED = (
    "Umask", "Uid", "Gid", "Groups", "SigPnd", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm",
    "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Cpus_allowed",
)  # fmt: skip


def status_of(ended: Ended) -> dict[str, str]:
    """Return the lines of /proc/PID/status that an exec leaves as they are."""
    assert ended.status == 0, ended
    lines = (line.partition(":") for line in ended.out.decode().splitlines())
    fields = {key: value.strip() for key, _, value in lines if key in INHERITED}
    fields["SigIgn"] = f"{int(fields['SigIgn'], 16) & ~RESERVED:016x}"
    return fields


def with_and_without(prepare: str, *workload: Word) -> tuple[Ended, Ended]:
    """Run a workload prepared alike, once below pyinit and once bare."""
    return (
        run(prepared(prepare, pyinit("--", *workload))),
        run(prepared(prepare, workload)),
    )


# --- signals ---------------------------------------------------------------------------------


def signal_state(mask: set[int], ignored: set[int]) -> str:
    return (
        f"for number in {sorted(map(int, ignored))}: signal.signal(number, signal.SIG_IGN)\n"
        f"signal.pthread_sigmask(signal.SIG_SETMASK, {sorted(map(int, mask))})\n"
    )


@RARE
@given(
    mask=st.sets(st.sampled_from(CATCHABLE)),
    ignored=st.sets(st.sampled_from([n for n in CATCHABLE if n not in UNKNOWABLE])),
)
def test_mask_and_ignored_signals_are_those_of_the_start(mask: set[int], ignored: set[int]) -> None:
    ours, bare = with_and_without(signal_state(mask, ignored), "/bin/cat", "/proc/self/status")
    assert status_of(ours) == status_of(bare)


@pytest.mark.parametrize(
    ("mask", "ignored"),
    [(set(), set()), (set(CATCHABLE), set()), (set(), set(CATCHABLE) - UNKNOWABLE)],
    ids=["plain", "all blocked", "all ignored"],
)
def test_status_is_that_of_a_bare_start_also_for_pid_1(
    inside: Place, mask: set[int], ignored: set[int]
) -> None:
    prepare = signal_state(mask, ignored)
    ours = inside.run("--", "/bin/cat", "/proc/self/status", prepare=prepare)
    bare = inside.run_bare("/bin/cat", "/proc/self/status", prepare=prepare)
    assert status_of(ours) == status_of(bare)


def test_signals_that_the_interpreter_ignores_are_back_at_their_default(place: Place) -> None:
    ended = place.run("--", "/bin/cat", "/proc/self/status")
    assert status_of(ended)["SigIgn"] == "0" * 16
    assert status_of(ended)["SigBlk"] == "0" * 16


def test_what_the_c_library_lets_nobody_block_is_no_matter(place: Place) -> None:
    """A raw system call, which some runtimes use, blocks it nevertheless."""
    everything = sum(1 << (number - 1) for number in CATCHABLE)
    prepare = block_raw(everything | RESERVED)
    ended = place.run("--", "/bin/cat", "/proc/self/status", prepare=prepare)
    assert int(status_of(ended)["SigBlk"], 16) & ~RESERVED == everything
    assert ended.errors == ""


@RARE
@given(mask=st.sets(st.sampled_from(CATCHABLE)), ignored=st.sets(st.sampled_from(CATCHABLE)))
def test_a_launchers_handover_is_given_to_the_workload(mask: set[int], ignored: set[int]) -> None:
    def bits(numbers: set[int]) -> str:
        return f"{sum(1 << (number - 1) for number in numbers):016x}"

    handover = f"mask={bits(mask)},ignored={bits(ignored)},foreground=0"
    ours = run(
        prepared(
            signal_state(set(CATCHABLE), set()),
            pyinit(f"--handover={handover}", "--", "/bin/cat", "/proc/self/status"),
        )
    )
    assert status_of(ours)["SigBlk"] == bits(mask)
    assert status_of(ours)["SigIgn"] == bits(ignored)


# --- argv and environment --------------------------------------------------------------------


words = st.binary(max_size=20).map(lambda raw: raw.replace(b"\0", b""))


COMMAND_LINE = """
import posix
with open("/proc/self/cmdline", "rb") as line:
    posix.write(1, line.read())
"""


@RARE
@given(arguments=st.lists(words, max_size=8))
def test_arguments_are_passed_byte_for_byte(arguments: list[bytes]) -> None:
    workload = python(COMMAND_LINE, *arguments)
    ended = run(pyinit("--", *workload))
    assert ended.out == run(workload).out
    assert ended.out.split(b"\0")[5:-1] == arguments


def test_the_first_argument_is_the_name_that_was_given(place: Place) -> None:
    ended = place.run("cat", "/proc/self/cmdline")
    assert ended.out == b"cat\0/proc/self/cmdline\0"


@pytest.mark.parametrize("arguments", [["--help"], ["-g"], ["--", "-x"], ["--handover=mask=0"]])
def test_options_after_the_program_are_the_programs(outside: Place, arguments: list[str]) -> None:
    for separator in ([], ["--"]):
        ended = outside.run(*separator, "sh", "-c", 'echo "$@"', "sh", *arguments)
        assert ended.out == (" ".join(arguments) + "\n").encode()


EXEC_WITH = """
entries = {entries!r}
vector = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
names = (ctypes.c_char_p * (len(entries) + 1))(*entries, None)
ctypes.CDLL(None).execve(argv[0], vector, names)
"""


def environment_seen(entries: list[bytes], *, bare: bool = False) -> list[bytes]:
    """Return the environment of a workload whose starter exec'ed it with just these entries."""
    workload: list[Word] = ["/bin/cat", "/proc/self/environ"]
    argv = workload if bare else pyinit("--", *workload)
    ended = run(prepared(EXEC_WITH.format(entries=entries), argv))
    assert ended.status == 0, ended
    return ended.out.split(b"\0")[:-1] if ended.out else []


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [b"PATH=/bin", b"HOME=/"],
        [b"A=1", b"A=2", b"A=1"],
        [b"no equals sign", b"=empty name", b"", b"=", b"X="],
        [b"V=\xff\xfe\x80", b"\xe4\xf6=x", b"N=a\nb\tc\x01"],
        [b"LC_CTYPE=C"],
        [b"LC_CTYPE=POSIX", b"LANG=C"],
        [b"LC_CTYPE=C.UTF-8"],
        [b"LC_CTYPE="],
        [b"LC_CTYPE=C", b"X=1", b"LC_CTYPE=C.UTF-8"],
        [b"X=1", b"LC_CTYPE=de_DE.ISO-8859-1"],
        [b"LC_CTYPE"],
        [b"LANG=C"],
        [b"LANG=nowhere_NO.nothing", b"V=\xff"],
        [b"LC_ALL=C", b"V=\xff"],
        [b"LC_ALL=POSIX", b"LC_CTYPE=C"],
        [b"LC_ALL=C.UTF-8"],
        [b"LC_ALL="],
        [b"PYTHONCOERCECLOCALE=0"],
        [b"PYTHONCOERCECLOCALE=warn", b"PYTHONUTF8=1", b"PYTHONPATH=/nowhere"],
        [b"PYTHONHOME=/nowhere", b"PYTHONINSPECT=1", b"PYTHONVERBOSE=1", b"PYTHONMALLOC=debug"],
        [b"PYINIT_VERBOSE=0", b"PYINIT_GROUP=1", b"PYINIT_SOMETHING=else"],
        [b"LISTEN_FDS=1", b"LISTEN_FDNAMES=x"],
        [b"LISTEN_PID=4194304", b"LISTEN_FDS=1"],
        [b"LISTEN_PID=", b"LISTEN_PID=x", b"LISTEN_PID"],
        [b"BIG=" + b"x" * 100_000],
        [b"N%d=%d" % (n, n) for n in range(2000)],
    ],
    ids=lambda entries: repr(b" ".join(entries)[:40])[2:-1] or "empty",
)
def test_the_environment_is_passed_byte_for_byte(entries: list[bytes]) -> None:
    assert environment_seen(entries) == entries


names = st.one_of(
    st.sampled_from([b"LC_CTYPE", b"LANG", b"LC_ALL", b"PATH", b"A", b"LISTEN_PID", b""]),
    st.binary(min_size=1, max_size=6).map(lambda raw: raw.replace(b"\0", b"")),
)
values = st.one_of(st.sampled_from([b"C", b"C.UTF-8", b"POSIX", b"7"]), words)


@RARE
@given(
    entries=st.lists(
        st.one_of(
            st.tuples(names, values).map(b"=".join),
            names,
        ),
        max_size=8,
    )
)
def test_any_environment_is_passed_byte_for_byte(entries: list[bytes]) -> None:
    assert environment_seen(entries) == environment_seen(entries, bare=True)


@pytest.mark.parametrize(
    "entries",
    [
        [b"LISTEN_PID=%d", b"LISTEN_FDS=1"],
        [b"A=1", b"LISTEN_PID=%d", b"B=\xff", b"B=2"],
    ],
)
def test_listen_pid_names_the_workload_where_it_named_pyinit(
    place: Place, entries: list[bytes]
) -> None:
    prepare = (
        f"entries = [e % os.getpid() if b'%d' in e else e for e in {entries!r}]\n"
        + EXEC_WITH.partition("\n")[2].partition("\n")[2]
    )
    ended = place.run("--", "/bin/cat", "/proc/self/environ", "/proc/self/stat", prepare=prepare)
    *environment, status = ended.out.split(b"\0")
    pid = int(status.split()[0])
    assert environment == [entry % pid if b"%d" in entry else entry for entry in entries]


# --- directory, umask, limits, descriptors ---------------------------------------------------


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


# --- other ways to start it ------------------------------------------------------------------


@pytest.fixture(params=["-m", "copied directory", "without UTF-8 mode"])
def other_start(request: pytest.FixtureRequest, tmp_path: Path) -> list[Word]:
    """Return the argv that starts pyinit in a way that is not the lean one."""
    package = Path(PLACE, "pyinit")
    if request.param == "-m":
        return ["/usr/bin/env", f"PYTHONPATH={PLACE}", sys.executable, "-m", "pyinit"]
    if request.param == "without UTF-8 mode":
        return [word for word in pyinit() if word not in ("-X", "utf8")]
    shutil.copytree(package, tmp_path / "pyinit", ignore=shutil.ignore_patterns("__pycache__"))
    return [sys.executable, "-I", "-S", str(tmp_path / "pyinit" / "__main__.py")]


def test_other_starts_keep_signal_state_and_arguments(other_start: list[Word]) -> None:
    prepare = signal_state({signal.SIGUSR1, signal.SIGRTMIN}, {signal.SIGHUP, signal.SIGCHLD})
    for argument in ("--handover=mask=0", "--handover"):
        workload: list[Word] = ["/bin/sh", "-c", "cat /proc/self/status", argument]
        ours = run(prepared(prepare, ["/usr/bin/env", *other_start, "--", *workload]))
        bare = run(prepared(prepare, workload))
        assert status_of(ours) == status_of(bare)


def test_other_starts_keep_the_environment(other_start: list[Word]) -> None:
    entries = [b"LANG=C", b"A=1", b"A=\xff", b"no equals sign", b"LISTEN_PID=1", b"PYTHONUTF8=0"]
    code = EXEC_WITH.format(entries=entries)
    workload: list[Word] = ["/bin/cat", "/proc/self/environ"]
    if other_start[0] == "/usr/bin/env":  # here it's the start itself that needs a variable
        entries.append(str(other_start[1]).encode())
        code = EXEC_WITH.format(entries=entries)
        other_start = other_start[2:]
    ended = run(prepared(code, [*other_start, "--", *workload]))
    assert ended.out.split(b"\0")[:-1] == entries


def test_other_starts_end_up_in_the_same_lean_interpreter(other_start: list[Word]) -> None:
    require("strace")
    strace: list[Word] = ["strace", "-f", "-qq", "-s", "9999", "-e", "trace=execve"]
    ended = run([*strace, *other_start, "--", "/bin/true"])
    calls = [line for line in ended.errors.splitlines() if line.endswith(" = 0")]
    assert ended.status == 0
    assert '"-I", "-S"' in calls[-2]
    assert '["/bin/true"]' in calls[-1]
