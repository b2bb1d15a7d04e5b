"""The options of `pyspawn exec`: its table, and the specification that they add up to."""

from pyinit.cmdline import Option, UsageError, descriptor, parse
from spawner.command import run
from spawner.joining.target import Joins
from spawner.spec import KINDS, Choice, Namespaces, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

HELP = "pyspawn exec --help"
"""The command that shows the help."""

USAGE = """\
Usage: pyspawn exec TARGET [OPTIONS] [--] [PROGRAM [ARG...]]

Run PROGRAM, or your shell ($SHELL), in the namespaces of TARGET: a process in the container (by its
pid), a namespace file like /proc/PID/ns/net, or a directory of such files, as `pyspawn --persist`
makes. With a process, PROGRAM also gets the root and the working directory of that process."""

FOOTER = """\
Without a flag PROGRAM joins every namespace of TARGET that differs from yours; with flags, only
those that the flags name. In a joined user namespace PROGRAM is root, unless setgroups is denied
there, or --setuid and --setgid say otherwise; where no id is mapped for PROGRAM, it isn't started.
It gets your environment, and none of your descriptors above 2.

PROGRAM gets none of the control groups, limits, capabilities and seccomp filters of TARGET.

Exit status: PROGRAM's own; 128+N if signal N killed it; 127 if it wasn't found; 126 if it couldn't
be executed; 125 if pyspawn itself could not do its work. pyspawn forwards every signal that it
gets."""

_SHARED = ("time-limit", "max-output",
           "workdir", "env", "clearenv", "stop-signal", "stop-timeout", "die-with-parent",
           "new-session", "json-status", "dry-run", "explain", "verbose", "background", "quiet",
           "lifeline", "help", "version")  # fmt: skip
"""The options of `pyspawn run` that mean the same here."""


def _user(word: str) -> int:
    return _id(word, "passwd")


def _group(word: str) -> int:
    return _id(word, "group")


def _groups(word: str) -> tuple[int, ...]:
    return tuple(map(_group, word.split(","))) if word else ()


def _id(word: str, database: str) -> int:
    """Return a number; raises ValueError for a name, which only the target's files know."""
    from spawner.ids import idmap

    if word.isascii() and not word.isdigit() and word.replace("-", "").isidentifier():
        raise ValueError(
            f"{word!r} is not an id, and pyspawn doesn't look up names in TARGET: "
            f"`pyspawn exec TARGET -- getent {database} {word}` shows the id"
        )
    return idmap.identity(word)


OWN = (
    *(
        Option(flag.long, flag.short, help=f"Join the {KINDS[flag.long].title} namespace.")
        for flag in run.FLAGS
    ),
    Option(
        "setuid",
        "S",
        metavar="UID",
        convert=_user,
        help="Run PROGRAM as this user, as seen in the container.",
    ),
    Option("setgid", "G", metavar="GID", convert=_group, help="Run PROGRAM as this group."),
    Option("groups", metavar="GID,...", convert=_groups, help=run.BY_NAME["groups"].help),
    Option("target-env", help="Give PROGRAM the environment of the process TARGET, not yours."),
    Option(
        "pass-fd",
        metavar="FD",
        convert=descriptor,
        many=True,
        help="Give PROGRAM your descriptor FD as well. Repeatable.",
    ),
)
"""The options that only `pyspawn exec` has, or that mean something else in it."""

TABLE = (*OWN, *(run.BY_NAME[name] for name in _SHARED))


def spec(values: "Mapping[str, Any]", program: list[str], *, user: int, group: int) -> Spec:
    """Return what the parsed options add up to; the first word of `program` is the target.

    More options may follow on it. Raises UsageError and SpecError.
    """
    if not program:
        raise UsageError("no target was given", "pyspawn exec PID -- PROGRAM [ARG...]")
    kinds = [kind for kind in KINDS if values.get(kind)]
    joins = Joins(
        program[0],
        kinds=kinds or None,
        environment=values.get("target_env", False),
        passed=values.get("pass_fd", ()),
    )
    wishes = (*run.wishes(values, Choice(user, group)), joins)
    given = {
        name: values[name]
        for name in ("workdir", "stop_signal", "stop_timeout", "die_with_parent")
        if name in values
    }
    return Spec(
        tuple(program[1:]) or (run.shell(),),
        namespaces=Namespaces(()),
        wishes=wishes,
        environment=tuple(values.get("env", ())),
        clear_environment=values.get("clearenv", False),
        **given,
    )


def split(words: list[str]) -> list[str]:
    """Return the words of a command line with the options that follow on the target before it."""
    _, rest = parse(TABLE, words)
    if not rest:
        return words
    before = words[: len(words) - len(rest)]
    if before[-1:] == ["--"]:
        return words
    _, program = parse(TABLE, rest[1:])
    between = rest[1 : len(rest) - len(program)]
    if between[-1:] == ["--"]:
        del between[-1]
    return [*before, *between, "--", rest[0], *program]
