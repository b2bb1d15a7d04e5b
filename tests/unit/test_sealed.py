"""The copy of the interpreter that nobody can write, and what goes along with it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.kernels import open_descriptors
from helpers.programs import PLACE

from spawner.errors import SetupError
from spawner.joining import sealed

CODE = """
import os, posix, signal, sys
sys.path[:0] = [sys.argv[1]]
from spawner import caller
from spawner.joining import sealed
from spawner.errors import SetupError
from spawner.linux import Kernel

had = {"mask": frozenset({signal.SIGUSR1}), "ignored": frozenset({signal.SIGHUP})}
found = caller.Caller(user=int(sys.argv[2]), group=0, **had)
before = os.readlink("/proc/self/exe")
if not before.startswith("/memfd:"):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
try:
    sealed.restart(Kernel(), found, [int(sys.argv[3])], [signal.SIGUSR1])
except SetupError as error:
    print(error)
    print(error.hint)
    sys.exit(9)
print(before)
print(os.get_inheritable(int(sys.argv[3])))
print(*map(int, [*signal.pthread_sigmask(signal.SIG_BLOCK, ()), *signal.sigpending()]))
print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)
try:
    open("/proc/self/exe", "r+b")
except OSError as error:
    print(error.errno)
"""


def start(owner: int, prepare: str = "") -> subprocess.CompletedProcess[str]:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    argv = [sys.executable, "-I", "-S", "-c", prepare + CODE, PLACE, str(owner), str(writer)]
    try:
        return subprocess.run(argv, capture_output=True, text=True, close_fds=False, check=False)
    finally:
        os.close(reader)
        os.close(writer)


def test_who_owns_the_interpreter_gets_a_sealed_copy_with_all_that_was_there() -> None:
    owner = os.stat(os.path.realpath(sys.executable)).st_uid
    done = start(owner)
    assert done.stderr == ""
    program, kept, signals, ignored, refused = done.stdout.splitlines()
    assert program == "/memfd:pyspawn (deleted)"
    assert kept == "True"
    assert signals.split() == [str(int(signal.SIGUSR1))] * 2  # blocked as before, and pending
    assert ignored == "True"
    assert int(refused) in (errno.ETXTBSY, errno.EPERM, errno.EACCES)


def test_nobody_else_needs_one() -> None:
    status = os.stat(os.path.realpath(sys.executable))
    if status.st_mode & 0o022:
        pytest.skip("others can write the interpreter")
    done = start(status.st_uid + 1)
    assert done.stdout.splitlines()[0] == os.path.realpath(sys.executable)


def test_root_gets_one_of_an_interpreter_of_anybody() -> None:
    """Root inside may write that one as well, or is its owner, in a user namespace."""
    owned = """
import posix, types
real = posix.fstat
def fstat(descriptor):
    return types.SimpleNamespace(st_uid=1, st_mode=0o100755, st_size=real(descriptor).st_size)
posix.fstat = fstat
"""
    done = start(0, owned)
    assert done.stdout.splitlines()[:1] == ["/memfd:pyspawn (deleted)"], done


def test_an_interpreter_that_has_become_shorter_is_no_copy_and_no_endless_one(
    tmp_path: Path,
) -> None:
    """As where an upgrade writes over it."""
    (tmp_path / "python3").write_bytes(b"half")
    with (tmp_path / "python3").open("rb") as file:
        before = open_descriptors()
        with pytest.raises(SetupError) as caught:
            sealed._copy(file.fileno(), 5)
        assert open_descriptors() == before
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOMEM])
def test_a_copy_that_can_not_be_made_is_told(number: int) -> None:
    refuse = f"""
import posix
def refuse(*_):
    raise OSError({number}, "refused")
posix.memfd_create = refuse
"""
    done = start(os.stat(os.path.realpath(sys.executable)).st_uid, refuse)
    assert done.returncode == 9
    assert done.stdout.startswith("copy the Python interpreter into memory")
    assert errno.errorcode[number] in done.stdout


def test_a_limit_on_the_size_of_files_is_told() -> None:
    limit = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, resource.RLIM_INFINITY))
"""
    done = start(os.stat(os.path.realpath(sys.executable)).st_uid, limit)
    assert done.returncode == 9
    assert "File too large (EFBIG)" in done.stdout
    assert "`ulimit -f unlimited`" in done.stdout
