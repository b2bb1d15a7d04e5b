"""The plan as data is what --dry-run prints, and takes no step."""

from __future__ import annotations

import json
import pickle
import subprocess
from pathlib import Path
from typing import Any

import pytest
from helpers.capabilities import require

import spawner
from spawner import lean


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ["--init"]),
        ({"init": False}, []),
        (
            {"unshare": "all", "hostname": 'b"\\ö', "monotonic": 5, "cwd": "/no/such"},
            ["--init", "--unshare=all", '--hostname=b"\\ö', "--monotonic=5", "--workdir=/no/such"],
        ),
        (
            {"namespaces": spawner.Namespaces("user,net", "time"), "user": 0},
            ["--init", "--share=all", "--unshare=user,net", "--unshare-try=time", "--setuid=0"],
        ),
    ],
)
def test_it_is_what_the_command_prints(options: dict[str, Any], words: list[str]) -> None:
    steps = spawner.plan(["app", "-x"], stdin=subprocess.DEVNULL, **options)
    printed = subprocess.run(
        [*lean.pyspawn(), "--dry-run", *words, "--", "app", "-x"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert printed.returncode == 0, printed.stderr
    assert [str(step) for step in steps] == printed.stdout.splitlines()
    assert len(steps) > 3


def test_it_is_frozen_and_json_and_pickles() -> None:
    steps = spawner.plan(["true"])
    assert hash(steps) == hash(pickle.loads(pickle.dumps(steps)))
    assert {step.process for step in steps} <= {"launcher", "stage", "init"}
    assert steps[-1].what.startswith("execute")
    again = json.loads(json.dumps([step._asdict() for step in steps]))
    assert tuple(spawner.PlanStep(**step) for step in again) == steps
    with pytest.raises(AttributeError):
        steps[0].what = "else"  # type: ignore[misc]


def test_nothing_is_done(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spawner.plan(["touch", str(tmp_path / "file")])
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"unshare": "nets"}, spawner.SpecError, "nets"),
        ({"shell": True}, TypeError, "doesn't accept shell=True"),
        ({"hostname": 5}, TypeError, "hostname needs text"),
        ({"init": "a\0b"}, spawner.SpecError, "NUL"),
    ],
)
def test_what_makes_no_sense(options: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        spawner.plan(["true"], **options)


def test_what_can_be_seen_not_to_work_is_a_failure_with_a_hint() -> None:
    require("userns")
    with pytest.raises(spawner.SetupError, match="gives the container no such user") as caught:
        spawner.plan(["true"], unshare="user", user=77777)
    assert caught.value.hint


def test_an_unknown_form_is_refused() -> None:
    ended = subprocess.run(
        [*lean.pyspawn(), "--dry-run=yaml", "--", "true"], capture_output=True, text=True
    )
    assert ended.returncode == 125
    assert "'yaml' is not json" in ended.stderr
