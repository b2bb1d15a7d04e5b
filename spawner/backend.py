"""A program that carries a container's packets without privileges: slirp4netns(1) or pasta(1).

1. `find` looks for what can be missing, before anything is made: the program, a /dev/net/tun that
   this user may open (it's the helper who opens it, and pasta would wait for ever), and the ports.
2. `begin` forks the helper before the launcher unshares anything, since later children would be in
   the container's PID namespace. It waits for its *words*, in a session of its own (a ^C isn't for
   it), without any descriptor of the caller's, and gets SIGKILL when the launcher dies:
   PR_SET_PDEATHSIG(2const) outlasts its exec.
3. Once the network namespace exists, and before the inside is set up, the launcher sends the words,
   each with a NUL at its end and one more after the last. The helper executes them.
4. *ready*: the helper writes a number when the interface inside is configured. An end of file
   before that is its failure.
5. *log*: what it complains about. The launcher holds both ends to the end, so that no writer gets
   SIGPIPE; nobody reads before a failure, and a full pipe takes no more.
6. *end*: slirp4netns ends when this is at its end: a second way for the launcher's death.
7. slirp4netns is asked to publish ports on a socket, in a directory that is gone before the program
   starts (`slirpapi`).
8. The helper is the launcher's child: it's killed when the container has ended, and its own death
   before that is told.

All pipes are closed on exec, so the init lets go of its copies.
"""

import _signal
import posix
import select
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL, ENODEV, ENOENT, ENXIO

from spawner import descriptors, helper, linux
from spawner.errors import LAUNCHER, SetupError
from spawner.network import RESOLVERS
from spawner.steps import Step, attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NoReturn

    from spawner.caller import Caller
    from spawner.linux import Kernel
    from spawner.network import Network, Publish
    from spawner.slirpapi import Sweeper

TUN = "/dev/net/tun"
"""The device by which a process makes and holds a network interface, linux/if_tun.h."""

PACKAGES = {"slirp4netns": "slirp4netns", "pasta": "passt"}
"""Where a helper comes from, in Debian, Fedora and others."""

PATIENCE = 30.0
"""Seconds after which a helper that neither is ready nor ends has failed."""

_HINTS = {
    EACCES: (
        "ordinary users may not listen on ports below the sysctl "
        "net.ipv4.ip_unprivileged_port_start (1024): publish a higher one, or lower that as root"
    ),
    EADDRINUSE: "publish another port, or end the program that listens there (`ss -lnp`)",
    EADDRNOTAVAIL: "publish on an address that this machine has (`ip address`)",
}
"""What to do about a port that can't be listened on, by errno."""

_NO_EXEC = 127
"""The exit status of a helper that could not be executed, as a shell has it."""


class Backend:
    """The helper of one container; `pid` is 0 while there's none.

    While it's being started, the end of any of `watched`, which are descriptors, ends the wait.
    """

    def __init__(self, network: "Network", program: str) -> None:
        self.network = network
        self.program = program
        self.pid = 0
        self.watched: frozenset[int] = frozenset()
        self._words = self._ready = self._log = self._log_writer = self._end = -1
        self._sweeper: Sweeper | None = None

    @property
    def descriptors(self) -> set[int]:
        """What the launcher has to keep open while the helper lives."""
        ends = (self._words, self._ready, self._log, self._log_writer, self._end)
        return {end for end in ends if end >= 0}

    def begin(self, kernel: "Kernel") -> None:
        """Fork the helper; raises SetupError."""
        attempt(LAUNCHER, f"fork {self.network.kind}", lambda: self._begin(kernel))

    def step(self, *, users: bool) -> Step:
        """Return the step by which the helper starts for the init, and is waited for.

        `users` says whether the init has a user namespace of its own.
        """
        words = self._arguments("INIT", ("READY", "END"), users=users, root=True)
        return Step(
            LAUNCHER,
            f"start {self.network.kind} and wait until it's ready",
            f"fork(), execve({', '.join(words)})",
            lambda _, process: self._start(process),
            topic="start-backend",
            needs=("net", "mount"),
        )

    def inside(self) -> "Iterator[Step]":
        """Yield what the init has to do."""
        from spawner import resolver

        yield resolver.step(RESOLVERS[self.network.kind])

    def stop(self) -> None:
        """Kill the helper, if there's one, and wait until it's gone."""
        if self._sweeper is not None:
            self._sweeper.sweep()
            self._sweeper = None
        if self.pid:
            posix.kill(self.pid, _signal.SIGKILL)  # our child, unreaped: the pid is its own
            self._reap()
        for descriptor in self.descriptors:
            posix.close(descriptor)
        self._words = self._ready = self._log = self._log_writer = self._end = -1

    def ended(self, changed: int) -> str:
        """Take the helper's end, by its wait status; return what to tell."""
        from spawner.wait import how

        self.pid = 0
        complaint = self._complaint()
        why = f" ({complaint})" if complaint else ""
        return f"{self.network.kind} {how(changed)}{why}: there's no network inside any more"

    def _begin(self, kernel: "Kernel") -> None:
        self._log, self._log_writer = kernel.pipe()
        posix.set_blocking(self._log_writer, False)
        words, self._words = kernel.pipe()
        try:
            self._ready, ready = kernel.pipe()
            try:
                end, self._end = kernel.pipe()
                try:
                    self._fork(kernel, words, ready, end)
                finally:
                    posix.close(end)
            finally:
                posix.close(ready)
        finally:
            posix.close(words)
        if self.network.kind == "slirp4netns" and self.network.publish:
            from spawner.slirpapi import Sweeper

            self._sweeper = Sweeper(kernel)

    def _fork(self, kernel: "Kernel", words: int, ready: int, end: int) -> None:
        self._ends = (str(ready), str(end))
        launcher = posix.getpid()
        pid = kernel.fork_aside()
        if pid == 0:
            self._become(kernel, launcher, words, ready, end)
        self.pid = pid

    def _become(
        self, kernel: "Kernel", launcher: int, words: int, ready: int, end: int
    ) -> "NoReturn":
        """Be the helper."""
        try:
            kernel.set_parent_death_signal(_signal.SIGKILL)
            posix.setsid()
            null = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
            for standard, source in ((0, null), (1, null), (2, self._log_writer)):
                posix.dup2(source, standard)
            kept = (ready, end) if self.network.kind == "slirp4netns" else (ready,)
            descriptors.close_all_but((words, *kept))
            argv = _read_words(words)
            if argv and posix.getppid() == launcher:
                posix.close(words)
                if self.network.kind == "pasta":
                    # It keeps none but the standard ones, and says nothing on stdout. As root it
                    # gives up the right to open another's namespaces before it does so.
                    posix.dup2(posix.open(argv.pop(), posix.O_RDONLY | posix.O_CLOEXEC), 0)
                    posix.dup2(ready, 1)
                else:
                    for descriptor in kept:
                        posix.set_inheritable(descriptor, True)
                posix.chdir("/")
                # pasta takes a SIGPIPE that's ignored, as Python has it, for an error.
                kernel.set_signals((), ())
                posix.execve(argv[0], argv, {b"LC_ALL": b"C", b"PATH": helper.DEFAULT_PATH})
        except OSError as error:
            posix.write(2, f"{posix.strerror(error.errno or 0)}\n".encode())
        finally:
            posix._exit(_NO_EXEC)

    def _start(self, process: str) -> None:
        """Start the helper for the namespaces of `process`, and return when it's ready.

        Raises SyscallError and SetupError.
        """
        found = self._arguments(
            process, self._ends, users=not _shares_users(process), root=_has_root(process)
        )
        if self.network.kind == "pasta":
            found.append(f"/proc/{process}/ns/net")
        raw = b"".join(linux.encode(word) + b"\0" for word in found) + b"\0"
        try:
            while raw:
                raw = raw[posix.write(self._words, raw) :]
        except BrokenPipeError:
            raise self._failed(None) from None
        self._await()
        if self._sweeper is not None:
            self._sweeper.publish(self.network.publish)
            self._sweeper.sweep()
            self._sweeper = None
        elif self.network.kind == "pasta":
            for port in self.network.publish:
                if _refusal(port) is None:
                    raise self._failed(f"{port} isn't published")

    def _arguments(
        self, process: str, ends: "tuple[str, str]", *, users: bool, root: bool
    ) -> "list[str]":
        """Return the helper's argv for the namespaces of `process`.

        `users` says whether it has a user namespace of its own, and `root` whether that has a root.
        """
        if self.network.kind == "pasta":
            return pasta(
                self.program,
                users=f"/proc/{process}/ns/user" if users else None,
                ports=self.network.publish,
                root=posix.geteuid() == 0,
            )
        ready, end = ends
        api = None if self._sweeper is None else self._sweeper.socket
        return slirp4netns(self.program, process, ready=ready, end=end, sandbox=root, api=api)

    def _await(self) -> None:
        """Return when the helper is ready; raises SetupError."""
        poll = select.poll()
        for descriptor in (self._ready, *self.watched):
            poll.register(descriptor, select.POLLIN)
        found = {descriptor for descriptor, _ in poll.poll(PATIENCE * 1000)}
        if not found:
            raise self._failed(f"it wasn't ready after {PATIENCE:g} seconds")
        if self._ready not in found:
            raise self._failed("everything was to end meanwhile")
        if not posix.read(self._ready, 64).strip().isdigit():
            raise self._failed(None)

    def _failed(self, why: str | None) -> SetupError:
        """Return the error for a start that failed, for a reason of its own unless `why`."""
        if why is None:
            from spawner.wait import how

            posix.kill(self.pid, _signal.SIGKILL)  # if it closed the pipe and lives on
            changed = self._reap()
            complaint = self._complaint()
            why = complaint or ("it is gone" if changed is None else f"it {how(changed)}")
        return SetupError(f"start {self.network.kind}: {why}", stage=LAUNCHER)

    def _reap(self) -> int | None:
        """Wait for the end of the helper; return its wait status if it's ours to know."""
        pid, self.pid = self.pid, 0
        try:
            return posix.waitpid(pid, 0)[1]
        except ChildProcessError:
            return None

    def _complaint(self) -> str:
        """Return the last line of what the helper had to say."""
        posix.set_blocking(self._log, False)
        try:
            text = posix.read(self._log, 65536).decode("utf-8", "surrogateescape")
        except BlockingIOError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return _plain(lines[-1]) if lines else ""


def find(network: "Network", caller: "Caller") -> Backend:
    """Return the helper of a network, ready to be started; raises SetupError."""
    kind = network.kind
    program = helper.find(kind, caller.search_path)
    if program is None:
        raise SetupError(
            f"start {kind}: there's no such program in PATH",
            stage=LAUNCHER,
            hint=f"install the package {PACKAGES[kind]}, or do without, --network loopback",
        )
    _check_tun(kind)
    for port in network.publish:
        refusal = _refusal(port)
        if refusal is not None:
            raise SetupError(
                f"publish {port}",
                stage=LAUNCHER,
                syscall="bind",
                errno=refusal,
                hint=_HINTS.get(refusal),
            )
    return Backend(network, program)


def slirp4netns(
    program: str, process: str, *, ready: str, end: str, sandbox: bool, api: str | None = None
) -> "list[str]":
    """Return the argv of a slirp4netns for the namespaces of the process `process`.

    It writes into the descriptor `ready` when it's done, and ends when `end` is at its end. With
    `sandbox` it gives up what it doesn't need; that takes a root inside. `api` is the path of the
    socket that it listens on. See slirp4netns(1).
    """
    return [
        program,
        "--configure",
        f"--ready-fd={ready}",
        f"--exit-fd={end}",
        "--disable-host-loopback",
        *(("--enable-sandbox", "--enable-seccomp") if sandbox else ()),
        *((f"--api-socket={api}",) if api is not None else ()),
        process,
        "tap0",
    ]


def pasta(
    program: str, *, users: str | None, ports: "Sequence[Publish]", root: bool
) -> "list[str]":
    """Return the argv of a pasta for the network namespace that its stdin is.

    `users` is the path of its user namespace. It stays in the foreground, as our child, and writes
    its pid to stdout when it's done. The machine's own loopback stays out of reach. Started by
    `root` it would become nobody, who may not enter the namespaces. See passt(1).
    """
    words = [program, "--foreground", "--config-net", "--quiet", "--stderr"]
    words += ["--pid", "/proc/self/fd/1"]
    if root:
        words += ["--runas", "0:0"]
    for protocol, option in (("tcp", "--tcp-ports"), ("udp", "--udp-ports")):
        published = [
            f"{port.address}/{port.port}:{port.inner}"
            for port in ports
            if port.protocol == protocol
        ]
        for word in published or ["none"]:
            words += [option, word]
    words += ["--tcp-ns", "none", "--udp-ns", "none", "--no-map-gw"]
    words += ["--dns-forward", RESOLVERS["pasta"]]
    if users is not None:
        words += ["--userns", users]
    return [*words, "--netns", "/proc/self/fd/0"]


def _check_tun(kind: str) -> None:
    """Raise SetupError where this user can't open the device that the helper will."""
    try:
        posix.close(posix.open(TUN, posix.O_RDWR | posix.O_CLOEXEC))
    except OSError as error:
        hint = f"as root, `chmod 666 {TUN}`; in a container, add `--device {TUN}`"
        if error.errno == ENOENT:
            hint = (
                f"as root, `modprobe tun`, or `mkdir -p /dev/net && mknod -m 666 {TUN} c 10 200`; "
                f"in a container, add `--device {TUN}`"
            )
        elif error.errno in (ENODEV, ENXIO):
            hint = "the kernel has no such device: as root, `modprobe tun`"
        from pyinit.status import errno_text

        raise SetupError(
            f"start {kind}: open {TUN}, which it needs: {errno_text(error.errno or 0)}",
            stage=LAUNCHER,
            path=TUN,
            hint=hint,
        ) from None


def _refusal(port: "Publish") -> int | None:
    """Return the errno for which nobody can listen on a port of ours now, None if we could."""
    import _socket

    family = _socket.AF_INET6 if ":" in port.address else _socket.AF_INET
    stream = port.protocol == "tcp"
    try:
        found = _socket.socket(family, _socket.SOCK_STREAM if stream else _socket.SOCK_DGRAM)
    except OSError as error:
        return error.errno
    try:
        if stream:  # connections that have ended don't count, tcp(7)
            found.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        found.bind((port.address, port.port))
        if stream:
            found.listen(1)
    except OSError as error:
        return error.errno
    finally:
        found.close()
    return None


def _read_words(descriptor: int) -> list[bytes]:
    """Return the words that the launcher sends, none if it dies before."""
    raw = b""
    while not raw.endswith(b"\0\0"):
        block = posix.read(descriptor, 65536)
        if not block:
            return []
        raw += block
    return raw[:-2].split(b"\0")


def _shares_users(process: str) -> bool:
    """Tell whether a process is in our user namespace."""
    try:
        return (
            posix.stat(f"/proc/{process}/ns/user").st_ino == posix.stat("/proc/self/ns/user").st_ino
        )
    except OSError:
        return False


def _has_root(process: str) -> bool:
    """Tell whether there's a root in the user namespace of a process, user_namespaces(7)."""
    from spawner import subid

    lines = subid.contents(f"/proc/{process}/uid_map").splitlines()
    return any(line.split()[0] == "0" for line in lines)


def _plain(line: str) -> str:
    """Return a line without the time that pasta begins it with."""
    first, colon, rest = line.partition(": ")
    return rest if colon and first.replace(".", "").isdigit() else line
