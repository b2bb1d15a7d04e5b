"""`pyspawn` with real namespaces: what the program gets, how it ends, and what is left: nothing."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import socket
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.children import pidfd, wait_readable
from helpers.programs import (
    BLOCK_ALL,
    PLACE,
    READY,
    RESERVED,
    Word,
    prepared,
    python,
    reporter,
)
from helpers.running import Ended, Lines, Running, run
from helpers.seccomp import Call, Held, Stepped, block_raw
from helpers.terminal import Terminal

from spawner import initpath
from spawner.spec import NAMESPACES

ROOT = os.geteuid() == 0
FILES = {kind: {"mount": "mnt"}.get(kind, kind) for kind in NAMESPACES}
DEFAULTS = {"pid", "mount", "ipc", "uts", "cgroup"} | (set() if ROOT else {"user"})
# Whoever isn't root needs the user namespace to make any other.
ALONE = [] if ROOT else ["--user"]

SHAPES: dict[str, list[str]] = {
    "program": [],
    "pyinit": ["--init"],
    "keeper": ["--share=pid"],
    "keeper and pyinit": ["--share=pid", "--init"],
    "user": ["--user"],
    "user and pyinit": ["--user", "--init"],
}
"""Each way of making a container."""

each_shape = pytest.mark.parametrize("options", SHAPES.values(), ids=list(SHAPES))


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    require("pidns")


def pyspawn(*words: Word) -> list[Word]:
    return [*initpath.pyspawn(), *words]


def spawn(*words: Word, **how: Any) -> Ended:
    """Run pyspawn to its end, and to that of everything that holds its standard output."""
    return run(pyspawn(*words), **how)


def sh(script: str, *options: Word, **how: Any) -> Ended:
    return spawn(*options, "--", "/bin/sh", "-c", script, **how)


def said(ended: Ended) -> list[str]:
    """Return the lines on standard error."""
    return ended.errors.splitlines()


# --- namespaces ---------------------------------------------------------------------------------

LINKS = "cd /proc/self/ns && for kind in " + " ".join(FILES.values()) + "; do readlink $kind; done"


def new_ones(ended: Ended) -> set[str]:
    """Return the kinds of namespaces that are not ours, from the output of LINKS."""
    assert ended.status == 0, ended
    links = ended.out.decode().split()
    ours = [os.readlink(f"/proc/self/ns/{file}") for file in FILES.values()]
    return {kind for kind, a, b in zip(FILES, links, ours, strict=True) if a != b}


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_what_is_new_unasked(init: list[str]) -> None:
    assert new_ones(sh(LINKS, *init)) == DEFAULTS


def test_the_word_run_may_be_left_out() -> None:
    assert new_ones(sh(LINKS, "run")) == new_ones(sh(LINKS))


SHORT = {"mount": "m", "uts": "u", "ipc": "i", "net": "n", "pid": "p", "user": "U", "cgroup": "C",
         "time": "T"}  # fmt: skip


@pytest.mark.parametrize("kind", NAMESPACES)
def test_each_namespace_has_its_flags(kind: str) -> None:
    expected = {kind} | {option.removeprefix("--") for option in ALONE}
    for flag in (f"--{kind}", f"-{SHORT[kind]}", f"--unshare={kind}"):
        assert new_ones(sh(LINKS, "--share=all", *ALONE, flag)) == expected
    if kind != "user" or ROOT:
        assert new_ones(sh(LINKS, "--share", kind)) == DEFAULTS - {kind}


def test_all_of_them_and_none() -> None:
    assert new_ones(sh(LINKS, "--unshare", "all")) == set(NAMESPACES)
    assert new_ones(sh(LINKS, "-mCTn", "--unshare=uts,ipc", "-pU", "--init")) == set(NAMESPACES)
    assert new_ones(sh(LINKS, "--share", "all")) == set()
    assert new_ones(sh(LINKS, "--share=net,time", "--unshare=all")) == {*NAMESPACES} - {
        "net",
        "time",
    }


def test_a_namespace_that_is_tried_is_there_where_the_kernel_agrees() -> None:
    ended = sh(LINKS, "--unshare-try", "net,time")
    assert new_ones(ended) == DEFAULTS | {"net", "time"}
    assert ended.errors == ""


def test_proc_is_that_of_the_container() -> None:
    # The shell itself, and nobody else: echo and its glob are built in.
    assert sh("cd /proc && echo [0-9]*").out == b"1\n"
    assert sh("cd /proc && echo [0-9]*", "--init").out == b"1 2\n"
    # Without a mount namespace there's no place for it, and the machine's own stays.
    shared = sh("readlink /proc/self", "--share=mount").out
    assert shared != b"1\n"


def test_proc_is_mounted_as_it_should_be() -> None:
    ended = sh("grep ' /proc ' /proc/self/mountinfo | tail -n 1; tail -n 0 /proc/self/mountinfo")
    options = ended.out.decode().split()[5].split(",")
    assert {"nosuid", "nodev", "noexec"} <= set(options)


def test_mounts_do_not_spread() -> None:
    before = Path("/proc/self/mountinfo").read_text()
    ended = sh("grep -c shared: /proc/self/mountinfo", "--map-root-user", "--init")
    assert ended.out == b"0\n"
    assert Path("/proc/self/mountinfo").read_text() == before


LOOPBACK = """
import socket
listening = socket.create_server(("127.0.0.1", 0))
socket.create_connection(listening.getsockname())
print("connected")
"""


def test_loopback_is_up_in_a_new_network() -> None:
    argv = [sys.executable, "-I", "-S", "-c", LOOPBACK]
    assert spawn("--net", "--", *argv).out == b"connected\n"
    assert sh("tail -n +3 /proc/net/dev | cut -d: -f1", "--net").out.split() == [b"lo"]


def test_host_name() -> None:
    ours = os.uname().nodename
    assert sh("uname -n", "--hostname", "box-é").out == "box-é\n".encode()
    assert os.uname().nodename == ours
    assert sh("uname -n").out.decode() == f"{ours}\n"


@pytest.mark.parametrize("init", [[], ["--init"]])
@pytest.mark.parametrize("part", [b"a", b"\xff", b"\n"])
def test_the_reason_stands_behind_any_long_name(init: list[str], part: bytes) -> None:
    ended = spawn(*init, "--pid", "--", b"/" + part * 5000)
    assert ended.status == 126
    (line,) = ended.errors.splitlines()
    assert line.endswith(": File name too long (ENAMETOOLONG)")


def test_arguments_that_leave_no_room_for_the_inits_are_answered() -> None:
    """The hint works: with the limit that it names, the same command runs."""
    limited = ["/bin/sh", "-c", 'ulimit -S -s "$0"; exec "$@"']
    most = 1 << 18  # a quarter of a stack of a megabyte, execve(2)
    for size in range(most, most - 8192, -64):
        argv = [*pyspawn("--init", "--", "/bin/true"), *["x" * (size // 4)] * 4]
        ended = run([*limited, "1024", *argv], environment={})
        if ended.errors.startswith("pyspawn: execute the init "):
            break
    assert ended.status == 125
    message, hint = said(ended)
    assert message.endswith(": Argument list too long (E2BIG)")
    enough = hint.partition("`ulimit -s ")[2].partition("`")[0]
    assert run([*limited, enough, *argv], environment={}).status == 0


CLOCKS = "import time; print(time.clock_gettime(time.CLOCK_MONOTONIC), time.clock_gettime(7))"


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_clocks(init: list[str]) -> None:
    options = ["--time", "--monotonic=1000000", "--boottime", "2000000", *init]
    before = time.clock_gettime(time.CLOCK_MONOTONIC), time.clock_gettime(time.CLOCK_BOOTTIME)
    ended = spawn(*options, "--", sys.executable, "-I", "-S", "-c", CLOCKS)
    monotonic, boottime = map(float, ended.out.split())
    # The margin is the safety net of the whole test, a fraction of the offsets.
    assert 0 <= monotonic - before[0] - 1_000_000 < 10_000
    assert 0 <= boottime - before[1] - 2_000_000 < 10_000


def test_a_clock_can_be_set_back() -> None:
    ended = spawn("-T", "--monotonic=-1", "--", sys.executable, "-I", "-S", "-c", CLOCKS)
    assert ended.status == 0, ended


# --- users --------------------------------------------------------------------------------------

IDS = "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups"


@pytest.mark.parametrize(
    ("options", "user", "group"),
    [
        (["--user"], 0, 0),
        (["-r"], 0, 0),
        (["--map-root-user"], 0, 0),
        (["-c"], os.geteuid(), os.getegid()),
        (["--map-current-user"], os.geteuid(), os.getegid()),
        (["--map-user=7", "--map-group=8"], 7, 8),
        (["--map-group=8"], 0, 8),
    ],
)
def test_who_one_is_in_a_user_namespace(options: list[str], user: int, group: int) -> None:
    words = sh(IDS, *options).out.decode().split()
    assert list(map(int, words[:2])) == [user, group]
    assert list(map(int, words[2:8])) == [user, os.geteuid(), 1, group, os.getegid(), 1]
    # Who maps one group without CAP_SETGID has to deny it.
    assert words[8] == ("allow" if os.geteuid() == 0 else "deny")


def test_an_ordinary_user_is_root_inside_and_nobody_else_outside(tmp_path: Path) -> None:
    made = tmp_path / "made"
    ended = sh(f"id -u; touch {made}", "--user")
    assert ended.out == b"0\n"
    assert made.stat().st_uid == os.geteuid()


def test_the_mapped_root_has_all_rights_inside_and_the_mapped_user_none() -> None:
    script = "grep -e CapEff -e CapPrm /proc/self/status | cut -f2"
    rights = [int(word, 16) for word in sh(script, "--map-root-user").out.split()]
    assert rights[0] == rights[1] == rights[0] | 1 << 21  # CAP_SYS_ADMIN, linux/capability.h
    if not ROOT:
        none = [int(word, 16) for word in sh(script, "--map-current-user").out.split()]
        assert none == [0, 0]


# --- what the program sees ----------------------------------------------------------------------


@each_shape
def test_arguments_are_passed_byte_for_byte(options: list[str]) -> None:
    words = [b"", b"--", b"-h", b"\xff\xfe", "é".encode(), b"a b\n"]
    code = "import sys,os; os.write(1, b'|'.join(map(os.fsencode, sys.argv[1:])))"
    argv: list[Word] = [sys.executable, "-I", "-c", code, *words]
    assert spawn(*options, "--", *argv).out == b"|".join(words)


EXEC_WITH = """
vector = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
names = (ctypes.c_char_p * (len(entries) + 1))(*entries, None)
ctypes.CDLL(None).execve(argv[0], vector, names)
"""


def environment_seen(entries: list[bytes], *options: str) -> list[bytes]:
    """Return the program's environment where pyspawn was exec'ed with just these entries."""
    argv = pyspawn(*options, "--", "/bin/cat", "/proc/self/environ")
    ended = run(prepared(f"entries = {entries!r}\n{EXEC_WITH}", argv))
    assert ended.status == 0, ended
    return ended.out.split(b"\0")[:-1] if ended.out else []


@each_shape
@pytest.mark.parametrize(
    "entries",
    [
        [],
        [b"A=1", b"A=2", b"no equals sign", b"=", b""],
        [b"V=\xff\xfe", b"\xe4=x"],
        [b"LC_CTYPE=C"],
        [b"LC_CTYPE=C.UTF-8", b"PYTHONHOME=/nowhere", b"PYTHONINSPECT=1"],
        [b"LC_ALL=C", b"LANG=nowhere"],
    ],
    ids=lambda entries: repr(b" ".join(entries)[:30])[2:-1] or "empty",
)
def test_the_environment_is_passed_byte_for_byte(options: list[str], entries: list[bytes]) -> None:
    assert environment_seen(entries, *options) == entries


@each_shape
def test_listen_pid_names_the_program_where_it_named_pyspawn(options: list[str]) -> None:
    """As the service of a systemd socket; another's descriptors stay another's."""
    program: list[Word] = ["/bin/sh", "-c", "cat /proc/$$/environ; echo $$"]
    for code, passed in (("os.getpid()", True), ("os.getppid()", False)):
        prepare = f"entries = [b'LISTEN_PID=%d' % {code}, b'B=2']\n{EXEC_WITH}"
        ended = run(prepared(prepare, pyspawn(*options, "--", *program)))
        named, other, pid = ended.out.split(b"\0")
        assert other == b"B=2"
        assert (named == b"LISTEN_PID=" + pid.strip()) is passed


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_variables(init: list[str]) -> None:
    before = [b"A=1", b"B=2"]
    assert environment_seen(before, "--env", "B=3", "--env=C==x", *init) == [
        b"A=1",
        b"B=3",
        b"C==x",
    ]
    assert environment_seen(before, "--clearenv", *init) == []
    assert environment_seen(before, "--env=X=\u00e9", "--clearenv", *init) == [b"X=\xc3\xa9"]


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_the_program_is_looked_up_in_its_own_path(tmp_path: Path, init: list[str]) -> None:
    program = tmp_path / "unheard-of"
    program.write_text("echo found $0\n")  # without #!, as a shell takes it
    program.chmod(0o755)
    ended = spawn(*init, f"--env=PATH={tmp_path}", "unheard-of")
    assert ended.out == f"found {program}\n".encode()
    assert spawn(*init, "--clearenv", "unheard-of").status == 127


@each_shape
def test_working_directory(options: list[str], tmp_path: Path) -> None:
    below = tmp_path / "b\u00e9low"
    below.mkdir()
    assert sh("pwd -P", *options, directory=str(tmp_path)).out.decode() == f"{tmp_path}\n"
    for word in (str(below), "b\u00e9low"):
        ended = sh("pwd -P", *options, f"--workdir={word}", directory=str(tmp_path))
        assert ended.out.decode() == f"{below}\n"


@each_shape
def test_limits_and_umask(options: list[str]) -> None:
    prepare = "os.umask(0o27)\nresource.setrlimit(resource.RLIMIT_NOFILE, (77, 88))\n"
    argv = pyspawn(*options, "--", "/bin/sh", "-c", "umask; ulimit -n; ulimit -Hn")
    assert run(prepared(prepare, argv)).out.split() == [b"0027", b"77", b"88"]


@each_shape
def test_mask_and_dispositions(options: list[str]) -> None:
    prepare = (
        "signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1, signal.SIGRTMAX})\n"
        "for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGTSTP, signal.SIGINT):\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
    )
    look: list[Word] = ["/bin/grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]
    expected = run(prepared(prepare, look)).out
    assert run(prepared(prepare, pyspawn(*options, "--", *look))).out == expected
    assert b"SigBlk:\t8000000000000200" in expected


@each_shape
def test_what_the_c_library_lets_nobody_block_is_no_matter(options: list[str]) -> None:
    blocked = 1 << (signal.SIGUSR1 - 1)
    look: list[Word] = ["/bin/grep", "^SigBlk", "/proc/self/status"]
    ended = run(prepared(block_raw(blocked | RESERVED), pyspawn(*options, "--", *look)))
    assert int(ended.out.split()[1], 16) & ~RESERVED == blocked
    assert ended.errors == ""


OPEN = """
import posix
def is_open(descriptor):
    try:
        return posix.fstat(descriptor)
    except OSError:
        return False
print(*filter(is_open, range(1000)))
"""


@each_shape
def test_descriptors(options: list[str]) -> None:
    """What was passed on is there, and nothing of ours."""
    reader, writer = os.pipe()
    with Running(
        pyspawn(*options, "--", *python(OPEN)),
        pass_fds=[writer],
    ) as running:
        os.close(writer)
        listed = set(map(int, running.line().split()))
        assert running.wait() == 0
    os.close(reader)
    assert listed == {0, 1, 2, writer}


@each_shape
def test_nobody_else_holds_what_was_passed_on(options: list[str]) -> None:
    """When the program closes a descriptor, its reader sees the end, though the program lives."""
    reader, writer = os.pipe()
    code = f"import os; os.close({writer}); print('closed', flush=True); input()"
    with Running(pyspawn(*options, "--", *python(code)), pass_fds=[writer]) as running:
        os.close(writer)
        assert running.line() == "closed"
        assert wait_readable(reader)
        assert os.read(reader, 1) == b""
        running.write(b"go on\n")
        assert running.wait() == 0
    os.close(reader)


@each_shape
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_closed_standard_descriptors(
    options: list[str], closed: tuple[int, ...], tmp_path: Path
) -> None:
    found = tmp_path / "found"
    code = f"import os; open({str(found)!r}, 'w').write(' '.join(filter(\
        lambda fd: os.path.exists('/proc/self/fd/' + fd), '012')))"
    prepare = "".join(f"os.close({fd})\n" for fd in closed)
    ended = run(prepared(prepare, pyspawn(*options, "--", *python(code))))
    assert ended.status == 0, ended
    # The file that the program opens takes the first place that is free.
    free = {str(fd) for fd in closed[1:]}
    assert set(found.read_text().split()) == set("012") - free


# --- exit statuses ------------------------------------------------------------------------------


@each_shape
@pytest.mark.parametrize("status", [0, 1, 42, 125, 255])
def test_the_status_is_the_programs(options: list[str], status: int) -> None:
    ended = sh(f"exit {status}", *options)
    assert (ended.status, ended.errors) == (status, "")


@each_shape
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_death_by_a_signal(options: list[str], number: int) -> None:
    script = f"kill -{number:d} $$"
    if options in ([], ["--user"]):
        # PID 1 can't be killed from inside: a signal without a handler doesn't reach it.
        script = f"sh -c '{script}'"
    assert sh(script, *options).status == 128 + number


@each_shape
def test_the_hint_is_a_line_of_its_own(options: list[str], tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    ended, events = status_of(*options, "--", str(plain))
    message = f"{plain}: Permission denied (EACCES)"
    hint = f"make it executable: chmod +x {plain}"
    assert said(ended) == [f"pyspawn: {message}", f"hint: {hint}"]
    told = events[-1]
    assert (told["message"], told["hint"], told["path"]) == (message, hint, str(plain))


@each_shape
def test_a_program_that_is_not_there(options: list[str]) -> None:
    ended = spawn(*options, "nosuch", environment={"PATH": "/usr/bin:/bin"})
    assert ended.status == 127
    assert said(ended) == ["pyspawn: nosuch: not found in PATH"]


@pytest.mark.parametrize(
    ("words", "status", "hint"),
    [
        (["--", "sh -c true"], 127, "or `sh -c 'sh -c true'`"),
        (["--init", "--", "sh -c true"], 127, "or `sh -c 'sh -c true'`"),
        (["--user", "1000", "id"], 127, "who PROGRAM is: --setuid UID"),
        (["--init", "/no/init", "true"], 127, "--init=/no/init"),
        (["--net", "/etc", "true"], 126, "--net=/etc"),
        (["exce", "1", "true"], 127, "did you mean pyspawn exec?"),
        (
            ["--init=nosuch", "true"],
            125,
            "nosuch is in no directory of PATH: install it, or name it by its path",
        ),
        (["--net=veth:br0", "true"], 125, "a kind of network is named by --network veth:br0"),
        (["--user=nobody", "true"], 125, "for a user namespace: --user=/proc/PID/ns/user"),
        (["--net=container:web", "true"], 125, "'{{.State.Pid}}' web)/ns/net"),
        (["--mount", "type=bind,src=/a,dst=/b", "true"], 127, "mount ... && exec PROGRAM'`"),
        (["--ipc=4194305", "true"], 125, "--ipc=/proc/4194305/ns/ipc"),
        (["exec", "4194304", "--dry-run", "true"], 125, "the one of a container)"),
    ],
)
def test_what_was_meant_by_what_is_no_program(
    words: list[str], status: int, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # which every user can search
    ended = spawn(*words)
    assert ended.status == status
    assert len(said(ended)) == 2
    assert said(ended)[1].startswith("hint: ")
    assert said(ended)[1].endswith(hint)


@each_shape
def test_a_program_that_can_not_be_executed(options: list[str]) -> None:
    ended = spawn(*options, "--", "/etc")
    assert ended.status == 126
    assert said(ended) == ["pyspawn: /etc: is a directory: Permission denied (EACCES)"]


def test_a_script_whose_interpreter_is_not_there(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    for init in ([], ["--init"]):
        ended = spawn(*init, str(script))
        assert ended.status == 127
        assert "/no/such/interpreter" in ended.errors


def test_another_init() -> None:
    require("tini")
    assert sh("exit 9", "--init=tini").status == 9
    ended = sh("cat /proc/1/comm; kill -TERM $$", "--init=/usr/bin/tini")
    assert (ended.status, ended.out) == (143, b"tini\n")


def test_another_init_gets_the_mask_that_was_ours() -> None:
    require("tini")
    prepare = "signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1})\n"
    look = ["grep", "SigBlk", "/proc/self/status"]
    assert run(prepared(prepare, pyspawn("--init=tini", "--", *look))).out == (
        b"SigBlk:\t0000000000000200\n"
    )


@pytest.mark.parametrize("init", ["/no/such/init", "/etc"])
def test_an_init_that_can_not_be_executed_is_a_failure_of_ours(init: str) -> None:
    ended = spawn(f"--init={init}", "true")
    assert ended.status == 125
    assert ended.errors.startswith(f"pyspawn: execute the init {init}: ")
    assert all(line.startswith("hint: ") for line in said(ended)[1:])


def test_an_init_that_ends_before_the_program_ran(tmp_path: Path) -> None:
    """An interpreter that can't run pyinit, as where its files are gone."""
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexit 3\n")
    fake.chmod(0o755)
    code = f"import sys;sys.path[:0]=[{PLACE!r}];from spawner.__main__ import main;"
    code += f"sys.executable={str(fake)!r};main()"
    ended = run([*python(code), "--init", "--", "true"])
    assert ended.status == 125
    assert "pyspawn: the init ended with status 3 before it had started the program" in said(ended)


# --- signals ------------------------------------------------------------------------------------

FORWARDED = sorted(
    int(n) for n in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
)
LAST = int(signal.SIGRTMAX)


@each_shape
def test_every_signal_is_forwarded_once(options: list[str]) -> None:
    with Running(pyspawn("--stop-timeout=infinity", *options, "--", *reporter())) as running:
        assert running.line().startswith("reporter ready")
        for number in FORWARDED:
            running.send(number)
            assert running.line().split()[1] == str(number)
        children.kill_all()


@each_shape
def test_queued_signals_are_forwarded_in_order(options: list[str]) -> None:
    """Sent while the launcher is stopped: the lower first, each as often as it was sent."""
    first = int(signal.SIGRTMIN)
    numbers = [first + n for n in (0, 3, 1, 0, 3, 0)]
    with Running(pyspawn(*options, "--", *reporter())) as running:
        assert running.line().startswith("reporter ready")
        running.send(signal.SIGSTOP)
        for number in [*numbers, LAST]:
            running.send(number)
        running.send(signal.SIGCONT)
        seen: list[int] = []
        while not seen or seen[-1] != LAST:
            seen.append(int(running.line().split()[1]))
        assert [n for n in seen if n != signal.SIGCONT] == [*sorted(numbers), LAST]
        children.kill_all()


@pytest.mark.parametrize(
    "options", [["--init"], ["--share=pid"], ["--share=pid", "--init"], ["--user", "--init"]]
)
def test_sigterm_ends_a_program_at_once(options: list[str]) -> None:
    with Running(pyspawn(*options, "--", "/bin/sh", "-c", "echo on; exec sleep 1000")) as running:
        assert running.line() == "on"
        running.send(signal.SIGTERM)
        assert running.wait() == 143


@each_shape
def test_what_ignores_the_stop_signal_is_killed_when_the_time_is_over(options: list[str]) -> None:
    script = "trap '' TERM; sleep 1000 & echo on; while :; do wait; done"
    argv = pyspawn("--stop-timeout=0.2", *options, "--", "/bin/sh", "-c", script)
    with Running(argv) as running:
        assert running.line() == "on"
        running.send(signal.SIGTERM)
        assert running.wait() == 137
        assert running.out.rest() == b""  # nobody holds it any more


@each_shape
@pytest.mark.parametrize("state", ["nearly full", "stopped"])
def test_a_terminal_that_nobody_reads_delays_neither_signals_nor_the_end(
    options: list[str], state: str
) -> None:
    code = """
import _signal, posix
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
posix.write(1, b"on\\n")
while True:
    number = _signal.sigwait(_signal.valid_signals())
    posix.write(1, b"%d\\n" % number)
"""
    argv = pyspawn("-v", "--stop-timeout=0.2", *options, "--", *python(code))
    with Terminal() as terminal:
        if state == "stopped":
            termios.tcflow(terminal.slave, termios.TCOOFF)
        else:
            terminal.fill(50)
        with Running(argv, stderr=terminal.slave) as running:
            assert running.line() == "on"
            began = time.monotonic()
            for number in [signal.SIGUSR1, signal.SIGUSR2] * 30:
                running.send(number)
                assert running.line() == str(int(number))
            # A second for each line, as a patient launcher takes, would be a minute.
            assert time.monotonic() - began < 40
            running.send(signal.SIGTERM)
            assert running.wait() == 137


@pytest.mark.parametrize("words", [["--help"], ["--dry-run", "true"], ["release", "-h"]], ids=str)
def test_an_answer_that_nobody_reads_can_be_ended(words: list[str]) -> None:
    with Terminal() as terminal:
        termios.tcflow(terminal.slave, termios.TCOOFF)
        with Running(pyspawn(*words), stdout=terminal.slave) as running:
            children.wait_state(running.pid, "S")
            running.send(signal.SIGTERM)
            assert running.wait() == -signal.SIGTERM


@each_shape
def test_what_a_process_sent_to_itself_before_it_became_pyspawn_arrives(options: list[str]) -> None:
    early = [signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGRTMIN, signal.SIGRTMIN]
    numbers = [int(number) for number in early]
    prepare = BLOCK_ALL + f"for number in {numbers}: os.kill(os.getpid(), number)"
    argv = pyspawn("--stop-timeout=infinity", *options, "--", *reporter())
    with Running(prepared(prepare, argv)) as running:
        running.line()
        assert [int(line.split()[1]) for line in running.lines(5)] == numbers


FLOOD = """
import os, signal, sys
target, number = os.pidfd_open(int(sys.argv[1])), int(sys.argv[2])
for _ in range(3):
    if os.fork() == 0:
        try:
            while True:
                signal.pidfd_send_signal(target, number)
        except ProcessLookupError:
            os._exit(0)
"""


@pytest.mark.parametrize("options", [[], ["--init"], ["--share=pid"]], ids=str)
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGRTMAX])
def test_a_flood_of_signals_never_puts_off_the_end(options: list[str], number: int) -> None:
    code = f"""
import _signal, posix
_signal.signal({int(number)}, _signal.SIG_IGN)
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals() - {{{int(number)}}})
posix.write(1, b"on\\n")
while True:
    _signal.sigwait(_signal.valid_signals())
"""
    argv = pyspawn("--stop-timeout=0.5", *options, "--", *python(code))
    with Running(argv) as running:
        assert running.line() == "on"
        flood = python(FLOOD, str(running.pid), str(int(number)))
        with Running(flood) as flooding:
            assert flooding.wait() == 0
            running.send(signal.SIGTERM)
            assert running.wait() == 137


def test_a_status_that_nobody_reads_delays_nothing_and_what_was_dropped_is_counted() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(writer, b"\n" * 64)
    os.set_blocking(writer, True)
    argv = pyspawn(f"--json-status={writer}", "--init", "--", *reporter())
    with Running(argv, pass_fds=[writer]) as running:
        os.close(writer)
        running.line()  # so it has been created, and started
        events = Lines(reader)
        for _ in range(filled):
            assert events.next() == ""
        os.kill(children.below(running.pid)[-1], signal.SIGKILL)
        assert running.wait() == 137
    told = [json.loads(line) for line in events.rest().splitlines()]
    assert told == [
        {"event": "dropped", "count": 2},
        {"event": "exited", "status": 137, "signal": "SIGKILL"},
    ]
    os.close(reader)


KEEPER = (
    "import os\n"
    "keeper = int(open('/proc/self/stat').read().rpartition(')')[2].split()[1])\n"
    "os.kill(keeper, 19)\n"
)


def test_a_program_that_stops_its_keeper_still_ends() -> None:
    """Without a PID namespace, a program may signal the keeper: that must wedge nothing."""
    ended = spawn("--share=pid", "--", *python(KEEPER + "os._exit(4)"))
    assert ended.status == 4


def test_a_program_that_stops_its_keeper_is_still_killed() -> None:
    code = (
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        + KEEPER
        + "os.fork()\nprint('on', flush=True)\nwhile True: os.kill(keeper, 19)\n"
    )
    with Running(pyspawn("--share=pid", "--stop-timeout=0.2", "--", *python(code))) as running:
        assert running.line() == "on"
        running.send(signal.SIGTERM)
        assert running.wait() == 137
        assert running.out.rest().replace(b"on\n", b"") == b""


def test_a_stop_timeout_of_years_is_waited_for() -> None:
    """Of more than the 24 days that poll(2) can be told at once."""
    argv = pyspawn("--stop-timeout=99999999999999", "--init", "--", *reporter())
    with Running(argv) as running:
        assert running.line().startswith("reporter ready")
        for number in (signal.SIGTERM, signal.SIGINT):  # the second comes in that wait
            running.send(number)
            assert running.line().split()[1] == str(int(number))
        running.send(signal.SIGKILL)
        running.wait()


@each_shape
def test_the_stop_signal_may_be_another(options: list[str]) -> None:
    argv = pyspawn("--stop-signal=USR2", "--stop-timeout=infinity", *options, "--", *reporter())
    with Running(argv) as running:
        assert running.line().startswith("reporter ready")
        running.send(signal.SIGTERM)
        assert running.line().split()[1] == str(int(signal.SIGUSR2))
        running.send(signal.SIGINT)  # as itself
        assert running.line().split()[1] == str(int(signal.SIGINT))
        children.kill_all()


def test_sigkill_as_the_stop_signal() -> None:
    argv = pyspawn("--stop-signal=KILL", "--init", "--", *reporter())
    with Running(argv) as running:
        assert running.line().startswith("reporter ready")
        running.send(signal.SIGTERM)
        assert running.wait() == 137


def start_in_steps(options: list[str], at: int, numbers: list[int]) -> tuple[int, list[int]]:
    """Start a reporter, and signal pyspawn when the start stands at its system call `at`.

    Return how many calls the whole start made, of all its processes, and what the reporter got.
    """
    target = 0

    def send() -> None:
        for number in numbers:
            os.kill(target, number)

    argv = pyspawn("--stop-timeout=infinity", *options, "--", *reporter())
    with (
        Stepped(at, send) as steps,
        Running(prepared(BLOCK_ALL + Stepped.code, argv)) as running,
    ):
        target = running.pid
        steps.watch(running)
        assert running.line().startswith("reporter ready")
        whole = steps.count
        got = []
        running.send(LAST)
        while (number := int(running.line().split()[1])) != LAST:
            got.append(number)
        running.send(signal.SIGKILL)
        return whole, got


@each_shape
def test_signals_at_any_system_call_of_the_start_are_not_lost(options: list[str]) -> None:
    require("seccomp")
    whole, got = start_in_steps(options, -1, [])
    assert whole > 200
    assert got == []
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGRTMIN, signal.SIGRTMIN]
    for at in range(random.Random().randrange(8), whole - whole // 20, max(1, whole // 10)):
        _, got = start_in_steps(options, at, numbers)
        assert sorted(got) == sorted(map(int, numbers)), f"at system call {at} of {whole}"


@pytest.mark.parametrize("options", [["--init"], ["--share=pid"], ["--user", "--init"]])
def test_a_signal_at_a_random_moment_kills_or_is_forwarded(options: list[str]) -> None:
    """Only the interpreter's own start may die of it, before any line of ours runs."""
    moments = random.Random(len(options))
    argv = pyspawn(*options, "--", "/bin/sleep", "1000")
    for _ in range(20):
        with Running(prepared(READY, argv)) as running:
            assert running.line() == "starting"
            until = time.perf_counter() + moments.uniform(0, 0.03)
            while time.perf_counter() < until:
                pass
            running.send(signal.SIGTERM)
            assert running.wait() in (143, -signal.SIGTERM)
            assert running.errors() == ""


# --- the end of everything ----------------------------------------------------------------------

STUBBORN = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
out = int(sys.argv[1])
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.write(out, b"ready\\n")
        signal.sigwait({signal.SIGUSR1})
os.write(out, b"ready\\n")
signal.sigwait({signal.SIGUSR1})
if len(sys.argv) > 2:
    sys.exit(int(sys.argv[2]))
"""
"""A tree that has daemons in sessions of their own, and is deaf to all signals but the last."""


class Tree:
    """A stubborn tree, whose end is the end of file of the pipe that all of it holds."""

    def __init__(self, *front: Word, **how: Any) -> None:
        self._reader, writer = os.pipe()
        os.set_inheritable(writer, True)
        code = [sys.executable, "-I", "-S", "-c", STUBBORN, str(writer), "7"]
        passed = how.pop("pass_fds", [])
        self.running = Running([*front, *code], pass_fds=[writer, *passed], **how)
        os.close(writer)
        self._lines = Lines(self._reader)

    def __enter__(self) -> Tree:
        self.running.__enter__()
        # The parents of the daemons fork them before they say that they are ready.
        for _ in range(3):
            assert self._lines.next() == "ready"
        return self

    def __exit__(self, *error: Any) -> None:
        self.running.__exit__(*error)
        os.close(self._reader)

    def ends(self) -> bool:
        """Wait for the end of all of it."""
        return self._lines.rest() == b""


@each_shape
def test_the_programs_end_is_the_end_of_all(options: list[str]) -> None:
    with Tree(*pyspawn(*options, "--")) as tree:
        tree.running.send(signal.SIGUSR1)
        assert tree.running.wait() == 7
        assert tree.ends()


INTERRUPTED = """
import _signal
real = _signal.pthread_sigmask
def interrupted(how, signals):
    if signals:
        _signal.pthread_sigmask = real
        raise KeyboardInterrupt
    return real(how, signals)
_signal.pthread_sigmask = interrupted
"""
"""For an interpreter's code: its own handler of SIGINT is quicker than the first blocking."""


def test_an_interrupt_before_signals_are_blocked_is_the_programs() -> None:
    argv = [str(word) for word in pyspawn("--init", "--", "/bin/sleep", "1000")]
    code = argv.index("-c") + 1
    argv[code] = f"{INTERRUPTED}\n{argv[code]}"
    assert run(argv).status == -signal.SIGINT


@each_shape
def test_what_is_sent_to_the_process_group_during_the_start_comes_once(options: list[str]) -> None:
    """As a ^C: to pyspawn, which forwards it, and not to those who aren't in their groups yet."""
    require("seccomp")
    number = int(signal.SIGRTMIN) + 1
    staged = bool({"--user", "--share=pid"} & set(options)) or not ROOT
    calls = 1 + staged + (2 if "--init" in options else 0)
    with Held("setpgid") as held:
        argv = prepared(BLOCK_ALL + held.code, pyspawn(*options, "--", *reporter()))
        with Running(argv, pass_fds=[held.fileno]) as running:
            for turn in range(calls):
                moment = held.catch()
                if turn == 0:
                    os.killpg(running.pid, number)
                held.let_go(moment)
            assert running.line().startswith("reporter ready")
            assert running.line().split()[1] == str(number)
            running.send(signal.SIGRTMAX)
            assert running.line().split()[1] == str(int(signal.SIGRTMAX))
            running.send(signal.SIGKILL)


@each_shape
def test_a_pyspawn_that_is_killed_before_anybody_would_notice_starts_nothing(
    options: list[str],
) -> None:
    """Its init asks for the parent-death signal only after that, and so gets none."""
    require("seccomp")
    with Held(Call("prctl", 0, 1)) as held:  # PR_SET_PDEATHSIG
        argv = prepared(held.code, pyspawn(*options, "--", "/bin/echo", "started"))
        with Running(argv, pass_fds=[held.fileno]) as running:
            moment = held.catch()
            os.kill(running.pid, signal.SIGKILL)
            assert running.wait() == -signal.SIGKILL
            held.let_go(moment)
            assert running.out.rest() == b""


@each_shape
def test_a_killed_pyspawn_leaves_nothing(options: list[str]) -> None:
    with Tree(*pyspawn(*options, "--")) as tree:
        tree.running.send(signal.SIGKILL)
        assert tree.running.wait() == -signal.SIGKILL
        assert tree.ends()


@each_shape
@pytest.mark.parametrize("how", ["closed", "written"])
def test_a_lifeline(options: list[str], how: str) -> None:
    reader, writer = os.pipe()
    argv = pyspawn(f"--lifeline={reader}", *options, "--")
    with Tree(*argv, pass_fds=[reader]) as tree:
        os.close(reader)
        if how == "written":
            os.write(writer, b"x")
        os.close(writer)
        assert tree.running.wait() == 137
        assert tree.ends()


@each_shape
def test_dying_with_the_parent(options: list[str]) -> None:
    """Whoever started pyspawn is killed: by then pyspawn has said its program is on."""
    start = "import os,sys; pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)\n"
    start += "print(pid, flush=True); os.read(0, 1)"
    argv = [*python(start), *pyspawn("--die-with-parent", *options, "--")]
    with Tree(*argv) as tree, pidfd(int(tree.running.line())) as launcher:
        os.kill(tree.running.pid, signal.SIGKILL)
        assert wait_readable(launcher)
        assert tree.ends()


def test_the_end_of_the_thread_that_started_it_is_not_the_parents() -> None:
    start = """
import os, sys, _thread
done = _thread.allocate_lock()
done.acquire()
def start():
    if os.fork() == 0:
        os.execv(sys.argv[1], sys.argv[1:])
    done.acquire()
_thread.start_new_thread(start, ())
os.read(0, 1)
done.release()
while len(os.listdir("/proc/self/task")) > 1:
    os.sched_yield()
print("alone", flush=True)
os.read(0, 1)
"""
    argv = [*python(start), *pyspawn("--die-with-parent", "--init", "--", *reporter())]
    with Running(argv) as running:
        running.line()
        (launcher,) = children.of(running.pid)
        running.write(b"x")
        assert running.line() == "alone"
        os.kill(launcher, signal.SIGUSR1)
        assert running.line().split()[1] == "10"
        running.close_input()
        assert running.out.rest() == b""


def test_a_parent_that_died_before_the_start_is_noticed() -> None:
    """In the milliseconds in which the interpreter starts: there's another parent by then."""
    code = """
import os, sys
reader, writer = os.pipe()
if os.fork():
    os._exit(0)
os.close(writer)
os.read(reader, 1)
os.execv(sys.argv[1], sys.argv[1:])
"""
    argv = pyspawn("--die-with-parent", "--init", "--", "/bin/echo", "ran")
    ended = run(python(code, *argv))
    assert ended.out == b""
    assert "the process that started pyspawn has died already" in ended.errors


def test_dying_with_a_parent_outside_the_pid_namespace() -> None:
    argv = pyspawn("--die-with-parent", "--init", "--")
    outer = pyspawn("--", *argv)  # the inner pyspawn is PID 1, and its parent has no number there
    with Tree(*outer) as tree:
        tree.running.send(signal.SIGKILL)
        assert tree.ends()


def test_children_that_came_with_the_exec_are_left_alone() -> None:
    """Without a PID namespace all that the program leaves is killed, and nothing else."""
    code = "import os,sys\nif os.fork() == 0:\n    os.read(0, 1); os._exit(0)\n"
    code += "os.execv(sys.argv[1], sys.argv[1:])"
    argv = [*python(code), *pyspawn("--share=pid", "--", "/bin/sh", "-c", "sleep 1000 & echo on")]
    with Running(argv) as running:
        assert running.line() == "on"
        assert running.wait() == 0
        (left,) = children.of(os.getpid())
        assert children.state(left) in ("S", "R", "D")
        running.close_input()
        assert children.wait_gone([left]) == set()


@each_shape
def test_no_zombie_of_the_launchers_own(options: list[str]) -> None:
    with Running(pyspawn(*options, "--", "/bin/sh", "-c", "echo on; read line")) as running:
        assert running.line() == "on"
        assert children.zombies(running.pid) == []
        running.write(b"\n")
        assert running.wait() == 0


# --- for programs -------------------------------------------------------------------------------


def status_of(*words: Word, **how: Any) -> tuple[Ended, list[dict[str, Any]]]:
    """Run pyspawn with a --json-status; return how it ended and what it told there."""
    reader, writer = os.pipe()
    with Running(pyspawn(f"--json-status={writer}", *words), pass_fds=[writer], **how) as running:
        os.close(writer)
        with open(reader) as told:
            events = [json.loads(line) for line in told]
        running.close_input()
        out = running.out.rest()
        return Ended(running.wait(), out, running.errors()), events


@each_shape
def test_status_for_programs(options: list[str]) -> None:
    ended, events = status_of(*options, "--", "/bin/sh", "-c", LINKS + "; exit 3")
    created, started, exited = events
    assert created["event"] == "created"
    assert isinstance(created["host_pid"], int)
    assert started == {"event": "started"}
    assert exited == {"event": "exited", "status": 3, "signal": None}
    links = ended.out.decode().split()
    inodes = {kind: int(link.rstrip("]").partition("[")[2]) for kind, link in
              zip(FILES, links, strict=True)}  # fmt: skip
    assert created["namespaces"] == inodes


@each_shape
def test_the_host_pid_is_that_of_the_first_process(options: list[str]) -> None:
    reader, writer = os.pipe()
    argv = pyspawn(f"--json-status={writer}", *options, "--", "/bin/sh", "-c", "read line")
    with Running(argv, pass_fds=[writer]) as running:
        os.close(writer)
        lines = Lines(reader)
        pid = json.loads(lines.next())["host_pid"]
        assert json.loads(lines.next()) == {"event": "started"}
        inside = children.status_field(pid, "NSpid").split()
        new = "--share=pid" not in options
        assert inside == ([str(pid), "1"] if new else [str(pid)])
        running.write(b"\n")
        assert running.wait() == 0
    os.close(reader)


@pytest.mark.parametrize("options", [["--init"], ["--share=pid"], ["--share=pid", "--init"]])
def test_a_death_by_a_signal_is_told_apart_from_its_status(options: list[str]) -> None:
    _, events = status_of(*options, "--", "/bin/sh", "-c", "kill -9 $$")
    assert events[-1] == {"event": "exited", "status": 137, "signal": "SIGKILL"}
    _, events = status_of(*options, "--", "/bin/sh", "-c", "exit 137")
    assert events[-1] == {"event": "exited", "status": 137, "signal": None}


@each_shape
def test_a_failed_exec_is_told(options: list[str]) -> None:
    # Not the caller's PATH: a directory in it that may not be searched makes it EACCES.
    ended, events = status_of(*options, "--env=PATH=/usr/bin:/bin", "--", "nos\udcffuch")
    assert [event["event"] for event in events] == ["created", "failed"]
    failed = events[1]
    assert (failed["status"], failed["errno"], failed["syscall"]) == (127, "ENOENT", "execve")
    assert failed["stage"] == "init"
    assert failed["message"] in ended.errors
    assert ended.status == 127


@each_shape
def test_a_failed_set_up_is_told(options: list[str]) -> None:
    ended, events = status_of(*options, "--workdir=/no\n/such", "--", "true")
    assert [event["event"] for event in events] == ["created", "failed"]
    failed = events[1]
    assert failed["stage"] == "init"
    assert (failed["syscall"], failed["errno"]) == ("chdir", "ENOENT")
    assert failed["path"] == "/no\n/such"
    assert failed["status"] == ended.status == 125
    assert failed["message"] == (
        "change to the directory /no\\n/such: No such file or directory (ENOENT)"
    )
    assert failed["hint"]
    assert said(ended) == [f"pyspawn: {failed['message']}", f"hint: {failed['hint']}"]


def test_what_makes_no_sense_is_told() -> None:
    ended, events = status_of("--hostname=x", "--share=uts", "--", "true")
    (failed,) = events
    assert (failed["event"], failed["status"], failed["stage"]) == ("failed", 125, None)
    assert ended.status == 125


def test_quiet_leaves_the_streams_to_the_program() -> None:
    ended, events = status_of("--quiet", "--", "nosuch")
    assert ended.errors == ""
    assert events[-1]["event"] == "failed"


@each_shape
@pytest.mark.parametrize("how", ["lifeline", "time-out"])
def test_an_end_before_the_program_ran_is_no_exit(options: list[str], how: str) -> None:
    """The set-up hangs, here at its chdir(2), and everything is killed."""
    require("seccomp")
    told, status = os.pipe()
    end, lifeline = os.pipe()
    own = [f"--lifeline={end}", f"--json-status={status}", "--stop-timeout=0", "--workdir=/"]
    with Held("chdir") as held:
        argv = prepared(held.code, pyspawn(*own, *options, "--", "true"))
        with Running(argv, pass_fds=[held.fileno, status, end]) as running:
            os.close(status)
            os.close(end)
            held.catch()
            if how == "time-out":
                running.send(signal.SIGTERM)
            else:
                os.write(lifeline, b"x")
            assert running.wait() == 137
    os.close(lifeline)
    with open(told) as lines:
        created, failed = map(json.loads, lines)
    assert (created["event"], failed["event"]) == ("created", "failed")
    assert failed["message"] == "everything was killed before the program ran"
    assert failed["status"] == 137


@pytest.mark.parametrize("option", ["--json-status", "--lifeline"])
def test_a_descriptor_that_is_not_open(option: str) -> None:
    ended = spawn(option, "77", "--", "true")
    assert ended.status == 125
    assert said(ended)[0] == f"pyspawn: {option} 77: Bad file descriptor (EBADF)"
    assert said(ended)[1].startswith("hint: ")


@pytest.mark.parametrize("kind", ["file", "pipe", "device"])
def test_a_status_that_can_not_be_written_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = {"file": tmp_path / "file", "device": Path("/dev/null")}.get(kind)
    descriptor, *more = os.pipe() if place is None else [os.open(place, os.O_RDONLY)]
    try:
        argv = pyspawn(f"--json-status={descriptor}", "--", "/bin/true")
        ended = run(argv, pass_fds=[descriptor])
    finally:
        for each in (descriptor, *more):
            os.close(each)
    assert ended.status == 125
    assert said(ended) == [
        f"pyspawn: --json-status {descriptor}: Bad file descriptor (EBADF)",
        f"hint: open it in who starts pyspawn: {descriptor}>FILE",
    ]


def test_a_status_may_be_a_socket_and_gets_no_empty_message() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        argv = pyspawn(f"--json-status={theirs.fileno()}", "--", "/bin/true")
        assert run(argv, pass_fds=[theirs.fileno()]).status == 0
        assert json.loads(ours.recv(4096))["event"] == "created"


def test_a_full_device_may_be_the_status() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        argv = pyspawn(f"--json-status={descriptor}", "--", "/bin/true")
        assert run(argv, pass_fds=[descriptor]).status == 0
    finally:
        os.close(descriptor)


def test_a_status_that_nobody_reads_does_not_matter() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    argv = pyspawn(f"--json-status={writer}", "--init", "--", "/bin/sh", "-c", "exit 4")
    with Running(argv, pass_fds=[writer]) as running:
        os.close(writer)
        assert running.wait() == 4


def test_messages_that_nobody_reads_do_not_matter() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Running(pyspawn("--verbose", "nosuch"), stderr=writer) as running:
        os.close(writer)
        assert running.wait() == 127


def test_a_full_standard_error_holds_nobody() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    with Running(pyspawn("--verbose", "nosuch"), stderr=writer) as running:
        os.close(writer)
        assert running.wait() == 127
    os.close(reader)


def test_verbose_tells_the_story() -> None:
    argv = pyspawn("--verbose", "--init", "--", "/bin/sh", "-c", "echo on; exec sleep 1000")
    with Running(argv) as running:
        assert running.line() == "on"
        running.send(signal.SIGTERM)
        assert running.wait() == 143
        lines = running.errors().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("pyspawn: the container is made: its first process is ")
    # The program may speak, and be answered, before pyinit has said that it started it.
    assert set(lines[1:3]) == {
        "pyspawn: the program has started",
        "pyspawn: got SIGTERM for the program",
    }
    assert lines[3] == "pyspawn: the program has ended with status 143, killed by SIGTERM"


# --- without doing anything -----------------------------------------------------------------------


def test_a_dry_run_prints_the_steps_and_takes_none() -> None:
    options = ["--unshare=all", "--hostname=box", "--monotonic=5", "--workdir=/no/such"]
    ended = spawn("--dry-run", *options, "--init", "--", "app", "-x")
    assert (ended.status, ended.errors) == (0, "")
    lines = ended.out.decode().splitlines()
    assert all(line.split()[0] in ("launcher", "stage", "init") for line in lines)
    calls = [line.rpartition(": ")[2] for line in lines]
    expected = [
        "fork()",
        "unshare(CLONE_NEWUSER)",
        f'write("/proc/STAGE/uid_map", "0 {os.geteuid()} 1")',
        "unshare(CLONE_NEWPID)",
        'write("/proc/self/timens_offsets", "monotonic 5 0")',
        'mount("proc", "/proc", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC, NULL)',
        'sethostname("box", 3)',
        'chdir("/no/such")',
    ]
    assert [call for call in calls if call in expected[1:]] == expected[1:]
    assert calls.count("fork()") == 2
    assert '"app", "-x")' in calls[-1]


def test_help_and_version() -> None:
    ended = spawn("--help")
    assert (ended.status, ended.errors) == (0, "")
    text = ended.out.decode()
    assert text.startswith("Usage: pyspawn")
    assert all(word in text for word in ("-m, --mount", "--init", "--stop-timeout SECONDS"))
    assert "lifeline" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert spawn("-V").out.startswith(b"pyspawn 0.")


def test_help_into_a_closed_pipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Running(pyspawn("--help"), stdout=writer) as running:
        os.close(writer)
        assert running.wait() == 125
        assert running.errors() == ""


def test_as_a_module() -> None:
    argv: list[Word] = [sys.executable, "-m", "spawner", "--", "/bin/sh", "-c", "exit 6"]
    assert run(argv, environment={**os.environ, "PYTHONPATH": PLACE}).status == 6


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--initt", "true"], "unknown option --initt", "did you mean --init?"),
        (["-mqu", "true"], "unknown option -q", "--help"),
        (["--fork", "true"], "unknown option --fork", "pyspawn forks where it has to"),
        (["-fp", "ps"], "unknown option -f in -fp", "pyspawn forks where it has to"),
        (["--stop-signal=FOO", "true"], "'FOO' is not a signal", "--stop-signal SIGNAL: Send"),
        (
            ["--stop-timeout=soon", "true"],
            "'soon' is not a number of seconds",
            "infinity for never",
        ),
        (["--monotonic=1.5", "true"], "'1.5' is not a whole number", "--monotonic SECONDS: Set"),
        (["--monotonic=" + "9" * 5000, "true"], "' is not a whole number", "--monotonic SECONDS"),
        (["--stop-signal=" + "9" * 5000, "true"], "' is not a signal (", "--stop-signal SIGNAL"),
        (["--env=" + "A" * 9000, "true"], "' is not NAME=VALUE", "--env NAME=VALUE: Set"),
        (
            ["--map-user=no-such-one", "true"],
            "'no-such-one' is neither a user of this machine (`getent passwd` shows them) nor",
            "--map-user USER: Be this user",
        ),
        (["--env=A", "true"], "'A' is not NAME=VALUE", "--env NAME=VALUE: Set"),
        (["--json-status=x", "true"], "'x' is not a file descriptor", "--json-status FD: Write"),
        (["--unshare=pod", "true"], "'pod' is not a kind of namespace", "user, pid, mount"),
        (["--unshare=pid", "--share=pid", "true"], "named in both", "name it in one"),
        (["-p", "--share=pid", "true"], "named in both", "name it in one"),
        (["--unshare=all", "--share=all", "true"], "every namespace is named in both", "one"),
        (["-r", "--share=user", "true"], "named in both", "one"),
        (["-r", "-c", "true"], "exclude each other", "--help"),
        (["-c", "--map-user=5", "true"], "exclude each other", "--help"),
        (["--hostname=x", "--share=uts", "true"], "needs a new uts namespace", "add --uts"),
        (["--monotonic=5", "true"], "needs a new time namespace", "add --time"),
        (["--hostname=" + "x" * 65, "true"], "1 to 64 bytes", None),
        (["--help=x"], "takes no value", "--help"),
        (["--workdir"], "needs a value", "--workdir DIR: Start"),
        (["--persist", "--", "true"], "needs a value", "--persist DIR: As root"),
        (["-help"], "unknown option -help", "did you mean --help?"),
        (["--name=x", "true"], "unknown option --name", "--hostname NAME"),
        (["--drain=1", "true"], "unknown option --drain", "PYINIT_DRAIN=SECONDS pyspawn --init"),
    ],
)
def test_bad_input_gets_a_clear_line_and_a_hint(
    words: list[str], message: str, hint: str | None
) -> None:
    ended = spawn(*words)
    assert ended.status == 125
    assert ended.out == b""
    lines = said(ended)
    assert lines[0].startswith("pyspawn: ")
    assert message in lines[0]
    assert len(lines) == (1 if hint is None else 2)
    if hint is not None:
        assert lines[1].startswith("hint: ")
        assert hint in lines[1]


@pytest.mark.parametrize("words", [[], ["run"], ["--init"], ["--"], ["--net"]], ids=" ".join)
def test_without_a_program_it_is_the_shell(words: list[str], tmp_path: Path) -> None:
    shell = tmp_path / "shell"
    shell.write_text("#!/bin/sh\necho $0 $#; exec /bin/sh")
    shell.chmod(0o755)
    environment = {**os.environ, "SHELL": str(shell)}
    ended = spawn(*words, typed=b"exit 7\n", environment=environment)
    assert (ended.status, ended.out) == (7, f"{shell} 0\n".encode())
    environment["SHELL"] = ""
    assert spawn(*words, typed=b"echo sh; exit 8\n", environment=environment).out == b"sh\n"
    ended = spawn("--dry-run", *words[words[:1] == ["run"] :], environment=environment)
    assert b"/bin/sh" in ended.out.splitlines()[-1]


def test_a_shell_that_is_not_there() -> None:
    ended = spawn("--uts", environment={**os.environ, "SHELL": "/no/such"})
    assert ended.status == 127
    assert "hint: that is your $SHELL: name a program that is there" in ended.errors


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        (["--ipc=host"], DEFAULTS - {"ipc"}),
        (["--pid=host", "--share=cgroup"], DEFAULTS - {"pid", "cgroup"}),
        (["--net=private", "--uts", "host"], (DEFAULTS - {"uts"}) | {"net"}),
        (["--net=none"], DEFAULTS | {"net"}),
        (["--net=host"], DEFAULTS),
        (["--unshare", "net", "mnt", "time"], DEFAULTS | {"net", "time"}),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_people_type(words: list[str], kinds: set[str]) -> None:
    assert new_ones(sh(LINKS, *words)) == kinds


def test_a_byte_that_is_no_text_is_shown_as_a_byte() -> None:
    ended = spawn(b"--setuid=\xff\xfe", "--", "/bin/true")
    assert "--setuid: '\\xff\\xfe' is " in ended.errors
    assert "udc" not in ended.errors


def test_an_entry_of_path_that_is_longer_than_a_path_is_passed_over() -> None:
    search_path = "/" + "x" * 4096 + ":/bin:/usr/bin"
    for init in ([], ["--init"]):
        ended = spawn(*init, "--", "true", environment={**os.environ, "PATH": search_path})
        assert ended.status == 0, ended
        ended = spawn(*init, "--", "true", environment={**os.environ, "PATH": "/" + "x" * 5000})
        assert ended.status == 127, ended
