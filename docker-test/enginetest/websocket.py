"""Just enough of RFC 6455 to sit at a container's terminal through the CRI's streaming server.

The server speaks `v4.channel.k8s.io`: the first byte of a message names a channel.
"""

from __future__ import annotations

import base64
import os
import select
import socket
import struct
from urllib.parse import urlsplit

from enginetest.running import CommandError

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
"""The channels, in the order of the kubelet's remotecommand."""

BINARY, CLOSE, PING = 0x2, 0x8, 0x9
FINAL = 0x80
MASKED = 0x80


def frame(opcode: int, payload: bytes, key: bytes) -> bytes:
    """Return one final frame, masked with the four bytes of `key` as a client's must be."""
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", FINAL | opcode, MASKED | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", FINAL | opcode, MASKED | 126, length)
    else:
        head = struct.pack("!BBQ", FINAL | opcode, MASKED | 127, length)
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def split(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Return (opcode, payload, rest) of a server's first frame, or None if it isn't all there."""
    if len(data) < 2:
        return None
    opcode, length, start = data[0] & 0x0F, data[1] & 0x7F, 2
    if length == 126:
        start, form = 4, "!H"
    elif length == 127:
        start, form = 10, "!Q"
    if len(data) < start:
        return None
    if start > 2:
        length = struct.unpack_from(form, data, 2)[0]
    if len(data) < start + length:
        return None
    return opcode, data[start : start + length], data[start + length :]


class Attached:
    """The streams of a container with a terminal."""

    def __init__(self, url: str) -> None:
        """Connect to the URL that the CRI's Attach gave; raises CommandError."""
        place = urlsplit(url)
        self._socket = socket.create_connection((place.hostname, place.port or 80), timeout=30)
        self._buffer = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {place.path}?{place.query} HTTP/1.1\r\nHost: {place.netloc}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._buffer:
            more = self._socket.recv(65536)
            if not more:
                break
            self._buffer += more
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise CommandError(f"attach: {head.decode(errors='replace')}")

    def receive(self, seconds: float) -> bytes | None:
        """Return what appeared at the terminal, b"" if nothing did in time, None at the end."""
        while (found := split(self._buffer)) is None:
            if not select.select([self._socket], [], [], seconds)[0]:
                return b""
            more = self._socket.recv(65536)
            if not more:
                return None
            self._buffer += more
        opcode, payload, self._buffer = found
        if opcode == CLOSE:
            return None
        return payload[1:] if opcode == BINARY and payload[:1] == bytes([STDOUT]) else b""

    def send(self, data: bytes) -> None:
        """Type."""
        self._socket.sendall(frame(BINARY, bytes([STDIN]) + data, os.urandom(4)))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
