"""The relay: the process that carries bytes between the caller's terminal and the program's.

1. The launcher forks it before it unshares anything. It stays in the launcher's process group,
   which may read the caller's terminal, has all signals blocked, and is the only one to hold the
   master side of the program's terminal.
2. It waits for READY, which the init tells it when only the exec is left, with both sides of a
   terminal that was opened in the container. What fails before that finds the caller's terminal as
   it was.
3. Then it puts the caller's terminal into raw mode, where its keys are for the program, and passes
   all on. It reads only in raw mode, and in the foreground: in the background, or when a shell or
   another program has set the terminal to something else, the keys are theirs. A SIGCONT, or a line
   that is typed once the job has the foreground again, has it go on.
4. The launcher restores the terminal before a stop and tells it TAKE, and GIVE when it goes on,
   for it to set raw mode again.
5. On END the container has ended: what it has written is passed on. A terminal that accepts nothing
   for PATIENCE seconds loses the rest. Then it restores the terminal, and the launcher
   makes sure.
6. The end of file is the launcher's death: the terminal is restored at once.

When the caller's terminal is gone, it closes the master side: so the kernel hangs up the program's.

Nothing is polled. The caller's terminal is opened once more for itself, so as not to block: the
caller's own descriptors share their flags with others. Its keys come by edges, epoll(7), since what
is typed for others stays readable.
"""

import _signal
import posix
import select
import termios

from spawner import linux
from spawner.host import sockets
from spawner.linux import SIGINFO_SIZE
from spawner.terminal.pty import END, GIVE, READY, TAKE, Keyboard, is_controlling

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn

    from spawner.linux import Kernel
    from spawner.terminal.pty import Streams

PATIENCE = 5.0
"""Seconds without any progress after which the last output is dropped."""

_NEWS = (_signal.SIGCONT, _signal.SIGWINCH)
"""Signals after which the terminal is looked at again."""

_MOST = 65536
"""The most bytes to read at a time, and to hold for each side."""

_LEAST = 128
"""The bytes that poll(2) promises room for where a write may block: less than n_tty's 256."""


def be(
    kernel: "Kernel", found: "Streams", master: int, slave: int, commands: "_socket.socket"
) -> "NoReturn":
    """Run as the relay; the sides of the terminal are -1 where they come by `commands`."""
    status = 1
    try:
        signals = kernel.signalfd(_NEWS)
        keyboard = -1 if found.keyboard is None else _open(found.keyboard)
        screen = -1 if found.screen is None else _open(found.screen)
        null = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
        for standard in (0, 1, 2):
            posix.dup2(null, standard)
        linux.close_all_but({master, slave, commands.fileno(), signals, keyboard, screen})
        _Relay(master, slave, commands, signals, keyboard, screen).run()
        status = 0
    finally:
        posix._exit(status)


def _open(descriptor: int) -> int:
    """Return a descriptor of a terminal for ourselves, without blocking if that is possible."""
    flags = posix.O_RDWR | posix.O_NOCTTY | posix.O_NONBLOCK | posix.O_CLOEXEC
    for path in (f"/proc/self/fd/{descriptor}", "/dev/tty"):
        try:
            found = posix.open(path, flags)
        except OSError:  # another user's, after su(1), or no /proc
            continue
        if path != "/dev/tty" or is_controlling(descriptor):
            return found
        posix.close(found)
    return posix.dup(descriptor)


class _Relay:
    """The state of a relay; -1 stands for a descriptor that doesn't exist, or is gone."""

    def __init__(
        self,
        master: int,
        slave: int,
        commands: "_socket.socket",
        signals: int,
        keyboard: int,
        screen: int,
    ) -> None:
        self._master = self._slave = -1
        self._told = commands
        self._commands = commands.fileno()
        self._signals = signals
        self._keys = keyboard
        self._screen = screen
        self._keyboard = Keyboard(keyboard) if keyboard >= 0 else None
        self._edges = select.epoll()
        if keyboard >= 0:
            self._edges.register(keyboard, select.EPOLLIN | select.EPOLLET)
        self._begun = False
        self._wanted = True
        self._ending = False
        self._empty = False
        self._output = b""
        self._typed = b""
        if master >= 0:
            self._hold(master, slave)

    def run(self) -> None:
        """Carry bytes until the end, and give the terminal its modes back."""
        try:
            self._carry()
        finally:
            self._restore()

    def _carry(self) -> None:
        while not (self._ending and self._empty and not self._output):
            ready = self._wait()
            if self._output and self._ending and not ready:
                return
            if self._commands in ready and not self._obey():
                return
            if self._signals in ready:
                posix.read(self._signals, 32 * SIGINFO_SIZE)
                self._look()
            if self._edges.fileno() in ready:
                self._edges.poll(0)
                self._claim()
            if self._master in ready or self._ending:
                self._read_output()
            if self._screen in ready:
                self._write_output()
            self._read_keys()
            self._write_keys()

    def _wait(self) -> set[int]:
        """Wait until there's something to do; return the descriptors that are ready."""
        poll = select.poll()
        for descriptor in (self._commands, self._signals, self._edges.fileno()):
            poll.register(descriptor, select.POLLIN)
        wanted = (select.POLLIN if self._begun and len(self._output) < _MOST else 0) | (
            select.POLLOUT if self._typed else 0
        )
        if self._master >= 0 and wanted and not self._empty:
            poll.register(self._master, wanted)
        if self._screen >= 0 and self._output:
            poll.register(self._screen, select.POLLOUT)
        limit = PATIENCE * 1000 if self._output else 0
        return {descriptor for descriptor, _ in poll.poll(limit if self._ending else None)}

    def _obey(self) -> bool:
        """Do what the launcher and the init say; return False at the launcher's death."""
        word, sides = sockets.receive(self._told, len(READY), 2)
        if sides:
            self._hold(*sides)
        if word == READY:
            self._begun = True
            self._look()
        elif word == GIVE:
            self._wanted = True
            self._look()
        elif word == TAKE:
            self._wanted = False
            self._restore()
        elif word == END:
            self._ending = self._begun = True
        return bool(word)

    def _restore(self) -> None:
        if self._keyboard is not None and self._keyboard.is_set:
            self._keyboard.restore()

    def _hold(self, master: int, slave: int) -> None:
        """Hold the program's terminal.

        The slave side, too: so the master isn't at its end while no process has it open.
        """
        self._master, self._slave = master, slave
        posix.set_blocking(master, False)

    def _look(self) -> None:
        """Look whose the terminal is, and how large."""
        self._claim()
        terminal = self._screen if self._screen >= 0 else self._keys
        if self._master < 0 or terminal < 0:
            return
        try:
            size = termios.tcgetwinsize(terminal)
            if size != termios.tcgetwinsize(self._master):
                termios.tcsetwinsize(self._master, size)
        except termios.error:  # it's gone
            return

    def _claim(self) -> None:
        """Put the terminal into raw mode, where its keys are the program's."""
        keyboard = self._keyboard
        if keyboard is not None and self._begun and self._wanted and keyboard.is_ours():
            keyboard.take()

    def _read_keys(self) -> None:
        """Read what is typed for the program."""
        poll = select.poll()
        while self._keys >= 0 and len(self._typed) < _MOST:
            poll.register(self._keys, select.POLLIN)
            ready = dict(poll.poll(0)).get(self._keys, 0)
            if ready & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                self._hang_up()
                return
            if not (ready and self._may_read()):
                return
            try:
                read = posix.read(self._keys, 4096)
            except OSError:  # somebody else was faster, or has the foreground by now
                return
            if not read:
                self._hang_up()
                return
            self._typed += read

    def _may_read(self) -> bool:
        keyboard = self._keyboard
        return (
            keyboard is not None
            and self._begun
            and self._wanted
            and keyboard.is_ours()
            and keyboard.is_raw()
        )

    def _write_keys(self) -> None:
        if self._typed and self._master >= 0:
            try:
                self._typed = self._typed[posix.write(self._master, self._typed) :]
            except BlockingIOError:
                return
            except OSError:  # hung up by somebody inside
                self._typed = b""

    def _read_output(self) -> None:
        """Read what the program has written."""
        if self._master < 0:
            self._empty = True
            return
        if not self._begun or len(self._output) >= _MOST or self._empty:
            return
        try:
            self._output += posix.read(self._master, _MOST)
        except BlockingIOError:
            self._empty = self._ending
        except OSError:  # hung up by somebody inside
            self._empty = True

    def _write_output(self) -> None:
        output = self._output if not posix.get_blocking(self._screen) else self._output[:_LEAST]
        try:
            self._output = self._output[posix.write(self._screen, output) :]
        except BlockingIOError:
            return
        except OSError:  # it's gone
            self._hang_up()

    def _hang_up(self) -> None:
        """Hang up the program's terminal, since the caller's is gone."""
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                posix.close(descriptor)
        if self._keys >= 0:
            self._edges.unregister(self._keys)
        self._master = self._slave = self._keys = self._screen = -1
        self._keyboard = None
        self._output = self._typed = b""
