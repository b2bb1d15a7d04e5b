"""The program sees what it would have seen without pyspawn in front of it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from helpers.children import wait_readable
from helpers.programs import RESERVED, Word, prepared, python
from helpers.pyspawn import each_shape, pyspawn, sh, spawn
from helpers.running import Running, run
from helpers.seccomp import block_raw

pytestmark = pytest.mark.usefixtures("pidns")


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
