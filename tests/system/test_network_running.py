"""The helper of a network while the program runs, and at its end."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.nets import OPEN_TUN, nest, program
from helpers.networks import (
    SHELL,
    as_caller,
    callers,
    carriers,
    fake,
    gone,
    left_in_tmp,
    sockets,
)
from helpers.running import Running, run


def helper_of(running: Running) -> int:
    """Return the pid of the process that connects a running container."""
    wanted = ("slirp4netns", "pasta", "passt")
    for pid in children.of(running.pid):
        if Path(f"/proc/{pid}/comm").read_text().startswith(wanted):
            return pid
    raise AssertionError("no helper")


@callers
@carriers
def test_sigkill_of_pyspawn_leaves_nothing(kind: str, caller: str) -> None:
    before = sockets()
    script = "echo up; exec sleep 1000"
    argv = as_caller(caller, kind, "--init", "--publish", "18080", program=(SHELL, "-c", script))
    with Running(argv) as running:
        assert running.line() == "up"
        pidfds = [os.pidfd_open(pid) for pid in children.below(running.pid)]
        assert os.pidfd_open(helper_of(running)) >= 0
        running.send(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
        assert all(map(gone, pidfds))
        assert left_in_tmp(before) == []  # in here: what ends last isn't killed yet
    for pidfd in pidfds:
        os.close(pidfd)


@carriers
def test_the_helper_ends_with_the_program(kind: str) -> None:
    argv = as_caller("a user", kind, "--init", program=(SHELL, "-c", "echo up; read line; exit 7"))
    with Running(argv) as running:
        assert running.line() == "up"
        pidfd = os.pidfd_open(helper_of(running))
        running.close_input()
        assert running.wait() == 7
        assert gone(pidfd)
        assert running.errors() == ""
    os.close(pidfd)


@carriers
def test_a_helper_that_dies_is_told(kind: str) -> None:
    script = "echo up; read line; echo on"
    words = ("--init", "--json-status", "1")
    with Running(as_caller("a user", kind, *words, program=(SHELL, "-c", script))) as running:
        first = running.lines(3)  # "started" and what the program says come in any order
        assert sum("created" in line or "started" in line for line in first) == 2
        assert "up" in first
        os.kill(helper_of(running), signal.SIGKILL)
        told = json.loads(running.line())
        assert told["event"] == "disconnected"
        message = f"{kind} was killed by SIGKILL: the container has no network any more"
        assert told["message"] == message
        running.write(b"\n")
        assert running.line() == "on"
        assert running.wait() == 0
        assert running.errors() == f"pyspawn: {message}\n"


@carriers
def test_ctrl_c_is_not_for_the_helper(kind: str) -> None:
    """It has a session of its own, so a terminal's signals pass it by."""
    argv = as_caller("root", kind, "--init", program=(SHELL, "-c", "echo up; exec sleep 1000"))
    with Running(argv) as running:
        assert running.line() == "up"
        helper = helper_of(running)
        assert os.getsid(helper) == helper != os.getsid(running.pid)
        running.send(signal.SIGTERM)
        assert running.wait() == 143


@carriers
def test_the_helper_has_no_descriptor_of_the_callers_and_the_program_none_of_ours(
    kind: str,
) -> None:
    reader, writer = os.pipe()
    script = "ls /proc/self/fd | wc -l; read line"
    argv = as_caller("a user", kind, "--init", program=(SHELL, "-c", script))
    with Running(argv, pass_fds=[writer]) as running:
        os.close(writer)
        assert int(running.line()) == 3 + 1 + 1  # the standard ones, the one passed, ls' own
        pipe = os.readlink(f"/proc/self/fd/{reader}")
        helper = Path(f"/proc/{helper_of(running)}/fd")
        held = {os.readlink(path) for path in helper.iterdir()}
        assert held
        assert pipe not in held
        running.close_input()
        running.wait()
        assert os.read(reader, 1) == b""
    os.close(reader)


WAIT = 'echo up; read line; exec "$0" "$@"'

REACH = """
import ctypes, os
if os.path.isdir("/proc/self"):
    ctypes.CDLL(None).umount2(b"/proc", 2)
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/comm") as file:
            name = file.read().strip()
    except OSError:
        continue
    if name.startswith(("slirp4netns", "pasta", "passt")):
        try:
            os.open(f"/proc/{pid}/mem", os.O_RDWR)
            print(pid, "reached")
        except PermissionError:
            print(pid, "shut")
        except ProcessLookupError:  # somebody else's, that has ended
            continue
"""
"""A program that is root inside, takes away its own /proc, and tries to write into the helper."""


@pytest.mark.parametrize("caller", ["root in a user namespace", "a user", "a user with a keeper"])
@carriers
def test_a_program_that_is_root_inside_can_not_reach_into_the_helper(
    kind: str, caller: str
) -> None:
    """The helper is in the machine's network: who could change it would be, too."""
    argv = as_caller(caller, kind, program=(SHELL, "-c", WAIT))
    with Running([*argv, *program(REACH)]) as running:
        assert running.line() == "up"
        helper = helper_of(running)
        running.write(b"\n")
        found = running.out.rest().decode().split("\n")
        assert f"{helper} shut" in found
        assert not [line for line in found if "reached" in line]


def test_pasta_is_shut_in_before_the_program_starts(tmp_path: Path) -> None:
    """It says that it's ready before, and may have no processor then: here it waits after that."""
    require("root", "userns", "tun", "ip", "pasta", "strace", "ptrace")
    late = "strace -D -qq -o /dev/null -e trace=write -e inject=write:delay_exit=500000"
    code = fake(tmp_path, "pasta", f'exec {late} {shutil.which("pasta")} "$@"')
    words = ("--network", "pasta", "--map-root-user")
    ended = run(nest(OPEN_TUN + code, *words, program=program(REACH)))
    assert (ended.status, ended.errors) == (0, "")
    assert b" shut\n" in ended.out
    assert b"reached" not in ended.out


@carriers
def test_the_helper_gives_up_its_rights(kind: str) -> None:
    """Started by root it keeps none but those for ports and interfaces."""
    argv = as_caller("root", kind, program=(SHELL, "-c", "echo up; read line"))
    with Running(argv) as running:
        assert running.line() == "up"
        status = helper_of(running)
        held = int(children.status_field(status, "CapEff"), 16)
        sys_module, setuid = 1 << 16, 1 << 7
        assert not held & (sys_module | setuid)
        assert children.status_field(status, "Seccomp") == "2"
        running.close_input()
