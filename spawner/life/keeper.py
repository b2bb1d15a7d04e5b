"""The keeper: a stage that stays to end everything, where no new PID namespace would.

It is the subreaper of all that the program leaves behind, and holds the read end of the go pipe.
When the program (or its init) has ended, or the launcher has, or closes the pipe, the keeper kills
whatever is left. It tells stops and the end on the notice pipe, in the words of pyinit, and ends
with the program's status.
"""

import _signal
import posix
import select

from pyinit import status_of_signal, status_of_wait
from spawner import channel, linux
from spawner.life import descendants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.channel import Pipes

_DYING = 1.0
"""Seconds that killed processes have to end before they are left to the launcher."""


def keep(init: int, pipes: "Pipes", news: int) -> int:
    """Wait until the container ends or has to, then kill what is left; return the exit status.

    From the descriptor `news` SIGCHLD can be read. What fails is told to the launcher, which has to
    end all of it then.
    """
    pipes.close("status_writer")
    code = status_of_signal(_signal.SIGKILL)
    try:
        linux.close_all_but({pipes.go_reader, pipes.notice_writer, news})
        code = _watch(init, pipes, news)
    except Exception as error:
        _tell(pipes.notice_writer, f"{channel.KEEPER_FAILED} {type(error).__name__}: {error}")
        raise
    finally:
        # The launcher, which becomes their parent, awaits those that don't end at once.
        descendants.kill(set(), _DYING)
    return code


def _watch(init: int, pipes: "Pipes", news: int) -> int:
    """Wait until the init has ended, or has to; return its exit status."""
    poll = select.poll()
    poll.register(news, select.POLLIN)
    poll.register(pipes.go_reader, 0)  # a hang-up is told unasked
    while True:
        ended = _reap(init, pipes.notice_writer)
        if ended is not None:
            return ended
        if pipes.go_reader in dict(poll.poll()):
            code = status_of_signal(_signal.SIGKILL)
            _tell(pipes.notice_writer, f"{channel.EXITED} {code} {int(_signal.SIGKILL)}")
            descendants.kill_tree(init, seconds=_DYING)
            return code
        posix.read(news, 65536)


def _reap(init: int, teller: int) -> int | None:
    """Reap every child that has ended; return the init's exit status if the init is among them."""
    while True:
        pid, changed = posix.waitpid(-1, posix.WNOHANG | posix.WUNTRACED)
        if pid == 0:
            return None
        if pid != init:
            continue
        if posix.WIFSTOPPED(changed):
            _tell(teller, f"{channel.STOPPED} {posix.WSTOPSIG(changed)}")
            continue
        code, signal = status_of_wait(changed)
        _tell(teller, f"{channel.EXITED} {code} {signal or 0}")
        return code


def _tell(teller: int, text: str) -> None:
    try:
        posix.write(teller, text.encode("utf-8", "surrogateescape") + b"\n")
    except OSError:  # the launcher is gone, or doesn't read; neither may hold us
        return
