"""The exit status is the program's own; what can't be started is explained in a line."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.programs import PLACE, prepared, python
from helpers.pyspawn import each_shape, pyspawn, said, sh, spawn, status_of
from helpers.running import run

pytestmark = pytest.mark.usefixtures("pidns")


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
    hint = f"make the file executable: chmod +x {plain}"
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
        (["--", "sh -c true"], 127, "or use `sh -c 'sh -c true'`"),
        (["--init", "--", "sh -c true"], 127, "or use `sh -c 'sh -c true'`"),
        (["--user", "1000", "id"], 127, "the user of PROGRAM is --setuid UID"),
        (["--init", "/no/init", "true"], 127, "--init=/no/init"),
        (["--net", "/etc", "true"], 126, "--net=/etc"),
        (["exce", "1", "true"], 127, "did you mean pyspawn exec?"),
        (
            ["--init=nosuch", "true"],
            125,
            "nosuch isn't in any directory of PATH: install it, or name it by its path",
        ),
        (["--net=veth:br0", "true"], 125, "to choose a kind of network, use --network veth:br0"),
        (
            ["--user=1:2", "true"],
            125,
            "use --setuid 1 and --setgid 2; to join a user namespace, use --user=/proc/PID/ns/user",
        ),
        (["--user=nobody", "true"], 125, "to join a user namespace, use --user=/proc/PID/ns/user"),
        (["--net=container:web", "true"], 125, "'{{.State.Pid}}' web)/ns/net"),
        (["--mount", "type=bind,src=/a,dst=/b", "true"], 127, "read-only, and --tmpfs DST"),
        (["--ipc=4194305", "true"], 125, "--ipc=/proc/4194305/ns/ipc"),
        (["exec", "4194304", "--dry-run", "true"], 125, "NAME` that of one"),
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
