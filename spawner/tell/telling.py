"""Explain a launch as it happens: each process tells on stderr what it is about to do.

The words are those of `explain`. They are said by the process that acts, right before it does, so
that they come in the order of the acts, also across processes, and before anything that the program
writes. Only `pidfd_open` is announced by the process that forks: the launcher does it while the
init goes on.
"""

from __future__ import annotations

import _signal
import fcntl
from typing import TYPE_CHECKING

from pyinit import outlet
from spawner.errors import LAUNCHER, RELAY, SCOUT, STAGE, WITNESS, SyscallError
from spawner.linux import Kernel
from spawner.steps import SELF, Step
from spawner.tell import explain

if TYPE_CHECKING:
    from spawner.spec import Spec
    from spawner.steps import Steps


class Telling(Kernel):
    """A kernel object that explains each call on stderr before making it."""

    __slots__ = ("_in_step", "_introduction", "_joins", "_keeping", "_out", "_unheard", "_where")

    speaks = True

    def __init__(self, spec: Spec) -> None:
        self._introduction = explain.introduction(spec)
        self._keeping = "pid" not in spec.namespaces.wanted
        self._joins = bool(spec.enters)
        self._where = LAUNCHER
        self._in_step = self._unheard = False
        # By its own descriptor alone: each process of a launch closes others, and has other files.
        self._out = outlet.Outlet(2, self._lost, patience=outlet.PATIENCE, reopens=False)

    def tells(self, planned: Steps) -> Steps:
        """Return steps that explain themselves on stderr before they are taken."""
        return tuple(map(self._telling, planned))

    def _telling(self, step: Step) -> Step:
        def act(kernel: Kernel, process: str) -> None:
            self._say(explain.tell(step, None if process == SELF else process))
            self._in_step = True
            try:
                step.act(kernel, process)
            except SyscallError:
                self._keeping = self._keeping or step.optional == "pid"
                raise
            finally:
                self._in_step = False

        return Step(
            step.where,
            step.what,
            step.how,
            act,
            topic=step.topic,
            needs=step.needs,
            makes=step.makes,
            last_act=step.last_act,
            optional=step.optional,
        )

    def become_subreaper(self) -> None:
        """Explain the call, then make it."""
        if self._where == LAUNCHER:
            act = explain.BECOME_KEEPERS_SUBREAPER if self._keeping else explain.BECOME_SUBREAPER
            self._say(explain.tell(act))
        else:
            self._say(explain.tell(explain.KEEP))
        super().become_subreaper()

    def make_process_group(self) -> None:
        """Explain the call, then make it."""
        if not self._in_step:
            self._say(explain.tell(explain.MAKE_STAGE_GROUP))
        super().make_process_group()

    def fork(self, child: str) -> int:
        """Explain the call, then make it."""
        if child == STAGE:
            self._say(explain.tell(explain.FORK_KEEPER if self._keeping else explain.FORK_STAGE))
        elif child == WITNESS:
            self._say(explain.tell(explain.FORK_WITNESS))
        elif child == RELAY:
            self._say(explain.tell(explain.FORK_RELAY))
        elif child == SCOUT:
            self._say(explain.tell(explain.FORK_SCOUT))
        else:
            act = explain.FORK_AMONG_OTHERS if self._keeping else explain.FORK_INIT
            self._say(explain.tell(act._replace(where=self._where)))
            self._say(explain.tell(explain.OPEN_PIDFD))
        pid = super().fork(child)
        if pid == 0:
            self._where = child
        return pid

    def open(self, path: str, flags: int) -> int:
        """Explain the opening of a namespace that is joined, then open the file."""
        if self._joins and not self._in_step:
            from spawner.joining import hold

            for look in hold.look(self._where, path, flags):
                self._say(explain.tell(explain.act_of(look)))
        return super().open(path, flags)

    def open_source(self, path: str) -> int:
        """Tell of what is opened to be bound, then open it."""
        if not self._in_step:
            self._say(explain.tell(explain.OPEN_SOURCE._replace(how=f'open("{path}", O_PATH)')))
        return super().open_source(path)

    def mkdir(self, path: str) -> None:
        """Tell of a control group that is made, then make the directory."""
        if not self._in_step:
            self._say(explain.tell(explain.MAKE_GROUP._replace(how=f'mkdir("{path}", 0755)')))
        super().mkdir(path)

    def openpty(self) -> tuple[int, int]:
        """Explain the call, then make it."""
        if not self._in_step:
            self._say(explain.tell(explain.OPEN_PTY))
        return super().openpty()

    def fork_aside(self, purpose: str = "") -> int:
        """Explain the call, then fork a child that explains nothing itself."""
        if not self._in_step:
            self._say(explain.tell(explain.FORKS[purpose]))
        pid = super().fork_aside(purpose)
        if pid == 0:
            self._unheard = True
        return pid

    def replace_stream(self, stream: int, descriptor: int) -> None:
        """Replace a standard stream, and go on with the explanations where they went before."""
        if stream == self._out.descriptor:
            above = fcntl.fcntl(stream, fcntl.F_DUPFD_CLOEXEC, 3)
            self._out = outlet.Outlet(above, self._lost, patience=outlet.PATIENCE, reopens=False)
        super().replace_stream(stream, descriptor)

    @staticmethod
    def _lost(_: int) -> bytes:
        """Return nothing, as what tells of dropped text: after the first, nothing more is said."""
        return b""

    def _say(self, text: str) -> None:
        """Write to stderr, unless an earlier line couldn't be written.

        A broken pipe doesn't end us, even where SIGPIPE isn't blocked any more.
        """
        if self._unheard:
            return
        text, self._introduction = self._introduction + text, ""
        mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGPIPE})
        try:
            line = text.encode("utf-8", "backslashreplace")
            self._out.write(line, waits=True)
            self._unheard = self._out.is_behind
        finally:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
