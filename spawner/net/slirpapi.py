"""Publish ports through slirp4netns(1), which takes requests on a Unix socket.

The socket lies in a directory of our own for as long as it takes to publish. A launcher that is
killed in that moment leaves the empty directory, or the socket in it, in /tmp.
"""

import contextlib
import posix
from errno import ETIMEDOUT

from spawner.errors import LAUNCHER, SetupError, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from spawner.making import Ear
    from spawner.net.network import Publish

GUEST = "10.0.2.100"
"""The address that slirp4netns gives to the container, slirp4netns(1)."""

ANSWER = 10.0
"""Seconds that slirp4netns has to answer."""


class Socket:
    """The path of a socket in a new private directory."""

    def __init__(self) -> None:
        # The name is random, and mkdir(2) follows no link.
        self._directory = f"/tmp/pyspawn-{posix.urandom(8).hex()}"  # noqa: S108
        self.path = f"{self._directory}/api"
        try:
            posix.mkdir(self._directory, 0o700)
        except OSError as error:
            raise SyscallError("mkdir", error.errno or 0, self._directory) from None

    def publish(self, ports: "Iterable[Publish]", ear: "Ear") -> None:
        """Ask slirp4netns to publish ports; raises SetupError."""
        for port in ports:
            answer = _ask(self.path, hostfwd(port), ear)
            if "error" in answer:
                error = answer["error"]
                why = error.get("desc", "") if isinstance(error, dict) else ""
                raise SetupError(f"publish {port}: slirp4netns refuses: {why}", stage=LAUNCHER)

    def remove(self) -> None:
        """Remove the directory and the socket in it."""
        with contextlib.suppress(OSError):  # it never came
            posix.unlink(self.path)
        with contextlib.suppress(OSError):
            posix.rmdir(self._directory)


def hostfwd(port: "Publish") -> "dict[str, Any]":
    """Return the request to publish a port, slirp4netns(1)."""
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


def _ask(path: str, request: "dict[str, Any]", ear: "Ear") -> "dict[str, Any]":
    """Return slirp4netns's answer to a request."""
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
            if not ear.wait(found.fileno(), seconds=ANSWER):
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
