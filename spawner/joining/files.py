"""Open the namespaces that paths name, through a scout."""

import errno
import posix

from spawner.errors import LAUNCHER, SCOUT, SetupError, SyscallError, mark
from spawner.host.paths import DIRECTORY, FORMAT, REGULAR
from spawner.joining import hold
from spawner.joining.hold import Held
from spawner.spec import KINDS, NAMESPACES
from spawner.steps import attempt, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.linux import Kernel

_FILE_FLAGS = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY
"""Flags for opening a file of any type without being blocked by it."""


def look_up(kernel: "Kernel", held: Held, lifelines: frozenset[int]) -> dict[str, int]:
    """Return the namespaces that paths name, opened by a scout; raises SetupError."""
    joins = held.joins
    target = joins.target if joins.pid is None else None
    paths = [*([] if target is None else [target]), *(path for _, path in joins.files)]
    if not paths:
        return {}

    def place(name: str) -> str:
        if name in named:
            return named[name]
        return hold.path_of(target or "", name[:-1]) if name[-1] == "/" else target or ""

    def search() -> dict[str, int]:
        found = {} if target is None else _of_path(kernel, held, target)
        for kind, path in joins.files:
            found[kind] = _of_file(kernel, held, path, kind)
        hold.check_unchanged(what, {found[name]: place(name) for name in found})
        return found

    what = f"join {', '.join(paths)}"
    named = dict(joins.files)
    scout = hold.send_scout(kernel, what, search)
    try:
        found = scout.answer(lifelines)
    finally:
        scout.close()
    held.looks.append((LAUNCHER, "fork a scout", "fork()"))
    for name, descriptor in found.items():
        held.hold(descriptor)
        held.looks += hold.look(SCOUT, place(name), _FILE_FLAGS)
    return {name.rstrip("/"): descriptor for name, descriptor in found.items()}


def _of_path(kernel: "Kernel", held: Held, path: str) -> dict[str, int]:
    """Return descriptors by kind for a namespace file, or for a directory of such files."""
    kinds = held.joins.kinds
    what = f"join {path}"
    try:
        mode = posix.stat(path).st_mode
    except OSError as error:
        raise SetupError(
            what, stage=LAUNCHER, syscall="newfstatat", errno=error.errno, path=path
        ) from None
    if mode & FORMAT != DIRECTORY:
        descriptor = _of_file(kernel, held, path, None)
        (kind,) = (kind for kind in NAMESPACES if _is_kind(kernel, descriptor, kind))
        for wanted in sorted((kinds or frozenset()) - {kind}):
            raise SetupError(
                f"{what}: the file is a {kind} namespace, not a {wanted} namespace",
                stage=LAUNCHER,
                path=path,
                hint=f"leave out {mark(f'--{wanted}')}, or name another file",
            )
        return {kind: descriptor}
    found = {}
    for kind in NAMESPACES if kinds is None else sorted(kinds):
        place = hold.path_of(path, kind)
        try:
            found[f"{kind}/"] = _of_file(kernel, held, place, kind)
        except SetupError as error:
            if error.errno != errno.ENOENT or kinds is not None:
                raise
    if not found:
        names = ", ".join(KINDS[kind].file for kind in NAMESPACES)
        raise SetupError(
            f"{what}: there is no namespace in this directory",
            stage=LAUNCHER,
            path=path,
            hint=f"name a directory with files called {names}, such as /proc/PID/ns or one that "
            "`pyspawn --persist` has made",
        )
    return found


def _of_file(kernel: "Kernel", held: Held, path: str, kind: str | None) -> int:
    """Return a descriptor of a namespace file of this kind; raises SetupError."""
    what = f"join {path}"
    descriptor = held.hold(attempt(LAUNCHER, what, lambda: kernel.open(path, _FILE_FLAGS)))
    try:
        actual = next((each for each in NAMESPACES if _is_kind(kernel, descriptor, each)), None)
    except SyscallError as error:
        raise failed(LAUNCHER, what, error) from None
    if actual is None:
        raise SetupError(
            f"{what}: the file is not a namespace",
            stage=LAUNCHER,
            path=path,
            hint="name a file like /proc/PID/ns/net, or one that "
            f"{mark('--persist')} or `ip netns add` has made",
        )
    if kind is not None and actual != kind:
        raise SetupError(
            f"{what}: the file is a {actual} namespace, not a {kind} namespace",
            stage=LAUNCHER,
            path=path,
            hint=f"use {mark(f'--{actual}=FILE')} for this file",
        )
    return descriptor


def _is_kind(kernel: "Kernel", descriptor: int, kind: str) -> bool:
    if posix.fstat(descriptor).st_mode & FORMAT != REGULAR:
        return False  # a device might take the question for something else
    try:
        flag = kernel.kind_of_namespace(descriptor)
    except SyscallError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP):
            return False
        raise
    return flag == KINDS[kind].number
