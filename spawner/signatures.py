"""The types of keywords, and which make text of a program's output and which bytes.

Each of four makes text and none of them bytes; where a type doesn't tell which, it may be either.
So a function has six overloads, whose keywords are the classes here: `RunByText` are those of `run`
with `text=True`. Only type checkers read this.
"""

# ruff: noqa: D101  the names say it

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from typing import IO, Any, Literal, Required, TypeAlias

    from spawner.idmap import Extent, IdMap
    from spawner.network import Network, Publish
    from spawner.spec import Namespaces

    Word: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
    Command: TypeAlias = Word | Sequence[Word]
    Environment: TypeAlias = Mapping[str, Word] | Mapping[bytes, Word]
    Place: TypeAlias = bool | str | os.PathLike[str]
    Stream: TypeAlias = int | IO[Any] | None
    Names: TypeAlias = str | Iterable[str]
    Ports: TypeAlias = int | str | Publish | Iterable[int | str | Publish]
    Extents: TypeAlias = IdMap | str | Iterable[Extent | tuple[int, int, int] | str]


class _Ours(TypedDict, total=False):
    stdin: Stream
    stdout: Stream
    stderr: Stream
    bufsize: int
    pipesize: int
    close_fds: Literal[True]
    env: Environment | None
    pass_fds: Iterable[int]
    umask: int
    start_timeout: float | None
    cwd: Word | None
    user: int | str | None
    group: int | str | None
    extra_groups: str | Iterable[int | str] | None
    stop_signal: int | str
    stop_timeout: float | str | None


class Options(_Ours, total=False):
    """What `run` and `Process` take besides what decides between text and bytes."""

    init: Place
    namespaces: Namespaces | None
    unshare: Names
    share: Names
    unshare_try: Names
    hostname: str | None
    network: Network | str | None
    publish: Ports
    propagation: Literal["private", "slave", "shared", "unchanged"] | None
    mount_proc: Place
    map: Literal["root", "current", "auto"] | None
    map_users: Extents | None
    map_groups: Extents | None
    setgroups: Literal["allow", "deny"] | None
    monotonic: int | str | None
    boottime: int | str | None


class JoinOptions(_Ours, total=False):
    """The same for `join` and `JoinedProcess`."""

    namespaces: Names
    target_env: bool


class _ByText(TypedDict, total=False):
    text: Required[Literal[True]]
    universal_newlines: bool | None
    encoding: str | None
    errors: str | None


class _ByNewlines(TypedDict, total=False):
    text: bool | None
    universal_newlines: Required[Literal[True]]
    encoding: str | None
    errors: str | None


class _ByEncoding(TypedDict, total=False):
    text: bool | None
    universal_newlines: bool | None
    encoding: Required[str]
    errors: str | None


class _ByErrors(TypedDict, total=False):
    text: bool | None
    universal_newlines: bool | None
    encoding: str | None
    errors: Required[str]


class _Bytes(TypedDict, total=False):
    text: Literal[False] | None
    universal_newlines: Literal[False] | None
    encoding: None
    errors: None


class _Either(TypedDict, total=False):
    text: bool | None
    universal_newlines: bool | None
    encoding: str | None
    errors: str | None


class _Call(TypedDict, total=False):
    timeout: float | None


class _Run(_Call, total=False):
    capture_output: bool
    check: bool


class _Str(TypedDict, total=False):
    input: str | None


class _Raw(TypedDict, total=False):
    input: bytes | None


class _StrOrRaw(TypedDict, total=False):
    input: str | bytes | None


class StartByText(Options, _ByText, total=False): ...


class StartByNewlines(Options, _ByNewlines, total=False): ...


class StartByEncoding(Options, _ByEncoding, total=False): ...


class StartByErrors(Options, _ByErrors, total=False): ...


class StartBytes(Options, _Bytes, total=False): ...


class StartEither(Options, _Either, total=False): ...


class JoinByText(JoinOptions, _ByText, total=False): ...


class JoinByNewlines(JoinOptions, _ByNewlines, total=False): ...


class JoinByEncoding(JoinOptions, _ByEncoding, total=False): ...


class JoinByErrors(JoinOptions, _ByErrors, total=False): ...


class JoinBytes(JoinOptions, _Bytes, total=False): ...


class JoinEither(JoinOptions, _Either, total=False): ...


class OutputByText(Options, _ByText, _Call, _Str, total=False): ...


class OutputByNewlines(Options, _ByNewlines, _Call, _Str, total=False): ...


class OutputByEncoding(Options, _ByEncoding, _Call, _Str, total=False): ...


class OutputByErrors(Options, _ByErrors, _Call, _Str, total=False): ...


class OutputBytes(Options, _Bytes, _Call, _Raw, total=False): ...


class OutputEither(Options, _Either, _Call, _StrOrRaw, total=False): ...


class RunByText(Options, _ByText, _Run, _Str, total=False): ...


class RunByNewlines(Options, _ByNewlines, _Run, _Str, total=False): ...


class RunByEncoding(Options, _ByEncoding, _Run, _Str, total=False): ...


class RunByErrors(Options, _ByErrors, _Run, _Str, total=False): ...


class RunBytes(Options, _Bytes, _Run, _Raw, total=False): ...


class RunEither(Options, _Either, _Run, _StrOrRaw, total=False): ...


class JoinRunByText(JoinOptions, _ByText, _Run, _Str, total=False): ...


class JoinRunByNewlines(JoinOptions, _ByNewlines, _Run, _Str, total=False): ...


class JoinRunByEncoding(JoinOptions, _ByEncoding, _Run, _Str, total=False): ...


class JoinRunByErrors(JoinOptions, _ByErrors, _Run, _Str, total=False): ...


class JoinRunBytes(JoinOptions, _Bytes, _Run, _Raw, total=False): ...


class JoinRunEither(JoinOptions, _Either, _Run, _StrOrRaw, total=False): ...
