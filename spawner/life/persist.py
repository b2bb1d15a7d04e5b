"""Keep namespaces as files and release them: `--persist DIR` and `pyspawn release DIR`.

A namespace lives as long as a process is in it, or a file that stands for it is mounted somewhere,
namespaces(7). DIR gets a small file system of its own, whose name says that it's ours and which
nobody but root can have mounted; in it each file of /proc/PID/ns is bound to one of the same name.
It is private, so that none of it spreads: a mount namespace can't be mounted in itself.

A PID namespace isn't kept: it ends with its process 1.
"""

from __future__ import annotations

import errno
import posix

from spawner import linux
from spawner.errors import LAUNCHER, SetupError, SpecError, SyscallError, mark
from spawner.host import proc, programs
from spawner.host.paths import identity
from spawner.spec import KINDS, Wish, check_text
from spawner.steps import KEPT, Part, Step, attempt, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from spawner.caller import Caller
    from spawner.linux import Kernel
    from spawner.spec import Choice, Spec

_SOURCE = "pyspawn-persist"
"""The source that /proc/self/mounts shows for a directory of kept namespaces."""

WHERE = f"`grep {_SOURCE} /proc/self/mounts` shows where they are"
"""A hint that shows the directories of kept namespaces."""

_FLAGS = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC

_NOT_OLDER = (
    "Linux 6.18 may take the new mount namespace to be older than pyspawn's own, and then can't "
    "keep it: try again on one processor (`taskset -c 0 pyspawn ...`), or share the mount "
    f"namespace ({mark('--share mount')})"
)


class Keep(Wish):
    """The wish to keep the namespaces as files in the new directory `path`."""

    door = "spawner.life.persist"

    path: str

    def check(self, spec: Spec) -> None:
        """Raise SpecError if no namespace can be kept."""
        check_text("the directory to keep namespaces in", self.path)
        if not spec.namespaces.wanted - {"pid"}:
            raise SpecError(
                "there is no new namespace that could be kept: a PID namespace ends with its "
                "process 1",
                f"add one, for example {mark('--net')}",
            )


def wish(values: Mapping[str, Any], choice: Choice) -> Keep:
    """Return the wish to keep the namespaces in the directory that --persist names."""
    del choice
    return Keep(values["persist"])


class Kept(Part):
    """The part that keeps a container's namespaces in a directory; `undo` releases them."""

    def __init__(self, spec: Spec, path: str) -> None:
        wanted = spec.namespaces.wanted
        self._kinds = [kind for kind in KINDS if kind in wanted and kind != "pid"]
        self._path = path
        self._made = False
        self._mounted = False
        self._top = -1

    @property
    def stations(self) -> Mapping[str, Callable[[], Iterable[Step]]]:
        """Return the step that keeps the namespaces, by its station: once all of them are made."""
        return {KEPT: lambda: (self.step(),)}

    @property
    def descriptors(self) -> set[int]:
        """The descriptors by which `undo` removes what was made, even if it has been moved."""
        return {self._top} - {-1}

    def step(self) -> Step:
        """Keep the namespaces, once all of them are made and before the program runs."""
        return Step(
            LAUNCHER,
            f"keep the namespaces in {self._path}",
            f'mount("/proc/INIT/ns/...", "{self._path}/...", NULL, MS_BIND, NULL)',
            self._keep,
            topic="persist",
        )

    def _keep(self, kernel: Kernel, process: str) -> None:
        path = self._path
        try:
            kernel.mkdir(path)
        except SyscallError as error:
            if error.errno != errno.EEXIST:
                raise
            raise self._refused(
                error, "name a directory that doesn't exist yet, or `pyspawn release` it first"
            ) from None
        self._made = True
        # By descriptors, and looked at: nobody whose directory it lies in can lead us elsewhere.
        below = kernel.open_directory(path)
        try:
            try:
                options = "mode=755,size=64k,nr_inodes=16"
                kernel.mount(_SOURCE, _place(below), "tmpfs", _FLAGS, options)
            except SyscallError as error:
                command = programs.as_root("--persist DIR ...")
                hint = f"only root can mount outside of a new namespace: {command}"
                raise self._refused(error, hint) from None
            self._mounted = True
            top = kernel.open_directory(path)
            if not (_is_kept(top) and _is_same(top, below, "..")):
                posix.close(top)
                self._mounted = self._made = False  # what is there isn't ours
                raise SetupError(
                    f"keep the namespaces in {path}: another directory or mount has replaced it",
                    stage=LAUNCHER,
                    path=path,
                    hint="name a directory in a place where only you can write, and unmount the "
                    f"one that was moved: `grep {_SOURCE} /proc/self/mounts` shows where it "
                    "is now",
                )
            self._top = top
        finally:
            posix.close(below)
        self._bind(kernel, process, _place(self._top))

    def _refused(self, error: SyscallError, hint: str) -> SetupError:
        what = f"keep the namespaces in {self._path}"
        return failed(LAUNCHER, what, error, hint, self._path)

    def _bind(self, kernel: Kernel, process: str, top: str) -> None:
        kernel.mount(None, top, None, linux.MS_PRIVATE, None)
        for kind in self._kinds:
            name = KINDS[kind].file
            source = f"/proc/{process}/ns/{name}"
            if _is_shared(source, f"/proc/self/ns/{name}"):
                continue  # an optional one that could not be made
            kernel.make_file(f"{top}/{name}", b"")
            try:
                kernel.mount(source, f"{top}/{name}", None, linux.MS_BIND, None)
            except SyscallError as error:
                if kind == "mount" and error.errno == errno.EINVAL:
                    raise self._refused(error, _NOT_OLDER) from None
                raise

    def undo(self, kernel: Kernel) -> None:
        """Release the namespaces and remove the directory; raises SetupError."""
        if self._mounted:
            self._mounted = self._made = False
            if self._top < 0:
                release(kernel, self._path)
            else:
                top, self._top = self._top, -1
                _release(kernel, self._path, top)
        if self._made:
            self._made = False
            kernel.rmdir(self._path)


def find(
    keep: Keep, kernel: Kernel, spec: Spec, caller: Caller, lifelines: Iterable[int] = ()
) -> Kept:
    """Return the part that keeps the container's namespaces."""
    del kernel, caller, lifelines
    return Kept(spec, keep.path)


def _place(descriptor: int) -> str:
    """Return a path for an open directory that can't be redirected, proc_pid_fd(5)."""
    return f"/proc/self/fd/{descriptor}"


def _is_shared(first: str, second: str) -> bool:
    return identity(posix.stat(first)) == identity(posix.stat(second))


def _is_same(first: int, second: int, name: str) -> bool:
    """Tell whether a name refers to the same file in two open directories."""
    return identity(posix.stat(name, dir_fd=first)) == identity(posix.stat(name, dir_fd=second))


def release(kernel: Kernel, path: str) -> None:
    """Release the namespaces that are kept in a directory, and remove it; raises SetupError.

    Nothing is touched that isn't a directory of ours.
    """
    top = attempt(LAUNCHER, f"release {path}", lambda: kernel.open_directory(path))
    _release(kernel, path, top)


def _release(kernel: Kernel, path: str, top: int) -> None:
    """Release the namespaces in an open directory, wherever it has been moved, and close it."""
    what = f"release {path}"
    above = -1
    try:
        if not attempt(LAUNCHER, what, lambda: _is_kept(top)):
            raise SetupError(
                f"{what}: pyspawn keeps no namespaces there",
                stage=LAUNCHER,
                path=path,
                hint=WHERE,
            )
        above = attempt(LAUNCHER, what, lambda: kernel.open_directory_above(top))
        attempt(LAUNCHER, what, lambda: kernel.unmount(_place(top)))
        attempt(LAUNCHER, f"remove {path}", lambda: kernel.rmdir(path, above))
    finally:
        posix.close(top)
        if above >= 0:
            posix.close(above)


def _is_kept(descriptor: int) -> bool:
    """Tell whether an open directory is the root of a pyspawn mount, proc_pid_mountinfo(5).

    Raises SyscallError where /proc doesn't say so.
    """
    number = proc.fields(proc.text(f"/proc/self/fdinfo/{descriptor}")).get("mnt_id")
    for mount in proc.mounts(proc.text("/proc/self/mountinfo")):
        if mount.number == number:
            kept = (mount.root, mount.kind, mount.source) == ("/", "tmpfs", _SOURCE)
            return kept and posix.stat("..", dir_fd=descriptor).st_dev != _device(descriptor)
    return False


def _device(descriptor: int) -> int:
    return posix.fstat(descriptor).st_dev
