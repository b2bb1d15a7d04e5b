"""Start slirp4netns(1) or pasta(1), which carry a container's packets without privileges.

1. `find` looks for the program, a /dev/net/tun that this user may open (it's the program who opens
   it, and pasta would wait for ever), and the ports.
2. The process aside (`aside`) gets SIGKILL when the launcher dies: PR_SET_PDEATHSIG(2const)
   outlasts its exec. It executes its words.
3. Ready is for slirp4netns --ready-fd, and for pasta the file in which --pid writes. slirp4netns
   also ends with --exit-fd. Only after that pasta shuts itself in, its seccomp(2) filter last: the
   program inside, which may be root there, starts when that's done.
4. slirp4netns is asked to publish ports on a socket, which is gone before the program starts
   (`slirpapi`).
"""

import _signal
import posix
import time
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL

from spawner.errors import LAUNCHER, SetupError, SyscallError, how, mark
from spawner.host import ends, proc, programs
from spawner.net.aside import READY, Backend, read_words
from spawner.net.network import RESOLVERS
from spawner.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spawner.caller import Caller
    from spawner.linux import Kernel
    from spawner.net.aside import Ends
    from spawner.net.network import Network, Publish
    from spawner.net.slirpapi import Socket

TUN = "/dev/net/tun"
"""The device that a process opens for a network interface of its own, linux/if_tun.h."""

_MOMENT = 0.001
"""Seconds between two looks whether pasta has shut itself in, of which nothing tells."""

PACKAGES = {"slirp4netns": "slirp4netns", "pasta": "passt"}
"""The packages that contain the programs, in Debian, Fedora and others."""

_HINTS = {
    EACCES: (
        "ordinary users may not listen on ports below the sysctl "
        "net.ipv4.ip_unprivileged_port_start (normally 1024): publish a higher port, or lower "
        "the sysctl as root"
    ),
    EADDRINUSE: "publish another port, or end the program that listens there (`ss -lnp`)",
    EADDRNOTAVAIL: "publish on an address that this host has (`ip address`)",
}
"""Hints for a port that can't be listened on, by errno."""


class Carrier(Backend):
    """A process outside that executes slirp4netns or pasta."""

    def __init__(self, network: "Network", program: str, *, users: bool = False) -> None:
        super().__init__(network, users=users)
        self.program = program
        self._api: Socket | None = None

    def step(self) -> Step:
        """Return the step that starts the program and waits until it's ready."""
        words = self._arguments("INIT", ("READY", "END"), users=self.users)
        return Step(
            LAUNCHER,
            f"start {self.network.kind} and wait until it's ready",
            f"execve({', '.join(words)})",
            lambda _, process: self._start(process),
            topic="start-carrier",
            needs=("net", "mount"),
        )

    def inside(self) -> "Iterator[Step]":
        """Yield the step that gives the container a reachable name server."""
        from spawner.net import resolver

        yield resolver.step(RESOLVERS[self.network.kind])

    def stop(self) -> list[int]:
        """Kill the program and all that it has started; return the pids that don't end."""
        left = super().stop()
        self._remove_socket()
        return left

    def ended(self, changed: int) -> str:
        """Note how the program ended, by its wait status; return the message about that."""
        self.pid = 0
        complaint = "" if posix.WIFSIGNALED(changed) else self._complaint()
        why = f" ({complaint})" if complaint else ""
        return f"{self.network.kind} {how(changed)}{why}: the container has no network any more"

    def _begin(self, kernel: "Kernel") -> None:
        super()._begin(kernel)
        if self.network.kind == "slirp4netns" and self.network.publish:
            from spawner.net.slirpapi import Socket

            self._api = Socket()

    def _serve(self, kernel: "Kernel", ends: "Ends", launcher: int) -> None:
        kernel.set_parent_death_signal(_signal.SIGKILL)
        argv = read_words(ends.words)
        if not argv or posix.getppid() != launcher:
            return
        if self.network.kind == "pasta":
            # It keeps none but the standard ones, and says nothing on stdout. As root it gives up
            # the right to open another's namespaces before it does so.
            posix.dup2(posix.open(argv.pop(), posix.O_RDONLY | posix.O_CLOEXEC), 0)
            posix.dup2(ends.ready, 1)
        else:
            for descriptor in (ends.ready, ends.end):
                posix.set_inheritable(descriptor, True)
            if b"--enable-sandbox" in argv:
                from spawner.net import resolver

                if resolver.leads_out():
                    resolver.bring_along(kernel)
        posix.chdir("/")
        # pasta takes a SIGPIPE that's ignored, as Python has it, for an error.
        kernel.set_signals((), ())
        posix.execve(argv[0], argv, {b"LC_ALL": b"C", b"PATH": programs.DEFAULT_PATH})

    def _start(self, process: str) -> None:
        """Start the program for the namespaces of `process`; return when the program is ready.

        Raises SyscallError and SetupError.
        """
        ends = (str(self._ends.ready), str(self._ends.end))
        words = self._arguments(process, ends, users=not _shares_users(process))
        if self.network.kind == "pasta":
            words.append(f"/proc/{process}/ns/net")
        self._send(words)
        self._await()
        self._complaint()  # what it said until here was no reason to end
        if self._api is not None:
            ear = self._listen()
            try:
                self._api.publish(self.network.publish, ear)
            finally:
                ear.close()
            self._remove_socket()
        elif self.network.kind == "pasta":
            for port in self.network.publish:
                if _refusal(port) is None:
                    raise self._failed(f"{port} isn't published")
        if self.network.kind == "pasta":
            self._await_filter()

    def _await_filter(self) -> None:
        """Return when the program has a seccomp(2) filter more than we have; raises SetupError."""
        ear = self._listen()
        until = time.monotonic() + READY
        own = _filters("self")
        try:
            while (found := _filters(str(self.pid))) is not None and found <= (own or 0):
                if ends.is_gone(self.pid):
                    raise self._failed(None)
                if time.monotonic() >= until:
                    raise self._failed(f"it hadn't shut itself in after {READY:g} seconds")
                ear.wait(seconds=_MOMENT)
        finally:
            ear.close()

    def _finish(self) -> None:
        posix.kill(self.pid, _signal.SIGKILL)  # our child, unreaped: the pid is its own

    def _failed(self, why: str | None) -> SetupError:
        if why is None and self.pid:
            self._finish()  # if it closed the pipe and lives on
        error = super()._failed(why)
        if "xternal interface" in error.step:
            error.hint = (
                "pasta copies the addresses of the interface that has the default route, and "
                f"there is no default route: add one, or use {mark('--network slirp4netns')}"
            )
        return error

    def _remove_socket(self) -> None:
        if self._api is not None:
            self._api.remove()
            self._api = None

    def _arguments(self, process: str, ends: "tuple[str, str]", *, users: bool) -> "list[str]":
        """Return the helper's argv for the namespaces of `process`.

        `users` says whether it has a user namespace of its own.
        """
        root = posix.geteuid() == 0
        if self.network.kind == "pasta":
            return pasta(
                self.program,
                users=f"/proc/{process}/ns/user" if users else None,
                ports=self.network.publish,
                root=root,
            )
        ready, end = ends
        api = None if self._api is None else self._api.path
        return slirp4netns(self.program, process, ready=ready, end=end, root=root, api=api)


def find(network: "Network", caller: "Caller", *, users: bool) -> Carrier:
    """Return the part for a network, after checking that it can be started; raises SetupError.

    `users` says whether the init has a user namespace of its own.
    """
    kind = network.kind
    program = programs.find(kind, caller.search_path)
    if program is None:
        raise SetupError(
            f"start {kind}: the program isn't in PATH",
            stage=LAUNCHER,
            hint=f"install the package {PACKAGES[kind]}, or use {mark('--network loopback')}",
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
    return Carrier(network, program, users=users)


def slirp4netns(
    program: str, process: str, *, ready: str, end: str, root: bool, api: str | None = None
) -> "list[str]":
    """Return the argv of slirp4netns for the network namespace of `process`.

    It writes into the descriptor `ready` when it's done, and ends when `end` is at its end. `api`
    is the path of the socket that it listens on. See slirp4netns(1).

    It has to stay out of the user namespace inside, where a program that is root could reach into
    it by ptrace(2), or /proc/PID/mem, and so into the host's network. As an ordinary user's it
    does, but with --enable-sandbox it would enter. As `root` it needs no user namespace, and the
    sandbox takes its capabilities, and all files but those in /etc and /run (`resolver`).
    """
    words = [program, "--configure", f"--ready-fd={ready}", f"--exit-fd={end}"]
    words += ["--disable-host-loopback", "--enable-seccomp"]
    if api is not None:
        words.append(f"--api-socket={api}")
    if root:
        return [*words, "--enable-sandbox", "--netns-type=path", f"/proc/{process}/ns/net", "tap0"]
    return [*words, process, "tap0"]


def pasta(
    program: str, *, users: str | None, ports: "Sequence[Publish]", root: bool
) -> "list[str]":
    """Return the argv of pasta for the network namespace that is its stdin.

    `users` is the path of its user namespace. It stays in the foreground, as our child, and writes
    its pid to stdout when it's done. The host's own loopback stays out of reach. Started by
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
    words += ["--tcp-ns", "none", "--udp-ns", "none", "--no-map-gw", "--no-netns-quit"]
    words += ["--dns-forward", RESOLVERS["pasta"]]
    if users is not None:
        words += ["--userns", users]
    return [*words, "--netns", "/proc/self/fd/0"]


def _check_tun(kind: str) -> None:
    """Raise SetupError if this user can't open the tun device, as the helper has to."""
    try:
        posix.close(posix.open(TUN, posix.O_RDWR | posix.O_CLOEXEC))
    except OSError as error:
        from pyinit import errno_text

        raise SetupError(
            f"start {kind}: open {TUN}, which it needs: {errno_text(error.errno or 0)}",
            stage=LAUNCHER,
            path=TUN,
            hint=f"as root, `modprobe tun`, then `chmod 666 {TUN}`, or, if there is no such file, "
            f"`mkdir -p /dev/net && mknod -m 666 {TUN} c 10 200`; if pyspawn itself runs in a "
            f"container, start that one with `--device {TUN}`",
        ) from None


def _refusal(port: "Publish") -> int | None:
    """Return the errno with which listening on a port fails now, or None."""
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


def _filters(process: str) -> int | None:
    """Return how many seccomp(2) filters a process has, proc_pid_status(5), None if it's hidden."""
    try:
        found = proc.fields(proc.text(f"/proc/{process}/status"))
    except SyscallError:
        return None
    return int(found.get("Seccomp_filters") or found.get("Seccomp", "0"))


def _shares_users(process: str) -> bool:
    """Tell whether a process is in the same user namespace as this one."""
    try:
        return (
            posix.stat(f"/proc/{process}/ns/user").st_ino == posix.stat("/proc/self/ns/user").st_ino
        )
    except OSError:
        return False
