"""The settings of pyinit, and the supervisor as a pure state machine of events and actions.

It makes no system call and has no clock and no descriptor: it is a function of state and event, so
that every order of events can be tested, even those that no machine shows in a year. `supervisor`
brings the events and carries out the actions.

Its life:

    RUNNING --the workload ends--> (exit)                   by default
                              `--> LEFT --nothing left--> (exit)   with --wait or --drain
    PAUSED  --SIGTERM, SIGINT--> (exit)                     with --pause

A deadline runs only after something was asked to end. Once it has passed, everything is killed, and
killed again after each death until nothing is left (outside a PID namespace of our own, orphans
become known only as their parents die).
"""

import _signal

from pyinit import (
    FOR_WANT_OF_TERMINAL,
    OURS,
    SI_KERNEL,
    SI_PASSED_ON,
    STOPS,
    status_of_wait,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from pyinit.twins.twin import Twin

    Action = tuple[str, int, str]

PROCESS = "process"
GROUP = "group"
ALL = "all"
"""The targets of signals: the workload's process, its process group, or every process."""

OWN_GROUP = "own group"
OWN_SESSION = "own session"
OUR_GROUP = "our group"
"""The workload's place: its own process group or session, or pyinit's process group."""

RUNNING = "running"
LEFT = "left"
PAUSED = "paused"

SEND = "send"
"""Action (SEND, signal, target)."""
CONTINUE = "continue"
"""Action (CONTINUE, SIGCONT, target): hand over the terminal if pyinit has it, then send."""
SUSPEND = "suspend"
"""Action (SUSPEND, signal, ASKED or ""): the workload was stopped; stop with it."""
ASKED = "asked"
"""The stop was sent through pyinit, so that a SIGCONT is expected the same way."""
YIELD = "yield"
"""Action (YIELD, SIGCONT, ""): take the terminal back, and continue pyinit's process group."""
EXIT = "exit"
"""Action (EXIT, status, "")."""

EVERYTHING = "everything"
"""The target of signals that end the namespace: all processes but pyinit."""
OURSELVES = "ourselves"
"""The target of the stop signal that a twin of dumb-init sends to itself."""

_ASKS_TO_END = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT)
# What a terminal sends to a whole process group, tty_ioctl(4).
_OF_TERMINAL = (_signal.SIGINT, _signal.SIGQUIT, _signal.SIGTSTP, _signal.SIGWINCH)


class Settings:
    """The settings of pyinit with the defaults filled in; `program` is the workload's argv.

    `place`, `parting` (the signal that the workload's group is sent after the workload's end) and
    `suspends` (stop signals stop us too) are set only by another init's command line; `twin` is
    that init.
    """

    def __init__(self, values: "Mapping[str, Any]", program: "Iterable[bytes]" = ()) -> None:
        self.program = list(program)
        self.target: str = ALL if values.get("all") else GROUP if values.get("group") else PROCESS
        self.rewrite: dict[int, int] = dict(values.get("rewrite", ()))
        self.parent_death: int | None = values.get("parent_death")
        self.warn_orphans: bool = values.get("warn_orphans", False)
        self.exit_codes: dict[int, int] = dict(values.get("exit_code", ()))
        self.wait: bool = values.get("wait", False)
        self.drain: float | None = values.get("drain")
        self.kill_after: float | None = values.get("kill_after")
        self.term_signal: int = values.get("term_signal", _signal.SIGTERM)
        self.pause: bool = values.get("pause", False)
        self.events: int | None = values.get("events")
        self.verbose: int = values.get("verbose", 0)
        self.place: str = values.get("place", OWN_GROUP)
        self.parting: int = values.get("parting", 0)
        self.suspends: bool = values.get("suspends", False)
        self.twin: Twin | None = values.get("twin")

    @property
    def tells_all(self) -> bool:
        """Whether everything that happens is to be reported."""
        return bool(self.verbose or self.warn_orphans or self.events is not None)


class Machine:
    """The state of one supervision; each method takes an event and returns the actions due.

    `pid` is the workload's (0 with --pause), `own_pid` ours, `own_group` whether the workload has
    a process group of its own. `deadline` is a moment of the caller's clock, in seconds, or None:
    the caller calls `expired` once it has come. `interrupted` says whether a SIGINT came.
    """

    def __init__(
        self, asked: Settings, *, own_pid: int, pid: int = 0, own_group: bool = True
    ) -> None:
        self.asked = asked
        self.own_pid = own_pid
        self.pid = pid
        self.own_group = own_group
        self.phase = PAUSED if asked.pause else RUNNING
        self.deadline: float | None = None
        self.killing = False
        self.stopped = False
        self.interrupted = False
        self.exit_status = OURS  # until the workload's is known: a lost one is not a success
        self._stops_forwarded = 0
        self._continued_by_us = False

    def signal(self, number: int, code: int, now: float, *, lent: bool = False) -> "list[Action]":
        """Handle a signal with its si_code; return where to send it.

        `lent` says whether we have passed the terminal's foreground on to the workload.
        """
        if number == _signal.SIGCHLD:
            return []  # a child's news, which is ours
        if self.phase == PAUSED:
            if number in (_signal.SIGTERM, _signal.SIGINT):
                return [(EXIT, 0, "")]
            return []
        if number == _signal.SIGINT:
            self.interrupted = True
        actions = self._forward(number, code, now, lent)
        if self.asked.suspends and number in STOPS:
            actions.append((SEND, _signal.SIGSTOP, OURSELVES))
        return actions

    def _forward(self, number: int, code: int, now: float, lent: bool) -> "list[Action]":
        """Return where to send a signal that came for the workload."""
        target = self.asked.target
        if code in (SI_KERNEL, SI_PASSED_ON):
            if code == SI_KERNEL and not self.own_group and number in _OF_TERMINAL:
                return []  # the terminal sent it to the whole group: the workload has it already
            if lent and number in FOR_WANT_OF_TERMINAL:
                return [(YIELD, _signal.SIGCONT, "")]  # somebody else of our job needs it now
            # What a group in the foreground gets goes to a group; where the workload's is that, the
            # hang-up comes for us alone, the leader of the session.
            typed = number in _OF_TERMINAL or (number == _signal.SIGHUP and not lent)
            if typed and self.own_group and target == PROCESS:
                target = GROUP
        sent = self.asked.rewrite.get(number)
        if sent is None:
            sent = self.asked.term_signal if number == _signal.SIGTERM else number
        if not sent:
            return []
        asks_to_end = number in _ASKS_TO_END or sent in _ASKS_TO_END
        if asks_to_end and self.asked.kill_after is not None:
            self._end_by(now + self.asked.kill_after)
        if self.phase == LEFT:
            return [(SEND, sent, EVERYTHING)]
        if sent in STOPS:
            self._stops_forwarded += 1
        if sent == _signal.SIGCONT:
            # A stop at the terminal stopped the whole group, so all of it continues.
            stopped = self.stopped or self._stops_forwarded
            whole = stopped and self.own_group and target == PROCESS
            self.stopped = False
            self._continued_by_us = bool(stopped)
            self._stops_forwarded = 0
            return [(CONTINUE, sent, GROUP if whole else target)]
        return [(SEND, sent, target)]

    def ended(self, pid: int, wait_status: int, now: float) -> "list[Action]":
        """Note the death of the workload or of an adopted child, with its wait status."""
        if self.phase == RUNNING and pid == self.pid:
            code, _ = status_of_wait(wait_status)
            self.exit_status = self.asked.exit_codes.get(code, code)
            if self.asked.drain is None and not self.asked.wait:
                actions: list[Action] = [(EXIT, self.exit_status, "")]
                if self.asked.parting and self.own_group:
                    actions.insert(0, (SEND, self.asked.parting, GROUP))
                return actions
            self.phase = LEFT
            if self.asked.drain is not None and not self.killing:
                self._end_by(now + self.asked.drain)
                return [(SEND, self.asked.term_signal, EVERYTHING)]
        if self.killing and self.own_pid != 1:
            # PID 1 killed all in one call, kill(2); elsewhere the dead have left us new orphans.
            return [(SEND, _signal.SIGKILL, EVERYTHING)]
        return []

    def childless(self) -> "list[Action]":
        """Note that no child is left, even if the workload's death was missed."""
        if self.phase == PAUSED:
            return []
        return [(EXIT, self.exit_status, "")]

    def stopped_by(self, pid: int, signal: int) -> "list[Action]":
        """Note that a child was stopped by `signal`."""
        if self.phase != RUNNING or pid != self.pid or signal not in STOPS:
            return []
        if self.asked.suspends:
            return []  # the sender of the stop has stopped us with it
        self.stopped = True
        self._continued_by_us = False
        if self._stops_forwarded:
            self._stops_forwarded = 0
            return [(SUSPEND, signal, ASKED)]
        return [(SUSPEND, signal, "")]

    def continued(self, pid: int) -> "list[Action]":
        """Note that a child was continued.

        Others have continued it behind our back, unless a SIGCONT went through us: a stop that was
        forwarded since then has overtaken the news of that.
        """
        if pid == self.pid:
            self.stopped = False
            if not self._continued_by_us:
                self._stops_forwarded = 0
            self._continued_by_us = False
        return []

    def expired(self) -> "list[Action]":
        """Note that the deadline has passed: whatever is left is killed."""
        self.deadline = None
        self.killing = True
        return [(SEND, _signal.SIGKILL, EVERYTHING)]

    def _end_by(self, moment: float) -> None:
        """Set the deadline to `moment`, unless an earlier one is set."""
        if not self.killing and (self.deadline is None or moment < self.deadline):
            self.deadline = moment
