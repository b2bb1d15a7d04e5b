"""The keywords of the Python API, and the options of the launcher that they become.

An option is declared once, in `options.TABLE`: so a keyword only names it, and says which Python
values stand for it. Text always may, as on the command line, and is read by the option's own
`convert`. A keyword more is a line in `TABLE`, one in `Options` and one in the signature of
`Process`; a test holds the three together.
"""

from __future__ import annotations

import errno
import math
import os
from subprocess import PIPE, SubprocessError
from typing import TYPE_CHECKING

from pyinit import Frozen, cmdline
from spawner import no_fork, options
from spawner.errors import SpecError
from spawner.spec import ALL, NAMESPACES, Namespaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from dataclasses import KW_ONLY
    from typing import IO, Any, TypeAlias, TypeGuard

    from spawner.idmap import Extent, IdMap
    from spawner.network import Network, Publish
    from spawner.signatures import JoinOptions as JoinOptions
    from spawner.signatures import Options as Options
    from spawner.signatures import OutputEither

    Word: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
    Command: TypeAlias = Word | Sequence[Word]
    Environment: TypeAlias = Mapping[str, Word] | Mapping[bytes, Word]
    Place: TypeAlias = bool | str | os.PathLike[str]
    Stream: TypeAlias = int | IO[Any] | None
    Names: TypeAlias = str | Iterable[str]
    Ports: TypeAlias = int | str | Publish | Iterable[int | str | Publish]
    Extents: TypeAlias = IdMap | str | Iterable[Extent | tuple[int, int, int] | str]


OURS = (
    *("stdin", "stdout", "stderr", "bufsize", "pipesize", "close_fds", "env", "pass_fds", "umask"),
)
"""Keywords that are what subprocess makes of them, for the launcher and so for the program."""

_TEXT = ("text", "universal_newlines", "encoding", "errors")
_RUN = ("input", "capture_output", "timeout", "check")

_WINDOWS = "it is for another system"
_NOT_OURS: dict[str, tuple[tuple[object, ...], str]] = {
    "shell": ((False,), "a line for a shell is ['sh', '-c', line]"),
    "executable": ((None,), "what is executed is the first of args"),
    "preexec_fn": (
        (None,),
        "no Python runs between fork and exec: start a program that does it, then executes yours",
    ),
    "close_fds": ((True,), "nothing goes along but the streams and what pass_fds names"),
    "restore_signals": (
        (True,),
        "to ignore a signal, put in front ['sh', '-c', 'trap \"\" PIPE; exec \"$@\"', 'sh', …]",
    ),
    "start_new_session": ((False,), "put ['setsid', '--wait'] in front of args"),
    "process_group": (
        (None, -1),
        "with pyinit the program leads a process group of its own, and can't join one outside",
    ),
    "startupinfo": ((None,), _WINDOWS),
    "creationflags": ((0,), _WINDOWS),
    "timeout": ((None,), "run(), wait() and communicate() take it; a start has start_timeout"),
    "input": ((None,), "run() and communicate() take it"),
    "capture_output": ((False,), "run() takes it; here it's stdout=PIPE, stderr=PIPE"),
    "check": ((False,), "run() takes it"),
}
"""Keywords that others have: the values that ask for nothing, and what is to be done instead."""

_MAPS = {"root": "map-root-user", "current": "map-current-user", "auto": "map-auto"}
_OPTIONS = {option.long: option for option in options.TABLE}


class Keyword(Frozen):
    """A keyword: what it `takes`, in words, and how a value is spelt for its option.

    `spell` gets the option's name and a value other than None, and returns whole words. It raises
    TypeError for any other kind of value, and ValueError, with words, for one that makes no sense.
    `none` is how None is spelt.
    """

    takes: str
    spell: Callable[[str, Any], list[str]]
    option: str = ""
    _: KW_ONLY
    none: Sequence[str] = ()


def _word(option: str, text: str) -> str:
    """Return `--option=text`, where the option takes it; raises ValueError."""
    word = _unread(option, text)
    _OPTIONS[option].convert(text)
    return word


def _unread(option: str, text: str) -> str:
    """Return `--option=text`, of which only the whole command line tells what it means."""
    if b"\0" in _encoded(text):
        raise ValueError(f"{text!r} contains a NUL, which no command line can hold")
    return f"--{option}={text}"


def _encoded(word: Word) -> bytes:
    """Return the bytes that the kernel is given for a word; raises ValueError with words."""
    try:
        return os.fsencode(word)
    except UnicodeEncodeError as error:
        odd = error.object[error.start : error.end]
        reason = f"{odd!r} has no bytes in {error.encoding}, the encoding of file names"
        raise ValueError(f"{word!r} can't be given to a program: {reason}") from None


def _text(option: str, value: str) -> list[str]:
    if not isinstance(value, str):
        raise TypeError
    return [_word(option, value)]


def _path(option: str, value: Word) -> list[str]:
    text = os.fsdecode(value)
    if not text:
        raise ValueError("it is an empty path")
    return [_word(option, text)]


def _true_or_path(option: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return [f"--{option}"] if value else []
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError
    return _path(option, value)


def _names(option: str, value: Names) -> list[str]:
    text = value if isinstance(value, str) else ",".join(value)
    return [_word(option, text)] if text else []


def _namespaces(_: str, value: Namespaces) -> list[str]:
    if not isinstance(value, Namespaces):
        raise TypeError
    sets = {"share": (ALL,), "unshare": value.required, "unshare-try": value.optional}
    return [word for option, names in sets.items() for word in _names(option, sorted(names))]


def _network(option: str, value: Network | str) -> list[str]:
    from spawner.network import Network  # which few need, as with those below

    if not isinstance(value, (Network, str)):
        raise TypeError
    ports = value.publish if isinstance(value, Network) else ()
    return [_word(option, str(value)), *(_word("publish", str(port)) for port in ports)]


def _ports(option: str, value: Ports) -> list[str]:
    if value == ():
        return []
    from spawner.network import Publish

    ports = [value] if isinstance(value, (int, str, Publish)) else value
    return [
        _word(option, str(port) if isinstance(port, Publish) else _number(port)) for port in ports
    ]


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
    if value not in _MAPS:
        raise ValueError(f"{value!r} is not one of {', '.join(_MAPS)}")
    return [f"--{_MAPS[value]}"]


def _extents(option: str, value: Extents) -> list[str]:
    from spawner.idmap import AUTO, IdMap

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
"""The keywords that become options, by their names, in the order in which they're said."""

_BY_OPTION = {each.option.replace("-", "_"): name for name, each in TABLE.items() if each.option}
_BY_OPTION |= {option.replace("-", "_"): "map" for option in _MAPS.values()}


def words(args: Command, given: Mapping[str, Any]) -> list[str]:
    """Return the launcher's command line for a program: options, `--`, and the program's words.

    `given` are the values of keywords; those of others than TABLE's are left out. Where nothing is
    said of an init, it is pyinit; all else is as on the command line. Raises TypeError and
    SpecError for what the launcher would refuse to understand.
    """
    given = {"init": True, **given, **_numbers(given)}
    found = ["--quiet", "--die-with-parent", "--background"]
    if given.get("namespaces") is not None:
        for name in ("unshare", "share", "unshare_try"):
            if given.get(name):
                message = f"namespaces says all: there's no need for {name}"
                raise spec_error(SpecError(message, "name it in one"))
    for name, keyword in TABLE.items():
        if name in given:
            found += spell(name, keyword, given[name])
    found += ["--", *program(args)]
    check_environment(given.get("env"))
    _check(found)
    return found


def _numbers(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the users and groups that are named by their ids, as subprocess looks them up.

    The launcher could, too; but the command line is read here first, and a process of the caller's
    that asks getent(1) would be a fork. A user who is named brings the login group along. Raises
    SpecError.
    """
    found: dict[str, Any] = {}
    if _is_name(user := given.get("user")):
        found["user"], login = _look("user", user)
        if given.get("group") is None:
            found["group"] = login
    if _is_name(group := given.get("group")):
        found["group"], _ = _look("group", group)
    groups = given.get("extra_groups")
    if isinstance(groups, str):
        groups = groups.split(",") if groups else ()
    if groups is not None and hasattr(groups, "__iter__"):
        found["extra_groups"] = [
            _look("extra_groups", each)[0] if _is_name(each) else each for each in groups
        ]
    return found


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and "\0" not in value and not value.isdigit()


def _look(keyword: str, name: str) -> tuple[int, int]:
    """Return the id behind a name, and the group that comes with it; raises SpecError."""
    with no_fork:
        import grp
        import pwd

    database = "passwd" if keyword == "user" else "group"
    try:
        if keyword == "user":
            return pwd.getpwnam(name)[2:4]
        return (grp.getgrnam(name)[2],) * 2
    except (KeyError, UnicodeEncodeError):
        with no_fork:
            from spawner import idmap

        raise SpecError(f"{keyword}: {idmap.unknown(name, database)}") from None


def spell(name: str, keyword: Keyword, value: object) -> Sequence[str]:
    """Return the words for the value of a keyword; raises TypeError and SpecError."""
    if value is None:
        return keyword.none
    try:
        with no_fork:  # some read a module
            return keyword.spell(keyword.option, value)
    except SpecError as error:
        raise spec_error(error) from None
    except ValueError as error:
        raise SpecError(f"{name}: {error}") from None
    except TypeError:
        raise TypeError(f"{name} takes {keyword.takes}, not {value!r}") from None


def program(args: Command) -> list[str]:
    """Return the program and its arguments; a single word is a program without any.

    Raises TypeError and SpecError.
    """
    listed = [args] if isinstance(args, (str, bytes, os.PathLike)) else args
    found = [os.fsdecode(word) for word in listed]
    for number, word in enumerate(found):
        try:
            _encoded(word)
        except ValueError as error:
            raise SpecError(f"args[{number}]: {error}") from None
    if not found:
        hint = "args is a list: the program and its arguments"
        raise spec_error(SpecError("no program was given", hint))
    return found


def check_environment(env: Environment | None) -> None:
    """Raise SpecError for variables that no environment can hold, environ(7), else TypeError."""
    if env is not None and not hasattr(env, "items"):
        raise TypeError(f"env takes a mapping of names to values, not {env!r}")
    for name, value in (env or {}).items():
        try:
            raw, content = _encoded(name), _encoded(value)
        except ValueError as error:
            raise SpecError(f"env: {error}") from None
        if not raw or b"=" in raw:
            raise SpecError(f"env: {name!r} can't be the name of a variable")
        if b"\0" in raw + content:
            raise SpecError(f"env: the variable {name!r} contains a NUL")


def _check(found: list[str]) -> None:
    """Raise SpecError for words that make no sense together."""
    try:
        with no_fork:
            values, program = cmdline.parse(options.TABLE, found)
            options.spec(values, program, user=os.geteuid(), group=os.getegid())
    except (cmdline.UsageError, SpecError) as error:
        raise spec_error(error) from None


def spec_error(error: cmdline.UsageError | SpecError) -> SpecError:
    """Return what the API raises for an error: in its words, with the hint in the traceback."""
    with no_fork:
        from spawner import wording  # which reads this module

    return wording.spec_error(error)


def check_names(function: str, given: Mapping[str, Any], known: Iterable[str] = ()) -> None:
    """Raise TypeError for a keyword that there isn't, with what there is in its place.

    `known` are the keywords that there are; those of `run` unless given.
    """
    names = tuple(known) or (*TABLE, *OURS, "start_timeout")
    for name, value in given.items():
        harmless, instead = _NOT_OURS.get(name, ((), ""))
        if any(type(value) is type(each) and value == each for each in harmless):
            continue
        if name in names and not instead:
            continue
        if instead:
            raise TypeError(f"{function}() takes no {name}={value!r}: {instead}")
        text = () if function == "plan" else _TEXT
        hint = _meant(name, (*names, *text, *(_RUN if function in ("run", "join") else ())))
        raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")


def _meant(name: str, names: Sequence[str]) -> str:
    """Return what a keyword was probably meant to be, as the end of a sentence."""
    if name in TABLE:
        return ": that is for what is made new"
    if name in NAMESPACES and "unshare" in names:
        return f": a new one is unshare={name!r}"
    found = _BY_OPTION.get(name)
    if found not in names:
        with no_fork:
            import difflib

        found = "".join(difflib.get_close_matches(name, (*names, *_NOT_OURS), 1))
    if found in _NOT_OURS and found not in names:
        return f": did you mean {found!r}? There is none here: {_NOT_OURS[found][1]}"
    return f": did you mean {found!r}?" if found else ""


def descriptors(pass_fds: Iterable[int]) -> tuple[int, ...]:
    """Return the descriptors that are for the program, all of which are open.

    Raises TypeError, and OSError for a closed one: subprocess would find that out in the child, and
    take it for a failure of the launcher's exec.
    """
    found = tuple(pass_fds)
    for descriptor in found:
        if isinstance(descriptor, bool) or not isinstance(descriptor, int):
            raise TypeError(f"pass_fds takes descriptors, which are numbers, not {descriptor!r}")
        try:
            os.fstat(descriptor)
        except (OSError, OverflowError):
            reason = f"{os.strerror(errno.EBADF)}: {descriptor} of pass_fds isn't open"
            raise OSError(errno.EBADF, reason) from None
    return found


def file_mode_mask(umask: int) -> int:
    """Return a mask for umask(2), or -1 for the caller's; raises TypeError and SpecError."""
    if isinstance(umask, bool) or not isinstance(umask, int):
        raise TypeError(f"umask takes a mask of permissions, as 0o022, not {umask!r}")
    if not -1 <= umask <= 0o777:
        raise SpecError(f"umask: {umask} isn't a mask of permissions: those are 0 to 0o777")
    return umask


def is_text(text: bool | None, universal_newlines: bool | None) -> bool | None:
    """Return what the two names of one thing say; raises SubprocessError as subprocess does."""
    if None not in (text, universal_newlines) and bool(text) != bool(universal_newlines):
        raise SubprocessError(
            "Cannot disambiguate when both text and universal_newlines are supplied but different. "
            "Pass one or the other."
        )
    return universal_newlines if text is None else text


def duration(name: str, seconds: float | None, *, from_now: bool = False) -> float | None:
    """Return a time-out in seconds, None for no end; raises TypeError and ValueError with words.

    One `from_now` may be over already, as what is left of a time that somebody else measures.
    """
    if seconds is None:
        return None
    try:
        return max(0.0, _finite(seconds, lowest=-math.inf if from_now else 0.0))
    except TypeError:
        raise TypeError(f"{name} takes a number of seconds, or None, not {seconds!r}") from None
    except ValueError as error:
        raise SpecError(f"{name}: {error}") from None


def _finite(seconds: float, lowest: float = 0.0) -> float:
    if not hasattr(type(seconds), "__float__"):  # float() would read text, too
        raise TypeError
    found = float(seconds)
    if math.isnan(found) or math.isinf(found):
        raise ValueError(f"{seconds!r} isn't a number of seconds; None means no limit")
    if found < lowest:
        raise ValueError(f"{seconds!r} seconds are less than none")
    return min(found, cmdline.LONGEST)


def limit_start(options: Options | JoinOptions, timeout: float | None) -> float | None:
    """Return the time-out of `run`; let the start take no longer, nor than `start_timeout`."""
    timeout = duration("timeout", timeout)
    limits = (timeout, duration("start_timeout", options.get("start_timeout")))
    options["start_timeout"] = min((each for each in limits if each is not None), default=None)
    return timeout


def check_call(function: str, options: Mapping[str, Any]) -> None:
    """Raise TypeError for what `run` takes and `call` doesn't, as in subprocess."""
    for name in {*_RUN} & {*options}:
        raise TypeError(f"{function}() takes no {name}: run() takes it")


def pipe_output(options: OutputEither) -> None:
    """Add the pipe that `check_output` needs; raises ValueError as subprocess.check_output.

    An `input` of None is an empty one there.
    """
    for name in ("stdout", "check"):
        if name in options:
            raise ValueError(f"{name} argument not allowed, it will be overridden.")
    if "input" in options and options["input"] is None:
        options["input"] = "" if any(options.get(name) for name in _TEXT) else b""
    options["stdout"] = PIPE


def pipe_streams(options: Options | JoinOptions, *, data: object, capture_output: bool) -> None:
    """Add the pipes that `run` needs to its options; raises ValueError as subprocess.run."""
    if data is not None:
        if options.get("stdin") is not None:
            raise ValueError("stdin and input arguments may not both be used.")
        options["stdin"] = PIPE
    if capture_output:
        if options.get("stdout") is not None or options.get("stderr") is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        options["stdout"] = options["stderr"] = PIPE
