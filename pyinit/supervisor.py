"""The loop around `machine`: it passes signals and deaths in, and carries actions out.

1. All signals have been blocked since our first line ran. A blocked signal stays pending, even for
   PID 1, to which the kernel otherwise delivers nothing that it has no handler for
   (pid_namespaces(7)); real-time signals queue. `sigwaitinfo` takes them one by one.
2. The workload is forked. Before its exec we let go of everything that it could wait for, or find
   in use: descriptors above 2, the working directory.
3. The exec is awaited (`child`).
4. From the comment "PID 1 may not exit" on, nothing but the machine's EXIT ends the process.
"""

import _signal
import gc
import posix
import time

from pyinit import (
    be_interrupted,
    child,
    errno_text,
    machine,
    show,
    status_of_signal,
    status_of_wait,
    table_size,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyinit import reaper, report

# __WALL (linux/wait.h) also takes children that a clone(2) made with another exit signal.
_WAIT_FLAGS = posix.WNOHANG | posix.WUNTRACED | posix.WCONTINUED | 0x40000000

# Descriptors below this are let go before the workload's start. The others, if there are any, come
# after it: to see how many there may be takes longer than to close all by close_range(2), and where
# that is missing or denied, to close one by one as many as there can be takes a third of a second.
_MOST_DESCRIPTORS = 8192

# Where there's no /proc, as many are let go: more than any limit but "infinity" allows.
_MAX_DESCRIPTORS = 1 << 20

# Changes of state that are taken in one turn, before signals and the clock are looked at again:
# a process that makes orphans faster than they are reaped must not keep us from those.
_BATCH = 64

# Children told of in a row, without having caught up, after which the rest is only counted.
_TOLD_AT_ONCE = 2048

# Every so many signals the next one up has its turn first: the kernel hands out the lowest that is
# pending, and floods of some must not keep the others from theirs.
_ROUND = 16

# Unexpected errors in a row after which the loop only waits for the workload's end.
_MOST_FAILURES = 16


class Supervisor:
    """The supervision of one workload, from its start to the exit status."""

    def __init__(
        self, asked: machine.Settings, handover: child.Handover, words: list[bytes]
    ) -> None:
        self.asked = asked
        self._words = words
        self.handover = handover
        self.pid = 0
        self._workload = child.Workload(asked, handover)
        self._own_pid = posix.getpid()
        self._parent = 0 if asked.parent_death is None else posix.getppid()
        self._foreground = self._workload.foreground
        self._wants = self._workload.wants
        self._signals = _signal.valid_signals()
        self._parent_signal: int | None = None
        self._orphaned = False
        self._killer: int | None = None
        self._ending = 0
        self._behind = False  # the last turn has left some unreaped
        self._told = self._untold = 0  # children in a row
        self._taken = self._last = 0  # signals, and the number of the last
        self._turn = 0  # the number of the last that was taken before its time
        self._report: report.Report | None = None

    @property
    def report(self) -> "report.Report":
        """The object that reports what happens, imported only when needed."""
        if self._report is None and self.asked.twin:
            from pyinit.twins import voice

            self._report = voice.Voice(self.asked.twin, warn_orphans=self.asked.warn_orphans)
        if self._report is None:
            from pyinit import report

            self._report = report.Report(
                verbose=self.asked.verbose,
                warn_orphans=self.asked.warn_orphans,
                events=self.asked.events,
            )
        return self._report

    def notify(self, text: str) -> None:
        """Send one line to the launcher, docs/architecture.md, "The handover"."""
        if self.handover.notice is None:
            return
        try:
            posix.write(self.handover.notice, text.encode("utf-8", "surrogateescape") + b"\n")
        except BrokenPipeError:  # it's gone, and we with it in a moment
            try:
                _signal.sigtimedwait((_signal.SIGPIPE,), 0)  # of our own making
            except OSError:  # denied
                return
        except OSError:  # the launcher doesn't read, or the descriptor is no more
            return

    def not_started(self, notice: str, text: str, hint: str | None) -> None:
        """Report why there is no workload, to the launcher or else on stderr."""
        if self.handover.notice is None:
            self.report.fatal(f"{text}; {hint}" if hint else text)
        else:
            self.notify(f"{notice} {text}\t{hint}" if hint else f"{notice} {text}")

    def run(self) -> int:
        """Start the workload, supervise it, and return the status to exit with.

        Raises child.ExecFailed, child.ForkFailed, and OSError if anything else can't be done.
        """
        self._adopt()
        # Before the fork: after it, each page that is written to is copied first, and the child,
        # which waits until we have let go, would wait for this as well.
        show(self.asked.twin.name.encode() if self.asked.twin else b"pyinit", self._words)
        if self.asked.tells_all:
            from pyinit import reaper

            reaper.get_ready()
            self.report.get_ready()
        if self.asked.pause:
            # Where it's ignored, the kernel reaps, and nobody hears of a death, wait(2).
            _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
            self._let_go()
        else:
            self._start()
        self.machine = machine.Machine(
            self.asked, own_pid=self._own_pid, pid=self.pid, own_group=self._workload.own_group
        )
        # PID 1 may not exit, and no exception may end it, from here on.
        code = self._loop()
        self._take_back()
        if self.asked.tells_all:
            self._tell_exit(code)
        if self._killer == _signal.SIGINT and code == status_of_signal(_signal.SIGINT):
            self._be_interrupted()
        return code

    def _start(self) -> None:
        """Start the workload, and report it."""
        if self.asked.place == machine.OWN_SESSION:
            from pyinit import session

            self.handover.pending |= session.release_terminal()
        try:
            self._workload.start(self._let_go)
        except child.ExecFailed:
            self._take_back()
            raise
        self.pid = self._workload.pid
        self.notify(f"started {self.pid}")
        if self.asked.tells_all:
            self.report.started(self.pid, self.asked.program[0])

    def _take_back(self) -> None:
        """Take the foreground back from the workload, which has ended."""
        if self._foreground and self.handover.foreground is None:  # else the launcher does it
            from pyinit import jobcontrol

            self._foreground = jobcontrol.take_back()

    def _be_interrupted(self) -> None:
        """Die of SIGINT as the workload did, so that shells see that the user meant both.

        If the workload had the terminal, the rest of our job got no ^C, and gets a SIGINT now. As
        PID 1, as the launcher's init and as a twin, we exit with a status instead.
        """
        lent = self._foreground
        if not (lent or self.machine.interrupted) or self.handover.notice is not None:
            return
        if not self.asked.twin and self._own_pid != 1:
            be_interrupted(0 if lent else self._own_pid)

    def _adopt(self) -> None:
        """Become a subreaper where needed, and ask for a signal at the parent's death."""
        if self._own_pid == 1 and self.asked.parent_death is None:
            return
        from pyinit import reaper, subreaper  # noqa: F401  reaper: while the root is still ours

        if self._own_pid != 1:
            try:
                subreaper.become_subreaper()
            except OSError as error:
                self.report.say(f"pyinit will not reap orphans: {error.strerror}")
        signal = self.asked.parent_death
        if signal is None:
            return
        # The kernel tells of the end of the thread that started us, by a signal that looks as if
        # the parent had sent it by kill(2): so it's one that hardly any parent sends, and that can
        # be caught. Whether a parent out of sight still lives can't be asked.
        self._parent_signal = signal
        fixed = signal in (_signal.SIGKILL, _signal.SIGSTOP)
        if self._parent or (fixed and self._own_pid != 1):
            self._parent_signal = _signal.SIGRTMAX
        try:
            subreaper.set_parent_death_signal(self._parent_signal)
        except OSError as error:
            reason = f"--parent-death doesn't work here: {error.strerror}"
            raise OSError(error.errno, reason) from None
        if posix.getppid() != self._parent:
            self._orphaned = True
            self.handover.pending.add(signal)  # it died before we could ask to be told

    def _let_go(self, spared: tuple[int, ...] = ()) -> None:
        """Close the descriptors that the workload could wait for, and set pyinit's own name."""
        self._close(3, _MOST_DESCRIPTORS, spared)
        try:
            posix.chdir("/")
        except OSError as error:
            self._complain(f"can't leave the working directory: {error.strerror}")

    def _close(self, low: int, end: int, spared: tuple[int, ...] = ()) -> None:
        """Close the descriptors from `low` up to `end`, except `spared` and pyinit's own."""
        # One close_range(2) for each gap; where that is denied, posix closes one by one.
        told = [] if self._report is None else self._report.descriptors
        for each in sorted((self.asked.events or 0, self.handover.notice or 0, *told, *spared)):
            if low <= each < end:
                posix.closerange(low, each)
                low = each + 1
        if low < end:
            posix.closerange(low, end)

    def _loop(self) -> int:
        """Take events until the machine says EXIT, whatever goes wrong meanwhile."""
        # After the start, which makes no cycles (`__main__`): frozen, what there is by now is never
        # looked through, nor written to, which takes a fifth of a millisecond.
        gc.freeze()
        gc.enable()
        failures = 0
        code: int | None = None
        reap, step = self._reap, self._step
        turns = [self._first]
        while code is None:
            turn = turns.pop(0) if turns else step
            try:
                code = turn()
                if turn is not reap:
                    failures = 0
            except Exception as error:  # noqa: BLE001  PID 1 never dies of an exception
                failures += 1
                self._complain(f"going on after an unexpected {type(error).__name__}: {error}")
                if self._is_over():
                    return self.machine.exit_status
                if failures == _MOST_FAILURES:
                    return self._only_wait()
                turns.insert(0, reap)  # the SIGCHLD was taken, and another may never come
        return code

    def _complain(self, text: str) -> None:
        """Print one line to stderr if that is still possible."""
        try:
            self.report.say(text)
        except Exception:  # noqa: BLE001  PID 1 never dies of an exception
            return

    def _first(self) -> int | None:
        """Handle signals that came before the loop, and children that existed before the exec."""
        # And with descriptors that hardly anybody has.
        self._close(_MOST_DESCRIPTORS, table_size(_MAX_DESCRIPTORS))
        for number in sorted(self.handover.pending):
            if (code := self._signal(number, 0, 0)) is not None:
                return code
        return self._reap()

    def _step(self) -> int | None:
        """Wait for one signal or the deadline, and carry out the machine's answer to it."""
        deadline = self.machine.deadline
        seconds = 0.0 if self._behind else None
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:  # looked at first: there may always be another signal
                return self._do(self.machine.expired())
            seconds = 0.0 if self._behind else left
        info = self._next_signal(seconds)
        if info is None:
            return self._reap() if self._behind else None
        # Lower numbers are taken first: a SIGHUP must not go to a workload that is dead by now, in
        # place of those that --wait stays for.
        code = self._reap() if self._behind or info.si_signo <= _signal.SIGCHLD else None
        if code is not None or info.si_signo == _signal.SIGCHLD:
            return code
        # si_pid is only there for signals that a process sent, sigaction(2): SI_USER, SI_QUEUE,
        # SI_TKILL.
        sender = info.si_pid if info.si_code in (0, -1, -6) else 0
        return self._signal(info.si_signo, sender, info.si_code)

    def _next_signal(self, seconds: float | None) -> "_signal.struct_siginfo | None":
        """Wait for a signal, at most `seconds` if given; return None if none came."""
        self._taken += 1
        info = None
        if self._taken == _ROUND:
            self._taken = 0
            if self._last < _signal.SIGRTMIN:  # which queue, and may be many of one number
                last = max(self._turn, self._last)
                above = [number for number in self._signals if number > last]
                info = _signal.sigtimedwait(above, 0)
                self._turn = 0 if info is None else info.si_signo
        if info is None:
            if seconds is None:
                info = _signal.sigwaitinfo(self._signals)
            else:
                info = _signal.sigtimedwait(self._signals, seconds)
        if info is not None:
            self._last = info.si_signo
        return info

    def _signal(self, number: int, sender: int, code: int) -> int | None:
        if number == self._parent_signal and sender == self._parent and code == 0:  # SI_USER
            if self._orphaned or (self._parent and self._parent == posix.getppid()):
                return None  # it was told already; or only a thread of the parent has ended
            self._orphaned = self._parent != 0
            number = self.asked.parent_death or number
        lent = self._foreground
        if lent and number in (_signal.SIGTTIN, _signal.SIGTTOU):
            from pyinit import jobcontrol

            lent = not jobcontrol.is_with_shell()
        actions = self.machine.signal(number, code, time.monotonic(), lent=lent)
        if self.asked.tells_all:
            sent, target = (actions[0][1], actions[0][2]) if actions else (0, self.asked.target)
            self.report.forwarded(number, sent, sender, target)
        return self._do(actions, forwarded=True)

    def _reap(self) -> int | None:
        """Reap a batch of children: one SIGCHLD may stand for many, wait(2)."""
        tells_all = self.asked.tells_all
        name, usage = b"", None
        left = _BATCH
        self._behind = True
        while left:
            left -= 1
            in_full = tells_all and self._told < _TOLD_AT_ONCE
            try:
                if in_full:
                    from pyinit import reaper

                    pid, changed, name, usage = reaper.next_change_in_full(_WAIT_FLAGS)
                else:
                    pid, changed = posix.waitpid(-1, _WAIT_FLAGS)
                    name, usage = b"", None
            except ChildProcessError:
                self._caught_up()
                return self._do(self.machine.childless())
            if pid == 0:
                self._caught_up()
                return None
            if posix.WIFSTOPPED(changed):
                actions = self.machine.stopped_by(pid, posix.WSTOPSIG(changed))
            elif posix.WIFCONTINUED(changed):
                actions = self.machine.continued(pid)
            else:
                actions = self.machine.ended(pid, changed, time.monotonic())
                if pid == self.pid:
                    self._killer = status_of_wait(changed)[1]
                    self.notify(f"exited {self.machine.exit_status} {self._killer or 0}")
            if in_full or (tells_all and pid == self.pid):
                self._told += 1
                self._tell(pid, changed, name, usage)
            elif tells_all:
                self._untold += 1
            if actions and (result := self._do(actions)) is not None:
                return result
        return None

    def _caught_up(self) -> None:
        """Note that nothing is left to reap, and report how many deaths weren't reported."""
        self._behind = False
        self._told = 0
        if self._untold:
            untold, self._untold = self._untold, 0
            self.report.unsaid(untold)
            self.report.catch_up()

    def _tell(self, pid: int, changed: int, name: bytes, usage: "reaper.Usage | None") -> None:
        """Report a child's change of state."""
        if posix.WIFSTOPPED(changed):
            if not self.machine.killing:  # else the stop is ours
                self.report.stopped(pid, posix.WSTOPSIG(changed))
        elif posix.WIFCONTINUED(changed):
            self.report.continued(pid)
        else:
            code, signal = status_of_wait(changed)
            self.report.reaped(pid, name, code, signal, usage, own=pid == self.pid)

    def _tell_ending(self, number: int) -> None:
        """Report once the signal that is sent to end what is left."""
        if self.asked.tells_all and self._ending != number:
            self._ending = number
            self.report.forwarded(number, number, self._own_pid, machine.EVERYTHING)

    def _tell_exit(self, code: int) -> None:
        """Report pyinit's own end."""
        try:
            self._caught_up()
            self.report.exited(code, self._killer)
        except Exception:  # noqa: BLE001  the status is what counts
            return

    def _do(self, actions: "Iterable[machine.Action]", *, forwarded: bool = False) -> int | None:
        """Carry out actions; return the exit status if one of them is EXIT.

        A signal that was `forwarded` has been reported already; one of our own making hasn't.
        """
        for kind, number, target in actions:
            if kind == machine.EXIT:
                return number
            if kind == machine.SUSPEND:
                self._suspend(number, asked=target == machine.ASKED)
                continue
            if kind == machine.YIELD:
                self._yield_terminal()
                continue
            if kind == machine.CONTINUE:
                self._resume()
            if target == machine.EVERYTHING and not forwarded:
                self._tell_ending(number)
            self._send(number, target)
        return None

    def _send(self, number: int, target: str) -> None:
        """Send a signal; ignore a target that no longer exists."""
        pid = self.pid
        if target == machine.EVERYTHING and self._own_pid != 1:
            from pyinit import reaper

            reaper.send_to_descendants(number)
            return
        if target in (machine.EVERYTHING, machine.ALL):
            pid = -1  # all of our PID namespace but us, in one call, kill(2)
        elif target == machine.GROUP and self._workload.own_group:
            pid = -self.pid
        elif target == machine.OURSELVES:
            pid = self._own_pid
        try:
            posix.kill(pid, number)
        except ProcessLookupError:
            return
        except OSError as error:
            what = errno_text(error.errno or 0)
            self.report.say(f"can't send signal {number} to the {target}: {what}")

    def _suspend(self, number: int, *, asked: bool) -> None:
        """Stop together with the workload, as a job of the shell that started us.

        If we had passed the foreground on, the stop is for our whole process group; otherwise only
        we stop, and only if the stop came through us, or from the terminal to a background job. If
        the kernel discards our stop, nobody could ever continue a workload in the foreground, so it
        goes on at once; and so does a workload that was stopped for want of the terminal, if we
        have that and can pass it on.
        """
        if self.handover.notice is not None:
            self.notify(f"stopped {number}")
            return
        if not self._workload.has_terminal:
            return  # no job control here, so nobody above would continue us
        from pyinit import jobcontrol

        held = self._foreground
        if number != _signal.SIGTSTP and not held:
            self._wants = self._wants or not asked
            if jobcontrol.pass_on(self.pid):
                self._foreground = self._wants = True
                self._send(_signal.SIGCONT, machine.GROUP)
                return
        if held:
            jobcontrol.take_back()
            self._foreground = False
        elif number == _signal.SIGTSTP and not asked:
            return  # somebody stopped the workload behind our back, and will continue it
        if asked and jobcontrol.is_continued():
            return  # the stop's sender has sent its end too: we take that next
        if jobcontrol.stop(0 if held else self._own_pid, number) or not held or asked:
            return
        self._foreground = jobcontrol.set_foreground(self.pid)
        self._send(_signal.SIGCONT, machine.GROUP)

    def _resume(self) -> None:
        """Pass the foreground on to the workload if pyinit was continued in the foreground.

        Otherwise it keeps what it had, unless the shell took that: a SIGCONT may come at any time.
        """
        # Without a terminal at the start `jobcontrol` wasn't read, and now it may be out of reach.
        if self._workload.has_terminal and self._workload.own_group:
            from pyinit import jobcontrol

            keeps = self._foreground and not jobcontrol.is_with_shell()
            self._foreground = (self._wants and jobcontrol.pass_on(self.pid)) or keeps

    def _yield_terminal(self) -> None:
        """Take the terminal back for another process of the job that stopped for want of it."""
        from pyinit import jobcontrol

        jobcontrol.take_back()
        self._foreground = self._wants = False
        posix.kill(0, _signal.SIGCONT)
        info = _signal.sigtimedwait((_signal.SIGCONT,), 0)  # we are of our group
        if info is not None and info.si_pid != self._own_pid:
            self._signal(info.si_signo, info.si_pid, info.si_code)

    def _is_over(self) -> bool:
        """Tell whether the workload has ended and was reaped, even if the machine doesn't know."""
        if not self.pid or self.asked.wait or self.asked.drain is not None:
            return False
        try:
            posix.waitid(posix.P_PID, self.pid, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
        except ChildProcessError:
            return True
        return False

    def _only_wait(self) -> int:
        """Wait for the workload to end by waitpid only."""
        self._complain("signals can't be waited for; from here on pyinit only reaps")
        while True:
            try:
                pid, changed = posix.waitpid(-1, 0)
            except ChildProcessError:
                return self.machine.exit_status
            if pid == self.pid:
                self.machine.ended(pid, changed, 0)
                if not self.asked.wait:
                    return self.machine.exit_status
