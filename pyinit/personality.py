"""Be another init's twin: its command line, environment variables, defaults and exit statuses.

Called by the name of tini, docker-init, dumb-init or catatonit, or with `--as NAME`, so that an
image changes its init by changing one file. What each tool takes and what we do better is in
docs/twins.md. Here each command line becomes the same `Settings` that ours becomes.
"""

import _signal
import posix

from pyinit import OURS, getopt, settings
from pyinit.twin import DEBUG, FATAL, WARNING, Twin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

_STOPS = (_signal.SIGTSTP, _signal.SIGTTIN, _signal.SIGTTOU)


def parse(words: list[bytes]) -> settings.Settings:
    """Return what is asked for by `words`: a tool's name, then its command line.

    Raises settings.AnsweredError where the words were answered with a text.
    """
    name = words[0].decode("utf-8", "backslashreplace") if words else ""
    if name not in TOOLS:
        from pyinit import report

        what = f"{name!r} is not one of" if name else "it needs one of"
        report.Report().fatal(f"--as: {what} {', '.join(TOOLS)}")
        raise settings.AnsweredError(OURS)
    return TOOLS[name](name, [word.decode("utf-8", "surrogateescape") for word in words[1:]])


def _tini(name: str, words: list[str]) -> settings.Settings:
    """Return what a command line of tini 0.19 asks for."""
    twin = Twin("tini", name)
    values: dict[str, Any] = {"twin": twin}
    codes: list[tuple[int, int]] = []
    if words == ["--version"]:
        _answer(twin, "version")
    options = getopt.Options(words, "p:hvwgle:s", permute=_permutes())
    for letter, value in _understood(twin, options):
        match letter:
            case "h":
                _answer(twin, "help")
            case "l":
                _answer(twin, "licence")
            case "v":
                twin.verbosity += 1
            case "w":
                values["warn_orphans"] = True
            case "g":
                values["group"] = True
            case "e":
                codes.append((_exit_code(twin, value), 0))
            case "p":
                values["parent_death"] = _parent_death(twin, value)
            case "s":
                pass  # we are always a subreaper
    if not options.rest:
        _answer(twin, "usage")
    if b"TINI_KILL_PROCESS_GROUP" in posix.environ:
        values["group"] = True
    if (level := posix.environ.get(b"TINI_VERBOSITY")) is not None:
        twin.verbosity = getopt.integer(level.decode("utf-8", "surrogateescape"))[0] or 0
    if twin.verbosity < WARNING:
        values["warn_orphans"] = False
    values["exit_code"] = codes
    return _settings(values, options.rest)


def _exit_code(twin: Twin, word: str) -> int:
    """Return the exit code that -e of tini means; nothing at all is 0, as strtol(3) has it."""
    code, left = getopt.integer(word)
    if left or not 0 <= (code or 0) <= 255:
        _refuse(twin, f"-e: {word!r} is not an exit code from 0 to 255")
    return code or 0


def _parent_death(twin: Twin, word: str) -> int:
    """Return the signal that -p of tini means: a full name."""
    from pyinit import signames

    try:
        number = signames.number(word) if word.startswith("SIG") else 0
    except ValueError:
        number = 0
    if not number:
        _refuse(twin, f"-p: {word!r} is not the name of a signal, such as SIGTERM")
    return number


def _dumb_init(name: str, words: list[str]) -> settings.Settings:
    """Return what a command line of dumb-init 1.2 asks for."""
    twin = Twin("dumb-init", name)
    values: dict[str, Any] = {"twin": twin, "suspends": True}
    own_session = True
    rewrite: dict[int, int] = {}
    names = {"help": "h", "single-child": "c", "rewrite": "r", "verbose": "v", "version": "V"}
    options = getopt.Options(words, "hvVcr:", names, permute=False)
    for letter, value in _understood(twin, options):
        match letter:
            case "h":
                _answer(twin, "help")
            case "V":
                _answer(twin, "version")
            case "v":
                twin.verbosity = DEBUG
            case "c":
                own_session = False
            case "r":
                source, target = _rewrite(twin, value)
                rewrite[source] = target
    if not options.rest:
        _answer(twin, "usage")
    if posix.environ.get(b"DUMB_INIT_DEBUG") == b"1":
        twin.verbosity = DEBUG
    if posix.environ.get(b"DUMB_INIT_SETSID") == b"0":
        own_session = False
    if own_session:
        # Stops of the terminal's kind do nothing in an orphaned group, as a new session has.
        rewrite = dict.fromkeys(_STOPS, _signal.SIGSTOP) | rewrite
        values["group"] = True
        values["parting"] = rewrite.get(_signal.SIGTERM, _signal.SIGTERM)
    values["place"] = settings.OWN_SESSION if own_session else settings.OUR_GROUP
    values["rewrite"] = rewrite
    return _settings(values, options.rest)


def _rewrite(twin: Twin, word: str) -> tuple[int, int]:
    """Return (from, to) of dumb-init's `FROM:TO`: numbers, and what follows them is overlooked."""
    source, left = getopt.integer(word)
    target = getopt.integer(left[1:])[0] if left.startswith(":") else None
    if source is None or target is None or not (1 <= source <= 31 and 0 <= target <= 31):
        _refuse(twin, f"-r: {word!r} is not FROM:TO, the numbers of two signals from 1 to 31")
    return source, target


def _catatonit(name: str, words: list[str]) -> settings.Settings:
    """Return what a command line of catatonit 0.2 asks for."""
    twin = Twin("catatonit", name, FATAL)
    values: dict[str, Any] = {"twin": twin}
    if b"CATATONIT_DEBUG" in posix.environ:
        twin.verbosity = DEBUG
    options = getopt.Options(words, "ghLPV", {"version": "V"}, permute=_permutes())
    for letter, _ in _understood(twin, options):
        match letter:
            case "g":
                values["group"] = True
            case "h":
                _answer(twin, "help")
            case "L":
                _answer(twin, "licence")
            case "P":
                values["pause"] = True
            case "V":
                _answer(twin, "version")
    if values.get("pause"):
        return _settings(values, [])  # as the tool has it: a program is overlooked
    if not options.rest:
        _complain(twin, "no program given")
        _answer(twin, "usage")
    return _settings(values, options.rest)


TOOLS: "dict[str, Callable[[str, list[str]], settings.Settings]]" = {
    "tini": _tini,
    "docker-init": _tini,
    "dumb-init": _dumb_init,
    "catatonit": _catatonit,
}
"""The names that we answer to as another, and how each reads its command line."""


def _permutes() -> bool:
    """Tell whether options may stand behind other words, getopt(3)."""
    return b"POSIXLY_CORRECT" not in posix.environ


def _understood(twin: Twin, options: getopt.Options) -> "Iterator[tuple[str, str]]":
    """Yield the options; one that makes no sense is answered with the usage."""
    try:
        yield from options
    except getopt.OptionError as error:
        _answer(twin, "usage", f"{error}")


def _settings(values: "dict[str, Any]", program: list[str]) -> settings.Settings:
    """Return the settings of a tool's `values`."""
    twin: Twin = values["twin"]
    values["verbose"] = max(0, twin.verbosity - WARNING)
    asked = settings.Settings(values, [word.encode("utf-8", "surrogateescape") for word in program])
    if asked.tells_all:
        from pyinit import personality_words  # noqa: F401  while the root is still ours
    return asked


def _refuse(twin: Twin, text: str) -> "NoReturn":
    """Say what is wrong with an option's value."""
    _complain(twin, text)
    raise settings.AnsweredError(twin.failed)


def _complain(twin: Twin, text: str) -> None:
    """Say what is wrong, as the tool does."""
    from pyinit import personality_words

    personality_words.Voice(twin).fatal(text)


def _answer(twin: Twin, wanted: str, complaint: str = "") -> "NoReturn":
    """Print the "help", "version" or "licence" that was asked for, or a complaint and "usage"."""
    from pyinit import outlet, personality_words

    descriptor, text = personality_words.answer(twin, wanted, complaint)
    if not outlet.answer(descriptor, text.encode("utf-8", "surrogateescape")):
        raise settings.AnsweredError(twin.failed)
    raise settings.AnsweredError(twin.failed if wanted == "usage" else 0)
