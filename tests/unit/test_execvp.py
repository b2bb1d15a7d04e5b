"""Finding a program as execvp(3) does, and saying why its exec failed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyinit import NOT_EXECUTABLE, NOT_FOUND, execerror, execvp

NAMES = st.binary(min_size=1, max_size=8).filter(lambda name: b"\0" not in name)


class Recorder:
    """Takes the place of execve(2): fails as told, and remembers what was tried."""

    def __init__(self, answers: dict[bytes, int]) -> None:
        self.answers = answers
        self.tried: list[tuple[bytes, list[bytes]]] = []

    def __call__(self, path: bytes, arguments: list[bytes]) -> int:
        self.tried.append((path, arguments))
        number = self.answers.get(path, errno.ENOENT)
        if number:
            raise OSError(number, "")
        return 99


@pytest.mark.parametrize(
    ("program", "path", "expected"),
    [
        (b"ls", b"/a:/b", [b"/a/ls", b"/b/ls"]),
        (b"ls", b"", [b"ls"]),
        (b"ls", b":/b:", [b"ls", b"/b/ls", b"ls"]),
        (b"ls", None, [b"/bin/ls", b"/usr/bin/ls"]),
        (b"./ls", b"/a", [b"./ls"]),
        (b"", b"/a", [b""]),
    ],
)
def test_candidates(program: bytes, path: bytes | None, expected: list[bytes]) -> None:
    assert execvp.candidates(program, path) == expected


@given(name=NAMES, path=st.none() | st.lists(NAMES).map(b":".join))
def test_every_candidate_ends_in_the_name(name: bytes, path: bytes | None) -> None:
    for candidate in execvp.candidates(name, path):
        assert candidate.endswith(name)


def test_search_goes_on_and_remembers_a_denial() -> None:
    denied = Recorder({b"/a/x": errno.EACCES})
    with pytest.raises(execvp.ExecError) as caught:
        execvp.search([b"x"], b"/a:/b", denied)
    assert (caught.value.errno, caught.value.path) == (errno.EACCES, b"/a/x")
    assert [path for path, _ in denied.tried] == [b"/a/x", b"/b/x"]

    found = Recorder({b"/a/x": errno.EACCES, b"/b/x": 0})
    assert execvp.search([b"x", b"1"], b"/a:/b", found) == 99

    final = Recorder({b"/a/x": errno.E2BIG, b"/b/x": 0})
    with pytest.raises(execvp.ExecError) as caught:
        execvp.search([b"x"], b"/a:/b", final)
    assert caught.value.errno == errno.E2BIG


def test_a_script_without_interpreter_goes_to_the_shell() -> None:
    recorder = Recorder({b"/a/x": errno.ENOEXEC, b"/bin/sh": 0})
    assert execvp.search([b"x", b"1"], b"/a", recorder) == 99
    assert recorder.tried[-1] == (b"/bin/sh", [b"sh", b"/a/x", b"1"])


def test_a_foreign_binary_does_not_go_to_the_shell(tmp_path: Path) -> None:
    binary = tmp_path / "x"
    binary.write_bytes(b"\x7fELF\x02\x01")
    recorder = Recorder({os.fsencode(binary): errno.ENOEXEC})
    with pytest.raises(execvp.ExecError) as caught:
        execvp.search([os.fsencode(binary)], None, recorder)
    assert caught.value.errno == errno.ENOEXEC


def why(path: Path | str, number: int) -> tuple[int, str, str | None]:
    name = os.fsencode(path)
    return execerror.why(name, execvp.ExecError(number, name), b"/bin:/usr/bin")


def test_missing_interpreters_are_named(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#! /no/such/interpreter -x\n")
    assert why(script, errno.ENOENT) == (
        127,
        "its interpreter /no/such/interpreter is not there",
        None,
    )
    script.write_bytes(b"#!/bin/sh\r\necho\r\n")
    assert "\\r\\n" in why(script, errno.ENOENT)[1]


def test_a_missing_loader_is_named(tmp_path: Path) -> None:
    data = bytearray(Path("/bin/ls").read_bytes())
    at = data.index(b"/lib64/ld-linux-x86-64.so.2")
    data[at : at + 27] = b"/lib64/no-such-loader.so.99"
    binary = tmp_path / "binary"
    binary.write_bytes(data)
    code, reason, _ = why(binary, errno.ENOENT)
    assert code == 127
    assert "/lib64/no-such-loader.so.99 is not there" in reason


@pytest.mark.parametrize(
    ("name", "number", "code", "reason"),
    [
        ("nosuch", errno.ENOENT, 127, "not found in PATH"),
        ("/no/such", errno.ENOENT, 127, "No such file or directory (ENOENT)"),
        ("/etc/passwd/x", errno.ENOTDIR, 127, "Not a directory (ENOTDIR)"),
        ("", errno.ENOENT, 127, "the program's name is empty"),
        ("/etc", errno.EACCES, 126, "is a directory: Permission denied (EACCES)"),
        ("/bin/ls", errno.E2BIG, 126, "Argument list too long (E2BIG)"),
        ("/bin/ls", errno.ENOEXEC, 126, "Exec format error (ENOEXEC)"),
        ("/bin/ls", errno.ELOOP, 126, "Too many levels of symbolic links (ELOOP)"),
        ("/bin/ls", 4095, 126, "Unknown error 4095 (4095)"),
    ],
)
def test_reasons(name: str, number: int, code: int, reason: str) -> None:
    assert why(name, number)[:2] == (code, reason)


def test_hints(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    assert why(plain, errno.EACCES)[2] == f"make the file executable: chmod +x {plain}"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (
            "true -x",
            "pass the arguments as separate words, or use `sh -c 'true -x'`",
        ),
        ("/bin/true a b", "or use `sh -c '/bin/true a b'`"),
        ("cd /tmp", "or use `sh -c 'cd /tmp'`"),
        ("echo it's", "or use `sh -c`"),
        ("true; false", "or use `sh -c 'true; false'`"),
        ("true|wc", "or use `sh -c 'true|wc'`"),
        ("cd /tmp&& ls", "or use `sh -c 'cd /tmp&& ls'`"),
        ("true>/dev/null", "or use `sh -c 'true>/dev/null'`"),
        ("nosuch; true", None),
        (";true", None),
        ("cd", "this command exists only in a shell: use `sh -c 'cd ...'`"),
        ("--init", "options go before `--`, and the program after it"),
        ("—init", "options begin with hyphens (--)"),
        ("A_1=b", "to set a variable, use `env A_1=b PROGRAM`"),
        ("here", "the working directory has a file of this name: run ./here"),
        ("there", None),
        ("nosuch", None),
        ("nosuch -x", None),
        ("/my programs/nosuch", None),
        ("a-b=c", None),
        ("=", None),
    ],
)
def test_what_was_meant_by_a_program_that_is_not_there(
    name: str, hint: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").touch()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    code, _, found = why(name, errno.ENOENT)
    assert code == 127
    assert found == hint if hint is None or found is None else found.endswith(hint)


@given(number=st.integers(1, 133))
def test_every_errno_has_a_status_and_words(number: int) -> None:
    code, reason, _ = why("/bin/ls", number)
    assert code in (NOT_FOUND, NOT_EXECUTABLE)
    assert reason


@given(raw=st.binary(max_size=50))
def test_names_are_shown_on_one_line(raw: bytes) -> None:
    shown = execerror.text(raw)
    assert shown.isprintable()
    assert "\n" not in shown


@given(raw=st.binary(max_size=9000), size=st.integers(9, 5000))
def test_a_brief_name_keeps_its_beginning_and_its_end(raw: bytes, size: int) -> None:
    shown, whole = execerror.brief(raw, size), execerror.text(raw)
    assert len(shown.encode()) <= size
    before, left_out, behind = shown.partition("...")
    if shown != whole:
        assert len(whole.encode()) > size
        assert left_out
        assert whole.startswith(before)
        assert whole.endswith(behind)


@pytest.mark.parametrize("size", [300, 9000, 130000])
def test_a_command_line_in_one_long_word_is_answered(size: int) -> None:
    _, said, hint = execerror.line(
        b"echo " + b"a" * size, execvp.ExecError(errno.ENAMETOOLONG, b"/bin/x"), b"/bin"
    )
    assert said.endswith("File name too long (ENAMETOOLONG)")
    assert hint == "this is one word: pass the arguments as separate words, or use `sh -c`"


@pytest.mark.parametrize(
    "content", [b"", b"#!", b"#! \n", b"\x7fELF", b"\x7fELF\x02\x01" + b"\xff" * 90]
)
def test_broken_files_are_looked_at_without_harm(tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(content)
    code, reason, _ = why(broken, errno.ENOENT)
    assert code == 127
    assert reason
