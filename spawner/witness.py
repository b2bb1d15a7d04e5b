"""A process in the program's process group, by whose stops the launcher learns of the group's.

The first process of a PID namespace isn't stopped by a signal that it has no handler for,
pid_namespaces(7). So at ^Z everything in its process group stops but it, nobody is told, and the
shell goes on waiting; and its read of the terminal from the background is begun anew for ever,
since the SIGTTIN that shall stop it never does. SIGSTOP from outside its namespace does stop it.

Where the program itself is that process, and there's a terminal, the launcher forks a witness into
the program's process group, outside of its namespaces: it is stopped with the group, and wait(2)
tells. It holds no descriptor, does nothing, and dies with the launcher. The program may signal its
group and so the witness: to stop it is to ask for what ^Z asks for, and without it all is as it
would be if there were none.
"""

import _signal
import posix

from spawner import descriptors
from spawner.errors import LAUNCHER, WITNESS
from spawner.machine import STOPS
from spawner.steps import attempt

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


def end(pid: int) -> bool:
    """Kill a witness, and reap it; tell whether it's gone."""
    posix.kill(pid, _signal.SIGKILL)  # our child, unreaped: the pid is its own
    posix.sched_yield()
    if posix.waitpid(pid, posix.WNOHANG)[0] == pid:
        return True
    from spawner import ends

    return ends.reap(pid) is not None or ends.is_gone(pid)


def is_asked_to_stop(pid: int, number: int) -> bool:
    """Tell whether `pid` would stop by the stop signal `number`, were it not the first process.

    It wouldn't if it ignores, blocks or handles it, as an editor or a shell does: then what
    happens is its own affair. (A signal that it waits for at the moment, sigwait(3), doesn't read
    as blocked.) See proc_pid_status(5).
    """
    from spawner.terminal import read

    try:
        lines = read(f"/proc/{pid}/status").splitlines()
    except OSError:  # no /proc: nothing says that it handles signals
        return True
    masks = (
        int(line[7:], 16) for line in lines if line[:7] in (b"SigBlk:", b"SigIgn:", b"SigCgt:")
    )
    return not any(mask >> (number - 1) & 1 for mask in masks)


def _be(kernel: "Kernel", launcher: int) -> "NoReturn":
    """Be the witness: stop and go on with the process group."""
    try:
        kernel.set_parent_death_signal(_signal.SIGKILL)
        if posix.getppid() == launcher:
            posix.closerange(0, 3)
            if not descriptors.close_all_but(()):
                posix.closerange(3, posix.sysconf("SC_OPEN_MAX"))
            for number in STOPS:
                if _signal.getsignal(number) != _signal.SIG_IGN:
                    _signal.signal(number, _signal.SIG_DFL)
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, STOPS)
            while True:
                _signal.pause()
    finally:
        posix._exit(0)
