"""A running container and its launcher, as `process` and `aio` both hold them.

Who does what:

1. Each call execs one lean `pyspawn`, the launcher, by `subprocess.Popen`. The caller may have
   threads, so its process is never unshared (unshare(CLONE_NEWUSER) would be refused) and never
   forked to run Python.
2. The *status* pipe carries the launcher's JSON lines (docs/interfaces.md). The start reads it up
   to `started` or `failed`; `exited` stays in the pipe until the launcher's end, so nobody has to
   read meanwhile.
3. The *lifeline* pipe ends the container: the launcher kills all of it at the first byte or at the
   end of file. Only this process holds the write end, so the container dies with it, also by
   SIGKILL. kill() writes a byte, because EOF can't come while a fork that ran no callback of ours
   (one made in C) has a copy of that end.
4. The launcher ends after everything in the container has, so to wait for it is to wait for the
   whole tree. Its pidfd says so without a poll, and takes signals that no other process can get.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
import warnings
from _posixsubprocess import fork_exec
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pyinit import SIGNALLED, status_of_signal
from spawner import lean
from spawner.api import changed, resources, ties
from spawner.errors import LAUNCHER, SetupError
from spawner.machine import LIMIT
from spawner.spec import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import ModuleType

    from spawner.api.changed import Change
    from spawner.api.resources import Resources
    from spawner.api.signatures import Command

T = TypeVar("T")


def cooperative() -> bool:
    """Tell whether waits have to use poll(2), so that gevent can run other greenlets meanwhile."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("select"))


def _original(module: ModuleType) -> Any:
    """Return a module as it was before gevent patched it."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None:
        return module
    saved = monkey.get_original(module.__name__, sorted(vars(module)))
    return SimpleNamespace(**dict(zip(sorted(vars(module)), saved, strict=True)))


def _with_original(function: FunctionType, **its: Any) -> FunctionType:
    """Return a subprocess function that uses the original `os`, with the globals in `its` replaced.

    gevent's os.close() may wait for a turn of its loop, which doesn't come before an exec.
    """
    return FunctionType(function.__code__, {**function.__globals__, "os": _original(os), **its})


if TYPE_CHECKING:
    Popen = subprocess.Popen
else:
    # gevent's forks to run Python, and such a fork keeps nothing of our ties.
    Popen = _original(subprocess).Popen


class Forked(Popen[Any]):
    """A subprocess.Popen whose pid is known before a signal handler can run.

    Between the fork and Popen's `self.pid =` one can, and what it raises would leave a process that
    nobody reaps. C code is never interrupted, and keeps the result here.
    """

    def __init__(self, argv: Sequence[str], **options: Any) -> None:
        self._forked: list[int] = []
        super().__init__(argv, **options)

    @property
    def was_forked(self) -> bool:
        """Whether the process was forked, even if the start was interrupted."""
        forked = getattr(self, "_forked", None)
        if forked:
            self.pid = forked[-1]
        return bool(forked)

    def _execute_child(self, *args: Any) -> None:
        def fork(*words: Any) -> int:
            self._forked.extend(map(fork_exec, *[(word,) for word in words]))
            return self._forked[-1]

        _with_original(Popen._execute_child, _fork_exec=fork)(self, *args)  # type: ignore[attr-defined]

    def _close_pipe_fds(self, *args: Any) -> None:
        _with_original(Popen._close_pipe_fds)(self, *args)  # type: ignore[attr-defined]


SPELL = 0.2
"""Seconds between two checks whether a launcher that was told to end is stopped or hangs."""

_CONTINUED = 5
"""How often a stopped launcher is continued before it is killed."""


class _Launcher(Forked):
    """A launcher that its container knows before the fork: an interrupt can't lose track of it."""

    def __init__(self, container: Container, argv: Sequence[str], **options: Any) -> None:
        container._launcher = self
        super().__init__(argv, **options)


def _rehearse(streams: dict[str, Any]) -> None:
    """Raise now the error that Popen would raise after making only some of its pipes.

    Early versions of Python 3.11 leave those open that Popen had made by then (CPython's gh-87474).
    So files are replaced by their descriptors, and what it will open is opened once and closed.
    Raises OSError, and what the fileno() of a file raises.
    """
    names = ("stdin", "stdout", "stderr")
    for name in names:
        stream = streams.get(name)
        if stream is not None and not isinstance(stream, int):
            streams[name] = stream.fileno()
    kinds = [streams.get(name) for name in names]
    if kinds[1:] == [None, subprocess.STDOUT]:
        streams["stderr"] = 1  # of which Popen would ask sys.__stdout__, which may be None
    ties.rehearse(kinds.count(subprocess.PIPE), int(subprocess.DEVNULL in kinds))


class ByKind(dict[str, T]):
    """A mapping by kinds of namespaces, in which each name of a kind finds its value."""

    def __missing__(self, name: str) -> T:
        kind = kind_of(name)
        if kind == name:
            raise KeyError(name)
        return self[kind]

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or super().__contains__(kind_of(cast("str", name)))

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value for a kind, by any of its names, else `default`."""
        return self[name] if name in self else default  # noqa: SIM401  this is that


class Container:
    """A container and the launcher that made it; see `process.Process` for what users may know."""

    args: Command
    """The program and its arguments, as they were given."""

    pid: int
    """The container's first process, which is PID 1 in it, as seen from here."""

    namespaces: dict[str, int]
    """The inode number of each namespace of the container, by name, as in /proc/PID/ns."""

    missing: dict[str, str]
    """Why each namespace of `unshare_try` that wasn't made was refused, by its name."""

    returncode: int | None = None
    """The program's exit status, 0 to 255, or 128 + n where signal n killed it; None until then."""

    signal: int | None = None
    """The number of the signal that the program died of, or None."""

    limit: str | None = None
    """The limit that ended the program: "time", "memory", "pids", or None."""

    resources: Resources | None = None
    """What the container has used, where `limits` took a control group; None until the end."""

    changes: tuple[Change, ...] | None = None
    """What has become of the files in overlays, with `changes`; None until the end."""

    _launcher: _Launcher
    _lifeline: ties.Lifeline
    _report: ties.Report
    _end: ties.Pidfd
    _first: ties.Pidfd
    _settling: contextlib.AbstractContextManager[bool]
    _sheet: ties.Sheet | None = None
    _running = False  # until the start has succeeded, for __del__
    _subcommand: tuple[str, ...] = ()
    _stuck = 0  # for how many spells after a kill the launcher was seen to be
    _left = False

    def _launch(
        self,
        undo: contextlib.ExitStack,
        words: Sequence[str],
        pass_fds: Iterable[int],
        *,
        changes: bool | None = None,
        **streams: Any,
    ) -> None:
        """Start the launcher with its pipes to this process; `undo` ends it and closes the pipes.

        With `changes` it tells what those in overlays are.

        Raises SetupError, and what subprocess.Popen raises for what is meant for it.
        """
        self._settling = threading.RLock()
        self._lifeline = undo.enter_context(contextlib.closing(ties.Lifeline()))
        self._report = undo.enter_context(contextlib.closing(ties.Report()))
        tied = {"lifeline": self._lifeline.end, "json-status": self._report.end}
        if changes:
            self._sheet = undo.enter_context(contextlib.closing(ties.Sheet()))
            tied["changes"] = self._sheet.end
        ends = (f"--{tie}={end}" for tie, end in tied.items())
        argv = [*lean.pyspawn(), *self._subcommand, *ends, *words]
        _rehearse(streams)
        undo.callback(self._abandon)
        try:
            _Launcher(self, argv, pass_fds=(*pass_fds, *tied.values()), **streams)
        except OSError as error:
            if error.filename != argv[0]:
                raise
            raise _no_launcher(error) from error
        self._end = ties.Pidfd(self._launcher.pid)
        self._launcher.args = self.args  # what a TimeoutExpired of its shows
        self._report.launched()

    def _abandon(self) -> None:
        """Kill what a failed start may have made, wait for its end, and close its descriptors."""
        if hasattr(self, "_launcher") and self._launcher.was_forked:
            self._kill_and_wait()
        for name in ("_first", "_end"):
            if hasattr(self, name):
                getattr(self, name).close()

    def _kill_and_wait(self) -> None:
        """Kill everything and wait until it is gone, even if interrupted by a signal."""

        def end() -> None:
            if not self._lifeline.closed:
                self._lifeline.cut()
            self._launcher.send_signal(SIGCONT)  # as kill(): a failed start may have no pidfd
            self._close_and_wait()

        ties.insist(end, lambda: self._launcher.returncode is not None)

    def _close_and_wait(self) -> None:
        """Close the streams, wait for the end and reap the launcher.

        An interrupt of Popen's own wait may leave its lock held, for which the next would wait. So
        it has nothing to wait for.
        """
        launcher = self._launcher
        gone = True
        try:
            for stream in (launcher.stdout, launcher.stderr, launcher.stdin):
                if stream is not None:
                    stream.close()
            gone = not hasattr(self, "_end") or self._wait_end()
        finally:
            if gone:
                with launcher:
                    pass

    def _wait_end(self, seconds: float | None = None) -> bool:
        """Wait until the launcher has ended; return False after `seconds`.

        One that was told to end, and doesn't because somebody stops it over and over, or because it
        hangs in the kernel, is killed with all that is below it; one that outlives that is left.
        """
        until = None if seconds is None else time.monotonic() + seconds
        while self._lifeline.closed and not self._left:
            spell = SPELL if until is None else min(SPELL, max(until - time.monotonic(), 0))
            if self._end.wait(spell):
                return True
            if until is not None and until <= time.monotonic():
                return False
            self._urge()
        return not self._left and self._end.wait(
            None if until is None else max(until - time.monotonic(), 0)
        )

    def _urge(self) -> None:
        """Continue or kill a launcher that was told to end, but doesn't."""
        from spawner.host import ends
        from spawner.life import descendants

        state = ends.state(self._launcher.pid)
        if state not in ("T", "t", "D"):
            self._stuck = 0
            return
        self._stuck += 1
        patience = _CONTINUED if state in ("T", "t") else int(LIMIT / SPELL)
        if self._stuck > 2 * int(LIMIT / SPELL):
            self._left = True
            warnings.warn(ends.told(self._launcher.pid), RuntimeWarning, stacklevel=4)
        elif self._stuck >= patience:
            pidfd = self._end.descriptor
            descendants.kill_tree(self._launcher.pid, -1 if pidfd is None else pidfd, 0)
        elif state != "D":
            self._signal_launcher(SIGCONT)

    def _has_started(self) -> bool:
        """Return whether the program's exec has been reported; raise a reported failure.

        Where the launcher has told all and this isn't part of it, it's about to end, or has.
        """
        events = self._report.events
        if "failed" in events:
            kinds = "namespaces" if self._subcommand else "unshare"
            raise ties.failure(events["failed"], kinds)
        if "started" in events:
            self.pid = events["created"]["host_pid"]
            self.namespaces = ByKind(events["created"]["namespaces"])
            self.missing = ByKind(events.get("missing", {}).get("namespaces", {}))
            self._first = ties.Pidfd(self.pid)
            return True
        if self._report.ended:
            status = self._launcher.wait()
            raise SetupError(f"the launcher ended early, with status {status}", stage=LAUNCHER)
        return False

    def send_signal(self, sig: int) -> None:
        """Send a signal to the program, through the launcher; SIGKILL is kill().

        Of no effect once all has ended. Raises ValueError for SIGSTOP, which would stop the
        launcher only.
        """
        self._check_owner()
        if sig == SIGKILL:
            self.kill()
        elif sig == SIGSTOP:
            raise ValueError("SIGSTOP can't be forwarded: send SIGTSTP")
        else:
            self._signal_launcher(sig)

    def terminate(self) -> None:
        """Stop the program: send `stop_signal`, and after `stop_timeout` kill everything."""
        self.send_signal(SIGTERM)

    def kill(self) -> None:
        """Kill everything in the container; wait() returns when all of it is gone."""
        self._check_owner()
        with self._settling:
            if self._lifeline.closed:
                return
            self._lifeline.cut()
        # A launcher that was stopped together with its terminal's job would not see it.
        self._signal_launcher(SIGCONT)

    def _signal_launcher(self, sig: int) -> None:
        with self._settling:
            self._end.send(sig)  # of no effect once it's let go of

    def _check_owner(self) -> None:
        """Raise ChildProcessError unless this process started the container."""
        # In this order: another thread that settles sets the return code, then closes.
        if self._report.closed and self.returncode is None:
            raise ChildProcessError(errno.ECHILD, "another process started this container")

    def _reap(self) -> None:
        """Reap the launcher, which has ended.

        Not by Popen's own wait: an interrupt right after it has taken its lock leaves that held,
        and nobody could ever reap the launcher.
        """
        launcher = self._launcher
        if launcher.returncode is None:
            try:
                changed = os.waitpid(launcher.pid, 0)[1]
            except ChildProcessError:  # somebody else has reaped it, as subprocess takes it
                changed = 0
            launcher.returncode = os.waitstatus_to_exitcode(changed)

    def _settle(self) -> int:
        """Return the exit status that the ended launcher has reported."""
        with self._settling:
            if self.returncode is not None:
                return self.returncode
            if not self._left:
                self._reap()
            self._report.update()
            exited = self._report.events.get("exited")
            if self._sheet is not None:
                # Where somebody killed the launcher, nobody knows what it would have told.
                self.changes = None if exited is None else changed.told(self._sheet.lines())
            if exited is None:
                # Somebody killed the launcher, so the kernel kills the container, prctl(2).
                with contextlib.suppress(PermissionError):
                    self._first.send(SIGKILL)
                self._first.wait(LIMIT)
                exited = {"signal": "SIGKILL", "status": status_of_signal(SIGKILL)}
            status = int(exited["status"])
            self.signal = status - SIGNALLED if exited["signal"] else None
            self.limit = exited.get("limit")
            self.resources = resources.told(self._report.events.get("resources"))
            self.returncode = status
            for tie in (self._lifeline, self._report, self._first, self._end, self._sheet):
                if tie is not None:
                    tie.close()
            return status

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: returncode: {self.returncode} args: {self.args!r}>"


def _no_launcher(error: OSError) -> SetupError:
    """Return the error for a Python interpreter that can't be executed as the launcher."""
    hint = "set sys.executable to the path of a Python interpreter"
    if error.errno == errno.E2BIG:
        hint = (
            "the arguments and the environment, or one of them alone, are too long, execve(2): "
            "pass long ones through stdin or a file"
        )
    return SetupError(
        f"start the launcher with {error.filename}",
        stage=LAUNCHER,
        syscall="execve",
        errno=error.errno,
        path=error.filename,
        hint=hint,
    )
