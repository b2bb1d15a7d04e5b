"""The launcher's state of a container, shared by making and waiting."""

import _signal
import posix

from spawner import channel
from spawner.errors import LAUNCHER
from spawner.spec import Frozen
from spawner.steps import attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.linux import Kernel
    from spawner.steps import Part
    from spawner.terminal.job import Terminal


class Ending(Frozen):
    """How the program ended: its exit status, and the signal that killed it or None.

    It was `interrupted` if that was a SIGINT that was meant for the whole job. `limit` names the
    limit that ended it, and `message` is the line about that; "" where none did. `used` is what the
    container has used, by name, where that was counted.
    """

    status: int
    signal: int | None
    interrupted: bool = False
    limit: str = ""
    message: str = ""
    used: "dict[str, str | int | float | None] | None" = None


class Observer:
    """The base of observers, whose methods are called as a launch goes on, and must not raise.

    `wants_namespaces` says whether `created` shall be told their inode numbers.
    """

    wants_namespaces = False

    def missing(self, refused: dict[str, int]) -> None:
        """Take note of the optional namespaces that were refused, and the errno of each."""

    def noted(self, how: str) -> None:
        """Take note of what was begun in another way than was asked for first."""

    def created(self, pid: int, namespaces: dict[str, int]) -> None:
        """Take note that the container is made, and of its first process's pid from outside."""

    def started(self) -> None:
        """Take note that the program's exec has happened."""

    def signalled(self, number: int) -> None:
        """Take note of a signal for the program."""

    def spared(self, number: int, seconds: float | None) -> None:
        """Take note of a signal that has no effect because the program is PID 1.

        Everything is killed in `seconds`, None for never.
        """

    def disconnected(self, how: str) -> None:
        """Take note that the container's network is gone, and how that came."""

    def killing(self) -> None:
        """Take note that everything in the container is about to be killed."""

    def left(self, pid: int | None, how: str) -> None:
        """Take note of a process that outlives its SIGKILL, or of what else is left, and why."""


class Container:
    """The launcher's state of a container: its processes, descriptors and parts.

    `init` is its first process, and `pidfd` a descriptor of it; `awaited` is the process whose end
    is the end of the container: the init, the stage while it lives, or the keeper where `keeping`.
    All are 0, and descriptors -1, while they don't exist. `signals` is where the launcher's signals
    are read. `refused` are the optional namespaces that could not be had, with the errno.
    `strangers` are children that the launcher had before.
    `foreground` says whether the program has the foreground of `terminal`, `alone` whether nobody
    else of our job shares that, and `witness` is the process that learns of its stops
    (`witness.py`). `parts` are what was found for what was wanted beyond a plain run. `left` are
    those that outlived their SIGKILL.
    """

    def __init__(self) -> None:
        self.pipes = channel.Pipes()
        self.signals = -1
        self.init = 0
        self.awaited = 0
        self.pidfd = -1
        self.keeping = False
        self.parts: tuple[Part, ...] = ()
        self.refused: dict[str, int] = {}
        self.strangers: set[int] = set()
        self.terminal: Terminal | None = None
        self.foreground = False
        self.alone = False
        self.witness = 0
        self.left: list[int] = []

    def refuse(self, kind: str, errno: int) -> None:
        """Note that an optional namespace was refused; the launch goes on without it."""
        self.refused[kind] = errno
        if kind == "pid":
            self.keeping = True

    def meet_init(self, kernel: "Kernel", pid: int) -> None:
        """Open a pidfd of the init; raises SetupError."""
        self.init = pid
        self.pidfd = attempt(LAUNCHER, "open a pidfd", lambda: kernel.pidfd_open(pid))

    def signal(self, kernel: "Kernel", number: int, *, passed_on: bool = False) -> None:
        """Send a signal to the init, if it still exists.

        One that is `passed_on` has come of our terminal, which pyinit is to know.
        """
        if self.pidfd < 0:
            return
        try:
            if passed_on:
                kernel.pass_on_signal(self.pidfd, number)
            else:
                kernel.pidfd_send_signal(self.pidfd, number)
        except OSError:  # it's gone, or has become somebody whom we may not signal
            return

    def kill(self, kernel: "Kernel") -> None:
        """Kill the init and the keeper; `close` kills what they leave behind.

        The keeper would kill the rest by itself, had no program that may signal it stopped it. And
        it has to, while there's no hold of the init: no program runs yet then, and a keeper that
        was killed at it could leave behind an init that it has stopped.
        """
        self.hurry()
        strays = any(part.strays for part in self.parts)
        if strays and self.keeping and self.pidfd >= 0 and self.awaited:
            from spawner.life import descendants

            self.left += descendants.kill_tree(self.init, self.pidfd)
        self.pipes.close("go_writer")
        if self.keeping and self.awaited and self.pidfd >= 0:
            posix.kill(self.awaited, _signal.SIGKILL)  # our child, unreaped: the pid is its own
        if self.pidfd < 0 and self.init and self.init == self.awaited:
            posix.kill(self.init, _signal.SIGKILL)  # our child, unreaped: the pid is its own
        self.signal(kernel, _signal.SIGKILL)

    def hurry(self) -> None:
        """Have no part wait for others any more."""
        for part in self.parts:
            part.hurry()

    def dismiss_witness(self) -> None:
        """End the witness, if there is one."""
        if self.witness:
            from spawner.terminal import witness

            pid, self.witness = self.witness, 0
            if not witness.end(pid):
                self.left.append(pid)

    def close(self) -> None:
        """Take the terminal back, make sure that no process is left, and close all descriptors."""
        self.dismiss_witness()
        for part in self.parts:
            self.left += part.stop()
        if self.terminal is not None and self.foreground:
            self.foreground = False
            self.terminal.take()
        if self.keeping:
            from spawner.life import descendants

            self.left += descendants.kill(self.strangers | set(self.left))
        self.pipes.close(*channel.Pipes.ENDS)
        for descriptor in (self.pidfd, self.signals):
            if descriptor >= 0:
                posix.close(descriptor)
        self.pidfd = self.signals = -1

    def tell_left(self, observer: Observer) -> None:
        """Tell the observer which killed processes are left, and what else is."""
        for part in self.parts:
            if part.leftover:
                observer.left(None, part.leftover)
                part.leftover = ""
        left, self.left = self.left, []
        if left:
            from spawner.host import ends

            for pid in dict.fromkeys(left):
                observer.left(pid, ends.told(pid))
