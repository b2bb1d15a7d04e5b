"""Translate the keywords of the Python API into the options of the launcher.

An option is declared once, in `options.TABLE`: so a keyword only names it, and says which Python
values stand for it. Text always may, as on the command line, and is read by the option's own
`convert`. A keyword more is a line in `TABLE` and one in `signatures.Options`; a test holds the two
together.
"""

from __future__ import annotations

import errno
import math
import os
from subprocess import PIPE, SubprocessError
from typing import TYPE_CHECKING

from pyinit import cmdline
from spawner.command import run
from spawner.errors import SpecError
from spawner.spec import ALL, Frozen, Namespaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from dataclasses import KW_ONLY
    from typing import Any

    from spawner.api.signatures import (
        Extents,
        JoinOptions,
        Names,
        Options,
        OutputEither,
        Ports,
        Word,
    )
    from spawner.limit.limits import Limits
    from spawner.mount.mounts import Mounts
    from spawner.net.network import Network
    from spawner.rights.rights import Rights

SUBPROCESS = (
    *("stdin", "stdout", "stderr", "bufsize", "pipesize", "close_fds", "env", "pass_fds", "umask"),
)
"""Keywords passed on to subprocess for the launcher, from which the program inherits them."""

TEXT = ("text", "universal_newlines", "encoding", "errors")
RUN = ("input", "capture_output", "timeout", "check")

MAPS = {"root": "map-root-user", "current": "map-current-user", "auto": "map-auto"}
"""The option that each value of `map` stands for."""


class Keyword(Frozen):
    """A keyword of the API: the values that it `needs`, and how one is spelled as an option.

    `spell` gets the option's name and a value other than None, and returns whole words. It raises
    TypeError for any other kind of value, and ValueError, with words, for one that makes no sense.
    `none` is how None is spelt.
    """

    needs: str
    spell: Callable[[str, Any], list[str]]
    option: str = ""
    _: KW_ONLY
    none: Sequence[str] = ()


def _word(option: str, text: str) -> str:
    """Return `--option=text` if the option's own parser accepts the text; raises ValueError."""
    word = _unread(option, text)
    run.BY_NAME[option].convert(text)
    return word


def _unread(option: str, text: str) -> str:
    """Return `--option=text`, without checking the text beyond that it has no NUL."""
    if b"\0" in encoded(text):
        raise ValueError(f"{text!r} contains a NUL, which no command line can hold")
    return f"--{option}={text}"


def encoded(word: Word) -> bytes:
    """Return a word as the bytes that the kernel gets; raises ValueError with a message."""
    try:
        return os.fsencode(word)
    except UnicodeEncodeError as error:
        odd = error.object[error.start : error.end]
        reason = f"{odd!r} can't be encoded in {error.encoding}, the encoding of file names"
        raise ValueError(f"{word!r} can't be passed to a program: {reason}") from None


def _text(option: str, value: str) -> list[str]:
    if not isinstance(value, str):
        raise TypeError
    return [_word(option, value)]


def _path(option: str, value: Word) -> list[str]:
    text = os.fsdecode(value)
    if not text:
        raise ValueError("the path is empty")
    return [_word(option, text)]


def _true_or_path(option: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return [f"--{option}"] if value else []
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError
    return _path(option, value)


def _flag(option: str, value: object) -> list[str]:
    if not isinstance(value, bool):
        raise TypeError
    return [f"--{option}"] if value else []


def _names(option: str, value: Names) -> list[str]:
    text = value if isinstance(value, str) else ",".join(value)
    return [_word(option, text)] if text else []


def _namespaces(_: str, value: Namespaces) -> list[str]:
    if not isinstance(value, Namespaces):
        raise TypeError
    sets = {"share": (ALL,), "unshare": value.required, "unshare-try": value.optional}
    return [word for option, names in sets.items() for word in _names(option, sorted(names))]


def _network(option: str, value: Network | str) -> list[str]:
    from spawner.net.network import Network  # which few need, as with those below

    if not isinstance(value, (Network, str)):
        raise TypeError
    ports = value.publish if isinstance(value, Network) else ()
    return [_word(option, str(value)), *(_word("publish", str(port)) for port in ports)]


def _ports(option: str, value: Ports) -> list[str]:
    if value == ():
        return []
    from spawner.net.network import Publish

    ports = [value] if isinstance(value, (int, str, Publish)) else value
    return [
        _word(option, str(port) if isinstance(port, Publish) else _number(port)) for port in ports
    ]


def _limits(_: str, value: Limits) -> list[str]:
    from spawner.limit.limits import Limits, options

    if not isinstance(value, Limits):
        raise TypeError
    return [_word(option, text) for option, text in options(value)]


def _rights(_: str, value: Rights) -> list[str]:
    from spawner.rights.rights import Rights, options

    if not isinstance(value, Rights):
        raise TypeError
    return [
        f"--{option}" if text is None else _word(option, text) for option, text in options(value)
    ]


def _mounts(_: str, value: Mounts) -> list[str]:
    from spawner.mount.mounts import Mounts, options

    if not isinstance(value, Mounts):
        raise TypeError
    words = []
    for option, *texts in options(value):
        words += [_unread(option, texts[0]), *texts[1:]] if texts else [f"--{option}"]
    return words


def _on_a_sheet(_: str, value: object) -> list[str]:
    """Return no words: the descriptor is there only when the launcher starts."""
    if not isinstance(value, bool):
        raise TypeError
    return []


def _whole(option: str, value: int | str) -> list[str]:
    return [_word(option, _number(value))]


def _number(value: int | str) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError
    return value if isinstance(value, str) else str(int(value))


def _id(option: str, value: int | str) -> list[str]:
    return [_unread(option, _number(value))]


def _ids(option: str, value: str | Iterable[int | str]) -> list[str]:
    text = value if isinstance(value, str) else ",".join(_number(item) for item in value)
    return [_unread(option, text)]


def _seconds(option: str, value: float | str) -> list[str]:
    if not isinstance(value, str):
        value = format(_finite(value), "f")
    return [_word(option, value)]


def _map(_: str, value: str) -> list[str]:
    if not isinstance(value, str):
        raise TypeError
    if value not in MAPS:
        raise ValueError(f"{value!r} is not one of {', '.join(MAPS)}")
    return [f"--{MAPS[value]}"]


def _extents(option: str, value: Extents) -> list[str]:
    from spawner.ids.idmap import AUTO, IdMap

    items = value.split() if isinstance(value, str) else value
    extents = items.extents if isinstance(items, IdMap) else tuple(items)
    words = [item for item in extents if isinstance(item, str)]
    if len(words) < len(extents) or not words:
        named = IdMap(item for item in extents if item != AUTO)
        words = [AUTO] * (AUTO in words) + str(named).split()
    return [_word(option, word) for word in words]


_IDS = "an IdMap, or INNER:OUTER:COUNT or (inner, outer, count) in a list, or 'auto'"
_KINDS = "the names of namespaces, as 'net,time' or ['net', 'time'], or 'all'"
_ID = "an id, which is a whole number, or a name"
_WHOLE_SECONDS = "a whole number of seconds"

TABLE = {
    "sandbox": Keyword("True or False", _flag, "sandbox"),
    "init": Keyword("True, False or a path", _true_or_path, "init"),
    "namespaces": Keyword("a Namespaces", _namespaces),
    "unshare": Keyword(_KINDS, _names, "unshare"),
    "share": Keyword(_KINDS, _names, "share"),
    "unshare_try": Keyword(_KINDS, _names, "unshare-try"),
    "hostname": Keyword("text", _text, "hostname"),
    "network": Keyword("a kind of network, or a Network", _network, "network"),
    "publish": Keyword("a port or several, as 80, '8080:80' or a Publish", _ports, "publish"),
    "propagation": Keyword("text", _text, "propagation"),
    "mount_proc": Keyword("True, False or a path", _true_or_path, "mount-proc"),
    "mounts": Keyword("a Mounts", _mounts),
    "changes": Keyword("True or False", _on_a_sheet),
    "limits": Keyword("a Limits", _limits),
    "max_output": Keyword("a number of bytes", _whole, "max-output"),
    "rights": Keyword("a Rights", _rights),
    "new_session": Keyword("True or False", _flag, "new-session"),
    "cwd": Keyword("a path", _path, "workdir"),
    "map": Keyword("'root', 'current' or 'auto'", _map),
    "map_users": Keyword(_IDS, _extents, "map-users"),
    "map_groups": Keyword(_IDS, _extents, "map-groups"),
    "setgroups": Keyword("'allow' or 'deny'", _text, "setgroups"),
    "user": Keyword(_ID, _id, "setuid"),
    "group": Keyword(_ID, _id, "setgid"),
    "extra_groups": Keyword("ids, which are whole numbers, or names", _ids, "groups"),
    "monotonic": Keyword(_WHOLE_SECONDS, _whole, "monotonic"),
    "boottime": Keyword(_WHOLE_SECONDS, _whole, "boottime"),
    "stop_signal": Keyword("the number or the name of a signal", _whole, "stop-signal"),
    "stop_timeout": Keyword(
        "a number of seconds, or None", _seconds, "stop-timeout", none=["--stop-timeout=infinity"]
    ),
}
"""The keywords that become options, in the order in which they are put on the command line."""


_READ = ("file", "ro-bind-data")
"""The options of mounts that read a descriptor."""


def inherited(options: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the descriptors for the launcher: `pass_fds`, those of files, and a seccomp filter's.

    Raises what `descriptors` raises.
    """
    found = descriptors(options.get("pass_fds", ()))
    source = getattr(options.get("rights"), "seccomp", None)
    if isinstance(source, int):
        found += descriptors((source,), "seccomp")
    entries = getattr(options.get("mounts"), "entries", ())
    read = tuple(each.source for each in entries if each.option in _READ)
    return found + descriptors(read, "mounts")


def descriptors(given: Iterable[int], name: str = "pass_fds") -> tuple[int, ...]:
    """Return the descriptors for the program after checking that all of them are open.

    Raises TypeError, and OSError for a closed one: subprocess would find that out in the child, and
    take it for a failure of the launcher's exec.
    """
    found = tuple(given)
    for descriptor in found:
        if isinstance(descriptor, bool) or not isinstance(descriptor, int):
            raise TypeError(f"{name} needs descriptors, which are numbers, not {descriptor!r}")
        try:
            os.fstat(descriptor)
        except (OSError, OverflowError):
            reason = f"{os.strerror(errno.EBADF)}: {descriptor} of {name} isn't open"
            raise OSError(errno.EBADF, reason) from None
    return found


def streams(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for subprocess.Popen; raises TypeError and SpecError."""
    names = ("stdin", "stdout", "stderr", "bufsize", "pipesize", "umask", "env", *TEXT)
    found = {name: given[name] for name in names if name in given}
    if "universal_newlines" in found:
        found["text"] = _is_text(found.get("text"), found.pop("universal_newlines"))
    if "umask" in found:
        _check_umask(found["umask"])
    return found


def _check_umask(umask: object) -> None:
    """Raise an error unless the value is a mask for umask(2), or -1 for the caller's."""
    if isinstance(umask, bool) or not isinstance(umask, int):
        raise TypeError(f"umask needs a mask of permissions, such as 0o022, not {umask!r}")
    if not -1 <= umask <= 0o777:
        raise SpecError(f"umask: {umask} is not a mask of permissions (0 to 0o777)")


def _is_text(text: bool | None, universal_newlines: bool | None) -> bool | None:
    """Return the value of `text` or of `universal_newlines`; raises SubprocessError."""
    if None not in (text, universal_newlines) and bool(text) != bool(universal_newlines):
        raise SubprocessError(
            "Cannot disambiguate when both text and universal_newlines are supplied but different. "
            "Pass one or the other."
        )
    return universal_newlines if text is None else text


def duration(name: str, seconds: float | None, *, from_now: bool = False) -> float | None:
    """Return a time-out in seconds, None for no limit; raises TypeError and ValueError.

    One `from_now` may be over already, as what is left of a time that somebody else measures.
    """
    if seconds is None:
        return None
    try:
        return max(0.0, _finite(seconds, lowest=-math.inf if from_now else 0.0))
    except TypeError:
        raise TypeError(f"{name} needs a number of seconds, or None, not {seconds!r}") from None
    except ValueError as error:
        raise SpecError(f"{name}: {error}") from None


def _finite(seconds: float, lowest: float = 0.0) -> float:
    if not hasattr(type(seconds), "__float__"):  # float() would read text, too
        raise TypeError
    found = float(seconds)
    if math.isnan(found) or math.isinf(found):
        raise ValueError(f"{seconds!r} isn't a number of seconds; None means no limit")
    if found < lowest:
        raise ValueError(f"{seconds!r} is a negative number of seconds")
    return min(found, cmdline.MOST_SECONDS)


def limit_start(options: Options | JoinOptions, timeout: float | None) -> float | None:
    """Return the time-out of `run`; the start gets that or `start_timeout`, if shorter."""
    timeout = duration("timeout", timeout)
    limits = (timeout, duration("start_timeout", options.get("start_timeout")))
    options["start_timeout"] = min((each for each in limits if each is not None), default=None)
    return timeout


def check_call(function: str, options: Mapping[str, Any]) -> None:
    """Raise TypeError for keywords that `run` accepts and `call` doesn't, as in subprocess."""
    for name in {*RUN} & {*options}:
        raise TypeError(f"{function}() doesn't accept {name}: run() does")


def pipe_output(options: OutputEither) -> None:
    """Add the stdout pipe that `check_output` needs; raises ValueError as subprocess does.

    An `input` of None is an empty one there.
    """
    for name in ("stdout", "check"):
        if name in options:
            raise ValueError(f"{name} argument not allowed, it will be overridden.")
    if "input" in options and options["input"] is None:
        options["input"] = "" if any(options.get(name) for name in TEXT) else b""
    options["stdout"] = PIPE


def pipe_streams(options: Options | JoinOptions, *, data: object, capture_output: bool) -> None:
    """Add the pipes that `run` needs; raises ValueError as subprocess.run does."""
    if data is not None:
        if options.get("stdin") is not None:
            raise ValueError("stdin and input arguments may not both be used.")
        options["stdin"] = PIPE
    if capture_output:
        if options.get("stdout") is not None or options.get("stderr") is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        options["stdout"] = options["stderr"] = PIPE
