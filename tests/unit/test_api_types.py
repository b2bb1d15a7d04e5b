"""A user's type checker knows when output is text and when it is bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import spawner

GOOD = """
import asyncio, io, pathlib, signal, subprocess, types
from typing import IO, Any, assert_type
import spawner
from spawner import aio
from spawner.pytest_plugin import Isolated

flag = bool(input())
assert_type(spawner.run(["a"]).stdout, bytes)
assert_type(spawner.run(["a"], text=True).stdout, str)
assert_type(spawner.run("a", encoding="utf-8").stderr, str)
assert_type(spawner.run(b"a", errors="replace").stdout, str)
assert_type(spawner.run(pathlib.Path("a"), text=flag).stdout, Any)
assert_type(spawner.run(["a"], text=True, encoding="ascii", errors="ignore").stdout, str)
def decoded(encoding: str | None) -> str | bytes:
    return spawner.check_output(["a"], encoding=encoding)
assert_type(spawner.run(["a"], text=False, input=b"x", capture_output=True).stdout, bytes)
assert_type(spawner.run(["a", pathlib.Path("b"), b"c"], text=True, input="x").stdout, str)
assert_type(spawner.run(["a"]), spawner.CompletedProcess[bytes])
assert_type(spawner.run(["a"]).signal, int | None)
assert_type(spawner.run(["a"]).returncode, int)
assert_type(spawner.run(["a"]).missing, dict[str, str])
like: subprocess.CompletedProcess[str] = spawner.run(["a"], text=True)
spawner.run(
    ["a"], stdin=spawner.DEVNULL, stdout=io.BytesIO(), stderr=spawner.STDOUT, bufsize=0,
    timeout=1, check=True, cwd=pathlib.Path("/"), env={"A": "b"}, pass_fds=[3], init="/sbin/tini",
    network="pasta", publish=["80", 81, spawner.Publish(82)],
    unshare="all", share=["pid"], unshare_try={"time"}, hostname="box", map="root", monotonic=1,
    propagation="slave", mount_proc=pathlib.Path("/mnt"),
    map_users=[(0, 1, 2)], map_groups=spawner.IdMap([(0, 1, 2)]), user=1, group=2,
    extra_groups=(3,),
    boottime=-1, stop_signal=signal.SIGINT, stop_timeout=None, setgroups="deny",
)
spawner.run(
    ["a"], network=spawner.Network("pasta", publish=[spawner.Publish(80)]), publish=80,
    namespaces=spawner.Namespaces("pid", optional=["time"]), user="1", extra_groups="1,2",
    map_users="auto", map_groups=["0:1:2", (2, 3, 4)], stop_timeout="2.5",
    mounts=spawner.Mounts([spawner.Bind("/a", "/b", read_only=True), spawner.Tmpfs("/c", size=1)]),
    limits=spawner.Limits(rlimits={"nofile": 5, "as": "2G", "core": (0, "unlimited")}, nice=1),
    rights=spawner.Rights(cap_drop="all", cap_add=["kill"], no_new_privs=True,
        landlock=spawner.Landlock(read="/a", write=[pathlib.Path("/b")], bind=80, connect=[1, 2],
                                  scope={"signal"})),
)
assert_type(spawner.Namespaces(["net"]).wanted, frozenset[str])
assert_type(spawner.IdMap("0:1:2").to_outer(0), int | None)
spawner.run(["a"], env={b"A": b"b"}, stop_signal="INT", init=False)

with spawner.Process(["a"], text=True, stdout=spawner.PIPE) as text:
    assert_type(text, spawner.Process[str])
    assert_type(text.stdout, IO[str] | None)
    assert_type(text.communicate("x", timeout=1.5), tuple[str | None, str | None])
    assert_type(text.wait(), int)
    assert_type(text.poll(), int | None)
    assert_type(text.pid, int)
    assert_type(text.namespaces, dict[str, int])
assert_type(spawner.Process(["a"], start_timeout=3), spawner.Process[bytes])
assert_type(spawner.Process(["a"], encoding="latin-1"), spawner.Process[str])
assert_type(spawner.Process(["a"], text=flag), spawner.Process[Any])

async def twin() -> None:
    assert_type(await aio.run(["a"]), spawner.CompletedProcess[bytes])
    assert_type(await aio.run(["a"], text=True, input="x"), spawner.CompletedProcess[str])
    assert_type(await aio.run(["a"], text=flag), spawner.CompletedProcess[Any])
    process = await aio.Process(["a"], encoding="utf-8", unshare="net", limit=5)
    assert_type(process, aio.Process[str])
    assert_type(await process.communicate("x", timeout=1), tuple[str | None, str | None])
    async with aio.Process(["a"], stdin=spawner.PIPE) as process2:
        assert_type(process2, aio.Process[bytes])
        assert_type(process2.stdin, asyncio.StreamWriter | None)
        assert_type(process2.stdout, asyncio.StreamReader | None)
        assert_type(await process2.wait(1.5), int)

    assert_type(await aio.join(1, ["a"], text=True), spawner.CompletedProcess[str])
    assert_type(await aio.JoinedProcess(1, ["a"], errors="replace"), aio.Process[str])
    assert_type(await aio.check_output(["a"], universal_newlines=True, input="x"), str)
    assert_type(await aio.check_call(["a"], text=True, timeout=1), int)

box = spawner.Process(["a"])
assert_type(spawner.join(box, ["a"]), spawner.CompletedProcess[bytes])
assert_type(spawner.join(1, "a", text=True, input="x"), spawner.CompletedProcess[str])
assert_type(spawner.join(pathlib.Path("a"), "a", encoding="utf-8", namespaces="net").stdout, str)
assert_type(spawner.join(1, ["a"], text=flag), spawner.CompletedProcess[Any])
assert_type(spawner.JoinedProcess(box, ["a"]), spawner.JoinedProcess[bytes])
assert_type(spawner.JoinedProcess(box, ["a"], text=True, user="a"), spawner.JoinedProcess[str])
spawner.join(1, ["a"], target_env=True, cwd="/", group=3, timeout=1, start_timeout=2, check=True)
assert_type(spawner.call(["a"], stdout=spawner.DEVNULL), int)
assert_type(spawner.check_call(["a"], timeout=2, hostname="box"), int)
assert_type(spawner.check_output(["a"]), bytes)
assert_type(spawner.check_output(["a"], text=True, input="x", timeout=3), str)
assert_type(spawner.check_output(["a"], text=flag), Any)
assert_type(spawner.run(["a"], universal_newlines=True).stdout, str)
assert_type(spawner.run(["a"], umask=0o22, pipesize=4096, close_fds=True).stdout, bytes)
assert_type(spawner.run(["a"], start_timeout=1).stdout, bytes)
assert_type(spawner.__version__, str)
assert_type(spawner.aio, types.ModuleType)

for step in spawner.plan(["a"], hostname="box"):
    assert_type(step.what, str)

def double(number: int, *, times: int = 2) -> str:
    return str(number) * times
def test(isolated: Isolated) -> None:
    assert_type(isolated(double, 2, times=3), str)
    assert_type(isolated.run(["a"]).returncode, int)
    assert_type(isolated.missing, dict[str, str])

try:
    spawner.run(["a"])
except spawner.SpecError as error:
    assert_type(error.hint, str | None)
except spawner.ExecError as error:
    assert_type(error.path, str | None)
except spawner.SetupError as error:
    assert_type(error.stage, str)
    assert_type(error.syscall, str | None)
    assert_type(error.status, int)
except (spawner.CalledProcessError, spawner.TimeoutExpired):
    pass
"""

BAD = (
    'spawner.run(["a"], map="me")',
    'spawner.run(["a"], hostname=3)',
    'spawner.run(["a"], namespaces="net")',
    'spawner.run(["a"], shell=True)',
    'spawner.run(["a"], start_timeout="1")',
    'spawner.run(["a"], close_fds=False)',
    'spawner.join(1, ["a"], unshare="net")',
    'spawner.join(1, ["a"], namspaces="net")',
    'spawner.join(1, ["a"], text=True).stdout.decode()',
    'spawner.JoinedProcess(1, ["a"], target_env="yes")',
    'spawner.JoinedProcess(1, ["a"]).communicate("x")',
    'spawner.check_output(["a"]).encode()',
    'spawner.check_output(["a"], check=True)',
    'spawner.call(["a"], input="x")',
    'spawner.Process(["a"], timeout=1)',
    'spawner.Process(["a"]).communicate("x")',
    'spawner.Process(["a"]).returncode + 1',
    "spawner.run([1])",
    "spawner.Popen",
    'spawner.plan(["a"], hostname=3)',
    'from spawner import aio\naio.Process(["a"], shell=True)',
    'from spawner import aio\nasync def f() -> None: await aio.join(1, ["a"], unshare="net")',
    'from spawner import aio\naio.JoinedProcess(1, ["a"], text="yes")',
    "import spawner.aio as a\nasync def f(p: a.Process[bytes]) -> None: await p.communicate('x')",
    "import spawner.pytest_plugin as p\ndef f(i: p.Isolated) -> None:\n    i(len, 5)",
)


@pytest.mark.timeout(300)  # the first check of the standard library's types, on a slow machine
def test_a_strict_type_checker_agrees(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="missing capability mypy: not installed here")
    (tmp_path / "good.py").write_text(GOOD)
    for number, line in enumerate(BAD):
        (tmp_path / f"bad{number}.py").write_text(f"import spawner\n{line}\n")
    place = Path(spawner.__file__).parent.parent
    cache = place / ".mypy_cache"  # saves seconds, where it may be written
    if not os.access(cache if cache.exists() else place, os.W_OK):
        cache = tmp_path / "cache"
    options = ("--strict", "--no-error-summary", "--hide-error-context", f"--cache-dir={cache}")
    # An installed package is found where it lies; a checkout only from inside it.
    checkout = (place / "pyproject.toml").exists()
    ended = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(tmp_path)],
        cwd=place if checkout else tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.stderr == ""
    faulty = {Path(line.partition(":")[0]).name for line in ended.stdout.splitlines()}
    assert faulty == {f"bad{number}.py" for number in range(len(BAD))}
    assert 'Unexpected keyword argument "shell" for overloaded function "run"' in ended.stdout
