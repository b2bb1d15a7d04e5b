"""An interrupt may come at any moment, and a second one after it: nothing is left but the error."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Iterator

import pytest
from helpers import children, descriptors, fake_launcher, interrupts
from helpers.fake_launcher import PATIENT

import spawner
from spawner.api import ties

pytestmark = pytest.mark.filterwarnings(  # a file that an interrupt took from its owner
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

OURS = ("spawner.api.process", "spawner.api.child", "spawner.api.exchange", "spawner.api.ties")


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
    gc.collect()  # what is warned of is warned of here, not in a test of another file


def traces() -> tuple[object, ...]:
    """Return what an interrupt might leave behind."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return descriptors.held(), children.of(os.getpid()), threading.active_count(), mask


def test_one_at_any_moment_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_launcher.launcher(monkeypatch, "started(); exited(0)")

    def action() -> None:
        spawner.run(["app"], input=b"x", capture_output=True, timeout=60)

    action()
    before = traces()
    places = []
    for place in interrupts.everywhere(action, *OURS):
        assert traces() == before, place
        places.append(place)
    assert len(places) > 50


def test_one_while_the_launcher_is_forked_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It's known as soon as it has a pid; subprocess alone would forget it."""
    fake_launcher.launcher(monkeypatch, PATIENT)
    before = traces()
    fork = os.read

    def read(*args: int) -> bytes:  # subprocess does, to learn of the exec
        fork(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("subprocess.os.read", read)
        with pytest.raises(KeyboardInterrupt):
            spawner.Process(["app"], stdin=spawner.PIPE)
    assert traces() == before


@pytest.mark.parametrize("first", ["started(); until_cut(); exited(137, 'SIGKILL')", "os._exit(3)"])
def test_one_at_any_moment_of_popen_leaves_no_process(
    monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Not even between the fork and the line of subprocess that notes the pid."""
    fake_launcher.launcher(monkeypatch, first)

    def action() -> None:
        with contextlib.suppress(spawner.SetupError):
            process = spawner.Process(["app"])
            process.kill()
            process.wait()

    action()
    before = children.of(os.getpid())
    places = []

    def gone() -> bool:
        """Have what an interrupted wait() has left reaped, as the next start of subprocess does."""
        gc.collect()
        subprocess._cleanup()  # type: ignore[attr-defined]
        return children.of(os.getpid()) == before

    for place in interrupts.everywhere(action, "subprocess", "spawner.api.child"):
        children.wait_until(gone, place)
        places.append(place)
        gc.collect()
    assert any("_execute_child" in place for place in places)


def test_one_that_comes_again_during_the_end_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
created()
os.kill(os.getppid(), signal.SIGINT)
until_cut()
for _ in range(3):
    os.kill(os.getppid(), signal.SIGINT)
"""
    fake_launcher.launcher(monkeypatch, code)
    before = children.of(os.getpid())
    with pytest.raises(KeyboardInterrupt):
        spawner.run(["app"])
    assert children.of(os.getpid()) == before
    fake_launcher.launcher(monkeypatch, code.replace("created()", "started()"))
    with pytest.raises(KeyboardInterrupt):
        spawner.run(["app"])
    assert children.of(os.getpid()) == before


def test_one_while_the_context_waits_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a cancelled one of asyncio: an exception leaves no container behind."""
    code = """
started()
sys.stdin.read()
while not select.select([lifeline], [], [], 0.1)[0]:  # one that comes too early ends no wait
    os.kill(os.getppid(), signal.SIGINT)
exited(137, 'SIGKILL')
"""
    fake_launcher.launcher(monkeypatch, code)
    process = spawner.Process(["app"], stdin=spawner.PIPE)
    with pytest.raises(KeyboardInterrupt), process:
        pass
    assert process.returncode == 137


def test_a_failure_to_close_a_stream_is_no_reason_to_wait_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_launcher.launcher(monkeypatch, PATIENT)
    process = spawner.Process(["app"], stdout=spawner.PIPE, text=True)
    assert process.stdout is not None
    raw = process.stdout.detach()  # type: ignore[attr-defined]
    with raw, pytest.raises(ValueError, match="detached"), process:
        process.kill()
    assert process.returncode == 137


def test_one_after_the_lock_is_taken_leaves_it_free(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_launcher.launcher(monkeypatch, "started(); exited(0)")
    processes = []

    def talk() -> None:
        processes.append(spawner.Process(["app"], stdout=spawner.PIPE))
        processes[-1].communicate(timeout=60)

    for place in interrupts.everywhere(talk, "spawner.api.process"):
        for process in processes:
            thread = threading.Thread(target=process.communicate)
            thread.start()
            thread.join(60)
            assert process.returncode == 0, place
        processes.clear()
    processes.clear()


def test_a_launcher_that_no_pidfd_is_left_for_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_launcher.launcher(monkeypatch, PATIENT)
    before = traces()

    def none_left(_: int) -> ties.Pidfd:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(ties, "Pidfd", none_left)
        with pytest.raises(OSError, match="Too many open files"):
            spawner.Process(["app"], stdin=spawner.PIPE)
    assert traces() == before


def test_a_pipe_of_which_one_end_can_not_be_moved_is_closed() -> None:
    """Both ends take the places of closed standard streams, and there's room for one copy."""
    child = os.fork()
    if child == 0:
        os.closerange(0, 3)
        spare = 3
        while True:
            try:
                os.fstat(spare)
            except OSError:
                break
            spare += 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare + 1, spare + 1))
        try:
            ties.pipe()
        except OSError as error:
            left = [number for number in (0, 1, 2, spare) if os.path.exists(f"/dev/fd/{number}")]
            os._exit(0 if error.errno == errno.EMFILE and not left else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_can_not_end_is_told_in_the_end() -> None:
    def fail() -> None:
        raise OSError(errno.EPERM, "denied")

    with pytest.raises(PermissionError):
        ties.insist(fail, lambda: False)


def test_one_while_another_is_caught_waits_for_the_end() -> None:
    """They come within microseconds of each other, and wherever the interpreter looks for them."""
    looked: list[str] = []

    def end() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        looked.append("end")
        raise ChildProcessError

    def ended() -> bool:
        signal.raise_signal(signal.SIGINT)
        looked.append("ended")
        return len(looked) == 4

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    theirs = signal.signal(signal.SIGTERM, lambda *_: looked.append("handler"))
    try:
        with pytest.raises(KeyboardInterrupt):
            ties.insist(end, ended)
    finally:
        signal.signal(signal.SIGTERM, theirs)
    assert looked == ["end", "ended", "end", "ended", "handler"]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.parametrize("interrupts", [0, 1, 5])
def test_an_end_is_insisted_on(interrupts: int) -> None:
    """It's called until it returns; then the last interrupt is raised."""
    left = list(range(interrupts))

    def end() -> None:
        if left:
            raise KeyboardInterrupt(left.pop())

    with contextlib.ExitStack() as expected:
        if interrupts:
            expected.enter_context(pytest.raises(KeyboardInterrupt, match="0"))
        ties.insist(end, lambda: False)
    assert left == []
