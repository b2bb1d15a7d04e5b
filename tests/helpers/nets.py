"""Nests: network namespaces in which a test has interfaces and a /dev/net/tun of its own.

For root. Each is a room too (`rooms`), so nothing of the machine's network or mounts is touched.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from helpers.programs import Word, python
from helpers.rooms import entered
from helpers.running import Running, run

ADDRESS = "192.0.2.2"
"""The address of the nest's own interface, from TEST-NET-1 (RFC 5737)."""

RESOLV_CONF = "# the nest's\nnameserver 127.0.0.53\nsearch example.org\noptions edns0\n"
"""The name server of a nest: one that listens where nobody inside can reach it."""

INSIDE = {"slirp4netns": "10.0.2.100", "pasta": ADDRESS}
"""The address that a helper gives to the inside: its own, or that of the machine."""

_NEST = """
import stat, subprocess
NEWNET = 0x40000000
check(libc.unshare(NEWNET))
def ip(words):
    subprocess.run(["ip", *words.split()], check=True)
ip("link set lo up")
ip("link add nest0 type veth peer name nest1")
ip("address add 192.0.2.2/24 dev nest0")
ip("link set nest0 up")
ip("link set nest1 up")
ip("route add default via 192.0.2.1")
def tun(mode):
    os.mknod("/mnt/tun", stat.S_IFCHR | mode, os.makedev(10, 200))
    os.chmod("/mnt/tun", mode)
    mount("/mnt/tun", "/dev/net/tun", None, BIND)
"""

OPEN_TUN = "tun(0o666)\n"
CLOSED_TUN = "tun(0o600)\n"

ROOT = ""
USER = "become()\n"
"""Who runs pyspawn in a nest."""


def nest(
    code: str,
    *words: Word,
    program: tuple[Word, ...] = ("/bin/echo", "ran"),
    files: Mapping[str, str] | None = None,
) -> list[Word]:
    """Return the argv of `pyspawn WORDS -- PROGRAM` in a nest, after `code` has run there."""
    more = {"resolv.conf": RESOLV_CONF} | dict(files or {})
    return entered(_NEST + code, *words, program=program, more=more)


def beside(running: Running, code: str, *words: Word) -> str:
    """Run Python code in the nest that a running pyspawn was started in; return what it prints."""
    where = ["nsenter", f"--net=/proc/{running.starter}/ns/net", "--"]
    ended = run([*where, *python(code, *words)])
    assert (ended.status, ended.errors) == (0, ""), ended
    return ended.out.decode()


ASK = """
import _socket, sys
kind = _socket.SOCK_DGRAM if sys.argv[3:] else _socket.SOCK_STREAM
asking = _socket.socket(_socket.AF_INET6 if ":" in sys.argv[1] else _socket.AF_INET, kind)
asking.settimeout(1 if sys.argv[3:] else 30)
asking.connect((sys.argv[1], int(sys.argv[2])))
for _ in range(30):
    asking.send(b"hello")
    try:
        print(asking.recv(100).decode())
        break
    except TimeoutError:  # slirp4netns drops what waits for ARP for a second, on a busy host
        if not sys.argv[3:]:
            raise
"""
"""For `beside`: say hello to ADDRESS PORT [udp], and print the answer."""

ANSWER = """
import _socket, select, sys
v6 = _socket.has_ipv6 and _socket.socket(_socket.AF_INET6, _socket.SOCK_STREAM)
place = ("", int(sys.argv[1]))
if sys.argv[2:]:
    server = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    server.bind(place)
    print("up", flush=True)
    while 0 not in select.select([0, server.fileno()], [], [])[0]:
        data, client = server.recvfrom(100)
        server.sendto(data.upper(), client)
else:
    server = v6
    server.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
    server.bind(place)
    server.listen()
    print("up", flush=True)
    connection = _socket.socket(fileno=server._accept()[0])
    connection.send(connection.recv(100).upper())
sys.stdin.read()
"""
"""A program that answers on PORT, once or with udp each time, until its input ends."""


def program(code: str, *words: Word) -> tuple[Word, ...]:
    """Return the argv of Python code as a program inside."""
    return (sys.executable, "-I", "-S", "-c", code, *words)
