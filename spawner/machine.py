"""The launcher's waiting side as a pure state machine of events and actions.

No system call and no clock in it, so that every order of events can be tested. `wait.py` carries.

* Signals that come before the exec are held, and sent after it in their order: none is lost to a
  process that isn't the program yet, and each comes once. What the terminal sent to our process
  group goes to the program's.
* SIGTERM becomes the stop signal, and starts the stop time-out; when that is over, everything is
  killed. What would have ended the program, were it not PID 1, starts it too.
* The program gets the terminal's foreground, which our process group has, from the start where
  there's nobody else in that, and otherwise when it asks: it is stopped for want of it. Who else of
  our group asks has it back.
* Where the program holds the terminal's foreground and is stopped (^Z), the launcher takes the
  terminal back and stops its own process group, so that the shell above has its prompt again.
  Continued (`fg`), it hands the terminal over and continues the program.
"""

import _signal

from pyinit import FOR_WANT_OF_TERMINAL, STOPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    Action = tuple[str, int]

SEND = "send"
"""Action (SEND, signal): send the signal to the init."""

SEND_TYPED = "send typed"
"""Action (SEND_TYPED, signal): pass the terminal's signal on to the program's process group."""

CONTINUE = "continue"
"""Action (CONTINUE, SIGCONT): continue the program and its process group."""

KILL = "kill"
"""Action (KILL, SIGKILL): kill everything in the container."""

TAKE = "take"
"""Action (TAKE, 0): make the launcher's process group the terminal's foreground."""

GIVE = "give"
"""Action (GIVE, 0): make the program's process group the terminal's foreground."""

CONTINUE_GROUP = "continue group"
"""Action (CONTINUE_GROUP, SIGCONT): continue the launcher's process group."""

SUSPEND_GROUP = "suspend group"
"""Action (SUSPEND_GROUP, signal): stop the launcher's process group by default action."""

SUSPEND = "suspend"
"""Action (SUSPEND, signal): stop the launcher alone."""

LIMIT = 10.0
"""Seconds that killed processes have to end before they are left and reported."""

ENDS = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT)
"""Signals by which a terminal ends a program, when keys are typed or it closes."""


class Machine:
    """The state of one wait; each method takes one event and returns the actions that are due.

    `stop_timeout` is in seconds, None for no end. `terminal` says whether there is one,
    `foreground` whether the program's process group has its foreground, and `wants` whether it
    gets it whenever ours has it. `deadline` is a moment of the caller's clock, or None: the caller
    calls `expired` once it has come. `interrupted` says whether a SIGINT came.
    """

    def __init__(
        self,
        *,
        stop_signal: int,
        stop_timeout: float | None,
        terminal: bool = False,
        foreground: bool = False,
        wants: bool = False,
    ) -> None:
        self.stop_signal = stop_signal
        self.stop_timeout = stop_timeout
        self.terminal = terminal
        self.foreground = foreground
        self.wants = wants or foreground
        self.interrupted = False
        self.deadline: float | None = None
        self.killing = False
        self.stopped = False
        self._held: list[tuple[int, bool]] | None = []
        self._stops_forwarded = 0
        self._asked = False

    def signal(
        self,
        number: int,
        now: float,
        *,
        in_foreground: bool = False,
        typed: bool = False,
        lent: bool = False,
    ) -> "list[Action]":
        """Handle a signal from outside the container.

        `in_foreground` says whether our group has the terminal's foreground, `lent` whether the
        program has it from us, and `typed` whether the signal is the kernel's.
        """
        if number == _signal.SIGINT:
            self.interrupted = True
        if number == _signal.SIGTERM:
            number = self.stop_signal
            self.end_by(now)
        if self._held is not None:
            self._held.append((number, typed))
            return []
        if typed and lent and self.foreground and number in FOR_WANT_OF_TERMINAL:
            return self._yield()
        return self._forward(number, in_foreground, typed)

    def end_by(self, now: float) -> None:
        """Start the stop time-out, unless it's running already."""
        if self.stop_timeout is not None and self.deadline is None and not self.killing:
            self.deadline = now + self.stop_timeout

    def overheard(self, number: int) -> None:
        """Handle a signal that the program got without the launcher."""
        self.interrupted = self.interrupted or number == _signal.SIGINT

    def executed(self, *, in_foreground: bool = False) -> "list[Action]":
        """Note that the exec has happened; held signals are sent now."""
        held, self._held = self._held or [], None
        return [
            action
            for number, typed in held
            for action in self._forward(number, in_foreground, typed)
        ]

    def stopped_by(self, number: int, *, in_foreground: bool) -> "list[Action]":
        """Note that the program was stopped by `number`."""
        if number not in STOPS:
            return []  # SIGSTOP: whoever sent it knows how to continue
        self.stopped = True
        # If we forwarded the stop, then whoever sent it to us will send the SIGCONT too.
        self._asked = self._stops_forwarded > 0
        self._stops_forwarded = 0
        if not self.terminal:
            return []
        if number in FOR_WANT_OF_TERMINAL:
            self.wants = self.wants or in_foreground or not self._asked
            if in_foreground:
                return self._resume(in_foreground)
        actions: list[Action] = []
        if self.foreground:
            self.foreground = False
            actions.append((TAKE, 0))
        actions.append((SUSPEND if self._asked else SUSPEND_GROUP, number))
        return actions

    def resumed(self, *, continued: bool, in_foreground: bool) -> "list[Action]":
        """Note that the launcher was continued after a stop.

        It was no suspension at all, not `continued`, where the kernel discarded the stop, because
        no shell could ever continue us (an orphaned process group, credentials(7)).
        """
        if continued or not self._asked:
            return self._resume(in_foreground)
        return self._regain() if in_foreground else []

    def expired(self) -> "list[Action]":
        """Note that the stop time-out is over."""
        return self._kill()

    def lost(self) -> "list[Action]":
        """Note that a process has ended whose end the container must not outlive."""
        return self._kill()

    def _forward(self, number: int, in_foreground: bool, typed: bool) -> "list[Action]":
        if number == _signal.SIGKILL:  # as a stop signal
            return self._kill()
        if number == _signal.SIGCONT:
            actions = self._regain() if in_foreground else []
            # News of a stop may be on its way.
            stopped = self.stopped or (self.terminal and self._stops_forwarded)
            actions.append((CONTINUE if stopped else SEND, number))
            self.stopped = False
            self._stops_forwarded = 0
            return actions
        if number in STOPS:
            self._stops_forwarded += 1
        return [(SEND_TYPED if typed else SEND, number)]

    def _yield(self) -> "list[Action]":
        """Take the terminal back from the program, for another process of the launcher's group."""
        self.foreground = self.wants = False
        return [(TAKE, 0), (CONTINUE_GROUP, _signal.SIGCONT)]

    def _regain(self) -> "list[Action]":
        """Pass the launcher's foreground on to the program that waits for it.

        It may have had it: when somebody stops us, the shell takes it, and `fg` gives it to us.
        """
        if not (self.terminal and self.wants):
            return []
        self.foreground = True
        return [(GIVE, 0)]

    def _resume(self, in_foreground: bool) -> "list[Action]":
        actions = self._regain() if in_foreground else []
        self.stopped = False
        actions.append((CONTINUE, _signal.SIGCONT))
        return actions

    def _kill(self) -> "list[Action]":
        self.deadline = None
        self.killing = True
        return [(KILL, _signal.SIGKILL)]
