"""The step that restricts the program by Landlock, and the ruleset that it has the kernel make.

A ruleset handles access rights, landlock(7): what it handles is denied, but where a rule allows it.
The rights are those of linux/landlock.h, of which each version of the kernel's interface, the ABI,
has some more. What this kernel can't deny is refused before anything is made.

One right is denied whether it is handled or not: to link and to rename from one directory to
another (REFER). It is given back with the right to write, or everywhere where writing isn't
restricted; but not to a kernel without the fix of erratum 3, where directories that are moved out
of a bind could take rights along. There such a rename fails (EXDEV), as between file systems.
"""

import posix
import sys
from _socket import AF_INET, SOCK_NONBLOCK, SOCK_STREAM, socket
from errno import EACCES, EAFNOSUPPORT, EINVAL

from spawner import lean
from spawner.errors import INIT, LAUNCHER, SetupError, SyscallError, mark
from spawner.linux import system_call
from spawner.rights.landlock import PATHS, PORTS, SCOPE
from spawner.spec import Frozen
from spawner.steps import Step, attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spawner.linux import Kernel
    from spawner.rights.landlock import Landlock

# linux/landlock.h
EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
MAKE_AND_REMOVE = 0x1FF0
"""REMOVE_DIR and REMOVE_FILE, and MAKE_CHAR up to MAKE_SYM."""
REFER = 1 << 13
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15

OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""The rights that a rule for a file can give; the others are those of directories."""

FS = {
    "read": READ_FILE | READ_DIR,
    "write": WRITE_FILE | MAKE_AND_REMOVE | TRUNCATE,
    "execute": EXECUTE,
    "ioctl": IOCTL_DEV,
}
NET = {"bind": 1 << 0, "connect": 1 << 1}
SCOPES = {"abstract": 1 << 0, "signal": 1 << 1}

_RULE_PATH_BENEATH = 1
_RULE_NET_PORT = 2

_CREATE_RULESET_VERSION = 1 << 0
_CREATE_RULESET_ERRATA = 1 << 1

LEAST = {"read": 1, "execute": 1, "write": 3, "bind": 4, "connect": 4, "ioctl": 5, SCOPE: 6}
"""The ABI from which on the kernel can deny all that a kind stands for.

Before 3 a file that can't be written can be truncated.
"""

_REFER_SINCE = 2
_RELEASES = {1: "5.13", 2: "5.19", 3: "6.2", 4: "6.7", 5: "6.10", 6: "6.12"}

_ERRATUM_3 = 1 << 2


class Ruleset(Frozen):
    """A ruleset: the rights that it handles, and those that its rules give back.

    `paths` and `ports` have the rights of each.
    """

    fs: int
    net: int
    scoped: int
    paths: tuple[tuple[str, int], ...]
    ports: tuple[tuple[int, int], ...]


# The system calls.


def version() -> int:
    """Return the ABI of Landlock, landlock_create_ruleset(2); raises SyscallError."""
    return system_call("landlock_create_ruleset", None, 0, _CREATE_RULESET_VERSION)


def errata() -> int:
    """Return which errata are fixed, as bits, from bit 0 for erratum 1; raises SyscallError."""
    try:
        return system_call("landlock_create_ruleset", None, 0, _CREATE_RULESET_ERRATA)
    except SyscallError as error:
        if error.errno == EINVAL:  # the kernel doesn't tell yet
            return 0
        raise


def create(fs: int, net: int, scoped: int) -> int:
    """Return a descriptor of a new ruleset, landlock_create_ruleset(2); raises SyscallError."""
    # A struct landlock_ruleset_attr; a kernel that knows less of it accepts zeros there.
    attributes = b"".join(map(_u64, (fs, net, scoped)))
    return system_call("landlock_create_ruleset", attributes, len(attributes), 0)


def allow_path(ruleset: int, rights: int, place: int) -> None:
    """Add a rule for an open file or directory, landlock_add_rule(2); raises SyscallError."""
    # A struct landlock_path_beneath_attr, which is packed: allowed_access, parent_fd.
    rule = _u64(rights) + place.to_bytes(4, sys.byteorder)
    system_call("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, rule, 0)


def allow_port(ruleset: int, rights: int, port: int) -> None:
    """Add a rule for a TCP port, landlock_add_rule(2); raises SyscallError."""
    # A struct landlock_net_port_attr: allowed_access, port.
    system_call("landlock_add_rule", ruleset, _RULE_NET_PORT, _u64(rights) + _u64(port), 0)


def restrict_self(ruleset: int) -> None:
    """Restrict this process, landlock_restrict_self(2); raises SyscallError.

    That takes no_new_privs, or CAP_SYS_ADMIN in our own user namespace (EPERM).
    """
    system_call("landlock_restrict_self", ruleset, 0)


def _u64(value: int) -> bytes:
    return value.to_bytes(8, sys.byteorder)


# The plan.


def find(wanted: "Landlock") -> Ruleset:
    """Return the ruleset for what is wanted; raises SetupError where the kernel can't deny that."""
    what = "look for Landlock"
    abi = attempt(LAUNCHER, what, version)
    return planned(wanted, abi, attempt(LAUNCHER, what, errata))


def planned(wanted: "Landlock", abi: int, fixed: int) -> Ruleset:
    """Return the ruleset for a kernel with this ABI, where these errata are fixed.

    Raises SetupError for what can't be denied there.
    """
    for kind, least in LEAST.items():
        if wanted.restricts(kind) and abi < least:
            raise _too_old(kind, least, abi)
    paths: dict[str, int] = {}
    ports: dict[int, int] = {}
    fs = sum(FS[kind] for kind in PATHS if wanted.restricts(kind))
    refers = bool(fs and abi >= _REFER_SINCE and fixed & _ERRATUM_3)
    if refers:
        fs |= REFER
        if not wanted.restricts("write"):
            paths["/"] = REFER
    for kind in filter(wanted.restricts, PATHS):
        rights = FS[kind] | (REFER if refers and kind == "write" else 0)
        for path in getattr(wanted, kind):
            paths[path] = paths.get(path, 0) | rights
    for kind in filter(wanted.restricts, PORTS):
        for port in getattr(wanted, kind):
            ports[port] = ports.get(port, 0) | NET[kind]
    return Ruleset(
        fs,
        sum(NET[kind] for kind in PORTS if wanted.restricts(kind)),
        sum(SCOPES[each] for each in wanted.scope),
        tuple(paths.items()),
        tuple(ports.items()),
    )


def _too_old(kind: str, least: int, abi: int) -> SetupError:
    return SetupError(
        f"this kernel's Landlock can't restrict {kind}: it has version {abi} of the interface, "
        f"and that requires version {least}",
        stage=LAUNCHER,
        hint=f"boot Linux {_RELEASES[least]} or later, or leave {kind} out of {mark('--landlock')}",
    )


# The step.


def restrict(
    ruleset: Ruleset, wanted: "Landlock", *, init: bool, before: "Callable[[Kernel], None] | None"
) -> Step:
    """Restrict this process, and so the program, to what the ruleset leaves.

    `init` says that pyinit is executed next, and `before` opens what is needed later on.
    """

    def act(kernel: "Kernel", _: str) -> None:
        import _socket  # noqa: F401

        # What tells of a failed exec couldn't be read any more.
        from pyinit import execerror, execvp  # noqa: F401

        if before is not None:
            before(kernel)
        whole = _enforce(kernel, ruleset)
        _try(kernel, ruleset, whole)
        if init:
            _find_init(kernel)

    return Step(
        INIT,
        f"restrict by Landlock: {wanted}",
        ", ".join(_calls(ruleset)),
        act,
        topic="restrict-by-landlock",
        last_act=True,
    )


def _enforce(kernel: "Kernel", wanted: Ruleset) -> int:
    """Restrict this process; return the rights that a rule gives for the root directory.

    Raises SetupError and SyscallError.
    """
    whole = 0
    root = _opened(kernel, "/")
    descriptors = [root]
    try:
        descriptors.append(ruleset := create(wanted.fs, wanted.net, wanted.scoped))
        for path, rights in wanted.paths:
            descriptors.append(place := _opened(kernel, path))
            if kernel.identity(place) == kernel.identity(root):
                whole |= rights
            allow_path(ruleset, rights if kernel.is_directory(place) else rights & OF_FILES, place)
            posix.close(descriptors.pop())
        for port, rights in wanted.ports:
            allow_port(ruleset, rights, port)
        restrict_self(ruleset)
    finally:
        for descriptor in descriptors:
            posix.close(descriptor)
    return whole


def _opened(kernel: "Kernel", path: str) -> int:
    what = f"open {path}, which Landlock leaves to the program"
    return attempt(INIT, what, lambda: kernel.open_source(path))


def _try(kernel: "Kernel", wanted: Ruleset, whole: int) -> None:
    """Try what has to fail from now on; raises SetupError if it doesn't.

    `whole` are the rights given for the root directory, with which nothing of these fails. There's
    nothing harmless to be tried for the other rights, which are denied by the same ruleset.
    """
    denied = wanted.fs & ~whole
    directory = posix.O_DIRECTORY | posix.O_RDONLY
    if denied & READ_DIR and _errno_of(lambda: kernel.open("/", directory)) != EACCES:
        raise _not_denied("the root directory can be listed")
    if denied & WRITE_FILE and not _errno_of(
        # Other errnos come first here, such as that of a read-only file system.
        lambda: kernel.open("/", posix.O_TMPFILE | posix.O_WRONLY)
    ):
        raise _not_denied("a file can be made in the root directory")
    allowed = dict(wanted.ports).get(0, 0)
    for kind, bit in NET.items():
        # Port 0 is any port to bind(2), and no port to connect(2).
        if wanted.net & bit & ~allowed and _errno_of_port(kind) not in (EACCES, EAFNOSUPPORT):
            raise _not_denied(f"a TCP socket can {kind}")


def _not_denied(what: str) -> SetupError:
    return SetupError(f"the kernel doesn't restrict as Landlock should: {what}", stage=INIT)


def _errno_of(opens: "Callable[[], int]") -> int:
    """Return the errno of an attempt to open something, 0 where it succeeds."""
    try:
        posix.close(opens())
    except SyscallError as error:
        return error.errno or 0
    return 0


def _errno_of_port(kind: str) -> int:
    """Return the errno of an attempt to bind or connect a TCP socket, 0 where it succeeds."""
    try:
        tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK)
    except OSError as error:
        return error.errno or 0
    try:
        (tcp.bind if kind == "bind" else tcp.connect)(("127.0.0.1", 0))
    except OSError as error:
        return error.errno or 0
    finally:
        tcp.close()
    return 0


def _find_init(kernel: "Kernel") -> None:
    """Raise SetupError if pyinit can't be read; its interpreter would say so with a traceback."""
    needed = [lean.HERE]  # its files are looked up in a list of it
    encodings = getattr(sys.modules.get("encodings"), "__file__", None)
    if encodings is not None:
        needed.append(encodings.rpartition("/encodings/")[0])
    shut = [place for place in needed if _is_shut(kernel, place)]
    if shut:
        words = " ".join(f"{mark('--landlock')} read={place}" for place in shut)
        raise SetupError(
            f"Landlock keeps pyinit from reading {shut[0]}, which it needs",
            stage=INIT,
            path=shut[0],
            hint=f"add {words}, or do without an init",
        )


def _is_shut(kernel: "Kernel", place: str) -> bool:
    return _errno_of(lambda: kernel.open(place, posix.O_RDONLY)) == EACCES


def _calls(wanted: Ruleset) -> "Iterator[str]":
    """Yield the system calls as text."""
    handled = ", ".join(f"{each:#x}" for each in (wanted.fs, wanted.net, wanted.scoped))
    yield f"landlock_create_ruleset({{{handled}}}, 24, 0)"
    for path, rights in wanted.paths:
        rule = f'{{{rights:#x}, open("{path}", O_PATH)}}'
        yield f"landlock_add_rule(RULESET, LANDLOCK_RULE_PATH_BENEATH, {rule}, 0)"
    for port, rights in wanted.ports:
        rule = f"{{{rights:#x}, {port}}}"
        yield f"landlock_add_rule(RULESET, LANDLOCK_RULE_NET_PORT, {rule}, 0)"
    yield "landlock_restrict_self(RULESET, 0)"
