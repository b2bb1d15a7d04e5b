"""The steps of making a container, which describe themselves and run on a kernel object.

A step holds no state: what it does depends on what it was made from and on the kernel alone.
"""

import _signal
import posix

from spawner import linux
from spawner.errors import INIT, LAUNCHER, ExecError, SetupError, SyscallError
from spawner.spec import KINDS, Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from dataclasses import KW_ONLY
    from typing import TypeVar

    from pyinit.execvp import ExecError as ExecFailure
    from spawner.linux import Kernel
    from spawner.terminal.job import Terminal

    Act = Callable[[Kernel, str], None]
    T = TypeVar("T")
    Steps = tuple["Step", ...]
    Look = tuple[str, str, str]
    """A look at the host before planning: which process looked, at what, by which call."""

# The stations of a plan, in the kernel's order (`planning`): outside, before there's an init;
JOINED = "joined"
USER = "user"
MAPS = "maps"
NESTED = "nested"
CHILDREN = "children"

# by the init, until the container is made;
GROUP = "group"
ENTERED = "entered"
OWN = "own"

# by the launcher, before the init goes on;
KEPT = "kept"
NETWORK = "network"

# by the init, inside.
ROOT = "root"
MOUNTS = "mounts"
FILES = "files"
NAMES = "names"
LOOPBACK = "loopback"
PLACE = "place"
LISTENERS = "listeners"
VARIABLES = "variables"
ENVIRONMENT = "environment"
BOUNDING = "bounding"
IDS = "ids"
RIGHTS = "rights"
LIMITS = "limits"
LAST = "last"
TERMINAL = "terminal"

# by the init, where only the exec is left.
SEALED = "sealed"

SELF = "self"
"""The name of a process's own directory in /proc."""


class Step(Frozen):
    """One step: the process that takes it, what it does, and the system call.

    `where` is the process that takes it. `what` says what it does, as an imperative, and `how`
    shows the system call; `act` does it, given the kernel and the process that it's about, by the
    name that /proc has for it. `topic` names the words that `explain` has for it. `needs` are the
    namespaces without which it is left out, because it would change the host's own. `makes` is
    set where the container isn't made yet, and `last_act` where only the exec is left. `optional`
    is the kind of a namespace that may be refused.
    """

    where: str
    what: str
    how: str
    act: "Act"
    _: "KW_ONLY"
    topic: str
    needs: tuple[str, ...] = ()
    makes: bool = False
    last_act: bool = False
    optional: str | None = None

    def describe(self) -> str:
        """Return what the step does, as an imperative on one line."""
        return one_line(self.what)

    def call(self) -> str:
        """Return the step's system call as text, on one line."""
        return one_line(self.how)

    def run(self, kernel: "Kernel", process: str = SELF) -> None:
        """Take the step; `process` is the pid that it acts on.

        Raises SetupError, which says what failed, where and why.
        """
        try:
            self.act(kernel, process)
        except SyscallError as error:
            raise failed(self.where, self.describe(), error) from None

    def __repr__(self) -> str:
        return f"<Step {self.where}: {self.describe()}: {self.call()}>"


class Part:
    """The base of parts: each yields one subject's steps, after finding what they need.

    It speaks for stations of the plan (`planning.STATIONS`), by what `stations` has for them; where
    no part speaks for a station, the steps of a plain run stand.

    `looks` are what was looked at to find it. One that `forks` has a process of its own, once it
    has begun: `pid`, 0 where there's none; the word says what for. One that `strays` may have
    others reap the program's orphans. Where a limit has `cut` the program short, it counts as
    killed, even if it has ended meanwhile. `leftover` is a message about what could not be undone
    at the end, or "". `note` is one about what was begun in another way than was asked for first.
    `used` is what the container has used, by name, where this part knows. One with a `session` puts
    the program into another session than the caller's, whose `terminal`, if it has one, isn't the
    program's. Until it has begun, or where it does no more than give steps, most of this does
    nothing.
    """

    looks: "Sequence[Look]" = ()
    leftover = ""
    note = ""
    used: "dict[str, str | int | float | None] | None" = None
    forks = ""
    strays = False
    session = False
    terminal: "Terminal | None" = None
    pid = 0
    cut = False

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Return functions that yield this part's steps, by station of the plan."""
        return {}

    def search_path(self, found: bytes | None) -> bytes | None:
        """Return the program's PATH, which without this part is `found`."""
        return found

    def begin(self, kernel: "Kernel") -> None:
        """Fork what has to exist before the container is made; raises SetupError."""

    def watch(self, descriptors: "Iterable[int]") -> None:
        """Stop waiting, from now on, when any of these descriptors becomes readable."""

    @property
    def descriptors(self) -> set[int]:
        """The descriptors that the launcher keeps open for this part."""
        return set()

    def let_go(self) -> None:
        """Close descriptors of which the forked processes have copies."""

    @property
    def alarms(self) -> "Iterable[int]":
        """The descriptors that become readable when a limit of this part's is reached."""
        return ()

    def executed(self) -> None:
        """Note that the init's exec has happened, be it of the program or of what starts that."""

    def started(self) -> None:
        """Note that the program's exec has happened."""

    @property
    def deadline(self) -> float | None:
        """The moment, by time.monotonic(), at which everything is to be killed, or None."""
        return None

    def expired(self) -> None:
        """Note that the deadline has come."""

    def hurry(self) -> None:
        """Note that nobody is to be waited for: everything is killed, or has to end in time."""

    def reached(self, alarm: int) -> bool:
        """Note that one of `alarms` is readable; return whether everything is to be killed."""
        del alarm
        return False

    def limited(self, signal: int | None, status: int = 0) -> "tuple[str, str] | None":
        """Return which limit has ended the program, and the message about that, if one has.

        The limit is "" where it has no name for programs; `signal` is what the program died of,
        and `status` its exit status.
        """
        del signal, status
        return None

    def ended(self, changed: int) -> str:
        """Note how the part's process ended, by its wait status; return the message about that."""
        raise NotImplementedError

    def stop(self) -> list[int]:
        """End the part's processes with the container; return those that outlive their SIGKILL."""
        return []

    def undo(self, kernel: "Kernel") -> None:
        """Undo what the part has made, after a failure; raises SetupError."""


def attempt(where: str, what: str, call: "Callable[[], T]") -> "T":
    """Return the result of a system call that isn't a step; raises SetupError.

    Raises SetupError, in which `what` says what failed.
    """
    try:
        return call()
    except SyscallError as error:
        raise failed(where, what, error) from None


def failed(
    where: str, what: str, error: SyscallError, hint: str | None = None, path: str | None = None
) -> SetupError:
    """Return the SetupError for a failed call of the process `where`; `path` beats the call's."""
    return SetupError(
        what,
        stage=where,
        syscall=error.syscall,
        errno=error.errno,
        path=error.path if path is None else path,
        hint=hint,
    )


def take(
    kernel: "Kernel",
    left: "Steps",
    where: str,
    refused: "Callable[[str, int], None]",
    process: str = SELF,
) -> "Steps":
    """Take the steps at the beginning that are the process `where`'s; return the rest.

    `refused` is called for an optional namespace that can't be had, with the errno; the steps that
    need it are left out. Raises SetupError.
    """
    while left[0].makes and left[0].where == where:
        step, left = left[0], left[1:]
        try:
            step.run(kernel, process)
        except SetupError as error:
            if step.optional is None:
                raise
            left = without(left, step.optional)
            refused(step.optional, error.errno or 0)
    return left


def without(left: "Steps", missing: str) -> "Steps":
    """Return the steps that are left when the namespace `missing` was refused."""
    return tuple(step for step in left if missing not in step.needs)


def unshare(kind: str, where: str, *, optional: bool = False) -> Step:
    """Enter a new namespace of one kind; an `optional` one may be refused.

    One call for each, so that a refusal names the namespace.
    """
    facts = KINDS[kind]
    return Step(
        where,
        f"make a new {kind} namespace" + (", if possible" if optional else ""),
        f"unshare({facts.flag})",
        lambda kernel, _: kernel.unshare(facts.number),
        topic=f"unshare-{kind}",
        makes=True,
        optional=kind if optional else None,
    )


def deny_setgroups() -> Step:
    """Give up setgroups(2) for good, as the kernel requires before a group is mapped unprivileged.

    Else a process could drop a group that a file's mode shuts out, user_namespaces(7).
    """
    return Step(
        LAUNCHER,
        "deny setgroups in the user namespace",
        'write("/proc/STAGE/setgroups", "deny")',
        lambda kernel, process: kernel.write_file(f"/proc/{process}/setgroups", b"deny"),
        topic="deny-setgroups",
        needs=("user",),
        makes=True,
    )


def map_ids(kind: str, text: str) -> Step:
    """Write the user (`uid`) or group (`gid`) map of the stage's user namespace.

    From outside, in one write, once, user_namespaces(7).
    """
    return Step(
        LAUNCHER,
        f"write the {kind} map {', '.join(text.splitlines())}",
        f'write("/proc/STAGE/{kind}_map", "{text}")',
        lambda kernel, process: kernel.write_file(f"/proc/{process}/{kind}_map", text.encode()),
        topic=f"map-{kind}",
        needs=("user",),
        makes=True,
    )


def map_own(*, users: str, groups: str) -> "tuple[Step, ...]":
    """Map the caller's own ids alone, as the kernel lets any process, user_namespaces(7).

    Groups first, as long as root is outside.
    """
    return deny_setgroups(), map_ids("gid", groups), map_ids("uid", users)


def set_clock(clock: str, seconds: int, where: str) -> Step:
    """Shift a clock of the new time namespace by some seconds, time_namespaces(7).

    Possible until the first process is in it: between the unshare and the fork.
    """
    line = f"{clock} {seconds} 0"
    return Step(
        where,
        f"shift the {clock} clock by {seconds} s",
        f'write("/proc/self/timens_offsets", "{line}")',
        lambda kernel, _: kernel.write_file("/proc/self/timens_offsets", line.encode()),
        topic="set-clock",
        needs=("time",),
        makes=True,
    )


def make_group() -> Step:
    """Put the init into a process group of its own, so that a ^C reaches it once."""
    return Step(
        INIT,
        "make a process group",
        "setpgid(0, 0)",
        lambda kernel, _: kernel.make_process_group(),
        topic="make-group",
        makes=True,
    )


def leave_session_keyring() -> Step:
    """Start an empty session keyring, so that the caller's keys aren't inherited.

    After a change of user, so that the new one belongs to who the program is, and counts for them.
    """
    return Step(
        INIT,
        "make a new session keyring",
        "keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)",
        lambda kernel, _: kernel.leave_session_keyring(),
        topic="leave-session-keyring",
    )


def die_with_parent(*, keeper: bool = False) -> Step:
    """Have the init killed when its parent dies, PR_SET_PDEATHSIG(2const).

    Only once the launcher is the parent, since the stage's exit would fire it, and after a change
    of credentials, which would clear it, PR_SET_PDEATHSIG(2const). The parent may be a `keeper`,
    who looks after the launcher.
    """
    return Step(
        INIT,
        "die with the launcher",
        "prctl(PR_SET_PDEATHSIG, SIGKILL)",
        lambda kernel, _: kernel.set_parent_death_signal(_signal.SIGKILL),
        topic="die-with-keeper" if keeper else "die-with-parent",
    )


def make_private() -> Step:
    """Keep mounts in the new namespace from spreading to the host, mount_namespaces(7)."""
    flags = linux.MS_REC | linux.MS_PRIVATE
    return Step(
        INIT,
        "make every mount private",
        'mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL)',
        lambda kernel, _: kernel.mount(None, "/", None, flags, None),
        topic="make-private",
        needs=("mount",),
    )


def mount_proc() -> Step:
    """Mount a /proc of the new PID namespace, proc(5)."""
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    return Step(
        INIT,
        "mount proc on /proc",
        'mount("proc", "/proc", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC, NULL)',
        lambda kernel, _: kernel.mount("proc", "/proc", "proc", flags, None),
        topic="mount-proc",
        needs=("mount", "pid"),
    )


def set_hostname(name: str) -> Step:
    """Set the host name of the new UTS namespace."""
    return Step(
        INIT,
        f"set the host name to {name}",
        f'sethostname("{name}", {len(linux.encode(name))})',
        lambda kernel, _: kernel.sethostname(name),
        topic="set-hostname",
        needs=("uts",),
    )


def bring_up_loopback() -> Step:
    """Bring up the loopback interface, the only one in a new network namespace."""
    return Step(
        INIT,
        "bring up the loopback interface",
        'ioctl(socket(AF_INET, SOCK_DGRAM), SIOCSIFFLAGS, {"lo", IFF_UP})',
        lambda kernel, _: kernel.bring_up("lo"),
        topic="bring-up-loopback",
        needs=("net",),
    )


def change_directory(path: str) -> Step:
    """Change to the directory where the program is to start."""
    return Step(
        INIT,
        f"change to the directory {path}",
        f'chdir("{path}")',
        lambda kernel, _: kernel.chdir(path),
        topic="change-directory",
    )


def clear_environment() -> Step:
    """Start the program with an empty environment."""
    return Step(
        INIT,
        "clear the environment",
        "clearenv()",
        lambda kernel, _: kernel.clear_environment(),
        topic="clear-environment",
    )


def set_variable(name: str, value: str) -> Step:
    """Set one variable of the program's environment."""
    return Step(
        INIT,
        f"set the variable {name}",
        f'setenv("{name}", "{value}", 1)',
        lambda kernel, _: kernel.set_variable(name, value),
        topic="set-variable",
    )


def pass_listeners() -> Step:
    """Set LISTEN_PID, so that the program accepts the sockets passed, sd_listen_fds(3)."""
    return Step(
        INIT,
        "set LISTEN_PID to the pid of the program",
        'setenv("LISTEN_PID", getpid(), 1)',
        lambda kernel, _: kernel.set_variable("LISTEN_PID", str(posix.getpid())),
        topic="pass-listeners",
    )


def take_foreground(terminal: int) -> Step:
    """Make the init's process group the foreground of `terminal`, a descriptor, tcsetpgrp(3).

    A terminal that refuses is no reason not to start.
    """

    def act(kernel: "Kernel", _: str) -> None:
        try:
            kernel.take_foreground(terminal)
        except SyscallError:
            return

    return Step(
        INIT,
        "take the terminal's foreground",
        f"tcsetpgrp({terminal}, getpgrp())",
        act,
        topic="take-foreground",
        last_act=True,
    )


def restore_signals(ignored: "Iterable[int]", mask: "Iterable[int]") -> Step:
    """Restore the caller's signal dispositions and mask for the program, signal(7)."""
    return Step(
        INIT,
        "restore the caller's signal dispositions and mask",
        "sigaction(), sigprocmask(SIG_SETMASK)",
        lambda kernel, _: kernel.set_signals(ignored, mask),
        topic="restore-signals",
        last_act=True,
    )


def execute(arguments: "Sequence[bytes]", search_path: bytes | None) -> Step:
    """Execute the program, looked up in `search_path` as by execvp(3)."""

    def act(kernel: "Kernel", _: str) -> None:
        raise _no_program(arguments[0], kernel.exec(arguments, search_path), search_path)

    return Step(
        INIT,
        f"execute {_text(arguments[0])}",
        f"execvp({_texts(arguments)})",
        act,
        topic="execute",
        last_act=True,
    )


def execute_init(
    arguments: "Sequence[bytes]",
    search_path: bytes | None,
    *,
    ours: bool = False,
) -> Step:
    """Execute the init, which then starts the program.

    `ours` says that it is pyinit.
    """
    what = f"execute the init {_text(arguments[0])}"

    def act(kernel: "Kernel", _: str) -> None:
        raise _no_init(what, kernel.exec(arguments, search_path))

    return Step(
        INIT,
        what,
        f"execvp({_texts(arguments)})",
        act,
        topic="execute-pyinit" if ours else "execute-init",
        last_act=True,
    )


def _no_program(program: bytes, error: "ExecFailure", search_path: bytes | None) -> ExecError:
    """Return the error for a program that can't be executed: its status is 127 or 126."""
    from pyinit import execerror

    status, text, hint = execerror.line(program, error, search_path)
    return ExecError(
        text,
        stage=INIT,
        syscall="execve",
        errno=error.errno,
        path=_text(program),
        hint=hint,
        status=status,
    )


def _no_init(what: str, error: "ExecFailure") -> SetupError:
    """Return the error for an init that can't be executed."""
    return SetupError(what, stage=INIT, syscall="execve", errno=error.errno, path=_text(error.path))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _texts(words: "Sequence[bytes]") -> str:
    return ", ".join(f'"{_text(word)}"' for word in words)


def one_line(text: str) -> str:
    """Return text with what isn't printable escaped, on one line."""
    from pyinit import execerror

    return execerror.text(text.encode("utf-8", "surrogateescape"))
