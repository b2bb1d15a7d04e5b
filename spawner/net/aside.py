"""Fork a process outside the container that connects its network, and communicate with it.

1. What can be missing is looked for before anything is made (`find` of each kind).
2. `begin` forks the process before the launcher unshares anything, since later children would be in
   the container's PID namespace. It has a session of its own (a ^C isn't for it), all signals
   blocked, and no descriptor of the caller's.
3. *words*: once the network namespace exists, and before the inside is set up, the launcher sends
   what there is to know, each word with a NUL at its end and one more after the last.
4. *ready*: the process writes a number when the network inside is configured. An end of file before
   that is its failure.
5. *log*: what it complains about. The launcher holds both ends to the end, so that no writer gets
   SIGPIPE; nobody reads before a failure, and a full pipe takes no more.
6. *end*: at its end, or at a byte, the process has to end: the container has, or the launcher.
7. The process is the launcher's child: its own death before that is told, and `stop` waits for it.

All pipes are closed on exec, so the init lets go of its copies.
"""

import _signal
import posix

from spawner import linux
from spawner.errors import LAUNCHER, SetupError, how
from spawner.host import ends
from spawner.spec import Frozen
from spawner.steps import FILES, NETWORK, Part, attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import NoReturn

    from spawner.linux import Kernel
    from spawner.making import Ear
    from spawner.net.network import Network
    from spawner.steps import Step

READY = 30.0
"""Seconds after which a process that is neither ready nor ended has failed."""

ENDING = 5.0
"""Seconds that a process has to end by itself before it is killed."""

FAILED = 127
"""The exit status of a process that couldn't do its work, as in a shell."""


class Ends(Frozen):
    """The process's ends of the pipes, by descriptor."""

    words: int
    ready: int
    end: int


class Backend(Part):
    """The base of processes outside that connect a container's network.

    `users` says whether the init has a user namespace of its own. While it's being started, the end
    of any of `watched`, which are descriptors, ends the wait.
    """

    forks = "network"

    def __init__(self, network: "Network", *, users: bool = False) -> None:
        self.network = network
        self.users = users
        self.pid = 0
        self.watched: frozenset[int] = frozenset()
        self._words = self._ready = self._log = self._log_writer = self._end = -1

    # What each kind does in its own way.

    def step(self) -> "Step":
        """Return the step that connects the network and waits until it is ready."""
        raise NotImplementedError

    def inside(self) -> "Iterator[Step]":
        """Yield the init's steps for the network."""
        yield from ()

    def ended(self, changed: int) -> str:
        """Note how the process ended, by its wait status; return the message about that."""
        raise NotImplementedError

    def _serve(self, kernel: "Kernel", ends: Ends, launcher: int) -> None:
        """Run as the process, a child of `launcher`; raises OSError, and may return."""
        raise NotImplementedError

    # What they share.

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Return the steps that connect the network, and the init's, by station."""
        return {NETWORK: lambda: (self.step(),), FILES: self.inside}

    def watch(self, descriptors: "Iterable[int]") -> None:
        """Stop waiting when any of these descriptors becomes readable."""
        self.watched = frozenset(descriptors)

    @property
    def descriptors(self) -> set[int]:
        """The descriptors that the launcher keeps open while the process runs."""
        ends = (self._words, self._ready, self._log, self._log_writer, self._end)
        return {end for end in ends if end >= 0}

    def begin(self, kernel: "Kernel") -> None:
        """Fork the process; raises SetupError."""
        self._kernel = kernel
        attempt(LAUNCHER, f"fork for the network {self.network.kind}", lambda: self._begin(kernel))

    def stop(self) -> list[int]:
        """End the process if there is one; return the pids that are left."""
        left = []
        if self._words >= 0:
            posix.close(self._words)  # it may be waiting for words that never come
            self._words = -1
        if self.pid:
            self._finish()
            pid, changed = self.pid, self._reap()
            if changed is None and not ends.is_gone(pid):
                left.append(pid)
        for descriptor in self.descriptors:
            posix.close(descriptor)
        self._words = self._ready = self._log = self._log_writer = self._end = -1
        return left

    def _finish(self) -> None:
        """Tell the process to end."""
        posix.set_blocking(self._end, False)
        try:
            posix.write(self._end, b".")  # the init may have a copy, so there's no end of file
        except BrokenPipeError:
            return

    def _begin(self, kernel: "Kernel") -> None:
        self._log, self._log_writer = kernel.pipe()
        posix.set_blocking(self._log_writer, False)
        theirs: list[int] = []
        try:
            words, self._words = kernel.pipe()
            theirs.append(words)
            self._ready, ready = kernel.pipe()
            theirs.append(ready)
            end, self._end = kernel.pipe()
            theirs.append(end)
            self._ends = Ends(words, ready, end)
            launcher = posix.getpid()
            pid = kernel.fork_aside(self.forks)
            if pid == 0:
                self._become(kernel, launcher)
            self.pid = pid
        finally:
            for descriptor in theirs:
                posix.close(descriptor)

    def _become(self, kernel: "Kernel", launcher: int) -> "NoReturn":
        """Run as the process, from the fork to its end."""
        try:
            posix.setsid()
            null = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
            for standard, source in ((0, null), (1, null), (2, self._log_writer)):
                posix.dup2(source, standard)
            ends = self._ends
            linux.close_all_but((ends.words, ends.ready, ends.end))
            self._serve(kernel, ends, launcher)
        except OSError as error:
            complain(posix.strerror(error.errno or 0))
        except Exception as error:  # noqa: BLE001  no traceback may leave this process
            complain(f"unexpected {type(error).__name__}: {error}")
        finally:
            posix._exit(FAILED)

    def _send(self, words: "Sequence[str]") -> None:
        """Send arguments to the process; raises SetupError."""
        raw = b"".join(linux.encode(word) + b"\0" for word in words) + b"\0"
        try:
            while raw:
                raw = raw[posix.write(self._words, raw) :]
        except BrokenPipeError:
            raise self._failed(None) from None

    def _await(self) -> None:
        """Wait until the process is ready; raises SetupError."""
        ear = self._listen()
        try:
            if not ear.wait(self._ready, seconds=READY):
                raise self._failed(f"it wasn't ready after {READY:g} seconds")
        finally:
            ear.close()
        if not posix.read(self._ready, 64).strip().isdigit():
            raise self._failed(None)

    def _listen(self) -> "Ear":
        """Return what listens to signals while the process gets ready; raises SetupError."""
        from spawner.making import Ear

        return Ear(self._kernel, f"start {self.network.kind}", self.watched)

    def _failed(self, why: str | None) -> SetupError:
        """Return the error for a failed start, with `why`, or with what the process wrote."""
        if why is None:
            changed = self._reap()
            complaint = self._complaint()
            why = complaint or ("it is gone" if changed is None else f"it {how(changed)}")
        return SetupError(f"start {self.network.kind}: {why}", stage=LAUNCHER)

    def _reap(self) -> int | None:
        """Wait for the process to end, and kill it if it doesn't.

        Returns its wait status if it's ours to know.
        """
        pid, self.pid = self.pid, 0
        changed = ends.reap(pid, ENDING)
        if changed is None and not ends.is_gone(pid):
            posix.kill(pid, _signal.SIGKILL)  # our child, unreaped: the pid is its own
            changed = ends.reap(pid)
        return changed

    def _complaint(self) -> str:
        """Return the last line that the process has written to its log."""
        posix.set_blocking(self._log, False)
        try:
            text = posix.read(self._log, 65536).decode("utf-8", "surrogateescape")
        except BlockingIOError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return _plain(lines[-1]) if lines else ""


def complain(text: str) -> None:
    """Write to stderr, which is the log, why this process fails."""
    posix.write(2, f"{text}\n".encode("utf-8", "backslashreplace"))


def read_words(descriptor: int) -> list[bytes]:
    """Return the arguments that the launcher sends, or none if the launcher dies first."""
    raw = b""
    while not raw.endswith(b"\0\0"):
        block = posix.read(descriptor, 65536)
        if not block:
            return []
        raw += block
    return raw[:-2].split(b"\0")


def _plain(line: str) -> str:
    """Return a line of pasta's without the time at its beginning."""
    first, colon, rest = line.partition(": ")
    return rest if colon and first.replace(".", "").isdigit() else line
