"""The witness: a process in the program's process group that reports the signals sent to it.

The first process of a PID namespace isn't stopped by a signal that it has no handler for,
pid_namespaces(7). So at ^Z everything in its process group stops but it, nobody is told, and the
shell goes on waiting; and its read of the terminal from the background is begun anew for ever,
since the SIGTTIN that shall stop it never does. SIGSTOP from outside its namespace does stop it.

Where the program itself is that process, and there's a terminal, the launcher forks a witness into
the program's process group, outside of its namespaces: it is stopped with the group, and wait(2)
tells. Nor is such a process ended by what ends any other, and a ^C at the terminal, whose
foreground its group has, or the terminal's closing would come to nobody: so the witness sends the
launcher the same signal. It holds no descriptor, does nothing else, and dies with the launcher. The
program may signal its group and so the witness: to stop it is to ask for what ^Z asks for, what
isn't the terminal's isn't sent on, and without it all is as it would be if there were none.
"""

import _signal
import posix
import select

from pyinit import SI_KERNEL, STOPS
from spawner import linux
from spawner.errors import LAUNCHER, WITNESS
from spawner.machine import ENDS, LIMIT
from spawner.steps import attempt

_PART = _signal.SIGTERM
"""The signal that tells a witness to end after reporting what it has got."""

_OWN = ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd")
"""The fields of status that say how a process treats signals, proc_pid_status(5).

One that does nothing is never pending: this one has woken the program, and it hasn't run yet.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from spawner.linux import Kernel


def begin(kernel: "Kernel") -> int:
    """Fork a witness and return its pid; the launcher puts it into the program's process group.

    Raises SetupError. Signals have to be blocked.
    """
    launcher = posix.getpid()
    pid = attempt(LAUNCHER, "fork the witness of terminal stops", lambda: kernel.fork(WITNESS))
    if pid == 0:
        _be(kernel, launcher)
    return pid


def part(pid: int) -> None:
    """Have a witness report what it has got, and end.

    On a busy host that may take seconds, and nobody is left who could stop it.
    """
    for number in (_signal.SIGCONT, _PART):
        posix.kill(pid, number)
    descriptor = posix.pidfd_open(pid)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(LIMIT * 1000)
    posix.close(descriptor)


def end(pid: int) -> bool:
    """Kill and reap a witness; return whether it is gone."""
    posix.kill(pid, _signal.SIGKILL)  # our child, unreaped: the pid is its own
    posix.sched_yield()
    if posix.waitpid(pid, posix.WNOHANG)[0] == pid:
        return True
    from spawner.host import ends

    return ends.reap(pid) is not None or ends.is_gone(pid)


def is_spared(pid: int, number: int) -> bool:
    """Tell whether signal `number` does nothing to `pid` only because that is PID 1.

    Any other would be stopped or ended by it, unless it ignores, blocks or handles it, as an editor
    or a shell does, or waits for it, sigwait(3): then what happens is its own affair.
    """
    # Twice: a program that the signal has woken from its wait may go on between the two reads.
    return _shows_spared(pid, number) and _shows_spared(pid, number)


def _shows_spared(pid: int, number: int) -> bool:
    from spawner.host import proc, waits

    try:
        fields = proc.fields(proc.text(f"/proc/{pid}/status"))
    except OSError:  # no /proc: nothing says that it handles signals
        return True
    ended = fields.get("State", "")[:1] in ("Z", "X")
    own = any(int(fields.get(name, "0"), 16) >> (number - 1) & 1 for name in _OWN)
    return not (ended or own or waits.awaits_signals(pid))


def _be(kernel: "Kernel", launcher: int) -> "NoReturn":
    """Run as the witness: stop and continue together with the process group."""
    try:
        kernel.set_parent_death_signal(_signal.SIGKILL)
        if posix.getppid() == launcher:
            posix.closerange(0, 3)
            if not linux.close_all_but(()):
                posix.closerange(3, posix.sysconf("SC_OPEN_MAX"))
            for number in STOPS:
                if _signal.getsignal(number) != _signal.SIG_IGN:
                    _signal.signal(number, _signal.SIG_DFL)
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, STOPS)
            while True:
                heard = _signal.sigwaitinfo((*ENDS, _PART))  # the lowest number first
                if heard.si_signo == _PART and heard.si_pid == launcher:
                    break
                if heard.si_code == SI_KERNEL and posix.getppid() == launcher:
                    posix.kill(launcher, heard.si_signo)
    finally:
        posix._exit(0)
