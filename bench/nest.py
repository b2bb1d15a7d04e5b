"""A place of our own to measure in, which leaves nothing behind.

    outer                                   inner
     unshare(user, only if needed; pid)
     fork ------------------------------>    PID 1 of the new namespace; dies with outer
                                             mount namespace, private, with its own /proc
                                             runs the experiments
     waits; on ^C or SIGTERM kills inner
     the kernel has killed all below inner
     removes scratch files and cgroups

Where no PID namespace can be had, outer is a subreaper and kills what is left one by one.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from bench import linux

INTERRUPTED = 130


@dataclass(frozen=True)
class Nest:
    """What the experiments may count on."""

    scratch: Path
    denied: str | None
    """Why there is no PID namespace, or None where there is one."""
    cgroup: str
    """A cgroup name that the outer process removes in every hierarchy at the end."""


def run(work: Callable[[Nest], int]) -> int:
    """Run `work` inside a nest, return its exit status, and end all that it started."""
    linux.become_subreaper()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    denied = _isolate()
    scratch = Path(tempfile.mkdtemp(prefix="pidone-bench-"))
    nest = Nest(scratch, denied, scratch.name)
    inner = 0
    try:
        inner = os.fork()
        if inner == 0:
            _be_inner(nest, work)
        status = os.waitpid(inner, 0)[1]
        inner = 0
        return os.waitstatus_to_exitcode(status)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        _end_all(inner)
        _remove_cgroups(nest.cgroup)
        shutil.rmtree(scratch, ignore_errors=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _isolate() -> str | None:
    """Unshare the PID namespace, with a user namespace where privileges are missing.

    The user's ids are mapped to themselves: whatever is exec'ed runs as the ordinary user that
    it would be outside, while this process, which never execs, keeps the rights to make PID
    namespaces. Returns why it could not be done.
    """
    try:
        linux.unshare(linux.CLONE_NEWPID)
    except PermissionError:
        pass
    else:
        return None
    uid, gid = os.geteuid(), os.getegid()
    try:
        linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWPID)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    except OSError as error:
        return str(error)
    return None


def _be_inner(nest: Nest, work: Callable[[Nest], int]) -> None:
    """Run `work` as the child; never returns."""
    status = 1
    try:
        linux.die_with_parent(signal.SIGKILL)
        linux.set_timer_slack(1)
        if nest.denied is None:
            linux.unshare(linux.CLONE_NEWNS)
            linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
            linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        status = work(nest)
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        status = INTERRUPTED
    except BaseException:  # noqa: BLE001  a forked child must never run its parent's clean-up
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _end_all(inner: int) -> None:
    """Kill the inner process and every child that is left, until there is none."""
    if inner:
        os.kill(inner, signal.SIGKILL)
    me = os.getpid()
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                for pid in Path(f"/proc/{me}/task/{me}/children").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
                os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _remove_cgroups(name: str) -> None:
    root = Path("/sys/fs/cgroup")
    for group in [root / name, *root.glob(f"*/{name}")]:
        if group.is_dir():
            group.rmdir()
