"""The steps that join existing namespaces; `enter` has their order.

1. Each process that enters is hidden first (PR_SET_DUMPABLE): nobody inside gets at its memory, its
   descriptors or its program. What the program can reach of the latter is sealed (`sealed`).
2. From the moment that the mounts are theirs, nothing is imported any more.
3. Descriptors are closed before the working directory is chosen: those that the caller had open,
   and those of directories. Links on the way are followed by us, since the kernel would follow one
   of /proc to what it stands for. Then the directory has to be inside of the root: by its mount,
   for the inodes are the same wherever a sandbox has bound / to.
"""

import errno
import posix
import sys

from spawner.errors import INIT, STAGE, SetupError, SyscallError, mark
from spawner.ids.credentials import set_group, set_groups, set_user
from spawner.spec import KINDS
from spawner.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from spawner.joining.hold import Held
    from spawner.joining.inside import Who
    from spawner.linux import Kernel


def hide() -> Step:
    """Hide the joining processes from the container's, before they join."""
    return Step(
        STAGE,
        "hide from the container's processes",
        "prctl(PR_SET_DUMPABLE, 0)",
        lambda kernel, _: kernel.hide(),
        topic="hide",
        makes=True,
    )


def enter(kind: str, descriptor: int, where: str) -> Step:
    """Join a namespace by its descriptor, setns(2)."""
    return Step(
        where,
        f"join the {kind} namespace",
        f"setns({descriptor}, {KINDS[kind].flag})",
        lambda kernel, _: kernel.setns(descriptor, KINDS[kind].number),
        topic=f"join-{kind}",
        makes=True,
    )


def enter_user(where: str, descriptor: int) -> Step:
    """Join a user namespace, and hide the process again, since joining undoes that."""
    step = enter("user", descriptor, where)

    def act(kernel: "Kernel", process: str) -> None:
        step.act(kernel, process)
        kernel.hide()  # the new credentials may have undone it, PR_SET_DUMPABLE(2const)

    return Step(where, step.what, step.how, act, topic="join-user", makes=True)


def drop_groups(where: str, held: "Held") -> Step:
    """Drop root's supplementary groups, before joining a namespace that may deny setgroups."""

    def act(kernel: "Kernel", _: str) -> None:
        if not held.denied:
            kernel.setgroups(())

    return Step(
        where,
        "drop the supplementary groups",
        "setgroups(0, NULL)",
        act,
        topic="drop-groups",
        makes=True,
    )


def become(who: "Who") -> Step:
    """Change for good to the ids that `inside` has chosen."""

    def act(kernel: "Kernel", process: str) -> None:
        if who.groups is not None:
            set_groups(who.groups).act(kernel, process)
        set_group(who.group).act(kernel, process)
        set_user(who.user).act(kernel, process)
        kernel.hide()

    return Step(
        INIT,
        f"become user {who.user} and group {who.group}",
        "setgroups(), setresgid(), setresuid()",
        act,
        topic="become-inside",
    )


def keep_descriptors_out(passed: frozenset[int]) -> Step:
    """Close the descriptors inherited from the caller, except 0 to 2 and `passed`."""

    def act(_: "Kernel", __: str) -> None:
        try:
            for name in posix.listdir("/proc/self/fd"):
                descriptor = int(name)
                if descriptor > 2 and descriptor not in passed:
                    _close_inherited(descriptor)
        except OSError as error:
            raise SyscallError("openat", error.errno or 0, "/proc/self/fd") from None

    return Step(
        INIT,
        "close the descriptors inherited from the caller",
        "close(3...)",
        act,
        topic="keep-descriptors-out",
        makes=True,
    )


def _close_inherited(descriptor: int) -> None:
    """Close a descriptor if it was inherited over an exec, as pyspawn's own weren't."""
    try:
        if posix.get_inheritable(descriptor):
            posix.close(descriptor)
    except OSError as error:
        if error.errno != errno.EBADF:  # the listing's own
            raise


def import_no_more() -> Step:
    """Import the modules that may still be needed, and make later imports fail.

    What would be found from here on in the directories of our modules is theirs, not ours.
    """

    def act(_: "Kernel", __: str) -> None:
        from pyinit import execerror, execvp, signames  # noqa: F401
        from spawner.host import paths  # noqa: F401

        execerror.text(b"\x1b")  # has the codec for what isn't printable read in
        built_in = ("BuiltinImporter", "FrozenImporter")
        sys.meta_path[:] = [
            each for each in sys.meta_path if getattr(each, "__name__", "") in built_in
        ]
        sys.path.clear()
        sys.path_hooks.clear()
        sys.path_importer_cache.clear()

    return Step(
        INIT,
        "forbid imports from here on",
        "sys.meta_path",
        act,
        topic="import-no-more",
        makes=True,
    )


def close_namespaces(descriptors: "Iterable[int]") -> Step:
    """Close the descriptors of joined namespaces, through which a path could lead out."""

    def act(_: "Kernel", __: str) -> None:
        for descriptor in descriptors:
            posix.close(descriptor)

    return Step(
        INIT,
        "close the descriptors of the namespaces",
        "close()",
        act,
        topic="close-namespaces",
    )


def enter_root(root: int) -> Step:
    """Change to the target's root directory, by its descriptor, chroot(2)."""

    def act(kernel: "Kernel", _: str) -> None:
        kernel.fchdir(root)
        kernel.chroot()
        posix.close(root)

    return Step(
        INIT,
        "enter the target's root",
        f'fchdir({root}), chroot(".")',
        act,
        topic="enter-root",
    )


def change_directory(held: "Held", path: str, *, checked: bool) -> Step:
    """Change to the directory where the program starts, instead of the target's.

    Where others lay the path, it has to be inside the root.
    """
    directory = held.directory

    def act(kernel: "Kernel", _: str) -> None:
        if directory is not None:
            posix.close(directory)
        if not checked:
            kernel.chdir(path)
            return
        kernel.chdir_by_text(path)
        _check_directory(kernel, held, path)

    return Step(
        INIT,
        f"change to the directory {path}",
        f'fchdir(openat(AT_FDCWD, "{path}", O_PATH|O_NOFOLLOW))' if checked else f'chdir("{path}")',
        act,
        topic="change-directory-inside" if checked else "change-directory",
    )


def enter_directory(held: "Held", directory: int, *, checked: bool) -> Step:
    """Change to the target's working directory, by its descriptor."""

    def act(kernel: "Kernel", _: str) -> None:
        kernel.fchdir(directory)
        posix.close(directory)
        if checked:
            _check_directory(kernel, held, None)

    return Step(
        INIT,
        "change to the target's directory",
        f"fchdir({directory})",
        act,
        topic="enter-directory",
    )


def _check_directory(kernel: "Kernel", held: "Held", path: str | None) -> None:
    try:
        inside = _inside_root(kernel, held)
    finally:
        if held.asks_proc:
            posix.close(held.proc)
    if not inside:
        raise SetupError(
            "the working directory would be outside of the container's root directory",
            stage=INIT,
            syscall="chdir",
            path=path,
            hint=f"name a directory inside the container's root, such as {mark('--workdir /')}",
        )


def _inside_root(kernel: "Kernel", held: "Held") -> bool:
    """Tell whether the working directory is below the root directory.

    By descriptors: getcwd(3) would read directories where the kernel says "(unreachable)".
    """
    flags = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
    root = posix.open("/", flags)
    at = posix.open(".", flags)
    try:
        top, here = held.place(kernel, root), held.place(kernel, at)
        while here != top:
            below, at = at, posix.open("..", flags, dir_fd=at)
            posix.close(below)
            last, here = here, held.place(kernel, at)
            if here == last:
                return False
    except SyscallError:
        raise
    except OSError as error:
        raise SyscallError("openat", error.errno or 0, "..") from None
    else:
        return True
    finally:
        posix.close(at)
        posix.close(root)


def take_environment(variables: dict[bytes, bytes]) -> Step:
    """Give the program the target's environment instead of the caller's."""

    def act(kernel: "Kernel", _: str) -> None:
        kernel.clear_environment()
        for name, value in variables.items():
            posix.putenv(name, value)

    return Step(
        INIT,
        "use the target's environment",
        "clearenv(), setenv()",
        act,
        topic="take-environment",
    )
