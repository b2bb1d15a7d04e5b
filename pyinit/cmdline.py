"""Parse command lines by tables, in which each option is declared once.

`argparse` costs 7.5 ms of start-up, more than a whole interpreter. This is the part of
getopt_long(3) that supervisors need: options stop at the first word that isn't one or at `--`;
short ones may be joined (`-gw`, `-rHUP:TERM`); long ones accept `--name=value` or `--name value`.
"""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

_EBADF, _EINVAL = 9, 22  # asm-generic/errno-base.h, the same on all machines


class UsageError(Exception):
    """A command line that makes no sense; `hint` says what to do instead.

    `unknown` is the option, with its dashes, if it isn't in the table. `refused` is the option
    whose value is to blame, and what is wrong with that value.
    """

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        unknown: str | None = None,
        refused: "tuple[Option, str] | None" = None,
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.unknown = unknown
        self.refused = refused


class Option:
    """One option: its spellings, its value, its environment variable and its help.

    `long` and `short` come without dashes. `metavar` is None for a flag. `convert` turns the
    word into a value, and raises ValueError with words for the user. `many` options collect a
    list, `count` ones are flags that count. A value is `optional` when only `--long=value` gives
    it. A `pair`, which has no short spelling, accepts two words, both of which `convert` gets:
    `--long FIRST SECOND`. Options `into` the same key collect one list, in the order of the command
    line. `hidden` ones are for other programs: parsed, not shown. `words_only` ones have no
    environment variable.
    """

    def __init__(
        self,
        long: str,
        short: str | None = None,
        *,
        metavar: str | None = None,
        help: str = "",  # noqa: A002  the field's own word
        convert: "Callable[..., Any]" = str,
        many: bool = False,
        count: bool = False,
        optional: bool = False,
        pair: bool = False,
        into: str | None = None,
        hidden: bool = False,
        words_only: bool = False,
    ) -> None:
        self.long = long
        self.short = short
        self.metavar = metavar
        self.help = help
        self.convert = convert
        self.many = many or into is not None
        self.count = count
        self.optional = optional
        self.pair = pair
        self.hidden = hidden
        self.words_only = words_only or pair
        self._into = into

    @property
    def name(self) -> str:
        """The key of this option among the parsed values: its long spelling with underscores."""
        return self._into or self.long.replace("-", "_")

    @property
    def spelling(self) -> str:
        """How a user writes the option, for help and man page: `-r, --rewrite FROM:TO`."""
        value = ""
        if self.metavar is not None:
            value = f"[={self.metavar}]" if self.optional else f" {self.metavar}"
        return (f"-{self.short}, " if self.short else "") + f"--{self.long}{value}"


MOST_SECONDS = 1e9
"""Seconds, 31 years: within what the kernel's and the interpreter's clocks can be asked for."""


def seconds(word: str) -> float:
    """Return a duration in seconds, 0 to MOST_SECONDS; raises ValueError for anything else."""
    digits = word.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"{word!r} is not a number of seconds")
    return min(float(word), MOST_SECONDS)


def descriptor(word: str) -> int:
    """Return the file descriptor that `word` names; raises ValueError if it names none."""
    if not (word.isascii() and word.isdigit()) or len(word) > 9:
        raise ValueError(
            f"{word!r} is not a file descriptor (a number, such as 3 for 3>FILE in a shell)"
        )
    return int(word)


_SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size(word: str) -> int:
    """Return a number of bytes, which K, M, G or T may follow; raises ValueError."""
    factor = _SIZES.get(word[-1:].upper(), 1)
    digits = word if factor == 1 else word[:-1]
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19:
        raise ValueError(f"{word!r} is not a number of bytes, which K, M, G or T may follow")
    return int(digits) * factor


def check_writable(descriptor: int) -> None:
    """Raise OSError unless a descriptor is open and can be written to line by line.

    A write(2) of no bytes fails then (EBADF; EINVAL for a pidfd or an eventfd). A socket would send
    an empty message.
    """
    if posix.fstat(descriptor).st_mode & 0o170000 == 0o140000:  # stat.S_IFMT, S_IFSOCK
        return
    try:
        posix.write(descriptor, b"")
    except OSError as error:
        if error.errno in (_EBADF, _EINVAL):  # a full device has nothing against it
            raise


def parse(table: "Sequence[Option]", words: "Sequence[str]") -> "tuple[dict[str, Any], list[str]]":
    """Return the values of the options in `words`, by `Option.name`, and the words behind them.

    Options that weren't given are absent. Raises UsageError.
    """
    long = {option.long: option for option in table}
    short = {option.short: option for option in table if option.short}
    values: dict[str, Any] = {}
    index = 0
    while index < len(words):
        word = words[index]
        if word == "--":
            return values, list(words[index + 1 :])
        if word == "-" or not word.startswith("-"):
            break
        index += 1
        if word.startswith("--"):
            name, equals, text = word[2:].partition("=")
            option = long.get(name)
            if option is None:
                message = f"unknown option --{name}"
                raise UsageError(message, _nearest(name, long), unknown=f"--{name}")
            if option.metavar is None:
                if equals:
                    raise UsageError(f"option --{name} doesn't accept a value")
                _store(values, option, None, "")
                continue
            if not equals and not option.optional:
                text, equals = _value(option, f"--{name}", words, index), "="
                index += 1
            second: list[str] = []
            if option.pair:
                second = [_value(option, f"--{name}", words, index)]
                index += 1
            _store(values, option, text if equals else None, f"--{name}", *second)
            continue
        cluster = word[1:]
        while cluster:
            letter, cluster = cluster[0], cluster[1:]
            option = short.get(letter)
            if option is None:
                meant = _nearest(word[1:], long) if word[3:] else None
                if meant:
                    raise UsageError(f"unknown option {word}", meant, unknown=word)
                where = f" in {word}" if word[2:] else ""
                raise UsageError(f"unknown option -{letter}{where}", unknown=f"-{letter}")
            if option.metavar is None or option.optional:
                _store(values, option, None, f"-{letter}")
                continue
            if not cluster:
                cluster = _value(option, f"-{letter}", words, index)
                index += 1
            try:
                _store(values, option, cluster, f"-{letter}")
            except UsageError:
                if word[1:] in long:  # `-help`, as some tools spell it: -h, -e and a value
                    hint = f"did you mean -{word}?"
                    raise UsageError(f"unknown option {word}", hint, unknown=word) from None
                raise
            break
    return values, list(words[index:])


def _value(option: Option, where: str, words: "Sequence[str]", index: int) -> str:
    """Return the next word as a value of `option`; raises UsageError if there is none.

    Unlike in getopt_long(3), `--` is not taken as a value, since the value was forgotten. To give
    `--` as a value, write `--name=--`.
    """
    if index == len(words) or words[index] == "--":
        before = words[index - 1]
        if option.pair and ":" in before and "/" in before and not before.startswith("-"):
            first, second = before.split(":")[:2]
            hint = f"source and target are two words: --{option.long} {first} {second}"
            raise UsageError(f"option {where} needs two values: {option.spelling}", hint)
        values = "two values" if option.pair else "a value"
        raise UsageError(f"option {where} needs {values}: {option.spelling}", _purpose(option))
    return words[index]


def environment(
    table: "Sequence[Option]", variables: "Mapping[bytes, bytes]", prefix: str
) -> "dict[str, Any]":
    """Return the values of the variables named `PREFIX_NAME`, by `Option.name`.

    A flag accepts 1, yes, true, on or 0, no, false, off, or nothing; a repeatable option accepts
    several values with spaces or commas between them. Raises UsageError.
    """
    values: dict[str, Any] = {}
    for option in table:
        variable = f"{prefix}_{option.name.upper()}"
        raw = variables.get(variable.encode())
        if raw is None or option.hidden or option.words_only:
            continue
        text = raw.decode("utf-8", "surrogateescape")
        if option.metavar is None:
            word = text.lower()
            if option.count and word.isascii() and word.isdigit():
                # What is too long for int() is as much as anybody could ask for.
                values[option.name] = int(word.lstrip("0")[:18] or "0")
            elif word in ("1", "yes", "true", "on"):
                values[option.name] = 1 if option.count else True
            elif word not in ("", "0", "no", "false", "off"):
                raise UsageError(f"{variable}={text} says neither yes nor no")
        elif option.many:
            for word in text.replace(",", " ").split():
                _store(values, option, word, variable)
        elif text:
            _store(values, option, text, variable)
    return values


def _store(
    values: "dict[str, Any]", option: Option, text: str | None, where: str, *second: str
) -> None:
    """Store one value of `option` in `values`; `where` names the option in an error.

    The value of a pair has a `second` word.
    """
    value: Any
    if option.count:
        value = values.get(option.name, 0) + 1
    elif text is None:
        value = True
    else:
        try:
            value = option.convert(text, *second)
        except ValueError as error:
            refused = option, str(error)
            raise UsageError(f"{where}: {error}", _purpose(option), refused=refused) from None
    if option.many:
        values.setdefault(option.name, []).append(value)
    else:
        values[option.name] = value


def _purpose(option: Option) -> str | None:
    """Return the hint for a value that `option` doesn't accept: the beginning of its help."""
    if option.hidden:
        return None
    return f"{option.spelling}: {option.help.partition('. ')[0].removesuffix('.')}"


CLOSE = 0.74
"""How similar two words have to be, from 0 to 1, as difflib measures it.

Below that, `--name` would be `--hostname`.
"""


def _nearest(name: str, known: "Mapping[str, Option]") -> str | None:
    """Return a hint that names the option probably meant by `name`."""
    shown = [word for word, option in known.items() if not option.hidden]
    cut = [word for word in shown if name and word.startswith(name)]
    if len(cut) == 1:
        return f"did you mean --{cut[0]}?"
    try:
        import difflib  # costly, and needed only here
    except ImportError:  # a copied package beside an interpreter without its library
        return None
    close = difflib.get_close_matches(name.lower(), shown, 1, CLOSE)
    return f"did you mean --{close[0]}?" if close else None


def help_text(table: "Sequence[Option]", usage: str, footer: str = "") -> str:
    """Return the help page: `usage`, then every option that isn't hidden, then `footer`."""
    lines = [usage.rstrip(), ""]
    for option in table:
        if option.hidden:
            continue
        left = ("  " if option.short else "      ") + option.spelling
        words = option.help.split()
        line = left.ljust(31) if len(left) < 30 else left + "\n" + " " * 31
        width = 31
        for word in words:
            if width + len(word) >= 96:
                line = line.rstrip() + "\n" + " " * 31
                width = 31
            line += word + " "
            width += len(word) + 1
        lines.append(line.rstrip())
    if footer:
        lines += ["", footer.rstrip()]
    return "\n".join(lines) + "\n"
