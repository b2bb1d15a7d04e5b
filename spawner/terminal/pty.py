"""The program's own terminal in place of the caller's, and the caller's meanwhile.

Only the descriptors that are the caller's terminal are replaced. There are two cases:

1. Standard input is a terminal, and standard output is not a pipe: the keyboard is for the program.
   It gets a pseudo-terminal, pty(7), as its controlling terminal, with the modes and the size of
   the caller's, which is put into raw mode: ^C, ^Z and ^D are mere bytes there, and keys of the
   program's terminal.
2. Otherwise the keyboard may be for others, such as the pager of a pipeline. The caller's terminal
   stays as it is, and the program has no controlling terminal, so that a question for a password
   fails at once. Streams that show something get a pseudo-terminal whose output is passed on, and
   a standard input that is a terminal becomes /dev/null.
"""

import posix
import termios

from pyinit.jobcontrol import is_pipe
from spawner import linux
from spawner.errors import INIT
from spawner.spec import Frozen
from spawner.steps import Step
from spawner.terminal.job import Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Any, TypeAlias

    from spawner.linux import Kernel

    Modes: TypeAlias = list[Any]
    """What tcgetattr(3) returns."""

READY, GIVE, TAKE, END = b"r", b"g", b"t", b"e"
"""What the relay is told: the exec is next; use the keyboard; leave it alone; come to an end."""

_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6
"""The places of the fields in Modes, termios(3)."""

_MASTER = posix.makedev(5, 2)
"""The device number of the master side of a pseudo-terminal, pts(4)."""


class Streams(Frozen):
    """The descriptors to be replaced: those that become the `terminal`, and those for /dev/null.

    `keyboard` is the one whose keys are for the program, None in the second case. `screen` is the
    one on which the program's output is shown, None where no terminal is needed.
    """

    terminal: tuple[int, ...]
    null: tuple[int, ...]
    keyboard: int | None
    screen: int | None


def streams(piped: "Collection[int]" = ()) -> Streams:
    """Return which descriptors of this process are to be replaced for the program.

    Those that are `piped` will be pipes for the program already.
    """
    terminals = [descriptor for descriptor in (0, 1, 2) if posix.isatty(descriptor)]
    others = tuple(_others(terminals))
    found = [descriptor for descriptor in terminals if descriptor not in piped]
    keyboard = 0 if 0 in found and not (1 in piped or is_pipe(1)) else None
    shown = [descriptor for descriptor in (1, 2) if descriptor in found]
    if keyboard is None:
        if not shown:
            return Streams((), (*found, *others), None, None)
        null = tuple(descriptor for descriptor in found if descriptor not in shown)
        return Streams((*shown, *others), null, None, shown[0])
    return Streams((*found, *others), (), keyboard, (*shown, keyboard)[0])


def _others(standard: "list[int]") -> "Iterator[int]":
    """Yield further descriptors of the caller's terminal that the program would inherit."""
    terminals = {_device(descriptor) for descriptor in standard}
    try:
        numbers = sorted(map(int, posix.listdir("/proc/self/fd")))
    except OSError:  # there's no /proc
        numbers = list(range(posix.sysconf("SC_OPEN_MAX")))
    for descriptor in numbers:
        if descriptor > 2 and posix.isatty(descriptor) and posix.get_inheritable(descriptor):
            device = _device(descriptor)
            if device[1] != _MASTER and (device in terminals or is_controlling(descriptor)):
                yield descriptor


def _device(descriptor: int) -> tuple[int, int]:
    """Return the number of a terminal, and of the file system that it has this number in."""
    found = posix.fstat(descriptor)
    return found.st_dev, found.st_rdev


def is_controlling(descriptor: int) -> bool:
    """Tell whether a terminal is the controlling one of this process, tcgetpgrp(3)."""
    try:
        posix.tcgetpgrp(descriptor)
    except OSError:  # another session's, or none
        return False
    return True


def raw(modes: "Modes") -> "Modes":
    """Return modes in which each byte is passed on as it is, cfmakeraw(3)."""
    found = [*modes[:_CC], [*modes[_CC]]]
    found[_IFLAG] &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    found[_OFLAG] &= ~termios.OPOST
    found[_CFLAG] = found[_CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    found[_LFLAG] &= ~(
        termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN
    )
    found[_CC][termios.VMIN], found[_CC][termios.VTIME] = 1, 0
    return found


def is_raw(modes: "Modes") -> bool:
    """Tell whether modes are those of `raw`, as far as it matters."""
    lines = termios.ICANON | termios.ISIG | termios.ECHO
    return not (modes[_LFLAG] & lines or modes[_OFLAG] & termios.OPOST)


def is_for_lines(modes: "Modes") -> bool:
    """Tell whether in these modes a terminal is read by lines, as a shell's programs find it."""
    return bool(modes[_LFLAG] & termios.ICANON)


class Keyboard:
    """The caller's terminal, whose keys are the program's while it is in raw mode.

    The relay takes it, and the relay or the launcher restores it. Where other modes were set
    meanwhile, by others, it's left alone. Nothing here fails: a terminal that is gone has no modes.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.modes: Modes | None = self._read()
        self.is_set = False
        """Whether `take` has put it into raw mode."""

    def is_ours(self) -> bool:
        """Tell whether this process group may read it: there's no other in its foreground."""
        try:
            return posix.tcgetpgrp(self.descriptor) == posix.getpgrp()
        except OSError:  # it's not this session's: nobody takes turns there
            return True

    def is_raw(self) -> bool:
        """Tell whether the terminal is in raw mode."""
        modes = self._read()
        return modes is not None and is_raw(modes)

    def take(self) -> None:
        """Put the terminal into raw mode, if it is to be read by lines until now."""
        if self.look() and self.modes is not None:
            self.is_set = True
            self._write(raw(self.modes))

    def look(self) -> bool:
        """Note the modes to restore; return whether the terminal is to be read by lines now."""
        modes = self._read()
        if modes is None or not is_for_lines(modes):
            return False
        self.modes = modes
        return True

    def restore(self) -> None:
        """Give the terminal its former modes, if it is still in raw mode."""
        self.is_set = False
        if self.modes is not None and self.is_raw():
            self._write(self.modes)

    def _read(self) -> "Modes | None":
        try:
            return termios.tcgetattr(self.descriptor)
        except termios.error:  # it's gone
            return None

    def _write(self, modes: "Modes") -> None:
        try:
            termios.tcsetattr(self.descriptor, termios.TCSANOW, modes)
        except termios.error:  # it's gone
            return


class Apart(Terminal):
    """The controlling terminal of a launcher whose program is in another session.

    To lend it is to have the relay put the terminal of `keyboard`, if there's one, into raw mode,
    and read it. `relay` is the descriptor on which that is told.
    """

    __slots__ = ("keyboard", "relay")
    apart = True

    def __init__(self, descriptor: int, keyboard: Keyboard | None) -> None:
        super().__init__(descriptor)
        self.keyboard = keyboard
        self.relay = -1
        self.inner = None if keyboard is None else keyboard.descriptor

    def is_ours(self) -> bool:
        """Tell whether this process group has the foreground."""
        if self.keyboard is not None:
            return self.keyboard.is_ours()
        return super().is_ours()

    def is_lent(self) -> bool:
        """Tell whether the program has the foreground, which it can't, in another session."""
        return False

    def take(self) -> None:
        """Give the terminal its modes back, and have the keys left alone."""
        if self.keyboard is not None:
            self.tell(TAKE)
            if self.is_ours():
                self.keyboard.restore()

    def give(self, group: int) -> bool:
        """Have the keys passed on; return True."""
        del group
        if self.keyboard is not None:
            self.keyboard.look()
            self.tell(GIVE)
        return True

    def tell(self, word: bytes) -> None:
        """Tell the relay something, if it still runs."""
        if self.relay >= 0:
            try:
                posix.write(self.relay, word)
            except OSError:  # it's gone, or told so much already that it is stuck
                return


def set_like(slave: int, terminal: int, *, keyboard: bool) -> None:
    """Give a new pseudo-terminal the modes and the size of another terminal.

    Where no keys are passed on, the other one keeps its modes, and so is what changes line ends.
    Raises OSError.
    """
    try:
        modes = termios.tcgetattr(terminal)
        if not keyboard:
            modes[_OFLAG] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, modes)
        termios.tcsetwinsize(slave, termios.tcgetwinsize(terminal))
    except termios.error as error:
        raise OSError(*error.args) from None


def start_session() -> Step:
    """Have the init lead a session, setsid(2), and so a process group of its own, too."""
    return Step(
        INIT,
        "start a new session",
        "setsid()",
        lambda _, __: linux.named("setsid", posix.setsid),
        topic="start-session",
        makes=True,
    )


def replace(
    found: Streams, descriptors: "Callable[[], tuple[int, int]]", begun: "Callable[[], None]"
) -> Step:
    """Put the program's own terminal in the place of the caller's, TIOCSCTTY(2const).

    `descriptors` returns those of the new terminal and of /dev/null, and `begun` is called then.
    """
    controls = found.keyboard is not None
    calls = [f"dup2(TERMINAL, {number})" for number in found.terminal]
    calls += [f"dup2(NULL, {number})" for number in found.null]
    if controls:
        calls.append(f"ioctl({found.keyboard}, TIOCSCTTY, 0)")

    def act(_: "Kernel", __: str) -> None:
        terminal, null = descriptors()
        for numbers, new in ((found.terminal, terminal), (found.null, null)):
            for number in numbers:
                if number <= 2 or _is_passed_on(number):  # a join hides the others
                    linux.named("dup2", posix.dup2, new, number)
        if found.keyboard is not None:
            linux.call("ioctl", found.keyboard, termios.TIOCSCTTY, None)
        begun()

    what = "put a new terminal in the place of the caller's"
    if not found.terminal:
        what = "put /dev/null in the place of the caller's terminal"
    return Step(
        INIT,
        what,
        ", ".join(calls),
        act,
        topic="replace-terminal" if controls else "replace-screen",
    )


def _is_passed_on(descriptor: int) -> bool:
    try:
        return posix.get_inheritable(descriptor)
    except OSError:  # it's closed
        return False
