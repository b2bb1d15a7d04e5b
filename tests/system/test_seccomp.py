"""`--seccomp`: a filter holds for all in the container, and what can't be one is refused."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from helpers.capabilities import require
from helpers.programs import Word, python
from helpers.pyspawn import ALONE, each_shape, hint_of, pyspawn, refused, said, sh, spawn
from helpers.running import Ended, run
from helpers.seccomp import KILL, Call, filtering, refusal

import spawner
from spawner import aio

pytestmark = pytest.mark.usefixtures("pidns")

SHOW = "grep -E '^Seccomp:' /proc/self/status"
IN_FORCE = b"Seccomp:\t2\n"


@pytest.fixture(autouse=True)
def _filters() -> None:
    require("seccomp")


def written(place: Path, verdict: int, *calls: str | Call) -> str:
    """Return the path of a filter."""
    path = place / "filter.bpf"
    path.write_bytes(filtering(calls, verdict))
    return str(path)


def denying(place: Path, *calls: str | Call) -> str:
    return written(place, refusal(errno.EPERM), *calls)


SETHOSTNAME = "sethostname"
"""What nobody needs for a start, and can be asked of a program."""

RENAME = "import socket; socket.sethostname('box'); print(socket.gethostname())"


def renamed(*options: Word) -> Ended:
    script = f'{SHOW}; sh -c "{SHOW}"; exec "$@"'
    return spawn(*ALONE, *options, "--uts", "--", "/bin/sh", "-c", script, "sh", *python(RENAME))


@each_shape
def test_a_call_that_the_filter_refuses(options: list[str], tmp_path: Path) -> None:
    ended = renamed(*options, "--seccomp", denying(tmp_path, SETHOSTNAME))
    assert (ended.status, ended.out) == (1, IN_FORCE * 2)
    assert "PermissionError: [Errno 1]" in ended.errors
    ended = renamed(*options, "--seccomp", denying(tmp_path))
    assert (ended.status, ended.out, ended.errors) == (0, IN_FORCE * 2 + b"box\n", "")


def test_a_second_filter_does_not_take_the_place_of_the_first(tmp_path: Path) -> None:
    words = ["--seccomp", denying(tmp_path, SETHOSTNAME), "--seccomp", denying(tmp_path)]
    message, hint = refused(spawn(*words, "--", "/bin/echo", "ran"))
    assert message == "only one seccomp filter can be installed"
    assert hint == "put the rules of all into one filter"


def test_pyinit_is_under_it_too(tmp_path: Path) -> None:
    """And reaps, and has the status, where nothing that it needs is refused."""
    words = ["--init", "--seccomp", denying(tmp_path, "ioctl", "prctl", "setpgid", "setsid")]
    ended = sh("(sh -c 'exit 0' & exit 0); grep Seccomp: /proc/1/status; exit 7", *ALONE, *words)
    assert (ended.status, ended.out) == (7, IN_FORCE)


def test_the_launcher_is_not_under_it(tmp_path: Path) -> None:
    rights = spawner.Rights(seccomp=denying(tmp_path, "kill", "pidfd_send_signal"))
    with spawner.Process(["cat"], rights=rights, stdin=spawner.PIPE, init=False) as process:
        launcher = Path(f"/proc/{process.pid}/status").read_text()
        assert "Seccomp:\t2\n" in launcher
        process.kill()
        assert process.wait() == 128 + signal.SIGKILL


def test_a_call_that_ends_who_makes_it(tmp_path: Path) -> None:
    ended = renamed("--seccomp", written(tmp_path, KILL, SETHOSTNAME))
    assert (ended.status, ended.out) == (128 + signal.SIGSYS, IN_FORCE * 2)
    (message,) = said(ended)
    assert message.startswith("pyspawn: the program was killed by SIGSYS, which is how the seccomp")
    assert message.endswith(
        "/filter.bpf ends a process that makes a system call that it doesn't allow"
    )


@pytest.mark.parametrize("init", [[], ["--init"]], ids=["program", "init"])
def test_no_call_but_read_and_execve_is_made_under_it(tmp_path: Path, init: list[str]) -> None:
    """Nothing else of ours has to be allowed; an interpreter may have to get memory."""
    require("strace")
    words = pyspawn(*ALONE, *init, "--seccomp", denying(tmp_path), "--", "/bin/true")
    trace = tmp_path / "trace"
    assert run(["strace", "-f", "-o", str(trace), *words]).status == 0
    lines = [line.split(None, 1) for line in trace.read_text().splitlines()]
    (start,) = (n for n, (_, call) in enumerate(lines) if "SECCOMP_MODE_FILTER" in call)
    after = [call for pid, call in lines[start + 1 :] if pid == lines[start][0]]
    names = [call.partition("(")[0] for call in after if call[0].isalpha()]
    under = names[: names.index("execve")]
    assert set(under) - {"brk", "madvise", "mmap", "mremap", "munmap"} == {"read"}


@pytest.mark.parametrize("call", ["read", "execve"])
def test_a_filter_that_lets_nothing_start(tmp_path: Path, call: str) -> None:
    ended = sh("echo ran", *ALONE, "--seccomp", written(tmp_path, KILL, call))
    assert (ended.status, ended.out) == (128 + signal.SIGSYS, b"")
    assert "was killed by SIGSYS, which is how the seccomp filter" in ended.errors
    ended = sh("echo ran", *ALONE, "--init", "--seccomp", written(tmp_path, KILL, call))
    message = "the init was killed by SIGSYS before it had started the program"
    assert "do without an init" in hint_of(ended, message)


def test_an_exec_that_the_filter_refuses(tmp_path: Path) -> None:
    path = denying(tmp_path, "execve")
    ended = spawn(*ALONE, "--seccomp", path, "--", "/bin/echo", "ran")
    assert (ended.status, ended.out) == (126, b"")
    assert said(ended)[0].startswith("pyspawn: /bin/echo: ")
    message, _ = refused(spawn(*ALONE, "--init", "--seccomp", path, "--", "/bin/echo", "ran"))
    assert message.startswith("execute the init ")


def test_a_program_that_is_not_there_is_told_under_a_filter(tmp_path: Path) -> None:
    path = denying(tmp_path, "socket", "ioctl", "fcntl", "prctl")
    ended = spawn(*ALONE, "--seccomp", path, "--", "no-such-program")
    assert ended.status == 127
    assert said(ended)[0].startswith("pyspawn: no-such-program: not found in PATH")


def test_a_filter_without_no_new_privs(tmp_path: Path) -> None:
    """It takes a right then, which goes with the capabilities."""
    path = denying(tmp_path)
    words = ["--user", "--seccomp", path, "--cap-drop=sys_admin"]
    hint = hint_of(sh("echo ran", *words),
                   f"install the seccomp filter {path}: Permission denied (EACCES)")  # fmt: skip
    assert hint.endswith("add --no-new-privs")
    assert sh(SHOW, *words, "--no-new-privs").out == IN_FORCE
    assert (
        sh("grep NoNewPrivs /proc/self/status", "--user", "--seccomp", path).out
        == sh("grep NoNewPrivs /proc/self/status", "--user").out
    )


def test_a_descriptor_is_read_and_kept_from_the_program(tmp_path: Path) -> None:
    with open(denying(tmp_path, SETHOSTNAME), "rb") as file:
        script = f"{SHOW}; ls -l /proc/self/fd"
        ended = sh(script, *ALONE, f"--seccomp={file.fileno()}", pass_fds=[file.fileno()])
    assert ended.out.startswith(IN_FORCE)
    assert b"filter.bpf" not in ended.out


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 bytes, which is not the length of a filter"),
        (b"a filter", None),
        (b"abc", "has 3 bytes, which is not the length of a filter"),
        (bytes(8 * 4097), "has more than 32768 bytes, which is not the length of a filter"),
    ],
)
def test_what_is_no_filter(
    tmp_path: Path, content: bytes, message: str | None, dry: list[str]
) -> None:
    path = tmp_path / "filter"
    path.write_bytes(content)
    ended = sh("echo ran", *ALONE, *dry, "--seccomp", str(path))
    if message:
        assert "classic BPF" in hint_of(ended, f"the seccomp filter {path} {message}")
    elif not dry:
        message = f"install the seccomp filter {path}: Invalid argument (EINVAL)"
        assert hint_of(ended, message).startswith("the kernel doesn't accept the filter")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seccomp=/nonexistent"], "open the seccomp filter /nonexistent: No such file"),
        (["--seccomp=/"], "the seccomp filter / is not a regular file"),
        (["--seccomp=/dev/zero"], "the seccomp filter /dev/zero is not a regular file"),
        (["--seccomp=77"], "read the seccomp filter descriptor 77: Bad file descriptor (EBADF)"),
        (["--seccomp="], "--seccomp: '' is neither the path nor the descriptor"),
    ],
)
def test_what_can_not_be_read(words: list[str], message: str) -> None:
    assert refused(sh("echo ran", *ALONE, *words))[0].startswith(message)


def test_the_step_is_told(tmp_path: Path) -> None:
    path = denying(tmp_path)
    lines = spawn(*ALONE, "--seccomp", path, "--dry-run", "--", "true").out.decode().splitlines()
    what = f"install the seccomp filter {path}"
    length = os.path.getsize(path) // 8
    call = f"prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, {{{length}, {path}}})"
    assert lines[-2] == f"init      {what}: {call}"
    explained = spawn(*ALONE, "--seccomp", path, "--explain", "--", "/bin/true").errors
    places = [explained.index(f"init: {each}\n") for each in (what, "execute /bin/true")]
    assert places == sorted(places)


@pytest.mark.parametrize("options", [{}, {"init": False}, {"unshare": "user"}], ids=str)
def test_from_python(tmp_path: Path, options: dict[str, Any]) -> None:
    command = ["sh", "-c", SHOW]
    with open(denying(tmp_path), "rb") as file:
        for seccomp in (file.name, Path(file.name), file.fileno()):
            rights = spawner.Rights(seccomp=seccomp)
            assert spawner.check_output(command, rights=rights, **options) == IN_FORCE
        ended = asyncio.run(aio.run(command, rights=rights, stdout=spawner.PIPE, **options))
        assert ended.stdout == IN_FORCE
        assert "install the seccomp filter" in str(spawner.plan(command, rights=rights, **options))


def test_a_descriptor_that_is_not_open_is_an_error() -> None:
    with pytest.raises(OSError, match="77 of seccomp isn't open"):
        spawner.run(["true"], rights=spawner.Rights(seccomp=77))


ASKS = """
import ctypes, errno, fcntl, os, platform, socket, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def said(number, *arguments):
    found = libc.syscall(number, *arguments)
    return errno.errorcode[ctypes.get_errno()] if found < 0 else "done"
def attempt(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
print("fork", os.waitpid(os.fork() or os._exit(0), 0)[1])
started = threading.Thread(target=int)
started.start()
started.join()
unshare, ioctl = {"x86_64": (272, 16), "aarch64": (97, 29)}[platform.machine()]
print("unshare", said(unshare, 0x10000000), said(unshare, 0x400))
print("io_uring_setup", said(425, 1, 0))
print("clone3", said(435, 0, 0))
print("newer", said(1000))
print("none", said(-1))
print("TIOCSTI", attempt(fcntl.ioctl, 0, 0x5412, b"x"))
print("TIOCSTI high", said(ioctl, 0, ctypes.c_ulong(1 << 32 | 0x5412), b"x"))
print("AF_VSOCK", attempt(socket.socket, 40, socket.SOCK_STREAM))
print("AF_ALG", attempt(socket.socket, 38, socket.SOCK_SEQPACKET))
print("AF_UNIX", attempt(socket.socketpair))
"""

ANSWERS = """\
fork 0
unshare EPERM done
io_uring_setup EPERM
clone3 ENOSYS
newer ENOSYS
none ENOSYS
TIOCSTI EPERM
TIOCSTI high EPERM
AF_VSOCK EPERM
AF_ALG EPERM
AF_UNIX done
"""


@each_shape
def test_the_default_profile(options: list[str]) -> None:
    require("profile")
    ended = spawn(*ALONE, *options, "--seccomp", "default", "--", *python(ASKS))
    assert (ended.status, ended.out.decode(), ended.errors) == (0, ANSWERS, "")


def test_the_default_profile_runs_what_people_run() -> None:
    require("profile")
    code = """
import asyncio, multiprocessing, subprocess
async def echo():
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    return (await process.communicate(b"x"))[0]
if __name__ == "__main__":
    print(asyncio.run(echo()), subprocess.check_output(["sh", "-c", "echo a | tr a b"]))
    for method in ("spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(pool.map(abs, [-1, -2]))
"""
    ended = spawn("--init", "--seccomp", "default", "--", *python(code))
    assert ended.out.decode().splitlines() == ["b'x' b'b\\n'", "[1, 2]", "[1, 2]"], ended.errors


def test_a_capability_that_is_added_opens_its_calls() -> None:
    require("profile", "userns")
    script = "hostname other && hostname"
    words = ["--user", "--uts", "--seccomp", "default"]
    assert sh(script, *words).status != 0
    opened = sh(script, *words, "--cap-add", "sys_admin")
    assert (opened.status, opened.out) == (0, b"other\n")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the other calls are those of i386")
def test_a_call_of_another_architecture_is_fatal() -> None:
    """getpid(2) by `int 0x80`, as a 32-bit program would make it."""
    require("profile")
    code = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex("b814000000cd80c3"))
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
print("went on")
"""
    free = spawn("--init", "--", *python(code))
    ended = spawn("--init", "--seccomp", "default", "--", *python(code))
    if free.status:  # a kernel that runs no 32-bit programs
        assert (ended.status, ended.out) == (free.status, b"")
        return
    assert (free.out, ended.status, ended.out) == (b"went on\n", 128 + signal.SIGSYS, b"")
    (message,) = said(ended)
    assert "SIGSYS, which is how the seccomp filter default ends a process that makes " in message
    assert message.endswith("of another architecture, as 32-bit programs do")


def test_a_profile_in_json_is_no_filter(tmp_path: Path) -> None:
    path = tmp_path / "seccomp.json"
    for profile in ('{"defaultAction": "SCMP_ACT_ERRNO"}', '\n{"syscalls": 1}'):
        path.write_text(profile)
        message, hint = refused(spawn("--seccomp", str(path), "--", "true"))
        what = "is JSON, as container engines have their profiles"
        assert message == f"the seccomp filter {path} {what}"
        assert hint.startswith("--seccomp default is a profile like theirs")
    assert path.stat().st_size % 8 == 0


def test_no_filter_by_name() -> None:
    assert sh(SHOW, "--seccomp", "unconfined").out == sh(SHOW).out
