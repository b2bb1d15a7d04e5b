"""Run programs in existing namespaces, with the interface of `subprocess`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, AnyStr, overload

from pyinit import cmdline
from spawner import spec
from spawner.api import keywords, words
from spawner.api.child import Container
from spawner.api.exchange import ending
from spawner.api.process import Process, _finish
from spawner.command import exec
from spawner.errors import SpecError
from spawner.forks import no_fork

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias, Unpack

    from spawner.api.process import CompletedProcess
    from spawner.api.signatures import (
        Command,
        JoinBytes,
        JoinEither,
        JoinRunBytes,
        JoinRunEither,
        JoinRunText,
        JoinText,
        Word,
    )

    Target: TypeAlias = int | Word | Container

_SHARED = ("cwd", "user", "group", "extra_groups", "max_output", "stop_signal",
           "stop_timeout", "new_session")  # fmt: skip
"""Keywords that become options of `pyspawn exec`, as they become options of `pyspawn run`."""

KEYWORDS = (
    *(*_SHARED, *keywords.SUBPROCESS, *keywords.TEXT),
    *("namespaces", "target_env", "start_timeout"),
)
"""All keywords of JoinedProcess."""


class JoinedProcess(Process[AnyStr]):
    """A program in the namespaces of a target; otherwise like `Process`.

    `pid` is the program's. `namespaces` are those that it is in, joined or the caller's.
    """

    _subcommand = ("exec",)

    @overload
    def __init__(
        self: JoinedProcess[bytes], target: Target, args: Command, **options: Unpack[JoinBytes]
    ) -> None: ...
    @overload
    def __init__(
        self: JoinedProcess[str], target: Target, args: Command, **options: Unpack[JoinText]
    ) -> None: ...
    @overload
    def __init__(
        self: JoinedProcess[Any], target: Target, args: Command, **options: Unpack[JoinEither]
    ) -> None: ...
    def __init__(self, target: Target, args: Command, **options: Unpack[JoinEither]) -> None:
        """Start `args` in the namespaces of `target` and return once it runs.

        `target` is a pid, a `Process`, the path of a namespace file, or that of a directory of
        them. `namespaces` names those that are joined; without any it's all that differ, and a
        process's root and working directory too. `target_env` gives the program the environment of
        the process. All others are as in `Process`, `cwd` inside; `user` and `group` are root's
        unless said, where a user namespace is joined.

        Raises TypeError for a value of a wrong type, before anything is started.
        """
        check_names("JoinedProcess", options)
        options["pass_fds"] = keywords.descriptors(options.get("pass_fds", ()))
        line = command(target, args, options)
        self._begin(args, line, options)


def check_names(function: str, given: Mapping[str, Any]) -> None:
    """Raise TypeError for a keyword that JoinedProcess doesn't have."""
    words.check_names(function, given, KEYWORDS)


def command(target: Target, args: Command, given: Mapping[str, Any]) -> list[str]:
    """Return the words after `pyspawn exec`; raises TypeError and SpecError."""
    found = ["--quiet", "--die-with-parent", "--background"]
    kinds = given.get("namespaces", ())
    for name in kinds.split(",") if isinstance(kinds, str) and kinds else kinds:
        kind = spec.kind_of(name)
        if kind not in spec.NAMESPACES:
            message = f"namespaces: {kind!r} is not a kind of namespace"
            hint = f"the kinds are {', '.join(spec.NAMESPACES)}"
            raise words.spec_error(SpecError(message, hint))
        found.append(f"--{kind}")
    if given.get("target_env"):
        found.append("--target-env")
    found += [f"--pass-fd={descriptor}" for descriptor in given["pass_fds"]]
    for name in _SHARED:
        if name in given:
            found += words.spell(name, keywords.TABLE[name], given[name])
    found += ["--", _target(target), *words.program(args)]
    words.check_environment(given.get("env"))
    try:
        with no_fork:
            values, program = cmdline.parse(exec.TABLE, found)
            exec.spec(values, program, user=os.geteuid(), group=os.getegid())
    except (cmdline.UsageError, SpecError) as error:
        with no_fork:
            from spawner.api import wording

        raise wording.spec_error(error, wording.JOINED) from None
    return found


def _target(target: Target) -> str:
    """Return a target as one word for the command line, in which a path never looks like a pid."""
    if isinstance(target, Container):
        if target.returncode is not None:
            hint = "name a running process"
            raise words.spec_error(SpecError("the target has ended", hint))
        return str(target.pid)
    if isinstance(target, bool) or not isinstance(target, (int, str, bytes, os.PathLike)):
        raise TypeError(f"target needs a Process, a pid or a path, not {target!r}")
    if isinstance(target, int):
        return str(int(target))
    word = os.fsdecode(target)
    return f"./{word}" if word.isdigit() else word


@overload
def join(
    target: Target, args: Command, **options: Unpack[JoinRunBytes]
) -> CompletedProcess[bytes]: ...
@overload
def join(
    target: Target, args: Command, **options: Unpack[JoinRunText]
) -> CompletedProcess[str]: ...
@overload
def join(
    target: Target, args: Command, **options: Unpack[JoinRunEither]
) -> CompletedProcess[Any]: ...
def join(
    target: Target,
    args: Command,
    *,
    input: str | bytes | None = None,  # noqa: A002  the name that subprocess gave it
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Unpack[JoinEither],
) -> CompletedProcess[Any]:
    """Run `args` in the namespaces of `target` to its end and return how it went, as `run` does.

    The `options` are those of `JoinedProcess`. Of what the program has started, all that is below
    it ends with it when the time is over; what others have taken over, in a joined PID namespace,
    stays with them.
    """
    check_names("join", options)
    keywords.pipe_streams(options, data=input, capture_output=capture_output)
    timeout = keywords.limit_start(options, timeout)
    deadline = ending(timeout)
    process = JoinedProcess[Any](target, args, **options)
    return _finish(process, input, timeout, deadline, check=check)
