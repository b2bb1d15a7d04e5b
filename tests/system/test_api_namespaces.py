"""What the program finds that the API starts, and in which namespaces it is."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import children
from helpers.inodes import KINDS, inodes
from helpers.running import Lines
from helpers.trees import python

import spawner
from spawner import PIPE, Process, run

pytestmark = pytest.mark.usefixtures("pidns")


def output(*args: Any, **options: Any) -> str:
    """Return what a program printed that has to succeed."""
    return run(list(args), stdout=PIPE, text=True, check=True, **options).stdout


def test_the_environment_is_exactly_the_one_given() -> None:
    raw = run(["/usr/bin/env", "-0"], env={b"A": b"\xff=", b"B C": b""}, stdout=PIPE).stdout
    assert sorted(raw.split(b"\0")) == [b"", b"A=\xff=", b"B C="]


def test_the_environment_is_the_callers_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_THE_CALLER", "1")
    raw = run(["env", "-0"], stdout=PIPE).stdout
    assert b"FROM_THE_CALLER=1" in raw.split(b"\0")
    assert raw == subprocess.run(["env", "-0"], stdout=PIPE, check=True).stdout


def test_the_program_is_looked_up_in_the_given_path(tmp_path: Path) -> None:
    program = tmp_path / "hello"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    assert output("hello", env={"PATH": str(tmp_path)}) == "hello\n"


def test_the_directory(tmp_path: Path) -> None:
    assert output("pwd", cwd=tmp_path) == f"{tmp_path}\n"
    assert output("pwd") == f"{os.getcwd()}\n"
    assert output("/bin/pwd", cwd=os.fsencode(tmp_path)) == f"{tmp_path}\n"


def test_only_the_descriptors_that_were_passed() -> None:
    reader, writer = os.pipe()
    try:
        assert output("ls", "/proc/self/fd") == "0\n1\n2\n3\n"  # 3 is ls's own
        list_and_write = (
            f"import os; os.write({writer}, repr(os.listdir('/proc/self/fd')).encode())"
        )
        assert run(python(list_and_write), pass_fds=[writer]).returncode == 0
        found = {int(name) for name in eval(os.read(reader, 4096))}
        assert found - {writer} <= {0, 1, 2, 3}
    finally:
        os.close(reader)
        os.close(writer)


def test_masks_and_dispositions_are_those_of_a_plain_child() -> None:
    cat = ["grep", "-E", "SigBlk|SigIgn|SigPnd|ShdPnd", "/proc/self/status"]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    try:
        local = subprocess.run(cat, stdout=PIPE, text=True, check=True).stdout
        assert output(*cat) == local
        assert output(*cat, init=False) == local
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_pid_is_the_first_process_as_we_see_it() -> None:
    for init in (True, False):
        with Process(["sleep", "inf"], init=init) as process:
            outer, inner = children.status_field(process.pid, "NSpid").split()[-2:]
            assert (int(outer), int(inner)) == (process.pid, 1)
            process.kill()


def test_namespaces_are_those_of_the_container() -> None:
    ours = inodes()
    with Process(["sleep", "inf"], unshare="all") as process:
        assert process.namespaces == inodes(process.pid)
        assert not set(process.namespaces.values()) & set(ours.values())
        process.kill()


def test_what_is_unshared_and_what_is_shared() -> None:
    ours = inodes()
    with Process(["sleep", "inf"], unshare=("net", "user"), share=["uts", "ipc"]) as process:
        theirs = inodes(process.pid)
        process.kill()
    new = {kind for kind in KINDS if theirs[kind] != ours[kind]}
    assert new == {"cgroup", "mount", "net", "pid", "user"}


def test_pyinit_is_pid_1_unless_it_is_not_wanted(tmp_path: Path) -> None:
    own_pid = ["sh", "-c", "echo $$"]
    assert output(*own_pid) != "1\n"
    assert output(*own_pid, init=False) == "1\n"
    init = tmp_path / "init"
    init.write_text('#!/bin/sh\necho my init: $$\n[ "$1" = -- ] && shift\nexec "$@"\n')
    init.chmod(0o755)
    assert output(*own_pid, init=init).splitlines()[0] == "my init: 1"


def test_mounts() -> None:
    assert output("sh", "-c", "cd /mnt && echo [0-9]*", mount_proc="/mnt") == "1 2\n"
    script = "grep -c master: /proc/self/mountinfo || :"
    assert output("sh", "-c", script, propagation="private", mount_proc=True) == "0\n"


def test_hostname_clocks_and_ids() -> None:
    assert output("cat", "/proc/sys/kernel/hostname", hostname="box") == "box\n"
    clock = python("import time; print(time.clock_gettime(time.CLOCK_BOOTTIME))")

    moved = float(output(*clock, unshare="time", boottime=1_000_000))
    assert 1_000_000 <= moved - time.clock_gettime(time.CLOCK_BOOTTIME) + 60 < 1_000_120
    assert output("id", "-u", unshare="user", map="root") == "0\n"
    assert output("id", "-u", unshare="user", map="current") == f"{os.getuid()}\n"
    own = spawner.IdMap([(7, os.getuid(), 1)])
    assert output("id", "-u", map_users=own) == "7\n"
    assert output("id", "-u", map_users=own.extents, user=7) == "7\n"
    with pytest.raises(
        spawner.SetupError,
        match=r"the map 7:.* gives the container no such "
        "user",
    ) as caught:
        output("id", map_users=own, user=0)
    assert 'map_users="0:' in (caught.value.hint or "")


def test_what_may_be_missing_is_not_missing_here() -> None:
    with Process(["sleep", "inf"], unshare_try="time") as process:
        assert process.missing == {}
        assert process.namespaces["time"] != inodes()["time"]
        process.kill()


def test_a_shared_pid_namespace_leaves_nothing_either() -> None:
    reader, writer = os.pipe()
    script = "setsid sh -c 'trap \"\" TERM; echo ready; exec sleep inf' & wait"
    process = Process(["sh", "-c", script], share="pid", stdout=writer)
    os.close(writer)
    lines = Lines(reader)
    assert lines.next() == "ready"
    process.kill()
    process.wait()
    os.set_blocking(reader, False)
    assert os.read(reader, 1) == b""
    os.close(reader)
