"""The types of the Python API's keywords, for type checkers.

Any of `text`, `universal_newlines`, `encoding` and `errors` makes text of a program's output, and
none of them bytes; where a type doesn't tell which, it may be either. So a function has three
overloads, whose keywords are the classes here: `RunBytes` are those of `run` that make bytes,
`RunText` those that make text. Bytes come first: what matches both has none of the four. Only type
checkers read this.
"""

# ruff: noqa: D101  the names say it

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from typing import IO, Any, Literal, TypeAlias

    from spawner.ids.idmap import Extent, IdMap
    from spawner.limit.limits import Limits
    from spawner.mount.mounts import Mounts
    from spawner.net.network import Network, Publish
    from spawner.rights.rights import Rights
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
    max_output: int | str | None
    stop_signal: int | str
    stop_timeout: float | str | None
    new_session: bool


class Options(_Ours, total=False):
    """The keywords of `run` and `Process`, except those that choose between text and bytes."""

    sandbox: bool
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
    mounts: Mounts | None
    changes: bool
    limits: Limits | None
    rights: Rights | None
    map: Literal["root", "current", "auto"] | None
    map_users: Extents | None
    map_groups: Extents | None
    setgroups: Literal["allow", "deny"] | None
    monotonic: int | str | None
    boottime: int | str | None


class JoinOptions(_Ours, total=False):
    """The keywords of `join` and `JoinedProcess`, except those that choose text or bytes."""

    namespaces: Names
    target_env: bool


class _Bytes(TypedDict, total=False):
    text: Literal[False] | None
    universal_newlines: Literal[False] | None
    encoding: None
    errors: None


class _Text(TypedDict, total=False):
    text: Literal[True]
    universal_newlines: Literal[True]
    encoding: str
    errors: str


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


class StartBytes(Options, _Bytes, total=False): ...


class StartText(Options, _Text, total=False): ...


class StartEither(Options, _Either, total=False): ...


class JoinBytes(JoinOptions, _Bytes, total=False): ...


class JoinText(JoinOptions, _Text, total=False): ...


class JoinEither(JoinOptions, _Either, total=False): ...


class OutputBytes(Options, _Bytes, _Call, _Raw, total=False): ...


class OutputText(Options, _Text, _Call, _Str, total=False): ...


class OutputEither(Options, _Either, _Call, _StrOrRaw, total=False): ...


class RunBytes(Options, _Bytes, _Run, _Raw, total=False): ...


class RunText(Options, _Text, _Run, _Str, total=False): ...


class RunEither(Options, _Either, _Run, _StrOrRaw, total=False): ...


class JoinRunBytes(JoinOptions, _Bytes, _Run, _Raw, total=False): ...


class JoinRunText(JoinOptions, _Text, _Run, _Str, total=False): ...


class JoinRunEither(JoinOptions, _Either, _Run, _StrOrRaw, total=False): ...
