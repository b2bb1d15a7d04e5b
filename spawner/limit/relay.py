"""Fork a relay outside the container that passes the program's output on, up to a bound.

1. `begin` forks it before the launcher unshares anything, since later children would be in the
   container's PID namespace. It has a session of its own (neither ^C nor ^Z is for it), all signals
   blocked, and no descriptor of the caller's but standard output and error.
2. *pipes*: one for each of the two, or one for both where they are the same file, so that what is
   written to them keeps its order. The init puts their writing ends in the place of its own.
3. *alarm*: a byte says that more was written than is passed on. The launcher kills everything.
4. *end*: a byte says that the container has ended. What is in the pipes is passed on, and the relay
   ends. Whoever is slow to read it is waited for, as by a program that writes; but not when
   everything was killed, nor when pyspawn is told to end.
5. The relay dies with the launcher, PR_SET_PDEATHSIG(2const).

All pipes are closed on exec.
"""

import _signal
import posix
import select
import time

from pyinit import errno_text, status_of_wait
from spawner import caller, linux
from spawner.errors import INIT, LAUNCHER, how, mark
from spawner.host import ends
from spawner.limit import passing
from spawner.machine import LIMIT
from spawner.steps import LIMITS, Part, Step, attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import NoReturn

    from spawner.caller import Caller
    from spawner.limit.output import Output
    from spawner.linux import Kernel
    from spawner.spec import Spec

OUTPUT = "output"
"""The name of the limit, for programs that read how a container ended."""

PATIENCE = 2.0
"""Seconds for a slow reader where everything was killed, and after a signal to end."""

_FAILED = 255
"""The relay's exit status where it couldn't even begin; others are of errno, 0 for none."""

_STREAMS = (1, 2)


class Relay(Part):
    """The part that bounds the program's output; `most` is the bound in bytes.

    `lifelines` are descriptors whose becoming readable ends the wait for a slow reader.
    """

    forks = OUTPUT

    def __init__(self, most: int, lifelines: "Iterable[int]" = ()) -> None:
        self.pid = 0
        self._most = most
        self._lifelines = frozenset(lifelines)
        self._writers: dict[int, int] = {}
        self._alarm = self._end = -1
        self._failure = 0
        self._hurries = False
        self._runs = False
        self._deadline: float | None = None

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Return the step that connects the program with the relay."""
        return {LIMITS: self._connect}

    def _connect(self) -> "Iterator[Step]":
        def act(kernel: "Kernel", _: str) -> None:
            for stream, writer in self._writers.items():
                kernel.replace_stream(stream, writer)

        yield Step(
            INIT,
            f"write standard output and error into pipes, of which {self._most} bytes are passed "
            "on",
            "dup2(OUTPUT, 1), dup2(ERRORS, 2)",
            act,
            topic="bound-output",
        )

    def begin(self, kernel: "Kernel") -> None:
        """Fork the relay; raises SetupError."""
        self._kernel = kernel
        attempt(LAUNCHER, "fork for the output", lambda: self._begin(kernel))

    def _begin(self, kernel: "Kernel") -> None:
        theirs: list[int] = []
        try:
            streams = []
            for same in _writable():
                reader, writer = kernel.pipe()
                theirs.append(reader)
                self._writers |= dict.fromkeys(same, writer)
                streams.append(passing.Stream(reader, same))
            self._alarm, alarm = kernel.pipe()
            theirs.append(alarm)
            end, self._end = kernel.pipe()
            theirs.append(end)
            launcher = posix.getpid()
            pid = kernel.fork_aside(self.forks)
            if pid == 0:
                self._become(kernel, launcher, streams, alarm, end)
            self.pid = pid
        finally:
            for descriptor in theirs:
                posix.close(descriptor)

    def _become(
        self,
        kernel: "Kernel",
        launcher: int,
        streams: "list[passing.Stream]",
        alarm: int,
        end: int,
    ) -> "NoReturn":
        """Run as the relay, from the fork to its end."""
        status = _FAILED
        try:
            posix.setsid()
            kernel.hide()
            kernel.set_parent_death_signal(_signal.SIGKILL)
            if posix.getppid() == launcher:
                posix.close(0)
                self.let_go()
                linux.close_all_but({alarm, end, *(stream.source for stream in streams)})
                status = passing.serve(streams, passing.Budget(self._most, alarm), end)
        finally:
            posix._exit(status)

    @property
    def descriptors(self) -> set[int]:
        """The descriptors that the launcher keeps open while the relay runs."""
        return {each for each in (self._alarm, self._end) if each >= 0}

    def let_go(self) -> None:
        """Close the program's ends of the pipes, of which the forked processes have copies."""
        writers, self._writers = set(self._writers.values()), {}
        for descriptor in writers:
            posix.close(descriptor)

    @property
    def alarms(self) -> "tuple[int, ...]":
        """The descriptor on which the relay says that more was written than is passed on."""
        return () if self._alarm < 0 else (self._alarm,)

    def started(self) -> None:
        """Note that the program runs, and may be killed at once."""
        self._runs = True
        if self.cut:
            self._deadline = time.monotonic()

    def reached(self, alarm: int) -> bool:
        """Note that more was written, unless the relay has ended.

        An init that hasn't told yet that the program runs, or why not, has some seconds for it.
        """
        self.cut = bool(posix.read(alarm, 1))
        if self.cut and not self._runs:
            self._deadline = time.monotonic() + LIMIT
        return self.cut and self._runs

    @property
    def deadline(self) -> float | None:
        """When everything is killed, if the limit was reached before the program ran."""
        return self._deadline

    def expired(self) -> None:
        """Note that the deadline has come."""
        self._deadline = None

    def hurry(self) -> None:
        """Wait for a slow reader for PATIENCE and no longer."""
        self._hurries = True

    def ended(self, changed: int) -> str:
        """Note that the relay has ended early; return the message about that."""
        self.pid = 0
        return f"the program's output is lost: the process that passes it on {how(changed)}"

    def limited(self, signal: int | None, status: int = 0) -> "tuple[str, str] | None":
        """Return that the program has written too much, or what became of its output."""
        del signal, status
        if self.cut:
            wrote = f"it has written more than {self._most} bytes"
            return OUTPUT, f"the program was killed by {mark('--max-output')}: {wrote}"
        if self._failure:
            return "", f"the program's output was cut off: {errno_text(self._failure)}"
        return None

    def stop(self) -> list[int]:
        """Have the relay pass on what is left, and end; return it if it outlives its SIGKILL."""
        self.let_go()
        left = []
        if self.pid:
            pid, self.pid = self.pid, 0
            posix.kill(pid, _signal.SIGCONT)  # what it relays for may have stopped it
            try:
                posix.write(self._end, b".")
            except BrokenPipeError:  # somebody has killed it
                self._hurries = True
            self._await(pid)
            changed = ends.reap(pid, 0)
            if changed is None:
                posix.kill(pid, _signal.SIGKILL)  # our child, unreaped: the pid is its own
                changed = ends.reap(pid)
                if changed is None and not ends.is_gone(pid):
                    left.append(pid)
            else:
                self._failure = status_of_wait(changed)[0]
            self._hear_the_last()
        for descriptor in self.descriptors:
            posix.close(descriptor)
        self._alarm = self._end = -1
        return left

    def _hear_the_last(self) -> None:
        """Look whether the relay has reported too much output unheard by the launcher."""
        posix.set_blocking(self._alarm, False)
        try:
            self.cut = self.cut or bool(posix.read(self._alarm, 1))
        except BlockingIOError:
            return

    def _await(self, pid: int) -> None:
        """Wait until the relay has ended, as long as that keeps nobody waiting."""
        opened = []
        try:
            opened.append(posix.pidfd_open(pid))
            opened.append(self._kernel.signalfd(caller.endings()))
            poll = select.poll()
            for descriptor in (*opened, *self._lifelines):
                poll.register(descriptor, select.POLLIN)
            until = time.monotonic() + PATIENCE if self._hurries else None
            while True:
                left = None if until is None else max(until - time.monotonic(), 0) * 1000
                ready = {descriptor for descriptor, _ in poll.poll(left)}
                if opened[0] in ready or not ready:
                    return
                for descriptor in ready:
                    poll.unregister(descriptor)
                until = until or time.monotonic() + PATIENCE
        except OSError:  # no descriptor is left
            ends.wait((pid,), PATIENCE)
        finally:
            for descriptor in opened:
                posix.close(descriptor)


def _writable() -> "Iterator[tuple[int, ...]]":
    """Yield those of the standard streams that can be written to; the same file's together."""
    from pyinit.cmdline import check_writable

    files: dict[tuple[int, int], tuple[int, ...]] = {}
    for stream in _STREAMS:
        try:
            check_writable(stream)
        except OSError:
            continue  # whatever the program writes there comes to nobody
        found = posix.fstat(stream)
        file = found.st_dev, found.st_ino
        files[file] = (*files.get(file, ()), stream)
    yield from files.values()


def find(
    output: "Output",
    kernel: "Kernel",
    spec: "Spec",
    caller: "Caller",
    lifelines: "Iterable[int]" = (),
) -> Part:
    """Return the part that bounds the output."""
    del kernel, spec, caller
    return Relay(output.most, lifelines)
