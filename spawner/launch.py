"""The launcher: it makes a container, waits for its end, and leaves nothing of it behind.

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

from pyinit import has_terminal
from spawner import channel, init
from spawner.errors import INIT, LAUNCHER, STAGE
from spawner.made import Container
from spawner.planning import find, is_staged, plan
from spawner.steps import attempt, take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spawner.caller import Caller
    from spawner.linux import Kernel
    from spawner.made import Ending, Observer
    from spawner.making import Making
    from spawner.spec import Spec
    from spawner.steps import Step, Steps


class Launch:
    """The launch of one container, from the first fork to the end of the last process.

    `lifelines` are descriptors whose becoming readable ends the container. `spared` are those that
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
        observer: "Observer",
        *,
        lifelines: "Iterable[int]" = (),
        spared: "Iterable[int]" = (),
        early: "Iterable[int]" = (),
        background: bool = False,
        wrap: "Callable[[Steps], Steps] | None" = None,
    ) -> None:
        self.kernel = kernel
        self.spec = spec
        self.caller = caller
        self.observer = observer
        self.lifelines = frozenset(lifelines)
        self.spared = frozenset(spared)
        self.early = tuple(early)
        self.background = background
        self.wrap = wrap
        self.container = Container()
        self.steps: Steps = ()
        self._making: Making | None = None

    def run(self) -> "Ending":
        """Make the container, start the program and wait until the container ends.

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
        """Make the namespaces and the init, which then waits for the launcher.

        Raises SetupError; then, and whenever else the container is not to be started, `abort`.
        """
        self._make(at_once=False)

    def start(self) -> None:
        """Let the init continue to set up the container and exec the program; raises SetupError."""
        made = self.container
        if made.keeping:
            made.dismiss_witness()
        elif made.witness:
            what, group = "put the witness into the program's process group", made.init
            if made.terminal is not None and made.terminal.apart:
                # The program's is in another session.
                what, group = "put the witness into a group of its own", made.witness
            attempt(LAUNCHER, what, lambda: self.kernel.move_to_process_group(made.witness, group))
        made.pipes.let_go(channel.GO)

    def wait(self) -> "Ending":
        """Forward signals until the container has ended; return how the program ended.

        Raises SetupError and ExecError; call `abort` then.
        """
        from spawner.wait import Wait

        return Wait(
            self.kernel,
            self.spec,
            self.observer,
            self.container,
            self.making(),
            lifelines=self.lifelines,
            spared=self.spared,
            early=self.early,
        ).run()

    def abort(self) -> None:
        """Kill everything, wait until it's gone, and undo what was kept; raises SetupError."""
        try:
            self._kill()
        finally:
            self.container.tell_left(self.observer)
            for part in self.container.parts:
                part.undo(self.kernel)

    def _kill(self) -> None:
        if self._making is None and not self.container.awaited:
            # Nothing was forked, so nothing is to be killed; our descriptors may be the last ones.
            self.container.keeping = False
            for part in self.container.parts:
                part.let_go()
            self.container.close()
            return
        self.making().abort()

    def making(self) -> "Making":
        """Return what listens to the stage and the init while they make the container."""
        if self._making is None:
            from spawner.making import Making

            self._making = Making(
                self.kernel,
                self.steps,
                self.container,
                self.observer,
                lifelines=self.lifelines,
                stop_timeout=self.spec.stop_timeout,
            )
        return self._making

    def _make(self, *, at_once: bool) -> bool:
        """Make the container; return whether the init was already allowed to continue.

        `at_once` asks for that, which saves a switch to and fro, where nothing has to wait.
        """
        self._prepare()
        made = self.container
        at_once = at_once and not made.witness and not any(map(_is_between, self.steps))
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
        """Take the launcher's own steps after the container is made and before its set-up."""
        made = self.container
        for part in made.parts:
            part.watch(self.lifelines | {made.pidfd})
        for step in self.steps:
            if _is_between(step):
                step.run(self.kernel, str(made.init))

    def _prepare(self) -> None:
        """Open the pipes, plan the steps, and fork the processes outside the container."""
        made = self.container
        made.parts = find(self.kernel, self.spec, self.caller, self.lifelines)
        for part in made.parts:
            part.watch(self.lifelines)
            part.begin(self.kernel)
            if part.note:
                self.observer.noted(part.note)
        namespaces = self.spec.namespaces
        made.keeping = "pid" not in namespaces.wanted
        may_keep = "pid" not in namespaces.required
        notice = self.spec.init == "" or may_keep
        attempt(LAUNCHER, "open the pipes", lambda: made.pipes.open(self.kernel, notice=notice))
        made.pipes.hands_over = self.spec.init == ""
        # Now, since without it nobody could wait for the program.
        made.signals = attempt(
            LAUNCHER, "open a signalfd", lambda: self.kernel.signalfd(_signal.valid_signals())
        )
        self._find_terminal()
        self.steps = plan(
            self.spec,
            self.caller,
            made.parts,
            terminal=self._lent(),
            notice=made.pipes.notice_writer if notice else None,
        )
        if self.wrap is not None:
            self.steps = self.wrap(self.steps)
        if made.terminal is not None and self.spec.init is None and not made.keeping:
            from spawner.terminal import witness

            # Now: what this process forks later is in the new PID namespace.
            made.witness = witness.begin(self.kernel)
        if may_keep:
            from spawner.life import descendants

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
        for part in made.parts:
            part.let_go()
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
                "ask for a SIGCONT when the caller dies",
                lambda: self.kernel.set_parent_death_signal(_signal.SIGCONT),
            )
        pid = attempt(LAUNCHER, "fork the stage", lambda: self.kernel.fork(STAGE))
        if pid == 0:
            tell = self.observer.wants_namespaces
            stage.become(self.kernel, self.steps, made.pipes, keep=made.keeping, tell=tell)
        made.awaited = pid
        for part in made.parts:
            part.let_go()
        made.pipes.be_launcher()

    def _find_terminal(self) -> None:
        """Find the controlling terminal, and whether pyspawn may pass on its foreground."""
        made = self.container
        for part in made.parts:
            if part.session:
                made.terminal = part.terminal
                # There is nobody to share the terminal with that it has.
                made.alone = made.foreground = self._lent() is not None
                return
        if not has_terminal():
            return
        from pyinit import jobcontrol
        from spawner.terminal import job

        made.terminal = found = job.find()
        if found is None:
            return
        made.alone = not self.background and jobcontrol.is_alone()
        if made.alone or self._asks_in_vain():
            made.foreground = found.is_ours()

    def _lent(self) -> int | None:
        """Return the descriptor of the terminal whose foreground the program has from the start."""
        made = self.container
        if made.terminal is None:
            return None
        if made.terminal.apart:
            return made.terminal.inner
        return made.terminal.descriptor if made.foreground else None

    def _asks_in_vain(self) -> bool:
        """Tell whether the program could never get the foreground by asking for it.

        A shell that is PID 1 isn't stopped when it asks, and gives up after some times.
        """
        from spawner.terminal import job

        if not (self.background or job.can_be_asked()):
            return True
        first = self.spec.init is None and not self.container.keeping
        return first and posix.isatty(0) and job.is_interactive_shell(self.spec.arguments)


def _is_between(step: "Step") -> bool:
    """Tell whether a step is the launcher's, taken after the container is made."""
    return step.where == LAUNCHER and not step.makes
