"""What the launcher hears at moments that no machine shows in a year."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from spawner import channel
from spawner.errors import INIT, STAGE, SetupError
from spawner.launch import Container, Observer
from spawner.linux import Kernel
from spawner.making import Making
from spawner.spec import Namespaces, Spec
from spawner.wait import Wait


def launch(made: Container) -> Any:
    """Return what `Making` and `Wait` look at of a launch."""
    spec = Spec(["app"], namespaces=Namespaces(["pid"]), init="")
    return SimpleNamespace(
        kernel=Kernel(), spec=spec, observer=Observer(), early=(), lifelines=(), kept=(),
        container=made,
    )  # fmt: skip


def test_of_two_failures_the_first_is_the_reason() -> None:
    made = Container()
    made.pipes.open(Kernel(), notice=False)
    for what, stage in (("the reason", INIT), ("what came of it", STAGE)):
        made.pipes.tell(channel.failure(SetupError(what, stage=stage)))
    with pytest.raises(SetupError, match=r"^the reason$"):
        Making(launch(made)).read()
    made.close()


def test_the_last_word_is_heard_though_somebody_else_could_still_speak() -> None:
    """The end may be seen before it's read what pyinit has told of it."""
    made = Container()
    made.pipes.open(Kernel(), notice=True)
    made.pipes.close("status_reader")
    os.write(made.pipes.notice_writer, b"started 2\nexited 143 15\n")
    ending = Wait(launch(made), Making(launch(made)))._conclude(143 << 8)
    assert (ending.status, ending.signal) == (143, signal.SIGTERM)


def test_a_last_word_that_contradicts_the_status_is_not_believed() -> None:
    made = Container()
    made.pipes.open(Kernel(), notice=True)
    made.pipes.close("status_reader")
    os.write(made.pipes.notice_writer, b"started 2\nexited 0 15\n")
    ending = Wait(launch(made), Making(launch(made)))._conclude(3 << 8)
    assert (ending.status, ending.signal) == (3, None)
