"""Run programs in the namespaces of others, with the manners of `subprocess`: `pyspawn exec`."""

from __future__ import annotations

import os
from signal import SIGTERM
from typing import TYPE_CHECKING, Any, AnyStr, overload

from pyinit import cmdline
from spawner import joinoptions, keywords, spec, words
from spawner.container import Container
from spawner.errors import SpecError
from spawner.exchange import ending
from spawner.forks import no_fork
from spawner.process import Process, _finish

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypeAlias, Unpack

    from spawner.process import CompletedProcess
    from spawner.signatures import (
        Command,
        Environment,
        JoinByEncoding,
        JoinByErrors,
        JoinByNewlines,
        JoinBytes,
        JoinByText,
        JoinEither,
        JoinOptions,
        JoinRunByEncoding,
        JoinRunByErrors,
        JoinRunByNewlines,
        JoinRunBytes,
        JoinRunByText,
        JoinRunEither,
        Names,
        Stream,
        Word,
    )

    Target: TypeAlias = int | Word | Container

_SHARED = ("cwd", "user", "group", "extra_groups", "stop_signal", "stop_timeout")
"""Keywords of `Process` that mean the same here."""


class JoinedProcess(Process[AnyStr]):
    """A program in the namespaces of a target; in all else like `Process`.

    `pid` is the program's. `namespaces` are those that it is in, joined or the caller's.
    """

    _subcommand = ("exec",)

    @overload
    def __init__(
        self: JoinedProcess[str], target: Target, args: Command, **options: Unpack[JoinByText]
    ) -> None: ...
    @overload
    def __init__(
        self: JoinedProcess[str], target: Target, args: Command, **options: Unpack[JoinByNewlines]
    ) -> None: ...
    @overload
    def __init__(
        self: JoinedProcess[str], target: Target, args: Command, **options: Unpack[JoinByEncoding]
    ) -> None: ...
    @overload
    def __init__(
        self: JoinedProcess[str], target: Target, args: Command, **options: Unpack[JoinByErrors]
    ) -> None: ...
    @overload
    def __init__(
        self: JoinedProcess[bytes], target: Target, args: Command, **options: Unpack[JoinBytes]
    ) -> None: ...
    @overload
    def __init__(
        self: JoinedProcess[Any], target: Target, args: Command, **options: Unpack[JoinEither]
    ) -> None: ...
    def __init__(
        self,
        target: Target,
        args: Command,
        *,
        namespaces: Names = (),
        target_env: bool = False,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        text: bool | None = None,
        universal_newlines: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        bufsize: int = -1,
        pipesize: int = -1,
        close_fds: bool = True,
        umask: int = -1,
        cwd: Word | None = None,
        env: Environment | None = None,
        pass_fds: Iterable[int] = (),
        user: int | str | None = None,
        group: int | str | None = None,
        extra_groups: str | Iterable[int | str] | None = None,
        stop_signal: int | str = SIGTERM,
        stop_timeout: float | str | None = spec.STOP_TIMEOUT,
        start_timeout: float | None = None,
        **others: Any,
    ) -> None:
        """Start `args` in the namespaces of `target` and return once it runs.

        `target` is a pid, a `Process`, the path of a namespace file, or that of a directory of
        them. `namespaces` names those that are joined; without any it's all that differ, and a
        process's root and working directory too. `target_env` gives the program the environment of
        the process. All others are as in `Process`, `cwd` inside; `user` and `group` are root's
        unless said, where a user namespace is joined.

        Raises TypeError for a value of a wrong type, before anything is started.
        """
        given = locals()
        check_names("JoinedProcess", {"close_fds": close_fds, **others})
        pass_fds = keywords.descriptors(pass_fds)
        found = command(target, args, {**given, "pass_fds": pass_fds})
        self._begin(
            args,
            found,
            pass_fds,
            start_timeout,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=keywords.is_text(text, universal_newlines),
            encoding=encoding,
            errors=errors,
            bufsize=bufsize,
            pipesize=pipesize,
            umask=keywords.file_mode_mask(umask),
            env=env,
        )


def check_names(function: str, given: Mapping[str, Any]) -> None:
    """Raise TypeError for a keyword that JoinedProcess doesn't have."""
    known = JoinedProcess.__init__.__kwdefaults__ or {}
    words.check_names(function, given, known)


def command(target: Target, args: Command, given: Mapping[str, Any]) -> list[str]:
    """Return the words after `pyspawn exec`; raises TypeError and SpecError."""
    found = ["--quiet", "--die-with-parent", "--background"]
    kinds = given["namespaces"]
    for name in kinds.split(",") if isinstance(kinds, str) and kinds else kinds:
        kind = spec.kind_of(name)
        if kind not in spec.NAMESPACES:
            message = f"namespaces: {kind!r} is not a kind of namespace"
            hint = f"the kinds are {', '.join(spec.NAMESPACES)}"
            raise words.spec_error(SpecError(message, hint))
        found.append(f"--{kind}")
    if given["target_env"]:
        found.append("--target-env")
    found += [f"--pass-fd={descriptor}" for descriptor in given["pass_fds"]]
    for name in _SHARED:
        found += words.spell(name, keywords.TABLE[name], given[name])
    found += ["--", _target(target), *words.program(args)]
    words.check_environment(given["env"])
    try:
        with no_fork:
            values, program = cmdline.parse(joinoptions.TABLE, found)
            joinoptions.spec(values, program, user=os.geteuid(), group=os.getegid())
    except (cmdline.UsageError, SpecError) as error:
        with no_fork:
            from spawner import wording

        raise wording.spec_error(error, wording.JOINED) from None
    return found


def _target(target: Target) -> str:
    """Return the word that stands for a target: a path is never taken for a pid."""
    if isinstance(target, Container):
        if target.returncode is not None:
            hint = "join a process that runs"
            raise words.spec_error(SpecError("the target has ended", hint))
        return str(target.pid)
    if isinstance(target, bool) or not isinstance(target, (int, str, bytes, os.PathLike)):
        raise TypeError(f"target takes a Process, a pid or a path, not {target!r}")
    if isinstance(target, int):
        return str(int(target))
    word = os.fsdecode(target)
    return f"./{word}" if word.isdigit() else word


@overload
def join(
    target: Target, args: Command, **options: Unpack[JoinRunByText]
) -> CompletedProcess[str]: ...
@overload
def join(
    target: Target, args: Command, **options: Unpack[JoinRunByNewlines]
) -> CompletedProcess[str]: ...
@overload
def join(
    target: Target, args: Command, **options: Unpack[JoinRunByEncoding]
) -> CompletedProcess[str]: ...
@overload
def join(
    target: Target, args: Command, **options: Unpack[JoinRunByErrors]
) -> CompletedProcess[str]: ...
@overload
def join(
    target: Target, args: Command, **options: Unpack[JoinRunBytes]
) -> CompletedProcess[bytes]: ...
@overload
def join(
    target: Target, args: Command, **options: Unpack[JoinRunEither]
) -> CompletedProcess[Any]: ...
def join(
    target: Target,
    args: Command,
    *,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    input: str | bytes | None = None,  # noqa: A002  the name that subprocess gave it
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Unpack[JoinOptions],
) -> CompletedProcess[Any]:
    """Run `args` in the namespaces of `target` to its end, as `run`, and return how it went.

    The `options` are those of `JoinedProcess`. Of what the program has started, all that is below
    it ends with it when the time is over; what others have taken over, in a joined PID namespace,
    stays with them.
    """
    check_names("join", options)
    keywords.pipe_streams(options, data=input, capture_output=capture_output)
    timeout = keywords.limit_start(options, timeout)
    deadline = ending(timeout)
    text = keywords.is_text(text, universal_newlines)
    process = JoinedProcess[Any](
        target, args, text=text, encoding=encoding, errors=errors, **options
    )
    return _finish(process, input, timeout, deadline, check=check)
