"""What pyinit, and the keeper in its words, tell the launcher about the program: a line each.

After the exec the program may hold the power to write there, so nothing is believed that doesn't
make sense.
"""

from pyinit import Frozen, status_of_signal

STARTED = "started"
"""`started PID`: the program's exec has happened; its pid as pyinit sees it."""

EXEC_FAILED = "exec-failed"
"""`exec-failed ERRNO STATUS TEXT[<tab>HINT]`: the program could not be executed."""

FORK_FAILED = "fork-failed"
"""`fork-failed ERRNO TEXT[<tab>HINT]`: no process could be made for the program."""

STOPPED = "stopped"
"""`stopped SIGNAL`: the program was stopped."""

EXITED = "exited"
"""`exited STATUS SIGNAL`: the program ended; the teller ends next, with the same status."""

KEEPER_FAILED = "keeper-failed"
"""`keeper-failed TEXT`: the keeper can't do its work, and ends."""

LONGEST = 8192
"""Bytes after which a line without an end is no notice: pyinit keeps below PIPE_BUF, pipe(7)."""


class Lines:
    """Cuts a stream into lines; one longer than LONGEST is dropped."""

    __slots__ = ("_dropping", "_held")

    def __init__(self) -> None:
        self._held = b""
        self._dropping = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes."""
        *lines, self._held = (self._held + data).split(b"\n")
        if lines and self._dropping:
            del lines[0]
            self._dropping = False
        if len(self._held) > LONGEST:
            self._dropping = True
            self._held = b""
        return [line for line in lines if len(line) <= LONGEST]


class Notice(Frozen):
    """One notice of pyinit's: its kind, its numbers, and its text and hint if it has them."""

    kind: str
    numbers: list[int]
    text: str
    hint: str | None


# How many numbers each notice has, and how large each may be.
_NOTICES = {
    STARTED: (1 << 22,),  # pid: PID_MAX_LIMIT, linux/threads.h
    EXEC_FAILED: (4095, 127),  # errno: MAX_ERRNO, linux/err.h; status
    FORK_FAILED: (4095,),
    STOPPED: (64,),  # signal
    EXITED: (255, 64),  # status; signal, or 0
    KEEPER_FAILED: (),
}


def parse(line: bytes) -> Notice | None:
    """Return the notice in a line, or None for what isn't one."""
    words = line.decode("utf-8", "surrogateescape").split(" ")
    limits = _NOTICES.get(words[0])
    if limits is None or len(words) < 1 + len(limits):
        return None
    numbers = []
    for word, limit in zip(words[1:], limits, strict=False):
        if not (word.isascii() and word.isdigit()) or len(word) > 9 or int(word) > limit:
            return None
        numbers.append(int(word))
    if words[0] == EXITED and numbers[1] and numbers[0] != status_of_signal(numbers[1]):
        return None
    text, _, hint = " ".join(words[1 + len(limits) :]).partition("\t")
    return Notice(words[0], numbers, text, hint or None)
