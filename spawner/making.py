"""What the launcher hears from the stage and the init while they make a container.

The launcher's half of the protocol in `launch`; the other halves are `stage` and `init`.
"""

import posix

from spawner import channel
from spawner.errors import INIT, LAUNCHER, STAGE, SetupError
from spawner.steps import attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.channel import Record
    from spawner.launch import Launch


class Making:
    """The making of one container; `executing` says whether the init's exec is all that is left."""

    def __init__(self, launch: "Launch") -> None:
        self.executing = False
        self._launch = launch
        self._made = launch.container
        self._records = channel.Lines()
        self._namespaces: dict[str, int] | None = None
        self._told = False
        self._aborting = False
        self._gone: SetupError | None = None

    def listen(self) -> None:
        """Listen, and do what is asked for, until the container is made; raises SetupError."""
        made = self._made
        staged = made.awaited != made.init
        pidfd = -1
        if staged:
            pidfd = attempt(
                LAUNCHER, "open a pidfd", lambda: self._launch.kernel.pidfd_open(made.awaited)
            )
        try:
            while not self._told:
                if staged and not made.init and self._stage_is_gone(pidfd):
                    raise self._died()
                if not self.read():
                    raise self._gone or self._died()
        finally:
            if pidfd >= 0:
                posix.close(pidfd)
        self._adopt()

    def _stage_is_gone(self, pidfd: int) -> bool:
        """Wait for a record, or for the end of a stage that has told nothing of an init.

        Who has killed it may have left an init of which nobody knows, and which waits for us.
        """
        import select

        reader = self._made.pipes.status_reader
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        return reader not in dict(poll.poll())

    def read(self) -> bool:
        """Take in the records that have come; return False at the end of the status pipe.

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
        """Kill everything, and wait until it's gone."""
        made = self._made
        made.pipes.be_launcher()
        made.kill(self._launch.kernel)
        # A stage and an init that we can't kill yet see the end of the go pipe, and end.
        self._aborting = True
        while made.pipes.status_reader >= 0:
            try:
                if not self.read():
                    break
            except SetupError:  # of one that was killed, or the one that we are here for
                continue
        if made.keeping:
            made.init = made.awaited  # the keeper has reaped the init
        for pid in dict.fromkeys((made.awaited, made.init)):
            if pid:
                _reap(pid)
        made.init = made.awaited = 0
        made.close()

    def _take(self, record: "Record") -> None:
        """Do what a record asks for, or remember what it tells."""
        made = self._made
        if self._aborting and record.kind != channel.FORKED:
            return
        if record.kind == channel.MISSING:
            made.refuse(record.fields.get("namespace", ""), record.number("errno"))
        elif record.kind == channel.USERNS:
            for step in self._launch.steps:
                if step.where == LAUNCHER and step.makes:
                    step.run(self._launch.kernel, str(made.awaited))
            made.pipes.let_go(channel.MAPPED)
        elif record.kind == channel.FORKED:
            try:
                made.meet_init(self._launch.kernel, record.number("pid"))
            except SetupError as error:
                from errno import ESRCH

                if error.errno != ESRCH:
                    raise
                # It has ended, and a keeper has reaped it: its own word on why is on the way.
                made.init = 0
                self._gone = error
        elif record.kind == channel.MADE:
            self._namespaces = {kind: record.number(kind) for kind in record.fields}
        elif record.kind == channel.EXEC:
            self.executing = True
        # The init may speak before the stage does.
        if self._namespaces is not None and made.init and not self._told and not self._aborting:
            self._told = True
            if made.refused:
                self._launch.observer.missing(made.refused)
            self._launch.observer.created(made.init, self._namespaces)

    def _adopt(self) -> None:
        """Become the init's parent: a stage that isn't a keeper ends."""
        made = self._made
        if made.awaited != made.init and not made.keeping:
            _reap(made.awaited)
            made.awaited = made.init

    def _died(self) -> SetupError:
        """Return the error for a stage or an init that ended without a word."""
        from spawner.wait import how, lost

        made = self._made
        if made.init:
            self._adopt()
        where = INIT if made.init else STAGE
        try:
            _, changed = posix.waitpid(made.awaited, 0)
        except ChildProcessError:
            return lost()
        made.init = made.awaited = 0
        return SetupError(f"the {where} {how(changed)} during its set-up", stage=where)


def _reap(pid: int) -> None:
    try:
        posix.waitpid(pid, 0)
    except ChildProcessError:
        return
