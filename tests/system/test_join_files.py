"""Namespaces joined by their files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.namespace_files import SHOW, expected, holder, program_of
from helpers.pyspawn import pyspawn, refused
from helpers.running import run

# exec by file and by directory.


def test_a_file() -> None:
    require("root")
    with holder("--uts") as running:
        pid = program_of(running)
        ended = run(pyspawn("exec", f"/proc/{pid}/ns/uts", *SHOW))
        assert ended.out.decode().split() == expected(pid, "uts")


def test_a_directory() -> None:
    with holder("--uts", "--ipc", "--net", "--user") as running:
        pid = program_of(running)
        ended = run(pyspawn("exec", f"/proc/{pid}/ns", *SHOW))
        assert ended.out.decode().split() == expected(pid, "uts", "ipc", "net", "user")
        ended = run(pyspawn("exec", f"/proc/{pid}/ns", "--net", "--user", *SHOW))
        assert ended.out.decode().split() == expected(pid, "net", "user")


@pytest.mark.parametrize(
    ("target", "words", "message"),
    [
        ("/nonesuch", (), "join /nonesuch: No such file or directory (ENOENT)"),
        ("/etc/passwd", (), "join /etc/passwd: the file is not a namespace"),
        ("/dev/null", (), "join /dev/null: the file is not a namespace"),
        ("/usr", (), "join /usr: there is no namespace in this directory"),
        ("/usr", ("--net",), "join /usr/net: No such file or directory (ENOENT)"),
        (
            "/proc/self/ns/uts",
            ("--net",),
            "join /proc/self/ns/uts: the file is a uts namespace, not a net namespace",
        ),
    ],
)
def test_what_is_no_target(target: str, words: tuple[str, ...], message: str) -> None:
    ended = run(pyspawn("exec", target, *words, "--", "/bin/true"))
    assert ended.status == 125
    assert ended.errors.splitlines()[0] == f"pyspawn: {message}"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("exec", "/nonesuch", "true"), "there is no /nonesuch: name a process by its pid"),
        (
            ("exec", "/usr", "--net", "true"),
            "name only namespaces that the target has: `ls /usr` shows",
        ),
        (("--net=/nonesuch", "true"), "`namei -l /nonesuch` shows which part of it isn't there"),
        (("release", "/nonesuch"), "`grep pyspawn-persist /proc/self/mounts` shows"),
    ],
)
def test_what_to_name_in_place_of_what_is_not_there(words: tuple[str, ...], hint: str) -> None:
    assert refused(run(pyspawn(*words)))[1].startswith(hint)


def test_a_fifo_holds_nobody(tmp_path: Path) -> None:
    fifo = tmp_path / "net"
    os.mkfifo(fifo)
    message, _ = refused(run(pyspawn("exec", str(fifo), "--", "/bin/true")))
    assert message == f"join {fifo}: the file is not a namespace"
    message, _ = refused(run(pyspawn("exec", str(tmp_path), "--", "/bin/true")))
    assert message == f"join {fifo}: the file is not a namespace"


def test_a_file_of_the_wrong_kind_in_a_directory(tmp_path: Path) -> None:
    (tmp_path / "net").symlink_to("/proc/self/ns/uts")
    message, hint = refused(run(pyspawn("exec", str(tmp_path), "--", "/bin/true")))
    assert message == f"join {tmp_path}/net: the file is a uts namespace, not a net namespace"
    assert "--uts" in hint


def test_a_pid_namespace_from_below() -> None:
    """Who is in one can't join those above."""
    require("root", "pidns")
    outer = os.open("/proc/self/ns/pid", os.O_RDONLY)
    try:
        word = f"/proc/self/fd/{outer}"
        ended = run(pyspawn("--", *pyspawn("exec", word, "--", "/bin/true")), pass_fds=[outer])
    finally:
        os.close(outer)
    message, hint = refused(ended)
    assert message == "join the pid namespace: Invalid argument (EINVAL)"
    assert "only from itself or from one of its ancestors" in hint


def test_a_pid_namespace_whose_process_1_has_ended() -> None:
    require("root", "pidns")
    with holder("--pid", "--mount") as running:
        pid = program_of(running)
        held = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY)
        running.close_input()
        assert running.wait() == 0
    try:
        word = f"/proc/self/fd/{held}"
        ended = run(pyspawn("exec", word, "--", "/bin/true"), pass_fds=[held])
    finally:
        os.close(held)
    message, hint = refused(ended)
    assert message == "fork the init: Cannot allocate memory (ENOMEM)"
    assert "process 1 of that PID namespace has ended" in hint
