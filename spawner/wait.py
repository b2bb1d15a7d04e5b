"""The launcher's second half: from the init's start to the end of everything.

A thin loop around `machine`: it carries records, notices, signals, deaths and deadlines in, and
actions out. Signals are read from a signalfd, which tells their sender; the init's end comes as
SIGCHLD, like its stops. A lifeline that can be read kills everything, and so does the alarm of a
part, when a limit is reached. Nothing is polled: without a deadline there's no time-out, and an
idle launcher never wakes up.
"""

import _signal
import gc
import posix
import select
import time

from pyinit import SI_KERNEL, STOPS, status_of_signal, status_of_wait
from spawner import channel, machine
from spawner.errors import INIT, LAUNCHER, ExecError, SetupError, how, lost
from spawner.linux import SIGINFO_SIZE, close_all_but
from spawner.machine import Machine
from spawner.made import Ending
from spawner.making import keeper_failed
from spawner.spec import LONGEST_POLL

SI_USER = 0
"""The si_code of signals that kill(2) sends, asm-generic/siginfo.h."""

_AGAIN = 5
"""How often to wait LIMIT seconds more for killed processes that the kernel still runs."""


_AT_ONCE = 2.0
"""Seconds within which a program that a SIGINT ends has usually ended."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spawner.linux import Kernel
    from spawner.machine import Action
    from spawner.made import Container, Observer
    from spawner.making import Making
    from spawner.spec import Spec


class Wait:
    """The wait for the end of a container that `making` has made.

    `lifelines`, `spared` and `early` are as for `Launch`.
    """

    def __init__(
        self,
        kernel: "Kernel",
        spec: "Spec",
        observer: "Observer",
        container: "Container",
        making: "Making",
        *,
        lifelines: "Iterable[int]" = (),
        spared: "Iterable[int]" = (),
        early: "Iterable[int]" = (),
    ) -> None:
        self._kernel = kernel
        self._spec = spec
        self._observer = observer
        self._early = early
        self._lifelines = set(lifelines)
        self._spared = frozenset(spared)
        self._making = making
        self._made = made = container
        self._alarms = {alarm: part for part in made.parts for alarm in part.alarms}
        self._signals = made.signals
        self._notices = channel.Notices()
        self._executed = False
        self._started = False
        self._inner: int | None = None
        self._failure: channel.Notice | None = None
        self._exited: channel.Notice | None = None
        self._limit: float | None = None
        self._again = 0
        self._keeper_failed = ""
        self._disconnections: list[str] = []  # before the exec, which may fail for them
        self._overheard_at = -_AT_ONCE
        self._first = self._spec.init is None and not made.keeping  # the program is PID 1
        self._machine = Machine(
            stop_signal=self._spec.stop_signal,
            stop_timeout=self._spec.stop_timeout,
            terminal=made.terminal is not None,
            foreground=made.foreground,
            wants=made.alone,
        )

    def run(self) -> Ending:
        """Wait for the end; raises SetupError if the program never started."""
        # After the start, which makes no cycles (__main__): frozen, what there is by now is never
        # looked through, nor written to, which takes a fifth of a millisecond.
        gc.freeze()
        gc.enable()
        self._let_go()
        try:
            return self._conclude(self._loop())
        except SetupError as error:
            self._look_at_parts()
            error.hint = error.hint or "; ".join(self._disconnections) or None
            raise

    def _let_go(self) -> None:
        """Close the launcher's copies of the descriptors that were passed on to the program."""
        pipes = self._made.pipes
        spared = {pipes.status_reader, pipes.go_writer, pipes.notice_reader, self._made.pidfd}
        spared.add(self._signals)
        if self._made.terminal is not None:
            spared.add(self._made.terminal.descriptor)
        for part in self._made.parts:
            spared |= part.descriptors
        close_all_but(spared | self._spared | self._lifelines)

    # What comes in

    def _loop(self) -> int:
        """Handle events until the container has ended; return its wait status."""
        for number in self._early:
            self._signal(number)
        pipes = self._made.pipes
        poll = select.poll()
        for descriptor in (self._signals, pipes.status_reader, *self._lifelines, *self._alarms):
            poll.register(descriptor, select.POLLIN)
        if pipes.notice_reader >= 0:
            poll.register(pipes.notice_reader, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(self._left())}
            if pipes.status_reader in ready and self._read_status():
                poll.unregister(pipes.status_reader)
                pipes.close("status_reader")
            if pipes.notice_reader in ready and self._read_notices():
                poll.unregister(pipes.notice_reader)
                pipes.close("notice_reader")
            for lifeline in self._lifelines & ready:
                poll.unregister(lifeline)
                self._lifelines.remove(lifeline)
                self._do(self._machine.lost())
            for alarm in ready.intersection(self._alarms):
                poll.unregister(alarm)
                if self._alarms.pop(alarm).reached(alarm):
                    self._do(self._machine.lost())
            if self._signals in ready and (ended := self._read_signals()) is not None:
                return ended
            if self._is_over(self._limit) and (ended := self._leave()) is not None:
                return ended
            if self._is_over(self._machine.deadline):
                self._do(self._machine.expired())
            for part in self._made.parts:
                if self._is_over(part.deadline):
                    part.expired()
                    self._do(self._machine.lost())

    def _left(self) -> float | None:
        """Return the milliseconds until the next deadline, or None."""
        theirs = (part.deadline for part in self._made.parts)
        timers = (self._machine.deadline, self._limit, *theirs)
        moments = [each for each in timers if each is not None]
        if not moments:
            return None
        left = min(moments) - time.monotonic()
        return min(max(left, 0), LONGEST_POLL) * 1000

    def _is_over(self, moment: float | None) -> bool:
        return moment is not None and moment <= time.monotonic()

    def _read_status(self) -> bool:
        """Read the init's records; return whether the pipe is at its end."""
        if self._making.read():
            return False
        if self._making.executing:
            self._executed = True
            for part in self._made.parts:
                part.executed()
            while self._disconnections:
                self._observer.disconnected(self._disconnections.pop(0))
            self._do(self._machine.executed(in_foreground=self._in_foreground()))
            if self._spec.init != "":
                self._has_started()
        return True

    def _read_notices(self) -> bool:
        """Read pyinit's notices; return whether the pipe is at its end."""
        data = posix.read(self._made.pipes.notice_reader, 65536)
        for line in self._notices.feed(data):
            told = channel.parse_notice(line)
            if told is None:
                continue
            if told.kind == channel.STARTED and not self._started:
                self._inner = told.numbers[0]
                self._has_started()
            elif told.kind in (channel.EXEC_FAILED, channel.FORK_FAILED) and not self._started:
                self._failure = told
            elif told.kind == channel.STOPPED:
                self._told_of_stop(told.numbers[0])
            elif told.kind == channel.EXITED and self._exited is None:
                self._exited = told
            elif told.kind == channel.KEEPER_FAILED and self._made.keeping:
                self._keeper_failed = told.text
        if not data and self._exited is not None:
            self._await_ends()  # the teller is ending, and so what ends with it has been killed
        return not data

    def _await_ends(self) -> None:
        """Set the deadline by which killed processes have to end."""
        if self._limit is None:
            self._limit = time.monotonic() + machine.LIMIT

    def _has_started(self) -> None:
        self._started = True
        for part in self._made.parts:
            part.started()
        self._observer.started()

    def _read_signals(self) -> int | None:
        """Handle pending signals; return the wait status if the container has ended."""
        ended = None
        try:
            data = memoryview(posix.read(self._signals, 32 * SIGINFO_SIZE))
        except BlockingIOError:  # a stop of ours has discarded it since, or took it, signal(7)
            return None
        made = self._made
        for at in range(0, len(data), SIGINFO_SIZE):
            # struct signalfd_siginfo, signalfd(2): signo, errno, code, pid, each of 32 bits.
            number, _, code, sender = data[at : at + 16].cast("i")
            if number == _signal.SIGCHLD:
                ended = self._reap() if ended is None else ended
            elif number == _signal.SIGPIPE and code == SI_USER and sender == posix.getpid():
                continue  # of our own message; others we may have sent before the exec, to be had
            elif made.witness and sender == made.witness:
                self._heard(number)
            else:
                self._signal(number, typed=code == SI_KERNEL)
        return ended

    def _reap(self) -> int | None:
        """Handle every child that has changed state: SIGCHLDs coalesce, wait(2)."""
        while True:
            try:
                pid, changed = posix.waitpid(-1, posix.WNOHANG | posix.WUNTRACED)
            except ChildProcessError:
                raise lost() from None
            if pid == 0:
                return None
            if pid == self._made.witness:
                self._witnessed(changed)
                continue
            part = next((part for part in self._made.parts if part.pid == pid), None)
            if part is not None:
                if not posix.WIFSTOPPED(changed):
                    self._disconnected(part.ended(changed))
                continue
            if pid != self._made.awaited:
                continue  # a stranger, or an orphan
            if posix.WIFSTOPPED(changed):
                if self._made.keeping:
                    posix.kill(pid, _signal.SIGCONT)  # only the program can have done that
                else:
                    self._stopped(posix.WSTOPSIG(changed))
                continue
            self._made.awaited = self._made.init = 0
            return changed

    def _look_at_parts(self) -> None:
        """Look which parts' processes have ended, of which a signal may not have told yet."""
        for part in self._made.parts:
            pid, changed = posix.waitpid(part.pid, posix.WNOHANG) if part.pid else (0, 0)
            if pid:
                self._disconnected(part.ended(changed))

    def _disconnected(self, how: str) -> None:
        """Report what a part was for as gone; before the exec that is left to what fails for it."""
        if self._executed:
            self._observer.disconnected(how)
        else:
            self._disconnections.append(how)

    def _leave(self) -> int | None:
        """Give up processes that SIGKILL hasn't ended in time; return a wait status.

        None where the kernel is still at work on it, or nobody was killed yet.
        """
        from spawner.host import ends

        made = self._made
        if not self._machine.killing:
            # The program has ended by its own word alone, or what it leaves behind is stuck.
            self._limit = None
            self._do(self._machine.lost())
            return None
        left = ends.stuck(made.awaited)
        if any(ends.state(pid) == "R" for pid in left) and self._again < _AGAIN:
            self._again += 1
            self._limit = time.monotonic() + machine.LIMIT
            return None
        made.left += left
        made.awaited = made.init = 0
        return _signal.SIGKILL if self._exited is None else self._exited.numbers[0] << 8

    def _signal(self, number: int, *, typed: bool = False) -> None:
        terminal = self._made.terminal
        if typed and number == _signal.SIGWINCH and terminal is not None and terminal.inner == 0:
            return  # the program's own terminal tells it of its own size
        self._observer.signalled(number)
        in_foreground = number == _signal.SIGCONT and self._in_foreground()
        # Where the shell has it, nobody of our job gets it but with the whole of it, by `fg`.
        lent = number in STOPS and terminal is not None and terminal.is_lent()
        self._do(
            self._machine.signal(
                number, time.monotonic(), in_foreground=in_foreground, typed=typed, lent=lent
            )
        )

    def _told_of_stop(self, number: int) -> None:
        """Handle a notice that the program stopped, unless a SIGCONT has come since."""
        from spawner.terminal import job

        pid = job.program(self._made.init, self._inner)
        if pid is None or job.is_stopped(pid):
            self._stopped(number)

    def _stopped(self, number: int) -> None:
        in_foreground = self._in_foreground()
        self._do(self._machine.stopped_by(number, in_foreground=in_foreground))

    def _witnessed(self, changed: int) -> None:
        """Stop the program, which is PID 1, when the rest of its process group was stopped."""
        from spawner.terminal import witness

        made = self._made
        if not posix.WIFSTOPPED(changed):
            made.witness = 0  # only the program can have killed it
            return
        number = posix.WSTOPSIG(changed)
        if number in STOPS and witness.is_spared(made.init, number):
            made.signal(self._kernel, _signal.SIGSTOP)
            self._stopped(number)
        else:
            posix.kill(made.witness, _signal.SIGCONT)

    def _heard(self, number: int) -> None:
        """Handle a terminal signal to a program that is PID 1 and has the foreground."""
        self._overhear(number)
        self._look_whether_it_ends(number)

    def _overhear(self, number: int) -> None:
        self._machine.overheard(number)
        if number == _signal.SIGINT:
            self._overheard_at = time.monotonic()

    def _look_whether_it_ends(self, number: int) -> None:
        """Have a program that is PID 1 end even if the signal does nothing to it."""
        from spawner.terminal import witness

        if self._machine.deadline is None and witness.is_spared(self._made.init, number):
            self._machine.end_by(time.monotonic())
            self._observer.spared(number, self._spec.stop_timeout)

    def _in_foreground(self) -> bool:
        return self._made.terminal is not None and self._made.terminal.is_ours()

    # What goes out

    def _do(self, actions: "Iterable[Action]") -> None:
        """Carry out the actions that the state machine decided on."""
        for kind, number in actions:
            sends = kind in (machine.SEND, machine.SEND_TYPED)
            if sends and self._first and number in machine.ENDS:
                self._look_whether_it_ends(number)
            if kind == machine.SEND:
                self._made.signal(self._kernel, number)
                if self._made.witness and number in STOPS:
                    posix.kill(self._made.witness, number)
            elif kind == machine.SEND_TYPED:
                self._send_typed(number)
            elif kind == machine.CONTINUE:
                self._continue()
            elif kind == machine.CONTINUE_GROUP:
                posix.kill(0, number)
                _signal.sigtimedwait((number,), 0)  # we are of our group
            elif kind == machine.KILL:
                self._observer.killing()
                self._made.kill(self._kernel)
                self._await_ends()
            elif kind in (machine.SUSPEND, machine.SUSPEND_GROUP):
                self._suspend(number, group=kind == machine.SUSPEND_GROUP)
            else:
                self._pass_terminal(kind)

    def _send_typed(self, number: int) -> None:
        """Pass a terminal signal on to the program's process group.

        pyinit does it itself, as it knows the group. Another's init, which isn't to be told how to
        pass a signal on, gets it for itself.
        """
        made = self._made
        if made.witness and made.terminal is not None and made.terminal.apart and number in STOPS:
            posix.kill(made.witness, number)  # it isn't in the program's group
        if self._spec.init is None and made.init:
            from spawner.terminal import job

            group = job.program_group(made.init, None)
            if group is not None and group != posix.getpgrp():
                job.signal_group(group, number)
                return
        made.signal(self._kernel, number, passed_on=self._spec.init == "")

    def _continue(self) -> None:
        """Continue the program and its process group immediately.

        pyinit, which would do it too, would do it later: news of an earlier stop could then not be
        told from those of another.
        """
        if self._made.witness:
            posix.kill(self._made.witness, _signal.SIGCONT)
        from spawner.terminal import job

        group = job.program_group(self._made.init, self._inner)
        if group is not None and group != posix.getpgrp():
            job.signal_group(group, _signal.SIGCONT)
        else:
            self._made.signal(self._kernel, _signal.SIGCONT)

    def _suspend(self, number: int, *, group: bool) -> None:
        from pyinit import jobcontrol
        from spawner.terminal import job

        if not group and jobcontrol.is_continued():
            return  # who has asked for the stop has asked for its end: we take that next
        continued = job.suspend(number, group=group)
        in_foreground = self._in_foreground()
        self._do(self._machine.resumed(continued=continued, in_foreground=in_foreground))

    def _pass_terminal(self, kind: str) -> None:
        """Take the terminal's foreground back, or give it to the program."""
        made = self._made
        if made.terminal is None:
            return
        made.foreground = kind == machine.GIVE
        if kind == machine.TAKE:
            made.terminal.take()
            return
        from spawner.terminal import job

        group = made.terminal.group or job.program_group(made.init, self._inner)
        made.terminal.refused = not group or not made.terminal.give(group)

    # The end

    def _conclude(self, changed: int) -> Ending:
        """Return how the program ended, from the wait status and the notices."""
        made = self._made
        code, signal = status_of_wait(changed)
        if made.pipes.status_reader >= 0 or (
            self._first and code == status_of_signal(_signal.SIGINT)
        ):
            self._hear_the_last()
        for reader, read in (
            (made.pipes.status_reader, self._read_status),
            (made.pipes.notice_reader, self._read_notices),
        ):
            if reader >= 0:
                _read_last(reader, read)
        lent = made.foreground
        if self._machine.deadline is not None:
            made.hurry()
        made.close()
        made.tell_left(self._observer)
        if self._keeper_failed:
            raise keeper_failed(self._keeper_failed)
        if not self._started:
            raise self._not_started(self._failure) or self._premature(changed, code)
        if self._exited is not None and self._exited.numbers[0] == code:
            signal = self._exited.numbers[1] or None
        if any(part.cut for part in made.parts):
            code, signal = status_of_signal(_signal.SIGKILL), _signal.SIGKILL
        interrupted = self._was_interrupted(code, signal, lent=lent)
        if interrupted and lent:
            # Only the program has had the ^C: now the rest of the job has it, as we have, blocked.
            posix.kill(0, _signal.SIGINT)
        limit, message = self._limited(signal, code)
        used = next((part.used for part in made.parts if part.used is not None), None)
        return Ending(code, signal, interrupted, limit, message, used)

    def _limited(self, signal: int | None, status: int) -> tuple[str, str]:
        """Return the limit that ended the program, and the message about it; "" where none did."""
        told = (part.limited(signal, status) for part in self._made.parts)
        return next((each for each in told if each is not None), ("", ""))

    def _was_interrupted(self, code: int, signal: int | None, *, lent: bool) -> bool:
        """Tell whether the program died of a SIGINT meant for the whole job.

        That came through us or, where the terminal was `lent` to the program, from that. A program
        that is PID 1 can't die of it, but end with the status that says so. A shell that has the
        terminal may end so long after a ^C at its prompt: others aren't to suffer for that.
        """
        if self._first and code == status_of_signal(_signal.SIGINT):
            at_once = time.monotonic() - self._overheard_at < _AT_ONCE
            return self._machine.interrupted and (self._made.alone or not lent or at_once)
        return signal == _signal.SIGINT and (lent or self._machine.interrupted)

    def _hear_the_last(self) -> None:
        """Wait for a SIGINT that the witness may still report, and end the witness.

        On a busy host the witness may not even have closed its copy of the status pipe, at whose
        end of file the exec has happened.
        """
        if not self._made.witness:
            return
        from spawner.terminal import witness

        witness.part(self._made.witness)
        self._made.dismiss_witness()
        if _signal.sigtimedwait((_signal.SIGINT,), 0) is not None:
            self._overhear(_signal.SIGINT)

    def _not_started(self, told: channel.Notice | None) -> SetupError | None:
        """Return the error that pyinit has reported, or None."""
        if told is None:
            return None
        if told.kind == channel.FORK_FAILED:
            what = "fork the program's process"
            return SetupError(
                what, stage=INIT, syscall="fork", errno=told.numbers[0], hint=told.hint
            )
        number, status = told.numbers
        return ExecError(
            told.text,
            stage=INIT,
            syscall="execve",
            errno=number,
            path=self._spec.arguments[0],
            hint=told.hint,
            status=status,
        )

    def _premature(self, changed: int, code: int) -> SetupError:
        """Return the error for an init that ended before the program started."""
        if self._machine.killing:
            what = "everything was killed before the program ran"
            return SetupError(what, stage=LAUNCHER, status=code)
        when = "before it had started the program" if self._executed else "during its set-up"
        return SetupError(f"the init {how(changed)} {when}", stage=INIT)


def _read_last(reader: int, read: "Callable[[], bool]") -> None:
    """Read what a pipe holds without waiting for its end."""
    posix.set_blocking(reader, False)
    try:
        while not read():
            continue
    except BlockingIOError:
        return
