"""Published ports reach the program, and nobody else."""

from __future__ import annotations

import pytest
from helpers.capabilities import require
from helpers.nets import ADDRESS, ANSWER, ASK, OPEN_TUN, beside, nest, program
from helpers.networks import CARRIERS, as_caller, carriers
from helpers.running import Running, run


@pytest.mark.parametrize("caller", ["root", "root in a user namespace", "a user"])
@carriers
def test_a_published_port_answers_on_loopback(kind: str, caller: str) -> None:
    argv = as_caller(caller, kind, "--init", "--publish", "18080:80", program=program(ANSWER, "80"))
    with Running(argv) as running:
        assert running.line() == "up"
        assert beside(running, ASK, "127.0.0.1", "18080") == "HELLO\n"
        running.close_input()
        assert (running.wait(), running.errors()) == (0, "")


@pytest.mark.parametrize(
    ("kind", "published", "asked"),
    [
        ("slirp4netns", f"{ADDRESS}:18053:53/udp", (ADDRESS, "18053")),
        ("pasta", "53/udp", ("127.0.0.1", "53")),
    ],
    ids=CARRIERS,
)
def test_a_published_udp_port_answers(kind: str, published: str, asked: tuple[str, str]) -> None:
    served = program(ANSWER, "53", "udp")
    argv = as_caller("root", kind, "--publish", published, program=served)
    with Running(argv) as running:
        assert running.line() == "up"
        assert beside(running, ASK, *asked, "udp") == "HELLO\n"
        running.close_input()
        assert running.wait() == 0


def test_several_ports_and_other_addresses() -> None:
    words = ("--publish", f"{ADDRESS}:18080:80", "--publish", "127.0.0.2:18080:81")
    argv = as_caller("a user", "slirp4netns", *words, program=program(ANSWER, "80"))
    with Running(argv) as running:
        assert running.line() == "up"
        listening = beside(running, "print(open('/proc/net/tcp').read())")
        assert "0200007F:46A0 00000000:0000 0A" in listening
        assert beside(running, ASK, ADDRESS, "18080") == "HELLO\n"


@carriers
def test_what_is_not_published_is_closed(kind: str) -> None:
    code = """
import _socket, errno
asking = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
print(errno.errorcode[asking.connect_ex(("127.0.0.1", 80))])
"""
    argv = as_caller("root", kind, "--publish", "18080:80", program=program(ANSWER, "80"))
    with Running(argv) as running:
        assert running.line() == "up"
        assert beside(running, code) == "ECONNREFUSED\n"


@carriers
def test_the_machines_loopback_is_out_of_reach(kind: str) -> None:
    """What listens on 127.0.0.1 outside trusts who can reach it."""
    listener = """
import _socket
server = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
server.bind(("127.0.0.1", 7777))
server.listen()
if os.fork() == 0:
    os.setsid()
    libc.prctl(1, 9, 0, 0, 0)
    while True:
        connection = _socket.socket(fileno=server._accept()[0])
        connection.send(b"secret")
"""
    asking = """
import _socket
for address in ("127.0.0.1", "10.0.2.2", "192.0.2.1", "192.0.2.2"):
    asking = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    asking.settimeout(1)
    try:
        asking.connect((address, 7777))
        print(address, asking.recv(100))
    except OSError:
        continue
print("asked")
"""
    require("root", "userns", "tun", "ip", kind)
    argv = nest(OPEN_TUN + listener, "--network", kind, program=program(asking))
    assert run(argv).out == b"asked\n"
