"""The part for a session of the program's own, and for the terminal that it gets in there.

Without a terminal among the caller's descriptors it is setsid(2) alone. `pty` says what is replaced
where there are some, and `relay` is the process that carries the bytes.

The new terminal is one of this host's, which the launcher opens, unless the container has terminals
of its own: then the init opens one of those, as the program's user, so that it belongs to the
program and has a name in there. It sends the master side to the relay.
"""

import _signal
import posix

from spawner import caller as callers
from spawner.errors import INIT, LAUNCHER, RELAY, how
from spawner.steps import GROUP, RIGHTS, TERMINAL, Part, Step, attempt
from spawner.terminal import job, pty

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Iterable, Mapping

    from spawner.caller import Caller
    from spawner.linux import Kernel
    from spawner.spec import Spec
    from spawner.steps import Look
    from spawner.terminal.session import Session

OPEN = "open a pseudo-terminal"
FORK = "fork the relay of the terminal"
"""What the part does before there is a container, in words."""

_GRACE = 1.0
"""Seconds that the last output still has once pyspawn is told to end."""


class Own(Part):
    """The part that starts a session, and gives the program a terminal of its own.

    It is one of the container's where that `has_terminals`.
    """

    session = True

    def __init__(
        self,
        found: pty.Streams,
        terminal: pty.Apart | None,
        lifelines: "Iterable[int]",
        *,
        has_terminals: bool,
    ) -> None:
        self.terminal = self._outer = terminal
        self._found = found
        self._lifelines = tuple(lifelines)
        self._has_terminals = has_terminals
        self._master = self._slave = self._null = -1
        self._commands: _socket.socket | None = None
        if found.screen is not None:
            looks: list[Look] = [(LAUNCHER, FORK, "fork()")]
            self.looks = looks if has_terminals else [(LAUNCHER, OPEN, "openpty()"), *looks]

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Return the steps that start the session, and that replace terminals, by station."""
        found: dict[str, Callable[[], Iterable[Step]]] = {GROUP: lambda: (pty.start_session(),)}
        if self._found.screen is not None and self._has_terminals:
            found[RIGHTS] = lambda: (self._open_inside(),)
        if self._found.terminal or self._found.null:
            found[TERMINAL] = lambda: (
                pty.replace(self._found, lambda: (self._slave, self._null), self._tell_ready),
            )
        return found

    def begin(self, kernel: "Kernel") -> None:
        """Open the program's terminal, and fork the relay; raises SetupError."""
        self._kernel = kernel
        found = self._found
        if found.null:
            flags = posix.O_RDWR
            self._null = attempt(
                LAUNCHER, "open /dev/null", lambda: kernel.open("/dev/null", flags)
            )
        if found.screen is None:
            return
        if not self._has_terminals:
            attempt(LAUNCHER, OPEN, lambda: self._open(kernel))
        self._fork(kernel)
        if self._outer is not None and self._commands is not None:
            self._outer.relay = self._commands.fileno()

    def _fork(self, kernel: "Kernel") -> None:
        """Fork the relay, which alone has the master side then; raises SetupError."""
        from spawner.host import sockets
        from spawner.terminal import relay

        ours, self._commands = attempt(LAUNCHER, FORK, sockets.pair)
        try:
            pid = attempt(LAUNCHER, FORK, lambda: kernel.fork(RELAY))
            if pid == 0:
                self._commands.close()
                relay.be(kernel, self._found, self._master, self._slave, ours)
            self.pid = pid
        finally:
            ours.close()
            if self._master >= 0:
                posix.close(self._master)
                self._master = -1
        self._commands.setblocking(False)

    @property
    def descriptors(self) -> set[int]:
        """The descriptor by which the relay is told what to do."""
        return set() if self._commands is None else {self._commands.fileno()}

    def let_go(self) -> None:
        """Close what only the forked processes need."""
        for descriptor in (self._slave, self._null):
            if descriptor >= 0:
                posix.close(descriptor)
        self._slave = self._null = -1

    def ended(self, changed: int) -> str:
        """Note how the relay ended before its time; return the message about that."""
        self.pid = 0
        if self._outer is not None:
            self._outer.take()
        return f"the program's terminal is gone: the process that passed it on {how(changed)}"

    def stop(self) -> "list[int]":
        """Have the relay pass on the last output, and end; return it if it outlives SIGKILL."""
        left: list[int] = []
        if self.pid:
            from spawner.host import ends

            pid, self.pid = self.pid, 0
            self._tell_end()
            posix.kill(pid, _signal.SIGCONT)  # our child, unreaped: the pid is its own
            self._await(pid)
            if ends.reap(pid, 0) is None:
                posix.kill(pid, _signal.SIGKILL)
                if ends.reap(pid) is None and not ends.is_gone(pid):
                    left.append(pid)
        if self._outer is not None:
            self._outer.relay = -1
        if self._commands is not None:
            self._commands.close()
        self._commands = None
        return left

    def _open(self, kernel: "Kernel") -> None:
        """Open a pseudo-terminal like the caller's terminal; raises SyscallError."""
        found = self._found
        self._master, self._slave = kernel.openpty()
        like = found.screen if found.keyboard is None else found.keyboard
        if like is not None:
            pty.set_like(self._slave, like, keyboard=found.keyboard is not None)

    def _open_inside(self) -> Step:
        """Open a pseudo-terminal of the container's, as the program's user."""
        return Step(
            INIT,
            OPEN,
            "openpty()",
            lambda kernel, _: self._open(kernel),
            topic="open-inner-pty",
        )

    def _tell_ready(self) -> None:
        """Tell the relay, as the init, that the exec is next."""
        if self._commands is None:
            return
        sides = [side for side in (self._master, self._slave) if self._has_terminals]
        from spawner.host import sockets

        sockets.send(self._commands, pty.READY, sides)

    def _tell_end(self) -> None:
        if self._commands is not None:
            try:
                self._commands.send(pty.END)
            except OSError:  # it has ended
                return

    def _await(self, pid: int) -> None:
        """Wait until the relay has ended, or for _GRACE where pyspawn is told to end meanwhile."""
        import select

        from spawner.host import ends

        ended = posix.pidfd_open(pid)
        try:
            told = self._kernel.signalfd(callers.endings())
            try:
                poll = select.poll()
                for each in (ended, told, *self._lifelines):
                    poll.register(each, select.POLLIN)
                if ended not in dict(poll.poll()):
                    ends.wait((pid,), _GRACE)
            finally:
                posix.close(told)
        finally:
            posix.close(ended)


def find(
    wish: "Session",
    kernel: "Kernel",
    spec: "Spec",
    caller: "Caller",
    lifelines: "Iterable[int]" = (),
) -> Part:
    """Return the part for the program's session."""
    del wish, kernel, caller
    found = pty.streams({stream for each in spec.wishes for stream in each.pipes})
    ours = job.find()
    terminal = None
    if found.keyboard is not None:
        keyboard = pty.Keyboard(found.keyboard)
        terminal = pty.Apart(keyboard.descriptor if ours is None else ours.descriptor, keyboard)
    elif ours is not None:
        terminal = pty.Apart(ours.descriptor, None)
    inside = any(each.has_terminals for each in spec.wishes)
    return Own(found, terminal, lifelines, has_terminals=inside)
