"""What a network inside has: an address, a way out, a name server."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.nets import INSIDE, OPEN_TUN, ROOT, USER, nest, program
from helpers.networks import SHELL, as_caller, callers, carriers, pyspawn, refused
from helpers.running import Running, run

import spawner


@callers
@carriers
def test_an_address_inside_and_a_resolver_of_its_own(kind: str, caller: str) -> None:
    script = "ip -o -4 address show scope global; cat /etc/resolv.conf; stat -c %a /etc/resolv.conf"
    ended = run(as_caller(caller, kind, "--init", program=(SHELL, "-c", script)))
    assert (ended.status, ended.errors) == (0, "")
    first, *rest = ended.out.decode().splitlines()
    assert f" inet {INSIDE[kind]}/24 " in first
    assert rest[0].startswith("nameserver ")
    assert rest[0] != "nameserver 127.0.0.53"
    assert rest[1:] == ["search example.org", "options edns0", "644"]


@carriers
def test_without_an_init_too(kind: str) -> None:
    script = "ip -o -4 address show scope global; echo $$"
    ended = run(as_caller("a user", kind, program=(SHELL, "-c", script)))
    assert INSIDE[kind] in ended.out.decode()
    assert ended.out.decode().splitlines()[1:] == ["1"]


NAME_SERVER = """
import _socket
server = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
server.bind(("127.0.0.53", 53))
if os.fork() == 0:
    server.settimeout(30)
    os.setsid()
    asked, client = server.recvfrom(512)
    server.sendto(asked[:2] + b"\\x81\\x80" + asked[4:], client)
    os._exit(0)
"""
"""For a nest: answer a question with itself, on the loopback of the machine."""

LOOK_UP = """
import _socket
with open("/etc/resolv.conf") as file:
    server = file.readline().split()[1]
asking = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
asking.settimeout(30)
asking.connect((server, 53))
question = b"\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\x01a\\x07example\\0\\0\\x01\\0\\x01"
asking.send(question)
print(asking.recv(512) == question[:2] + b"\\x81\\x80" + question[4:])
"""


@pytest.mark.parametrize("code", [ROOT, USER], ids=["root", "a user"])
@carriers
def test_names_are_looked_up_by_a_stub_that_only_the_machine_reaches(kind: str, code: str) -> None:
    require("root", "userns", "tun", "ip", kind)
    if code == USER:
        require("other-user")
    words = ("--init", "--network", kind)
    ended = run(nest(OPEN_TUN + NAME_SERVER + code, *words, program=program(LOOK_UP)))
    assert (ended.status, ended.out, ended.errors) == (0, b"True\n", "")


TWO_PORTS = """
import _socket
name, other = (_socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM) for _ in range(2))
name.bind(("127.0.0.53", 53))
other.bind(("127.0.0.53", 8080))
if os.fork() == 0:
    name.settimeout(30)
    os.setsid()
    asked, client = name.recvfrom(512)
    other.setblocking(False)
    try:
        answer = b"got " + other.recv(512)
    except BlockingIOError:
        answer = b"shut"
    name.sendto(answer, client)
    os._exit(0)
"""
"""For a nest: say on port 53 what has come on another port of the same loopback address."""

ASK_BOTH = """
import _socket
with open("/etc/resolv.conf") as file:
    server = file.readline().split()[1]
asking = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
asking.settimeout(30)
asking.sendto(b"in", (server, 8080))
asking.sendto(b"in", ("127.0.0.53", 8080))
asking.sendto(b"what", (server, 53))
print(asking.recv(512).decode())
"""


@carriers
def test_nothing_of_the_machines_loopback_answers_but_the_name_server(kind: str) -> None:
    require("root", "userns", "tun", "ip", kind)
    ended = run(nest(OPEN_TUN + TWO_PORTS, "--network", kind, program=program(ASK_BOTH)))
    assert (ended.status, ended.out, ended.errors) == (0, b"shut\n", "")


LINKED = """
os.mkdir("/mnt/run")
os.rename("/mnt/resolv.conf", "/mnt/run/stub.conf")
os.mkdir("/mnt/etc")
for name in ("passwd", "subuid", "subgid", "group", "nsswitch.conf", "ld.so.cache", "localtime"):
    if os.path.exists(f"/etc/{name}"):
        shutil.copy(f"/etc/{name}", "/mnt/etc")
os.symlink("/mnt/run/hop", "/mnt/etc/resolv.conf")
os.symlink("stub.conf", "/mnt/run/hop")
mount("/mnt/etc", "/etc", None, BIND)
"""
"""For a nest: an /etc/resolv.conf that is a symbolic link to one, as distributions have it."""


def test_the_resolver_goes_where_symbolic_links_lead() -> None:
    require("root", "other-user", "userns", "tun", "ip", "slirp4netns")
    script = "cat /etc/resolv.conf; test -L /etc/resolv.conf && cat /mnt/run/stub.conf; ls /etc"
    argv = nest(OPEN_TUN + LINKED + USER, "--network", "slirp4netns",
                program=(SHELL, "-c", script))  # fmt: skip
    ended = run(argv)
    assert (ended.status, ended.errors) == (0, "")
    shown = ended.out.decode().splitlines()
    assert shown[0] == shown[3] == "nameserver 10.0.2.3"
    assert "passwd" in shown


@carriers
def test_the_name_server_is_found_where_symbolic_links_lead(kind: str) -> None:
    """Root's slirp4netns has nothing but /etc and /run in the sandbox that it makes."""
    require("root", "userns", "tun", "ip", kind)
    code = OPEN_TUN + NAME_SERVER + LINKED
    ended = run(nest(code, "--network", kind, program=program(LOOK_UP)))
    assert (ended.status, ended.out, ended.errors) == (0, b"True\n", "")


def test_no_resolver_to_cover_is_told() -> None:
    require("root", "userns", "tun", "ip", "slirp4netns")
    code = OPEN_TUN + LINKED + "os.unlink('/mnt/run/stub.conf')\n"
    ended = run(nest(code, "--network", "slirp4netns"))
    hint = refused(ended, r"there is no /etc/resolv.conf to mount one over")
    assert "touch" in hint


def test_the_machines_resolver_stays_as_it_is() -> None:
    """Also where the machine's mounts are shared: nothing spreads."""
    require("root", "userns", "tun", "ip", "slirp4netns")
    code = OPEN_TUN + "mount(None, '/', None, REC | 1 << 20)\n"  # MS_SHARED
    script = "echo up; read line"
    argv = nest(code, "--network", "slirp4netns", program=(SHELL, "-c", script))
    with Running(argv) as running:
        assert running.line() == "up"
        outside = Path(f"/proc/{running.starter}/root/etc/resolv.conf").read_text()
        assert outside.startswith("# the nest's\nnameserver 127.0.0.53")
        running.close_input()
        running.wait()


@pytest.mark.parametrize(("kind", "flags"), [("none", ""), ("loopback", "UP")])
def test_nothing_but_loopback(kind: str, flags: str) -> None:
    require("userns", "ip")
    ended = pyspawn("--network", kind, program=("ip", "-o", "link", "show"))
    (line,) = ended.out.decode().splitlines()
    assert ("UP" in re.split("[<,>]", line)) == bool(flags)


def test_the_hosts_network() -> None:
    require("userns")
    read = ("/bin/readlink", "/proc/self/ns/net")
    assert pyspawn("--network", "host", program=read).out.decode().strip() == os.readlink(
        "/proc/self/ns/net"
    )
    everything = pyspawn("--network", "host", "--unshare", "all", program=read)
    assert everything.out.decode().strip() == os.readlink("/proc/self/ns/net")


def test_the_api_takes_networks() -> None:
    require("userns")
    show = ["/bin/cat", "/proc/net/dev"]
    for wanted in ("loopback", spawner.Network("none")):
        shown = spawner.run(show, network=wanted, capture_output=True, text=True).stdout
        assert [line.split(":")[0].strip() for line in shown.splitlines()[2:]] == ["lo"]
    with pytest.raises(spawner.SpecError, match="isn't a kind of network"):
        spawner.run(show, network="bridge")
