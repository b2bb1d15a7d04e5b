"""Serve the stage and the init while they make a container: carry out what they ask for.

The launcher's half of the protocol in `launch`; the other halves are `stage` and `init`.

Whoever makes the container may be stopped by somebody, or hang in the kernel. So the launcher hears
signals and lifelines meanwhile, too: a signal to end has everything killed after PATIENCE, or after
the stop time-out if that's less; in time, it's left for whoever forwards it.
"""

import _signal
import posix
import select
import time

from pyinit import OURS, status_of_signal
from spawner import caller, channel, machine
from spawner.errors import INIT, LAUNCHER, STAGE, SetupError, how, lost
from spawner.steps import attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from spawner.channel import Record
    from spawner.linux import Kernel
    from spawner.made import Container, Observer
    from spawner.steps import Steps


PATIENCE = 2.0
"""Seconds that the current step may still take after pyspawn was told to end."""

_GRACE = 1.0
"""Seconds that stage and init have to end by themselves when the go pipe is closed."""


class Ear:
    """Listens for signals to end, and to lifelines, while the launcher waits.

    `what` says what is under way. `watched` are descriptors whose becoming readable ends it at
    once; a signal does after PATIENCE, or after `stop_timeout` seconds if that's less.
    """

    def __init__(
        self,
        kernel: "Kernel",
        what: str,
        watched: "Iterable[int]",
        stop_timeout: float | None = None,
    ) -> None:
        self._what = what
        self._watched = frozenset(watched)
        self._patience = PATIENCE if stop_timeout is None else min(stop_timeout, PATIENCE)
        self._until: float | None = None
        self._signals = attempt(
            LAUNCHER, "open a signalfd", lambda: kernel.signalfd(caller.endings())
        )

    def close(self) -> None:
        """Stop listening."""
        posix.close(self._signals)

    def wait(self, *descriptors: int, seconds: float | None = None) -> set[int]:
        """Wait for descriptors; return the readable ones, or none when the time is over.

        Raises SetupError where everything is to end.
        """
        until = None if seconds is None else time.monotonic() + seconds
        poll = select.poll()
        listened = (self._signals,) if self._until is None else ()
        for each in (*descriptors, *self._watched, *listened):
            poll.register(each, select.POLLIN)
        while True:
            moments = [each for each in (until, self._until) if each is not None]
            left = max(min(moments) - time.monotonic(), 0) * 1000 if moments else None
            ready = {each for each, _ in poll.poll(left)}
            if found := ready.intersection(descriptors):
                return found
            if ready & self._watched:
                raise self._over("pyspawn was told to end", OURS)
            if self._signals in ready:
                poll.unregister(self._signals)
                self._until = time.monotonic() + self._patience
                self._caught = min(_signal.sigpending() & caller.endings(), default=_signal.SIGTERM)
            elif self._until is not None and self._until <= time.monotonic():
                from pyinit import signames

                why = f"got {signames.name(self._caught)}"
                raise self._over(why, status_of_signal(self._caught))
            elif not ready:
                return set()

    def _over(self, why: str, status: int) -> SetupError:
        what = f"{self._what}: {why} before this step was done"
        return SetupError(what, stage=LAUNCHER, status=status)


class Making:
    """The making of one container; `executing` says whether only the init's exec is left.

    `steps` are those of which the launcher takes its own. `lifelines` are as for `Launch`; a signal
    to end leaves no more than `stop_timeout` seconds.
    """

    def __init__(
        self,
        kernel: "Kernel",
        steps: "Steps",
        container: "Container",
        observer: "Observer",
        *,
        lifelines: "Iterable[int]" = (),
        stop_timeout: float | None = None,
    ) -> None:
        self.executing = False
        self._kernel = kernel
        self._steps = steps
        self._made = container
        self._observer = observer
        self._lifelines = frozenset(lifelines)
        self._stop_timeout = stop_timeout
        self._records = channel.Lines()
        self._namespaces: dict[str, int] | None = None
        self._told = False
        self._aborting = False
        self._gone: SetupError | None = None

    def listen(self) -> None:
        """Read records and do what they ask for until the container is made; raises SetupError."""
        made = self._made
        staged = made.awaited != made.init
        pidfd = -1
        if staged:
            pidfd = attempt(LAUNCHER, "open a pidfd", lambda: self._kernel.pidfd_open(made.awaited))
        ear = None
        try:
            ear = Ear(self._kernel, "make the container", self._lifelines, self._stop_timeout)
            while not self._told:
                # Who has killed a stage that has told nothing of an init may have left one, of
                # which nobody knows, and which waits for us.
                stage = (pidfd,) if staged and not made.init else ()
                if made.pipes.status_reader not in ear.wait(made.pipes.status_reader, *stage):
                    raise self._died()
                if not self.read():
                    raise self._gone_with_keeper() or self._died()
        finally:
            if ear is not None:
                ear.close()
            if pidfd >= 0:
                posix.close(pidfd)
        self._adopt()

    def read(self) -> bool:
        """Read the records that have come; return False at the end of the status pipe.

        Raises SetupError if one of them is an error.
        """
        data = posix.read(self._made.pipes.status_reader, 65536)
        failure = None
        for line in self._records.feed(data):
            record = channel.decode(line)
            if record.kind == channel.ERROR:
                failure = failure or channel.error_of(record)
            else:
                self._take(record)
        if failure is not None:
            raise failure
        return bool(data)

    def abort(self) -> None:
        """Kill everything made so far, and wait until it's gone."""
        made = self._made
        made.pipes.be_launcher()
        made.kill(self._kernel)
        # A stage and an init that we can't kill yet see the end of the go pipe, and end.
        self._aborting = True
        if not self._hear_end(_GRACE) and made.awaited:
            # Unless somebody has stopped them.
            from spawner.life import descendants

            made.left += descendants.kill_tree(made.awaited)
            made.kill(self._kernel)
            self._hear_end(machine.LIMIT)
        if made.keeping:
            made.init = made.awaited  # the keeper has reaped the init
        for pid in dict.fromkeys((made.awaited, made.init)):
            if pid:
                self._reap(pid)
        made.init = made.awaited = 0
        made.close()

    def _hear_end(self, seconds: float) -> bool:
        """Listen until the status pipe is at its end; return False when the time is over."""
        reader = self._made.pipes.status_reader
        if reader < 0:
            return True
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        while poll.poll(max(until - time.monotonic(), 0) * 1000):
            try:
                if not self.read():
                    return True
            except SetupError:  # of one that was killed, or the one that we are here for
                continue
        return False

    def _reap(self, pid: int) -> None:
        """Reap a process that was killed; leave it if it doesn't end in time."""
        try:
            if posix.waitpid(pid, posix.WNOHANG)[0] == pid:
                return
        except ChildProcessError:
            return
        from spawner.host import ends

        if ends.reap(pid) is None:
            self._made.left += ends.stuck(pid)

    def _take(self, record: "Record") -> None:
        """Handle a record: carry out what it asks for, or remember what it says."""
        made = self._made
        if self._aborting and record.kind != channel.FORKED:
            return
        if record.kind == channel.MISSING:
            made.refuse(record.fields.get("namespace", ""), record.number("errno"))
        elif record.kind == channel.USERNS:
            for step in self._steps:
                if step.where == LAUNCHER and step.makes:
                    step.run(self._kernel, str(made.awaited))
            made.pipes.let_go(channel.MAPPED)
        elif record.kind == channel.FORKED:
            try:
                made.meet_init(self._kernel, record.number("pid"))
            except SetupError as error:
                from errno import ESRCH

                if error.errno != ESRCH:
                    raise
                # It has ended, and a keeper has reaped it: its own word on why is on the way.
                made.init = 0
                self._gone = error
            else:
                if self._aborting:
                    made.kill(self._kernel)
        elif record.kind == channel.MADE:
            self._namespaces = {kind: record.number(kind) for kind in record.fields}
        elif record.kind == channel.EXEC:
            self.executing = True
        # The init may speak before the stage does.
        if self._namespaces is not None and made.init and not self._told and not self._aborting:
            self._told = True
            if made.refused:
                self._observer.missing(made.refused)
            self._observer.created(made.init, self._namespaces)

    def _adopt(self) -> None:
        """Become the init's parent by letting the stage end, unless it stays as the keeper."""
        made = self._made
        if made.awaited != made.init and not made.keeping:
            posix.kill(made.awaited, _signal.SIGKILL)  # somebody may have stopped it at its end
            _reap(made.awaited)
            made.awaited = made.init

    def _gone_with_keeper(self) -> SetupError | None:
        """Return the error for an init that had ended before the launcher learned of it."""
        if self._gone is not None and (failed := self._keeper_failure()):
            return keeper_failed(failed)
        return self._gone

    def _keeper_failure(self) -> str:
        """Return what the keeper has reported as its failure, or ""."""
        reader = self._made.pipes.notice_reader
        if not self._made.keeping or reader < 0:
            return ""
        posix.set_blocking(reader, False)
        try:
            lines = channel.Notices().feed(posix.read(reader, 65536))
        except BlockingIOError:
            return ""
        told = (channel.parse_notice(line) for line in lines)
        kind = channel.KEEPER_FAILED
        return next((each.text for each in told if each is not None and each.kind == kind), "")

    def _died(self) -> SetupError:
        """Return the error for a stage or an init that ended without reporting anything."""
        made = self._made
        if made.init:
            self._adopt()
        where = INIT if made.init else STAGE
        from spawner.host import ends

        changed = ends.reap(made.awaited)
        if changed is None:
            return lost()
        made.init = made.awaited = 0
        if failed := self._keeper_failure():
            return keeper_failed(failed)
        return SetupError(f"the {where} {how(changed)} during its set-up", stage=where)


def keeper_failed(text: str) -> SetupError:
    """Return the error for a keeper that has reported its failure."""
    what = f"the keeper of the container failed: {text}; the container was killed"
    return SetupError(what, stage=STAGE)


def _reap(pid: int) -> None:
    try:
        posix.waitpid(pid, 0)
    except ChildProcessError:
        return
