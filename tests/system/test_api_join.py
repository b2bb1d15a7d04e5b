"""`spawner.join`: programs in the namespaces of others, with the manners of subprocess."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.containers import ROOT, unmapped

import spawner
from spawner import aio


@pytest.fixture
def box() -> Iterator[spawner.Process[bytes]]:
    require("pidns")
    with spawner.Process(["cat"], stdin=spawner.PIPE, unshare="uts,net", hostname="box") as process:
        yield process


def said(ended: spawner.CompletedProcess[Any]) -> str:
    text: str = ended.stdout
    return text.strip()


def test_a_process_is_a_target(box: spawner.Process[bytes]) -> None:
    show = ["sh", "-c", "hostname; cat /proc/1/comm"]
    ended = spawner.join(box, show, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert said(ended).split() == ["box", "pyinit"]


def test_so_is_a_pid_and_a_directory(box: spawner.Process[bytes]) -> None:
    for target in (box.pid, f"/proc/{box.pid}/ns", Path(f"/proc/{box.pid}/ns")):
        ended = spawner.join(
            target, "hostname", namespaces=["uts"] if ROOT else "uts,user", stdout=spawner.PIPE
        )
        assert ended.stdout == b"box\n"


def test_input_and_output(box: spawner.Process[bytes]) -> None:
    ended = spawner.join(box, ["tr", "a-z", "A-Z"], input="shout", capture_output=True, text=True)
    assert ended.stdout == "SHOUT"
    with pytest.raises(ValueError, match="stdin and input"):
        spawner.join(box, "cat", input="a", stdin=spawner.PIPE)


def test_its_namespaces_are_told(box: spawner.Process[bytes]) -> None:
    with spawner.JoinedProcess[bytes](box, ["cat"], stdin=spawner.PIPE) as process:
        assert process.namespaces == box.namespaces
        assert process.pid in children.below(os.getpid())


def test_status_and_check(box: spawner.Process[bytes]) -> None:
    ended = spawner.join(box, ["sh", "-c", "kill -9 $$"])
    assert (ended.returncode, ended.signal) == (137, signal.SIGKILL)
    with pytest.raises(spawner.CalledProcessError):
        spawner.join(box, "false", check=True)


def test_a_time_out_leaves_nothing_below(box: spawner.Process[bytes]) -> None:
    reader, writer = os.pipe()
    code = "sleep 1000 & sleep 1000"
    with pytest.raises(spawner.TimeoutExpired):
        spawner.join(box, ["sh", "-c", code], pass_fds=[writer], timeout=0.5)
    os.close(writer)
    assert children.wait_readable(reader)  # the end of file: nobody holds the other end
    os.close(reader)


def test_only_passed_descriptors_go_along(box: spawner.Process[bytes]) -> None:
    reader, writer = os.pipe()
    spawner.join(box, ["sh", "-c", f"echo hello >/dev/fd/{writer}"], pass_fds=[writer], check=True)
    os.close(writer)
    assert os.read(reader, 100) == b"hello\n"
    os.close(reader)


def test_errors(box: spawner.Process[bytes]) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        spawner.join(box, "/nonesuch")
    assert isinstance(missing.value, spawner.ExecError)
    with pytest.raises(spawner.SetupError, match="join /etc/passwd: the file is not a namespace"):
        spawner.join("/etc/passwd", "true")
    with pytest.raises(spawner.SetupError, match="No such file or directory"):
        spawner.join(b"1", "true")  # a path, for all its digits


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"namespaces": "nets"}, spawner.SpecError, "'nets' is not a kind of namespace"),
        ({"user": "root"}, spawner.SpecError, "user: "),
        ({"target": True}, TypeError, "target needs a Process, a pid"),
        ({"target": 0}, spawner.SpecError, "0 can't be a process id"),
        (
            {"target": "/proc/self/ns", "target_env": True},
            spawner.SpecError,
            "only a target that is a process",
        ),
        ({"pass_fds": [1 << 20]}, OSError, "of pass_fds isn't open"),
    ],
)
def test_what_makes_no_sense(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        spawner.join(**{"target": os.getpid(), "args": "true", **options})


def test_a_target_that_has_ended() -> None:
    require("pidns")
    with spawner.Process(["true"]) as process:
        process.wait()
    with pytest.raises(spawner.SpecError, match="the target has ended") as caught:
        spawner.join(process, "true")
    assert caught.value.__notes__ == ["hint: name a running process"]


def test_target_env(monkeypatch: pytest.MonkeyPatch) -> None:
    require("pidns")
    monkeypatch.setenv("JOIN_TEST", "theirs")
    with spawner.Process(["cat"], stdin=spawner.PIPE) as box:
        monkeypatch.setenv("JOIN_TEST", "ours")
        show = ["sh", "-c", "echo $JOIN_TEST"]
        assert said(spawner.join(box, show, stdout=spawner.PIPE, text=True)) == "ours"
        ended = spawner.join(box, show, stdout=spawner.PIPE, text=True, target_env=True)
        assert said(ended) == "theirs"


def test_who_is_not_mapped_does_not_enter(tmp_path: Path) -> None:
    with unmapped(tmp_path, "gid") as (pid, mark):
        for target in (pid, f"/proc/{pid}/ns"):
            for start in (spawner.join, spawner.JoinedProcess, wait_for_join):
                with pytest.raises(spawner.SetupError, match="no user is mapped in it"):
                    start(target, ["/bin/true"])
        assert not mark.exists()


def wait_for_join(target: int | str, args: list[str]) -> None:
    asyncio.run(aio.join(target, args))
