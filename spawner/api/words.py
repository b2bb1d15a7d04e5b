"""Turn the arguments of `run` and related functions into the launcher's command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyinit import cmdline
from spawner.api import keywords
from spawner.command import run
from spawner.errors import SpecError
from spawner.forks import no_fork
from spawner.spec import NAMESPACES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, TypeGuard

    from spawner.api.signatures import Command, Environment

_WINDOWS = "that keyword exists only on Windows"
_NOT_OURS: dict[str, tuple[tuple[object, ...], str]] = {
    "shell": ((False,), "for a line of shell, use ['sh', '-c', line]"),
    "executable": ((None,), "name the program first in args"),
    "preexec_fn": (
        (None,),
        "no Python runs between fork and exec: start a program that prepares, then executes yours",
    ),
    "close_fds": ((True,), "the program gets only the standard streams and what pass_fds names"),
    "restore_signals": (
        (True,),
        "to ignore a signal, begin args with ['sh', '-c', 'trap \"\" PIPE; exec \"$@\"', 'sh', …]",
    ),
    "start_new_session": ((False,), "new_session=True does that, and more"),
    "process_group": (
        (None, -1),
        "with pyinit the program leads a process group of its own, and can't join one outside",
    ),
    "startupinfo": ((None,), _WINDOWS),
    "creationflags": ((0,), _WINDOWS),
    "timeout": ((None,), "run(), wait() and communicate() accept it; a start has start_timeout"),
    "input": ((None,), "run() and communicate() accept it"),
    "capture_output": ((False,), "run() accepts it; here it's stdout=PIPE, stderr=PIPE"),
    "check": ((False,), "run() accepts it"),
}
"""Keywords of subprocess that aren't supported: the harmless values, and what to use instead."""

_BY_OPTION = {
    each.option.replace("-", "_"): name for name, each in keywords.TABLE.items() if each.option
}
_BY_OPTION |= {option.replace("-", "_"): "map" for option in keywords.MAPS.values()}


_FIELDS = {
    "time_limit": "time",
    "pids_limit": "pids",
    "mem_limit": "memory",
    "rlimit": "rlimits",
    "ulimits": "rlimits",
    "rootfs": "root",
}
"""Names of options and of Docker's keywords for fields of Limits, Rights and Mounts."""

_ENTRIES = {
    "bind": "Bind(source, target)",
    "ro_bind": "Bind(source, target, read_only=True)",
    "dev_bind": "Bind(source, target, devices=True)",
    "volumes": "Bind(source, target)",
    "tmpfs": "Tmpfs(target)",
    "overlay": "Overlay(target)",
    "dev": "Dev()",
    "mask": "Mask(path)",
    "readonly": "ReadOnly(path)",
}
"""What Mounts holds, by the options for it."""


def command(args: Command, given: Mapping[str, Any]) -> list[str]:
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
                message = f"namespaces can't be given together with {name}"
                raise spec_error(SpecError(message, "name the namespaces in only one of them"))
    for name, keyword in keywords.TABLE.items():
        if name in given:
            found += spell(name, keyword, given[name])
    if given.get("changes"):
        _check_overlays(given.get("mounts"))
    if given.get("sandbox"):
        found += _passed_on(given)
    found += ["--", *program(args)]
    check_environment(given.get("env"))
    _check(found)
    return found


def _check_overlays(mounts: object) -> None:
    """Raise SpecError for mounts without an overlay whose changes could be told."""
    with no_fork:
        from spawner.mount.mounts import overlays

    if not overlays(getattr(mounts, "entries", ())):
        message = "changes: there's no overlay whose changes could be reported"
        raise spec_error(SpecError(message, "give mounts an Overlay"))


def _passed_on(given: Mapping[str, Any]) -> list[str]:
    """Return the words by which what the caller names goes into a sandbox, too.

    What it starts the launcher with: descriptors, and an environment. Variables aren't words, which
    others may read.
    """
    descriptors = ",".join(map(str, given.get("pass_fds", ())))
    found = [f"--pass-fds={descriptors or 'none'}"]
    return found if given.get("env") is None else [*found, "--keep-env"]


def _numbers(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ids of users and groups that were given by name, looked up as subprocess does.

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
    """Return the id of a user or group, and its (login) group; raises SpecError."""
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
            from spawner.ids import idmap

        raise SpecError(f"{keyword}: {idmap.unknown(name, database)}") from None


def spell(name: str, keyword: keywords.Keyword, value: object) -> Sequence[str]:
    """Return the launcher's words for the value of a keyword; raises TypeError and SpecError."""
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
        raise TypeError(f"{name} needs {keyword.needs}, not {value!r}") from None


def program(args: Command) -> list[str]:
    """Return the program and its arguments as a list; a single word is a program without arguments.

    Raises TypeError and SpecError.
    """
    listed = [args] if isinstance(args, (str, bytes, os.PathLike)) else args
    found = [os.fsdecode(word) for word in listed]
    for number, word in enumerate(found):
        try:
            keywords.encoded(word)
        except ValueError as error:
            raise SpecError(f"args[{number}]: {error}") from None
    if not found:
        hint = "args is a list: the program and its arguments"
        raise spec_error(SpecError("no program was given", hint))
    return found


def check_environment(env: Environment | None) -> None:
    """Check the variables of `env`, environ(7); raises SpecError and TypeError."""
    if env is not None and not hasattr(env, "items"):
        raise TypeError(f"env needs a mapping of names to values, not {env!r}")
    for name, value in (env or {}).items():
        try:
            raw, content = keywords.encoded(name), keywords.encoded(value)
        except ValueError as error:
            raise SpecError(f"env: {error}") from None
        if not raw or b"=" in raw:
            raise SpecError(f"env: {name!r} can't be the name of a variable")
        if b"\0" in raw + content:
            raise SpecError(f"env: the variable {name!r} contains a NUL")


def _check(found: list[str]) -> None:
    """Raise SpecError for a command line that makes no sense as a whole."""
    try:
        with no_fork:
            values, program = cmdline.parse(run.TABLE, found)
            run.spec(values, program, user=os.geteuid(), group=os.getegid())
    except (cmdline.UsageError, SpecError) as error:
        raise spec_error(error) from None


def spec_error(error: cmdline.UsageError | SpecError) -> SpecError:
    """Return an error in the API's words, with the hint in its traceback."""
    with no_fork:
        from spawner.api import wording

    return wording.spec_error(error)


def check_names(function: str, given: Mapping[str, Any], known: Iterable[str] = ()) -> None:
    """Raise TypeError for an unknown keyword, with the one to use in its place.

    `known` are the keywords that there are; those of `run` unless given.
    """
    text = () if function == "plan" else keywords.TEXT
    names = tuple(known) or (*keywords.TABLE, *keywords.SUBPROCESS, "start_timeout", *text)
    for name, value in given.items():
        harmless, instead = _NOT_OURS.get(name, ((), ""))
        if any(type(value) is type(each) and value == each for each in harmless):
            continue
        if name in names and not instead:
            continue
        if instead:
            raise TypeError(f"{function}() doesn't accept {name}={value!r}: {instead}")
        hint = _meant(name, (*names, *text, *(keywords.RUN if function in ("run", "join") else ())))
        raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")


def _holder(name: str) -> str | None:
    """Return the value that holds what an option, or Docker's keyword, says by itself."""
    with no_fork:
        from spawner.limit.limits import Limits
        from spawner.rights.rights import Rights
    field = _FIELDS.get(name, name)
    if field in Limits.__annotations__:
        return f"limits=spawner.Limits({field}=…)"
    if field in Rights.__annotations__:
        return f"rights=spawner.Rights({field}=…)"
    if field in ("root", "read_only"):
        return f"mounts=spawner.Mounts({field}=…)"
    return f"mounts=spawner.Mounts([spawner.{_ENTRIES[name]}])" if name in _ENTRIES else None


def _meant(name: str, names: Sequence[str]) -> str:
    """Return which keyword was probably meant, as the end of an error message."""
    if name in keywords.TABLE:
        return ": that keyword is only for new containers"
    if name in NAMESPACES and "unshare" in names:
        return f": for a new namespace, use unshare={name!r}"
    if "limits" in names and (value := _holder(name)):
        return f": use {value}"
    found = _BY_OPTION.get(name)
    if found not in names:
        with no_fork:
            import difflib

        found = "".join(difflib.get_close_matches(name, (*names, *_NOT_OURS), 1))
    if found in _NOT_OURS and found not in names:
        return f": did you mean {found!r}? There is no such keyword here: {_NOT_OURS[found][1]}"
    return f": did you mean {found!r}?" if found else ""
