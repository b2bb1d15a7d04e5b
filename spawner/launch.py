"""The launcher: it makes a container, waits for its end, and lets nothing of it survive.

The protocol, with the pipes of `channel`:

1. All signals are blocked before this begins. The launcher opens the pipes.
2. Without a stage it takes its own steps, namespaces that are for children only, and forks the
   init.
3. With one, it becomes a subreaper and forks the stage. On USERNS it takes its steps, the maps of
   the stage's user namespace, and answers MAPPED. On FORKED it opens a pidfd of the init. The
   stage's exit makes the init its own child, since orphans go to the next subreaper.
4. On MADE the container is *made*.
5. GO lets the init set up the inside and exec. Where nothing has to happen between, it's there
   before the init is. The end of file of the status pipe, after EXEC, means that the exec has
   happened. With pyinit the program is *started* when its notice says so.
6. Then it waits (`wait`). The init's end is the end of its PID namespace: the kernel has killed all
   of it by the time that wait(2) returns. Without a PID namespace the keeper's end is awaited.

Whatever goes wrong on the way, also in here, kills the container first.

What is only needed once the init is on its way is imported then, while its interpreter starts.
"""

import _signal
import posix

from spawner import channel, init
from spawner.errors import INIT, LAUNCHER, STAGE
from spawner.planning import find_backend, find_joins, find_kept, find_maps, is_staged, plan, take
from spawner.steps import attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spawner.backend import Backend
    from spawner.caller import Caller
    from spawner.joining import Joined
    from spawner.linux import Kernel
    from spawner.making import Making
    from spawner.persist import Kept
    from spawner.planning import Steps
    from spawner.spec import Spec
    from spawner.terminal import Terminal
    from spawner.wait import Ending


class Observer:
    """Hears how a launch goes; every method may be overridden, and may not raise.

    `wants_namespaces` says whether `created` shall be told their inode numbers.
    """

    wants_namespaces = False

    def missing(self, refused: dict[str, int]) -> None:
        """Take the optional namespaces that were refused, and the errno."""

    def created(self, pid: int, namespaces: dict[str, int]) -> None:
        """Take the news that the container is made: its first process is `pid`, seen from here."""

    def started(self) -> None:
        """Take the news that the program's exec has happened."""

    def signalled(self, number: int) -> None:
        """Take the news that a signal came for the program."""

    def spared(self, number: int, seconds: float | None) -> None:
        """Take the news that a signal would have ended the program, were it not PID 1.

        Everything is killed in `seconds`, None for never.
        """

    def disconnected(self, how: str) -> None:
        """Take the news that the network inside is gone, and how."""

    def killing(self) -> None:
        """Take the news that everything in the container is being killed."""

    def left(self, pid: int, how: str) -> None:
        """Take the news that a process outlives its SIGKILL, and why."""


class Container:
    """What there is of a container, from the launcher's side.

    `init` is its first process, and `pidfd` a descriptor of it; `awaited` is the process whose end
    is the end of the container: the init, the stage while it lives, or the keeper where `keeping`.
    All are 0, and descriptors -1, while they don't exist. `signals` is where the launcher's signals
    are read. `refused` are the optional namespaces that could not be had, with the errno.
    `strangers` are children that the launcher had before.
    `foreground` says whether the program has the foreground of `terminal`, `alone` whether nobody
    else of our job shares that, and `witness` is the process that learns of its stops
    (`witness.py`). Where namespaces of others are `joined`, the
    program's orphans may be theirs to reap. `left` are those that outlived their SIGKILL.
    """

    def __init__(self) -> None:
        self.pipes = channel.Pipes()
        self.signals = -1
        self.init = 0
        self.awaited = 0
        self.pidfd = -1
        self.keeping = False
        self.joined: Joined | None = None
        self.kept: Kept | None = None
        self.refused: dict[str, int] = {}
        self.strangers: set[int] = set()
        self.terminal: Terminal | None = None
        self.foreground = False
        self.alone = False
        self.witness = 0
        self.backend: Backend | None = None
        self.left: list[int] = []

    def refuse(self, kind: str, errno: int) -> None:
        """Go on without an optional namespace."""
        self.refused[kind] = errno
        if kind == "pid":
            self.keeping = True

    def meet_init(self, kernel: "Kernel", pid: int) -> None:
        """Get hold of the init; raises SetupError."""
        self.init = pid
        self.pidfd = attempt(LAUNCHER, "open a pidfd", lambda: kernel.pidfd_open(pid))

    def signal(self, kernel: "Kernel", number: int, *, passed_on: bool = False) -> None:
        """Send a signal to the init; if it's gone, its end is on the way.

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
        """Kill everything: the init and the keeper; `close` kills what they leave behind.

        The keeper would kill the rest by itself, had no program that may signal it stopped it. And
        it has to, while there's no hold of the init: no program runs yet then, and a keeper that
        was killed at it could leave behind an init that it has stopped.
        """
        if self.joined is not None and self.keeping and self.pidfd >= 0 and self.awaited:
            from spawner import descendants

            self.left += descendants.kill_tree(self.init, self.pidfd)
        self.pipes.close("go_writer")
        if self.keeping and self.awaited and self.pidfd >= 0:
            posix.kill(self.awaited, _signal.SIGKILL)  # our child, unreaped: the pid is its own
        if self.pidfd < 0 and self.init and self.init == self.awaited:
            posix.kill(self.init, _signal.SIGKILL)  # our child, unreaped: the pid is its own
        self.signal(kernel, _signal.SIGKILL)

    def dismiss_witness(self) -> None:
        """End the witness, if there is one."""
        if self.witness:
            from spawner import witness

            pid, self.witness = self.witness, 0
            if not witness.end(pid):
                self.left.append(pid)

    def close(self) -> None:
        """Take the terminal back, see that nothing is left, and close all descriptors."""
        self.dismiss_witness()
        if self.backend is not None:
            self.left += self.backend.stop()
        if self.terminal is not None and self.foreground:
            self.foreground = False
            self.terminal.take()
        if self.keeping:
            from spawner import descendants

            self.left += descendants.kill(self.strangers | set(self.left))
        self.pipes.close(*channel.Pipes.__slots__)
        for descriptor in (self.pidfd, self.signals):
            if descriptor >= 0:
                posix.close(descriptor)
        self.pidfd = self.signals = -1


class Launch:
    """One container, from the first fork to the end of the last process.

    `lifelines` are descriptors whose becoming readable ends the container. `kept` are those that
    stay open; of all others that the caller passed on, only the program keeps copies. `early` are
    signals that came before all were blocked. A program in the `background` gets the terminal's
    foreground only when it reads or sets the terminal, also where the launcher is all there is of
    its job. `wrap` returns the steps of a plan in
    another form, to be taken in their place.
    """

    def __init__(
        self,
        kernel: "Kernel",
        spec: "Spec",
        caller: "Caller",
        observer: Observer,
        *,
        lifelines: "Iterable[int]" = (),
        kept: "Iterable[int]" = (),
        early: "Iterable[int]" = (),
        background: bool = False,
        wrap: "Callable[[Steps], Steps] | None" = None,
    ) -> None:
        self.kernel = kernel
        self.spec = spec
        self.caller = caller
        self.observer = observer
        self.lifelines = frozenset(lifelines)
        self.kept = frozenset(kept)
        self.early = tuple(early)
        self.background = background
        self.wrap = wrap
        self.container = Container()
        self.steps: Steps = ()
        self._making: Making | None = None

    def run(self) -> "Ending":
        """Make the container, start the program and wait for its end.

        Raises SetupError, and ExecError where it's the program's exec that failed; nothing is left
        of the container then.
        """
        try:
            if not self._make(at_once=True):
                self.start()
            return self.wait()
        except BaseException:
            self.abort()
            raise

    def make(self) -> None:
        """Make the namespaces and the init, which waits to be let go.

        Raises SetupError; then, and whenever else the container is not to be started, `abort`.
        """
        self._make(at_once=False)

    def start(self) -> None:
        """Let the init go: it sets up the inside, and executes the program.

        Raises SetupError.
        """
        made = self.container
        if made.keeping:
            made.dismiss_witness()
        elif made.witness:
            attempt(
                LAUNCHER,
                "put the witness into the program's process group",
                lambda: self.kernel.move_to_process_group(made.witness, made.init),
            )
        made.pipes.let_go(channel.GO)

    def wait(self) -> "Ending":
        """Forward signals until the container has ended; return how the program did.

        Raises SetupError and ExecError; call `abort` then.
        """
        from spawner.wait import Wait

        return Wait(self, self.making()).run()

    def abort(self) -> None:
        """Kill everything, wait until it's gone, and keep nothing; raises SetupError."""
        try:
            self._kill()
        finally:
            self.tell_left()
            if self.container.kept is not None:
                self.container.kept.undo(self.kernel)

    def tell_left(self) -> None:
        """Tell of the processes that are left, though killed."""
        left, self.container.left = self.container.left, []
        if left:
            from spawner import ends

            for pid in dict.fromkeys(left):
                self.observer.left(pid, ends.told(pid))

    def _kill(self) -> None:
        if self._making is None and not self.container.awaited:
            # Nothing was forked, so nothing is to be killed; our descriptors may be the last ones.
            self.container.keeping = False
            if self.container.joined is not None:
                self.container.joined.close()
            self.container.close()
            return
        self.making().abort()

    def making(self) -> "Making":
        """Return what listens while the container is being made."""
        if self._making is None:
            from spawner.making import Making

            self._making = Making(self)
        return self._making

    def _make(self, *, at_once: bool) -> bool:
        """Make the container; return whether the init was let go already.

        `at_once` asks for that, which saves a switch to and fro, where nothing has to wait.
        """
        self._prepare()
        made = self.container
        at_once = at_once and not made.witness and made.backend is None and made.kept is None
        staged = is_staged(self.spec)
        if not staged:
            self.steps = take(self.kernel, self.steps, LAUNCHER, made.refuse)
        if staged or made.keeping:
            self._fork_stage()
            self.making().listen()
            self._connect()
            return False
        if at_once:
            self.start()
        self._fork_init()
        if not at_once:
            self.making().listen()
            self._connect()
        return at_once

    def _connect(self) -> None:
        """Take the launcher's steps for a container that is made: to keep it, its network's."""
        made = self.container
        if made.backend is not None:
            made.backend.watched = self.lifelines | {made.pidfd}
        for step in self.steps:
            if step.where == LAUNCHER and not step.makes:
                step.run(self.kernel, str(made.init))

    def _prepare(self) -> None:
        """Open the pipes, plan the steps, and fork the processes that stay outside."""
        made = self.container
        maps = find_maps(self.kernel, self.spec, self.caller, self.lifelines)
        made.joined = find_joins(self.kernel, self.spec, self.caller, self.lifelines)
        made.kept = find_kept(self.spec)
        made.backend = find_backend(self.spec, self.caller)
        if made.backend is not None:
            made.backend.watched = self.lifelines
            made.backend.begin(self.kernel)
        namespaces = self.spec.namespaces
        made.keeping = "pid" not in namespaces.wanted
        may_keep = "pid" not in namespaces.required
        notice = self.spec.init == "" or may_keep
        attempt(LAUNCHER, "open the pipes", lambda: made.pipes.open(self.kernel, notice=notice))
        # Now, since without it nobody could wait for the program.
        made.signals = attempt(
            LAUNCHER, "open a signalfd", lambda: self.kernel.signalfd(_signal.valid_signals())
        )
        self._find_terminal()
        self.steps = plan(
            self.spec,
            self.caller,
            terminal=made.terminal.descriptor if made.terminal and made.foreground else None,
            notice=made.pipes.notice_writer if notice else None,
            maps=maps,
            backend=made.backend,
            joined=made.joined,
            kept=made.kept,
        )
        if self.wrap is not None:
            self.steps = self.wrap(self.steps)
        if made.terminal is not None and self.spec.init is None and not made.keeping:
            from spawner import witness

            # Now: what this process forks later is in the new PID namespace.
            made.witness = witness.begin(self.kernel)
        if may_keep:
            from spawner import descendants

            made.strangers = descendants.children()

    def _fork_init(self) -> None:
        """Fork the init into the namespaces for children."""
        made = self.container
        pid = attempt(LAUNCHER, "fork the init", lambda: self.kernel.fork(INIT))
        if pid == 0:
            tell = self.observer.wants_namespaces
            init.become(self.kernel, self.steps, made.pipes, tell=tell)
        made.awaited = pid
        # The init has an interpreter to start, and we have modules to read meanwhile: if the two
        # share a CPU, as some schedulers prefer, the longer way goes first, sched_yield(2).
        posix.sched_yield()
        made.pipes.be_launcher()
        made.meet_init(self.kernel, pid)

    def _fork_stage(self) -> None:
        """Fork the stage, which forks the init."""
        from spawner import stage  # in the fork a failure would be told by two

        made = self.container
        attempt(LAUNCHER, "become a subreaper", self.kernel.become_subreaper)
        if self.lifelines and made.keeping:
            # Where a program in sight of us has stopped us, we shall see the end of a lifeline.
            attempt(
                LAUNCHER,
                "be continued when the caller dies",
                lambda: self.kernel.set_parent_death_signal(_signal.SIGCONT),
            )
        pid = attempt(LAUNCHER, "fork the stage", lambda: self.kernel.fork(STAGE))
        if pid == 0:
            tell = self.observer.wants_namespaces
            stage.become(self.kernel, self.steps, made.pipes, keep=made.keeping, tell=tell)
        made.awaited = pid
        if made.joined is not None:
            made.joined.close()
        made.pipes.be_launcher()

    def _find_terminal(self) -> None:
        """Find the controlling terminal, and whether the foreground is ours to pass on."""
        if not any(map(posix.isatty, (0, 1, 2))):
            try:
                posix.close(posix.open("/dev/tty", posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC))
            except OSError:
                return
        from spawner import terminal

        self.container.terminal = found = terminal.find()
        if found is None:
            return
        made = self.container
        made.alone = not self.background and terminal.is_alone()
        if made.alone or self._asks_in_vain():
            made.foreground = found.is_ours()

    def _asks_in_vain(self) -> bool:
        """Tell whether the program would not get the foreground by asking for it.

        A shell that is PID 1 isn't stopped when it asks, and gives up after some times.
        """
        from spawner import terminal

        if not (self.background or terminal.can_be_asked()):
            return True
        first = self.spec.init is None and not self.container.keeping
        return first and posix.isatty(0) and terminal.is_interactive_shell(self.spec.arguments)
