"""Pairs of sockets, by which related processes pass each other words and descriptors, unix(7).

A message arrives as one, as it was sent (SOCK_SEQPACKET).
"""

import _socket
import sys

from spawner.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_INT = 4
"""Bytes in a C int, the form in which descriptors are passed."""


def pair() -> "tuple[_socket.socket, _socket.socket]":
    """Return a pair of sockets, closed on exec, socketpair(2); raises SyscallError."""
    try:
        return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    except OSError as error:
        raise SyscallError("socketpair", error.errno or 0) from None


def send(end: "_socket.socket", word: bytes, descriptors: "Iterable[int]" = ()) -> None:
    """Send a word and descriptors, sendmsg(2); raises SyscallError."""
    raw = b"".join(each.to_bytes(_INT, sys.byteorder) for each in descriptors)
    passed = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, raw)] if raw else []
    try:
        end.sendmsg([word], passed)
    except OSError as error:
        raise SyscallError("sendmsg", error.errno or 0) from None


def receive(
    end: "_socket.socket", size: int, most: int, *, waits: bool = True
) -> tuple[bytes, list[int]]:
    """Return the next word, and the descriptors that came along, closed on exec, recvmsg(2).

    The word has up to `size` bytes, none at the end of file, and `most` descriptors come along at
    the most. Raises OSError: BlockingIOError where nothing has come yet, unless it `waits`.
    """
    flags = _socket.MSG_CMSG_CLOEXEC | (0 if waits else _socket.MSG_DONTWAIT)
    word, ancillary, _, _ = end.recvmsg(size, _socket.CMSG_SPACE(most * _INT), flags)
    raw = b"".join(each for _, _, each in ancillary)
    return word, [
        int.from_bytes(raw[at : at + _INT], sys.byteorder) for at in range(0, len(raw), _INT)
    ]
