"""run for real: the program's status and streams are those of subprocess."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

import spawner
from spawner import PIPE, Process, run

pytestmark = pytest.mark.usefixtures("pidns")


@pytest.mark.parametrize("init", [True, False])
@pytest.mark.parametrize("status", [0, 42, 137, 255])
def test_the_exit_status(init: bool, status: int) -> None:
    ended = run(["sh", "-c", f"exit {status}"], init=init)
    assert (ended.returncode, ended.signal) == (status, None)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGRTMIN])
def test_the_status_of_a_death_by_a_signal(number: int) -> None:
    ended = run(["sh", "-c", f"kill -{number:d} $$"])
    assert (ended.returncode, ended.signal) == (128 + number, number)


def test_check_raises_what_subprocess_raises() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=True, capture_output=True)
    error = caught.value
    assert (error.returncode, error.stdout, error.stderr) == (3, b"out\n", b"err\n")


def test_output_and_errors_are_captured() -> None:
    ended = run(["sh", "-c", "echo out; echo err >&2"], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("out\n", "err\n")
    assert isinstance(ended, subprocess.CompletedProcess)


def test_a_megabyte_goes_through_in_both_directions() -> None:
    data = os.urandom(1 << 20)
    assert run(["cat"], input=data, capture_output=True).stdout == data


def test_text_is_decoded_as_asked() -> None:
    assert run(["cat"], input="é", stdout=PIPE, encoding="latin-1").stdout == "é"
    assert run(["printf", r"\351"], stdout=PIPE, errors="replace", encoding="utf-8").stdout == "�"


def test_streams_may_be_files_each_other_and_nothing(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+") as file:
        run(["sh", "-c", "echo out; echo err >&2; cat"], stdin=spawner.DEVNULL, stdout=file,
            stderr=spawner.STDOUT)  # fmt: skip
        assert (tmp_path / "out").read_text() == "out\nerr\n"


def test_a_conversation() -> None:
    with Process(["cat"], stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for word in ("one", "two"):
            process.stdin.write(word + "\n")
            assert process.stdout.readline() == word + "\n"
    assert process.returncode == 0


def local_error(args: list[str], **options: Any) -> OSError:
    """Return the exception that subprocess raises for a program that can't be started."""
    with pytest.raises(OSError) as caught:  # noqa: PT011  any kind of it
        subprocess.run(args, **options)
    return caught.value


@pytest.mark.parametrize("init", [True, False])
def test_a_program_that_cannot_be_executed(
    tmp_path: Path, init: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A directory that may not be searched says EACCES for what may not be there at all.
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    script = tmp_path / "script"
    script.write_text("#!/nosuch/interpreter\n")
    script.chmod(0o755)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for program in ("nosuch", "/nosuch", "/etc", str(plain), str(script), f"{plain}/x",
                    str(loop)):  # fmt: skip
        local = local_error([program])
        with pytest.raises(type(local)) as caught:
            run([program], init=init)
        error = caught.value
        assert isinstance(error, spawner.ExecError), program
        assert error.errno == local.errno, program
        assert error.status == (127 if error.errno in (2, 20) else 126), program
        assert program in str(error)
        assert error.path == error.filename == program  # the same with an init and without


def test_a_program_without_a_name_is_not_found() -> None:
    with pytest.raises(FileNotFoundError, match="empty"):
        run([""])


def test_a_directory_that_cannot_be_entered(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for cwd in ("/nosuch", str(tmp_path / "file")):
        local = local_error(["true"], cwd=cwd)
        with pytest.raises(type(local)) as caught:
            run(["true"], cwd=cwd)
        assert isinstance(caught.value, spawner.SetupError)
        assert not isinstance(caught.value, spawner.ExecError)
        assert (caught.value.errno, caught.value.filename) == (local.errno, cwd)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unshare": "nets"}, "nets"),
        ({"unshare": "net", "share": "net"}, "net"),
        ({"hostname": "x" * 65}, "host name"),
        ({"hostname": "box", "share": "uts"}, "uts"),
        ({"boottime": 5}, "time namespace"),
        ({"stop_signal": "NOSUCH"}, "NOSUCH"),
        ({"stop_signal": 4711}, "4711"),
        ({"stop_timeout": -1}, "-1"),
    ],
)
def test_what_makes_no_sense(options: dict[str, Any], words: str) -> None:
    for kind in (spawner.SpecError, ValueError, spawner.SpawnerError):
        with pytest.raises(kind, match=words):
            run(["true"], **options)


def test_no_program_makes_no_sense() -> None:
    with pytest.raises(spawner.SpecError, match="no program"):
        run([])


def test_errors_say_nothing_on_the_programs_streams(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(spawner.ExecError):
        run(["nosuch"])
    with pytest.raises(spawner.SpecError):
        run(["true"], unshare="nets")
    assert capfd.readouterr() == ("", "")
