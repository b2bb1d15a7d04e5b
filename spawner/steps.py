"""The steps of making a container: each can say what it does, and do it to the kernel it is given.

A step holds no state: what it does depends on its fields and on the kernel alone.
"""

import _signal

from spawner.errors import INIT, LAUNCHER, ExecError, SetupError
from spawner.linux import constants
from spawner.linux.libc import SyscallError
from spawner.spec import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    from pyinit.execvp import ExecError as ExecFailure
    from spawner.linux.kernel import Kernel

    T = TypeVar("T")

SELF = "self"
"""The process directory of /proc that stands for whoever looks."""


def attempt(where: str, what: str, call: "Callable[[], T]") -> "T":
    """Return what a call of the kernel's returns that is no step, done by the process `where`.

    Raises SetupError, in which `what` says what failed.
    """
    try:
        return call()
    except SyscallError as error:
        raise _failed(where, what, error) from None


def _failed(where: str, what: str, error: SyscallError) -> SetupError:
    return SetupError(what, stage=where, syscall=error.syscall, errno=error.errno, path=error.path)


class Step(Frozen):
    """One step; the base of all.

    `what` says what it does, as an imperative, and `how` shows the system call; both may name
    fields of the step in braces. `where` is the process that takes it. `needs` are the namespaces
    without which it is left out, because it would change the machine's own. `makes` is set where
    the container isn't made yet, `last_act` where only the exec is left.
    """

    __slots__: tuple[str, ...] = ()

    what: str
    how: str
    where: str
    needs: frozenset[str] = frozenset()
    makes = False
    last_act = False

    def describe(self) -> str:
        """Say what the step does, as an imperative."""
        return self.what.format(**self._words())

    def call(self) -> str:
        """Show the system call that does it."""
        return self.how.format(**self._words())

    def run(self, kernel: "Kernel", process: str = SELF) -> None:
        """Take the step; `process` is whom it is about, by the name that /proc has for it.

        Raises SetupError, which says what failed, where and why.
        """
        try:
            self._run(kernel, process)
        except SyscallError as error:
            raise _failed(self.where, self.describe(), error) from None

    def _run(self, kernel: "Kernel", process: str) -> None:
        raise NotImplementedError

    def _words(self) -> dict[str, str]:
        """Return the fields as text on one line each."""
        fields = ((name, str(getattr(self, name))) for name in self.__slots__)
        return {name: _text(value.encode("utf-8", "surrogateescape")) for name, value in fields}


class Unshare(Step):
    """Enter a new namespace of one kind; an `optional` one may be refused.

    One call for each, so that a refusal names the namespace.
    """

    __slots__ = ("flag", "kind", "optional", "where")

    what = "make a new {kind} namespace{condition}"
    how = "unshare({flag})"
    makes = True
    kind: str
    flag: str
    optional: bool

    def __init__(self, kind: str, where: str, *, optional: bool = False) -> None:
        flag = constants.NAMESPACE_FLAGS[kind]
        self._set(kind=kind, where=where, flag=flag, optional=optional)

    def _run(self, kernel: "Kernel", process: str) -> None:
        kernel.unshare(getattr(constants, self.flag))

    def _words(self) -> dict[str, str]:
        return super()._words() | {"condition": ", if possible" if self.optional else ""}


class DenySetgroups(Step):
    """Give up setgroups(2) inside, which the kernel asks of who maps one group without privileges.

    Else a process could drop a group that a file's mode shuts out, user_namespaces(7).
    """

    __slots__ = ()

    what = "deny setgroups in the user namespace"
    how = 'write("/proc/STAGE/setgroups", "deny")'
    where = LAUNCHER
    makes = True
    needs = frozenset({"user"})

    def _run(self, kernel: "Kernel", process: str) -> None:
        kernel.write_file(f"/proc/{process}/setgroups", b"deny")


class MapIds(Step):
    """Write the user (`uid`) or group (`gid`) map of the stage's user namespace.

    From outside, in one write, once, user_namespaces(7).
    """

    __slots__ = ("kind", "text")

    what = "write the {kind} map {text}"
    how = 'write("/proc/STAGE/{kind}_map", "{text}")'
    where = LAUNCHER
    makes = True
    needs = frozenset({"user"})
    kind: str
    text: str

    def __init__(self, kind: str, text: str) -> None:
        self._set(kind=kind, text=text)

    def _run(self, kernel: "Kernel", process: str) -> None:
        kernel.write_file(f"/proc/{process}/{self.kind}_map", self.text.encode())


class SetClock(Step):
    """Set a clock of the new time namespace ahead or back by seconds, time_namespaces(7).

    Possible until the first process is in it: between the unshare and the fork.
    """

    __slots__ = ("clock", "seconds", "where")

    what = "set the {clock} clock off by {seconds} s"
    how = 'write("/proc/self/timens_offsets", "{clock} {seconds} 0")'
    makes = True
    needs = frozenset({"time"})
    clock: str
    seconds: int

    def __init__(self, clock: str, seconds: int, where: str) -> None:
        self._set(clock=clock, seconds=seconds, where=where)

    def _run(self, kernel: "Kernel", process: str) -> None:
        kernel.write_file("/proc/self/timens_offsets", f"{self.clock} {self.seconds} 0".encode())


class MakeGroup(Step):
    """Put the init into a process group of its own, so that a ^C reaches it once."""

    __slots__ = ()

    what = "make a process group"
    how = "setpgid(0, 0)"
    where = INIT
    makes = True

    def _run(self, kernel: "Kernel", process: str) -> None:
        kernel.make_process_group()


class DieWithParent(Step):
    """Have the kernel kill the init when its parent dies, however that comes.

    Only once the launcher is the parent: the stage's exit would fire it, PR_SET_PDEATHSIG(2const).
    """

    __slots__ = ()

    what = "die with the launcher"
    how = "prctl(PR_SET_PDEATHSIG, SIGKILL)"
    where = INIT

    def _run(self, kernel: "Kernel", process: str) -> None:
        kernel.set_parent_death_signal(_signal.SIGKILL)


class MakePrivate(Step):
    """Keep later mounts from spreading to the machine's own namespace, mount_namespaces(7)."""

    __slots__ = ()

    what = "make every mount private"
    how = 'mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL)'
    where = INIT
    needs = frozenset({"mount"})

    def _run(self, kernel: "Kernel", process: str) -> None:
        kernel.mount(None, "/", None, constants.MS_REC | constants.MS_PRIVATE, None)


class MountProc(Step):
    """Mount a /proc that shows the new PID namespace: by a member of it, proc(5)."""

    __slots__ = ()

    what = "mount proc on /proc"
    how = 'mount("proc", "/proc", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC, NULL)'
    where = INIT
    needs = frozenset({"mount", "pid"})

    def _run(self, kernel: "Kernel", process: str) -> None:
        flags = constants.MS_NOSUID | constants.MS_NODEV | constants.MS_NOEXEC
        kernel.mount("proc", "/proc", "proc", flags, None)


class SetHostname(Step):
    """Set the host name of the new UTS namespace."""

    __slots__ = ("name",)

    what = "set the host name to {name}"
    how = 'sethostname("{name}")'
    where = INIT
    needs = frozenset({"uts"})
    name: str

    def __init__(self, name: str) -> None:
        self._set(name=name)

    def _run(self, kernel: "Kernel", process: str) -> None:
        kernel.sethostname(self.name)


class BringUpLoopback(Step):
    """Bring up the loopback interface, the only one in a new network namespace."""

    __slots__ = ()

    what = "bring up the loopback interface"
    how = 'ioctl(socket(AF_INET, SOCK_DGRAM), SIOCSIFFLAGS, {{"lo", IFF_UP}})'
    where = INIT
    needs = frozenset({"net"})

    def _run(self, kernel: "Kernel", process: str) -> None:
        kernel.bring_up("lo")


class ChangeDirectory(Step):
    """Go where the program shall start."""

    __slots__ = ("path",)

    what = "change to the directory {path}"
    how = 'chdir("{path}")'
    where = INIT
    path: str

    def __init__(self, path: str) -> None:
        self._set(path=path)

    def _run(self, kernel: "Kernel", process: str) -> None:
        kernel.chdir(self.path)


class ClearEnvironment(Step):
    """Start the program's environment from nothing."""

    __slots__ = ()

    what = "clear the environment"
    how = "clearenv()"
    where = INIT

    def _run(self, kernel: "Kernel", process: str) -> None:
        kernel.clear_environment()


class SetVariable(Step):
    """Set one variable of the program's environment."""

    __slots__ = ("name", "value")

    what = "set the variable {name}"
    how = 'setenv("{name}", "{value}", 1)'
    where = INIT
    name: str
    value: str

    def __init__(self, name: str, value: str) -> None:
        self._set(name=name, value=value)

    def _run(self, kernel: "Kernel", process: str) -> None:
        kernel.set_variable(self.name, self.value)


class TakeForeground(Step):
    """Make the init's process group the foreground of `terminal`, a descriptor, tcsetpgrp(3).

    A terminal that refuses is no reason not to start.
    """

    __slots__ = ("terminal",)

    what = "take the terminal's foreground"
    how = "tcsetpgrp({terminal}, getpgrp())"
    where = INIT
    last_act = True
    terminal: int

    def __init__(self, terminal: int) -> None:
        self._set(terminal=terminal)

    def _run(self, kernel: "Kernel", process: str) -> None:
        try:
            kernel.take_foreground(self.terminal)
        except SyscallError:
            return


class RestoreSignals(Step):
    """Give the program the dispositions and the mask that the caller had, signal(7)."""

    __slots__ = ("ignored", "mask")

    what = "give back the caller's signals: ignored {ignored}, blocked {mask}"
    how = "sigaction(), sigprocmask(SIG_SETMASK)"
    where = INIT
    last_act = True
    ignored: frozenset[int]
    mask: frozenset[int]

    def __init__(self, ignored: "Iterable[int]", mask: "Iterable[int]") -> None:
        self._set(ignored=frozenset(ignored), mask=frozenset(mask))

    def _run(self, kernel: "Kernel", process: str) -> None:
        kernel.set_signals(self.ignored, self.mask)

    def _words(self) -> dict[str, str]:
        return {"ignored": _names(self.ignored), "mask": _names(self.mask)}


class Exec(Step):
    """Become the program, looked up in `search_path` as execvp(3) does."""

    __slots__ = ("arguments", "search_path")

    what = "execute {program}"
    how = "execvp({arguments})"
    where = INIT
    last_act = True
    arguments: tuple[bytes, ...]
    search_path: bytes | None

    def __init__(self, arguments: "Sequence[bytes]", search_path: bytes | None) -> None:
        self._set(arguments=tuple(arguments), search_path=search_path)

    def _run(self, kernel: "Kernel", process: str) -> None:
        error = kernel.exec(self.arguments, self.search_path)
        raise self._explained(error)

    def _explained(self, error: "ExecFailure") -> SetupError:
        """Return the error that says why the program isn't there: its status is 127 or 126."""
        from pyinit import execerror

        program = self.arguments[0]
        status, reason, hint = execerror.explain(program, error, self.search_path)
        return ExecError(
            f"{execerror.text(program)}: {reason}",
            stage=INIT,
            syscall="execve",
            errno=error.errno,
            path=execerror.text(error.path),
            hint=hint,
            status=status,
        )

    def _words(self) -> dict[str, str]:
        words = [_text(word) for word in self.arguments]
        return {"program": words[0], "arguments": ", ".join(f'"{word}"' for word in words)}


class ExecInit(Exec):
    """Become the init, which then starts the program; that it can't is a failure of ours.

    `notice` is the descriptor that it takes along, if any.
    """

    __slots__ = ("notice",)

    what = "execute the init {program}"
    notice: int | None

    def __init__(
        self,
        arguments: "Sequence[bytes]",
        search_path: bytes | None,
        notice: int | None = None,
    ) -> None:
        self._set(arguments=tuple(arguments), search_path=search_path, notice=notice)

    def _run(self, kernel: "Kernel", process: str) -> None:
        if self.notice is not None:
            kernel.keep_over_exec(self.notice)
        super()._run(kernel, process)

    def _explained(self, error: "ExecFailure") -> SetupError:
        from pyinit import execerror

        _, _, hint = execerror.explain(self.arguments[0], error, self.search_path)
        return SetupError(
            self.describe(),
            stage=INIT,
            syscall="execve",
            errno=error.errno,
            path=execerror.text(error.path),
            hint=hint,
        )


def _text(word: bytes) -> str:
    """Return bytes as text on one line."""
    from pyinit import execerror

    return execerror.text(word)


def _names(signals: "Iterable[int]") -> str:
    from pyinit import signames

    return " ".join(signames.name(number) for number in sorted(signals)) or "none"
