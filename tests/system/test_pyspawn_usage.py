"""The words: help, the dry run, and bad input, each with a clear line and a hint."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from helpers.programs import PLACE, Word
from helpers.pyspawn import DEFAULTS, LINKS, new_ones, pyspawn, said, sh, spawn
from helpers.running import Running, run

pytestmark = pytest.mark.usefixtures("pidns")


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


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--initt", "true"], "unknown option --initt", "did you mean --init?"),
        (["-mxu", "true"], "unknown option -x", "--help"),
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
            "'no-such-one' is neither a user of this host (`getent passwd` shows them) nor",
            "--map-user USER: Be this user",
        ),
        (["--env=A", "true"], "'A' is not NAME=VALUE", "--env NAME=VALUE: Set"),
        (["--json-status=x", "true"], "'x' is not a file descriptor", "--json-status FD: Tell"),
        (["--unshare=pod", "true"], "'pod' is not a kind of namespace", "user, pid, mount"),
        (["--unshare=pid", "--share=pid", "true"], "named in both", "name it in only one of them"),
        (["-p", "--share=pid", "true"], "named in both", "name it in only one of them"),
        (["--unshare=all", "--share=all", "true"], "every namespace is named in both", "one"),
        (["-r", "--share=user", "true"], "named in both", "one"),
        (["-r", "-c", "true"], "exclude each other", "--help"),
        (["-c", "--map-user=5", "true"], "exclude each other", "--help"),
        (["--hostname=x", "--share=uts", "true"], "needs a new uts namespace", "add --uts"),
        (["--monotonic=5", "true"], "needs a new time namespace", "add --time"),
        (["--hostname=" + "x" * 65, "true"], "1 to 64 bytes", None),
        (["--help=x"], "doesn't accept a value", "--help"),
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
    assert "hint: without PROGRAM your $SHELL is run: name a program that exists" in ended.errors


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
