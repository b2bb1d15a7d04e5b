"""What was meant by a program that isn't there, by where it stands on the command line."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyinit import execerror, execvp
from spawner import cli, command
from spawner.command import foreign, meant
from spawner.errors import INIT, ExecError, mark
from spawner.spec import Spec, choose


@pytest.mark.parametrize(
    ("words", "program", "hint"),
    [
        (["--user", "1000", "--", "id"], ["1000", "--", "id"], "--setuid UID"),
        (["--init", "-u", "1000:1000", "id"], ["1000:1000", "id"], "--setuid UID"),
        (["exec", "7", "--user", "1000", "id"], ["1000", "id"], "--setuid UID"),
        (["-p", "8080:80", "id"], ["8080:80", "id"], "--publish PORT"),
        (["-v", "/a:/b", "id"], ["/a:/b", "id"], "--bind SRC DST"),
        (["-p", "MemoryMax=1G", "id"], ["MemoryMax=1G", "id"], "--memory BYTES"),
        (["-p", "A=b", "id"], ["A=b", "id"], None),
        (["--sandbox", "./x", "-y"], ["/w/x", "-y"], None),
        (["--sandbox", "--", "./x"], ["/w/x"], None),
        (["--init"], ["/bin/sh"], "without PROGRAM"),
        (["-m", "1g", "id"], ["1g", "id"], "--memory BYTES"),
        (["--net", "/run/netns/x", "id"], ["/run/netns/x", "id"], ": --net=/run/netns/x"),
        (["-n", "./x", "id"], ["./x", "id"], "of -n: --net=./x"),
        (["--net", "12", "id"], ["12", "id"], "`pyspawn exec 12 -- PROGRAM`"),
        (["--init", "/sbin/tini", "id"], ["/sbin/tini", "id"], ": --init=/sbin/tini"),
        (["--mount-proc", "/mnt", "id"], ["/mnt", "id"], ": --mount-proc=/mnt"),
        (
            ["--overlay", "/a", "/w", "/d", "id"],
            ["/w", "/d", "id"],
            ": --ro-bind SRC DST --overlay",
        ),
        (["--overlay", "/a", "/bin/id", "-u"], ["/bin/id", "-u"], None),
        (["exce", "7"], ["exce", "7"], "did you mean pyspawn exec?"),
        (["run", "zombie"], ["zombie"], "did you mean pyspawn zombies?"),
        (["help"], ["help"], "did you mean pyspawn --help?"),
        (["nosuch"], ["nosuch"], None),
        (["-v", "nosuch"], ["nosuch"], None),
        (["--init", "/etc"], ["/etc"], None),
        (["--user", "1000"], ["1000"], None),
        (["--init", "nosuch"], ["nosuch"], None),
        (["--hostname", "box", "exce"], ["exce"], None),
        (["exec", "7", "--net", "/x"], ["/x"], None),
    ],
)
def test_hints(words: list[str], program: list[str], hint: str | None) -> None:
    found = meant.hint(words, program)
    assert found == hint if hint is None or found is None else hint in found


def test_the_files_own_hint_is_kept_unless_the_option_says_more() -> None:
    assert meant.hint(["--init", "./app", "-x"], ["./app", "-x"], "chmod") == "chmod"
    assert meant.hint(["exce"], ["exce"], "./exce") == "./exce"
    assert meant.hint(["--net", "./ns", "app"], ["./ns", "app"], "chmod") != "chmod"


@pytest.mark.parametrize(
    ("mode", "hint"), [(0o755, "container: add "), (0o644, "container: `chmod +x ")]
)
def test_a_file_of_the_hosts_is_to_be_bound(tmp_path: Path, mode: int, hint: str) -> None:
    path = tmp_path / "app"
    path.touch()
    path.chmod(mode)
    found = meant.left_out(ExecError("app", stage=INIT, errno=errno.ENOENT, path=str(path)))
    assert found is not None
    assert hint in found
    assert found.endswith(f" add {mark(f'--ro-bind {path} {path}')}")


@pytest.mark.parametrize(
    ("path", "number"),
    [(None, errno.ENOENT), ("sh", errno.ENOENT), ("/no/such", errno.ENOENT), ("/", errno.EACCES)],
)
def test_nothing_is_to_be_bound_for_others(path: str | None, number: int) -> None:
    assert meant.left_out(ExecError("app", stage=INIT, errno=number, path=path)) is None


@pytest.mark.parametrize("start", [b"#!/no/such", b"#!/no/such\r\n"])
def test_a_program_whose_interpreter_is_missing_is_not_to_be_bound(
    tmp_path: Path, start: bytes
) -> None:
    path = tmp_path / "app"
    path.write_bytes(start)
    path.chmod(0o755)
    raw = bytes(path)
    _, words, _ = execerror.why(raw, execvp.ExecError(errno.ENOENT, raw), None)
    error = ExecError(words, stage=INIT, errno=errno.ENOENT, path=str(path))
    assert "interpreter" in words
    assert meant.left_out(error) is None


@given(
    before=st.lists(st.sampled_from(["--init", "--user", "-p", "exec", "7", *foreign.TAKEN])),
    program=st.lists(st.text(), min_size=1),
)
def test_behind_two_dashes_a_program_is_a_program(before: list[str], program: list[str]) -> None:
    assert meant.hint([*before, "--", *program], program) is None
    assert meant.hint([*before, "--", *program], program, "own") == "own"


@pytest.mark.parametrize("module", ["spawner.command.meant", "difflib"])
def test_what_can_not_be_read_costs_the_hint_alone(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == module:
                raise OSError(errno.EMFILE, "no descriptor is left")

    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr(command, "meant", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refusing, *sys.meta_path])
    monkeypatch.setattr(sys, "argv", ["pyspawn", "exce"])
    spec = Spec(("exce",), namespaces=choose(privileged=True))
    assert cli._meant(spec, ExecError("exce", stage=INIT, errno=errno.ENOENT)) is None
