"""What the processes of one start say to each other, and its form on the pipes.

Three pipes, docs/architecture.md, "Who runs when in pyspawn":

1. status, from the stage and the init to the launcher: records, one a line, `KIND NAME=VALUE …`.
   Values are percent-encoded, so that a path may hold anything. The last writer closes it by its
   exec: the end of file means that the exec happened, if an EXEC record came before.
2. go, from the launcher to the stage and then the init: the lines MAPPED and GO. Its end of file
   means that the launcher is dead.
3. notice, from pyinit to the launcher: plain lines. After the exec the program may hold the power
   to write there, so nothing is believed that doesn't make sense.
"""

import posix

from spawner.errors import ExecError, SetupError, SpawnerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

USERNS = "userns"
"""Record: the stage is in its new user namespace, which wants its maps."""

MISSING = "missing"
"""Record: the kernel refused the optional namespace `kind`, with `errno`."""

FORKED = "forked"
"""Record: the init exists, as `pid`."""

EXEC = "exec"
"""Record: the set-up inside is complete; the exec is next."""

ERROR = "error"
"""Record: a step failed; the fields are those of SetupError."""

MAPPED = b"mapped\n"
"""Go: the maps of the user namespace are written."""

GO = b"go\n"
"""Go: the launcher is the init's parent now and holds its pidfd."""

STARTED = "started"
"""Notice: pyinit has started the program."""

EXEC_FAILED = "exec-failed"
"""Notice: pyinit could not execute the program."""

STOPPED = "stopped"
"""Notice: the program was stopped by a signal."""

EXITED = "exited"
"""Notice: the program ended; comes just before pyinit ends with the same status."""

LONGEST_NOTICE = 8192
"""Bytes after which a notice without an end is no notice: pyinit keeps below PIPE_BUF, pipe(7)."""


class ChannelError(SpawnerError):
    """A record that no process of ours can have written."""


class Record:
    """One record: what it is, and its fields as text."""

    __slots__ = ("fields", "kind")

    def __init__(self, kind: str, fields: dict[str, str]) -> None:
        self.kind = kind
        self.fields = fields

    def number(self, name: str) -> int:
        """Return a field that is a number; raises ChannelError."""
        text = self.fields.get(name, "")
        if not (text.isascii() and text.isdigit()):
            raise ChannelError(f"the record {self.kind!r} has no number {name!r}")
        return int(text)


def encode(kind: str, **fields: str | int | None) -> bytes:
    """Return a record as a line; fields that are None are left out."""
    words = [kind.encode()]
    for name, value in fields.items():
        if value is not None:
            raw = str(value).encode("utf-8", "surrogateescape")
            words.append(name.encode() + b"=" + b"".join(_ESCAPED[byte] for byte in raw))
    return b" ".join(words) + b"\n"


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
            fields[name] = raw.decode("utf-8", "surrogateescape")
    except ValueError:
        raise ChannelError(f"not a record: {line!r}") from None
    return Record(kind, fields)


# What may stand as it is: the printable characters of ASCII without the two that have a meaning.
_ESCAPED = [
    bytes([byte]) if 0x20 < byte < 0x7F and byte not in b"%=" else b"%%%02x" % byte
    for byte in range(256)
]


class Lines:
    """Cuts a stream into lines; `limit` bytes without an end are dropped up to the next end."""

    __slots__ = ("_dropping", "_held", "_limit")

    def __init__(self, limit: int | None = None) -> None:
        self._held = b""
        self._limit = limit
        self._dropping = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes."""
        *lines, self._held = (self._held + data).split(b"\n")
        if lines and self._dropping:
            del lines[0]
            self._dropping = False
        if self._limit is not None:
            lines = [line for line in lines if len(line) <= self._limit]
            if len(self._held) > self._limit:
                self._dropping = True
                self._held = b""
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


class Notice:
    """One notice of pyinit's: its kind, its numbers, and its text if it has one."""

    __slots__ = ("kind", "numbers", "text")

    def __init__(self, kind: str, numbers: list[int], text: str = "") -> None:
        self.kind = kind
        self.numbers = numbers
        self.text = text


# How many numbers each notice has, and how large each may be.
_NOTICES = {
    STARTED: (1 << 22,),  # pid: PID_MAX_LIMIT, linux/threads.h
    EXEC_FAILED: (4095, 127),  # errno: MAX_ERRNO, linux/err.h; status
    STOPPED: (64,),  # signal
    EXITED: (255, 64),  # status; signal, or 0
}


def notice(line: bytes) -> Notice | None:
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
    return Notice(words[0], numbers, " ".join(words[1 + len(limits) :]))


def send(descriptor: int, record: bytes) -> None:
    """Write a whole record; a launcher that is gone needs none."""
    try:
        while record:
            record = record[posix.write(descriptor, record) :]
    except BrokenPipeError:
        return
