"""In asyncio too: whatever a launcher does, the truth is told and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import math
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from helpers import children, descriptors
from helpers.fake_launcher import COUNTER, PATIENT, launcher

import spawner
from spawner import PIPE, SetupError, TimeoutExpired, aio


@pytest.fixture(autouse=True)
def _nothing_left(monkeypatch: pytest.MonkeyPatch, each_loop: str) -> Iterator[None]:
    """No descriptor, and at no time a thread."""

    def no_thread(*_: object, **__: object) -> None:
        raise AssertionError("a thread was started")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with descriptors.none_left():
        yield


def play(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a test's coroutine, in the mode that tells of forgotten awaits and slow callbacks."""
    return asyncio.run(main(), debug=True)


def test_it_returns_when_the_exec_has_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, PATIENT)

    async def main() -> None:
        process = await aio.Process(["app"])
        assert process.pid > 0
        assert process.namespaces == {"pid": 4026531836}
        assert process.missing == {}
        assert process.poll() is process.returncode is process.signal is None
        process.kill()
        assert await process.wait() == 137
        assert (process.poll(), process.returncode, process.signal) == (137, 137, 9)
        process.kill()  # as in subprocess: of no consequence after the end
        process.send_signal(signal.SIGTERM)

    play(main)


@pytest.mark.parametrize("first", ["", "created()", "tell(b'{\"event')"])
def test_a_launcher_that_ends_without_a_word(monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    launcher(monkeypatch, f"{first}\nos._exit(3)")
    with pytest.raises(SetupError, match=r"launcher ended early, with status 3$"):
        play(lambda: aio.run(["app"], capture_output=True))


def test_a_start_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"stage": "init", "syscall": "execve", "errno": "EACCES", "path": "app"}
    failed |= {"message": "app: no", "hint": "chmod +x app", "status": 126}
    launcher(monkeypatch, f"created(); say('failed', **{failed!r})")
    with pytest.raises(PermissionError, match="app: no") as caught:
        play(lambda: aio.run(["app"], input=b"x", capture_output=True))
    assert isinstance(caught.value, spawner.ExecError)


def test_time_outs_say_how_long_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "created(); until_cut()")
    for start in (
        lambda: aio.run(["app"], timeout=0.02, capture_output=True),
        lambda: _await(aio.Process(["app"], start_timeout=0.02)),
    ):
        with pytest.raises(TimeoutExpired) as caught:
            play(start)  # type: ignore[arg-type]
        assert (caught.value.cmd, caught.value.timeout) == (["app"], 0.02)


def test_a_time_out_is_shown_as_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "started(); until_cut(); exited(137, 'SIGKILL')")
    with pytest.raises(TimeoutExpired) as caught:
        play(lambda: aio.run(["app"], timeout=0.2, capture_output=True))
    assert repr(caught.value).startswith("TimeoutExpired(['app'], 0.2")


async def _await(process: aio.Process[Any]) -> None:
    await process


def test_nothing_is_lost_over_time_outs_and_cancelling(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, COUNTER)

    async def main() -> None:
        async with aio.Process(["app"], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as process:
            assert process.stderr is not None
            with pytest.raises(TimeoutExpired):
                await process.communicate("x" * 1_000_000, timeout=0)
            with pytest.raises(ValueError, match="Cannot send input after"):
                await process.communicate("again")
            task = asyncio.create_task(process.communicate())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for _ in range(2):
                assert await process.communicate() == ("one 1000000", "un deux")

    play(main)


def test_text_is_what_subprocess_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(
        monkeypatch, "started(); os.write(1, b'\\xe9\\r\\n' + sys.stdin.buffer.read()); exited(0)"
    )
    for options in ({}, {"encoding": "latin-1"}, {"errors": "replace", "encoding": "utf-8"}):
        data = "ü\n" if options else b"\xfc\n"
        args: Any = {"input": data, "stdout": PIPE, **options}
        local = spawner.run(["app"], **args)
        assert vars(play(lambda args=args: aio.run(["app"], **args))) == vars(local)  # type: ignore[misc]


@pytest.mark.parametrize(("text", "data"), [(True, b"bytes"), (False, "text")])
def test_input_of_the_wrong_type_is_a_type_error(
    monkeypatch: pytest.MonkeyPatch, text: bool, data: Any
) -> None:
    launcher(monkeypatch, PATIENT)
    with pytest.raises(TypeError):
        play(lambda: aio.run(["app"], text=text, input=data))


def test_an_exception_in_the_block_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, PATIENT)

    async def main() -> aio.Process[bytes]:
        process = aio.Process(["app"], stdin=PIPE)
        with pytest.raises(LookupError):
            async with process:
                raise LookupError
        return process

    assert play(main).returncode == 137


def test_leaving_the_block_closes_the_streams_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "started(); exited(len(sys.stdin.read()))")

    async def main() -> aio.Process[bytes]:
        async with aio.Process(["app"], stdin=PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(b"five!")
        return process

    assert play(main).returncode == 5


def test_cancelling_twice_still_waits_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end takes its time here; no cancellation makes anybody leave before it."""
    reader, writer = os.pipe()
    code = f"started(); until_cut(); os.write({writer}, b'!'); sys.stdin.buffer.read(1); exited(1)"
    launcher(monkeypatch, code)

    async def main() -> None:
        gate, hold = os.pipe()
        task = asyncio.create_task(aio.run(["app"], stdin=gate, pass_fds=[writer]))
        loop = asyncio.get_running_loop()
        begun = loop.create_future()
        while not children.of(os.getpid()) - before:
            await asyncio.sleep(0)
        os.close(gate)
        task.cancel()
        loop.add_reader(reader, begun.set_result, None)
        await begun
        loop.remove_reader(reader)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        os.close(hold)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert children.of(os.getpid()) == before

    before = children.of(os.getpid())
    play(main)
    os.close(reader)
    os.close(writer)


def test_a_start_that_is_cancelled_at_any_turn_closes_what_is_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Files that are opened meanwhile get the numbers that it has closed."""
    launcher(monkeypatch, PATIENT)

    async def main() -> None:
        for turns in range(12):
            task = asyncio.create_task(aio.run(["app"], input=b"x", capture_output=True))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            others = [end for _ in range(8) for end in os.pipe()]
            with pytest.raises(asyncio.CancelledError):
                await task
            others += [end for _ in range(8) for end in os.pipe()]
            pipes = {end: os.readlink(f"/proc/self/fd/{end}") for end in others}
            del task
            gc.collect()
            for _ in range(4):
                await asyncio.sleep(0)
            assert {end: os.readlink(f"/proc/self/fd/{end}") for end in others} == pipes
            for end in others:
                os.close(end)

    play(main)


def test_a_launcher_that_is_killed_takes_its_container_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with subprocess.Popen(["sleep", "inf"]) as first:
        launcher(monkeypatch, f"started({first.pid}); os.kill(os.getpid(), signal.SIGKILL)")

        async def main() -> tuple[int, int | None]:
            process = await aio.Process(["app"])
            return await process.wait(), process.signal

        assert play(main) == (137, 9)
        assert children.state(first.pid) == "Z"


def test_what_makes_no_sense_is_refused_before_it_starts() -> None:
    with pytest.raises(TypeError, match="doesn't accept shell=True"):
        aio.Process(["app"], shell=True)  # type: ignore[call-overload]
    with pytest.raises(spawner.SpecError, match="hostname"):
        aio.Process(["app"], hostname="a\0b")
    with pytest.raises(ValueError, match="bufsize"):
        aio.Process(["app"], bufsize=1)
    with pytest.raises(ValueError, match="start_timeout: nan"):
        aio.Process(["app"], start_timeout=math.nan)
    with pytest.raises(ValueError, match="umask"):
        aio.Process(["app"], umask=-5)
    with pytest.raises(ValueError, match="timeout: -1"):
        play(lambda: aio.run(["app"], timeout=-1))


def test_one_that_is_never_awaited_warns() -> None:
    held = [aio.Process(["app"])]
    with pytest.raises(RuntimeError, match="has not been started"):
        held[0].kill()
    with pytest.warns(RuntimeWarning, match=r"\['app'\].*was never awaited"):
        held.clear()


def test_who_looks_on_during_a_start_has_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the start fails: then there's nothing to wait for."""
    launcher(monkeypatch, "os._exit(3)")

    async def main() -> None:
        process = aio.Process(["app"])
        task = asyncio.create_task(process._start())
        while not task.done():
            with pytest.raises(RuntimeError, match="has not been started"):
                process.poll()
            await asyncio.sleep(0)
        with pytest.raises(SetupError):
            await task
        for method in (process.wait, process.communicate):
            with pytest.raises(RuntimeError, match="has not been started"):
                await method()  # type: ignore[operator]
        with pytest.raises(RuntimeError, match="has not been started"):
            process.kill()

    play(main)


def test_a_process_is_started_once(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, PATIENT)

    async def main() -> None:
        process = await aio.Process(["app"])
        with pytest.raises(RuntimeError, match="started only once"):
            await process
        process.kill()
        async with process:  # to enter what runs starts nothing
            pass
        assert process.returncode == 137

    play(main)


def test_to_wait_for_what_has_ended_gives_nobody_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "started(); exited(7)")

    async def main() -> None:
        process = await aio.Process(["app"])
        await process.wait()
        with pytest.raises(StopIteration) as caught:
            process.wait().send(None)
        assert caught.value.value == 7

    play(main)


def test_a_forgotten_process_is_killed_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, PATIENT)

    async def main() -> None:
        held = [await aio.Process(["app"], stdin=PIPE)]
        pid = held[0].pid
        with pytest.warns(ResourceWarning, match=r"\['app'\].*was not waited for"):
            held.clear()
        pidfd = None
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
        if pidfd is not None:
            loop = asyncio.get_running_loop()
            gone = loop.create_future()
            loop.add_reader(pidfd, lambda: gone.done() or gone.set_result(None))
            await gone
            loop.remove_reader(pidfd)
            os.close(pidfd)
        await asyncio.sleep(0)

    play(main)


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")  # asyncio's own
@pytest.mark.filterwarnings("ignore:unclosed resource:ResourceWarning")  # uvloop's own
@pytest.mark.filterwarnings("ignore:loop is closed:ResourceWarning")  # of both, from Python 3.13
@pytest.mark.parametrize("streams", [{}, {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}])
def test_one_that_outlives_its_loop_is_killed_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, streams: dict[str, int]
) -> None:
    """Its pipes, if it has any, can't be closed by the loop any more."""
    launcher(monkeypatch, PATIENT)

    async def main() -> aio.Process[bytes]:
        return await aio.Process(["app"], **streams)

    held = [play(main)]
    pid = held[0].pid
    with pytest.warns(ResourceWarning, match="was not waited for"):
        held.clear()
    assert children.state(pid) == ""
    gc.collect()  # while the filter holds


def test_a_fork_can_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, PATIENT)

    async def main() -> None:
        async with aio.Process(["app"]) as process:
            child = os.fork()
            if child == 0:
                problems = 0
                for method in (process.poll, process.terminate, process.kill):
                    try:
                        method()
                    except ChildProcessError:
                        continue
                    problems += 1
                os._exit(problems)
            assert os.waitpid(child, 0)[1] == 0
            assert process.poll() is None
            process.kill()
        assert process.returncode == 137

    play(main)


def test_the_keywords_are_those_of_the_other_twin() -> None:
    assert inspect.signature(aio.run) == inspect.signature(spawner.run)
    assert inspect.signature(aio.join) == inspect.signature(spawner.join)
    assert inspect.signature(aio.call) == inspect.signature(spawner.call)
    assert inspect.signature(aio.check_call) == inspect.signature(spawner.check_call)
    assert inspect.signature(aio.check_output) == inspect.signature(spawner.check_output)
    public = {name for name in dir(spawner.Process) if not name.startswith("_")}
    assert public <= set(dir(aio.Process))


def test_a_broken_pipe_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(monkeypatch, "os.close(0); started(); exited(0)")
    assert play(lambda: aio.run(["app"], input=b"x" * 1_000_000)).returncode == 0
