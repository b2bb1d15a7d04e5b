"""Ports published by slirp4netns(1): it takes requests on a socket that has to have a path.

The socket lies in a directory of our own for as long as it takes to publish. Who removes it is a
process forked for that, the sweeper: it waits for a byte, or the end of file, on a pipe that the
launcher holds, and so sweeps also after a SIGKILL of the launcher.
"""

import _signal
import contextlib
import posix
from errno import ENOTEMPTY, ETIMEDOUT

from spawner import ends, linux
from spawner.errors import LAUNCHER, SetupError, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

    from spawner.linux import Kernel
    from spawner.making import Ear
    from spawner.network import Publish

GUEST = "10.0.2.100"
"""The address that slirp4netns gives to the inside, slirp4netns(1)."""

PATIENCE = 10.0
"""Seconds that slirp4netns has to answer."""

_SUN_PATH = 108
"""Bytes in the path of a socket, with the NUL at its end, unix(7)."""

_DIRECTORY, _FORMAT, _WRITABLE_BY_OTHERS = 0o040000, 0o170000, 0o022
"""Bits of a mode, inode(7)."""


class Sweeper:
    """A private directory for a socket, and the process that removes both.

    Raises SyscallError.
    """

    def __init__(self, kernel: "Kernel") -> None:
        self._directory = f"{_place()}/pyspawn-{posix.urandom(8).hex()}"
        self.socket = f"{self._directory}/api"
        reader, self._writer = kernel.pipe()
        try:
            self._pid = kernel.fork_aside()
        except OSError:
            posix.close(self._writer)
            raise
        finally:
            if getattr(self, "_pid", -1) != 0:
                posix.close(reader)
        if self._pid == 0:
            self._become(reader)
        try:
            posix.mkdir(self._directory, 0o700)
        except OSError as error:
            self.sweep()
            raise SyscallError("mkdir", error.errno or 0, self._directory) from None

    def publish(self, ports: "Iterable[Publish]", ear: "Ear") -> None:
        """Have the slirp4netns that listens publish ports; raises SetupError."""
        for port in ports:
            answer = _ask(self.socket, hostfwd(port), ear)
            if "error" in answer:
                error = answer["error"]
                why = error.get("desc", "") if isinstance(error, dict) else ""
                raise SetupError(f"publish {port}: slirp4netns refuses: {why}", stage=LAUNCHER)

    def sweep(self) -> list[int]:
        """Remove the directory and what is in it; return who hangs in that."""
        posix.set_blocking(self._writer, False)
        with contextlib.suppress(OSError):  # it's gone
            posix.write(self._writer, b".")  # the init may have a copy, so there's no end of file
        posix.close(self._writer)
        if ends.reap(self._pid) is None and not ends.is_gone(self._pid):
            posix.kill(self._pid, _signal.SIGKILL)  # our child, unreaped: the pid is its own
            if ends.reap(self._pid) is None and not ends.is_gone(self._pid):
                return [self._pid]
        _remove(self._directory, self.socket)  # for a sweeper that somebody killed
        return []

    def _become(self, reader: int) -> "NoReturn":
        """Be the sweeper."""
        try:
            posix.setsid()
            linux.close_all_but((reader,))
            for standard in (0, 1, 2):
                posix.close(standard)
            posix.read(reader, 1)
            _remove(self._directory, self.socket)
        finally:
            posix._exit(0)


def hostfwd(port: "Publish") -> "dict[str, Any]":
    """Return the request by which slirp4netns publishes a port, slirp4netns(1)."""
    return {
        "execute": "add_hostfwd",
        "arguments": {
            "proto": port.protocol,
            "host_addr": port.address,
            "host_port": port.port,
            "guest_addr": GUEST,
            "guest_port": port.inner,
        },
    }


def _place() -> str:
    """Return a directory for ours: the user's own, or the one for all, where names are ours too.

    Another's, as `sudo -E` may leave it to root, isn't taken: they could put a symbolic link in
    the place of what is to be removed.
    """
    own = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    if own.startswith("/") and len(own) < _SUN_PATH // 2 and _is_ours_alone(own):
        return own.rstrip("/")
    return "/tmp"  # noqa: S108  the name below is random, and mkdir(2) follows no link


def _is_ours_alone(path: str) -> bool:
    """Tell whether this is a directory in which nobody else can make or rename anything."""
    try:
        found = posix.stat(path)
    except OSError:
        return False
    directory = found.st_mode & _FORMAT == _DIRECTORY
    ours = found.st_uid == posix.geteuid() and not found.st_mode & _WRITABLE_BY_OTHERS
    return directory and ours and posix.access(path, posix.W_OK | posix.X_OK)


def _remove(directory: str, socket: str) -> None:
    """Remove a directory whose only content is a socket, also one that comes meanwhile."""
    while True:
        with contextlib.suppress(OSError):
            posix.unlink(socket)
        try:
            posix.rmdir(directory)
        except OSError as error:
            if error.errno == ENOTEMPTY:
                continue
        return


def _ask(path: str, request: "dict[str, Any]", ear: "Ear") -> "dict[str, Any]":
    """Return the answer to a request."""
    import _socket
    import json

    raw = json.dumps(request).encode()
    found = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        found.setblocking(False)
        found.connect(path)
        found.sendall(raw)
        found.shutdown(_socket.SHUT_WR)
        blocks = []
        while True:
            if not ear.wait(found.fileno(), seconds=PATIENCE):
                raise TimeoutError(ETIMEDOUT, "no answer")
            if not (block := found.recv(65536)):
                break
            blocks.append(block)
        answer = json.loads(b"".join(blocks))
    except SetupError:
        raise
    except OSError as error:
        raise SetupError(
            f"publish ports at the socket {path} of slirp4netns",
            stage=LAUNCHER,
            syscall="connect",
            errno=error.errno or ETIMEDOUT,
            path=path,
        ) from None
    except ValueError:
        answer = {"error": {"desc": f"its answer makes no sense: {b''.join(blocks)!r}"}}
    finally:
        found.close()
    return answer if isinstance(answer, dict) else {"error": {}}
