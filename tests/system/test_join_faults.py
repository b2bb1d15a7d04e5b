"""Every system call of a join refused in its turn: the right words, and nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import pytest
from helpers import faulty_launch
from helpers.capabilities import require
from helpers.containers import MAKERS
from helpers.kernels import CALLS
from helpers.programs import PLACE

SWALLOWED = {"pidfd_send_signal"}

CALLED = {"pipe", "fork", "pidfd_open", "signalfd", "open", "setns", "hide", "exec"}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    require("unshare", "pidns")
    place: Path = tmp_path_factory.mktemp("target")
    with cast("AbstractContextManager[int]", MAKERS["unshare"](place)) as pid:
        yield pid


@pytest.fixture(scope="module")
def helper() -> Iterator[subprocess.Popen[str]]:
    tests = str(Path(faulty_launch.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, faulty_launch.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([PLACE, tests])),
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def launch(
    helper: subprocess.Popen[str], target: str, refused: list[object] | None
) -> dict[str, Any]:
    joins = {"target": target, "environment": target.isdigit()}
    case = {"arguments": ["/bin/true"], "required": [], "optional": [], "init": None}
    case |= {"more": {"joins": joins, "workdir": "/"}, "refused": refused}
    assert helper.stdin is not None
    assert helper.stdout is not None
    print(json.dumps(case), file=helper.stdin, flush=True)
    answer: dict[str, Any] = json.loads(helper.stdout.readline())
    assert (answer["left"], answer["open"], answer["orphans"]) == ([], [], [])
    return answer


WAYS = pytest.mark.parametrize("way", ["{pid}", "/proc/{pid}/ns"], ids=["pid", "directory"])


@WAYS
def test_nothing_refused(helper: subprocess.Popen[str], target: int, way: str) -> None:
    answer = launch(helper, way.format(pid=target), None)
    assert (answer["status"], answer["error"]) == (0, None)
    assert answer["events"] == ["created", "started"]


@WAYS
def test_each_call_refused(helper: subprocess.Popen[str], target: int, way: str) -> None:
    """A call that is refused is named with its errno, and the program doesn't run."""
    hit = set()
    for at, call in enumerate(CALLS):
        for turn in range(1, 20):
            number = (errno.EPERM, errno.ENOMEM)[(at + turn + (way == "{pid}")) % 2]
            answer = launch(helper, way.format(pid=target), [call, turn, number])
            if answer["error"] is None:
                assert answer["status"] == 0
                break
            hit.add(call)
            assert (answer["syscall"], answer["errno"]) == (call, number)
            assert answer["status"] == 125
            assert "started" not in answer["events"]
    # There's no root and no working directory to enter of a directory of files, but kinds to ask.
    more = {"fchdir"} if way == "{pid}" else {"kind_of_namespace"}
    assert (CALLED | more) - hit == set()
    assert not hit & SWALLOWED
