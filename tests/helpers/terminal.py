"""A terminal, and a small job-control shell on it that tells exactly what it sees.

The terminal is a pseudo-terminal, pty(7): the test types on the master side and reads what comes
out there. The shell is the session leader, as the user's is; the test drives it by lines of JSON
on a socket of its own, so that what is typed goes to the jobs alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import termios
from collections.abc import Sequence
from typing import Any, Self

from helpers import children
from helpers.programs import Word, prepared, python
from helpers.running import Lines, Running

INTERRUPT, QUIT, SUSPEND, END = b"\x03", b"\x1c", b"\x1a", b"\x04"
"""What the keys ^C, ^\\, ^Z and ^D send."""

TIOCSPGRP = 0x5410  # asm-generic/ioctls.h

PROMPT = b"PROMPT>"

INTERACTIVE: list[Word] = [
    "/usr/bin/env", f"PS1={PROMPT.decode()}", "HISTFILE=",
    "bash", "--norc", "--noprofile", "--noediting", "-i",
]  # fmt: skip
"""An interactive shell with PROMPT as its prompt."""

LEAD = """
import fcntl, termios
if os.getsid(0) != os.getpid():
    os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
"""
"""For `prepared`: lead a session whose controlling terminal is standard input."""

_SHELL = """
import json, os, signal, socket, sys
channel = socket.socket(fileno=int(sys.argv[1])).makefile("rw")
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
    signal.signal(number, signal.SIG_IGN)
terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
os.tcsetpgrp(terminal, os.getpgrp())

def run(argv, foreground, own_group):
    pid = os.fork()
    if pid == 0:
        if own_group:
            os.setpgid(0, 0)
        if foreground and own_group:
            os.tcsetpgrp(terminal, os.getpgrp())
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_DFL)
        os.dup2(1, 2)
        os.execvp(argv[0], argv)
    if own_group:
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass
    return {"pid": pid}

def wait(pid):
    _, status = os.waitpid(pid, os.WUNTRACED)
    seen = {"foreground": os.tcgetpgrp(terminal)}
    os.tcsetpgrp(terminal, os.getpgrp())
    if os.WIFSTOPPED(status):
        return {"stopped": os.WSTOPSIG(status), **seen}
    return {"status": os.waitstatus_to_exitcode(status), **seen}

def resume(pid, foreground):
    if foreground:
        os.tcsetpgrp(terminal, pid)
    os.killpg(pid, signal.SIGCONT)
    return {}

print(json.dumps({}), file=channel, flush=True)
for line in channel:
    verb, *rest = json.loads(line)
    print(json.dumps({"run": run, "wait": wait, "resume": resume}[verb](*rest)), file=channel,
          flush=True)
"""


class Terminal:
    """A pseudo-terminal: `type` on it, read its `screen`, look at its `foreground` group.

    It doesn't echo and changes no line ends, so that what comes out is what was written.
    """

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        modes = termios.tcgetattr(self.slave)
        modes[1] &= ~termios.OPOST
        modes[3] &= ~(termios.ECHO | termios.ECHOCTL)
        modes[3] |= termios.NOFLSH  # else ^C drops what was written a moment before, termios(3)
        termios.tcsetattr(self.slave, termios.TCSANOW, modes)
        self.screen = Lines(self.master)
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.slave)
        self.hang_up()

    def fill(self, spared: int) -> None:
        """Write to the terminal what nobody reads, till there's room for about `spared` bytes.

        It changes line ends from now on, as terminals do: then there is room for most of a line,
        which poll(2) calls writable, where there's none for the end of it.
        """
        modes = termios.tcgetattr(self.slave)
        modes[1] |= termios.OPOST
        termios.tcsetattr(self.slave, termios.TCSANOW, modes)
        with Terminal() as measure:
            room = measure.write_unread(1 << 20)
        self.write_unread(room - spared)

    def write_unread(self, most: int) -> int:
        """Write up to `most` bytes, as many as there's room for; return how many that were."""
        os.set_blocking(self.slave, False)
        written = 0
        try:
            while written < most:
                written += os.write(self.slave, b"." * 64)
        except BlockingIOError:
            return written
        finally:
            os.set_blocking(self.slave, True)
        return written

    def hang_up(self) -> None:
        """Close the master side, as a closed window does."""
        if self._open:
            os.close(self.master)
            self._open = False

    def type(self, text: bytes) -> None:
        """Type on the keyboard: b"\\x03" is ^C."""
        os.write(self.master, text)

    def until(self, words: bytes) -> bytes:
        """Read what is written on it, up to and with the `words` at least; return it."""
        text = bytearray()
        while words not in text:
            assert children.wait_readable(self.master)
            text += os.read(self.master, 4096)
        return bytes(text)

    def echoes(self, word: str) -> None:
        """Type a line, and check that what reads the terminal writes it there, as cat(1) does."""
        self.type(word.encode() + b"\n")
        assert self.screen.next() == word

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size, which the kernel tells the foreground group."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def foreground(self) -> int:
        """The foreground process group, as a host pid."""
        return os.tcgetpgrp(self.master)

    def lead(self, argv: Sequence[Word], **how: Any) -> Running:
        """Start `argv` as the leader of a session on this terminal."""
        streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), self.slave) | how
        return Running(prepared(LEAD, argv), **streams)


class Shell:
    """A shell with job control on a terminal: `run` jobs, `wait` for their change of state."""

    def __init__(self, terminal: Terminal) -> None:
        ours, theirs = socket.socketpair()
        self._channel = ours.makefile("rw")
        ours.close()
        self._running = terminal.lead(
            python(_SHELL, str(theirs.fileno())), pass_fds=[theirs.fileno()], stderr=None
        )
        theirs.close()
        self._hear()
        self.pid = self._running.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._running.__exit__(*error)
        self._channel.close()

    def _hear(self) -> dict[str, int]:
        line = self._channel.readline()
        assert line, self._running.errors()
        answer: dict[str, int] = json.loads(line)
        return answer

    def _ask(self, *words: object) -> dict[str, int]:
        self._channel.write(json.dumps(words) + "\n")
        self._channel.flush()
        return self._hear()

    def run(self, argv: Sequence[Word], *, foreground: bool = True, own_group: bool = True) -> int:
        """Start a job; return its pid. Without `own_group` it's as a script runs its commands."""
        return self._ask("run", list(argv), foreground, own_group)["pid"]

    def wait(self, pid: int) -> dict[str, int]:
        """Wait until a job ends or stops: its status or stop signal, and who had the foreground.

        Then the shell takes the foreground, as all of them do.
        """
        return self._ask("wait", pid)

    def resume(self, pid: int, *, foreground: bool = True) -> None:
        """Continue a stopped job, as fg and bg do."""
        self._ask("resume", pid, foreground)


def ready(terminal: Terminal) -> int:
    """Wait for a reporter on the screen; return its pid, as it sees itself."""
    tag, word, pid = terminal.screen.next().split()
    assert (tag, word) == ("reporter", "ready")
    return int(pid)


def hang_up_ends(terminal: Terminal, shell: Shell, front: Sequence[Word]) -> None:
    """Check that the end of the terminal is that of a program behind `front`, and of all of it."""
    reader, writer = os.pipe()
    script = f'exec "$@" 9>/proc/{os.getpid()}/fd/{writer}'
    program = ["/bin/sh", "-c", "echo on >&9; exec sleep 1000"]
    shell.run(["/bin/sh", "-c", script, "sh", *front, *program])
    lines = Lines(reader)
    assert lines.next() == "on"
    os.close(writer)
    terminal.hang_up()
    assert lines.rest() == b""
    os.close(reader)


def leaves_the_terminal_to_another(
    terminal: Terminal, shell: Shell, job: int, program: int
) -> None:
    """Check that a stopped job whose program dies takes the foreground from no other job."""
    other = shell.run(["/bin/cat"])
    terminal.echoes("line")
    os.kill(program, signal.SIGKILL)
    os.kill(job, signal.SIGCONT)
    assert shell.wait(job) == {"status": 137, "foreground": other}
    os.kill(other, signal.SIGKILL)
    assert shell.wait(other)["status"] == -signal.SIGKILL


def next_signal(terminal: Terminal) -> int:
    """Return the number of the next signal that a reporter got."""
    return int(terminal.screen.next().split()[1])


def init_below(job: int) -> int:
    """Return the host pid of pyinit, below the unshare that is the job."""
    (pid,) = children.of(job)
    return pid
