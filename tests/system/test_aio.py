"""The asyncio twin for real: cancelling at any moment leaves nothing of the tree."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.trees import Tree, python

import spawner
from spawner import PIPE, aio

pytestmark = pytest.mark.usefixtures("pidns", "each_loop")


async def complete(tree: Tree) -> None:
    """Wait until all of the tree's processes are there."""
    loop = asyncio.get_running_loop()
    told = b""
    while told.count(b"ready") < 4:
        news = loop.create_future()
        loop.add_reader(tree.reader, news.set_result, None)
        await news
        loop.remove_reader(tree.reader)
        block = os.read(tree.reader, 4096)
        assert block, told
        told += block


KINDS: list[dict[str, Any]] = [{}, {"init": False}, {"share": "pid"}]


@pytest.mark.parametrize("options", KINDS)
def test_cancelling_a_run_leaves_nothing(tree: Tree, options: dict[str, Any]) -> None:
    async def main() -> None:
        task = asyncio.create_task(aio.run(tree.args, **tree.options, **options))
        await complete(tree)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert tree.is_gone()

    asyncio.run(main())


def test_cancelling_who_leaves_a_block_leaves_nothing(tree: Tree) -> None:
    """The block is done, and waits for a program that never ends."""

    async def leave() -> None:
        async with aio.Process(tree.args, **tree.options):
            await complete(tree)

    async def main() -> None:
        task = asyncio.create_task(leave())
        done, _ = await asyncio.wait((task,), timeout=0.3)
        assert not done
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert tree.is_gone()

    asyncio.run(main())


def test_cancelling_a_wait_changes_nothing() -> None:
    async def main() -> None:
        async with aio.Process(["cat"], stdin=PIPE, stdout=PIPE) as process:
            for waiting in (process.wait, process.communicate):
                if waiting == process.communicate:
                    assert process.stdin is not None
                    process.stdin.write(b"still here")
                task = asyncio.create_task(waiting())  # type: ignore[operator]
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await process.communicate() == (b"still here", None)
            assert process.returncode == 0

    asyncio.run(main())


def test_a_time_out_of_asyncio_leaves_nothing(tree: Tree) -> None:
    async def main() -> None:
        async with asyncio.timeout(30) as limit:
            task = asyncio.create_task(complete(tree))
            async with aio.Process(tree.args, **tree.options) as process:
                await task
                limit.reschedule(0)
                await process.wait()

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert tree.is_gone()


def test_a_failed_sibling_in_a_group_leaves_nothing(tree: Tree) -> None:
    async def fail() -> None:
        await complete(tree)
        raise LookupError

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(aio.run(tree.args, **tree.options))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert isinstance(caught.value.exceptions[0], LookupError)
    assert tree.is_gone()


def test_cancelling_at_any_moment_of_a_start_leaves_nothing() -> None:
    """The moments are spread over more than a start takes."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await aio.run(["true"])
        whole = loop.time() - begun
        outcomes = set()
        for moment in range(30):
            task = asyncio.create_task(aio.run(["sleep", "inf"], capture_output=True))
            loop.call_later(whole * moment / 20 * random.uniform(0.9, 1.1), task.cancel)
            with contextlib.suppress(asyncio.CancelledError):
                await task
            outcomes.add(task.cancelled())
            assert children.of(os.getpid()) == before
        assert outcomes == {True}

    before = children.of(os.getpid())
    asyncio.run(main())


STARTS = """
import asyncio, importlib, os, sys
from spawner import aio

async def main():
    for turns in range(12):
        task = asyncio.create_task(aio.run(["cat"], input=b"x", capture_output=True))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
    await aio.run(["cat"], input=b"x", capture_output=True)
    return await aio.Process(["cat"], stdin=-1, stdout=-1)

print(os.getpid(), flush=True)
with asyncio.Runner(loop_factory=importlib.import_module(sys.argv[1]).new_event_loop) as runner:
    held = runner.run(main())
del held
"""


def test_no_descriptor_is_closed_twice(tmp_path: Path, each_loop: str) -> None:
    """Where a thread opens a file between the two, the second one closes that."""
    require("strace")
    log = tmp_path / "log"
    traced = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=close", "-e", "signal=none"]
    argv = [*traced, sys.executable, "-c", STARTS, each_loop]
    ended = subprocess.run(argv, stdout=PIPE, text=True, check=True)
    calls = [line.split(None, 1) for line in log.read_text().splitlines()]
    ours = [call for pid, call in calls if pid == ended.stdout.strip()]
    assert len(ours) > 100
    # One that another process's call came between is told in two lines.
    assert [call for call in ours if "EBADF" in call] == []


def test_the_end_of_the_loop_ends_what_runs(tree: Tree) -> None:
    """asyncio.run cancels what is left, and that kills."""

    async def main() -> asyncio.Task[Any]:
        task = asyncio.create_task(aio.run(tree.args, **tree.options))
        await complete(tree)
        return task

    assert asyncio.run(main()).cancelled()
    assert tree.is_gone()


def test_a_killed_launcher_leaves_nothing(tree: Tree) -> None:
    async def main() -> None:
        async with aio.Process(tree.args, **tree.options) as process:
            await complete(tree)
            os.kill(process._launcher.pid, signal.SIGKILL)
            assert await process.wait() == 137
        assert tree.is_gone()

    asyncio.run(main())


def test_fifty_at_once_need_no_thread() -> None:
    async def main() -> None:
        async def one(number: int) -> None:
            shell = f"read -r line; echo $line {number}; exit {number}"
            ended = await aio.run(
                ["sh", "-c", shell], input=f"in{number}\n", stdout=PIPE, text=True
            )
            assert (ended.returncode, ended.stdout) == (number, f"in{number} {number}\n")

        await asyncio.gather(*map(one, range(50)))  # a user may have 200 keyrings, keyrings(7)
        assert threading.active_count() == threads

    threads = threading.active_count()
    before = os.listdir("/proc/self/fd"), children.of(os.getpid())
    asyncio.run(main())
    assert (os.listdir("/proc/self/fd"), children.of(os.getpid())) == before


def test_a_conversation_and_signals() -> None:
    code = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
print("ready", flush=True)
print(input(), signal.sigwait({signal.SIGUSR1}), flush=True)
signal.pause()
"""

    async def main() -> None:
        async with aio.Process(python(code), stdin=PIPE, stdout=PIPE, hostname="box") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGUSR1)
            process.stdin.write(b"hello\n")
            await process.stdin.drain()
            assert await process.stdout.readline() == b"hello 10\n"
            process.terminate()
            assert (await process.wait(), process.signal) == (143, 15)

    asyncio.run(main())


def test_failures_are_those_of_the_other_twin() -> None:
    for args, options in (
        (["nosuch"], {}),
        (["true"], {"cwd": "/nosuch"}),
        (["true"], {"hostname": "x" * 65}),
        (["false"], {"check": True}),
        ([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], {"check": True}),
    ):
        raised: list[Exception] = []
        for call in (spawner.run, lambda *a, **k: asyncio.run(aio.run(*a, **k))):
            with pytest.raises(Exception) as caught:  # noqa: PT011  any, but the same
                call(args, **options)  # type: ignore[operator]
            raised.append(caught.value)
        assert type(raised[0]) is type(raised[1])
        assert str(raised[0]) == str(raised[1])


def test_it_joins_as_the_other_twin_does(tree: Tree) -> None:
    async def main() -> None:
        async with aio.Process(["cat"], stdin=PIPE, unshare="uts", hostname="box") as box:
            ended = await aio.join(box, ["hostname"], capture_output=True, text=True, check=True)
            assert (ended.stdout, ended.stderr) == ("box\n", "")
            async with aio.JoinedProcess[bytes](box.pid, ["cat"], stdin=PIPE) as guest:
                assert guest.namespaces == box.namespaces
            task = asyncio.create_task(aio.join(box, tree.args, **tree.options))
            await complete(tree)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(FileNotFoundError):
                await aio.join(box, "/nosuch")
            with pytest.raises(TypeError, match="unexpected keyword argument 'unshare'"):
                aio.JoinedProcess(box, ["true"], unshare="net")
        assert tree.is_gone()

    asyncio.run(main())
