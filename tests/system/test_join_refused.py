"""What can't be joined is refused with a line and a hint, and nothing is left."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.containers import OWNER
from helpers.joining import join, joining
from helpers.programs import prepared
from helpers.pyspawn import refused
from helpers.running import Running, run

from spawner import lean

ELSEWHERE = 64998
"""A user with no container."""


def test_the_wrong_owner(target: int) -> None:
    require("root", "other-user")
    become = f"os.setgroups([]); os.setresgid(*3*[{ELSEWHERE}]); os.setresuid(*3*[{ELSEWHERE}])\n"
    ended = run(prepared(become, joining(target, "--", "/bin/true", owner=False)))
    message, hint = refused(ended)
    assert message == f"join process {target}: Permission denied (EACCES)"
    assert f"runs as user id {OWNER}, and you are {ELSEWHERE}" in hint
    assert join(target, "--", "/bin/true", owner=True).status == 0  # as the hint says


def test_named_without_the_user_namespace_that_gives_the_right(target: int) -> None:
    message, hint = refused(join(target, "--uts", "--", "/bin/true"))
    assert message == "join the uts namespace: Operation not permitted (EPERM)"
    assert "join that too (--user)" in hint
    assert join(target, "--uts", "--user", "--", "/bin/true").status == 0


def test_a_pid_that_nobody_has() -> None:
    message, hint = refused(join(2**22 + 1, "--", "/bin/true"))
    assert "No such process (ESRCH)" in message or "Invalid argument" in message
    assert "pid" in hint or "process" in hint


def test_a_zombie() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        children.wait_state(pid, "Z")
        message, hint = refused(join(pid, "--", "/bin/true", owner=False))
        assert message == f"join process {pid}: the process has ended"
        assert "zombie" in hint
    finally:
        os.waitpid(pid, 0)


def test_a_kernel_thread() -> None:
    if children.state(2) == "" or "kthreadd" not in Path("/proc/2/comm").read_text():
        pytest.skip("no kernel thread shows here")
    message, _ = refused(join(2, "--", "/bin/true", owner=False))
    assert message == "join process 2: the process is a kernel thread"


def test_a_process_that_is_where_we_are_is_refused() -> None:
    message, hint = refused(join(os.getpid(), "--", "/bin/true", owner=False))
    assert message == f"join process {os.getpid()}: pyspawn is already in its namespaces"
    assert "lsns" in hint


@pytest.mark.parametrize(
    ("words", "which"),
    [
        (("{pid}", "--mount"), "the namespaces that are named"),
        (("{pid}", "--net", "--user"), "the namespaces that are named"),
        (("/proc/{pid}/ns",), "its namespaces"),
        (("/proc/{pid}/ns", "--uts"), "the namespaces that are named"),
        (("/proc/{pid}/ns/net",), "its namespaces"),
        (("/proc/{pid}/ns/net", "--net"), "the namespaces that are named"),
    ],
)
def test_files_that_are_where_we_are_are_refused(words: tuple[str, ...], which: str) -> None:
    """A program that was meant for a container doesn't run right here."""
    target, *kinds = (word.format(pid=os.getpid()) for word in words)
    message, hint = refused(join(target, *kinds, "--", "/bin/echo", "here", owner=False))
    name = f"process {target}" if target.isdigit() else target
    assert message == f"join {name}: pyspawn is already in {which}"
    assert "lsns" in hint


@pytest.mark.parametrize("kind", ["pid", "time"])
def test_of_who_has_made_a_namespace_for_its_children_one_of_them_is_to_be_named(kind: str) -> None:
    """`unshare --fork` itself is in the mount namespace that it has made, but not in the others."""
    require("root", "unshare")
    shell = ["/bin/sh", "-c", "echo ready; exec cat"]
    with Running(["unshare", "--mount", f"--{kind}", "--fork", *shell]) as running:
        assert running.line() == "ready"
        starter = running.starter
        (child,) = children.of(starter)
        for kinds in ((), (f"--{kind}", "--mount")):
            message, hint = refused(join(starter, *kinds, "--", "/bin/true", owner=False))
            wanted = f"its new {kind} namespace holds only its children, not the process itself"
            assert message == f"join process {starter}: {wanted}"
            assert f"`pgrep -lP {starter}` shows them" in hint
        show = ("--", "/bin/readlink", f"/proc/self/ns/{kind}", "/proc/self/ns/mnt")
        assert join(child, "--mount", "--", "/bin/true", owner=False).status == 0
        if kind == "time":
            found = join(child, *show, owner=False).out.decode().split()
            assert found == [os.readlink(f"/proc/{child}/ns/{name}") for name in (kind, "mnt")]
        # What it is in itself may be named.
        assert join(starter, "--mount", "--", "/bin/true", owner=False).status == 0


def test_of_a_launcher_the_container_is_to_be_named() -> None:
    """The pid that a shell knows is that of `pyspawn`, which stays outside."""
    require("pidns")
    program = ["--", "/bin/sh", "-c", "echo ready; exec cat"]
    with Running([*lean.pyspawn(), "--init", *program]) as running:
        assert running.line() == "ready"
        launcher = running.starter
        first = children.below(launcher)[0]
        message, hint = refused(join(launcher, "--", "/bin/true", owner=False))
        assert message == f"join process {launcher}: pyspawn is already in its namespaces"
        assert f"`pgrep -lP {launcher}` the children of this one" in hint
        assert join(first, "--", "/bin/true", owner=False).status == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no target was given"),
        (["0", "--", "true"], "0 can't be a process id"),
        (["99999999999", "--", "true"], "99999999999 can't be a process id"),
        (["9" * 5000, "--", "true"], "9 can't be a process id"),
        (["", "--", "true"], "the target is empty"),
        (
            ["/proc/self/ns", "--target-env", "--", "true"],
            "only a target that is a process has an environment",
        ),
        (["1", "--nonsense", "true"], "unknown option --nonsense"),
    ],
)
def test_what_can_not_be_meant(words: list[str], message: str) -> None:
    ended = run([*lean.pyspawn(), "exec", *words])
    assert refused(ended)[0].endswith(message)


def test_an_option_of_run() -> None:
    message, hint = refused(run([*lean.pyspawn(), "exec", "1", "--hostname", "x", "true"]))
    assert message == "unknown option --hostname"
    assert hint.startswith("only `pyspawn run` accepts that option")


@pytest.mark.parametrize("words", [[], ["-t", "1", "true"], ["--target", "1", "true"]])
def test_how_it_is_written(words: list[str]) -> None:
    _, hint = refused(run([*lean.pyspawn(), "exec", *words]))
    assert re.search(r"pyspawn exec (PID|TARGET) -- PROGRAM", hint)


def test_help() -> None:
    ended = run([*lean.pyspawn(), "exec", "--help"])
    assert ended.status == 0
    assert ended.out.startswith(b"Usage: pyspawn exec TARGET")
    assert b"--target-env" in ended.out
