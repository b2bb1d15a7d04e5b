"""It never falls over: only fork, exec and wait are indispensable."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import shutil
import signal
import sys
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.events import Events
from helpers.places import Place
from helpers.programs import (
    PLACE,
    Word,
    as_pid1,
    pyinit,
    pyinit_at,
    pyinit_without,
    python,
    reporter,
)
from helpers.running import Running, run
from helpers.seccomp import Call, deny
from helpers.terminal import Terminal

LAST = int(signal.SIGRTMAX)

ORPHANS = """
import posix, sys
# Leaves ten orphans, then ends when the test lets it.
for _ in range(10):
    middle = posix.fork()
    if middle == 0:
        posix.fork()
        posix._exit(0)
    posix.waitpid(middle, 0)
posix.write(1, b"made\\n")
posix.read(0, 1)
posix._exit(42)
"""


def exercise(place: Place, prepare: str, *, reaps: bool = True, says: str = "") -> None:
    """Go through what must work anywhere: status, signals, orphans, exec failures, descriptors.

    `says` are words that its stderr may hold, where something is missing that a user must know.
    """
    # Signals are forwarded.
    with place.start("--", *reporter(), prepare=prepare) as running:
        running.line()
        for number in (signal.SIGTERM, signal.SIGRTMIN + 5, signal.SIGUSR1):
            running.send(number)
            assert running.line().split()[1] == str(int(number))
        running.send(signal.SIGKILL)
    # Orphans are reaped, and the status is the workload's.
    with place.start("--", *python(ORPHANS), prepare=prepare) as running:
        assert running.line() == "made"
        if reaps:
            children.wait_until(lambda: len(children.of(running.pid)) == 1, "the reaping")
        running.close_input()
        assert running.wait() == 42
        assert all(says and says in line for line in running.errors().splitlines())
    # A stopped workload is no end.
    with place.start("sh", "-c", "kill -STOP $$; exit 9", prepare=prepare) as running:
        children.wait_until(
            lambda: any(children.state(pid) == "T" for pid in children.of(running.pid)), "the stop"
        )
        running.send(signal.SIGCONT)
        assert running.wait() == 9
    # What can't be started is explained.
    ended = place.run("--", "no-such-program", prepare=prepare)
    assert ended.status == 127
    assert "no-such-program" in ended.errors
    # No descriptor is held on to.
    own_pipe = "reading, writing = os.pipe(); os.dup2(reading, 10); os.dup2(writing, 11)\n"
    wait_for_end = (
        "import posix; posix.close(11); posix._exit(7 if posix.read(10, 1) == b'' else 1)"
    )
    ended = place.run("--", *python(wait_for_end), prepare=own_pipe + prepare)
    assert ended.status == 7


@pytest.mark.parametrize("place_of_it", [11, 8191, 8192, 15000])
@pytest.mark.parametrize("denied", [False, True], ids=["", "close_range denied"])
def test_no_descriptor_is_held_however_high(place: Place, place_of_it: int, denied: bool) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard <= place_of_it:
        pytest.skip(f"at most {hard} descriptors")
    prepare = f"""
resource.setrlimit(resource.RLIMIT_NOFILE, ({hard}, {hard}))
reading, writing = os.pipe()
os.dup2(reading, 10)
os.dup2(writing, {place_of_it})
"""
    if denied:
        require("seccomp")
        prepare += deny(errno.EPERM, "close_range")
    code = f"import posix; posix.close({place_of_it}); posix._exit(7 + len(posix.read(10, 1)))"
    assert place.run("--", *python(code), prepare=prepare).status == 7


@pytest.mark.parametrize("missing", ["ENOSYS", "EPERM"])
def test_few_calls_take_the_place_of_one_that_is_missing(missing: str) -> None:
    """Of as many descriptors as there could be, to close each would take a third of a second."""
    require("strace")
    strace = [
        "strace",
        "-f",
        "-qq",
        "-e",
        f"inject=close_range:error={missing}",
        "-e",
        "trace=close,close_range",
    ]
    ended = run([*strace, *pyinit("--", "/bin/true")])
    assert ended.status == 0
    assert 100 < ended.errors.count("close(") < 20_000


# --- system calls that are denied ------------------------------------------------------------

DISPENSABLE = [
    "prctl",
    "setpgid",
    "setsid",
    "ioctl",
    "signalfd4",
    "close_range",
    "pidfd_open",
    "pidfd_send_signal",
    "chdir",
    "pipe2",
    "poll",
]


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
@pytest.mark.parametrize("call", DISPENSABLE)
def test_a_denied_system_call_is_survived(place: Place, call: str, reason: int) -> None:
    require("seccomp")
    adopts = place.inside or call != "prctl"
    says = {"prctl": "" if adopts else "prctl", "chdir": "working directory"}.get(call, "")
    exercise(place, deny(reason, call), reaps=adopts, says=says)


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_all_of_them_denied_at_once_are_survived(place: Place, reason: int) -> None:
    require("seccomp")
    calls = deny(reason, *DISPENSABLE, "signalfd", "getpgid", "getsid", "fchdir")
    exercise(place, calls, reaps=place.inside, says="pyinit[")


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_events_are_told_with_all_of_them_denied(place: Place, reason: int) -> None:
    """The workload doesn't get their descriptor, for all that."""
    require("seccomp")
    calls = deny(reason, *DISPENSABLE, "signalfd", "getpgid", "getsid", "fchdir")
    with Events() as events:
        script = f"test ! -e /proc/self/fd/{events.fileno}; exit $?"
        argv = [*events.options, "--", "/bin/sh", "-c", script]
        ended = place.run(*argv, prepare=calls, pass_fds=[events.fileno])
        assert ended.status == 0
        assert [event["event"] for event in events.all()] == ["started", "reaped", "exited"]


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_where_signals_cannot_be_sent_the_status_is_still_told(place: Place, reason: int) -> None:
    require("seccomp")
    prepare = deny(reason, "kill")
    with place.start("-g", "--kill-after", "1000", *python(ORPHANS), prepare=prepare) as running:
        assert running.line() == "made"
        running.send(signal.SIGTERM)
        running.send(signal.SIGUSR1)
        running.close_input()
        assert running.wait() == 42


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def test_where_signals_cannot_be_waited_for_the_status_is_still_told(
    place: Place, reason: int
) -> None:
    require("seccomp")
    with place.start(*python(ORPHANS), prepare=deny(reason, "rt_sigtimedwait")) as running:
        assert running.line() == "made"
        running.close_input()
        assert running.wait() == 42
        assert running.errors().count("\n") < 20


LATE = """
import posix
# The workload ends when the test lets it, and the orphan when it lets that.
if posix.fork() == 0:
    posix.read(3, 1)
    posix.write(1, b"last\\n")
    posix._exit(0)
posix.read(0, 1)
posix._exit(42)
"""


def test_where_signals_cannot_be_waited_for_wait_and_exit_code_still_count(place: Place) -> None:
    require("seccomp")
    reader, writer = os.pipe()
    prepare = f"os.dup2(1, 2); os.dup2({reader}, 3)\n" + deny(errno.EPERM, "rt_sigtimedwait")
    argv = ["--wait", "-e", "42:43", "--", *python(LATE)]
    with place.start(*argv, prepare=prepare, pass_fds=[reader]) as running:
        os.close(reader)
        while "only reap" not in running.line():
            continue
        running.close_input()
        children.wait_until(lambda: len(children.of(running.pid)) == 1, "the workload's reaping")
        os.close(writer)
        assert running.line() == "last"
        assert running.wait() == 43


def test_where_no_disposition_can_be_set_nothing_is_started(place: Place) -> None:
    """The workload would ignore signals that it isn't told of."""
    require("seccomp")
    ended = place.run("--", "/bin/echo", "ran", prepare=deny(errno.EPERM, "rt_sigaction"))
    assert (ended.status, ended.out) == (125, b"")
    assert "no disposition of a signal can be set: Operation not permitted (EPERM)" in ended.errors
    assert ended.errors.count("\n") == 1


def test_a_kernel_that_hides_the_dispositions_nobody_can_set_is_enough(place: Place) -> None:
    require("seccomp")
    fixed = [Call("rt_sigaction", 0, number) for number in (signal.SIGKILL, signal.SIGSTOP)]
    ended = place.run("--", "/bin/echo", "ran", prepare=deny(errno.EINVAL, *fixed))
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")


def test_a_setpgid_that_is_denied_makes_group_the_workload(place: Place) -> None:
    require("seccomp")
    with place.start("-g", "--", *reporter(), prepare=deny(errno.EPERM, "setpgid")) as running:
        running.line()
        for number in (signal.SIGTERM, LAST):
            running.send(number)
            assert running.line().split()[1] == str(int(number))


def test_parent_death_that_cannot_be_had_is_said_at_the_start(place: Place) -> None:
    require("seccomp")
    ended = place.run(
        "-p", "TERM", "--", "/bin/echo", "x", prepare=deny(errno.EPERM, Call("prctl", 0, 1))
    )
    assert (ended.status, ended.out) == (125, b"")
    assert "prctl" in ended.errors
    assert "EPERM" in ended.errors
    assert "--parent-death" in ended.errors or "-p" in ended.errors


# --- files that are not there ----------------------------------------------------------------

MOUNT = """
libc = ctypes.CDLL(None, use_errno=True)
def mount(source, target, kind, flags):
    if libc.mount(source, target, kind, flags, None):
        raise OSError(ctypes.get_errno(), target)
"""
HIDE = MOUNT + "mount(b'none', {target!r}, b'tmpfs', 0)\n"
READ_ONLY = (
    MOUNT
    + """
kept = os.statvfs("/").f_flag & 0xf  # locked mount flags have to stay, mount_namespaces(7)
mount(None, b"/", None, 32 | 4096 | 1 | kept)  # MS_REMOUNT | MS_BIND | MS_RDONLY
"""
)
NO_PROC = HIDE.format(target=b"/proc")
NO_DEV = HIDE.format(target=b"/dev")


class OwnMounts(Place):
    """A child like any other, but in a mount namespace that `prepare` may change."""

    def __init__(self) -> None:
        super().__init__("child")
        require("pidns")

    def _around(self, argv: list[Word], prepare: str) -> list[Word]:
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        return ["unshare", *user, "--mount", "--", *super()._around(argv, prepare)]


@pytest.fixture(params=["pid1", "child"])
def own_mounts(request: pytest.FixtureRequest) -> Place:
    return OwnMounts() if request.param == "child" else Place("pid1")


@pytest.mark.parametrize(
    "prepare", [NO_PROC, READ_ONLY, NO_DEV, NO_DEV + NO_PROC + READ_ONLY],
    ids=["no proc", "read-only", "no dev", "none of them"],
)  # fmt: skip
def test_missing_files_are_survived(own_mounts: Place, prepare: str) -> None:
    exercise(own_mounts, prepare)


@pytest.mark.parametrize("options", [["-w"], ["-v"], ["--wait"], ["--drain", "1000"]])
def test_without_proc_every_option_works_as_well_as_it_can(
    own_mounts: Place, options: list[str]
) -> None:
    with own_mounts.start(*options, *python(ORPHANS), prepare=NO_PROC) as running:
        assert running.line() == "made"
        running.close_input()
        assert running.wait() == 42


def test_without_proc_a_terminal_that_nobody_reads_never_holds_us(own_mounts: Place) -> None:
    """It can't be opened anew then."""
    with Terminal() as terminal:
        terminal.fill(300)
        argv = ["-v", "--", *python(ORPHANS)]
        with own_mounts.start(*argv, prepare=NO_PROC, stderr=terminal.slave) as running:
            assert running.line() == "made"
            running.close_input()
            assert running.wait() == 42


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [b"A=1", b"A=2", b"no equals sign", b"=x"],
        [b"LANG=C", b"A=\xff"],
        [b"LC_ALL=C", b"A=\xff"],
        [b"LC_CTYPE=C.UTF-8", b"A=1"],
        [b"LC_ALL=C.UTF-8", b"LC_CTYPE=C.UTF-8"],
        [b"LANG=C.UTF-8", b"LC_CTYPE=C.UTF-8"],
    ],
)
def test_without_proc_the_environment_is_still_the_same(
    own_mounts: Place, entries: list[bytes]
) -> None:
    """But for an LC_CTYPE that the interpreter itself has replaced, which leaves no trace."""
    exec_with = f"""
entries = {entries!r}
vector = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
names = (ctypes.c_char_p * (len(entries) + 1))(*entries, None)
ctypes.CDLL(None).execve(argv[0], vector, names)
"""
    ended = own_mounts.run("/usr/bin/env", "-0", prepare=NO_PROC + exec_with)
    assert ended.status == 0, ended
    assert ended.out.split(b"\0")[:-1] == entries


def test_its_own_files_may_vanish_once_it_runs(place: Place, tmp_path: Path) -> None:
    """The workload may change the root, or delete us: what is needed later is there already."""
    for options in ([], ["-w"], ["-v", "--drain", "1000"], ["--kill-after", "0.01", "--wait"]):
        shutil.copytree(Path(PLACE, "pyinit"), tmp_path / "pyinit")
        argv = pyinit_at(str(tmp_path), *options, "--", *python(ORPHANS))
        with Running(as_pid1(argv) if place.inside else argv, inside=place.inside) as running:
            assert running.line() == "made"
            shutil.rmtree(tmp_path / "pyinit")
            pid = running.pid
            children.wait_until(lambda pid=pid: len(children.of(pid)) == 1, "the reaping")
            (workload,) = children.of(pid)
            os.kill(pid, signal.SIGTSTP)
            children.wait_state(workload, "T")
            os.kill(pid, signal.SIGCONT)
            children.wait_state(workload, "S")
            if "--kill-after" in options:
                os.kill(pid, signal.SIGTERM)
                assert running.wait() in (137, 143)
            else:
                running.close_input()
                assert running.wait() == 42
            assert "rror" not in running.errors()


LIMITS = """
import os, posix, resource
# Leaves PID 1 no descriptor to open a file with, and an orphan; then both end.
resource.prlimit(posix.getppid(), resource.RLIMIT_NOFILE, (0, 0))
if posix.fork() == 0:
    posix._exit(0)
posix._exit(42)
"""


@pytest.mark.parametrize("options", [["-w"], ["-v"], ["-w", "--wait"], ["-w", "--drain", "1000"]])
def test_a_workload_that_takes_its_descriptors_away_is_survived(
    place: Place, options: list[str]
) -> None:
    ended = place.run(*options, "--", sys.executable, "-c", LIMITS)
    assert ended.status == 42
    assert "unexpected" not in ended.errors


@pytest.mark.parametrize("options", [[], ["--wait"], ["--drain", "1000"]])
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_fails_around_a_reaping_hides_no_death(
    place: Place, options: list[str], when: str
) -> None:
    """The SIGCHLD was taken already, and another need not come."""
    broken = f"""
import posix
real = posix.waitpid
failed = []
def waitpid(pid, flags):
    if pid != -1 or failed:
        return real(pid, flags)
    found = (0, 0)
    if {when == "after"}:
        found = real(pid, flags)
        if found[0] == 0:
            return found
    elif not posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT):
        return real(pid, flags)
    failed.append(1)
    raise MemoryError
posix.waitpid = waitpid
"""
    argv: list[Word] = [
        str(word).replace("import pyinit.__main__", f"exec({broken!r});import pyinit.__main__")
        for word in pyinit(*options, "--", "/bin/sh", "-c", "exit 42")
    ]
    ended = run(as_pid1(argv) if place.inside else argv, inside=place.inside)
    assert ended.status == (42 if when == "before" else 125)
    assert ended.errors.count("unexpected, going on: MemoryError") == 1


def test_a_status_that_is_lost_is_no_success(place: Place) -> None:
    """Where something goes wrong between the reaping and the note of it, nobody saw a success."""
    broken = "import pyinit.machine; pyinit.machine.Machine.ended = None; "
    argv: list[Word] = [
        str(word).replace("import pyinit.__main__", f"{broken}import pyinit.__main__")
        for word in pyinit("--", "/bin/true")
    ]
    ended = run(as_pid1(argv) if place.inside else argv, inside=place.inside)
    assert ended.status == 125
    assert "unexpected, going on: TypeError" in ended.errors


class SmallPython(Place):
    """An interpreter without the modules that a small distribution of it leaves out."""

    def argv(self, *arguments: Word, prepare: str = "") -> list[Word]:
        return self._around(pyinit_without(("_ctypes", "resource", "select"), *arguments), prepare)


@pytest.mark.parametrize("where", ["pid1", "child"])
def test_a_small_python_is_enough(where: str) -> None:
    place = SmallPython(where)
    exercise(place, "", reaps=place.inside, says="" if place.inside else "without ctypes")
    with Events() as events:
        with place.start(
            *events.options, "--", "/bin/sh", "-c", "exit 3", pass_fds=[events.fileno]
        ) as running:
            assert running.wait() == 3
        _, reaped, exited = events.all()
    assert (reaped["name"], reaped["status"]) == ("sh", 3)
    assert reaped["user_seconds"] is None
    assert exited["status"] == 3
    ended = place.run("-p", "TERM", "--", "/bin/echo", "x")
    assert (ended.status, ended.out) == (125, b"")
    assert "ctypes" in ended.errors


# --- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [4, 5, 6, 8])
def test_few_descriptors_are_survived(
    place: Place, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no-directory").touch()  # what's wrong with an entry of PATH takes the words for it
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{tmp_path}/no-directory")
    prepare = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
    ended = place.run("--", "/bin/sh", "-c", "exit 13", prepare=prepare)
    assert (ended.status, ended.errors) == (13, "")
    ended = place.run("--", "no-such-program", prepare=prepare)
    assert ended.status == 127
    assert ended.errors.count("\n") == 1
    assert "no-such-program" in ended.errors


def test_a_file_that_may_not_grow_is_survived(place: Place) -> None:
    """Where stderr is a file at its limit, SIGXFSZ comes of our own writing; it's not forwarded."""
    prepare = "resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))\n"
    with place.start("-v", "--", *reporter(), prepare=prepare) as running:
        running.line()
        running.send(signal.SIGUSR1)
        running.send(LAST)
        assert [line.split()[1] for line in running.lines(2)] == ["10", str(LAST)]
        assert running.errors() == ""


def test_megabytes_of_arguments_are_passed(place: Place) -> None:
    words = [bytes([65 + number]) * 100_000 for number in range(15)]
    digest = """
import hashlib, os, sys
print(hashlib.sha256(b"\\0".join(map(os.fsencode, sys.argv[1:]))).hexdigest())
"""
    ended = place.run("--", *python(digest, *words))
    assert ended.out.decode().strip() == hashlib.sha256(b"\0".join(words)).hexdigest()


def test_without_an_environment_it_runs(place: Place) -> None:
    argv = place.argv("--", "/bin/sh", "-c", "exit 14")
    assert run(["/usr/bin/env", "-i", f"PATH={os.environ['PATH']}", *argv]).status == 14
    empty = "os.environ.clear()\n"
    assert place.run("--", "true", prepare=empty).status == 0


def test_closed_streams_are_survived(place: Place) -> None:
    for closed in ([0], [1], [2], [0, 1], [1, 2], [0, 2], [0, 1, 2]):
        prepare = "".join(f"os.close({fd})\n" for fd in closed)
        assert place.run("-v", "--", "/bin/sh", "-c", "exit 15", prepare=prepare).status == 15
        assert place.run("--", "no-such-program", prepare=prepare).status == 127
        assert place.run("--nonsense", prepare=prepare).status == 125


def test_a_stderr_that_is_no_file_for_writing_is_survived(place: Place) -> None:
    prepare = "os.dup2(os.open('/dev/null', os.O_RDONLY), 2)\n"
    assert place.run("-v", "--", "/bin/sh", "-c", "exit 15", prepare=prepare).status == 15
    assert place.run("--", "no-such-program", prepare=prepare).status == 127


def test_events_go_on_though_stderr_is_gone(place: Place) -> None:
    with Events() as events:
        prepare = "os.close(2)\n"
        with place.start(
            *events.options, "-v", "--", "/bin/true", prepare=prepare, pass_fds=[events.fileno]
        ) as running:
            assert running.wait() == 0
        assert [event["event"] for event in events.all()] == ["started", "reaped", "exited"]
