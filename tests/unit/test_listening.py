"""What the launcher hears, and is told, at moments that no machine shows in a year."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from pyinit.supervisor import Supervisor
from spawner import channel
from spawner.errors import INIT, STAGE, SetupError
from spawner.linux import Kernel
from spawner.made import Container, Observer
from spawner.making import Making
from spawner.spec import Namespaces, Spec
from spawner.wait import Wait


def making(made: Container) -> Making:
    return Making(Kernel(), (), made, Observer())


def test_of_two_failures_the_first_is_the_reason() -> None:
    made = Container()
    made.pipes.open(Kernel(), notice=False)
    for what, stage in (("the reason", INIT), ("what came of it", STAGE)):
        made.pipes.tell(channel.failure(SetupError(what, stage=stage)))
    with pytest.raises(SetupError, match=r"^the reason$"):
        making(made).read()
    made.close()


@pytest.mark.parametrize(
    ("told", "exited", "signalled"),
    [
        (b"exited 143 15", 143, signal.SIGTERM),
        (b"exited 0 15", 3, None),
        (b"exited 7 9", 7, None),
    ],
    ids=["heard", "contradicts the end", "contradicts itself"],
)
def test_the_last_word_is_heard_though_somebody_else_could_still_speak(
    told: bytes, exited: int, signalled: int | None
) -> None:
    """The end may be seen before it's read what pyinit has told of it; the status has to agree."""
    made = Container()
    made.pipes.open(Kernel(), notice=True)
    made.pipes.close("status_reader")
    os.write(made.pipes.notice_writer, b"started 2\n%b\n" % told)
    spec = Spec(("app",), namespaces=Namespaces(["pid"]), init="")
    wait = Wait(Kernel(), spec, Observer(), made, making(made))
    ending = wait._conclude(exited << 8)
    assert (ending.status, ending.signal) == (exited, signalled)


def test_a_word_that_finds_no_room_does_not_silence_pyinit() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as told, open(writer, "wb", buffering=0) as full:
        os.set_blocking(writer, False)
        os.set_blocking(reader, False)
        while full.write(bytes(4096)):
            continue
        supervisor: Any = SimpleNamespace(handover=SimpleNamespace(notice=writer))
        Supervisor.notify(supervisor, "stopped 20")
        while told.read(65536):
            continue
        Supervisor.notify(supervisor, "stopped 21")
        assert told.read() == b"stopped 21\n"


def test_a_launcher_that_is_gone_does_not_hinder_pyinit() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    supervisor: Any = SimpleNamespace(handover=SimpleNamespace(notice=writer))
    Supervisor.notify(supervisor, "started 2")
    Supervisor.notify(supervisor, "exited 0 0")
    os.close(writer)


def test_no_descriptor_of_the_kernels_is_left_open_by_an_exec() -> None:
    kernel = Kernel()
    made = [*kernel.pipe(), kernel.signalfd({signal.SIGTERM}), kernel.open("/", os.O_RDONLY)]
    made.append(kernel.pidfd_open(os.getpid()))
    try:
        assert not any(map(os.get_inheritable, made))
    finally:
        for descriptor in made:
            os.close(descriptor)
