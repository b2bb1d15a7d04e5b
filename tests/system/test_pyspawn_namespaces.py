"""`pyspawn` with real namespaces: which are new, and what is in them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from helpers.pyspawn import ALONE, DEFAULTS, LINKS, ROOT, new_ones, pyspawn, said, sh, spawn
from helpers.running import run

from spawner.spec import NAMESPACES

pytestmark = pytest.mark.usefixtures("pidns")


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
