"""Call a Python function in namespaces of its own, for tests: the base of `pytest_plugin`.

Who does what:

1. A container is made as for any program. What runs in it is `pyinit --pause`, which holds its
   namespaces and reaps.
2. The caller forks the *guest*, which joins all of the container's new namespaces by one setns(2).
   A PID namespace is for children only, so it forks once more: its child calls the function. The
   child's pid is one that neither the caller nor any process it was forked from has had, since
   libraries notice a fork by a new pid.
3. The outcome comes back pickled through a pipe. There's no more once the guest has ended.
4. Where it hung is told by the child itself: its faulthandler writes that into another pipe when
   the caller sends SIGABRT. It does so as well when the child crashes.
5. The container is killed, and with it whatever the function has left behind.

Whoever controls the function controls what is unpickled: it isn't for code that isn't trusted.

A fork of a program with threads has one thread, and the locks that the others held stay held. So
what the function uses should not be used by other threads: as with any fork, os.fork(). Nothing of
ours waits for such a lock: not that of a module, either, which another thread may be importing just
then. What is needed after the fork is imported before it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import functools
import os
import pickle
import posix
import resource
import select
import signal
import sys
import time
import traceback
from subprocess import DEVNULL, TimeoutExpired
from typing import TYPE_CHECKING, Any

from pyinit import signames
from spawner import lean
from spawner.api import keywords, laststack, ties
from spawner.api.process import Process
from spawner.errors import LAUNCHER, SpecError
from spawner.linux import Kernel
from spawner.spec import KINDS, LONGEST_POLL
from spawner.steps import attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import NoReturn, TypeVar

    T = TypeVar("T")

FOR_PROGRAMS = (*keywords.SUBPROCESS, "init", "user", "group", "extra_groups", "limits", "rights",
                "sandbox", "new_session")  # fmt: skip
"""Keywords that are about a program rather than the namespaces around a function."""

_RETURNED, _RAISED = "returned", "raised"

_DUMPING = 3.0
"""Seconds that a hanging process has to write its traceback before it is killed."""

_PAUSED, _RESUMED = b"paused", b"resumed"

_pids = {os.getpid()}
"""The pids that this process and its forebears have had, each as seen in its own PID namespace."""

os.register_at_fork(after_in_child=lambda: _pids.add(os.getpid()))

_callers: list[int] = []
"""The pipes by which isolated functions tell their callers to stop the clock."""


class IsolatedError(Exception):
    """Raised for an isolated function that ended with neither a result nor an exception."""


class _Holder(Process[bytes]):
    """A container that a ^C doesn't reach, since it is meant for the function and its caller."""

    def _launch(self, *args: Any, **streams: Any) -> None:
        super()._launch(*args, process_group=0, **streams)


def holder() -> list[str]:
    """Return the argv of a program that does nothing but hold its namespaces."""
    return [*lean.lean("import pyinit.__main__"), "--pause"]


def pause() -> None:
    """Stop the clock of the time-out, while an isolated function is being debugged."""
    _tell_of_clock(_PAUSED)


def resume() -> None:
    """Restart the clock of the time-out that `pause` stopped."""
    _tell_of_clock(_RESUMED)


def _tell_of_clock(word: bytes) -> None:
    if _callers:
        os.write(_callers[-1], word + b"\n")


def hold(options: Mapping[str, Any], timeout: float | None = None) -> Process[bytes]:
    """Make a container to run functions in; raises SetupError, SpecError and TimeoutExpired."""
    for name in FOR_PROGRAMS:
        if name in options:
            raise SpecError(f"{name} is for programs, not for a function", "pass it to run()")
    return _Holder(
        holder(), init=False, stdin=DEVNULL, stdout=DEVNULL, start_timeout=timeout, **options
    )


def call(
    function: Callable[..., T],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    timeout: float | None = None,
    options: Mapping[str, Any] | None = None,
    on_pause: Callable[[], object] = lambda: None,
) -> tuple[T, dict[str, str]]:
    """Call `function` in a container of its own; return its result and `Process.missing`.

    Raises what the function raises, with its traceback as a note; IsolatedError where that can't be
    pickled, or the result, or where the process ended by itself; subprocess.TimeoutExpired after
    `timeout` seconds; and what a container that can't be made raises. A traceback leads on to where
    the function hung, or crashed. The `options` are those of `Process`, but FOR_PROGRAMS;
    `on_pause` is called when the function has called `pause`.
    """
    __tracebackhide__ = True  # by pytest, which shows where the function was called
    if not callable(function):
        raise TypeError(f"a function is needed, not {function!r}; use isolated.run for a command")
    timeout = keywords.duration("timeout", timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    options = options or {}
    _prepare()
    for stream in (sys.stdout, sys.stderr):  # else both processes would write what is in there
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()
    try:
        held = hold(options, timeout)
    except TimeoutExpired as expired:
        raise TimeoutExpired(_name(function), timeout or 0) from expired
    with held as container:
        try:
            if "pid" not in _new(container):
                raise SpecError(
                    "a function needs its own PID namespace, so that all its processes end with it",
                    "don't share pid",
                )
            guest = _Guest(container, options.get("cwd"), on_pause)
            kind, value = _converse(guest, function, args, kwargs or {}, timeout, deadline)
        finally:
            container.kill()
    if kind == _RAISED:
        raise value
    return value, container.missing


@functools.cache
def _prepare() -> None:
    """Import the modules that traceback otherwise imports only when it shows an exception."""
    try:
        getattr(_pids, _RAISED)
    except AttributeError as error:
        traceback.format_exception(error)


def _converse(
    guest: _Guest,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    timeout: float | None,
    deadline: float | None,
) -> tuple[str, Any]:
    """Have a guest call the function; return the outcome."""
    __tracebackhide__ = True
    with contextlib.ExitStack() as ends:

        def end(file: Any) -> Any:
            return ends.enter_context(contextlib.closing(file))

        (reader, writer), (news, newser), (dump, dumper) = (map(end, ties.pipe()) for _ in range(3))
        guest.news, guest.dump = news.fileno(), dump.fileno()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())

        def unblocked() -> Any:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            return function(*args, **kwargs)

        def conversation() -> bytes | None:
            guest.fork(writer.fileno(), newser.fileno(), dumper.fileno(), unblocked)
            pidfd: ties.Pidfd = end(ties.Pidfd(guest.pid))
            return _listen(reader.fileno(), guest, pidfd, deadline, mask)

        def stack() -> TracebackType | None:
            return laststack.rebuilt(
                laststack.within(laststack.read(guest.dumped()), unblocked.__code__)
            )

        try:
            # The guest stays undisturbed, too: it has a child to reap.
            told = ties.undisturbed(conversation)
            if told is None:
                guest.ask()
            guest.see_off()
        except BaseException as error:
            # Somebody else's time-out, say: it strikes here, and where the function is counts.
            try:
                guest.ask()
                error.__traceback__ = stack() or error.__traceback__
            finally:
                ties.insist(guest.see_off, lambda: not guest.pid)
            raise
        if told is None:
            raise TimeoutExpired(_name(function), timeout or 0).with_traceback(stack())
        with contextlib.suppress(Exception):  # it ended before all of it was told
            return opened(told)
        raise IsolatedError(f"{_name(function)} {_ending(guest.status)}").with_traceback(stack())


class _Guest:
    """The guest: a process that this one forks to join the container and call the function.

    Read from `news`: the pid of its child, and when that stops the clock. `status` is its wait
    status once it was seen off; None if somebody else has reaped it.
    """

    pid = 0
    child = 0
    paused = False
    status: int | None = None
    news = dump = -1

    def __init__(
        self, container: Process[bytes], directory: Any, on_pause: Callable[[], object]
    ) -> None:
        self._container = container
        self._directory = directory
        self._on_pause = on_pause
        self._partial = b""

    def fork(self, telling: int, naming: int, dumping: int, function: Callable[[], Any]) -> None:
        """Fork the guest, with copies of its pipe ends, since a fork closes the originals."""
        container, place = self._container, self._directory
        new, place = _new(container), os.getcwd() if place is None else place
        with contextlib.ExitStack() as copies:
            descriptors = (container._first.descriptor, telling, naming, dumping)
            pidfd, *ends = (_copy(copies, descriptor) for descriptor in descriptors)
            self.pid = os.fork()
            if self.pid == 0:
                _be_guest(pidfd, new, place, ends, function)

    def hear(self) -> bool:
        """Read what the guest has reported; return whether it has paused the clock by that."""
        has_paused = False
        *lines, self._partial = (self._partial + _available(self.news)).split(b"\n")
        for line in lines:
            if line.isdigit():
                self.child = int(line)
            elif self.paused != (line == _PAUSED):
                self.paused = not self.paused
                if self.paused:
                    has_paused = True
                    self._on_pause()
        return has_paused

    def ask(self) -> None:
        """Have the guest's hanging child dump its stack and end; wait a while for that.

        A core file, which nobody wants, is too large for its limit then; core(5).
        """
        if self.pid:
            self.hear()
        if not self.child:
            return
        pidfd = ties.Pidfd(self.child)
        try:
            _, most = resource.prlimit(self.child, resource.RLIMIT_CORE)
            resource.prlimit(self.child, resource.RLIMIT_CORE, (0 if most == 0 else 1, most))
            pidfd.send(signal.SIGABRT)
            pidfd.send(signal.SIGCONT)
            pidfd.wait(_DUMPING)
        except (ProcessLookupError, PermissionError):
            pass  # it has ended, or become somebody whom we may not ask
        finally:
            pidfd.close()

    def dumped(self) -> bytes:
        """Return what faulthandler has written in the guest's child."""
        return _available(self.dump)

    def see_off(self) -> None:
        """Kill the container and reap the guest.

        That kills the guest's child, and the guest reaps it. To kill the guest would leave the
        child to our subreaper, and the namespace waits for whoever is slow to reap.
        """
        if not self.pid:
            return
        self._container.kill()
        if self.status is None:
            with contextlib.suppress(ChildProcessError):  # who ignores SIGCHLD, or reaps all
                _, self.status = os.waitpid(self.pid, 0)
        if self.status is not None and os.WIFSIGNALED(self.status):
            self._reap()
        self.pid = 0

    def _reap(self) -> None:
        """Reap the child of a guest that was killed, if this process is its subreaper or PID 1.

        The end of its PID namespace waits until somebody does, and nobody else will.
        """
        self.hear()
        if self.child:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.child, 0)


def _copy(copies: contextlib.ExitStack, descriptor: int | None) -> int:
    """Return a copy of a descriptor that is above 2 and that `copies` closes."""
    if descriptor is None:
        raise IsolatedError("the process that holds the namespaces has ended")
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    copies.callback(os.close, copy)
    return copy


def _available(descriptor: int) -> bytes:
    """Return what a pipe holds now, without waiting."""
    os.set_blocking(descriptor, False)
    found = bytearray()
    with contextlib.suppress(BlockingIOError):
        while block := os.read(descriptor, 65536):
            found += block
    return bytes(found)


def _listen(
    reader: int, guest: _Guest, pidfd: ties.Pidfd, deadline: float | None, mask: Iterable[int]
) -> bytes | None:
    """Return all that the guest sends until it ends; None once the deadline has passed.

    All signals are blocked, and those that aren't in `mask` come only while it waits: what has been
    read isn't lost by an interrupt, and whose interrupt it is has been read by then.
    """
    told = bytearray()
    poller = select.poll()
    for source in (reader, guest.news, pidfd.descriptor):
        if source is not None:
            poller.register(source, select.POLLIN)
    ended = pidfd.descriptor is None
    while True:
        told += _available(reader)
        has_paused = guest.hear()
        if ended:
            return bytes(told)
        begun, paused = time.monotonic(), guest.paused
        left = None if deadline is None or paused else max(0.0, deadline - begun)
        part = None if left is None else min(left, LONGEST_POLL)
        ready: list[tuple[int, int]] = []
        try:
            ready = _poll(poller, part, mask)
        except KeyboardInterrupt:
            # Where a debugger has begun by now it has got it too, though it may be over already.
            if not (paused or has_paused or guest.hear()):
                raise
            paused = True
        if paused:
            if deadline is not None:
                deadline += time.monotonic() - begun
        elif not ready and part == left:
            return None
        ended = any(descriptor == pidfd.descriptor for descriptor, _ in ready)


def _poll(poller: select.poll, seconds: float | None, mask: Iterable[int]) -> list[tuple[int, int]]:
    """Poll with another signal mask, as ppoll(2) does; an interrupt is raised from here."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return poller.poll(None if seconds is None else seconds * 1000)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _be_guest(
    pidfd: int, new: list[str], place: Any, ends: list[int], function: Callable[[], Any]
) -> NoReturn:
    """Join the container, fork a child that calls the function, and end as the child does.

    All signals are blocked and stay so: who interrupts all of us does it to the caller and to the
    child. Of the `ends`, the first is for the outcome, the second for the child's pid and the
    clock, the third for what faulthandler says. It's posix._exit, since coverage may have replaced
    that of os, to write a file over the caller's.
    """
    telling, naming, dumping = ends
    status = 1
    try:
        _join(pidfd, new)
        os.chdir(place)  # the root of the namespace is where a join leads, setns(2)
        if child := _fork_another(naming):
            code = os.waitstatus_to_exitcode(_reaped(child))
            status = code if code >= 0 else 128 - code
        else:
            _callers.append(naming)
            faulthandler.enable(dumping)
            _tell(telling, outcome(function))
            status = 0
    except BaseException as error:  # noqa: BLE001  it's the caller's
        _tell(telling, _packed(_RAISED, error))
    finally:
        posix._exit(status)


def _fork_another(naming: int) -> int:
    """Fork a process whose pid none of its ancestors has had; return as os.fork() does.

    asyncio, tempfile, multiprocessing and many others tell a fork by its pid, and PID namespaces
    all count from 1. A child with the pid of a forebear ends, and the next one is tried. The child
    goes on only when its pid, as the guest sees it, has been told by the descriptor `naming`: a
    line each, of which the last one counts.
    """
    forebears = frozenset(_pids)
    while True:
        gate, opener = os.pipe()
        answers, answerer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(opener)
            os.close(answers)
            if os.getpid() in forebears or not os.read(gate, 1):
                posix._exit(0)
            os.write(answerer, b"!")
            os.close(answerer)
            os.close(gate)
            return 0
        os.close(answerer)
        answered = b""
        try:
            os.write(naming, b"%d\n" % child)
            os.write(opener, b"!")  # the gate is open here too: this raises no SIGPIPE
            answered = os.read(answers, 1)
        finally:
            for end in (gate, opener, answers):
                os.close(end)
            if not answered:
                status = _reaped(child)
        if answered:
            return child
        if status:
            raise IsolatedError("the process that holds the namespaces has ended")


def _reaped(child: int) -> int:
    """Wait for a child; return its wait status, 0 where SIGCHLD is ignored."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(child, 0)[1]
    return 0


def _join(pidfd: int, new: list[str]) -> None:
    flags = 0
    for kind in new:
        flags |= KINDS[kind].number
    attempt(LAUNCHER, f"join the namespaces {', '.join(new)}", lambda: Kernel().setns(pidfd, flags))


def _new(container: Process[bytes]) -> list[str]:
    """Return the kinds of namespaces that the container doesn't share with this process."""
    return [
        kind
        for kind, inode in container.namespaces.items()
        if os.stat(f"/proc/self/ns/{KINDS[kind].file}").st_ino != inode
    ]


def outcome(function: Callable[[], Any]) -> bytes:
    """Call the function; return its result or its exception, pickled."""
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001  whatever it is, the caller gets it
        packed = _packed(_RAISED, error)
    else:
        packed = _packed(_RETURNED, result)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()
    return packed


def opened(packed: bytes) -> tuple[str, Any]:
    """Return the kind of a pickled outcome, and the result or the exception in it."""
    kind, value = pickle.loads(packed)  # noqa: S301  by the caller's own function
    return kind, value


def result(packed: bytes) -> Any:
    """Return the result of a call, or raise what it raised."""
    __tracebackhide__ = True
    kind, value = opened(packed)
    if kind == _RAISED:
        raise value
    return value


def _packed(kind: str, value: Any) -> bytes:
    """Return a pickled outcome, or a text about an outcome that can't be pickled."""
    note = ""
    if kind == _RAISED:
        told = traceback.format_exception(type(value), value, _beyond_us(value.__traceback__))
        note = "in the isolated process:\n" + "".join(told).rstrip()
        with contextlib.suppress(Exception):  # it may forbid new attributes
            value.add_note(note)
    try:
        packed = pickle.dumps((kind, value))
        _, again = pickle.loads(packed)  # noqa: S301  what was pickled here
    except Exception as error:  # noqa: BLE001  pickle calls what others wrote
        what = _shown(value) if kind == _RAISED else f"the result {_shown(value)}"
        failed = IsolatedError(f"{what} can't be sent back: {type(error).__name__}: {error}")
    else:
        if type(again) is type(value):
            return packed
        failed = IsolatedError(f"{_shown(value)} came back as another type")
    if note:
        failed.add_note(note)
    return pickle.dumps((_RAISED, failed))


def _beyond_us(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without this package's frames, which led to the function."""
    while trace is not None and trace.tb_next is not None:
        if not trace.tb_frame.f_globals.get("__name__", "").startswith("spawner."):
            break
        trace = trace.tb_next
    return trace


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  it's somebody else's, and being told of already
        return object.__repr__(value)


def _tell(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def _ending(status: int | None) -> str:
    """Describe how the guest ended; its exit status 128 + n means that signal n ended its child."""
    if status is None:
        return "ended its process, and its exit status was lost: is SIGCHLD ignored?"
    code = os.waitstatus_to_exitcode(status)
    number = -code if code < 0 else code - 128
    if number in signal.valid_signals():
        return f"was killed by {signames.name(number)}"
    return f"ended its process with status {code}"
