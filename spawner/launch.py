"""The launcher: it makes a container, waits for its end, and lets nothing of it survive.

The protocol, with the pipes of `channel`:

1. All signals are blocked before this begins. The launcher opens the pipes.
2. Without a stage it takes its own steps, namespaces that are for children only, and forks the
   init.
3. With one, it becomes a subreaper and forks the stage. On USERNS it takes its steps, the maps of
   the stage's user namespace, and answers MAPPED. On FORKED it opens a pidfd of the init. The
   stage's exit makes the init its own child, since orphans go to the next subreaper.
4. On MADE the container is *made*.
5. GO lets the init set up the inside and exec. The end of file of the status pipe, after EXEC,
   means that the exec has happened. With pyinit the program is *started* when its notice says so.
6. Then it waits (`wait`). The init's end is the end of its PID namespace: the kernel has killed all
   of it by the time that wait(2) returns. Without a PID namespace the keeper's end is awaited.

Whatever goes wrong on the way, also in here, kills the container first.

What is only needed once the init is on its way is imported then, while its interpreter starts.
"""

import _signal
import posix

from spawner import channel, init
from spawner.errors import INIT, LAUNCHER, STAGE, SetupError
from spawner.plan import is_staged, plan, take
from spawner.steps import attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from spawner.caller import Caller
    from spawner.linux.kernel import Kernel
    from spawner.plan import Steps
    from spawner.spec import Spec
    from spawner.terminal import Terminal
    from spawner.wait import Ending


class Observer:
    """Who wants to know how a launch goes; every method may be overridden, and may not raise."""

    def missing(self, refused: dict[str, int]) -> None:
        """Take the optional namespaces that were refused, and the errno."""

    def created(self, pid: int) -> None:
        """Take the news that the container is made: its first process is `pid`, seen from here."""

    def started(self) -> None:
        """Take the news that the program's exec has happened."""

    def signalled(self, number: int) -> None:
        """Take the news that a signal came for the program."""

    def killing(self) -> None:
        """Take the news that everything in the container is being killed."""


class Container:
    """What there is of a container, from the launcher's side.

    `init` is its first process, and `pidfd` a descriptor of it; `awaited` is the process whose end
    is the end of the container: the init, the stage while it lives, or the keeper where `keeping`.
    All are 0, and descriptors -1, while they don't exist. `strangers` are children that the
    launcher had before. `foreground` says whether the program has the foreground of `terminal`.
    """

    def __init__(self) -> None:
        self.pipes = channel.Pipes()
        self.records = channel.Lines()
        self.init = 0
        self.awaited = 0
        self.pidfd = -1
        self.keeping = False
        self.strangers: set[int] = set()
        self.terminal: Terminal | None = None
        self.foreground = False

    def signal(self, kernel: "Kernel", number: int) -> None:
        """Send a signal to the init; if it's gone, its end is on the way."""
        if self.pidfd < 0:
            return
        try:
            kernel.pidfd_send_signal(self.pidfd, number)
        except OSError:  # it's gone, or has become somebody whom we may not signal
            return

    def kill(self, kernel: "Kernel") -> None:
        """Kill everything: the init, and by the keeper, which sees the end of the go pipe."""
        self.pipes.close("go_writer")
        self.signal(kernel, _signal.SIGKILL)

    def close(self) -> None:
        """Take the terminal back, see that nothing is left, and close all descriptors."""
        if self.terminal is not None and self.foreground:
            self.foreground = False
            self.terminal.take()
        if self.keeping:
            from spawner import descendants

            descendants.kill(self.strangers)
        self.pipes.close(*channel.Pipes.__slots__)
        if self.pidfd >= 0:
            posix.close(self.pidfd)
            self.pidfd = -1


class Launch:
    """One container, from the first fork to the end of the last process.

    `lifelines` are descriptors whose becoming readable ends the container. `kept` are those that
    stay open; of all others that the caller passed on, only the program keeps copies. `early` are
    signals that came before all were blocked. A program in the `background` gets the terminal's
    foreground only when it reads or sets the terminal.
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
    ) -> None:
        self.kernel = kernel
        self.spec = spec
        self.caller = caller
        self.observer = observer
        self.lifelines = frozenset(lifelines)
        self.kept = frozenset(kept)
        self.early = tuple(early)
        self.background = background
        self._container = Container()
        self._refused: dict[str, int] = {}

    def run(self) -> "Ending":
        """Make the container, start the program and wait for its end.

        Raises SetupError, and ExecError where it's the program's exec that failed; nothing is left
        of the container then.
        """
        try:
            self.make()
            self.start()
            return self.wait()
        except BaseException:
            self.abort()
            raise

    def make(self) -> None:
        """Make the namespaces and the init, which waits to be let go."""
        made = self._container
        may_keep = "pid" not in self.spec.namespaces.required
        made.keeping = "pid" not in self.spec.namespaces.wanted
        notice = self.spec.init == "" or may_keep
        attempt(LAUNCHER, "open the pipes", lambda: made.pipes.open(self.kernel, notice=notice))
        self._find_terminal()
        steps = plan(
            self.spec,
            self.caller,
            terminal=made.terminal.descriptor if made.terminal and made.foreground else None,
            notice=made.pipes.notice_writer if notice else None,
        )
        if may_keep:
            from spawner import descendants

            made.strangers = descendants.children()
        if is_staged(self.spec):
            self._fork_stage(steps)
        else:
            self._fork_init(steps)
        self._serve(steps)
        if self._refused:
            self.observer.missing(self._refused)
        self.observer.created(made.init)

    def start(self) -> None:
        """Let the init go: it sets up the inside, and executes the program."""
        self._container.pipes.let_go(channel.GO)

    def wait(self) -> "Ending":
        """Forward signals until the container has ended; return how the program did."""
        from spawner.wait import Wait

        return Wait(self, self._container).run()

    def abort(self) -> None:
        """Kill everything, and wait until it's gone."""
        made = self._container
        made.pipes.be_launcher()
        made.kill(self.kernel)
        # A stage and an init that we can't kill yet see the end of the go pipe, and end.
        while made.pipes.status_reader >= 0 and (records := self._read_status()) is not None:
            for record in records:
                if record.kind == channel.FORKED:
                    made.init = record.number("pid")
        if made.keeping:
            made.init = made.awaited  # the keeper has reaped the init
        for pid in dict.fromkeys((made.awaited, made.init)):
            if pid:
                _reap(pid)
        made.init = made.awaited = 0
        made.close()

    def _read_status(self) -> list[channel.Record] | None:
        """Return the records that have come, None at the end of the status pipe."""
        data = posix.read(self._container.pipes.status_reader, 65536)
        if not data:
            return None
        return [channel.decode(line) for line in self._container.records.feed(data)]

    def _find_terminal(self) -> None:
        """Find the controlling terminal, and whether the foreground is ours to pass on."""
        if not any(map(posix.isatty, (0, 1, 2))):
            try:
                posix.close(posix.open("/dev/tty", posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC))
            except OSError:
                return
        from spawner import terminal

        self._container.terminal = found = terminal.find()
        if found is not None and not self.background:
            self._container.foreground = found.is_ours()

    def _fork_init(self, steps: "Steps") -> None:
        """Fork the init into the namespaces for children."""
        made = self._container
        left = take(self.kernel, steps, LAUNCHER, self._refuse)
        if made.keeping:
            self._fork_stage(left)
            return
        pid = attempt(LAUNCHER, "fork the init", self.kernel.fork)
        if pid == 0:
            init.become(self.kernel, left, made.pipes)
        made.awaited = pid
        self._meet_init(pid)

    def _fork_stage(self, steps: "Steps") -> None:
        """Fork the stage, which forks the init."""
        made = self._container
        attempt(LAUNCHER, "become a subreaper", self.kernel.become_subreaper)
        pid = attempt(LAUNCHER, "fork the stage", self.kernel.fork)
        if pid == 0:
            from spawner import stage

            stage.become(self.kernel, steps, made.pipes, keep=made.keeping)
        made.awaited = pid

    def _meet_init(self, pid: int) -> None:
        made = self._container
        made.init = pid
        made.pidfd = attempt(LAUNCHER, "open a pidfd", lambda: self.kernel.pidfd_open(pid))

    def _serve(self, steps: "Steps") -> None:
        """Do for the stage and the init what they ask for, until the container is made."""
        made = self._container
        made.pipes.be_launcher()
        complete = False
        while not (complete and made.init):  # the init may speak before the stage does
            records = self._read_status()
            if records is None:
                raise self._died()
            failure = None
            for record in records:
                if record.kind == channel.ERROR:
                    failure = failure or channel.error_of(record)
                elif record.kind == channel.MISSING:
                    self._refuse(record.fields.get("namespace", ""), record.number("errno"))
                elif record.kind == channel.USERNS:
                    self._map_ids(steps)
                elif record.kind == channel.FORKED:
                    self._meet_init(record.number("pid"))
                elif record.kind == channel.MADE:
                    complete = True
            if failure is not None:
                raise failure
        self._adopt()

    def _map_ids(self, steps: "Steps") -> None:
        """Write the maps of the stage's user namespace, and let it go on."""
        made = self._container
        for step in steps:
            if step.where == LAUNCHER:
                step.run(self.kernel, str(made.awaited))
        made.pipes.let_go(channel.MAPPED)

    def _refuse(self, kind: str, errno: int) -> None:
        """Go on without an optional namespace."""
        self._refused[kind] = errno
        if kind == "pid":
            self._container.keeping = True

    def _adopt(self) -> None:
        """Become the init's parent: a stage that isn't a keeper ends."""
        made = self._container
        if made.awaited != made.init and not made.keeping:
            _reap(made.awaited)
            made.awaited = made.init

    def _died(self) -> SetupError:
        """Return the error for a stage or an init that ended without a word."""
        from spawner.wait import how, lost

        made = self._container
        if made.init:
            self._adopt()
        where = INIT if made.init else STAGE
        try:
            _, changed = posix.waitpid(made.awaited, 0)
        except ChildProcessError:
            return lost()
        made.awaited = 0
        return SetupError(f"the {where} {how(changed)} during its set-up", stage=where)


def _reap(pid: int) -> None:
    try:
        posix.waitpid(pid, 0)
    except ChildProcessError:
        return
