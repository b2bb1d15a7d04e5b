"""The stage as it stays where there is no PID namespace, whose end would be the end of everything.

It is the subreaper of all that the program leaves behind, and holds the read end of the go pipe.
When the program (or its init) has ended, or the launcher has, or closes the pipe, the keeper kills
whatever is left. It tells stops and the end on the notice pipe, in the words of pyinit, and ends
with the program's status.
"""

import _signal
import posix
import select

from pyinit import status_of_signal, status_of_wait
from spawner import descendants, descriptors, notice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.channel import Pipes


def keep(init: int, pipes: "Pipes", news: int) -> int:
    """Wait until the container has to end, and end all of it; return the exit status.

    From the descriptor `news` SIGCHLD can be read.
    """
    pipes.close("status_writer")
    descriptors.close_all_but((pipes.go_reader, pipes.notice_writer, news))
    poll = select.poll()
    poll.register(news, select.POLLIN)
    poll.register(pipes.go_reader, 0)  # a hang-up is told unasked
    code = status_of_signal(_signal.SIGKILL)
    try:
        while True:
            ended = _reap(init, pipes.notice_writer)
            if ended is not None:
                code = ended
                break
            ready = dict(poll.poll())
            if pipes.go_reader in ready:
                _tell(pipes.notice_writer, f"{notice.EXITED} {code} {int(_signal.SIGKILL)}")
                descendants.kill_tree(init)
                break
            posix.read(news, 65536)
    finally:
        descendants.kill(set())
    return code


def _reap(init: int, teller: int) -> int | None:
    """Take every change of state that there is; return the init's exit status if it ended."""
    while True:
        pid, changed = posix.waitpid(-1, posix.WNOHANG | posix.WUNTRACED)
        if pid == 0:
            return None
        if pid != init:
            continue
        if posix.WIFSTOPPED(changed):
            _tell(teller, f"{notice.STOPPED} {posix.WSTOPSIG(changed)}")
            continue
        code, signal = status_of_wait(changed)
        _tell(teller, f"{notice.EXITED} {code} {signal or 0}")
        return code


def _tell(teller: int, text: str) -> None:
    try:
        posix.write(teller, text.encode() + b"\n")
    except OSError:  # the launcher is gone, or doesn't read; neither may hold us
        return
