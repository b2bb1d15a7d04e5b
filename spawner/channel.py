"""The messages between the processes of one start, and their form on the pipes.

Three pipes, docs/architecture.md, "Who runs when in pyspawn":

1. status, from the stage and the init to the launcher: records, one a line, `KIND NAME=VALUE …`.
   Values are percent-encoded, so that a path may hold anything, and a message its marks. The last
   writer closes it by its exec: the end of file means that the exec happened, if an EXEC record
   came before.
2. go, from the launcher to the stage and then the init: the lines MAPPED and GO. Its end of file
   means that the launcher is dead, or wants everything to end.
3. notice, from pyinit or the keeper to the launcher: what they tell of the program, a line each.
   After the exec the program may hold the power to write there, so nothing is believed that doesn't
   make sense.
"""

import posix

from pyinit import status_of_signal
from spawner.errors import ExecError, SetupError, SpawnerError
from spawner.spec import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from spawner.linux import Kernel

USERNS = "userns"
"""Record: the stage has entered its new user namespace, whose id maps are to be written."""

MISSING = "missing"
"""Record: the kernel refused the optional `namespace`, with `errno`."""

FORKED = "forked"
"""Record: the init exists, as `pid`."""

MADE = "made"
"""Record: all namespaces exist; the init waits for GO."""

EXEC = "exec"
"""Record: the set-up of the container is complete; the exec is next."""

ERROR = "error"
"""Record: a step failed; the fields are those of SetupError."""

MAPPED = b"mapped\n"
"""Go: the maps of the user namespace are written."""

GO = b"go\n"
"""Go: the launcher is the init's parent now and holds its pidfd."""


STARTED = "started"
"""Notice `started PID`: the program's exec has happened; its pid as pyinit sees it."""

EXEC_FAILED = "exec-failed"
"""Notice `exec-failed ERRNO STATUS TEXT[<tab>HINT]`: the program could not be executed."""

FORK_FAILED = "fork-failed"
"""Notice `fork-failed ERRNO TEXT[<tab>HINT]`: no process could be made for the program."""

STOPPED = "stopped"
"""Notice `stopped SIGNAL`: the program was stopped."""

EXITED = "exited"
"""Notice `exited STATUS SIGNAL`: the program ended, and the sender exits with the same status."""

KEEPER_FAILED = "keeper-failed"
"""Notice `keeper-failed TEXT`: the keeper can't do its work, and ends."""

LONGEST_NOTICE = 8192
"""The most bytes in a notice; pyinit keeps below PIPE_BUF, pipe(7)."""


class Pipes:
    """The descriptors of the three pipes; -1 is a closed end, or a pipe that isn't needed."""

    ENDS = ("go_reader", "go_writer", "notice_reader", "notice_writer", "status_reader",
            "status_writer")  # fmt: skip
    __slots__ = (*ENDS, "hands_over")

    def __init__(self) -> None:
        self.status_reader = self.status_writer = -1
        self.go_reader = self.go_writer = -1
        self.notice_reader = self.notice_writer = -1
        self.hands_over = False
        """Whether the init executes pyinit, which is to have the notice pipe."""

    def open(self, kernel: "Kernel", *, notice: bool) -> None:
        """Open the pipes, closed on exec: two, or with `notice` all three; raises SyscallError.

        Nobody who writes a notice may wait for the launcher.
        """
        self.status_reader, self.status_writer = kernel.pipe()
        self.go_reader, self.go_writer = kernel.pipe()
        if notice:
            self.notice_reader, self.notice_writer = kernel.pipe()
            posix.set_blocking(self.notice_writer, False)

    def close(self, *names: str) -> None:
        """Close the named ends, those that are open."""
        for name in names:
            descriptor = getattr(self, name)
            if descriptor >= 0:
                setattr(self, name, -1)
                posix.close(descriptor)

    def tell(self, record: bytes) -> None:
        """Write a whole record to the launcher, if that still runs."""
        _write(self.status_writer, record)

    def tell_missing(self, kind: str, errno: int) -> None:
        """Tell the launcher that an optional namespace was refused."""
        self.tell(encode(MISSING, namespace=kind, errno=errno))

    def hear(self) -> bytes:
        """Return the next line from the launcher; b"" if the launcher has died."""
        return posix.read(self.go_reader, 64)

    def launcher_lives(self) -> bool:
        """Tell whether the launcher still holds its end of the go pipe."""
        posix.set_blocking(self.go_reader, False)
        try:
            return self.hear() != b""
        except BlockingIOError:
            return True

    def hand_over(self, kernel: "Kernel") -> None:
        """Leave pyinit its end of the notice pipe, if it's pyinit that is executed next."""
        if self.hands_over:
            kernel.keep_over_exec(self.notice_writer)

    def let_go(self, line: bytes) -> None:
        """Send a line to the stage or the init, if that still runs."""
        _write(self.go_writer, line)

    def be_launcher(self) -> None:
        """Close the ends that the launcher doesn't use."""
        self.close("status_writer", "go_reader", "notice_writer")

    def be_child(self) -> None:
        """Close the ends that the stage and the init don't use."""
        self.close("status_reader", "go_writer", "notice_reader")


def _write(descriptor: int, data: bytes) -> None:
    try:
        while data:
            data = data[posix.write(descriptor, data) :]
    except BrokenPipeError:
        return


class ChannelError(SpawnerError):
    """Raised for a record that none of pyspawn's processes can have written."""


class Record(Frozen):
    """One record: its kind, and its fields as text."""

    kind: str
    fields: dict[str, str]

    def number(self, name: str) -> int:
        """Return a field as a number; raises ChannelError."""
        text = self.fields.get(name, "")
        if not (text.isascii() and text.isdigit()):
            raise ChannelError(f"the record {self.kind!r} has no number {name!r}")
        return int(text)


def encode(kind: str, **fields: str | int | None) -> bytes:
    """Return a record as a line; fields that are None are left out."""
    words = [kind.encode()]
    for name, value in fields.items():
        if value is not None:
            raw = str(value).encode("utf-8", "surrogatepass")
            words.append(name.encode() + b"=" + b"".join(map(_escaped, raw)))
    return b" ".join(words) + b"\n"


def _escaped(byte: int) -> bytes:
    """Return a byte as it is if it's printable ASCII without a meaning here, else as `%xx`."""
    return bytes([byte]) if 0x20 < byte < 0x7F and byte not in b"%=" else b"%%%02x" % byte


def decode(line: bytes) -> Record:
    """Return the record in a line (without its end); raises ChannelError."""
    try:
        kind, *pairs = line.decode("ascii").split(" ")
        fields = {}
        for pair in pairs:
            name, equals, value = pair.partition("=")
            if not equals:
                raise ChannelError(f"not a record: {line!r}")
            first, *parts = value.split("%")
            raw = first.encode("ascii")
            raw += b"".join(bytes([int(part[:2], 16)]) + part[2:].encode() for part in parts)
            fields[name] = raw.decode("utf-8", "surrogatepass")
    except ValueError:
        raise ChannelError(f"not a record: {line!r}") from None
    return Record(kind, fields)


class Lines:
    """Cuts a stream into lines."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete once `data` is added."""
        *lines, self._held = (self._held + data).split(b"\n")
        return lines


def failure(error: SetupError) -> bytes:
    """Return the ERROR record of a step that failed."""
    return encode(
        ERROR,
        step=error.step,
        stage=error.stage,
        syscall=error.syscall,
        errno=error.errno,
        path=error.path,
        hint=error.hint,
        status=error.status,
        exec=1 if isinstance(error, ExecError) else None,
    )


def error_of(record: Record) -> SetupError:
    """Return the error in an ERROR record; raises ChannelError."""
    fields = record.fields
    values: dict[str, Any] = {name: fields.get(name) for name in ("syscall", "path", "hint")}
    values["errno"] = record.number("errno") if "errno" in fields else None
    kind = ExecError if "exec" in fields else SetupError
    return kind(
        fields.get("step", "?"),
        stage=fields.get("stage", "?"),
        status=record.number("status"),
        **values,
    )


def unexpected(error: Exception, stage: str) -> SetupError:
    """Return the SetupError for an unexpected exception, such as an import without descriptors."""
    if isinstance(error, OSError) and error.errno and error.filename:
        path = str(error.filename)
        return SetupError(
            f"read {path}", stage=stage, syscall="openat", errno=error.errno, path=path
        )
    return SetupError(f"unexpected {type(error).__name__}: {error}", stage=stage)


class Notices:
    """Cuts a stream of notices into lines; one longer than LONGEST_NOTICE is dropped."""

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
        if len(self._held) > LONGEST_NOTICE:
            self._dropping = True
            self._held = b""
        return [line for line in lines if len(line) <= LONGEST_NOTICE]


class Notice(Frozen):
    """One notice from pyinit: its kind, its numbers, and its text and hint if it has them."""

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


def parse_notice(line: bytes) -> Notice | None:
    """Return the notice in a line, or None if the line isn't one."""
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
