"""Networks: what is inside, what answers outside, what is refused, and that nothing is left."""

from __future__ import annotations

import json
import os
import re
import select
import signal
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.nets import (
    ADDRESS,
    ANSWER,
    ASK,
    CLOSED_TUN,
    INSIDE,
    OPEN_TUN,
    ROOT,
    USER,
    beside,
    nest,
    program,
)
from helpers.programs import Word
from helpers.running import Ended, Running, run

import spawner
from spawner import lean

CARRIERS = ["slirp4netns", "pasta"]

CALLERS = {
    "root": (ROOT, ()),
    "root in a user namespace": (ROOT, ("--map-root-user",)),
    "a user": (USER, ()),
    "a user as themself": (USER, ("--map-current-user",)),
    "a user with a keeper": (USER, ("--share", "pid")),
}
"""Who runs pyspawn, and how: each is another way to the helper's rights."""

carriers = pytest.mark.parametrize("kind", CARRIERS)
callers = pytest.mark.parametrize("caller", CALLERS)

SHELL = "/bin/sh"


def pyspawn(*words: Word, program: tuple[Word, ...] = ("/bin/echo", "ran")) -> Ended:
    return run([*lean.pyspawn(), *words, "--", *program])


def as_caller(caller: str, kind: str, *words: Word, **more: object) -> list[Word]:
    """Return the argv of a pyspawn with a network, in a nest; asks for what that takes."""
    code, how = CALLERS[caller]
    if code == USER:
        require("other-user")
    require("root", "userns", "tun", "ip", "nsenter", *([kind] if kind in CARRIERS else []))
    return nest(OPEN_TUN + code, "--network", kind, *how, *words, **more)  # type: ignore[arg-type]


def refused(ended: Ended, message: str) -> str:
    """Return the hint of a run that failed as ours do, with one line and one hint."""
    assert (ended.status, ended.out) == (125, b""), ended
    first, second, *rest = ended.errors.splitlines()
    assert re.fullmatch(f"pyspawn: {message}", first), first
    assert second.startswith("hint: ")
    assert rest == []
    return second


def helper_of(running: Running) -> int:
    """Return the pid of the process that connects a running container."""
    wanted = ("slirp4netns", "pasta", "passt")
    for pid in children.of(running.pid):
        if Path(f"/proc/{pid}/comm").read_text().startswith(wanted):
            return pid
    raise AssertionError("no helper")


def gone(pidfd: int) -> bool:
    """Wait for the end of a process."""
    return bool(select.select([pidfd], [], [], children.SAFETY_SECONDS)[0])


# What is inside.


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
if os.fork() == 0:
    import _socket
    server = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    server.bind(("127.0.0.53", 53))
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
if os.fork() == 0:
    import _socket
    name, other = (_socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM) for _ in range(2))
    name.bind(("127.0.0.53", 53))
    other.bind(("127.0.0.53", 8080))
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


# Published ports.


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
if os.fork() == 0:
    import _socket
    server = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    server.bind(("127.0.0.1", 7777))
    server.listen()
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


# What is refused, before anything starts.


@pytest.mark.parametrize("kind", CARRIERS)
def test_an_unreadable_tun_starts_nothing(kind: str) -> None:
    require("root", "other-user", "userns", "tun", "ip", kind)
    trace = "--json-status=1"
    ended = run(nest(CLOSED_TUN + USER, "--network", kind, trace))
    first, second = ended.errors.splitlines()
    assert ended.status == 125
    assert first == (
        f"pyspawn: start {kind}: open /dev/net/tun, which it needs: Permission denied (EACCES)"
    )
    assert "chmod 666 /dev/net/tun" in second
    (told,) = map(json.loads, ended.out.splitlines())
    assert (told["event"], told["stage"]) == ("failed", "launcher")


@pytest.mark.parametrize("kind", CARRIERS)
def test_the_hint_for_an_unreadable_tun_works(kind: str) -> None:
    require("root", "other-user", "userns", "tun", "ip", kind)
    mended = "subprocess.run('chmod 666 /dev/net/tun', shell=True, check=True)\n"
    ended = run(nest(CLOSED_TUN + mended + USER, "--network", kind))
    assert (ended.status, ended.out) == (0, b"ran\n"), ended


def test_a_user_whose_tun_is_closed_by_the_machine() -> None:
    require("userns", "slirp4netns")
    if os.geteuid() == 0 or os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("the machine lets this user open /dev/net/tun")
    ended = pyspawn("--network", "slirp4netns")
    assert refused(ended, r"start slirp4netns: open /dev/net/tun, which it needs: .*")


@pytest.mark.parametrize("kind", CARRIERS)
def test_no_tun_at_all(kind: str) -> None:
    require("root", "userns", "ip", kind)
    ended = run(nest("mount('room', '/dev/net', 'tmpfs')\n", "--network", kind))
    hint = refused(ended, f"start {kind}: open /dev/net/tun, which it needs: .*ENOENT.")
    assert "mknod" in hint


def test_pasta_without_a_default_route() -> None:
    require("root", "userns", "tun", "ip", "pasta")
    ended = run(nest(OPEN_TUN + "ip('route delete default')\n", "--network", "pasta"))
    hint = refused(ended, "start pasta: .*xternal interface.*")
    assert "default route" in hint


@pytest.mark.parametrize(("kind", "package"), [("slirp4netns", "slirp4netns"), ("pasta", "passt")])
def test_a_missing_program_names_its_package(kind: str, package: str, tmp_path: Path) -> None:
    require("userns")
    environment = {**os.environ, "PATH": str(tmp_path)}
    ended = run([*lean.pyspawn(), "--network", kind, "--", "/bin/true"], environment=environment)
    hint = refused(ended, f"start {kind}: the program isn't in PATH")
    assert f"package {package}," in hint


@pytest.mark.parametrize("kind", CARRIERS)
def test_a_taken_port(kind: str) -> None:
    require("root", "userns", "tun", "ip", kind)
    take = """
import _socket
taken = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
taken.bind(("127.0.0.1", 18080))
taken.listen()
os.set_inheritable(taken.fileno(), True)
"""
    ended = run(nest(OPEN_TUN + take, "--network", kind, "--publish", "18080:80"))
    hint = refused(ended, r"publish 127.0.0.1:18080:80/tcp: Address already in use .EADDRINUSE.")
    assert "another port" in hint


def test_a_port_of_roots_and_an_address_of_somebody_elses() -> None:
    words = ("--publish", "80")
    hint = refused(
        run(as_caller("a user", "pasta", *words)),
        r"publish 127.0.0.1:80:80/tcp: Permission denied .EACCES.",
    )
    assert "ip_unprivileged_port_start" in hint
    ended = run(as_caller("root", "pasta", "--publish", "198.51.100.1:80"))
    refused(ended, r"publish 198.51.100.1:80:80/tcp: .* .EADDRNOTAVAIL.")


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--network", "bridge"], "'bridge' isn't a kind of network", "slirp4netns, pasta, veth"),
        (["--publish", "80"], "a port can be published only into a network", "--network pasta"),
        (["--network", "host", "--publish", "80"], "a port can't be published into", "no publishi"),
        (["--network", "none", "--publish", "80"], "a port can't be published into", "pasta"),
        (["--network", "veth:b", "--publish", "80"], "a port can't be published", "the bridge"),
        (["--network", "pasta", "--publish", "x"], "'x' can't be published", "PORT"),
        (["--network", "pasta", "--share", "net"], "--network pasta needs a new net", "leave net"),
        (
            ["--network", "pasta", "--share", "mount"],
            "the network pasta needs a new mou",
            "--mount",
        ),
        (["--network", "host", "--net"], "--network host and a new net", "leave one"),
        (["--network", "pasta", "--propagation", "shared"], ".*spread to the machine", "private"),
        (["--network", "host", "--net=/proc/self/ns/net"], ".*--net=FILE names another", "leave"),
        (["--network", "pasta", "--net=/proc/self/ns/net"], ".*--net=FILE names anot", "leave"),
        (["--network", "pasta", "--ipc=/proc/self/ns/ipc"], "pasta can't reach into", "veth"),
        (["--network", "veth"], "a veth needs the bridge", "veth:BRIDGE"),
        (["--network", "veth:a/b"], "'a/b' can't be the name of an interface", ""),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], message: str, hint: str) -> None:
    ended = pyspawn(*words)
    assert (ended.status, ended.out) == (125, b"")
    first, *rest = ended.errors.splitlines()
    assert re.match(f"pyspawn: {message}", first), first
    assert hint in "".join(rest)


# Failures of a helper, which others play: nothing is left, and it's told.


def fake(directory: Path, name: str, script: str) -> str:
    """Put a program in the place of a helper; return code for a nest that has it found."""
    directory.chmod(0o755)
    for above in directory.parents[:2]:
        above.chmod(0o755)
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"os.environ['PATH'] = {str(directory)!r} + ':' + os.environ['PATH']\n"


def left_in_tmp() -> list[Path]:
    """Return the directories of helpers' sockets, but for those of other launches, which pass."""
    found = set(Path("/tmp").glob("pyspawn-*"))
    children.wait_until(lambda: not any(map(Path.exists, found)), f"the end of {found}")
    return [path for path in found if path.exists()]


@pytest.mark.parametrize("kind", CARRIERS)
def test_a_helper_that_fails_says_why(kind: str, tmp_path: Path) -> None:
    require("root", "userns", "tun", "ip")
    code = fake(tmp_path, kind, "echo first >&2; echo 12.5: no luck today >&2; exit 3")
    ended = run(nest(OPEN_TUN + code, "--network", kind))
    assert (ended.status, ended.out) == (125, b"")
    assert ended.errors.splitlines()[0].startswith(f"pyspawn: start {kind}: ")
    assert "no luck today" in ended.errors
    assert left_in_tmp() == []


def test_a_helper_that_fails_without_a_word(tmp_path: Path) -> None:
    require("root", "userns", "tun", "ip")
    code = fake(tmp_path, "pasta", "kill -9 $$")
    ended = run(nest(OPEN_TUN + code, "--network", "pasta"))
    assert ended.errors == "pyspawn: start pasta: it was killed by SIGKILL\n"


def test_a_helper_that_can_not_be_executed(tmp_path: Path) -> None:
    require("root", "userns", "tun", "ip")
    code = fake(tmp_path, "pasta", "")
    (tmp_path / "pasta").write_text("#!/nosuch/interpreter\n")
    ended = run(nest(OPEN_TUN + code, "--network", "pasta"))
    assert ended.errors == "pyspawn: start pasta: No such file or directory\n"


def test_a_port_that_a_helper_ignores_is_an_error(tmp_path: Path) -> None:
    require("root", "userns", "tun", "ip")
    code = fake(tmp_path, "pasta", "echo $$; exec sleep 1000")
    ended = run(nest(OPEN_TUN + code, "--network", "pasta", "--publish", "18080"))
    assert ended.status == 125
    assert ended.errors == "pyspawn: start pasta: 127.0.0.1:18080:18080/tcp isn't published\n"


def test_a_socket_that_never_comes(tmp_path: Path) -> None:
    require("root", "userns", "tun", "ip")
    script = 'for word; do case $word in --ready-fd=*) eval "echo 1 >&${word#*=}";; esac; done\n'
    code = fake(tmp_path, "slirp4netns", f"{script} exec sleep 1000")
    ended = run(nest(OPEN_TUN + code, "--network", "slirp4netns", "--publish", "18080"))
    assert ended.status == 125
    assert re.match("pyspawn: publish ports at the socket /tmp/pyspawn-.*ENOENT", ended.errors)
    assert left_in_tmp() == []


WAITING = 'echo "$0 $$" > {pipe}; exec sleep 1000'


@pytest.mark.parametrize("how", ["SIGKILL", "the lifeline", "its parent"])
@pytest.mark.parametrize("kind", CARRIERS)
def test_an_end_while_a_helper_starts_leaves_nothing(kind: str, how: str, tmp_path: Path) -> None:
    require("root", "userns", "tun", "ip")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = fake(tmp_path, kind, WAITING.format(pipe=pipe))
    reader, writer = os.pipe()
    words = ["--network", kind, "--lifeline", str(reader)]
    if how != "SIGKILL":  # which leaves the directory of a socket that was to come
        words += ["--publish", "18080"]
    with Running(nest(OPEN_TUN + code, *words), pass_fds=[reader]) as running:
        os.close(reader)
        helper = int(pipe.read_text().split()[1])
        pidfd = os.pidfd_open(helper)
        launcher = os.pidfd_open(running.pid)
        if how == "SIGKILL":
            running.send(signal.SIGKILL)
        os.close(writer)
        assert gone(pidfd)
        assert gone(launcher)
        status = running.wait()
        assert status == (-signal.SIGKILL if how == "SIGKILL" else 125)
        assert running.out.rest() == b""
        assert left_in_tmp() == []  # in here: what ends last isn't killed yet
    os.close(pidfd)
    os.close(launcher)


# While it runs.


@callers
@carriers
def test_sigkill_of_pyspawn_leaves_nothing(kind: str, caller: str) -> None:
    script = "echo up; exec sleep 1000"
    argv = as_caller(caller, kind, "--init", "--publish", "18080", program=(SHELL, "-c", script))
    with Running(argv) as running:
        assert running.line() == "up"
        pidfds = [os.pidfd_open(pid) for pid in children.below(running.pid)]
        assert os.pidfd_open(helper_of(running)) >= 0
        running.send(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
        assert all(map(gone, pidfds))
        assert left_in_tmp() == []  # in here: what ends last isn't killed yet
    for pidfd in pidfds:
        os.close(pidfd)


@carriers
def test_the_helper_ends_with_the_program(kind: str) -> None:
    argv = as_caller("a user", kind, "--init", program=(SHELL, "-c", "echo up; read line; exit 7"))
    with Running(argv) as running:
        assert running.line() == "up"
        pidfd = os.pidfd_open(helper_of(running))
        running.close_input()
        assert running.wait() == 7
        assert gone(pidfd)
        assert running.errors() == ""
    os.close(pidfd)


@carriers
def test_a_helper_that_dies_is_told(kind: str) -> None:
    script = "echo up; read line; echo on"
    words = ("--init", "--json-status", "1")
    with Running(as_caller("a user", kind, *words, program=(SHELL, "-c", script))) as running:
        first = running.lines(3)  # "started" and what the program says come in any order
        assert sum("created" in line or "started" in line for line in first) == 2
        assert "up" in first
        os.kill(helper_of(running), signal.SIGKILL)
        told = json.loads(running.line())
        assert told["event"] == "disconnected"
        message = f"{kind} was killed by SIGKILL: there's no network inside any more"
        assert told["message"] == message
        running.write(b"\n")
        assert running.line() == "on"
        assert running.wait() == 0
        assert running.errors() == f"pyspawn: {message}\n"


@carriers
def test_ctrl_c_is_not_for_the_helper(kind: str) -> None:
    """It has a session of its own, so a terminal's signals pass it by."""
    argv = as_caller("root", kind, "--init", program=(SHELL, "-c", "echo up; exec sleep 1000"))
    with Running(argv) as running:
        assert running.line() == "up"
        helper = helper_of(running)
        assert os.getsid(helper) == helper != os.getsid(running.pid)
        running.send(signal.SIGTERM)
        assert running.wait() == 143


@carriers
def test_the_helper_has_no_descriptor_of_the_callers_and_the_program_none_of_ours(
    kind: str,
) -> None:
    reader, writer = os.pipe()
    script = "ls /proc/self/fd | wc -l; read line"
    argv = as_caller("a user", kind, "--init", program=(SHELL, "-c", script))
    with Running(argv, pass_fds=[writer]) as running:
        os.close(writer)
        assert int(running.line()) == 3 + 1 + 1  # the standard ones, the one passed, ls' own
        pipe = os.readlink(f"/proc/self/fd/{reader}")
        helper = Path(f"/proc/{helper_of(running)}/fd")
        held = {os.readlink(path) for path in helper.iterdir()}
        assert held
        assert pipe not in held
        running.close_input()
        running.wait()
        assert os.read(reader, 1) == b""
    os.close(reader)


WAIT = 'echo up; read line; exec "$0" "$@"'

REACH = """
import ctypes, os
if os.path.isdir("/proc/self"):
    ctypes.CDLL(None).umount2(b"/proc", 2)
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/comm") as file:
            name = file.read().strip()
    except OSError:
        continue
    if name.startswith(("slirp4netns", "pasta", "passt")):
        try:
            os.open(f"/proc/{pid}/mem", os.O_RDWR)
            print(pid, "reached")
        except PermissionError:
            print(pid, "shut")
        except ProcessLookupError:  # somebody else's, that has ended
            continue
"""
"""A program that is root inside, takes away its own /proc, and tries to write into the helper."""


@pytest.mark.parametrize("caller", ["root in a user namespace", "a user", "a user with a keeper"])
@carriers
def test_a_program_that_is_root_inside_can_not_reach_into_the_helper(
    kind: str, caller: str
) -> None:
    """The helper is in the machine's network: who could change it would be, too."""
    argv = as_caller(caller, kind, program=(SHELL, "-c", WAIT))
    with Running([*argv, *program(REACH)]) as running:
        assert running.line() == "up"
        helper = helper_of(running)
        running.write(b"\n")
        found = running.out.rest().decode().split("\n")
        assert f"{helper} shut" in found
        assert not [line for line in found if "reached" in line]


@carriers
def test_the_helper_gives_up_its_rights(kind: str) -> None:
    """Started by root it keeps none but those for ports and interfaces."""
    argv = as_caller("root", kind, program=(SHELL, "-c", "echo up; read line"))
    with Running(argv) as running:
        assert running.line() == "up"
        status = helper_of(running)
        held = int(children.status_field(status, "CapEff"), 16)
        sys_module, setuid = 1 << 16, 1 << 7
        assert not held & (sys_module | setuid)
        assert children.status_field(status, "Seccomp") == "2"
        running.close_input()


# A pair of interfaces to a bridge.

BRIDGE = """
ip("link add br0 type bridge")
ip("address add 10.7.0.1/24 dev br0")
ip("link set br0 up")
"""


def links(running: Running) -> set[str]:
    """Return the names of the interfaces in the nest of a running pyspawn."""
    found = beside(running, "print(open('/proc/net/dev').read())")
    return {line.partition(":")[0].strip() for line in found.splitlines() if ":" in line}


def require_veth() -> None:
    require("root", "userns", "ip", "nsenter")
    pytest.importorskip("pyroute2")


@pytest.mark.parametrize("how", [(), ("--map-root-user",)], ids=["root", "in a user namespace"])
def test_a_veth_to_a_bridge(how: tuple[str, ...]) -> None:
    require_veth()
    network = "veth:br0,address=10.7.0.2/24,gateway=10.7.0.1"
    argv = nest(BRIDGE, "--init", "--network", network, *how, program=program(ANSWER, "80"))
    with Running(argv) as running:
        assert running.line() == "up"
        assert beside(running, ASK, "10.7.0.2", "80") == "HELLO\n"
        (port,) = links(running) - {"lo", "nest0", "nest1", "br0"}
        assert port.startswith("ps")
        running.close_input()
        assert (running.wait(), running.errors()) == (0, "")


def test_the_inside_of_a_veth() -> None:
    require_veth()
    network = "veth:br0,address=10.7.0.2/24,gateway=10.7.0.1"
    script = "ip -o -4 address show dev eth0; ip route show default"
    ended = run(nest(BRIDGE, "--network", network, program=(SHELL, "-c", script)))
    first, second = ended.out.decode().splitlines()
    assert " inet 10.7.0.2/24 " in first
    assert second.startswith("default via 10.7.0.1 dev eth0")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_pair_is_gone_with_pyspawn_even_if_the_namespace_is_held(number: int) -> None:
    require_veth()
    script = "echo up; exec sleep 1000"
    hold = ("--stop-timeout=0.1", "--network", "veth:br0")
    # The room stays as long as this process, which the nest forked, holds it.
    with Running(nest(BRIDGE, *hold, program=(SHELL, "-c", script))) as running:
        assert running.line() == "up"
        outside = os.open(f"/proc/{running.starter}/ns/net", os.O_RDONLY)
        init = max(children.below(running.pid))
        inside = os.open(f"/proc/{init}/ns/net", os.O_RDONLY)
        aside = [os.pidfd_open(pid) for pid in children.below(running.pid)]
        running.send(number)
        running.wait()
        assert all(map(gone, aside))
        names = run(
            ["nsenter", f"--net=/proc/self/fd/{outside}", "ip", "-o", "link"], pass_fds=[outside]
        )
        assert "br0" in names.out.decode()
        assert "ps" not in names.out.decode()
    for descriptor in (outside, inside, *aside):
        os.close(descriptor)


@pytest.mark.parametrize(
    ("bridge", "why", "remedy"),
    [
        ("br9", "", "`ip link add br9 type bridge && ip link set br9 up`"),
        ("nest0", ", only another kind of interface", "`ip link show type bridge`"),
    ],
    ids=["none", "other"],
)
def test_a_bridge_that_is_none(bridge: str, why: str, remedy: str) -> None:
    require_veth()
    ended = run(nest(BRIDGE, "--network", f"veth:{bridge}"))
    assert remedy in refused(ended, f"start veth: there's no bridge named {bridge}{why}")


def test_an_address_that_the_kernel_refuses_leaves_no_pair() -> None:
    """A multicast address: sense is not looked for in words, the kernel knows."""
    require_veth()
    script = "echo up; read line"
    words = ("--network", "veth:br0", "--share", "all")
    with Running(nest(BRIDGE, *words, program=(SHELL, "-c", script))) as running:
        assert running.line() == "up"
        refusing = [*lean.pyspawn(), "--network", "veth:br0,address=ff02::1/64", "--", "true"]
        before = links(running)
        ended = run(["nsenter", f"--net=/proc/{running.starter}/ns/net", "--", *refusing])
        assert ended.status == 125
        assert ended.errors.startswith("pyspawn: start veth: the kernel refuses: ")
        assert links(running) == before
        running.close_input()
        assert running.wait() == 1


@pytest.mark.parametrize("kind", [*CARRIERS, "veth:br0"])
def test_a_failure_before_the_network_is_needed_ends_its_process(kind: str) -> None:
    require("root", "userns", "tun", "ip", *([kind] if kind in CARRIERS else []))
    if kind not in CARRIERS:
        require_veth()
    words = ("--network", kind, "--time", "--monotonic=-9000000000")
    ended = run(nest(OPEN_TUN + BRIDGE, *words))
    assert ended.status == 125
    assert "set the monotonic clock" in ended.errors


@pytest.mark.parametrize("kind", [*CARRIERS, "veth:br0"])
def test_a_failure_after_the_network_is_there_ends_it(kind: str) -> None:
    require("root", "userns", "tun", "ip", *([kind] if kind in CARRIERS else []))
    if kind not in CARRIERS:
        require_veth()
    ended = run(nest(OPEN_TUN + BRIDGE, "--network", kind, "--workdir", "/nosuch"))
    assert ended.status == 125
    assert "change to the directory /nosuch" in ended.errors
    assert run(nest(OPEN_TUN + BRIDGE, "--network", kind, program=("nosuch",))).status == 127


def test_a_veth_takes_root() -> None:
    require("userns")
    if os.geteuid() == 0:
        require("other-user", "ip")
        ended = run(nest(BRIDGE + USER, "--network", "veth:br0"))
    else:
        ended = pyspawn("--network", "veth:br0")
    hint = refused(ended, "start veth: this takes CAP_NET_ADMIN .*")
    assert "as root" in hint


def test_without_pyroute2_the_command_that_installs_it_is_named(tmp_path: Path) -> None:
    """From a copy of the packages in a place of their own, beside which there's no pyroute2."""
    require("root", "userns", "ip")
    import shutil

    from helpers.programs import PLACE

    for package in ("pyinit", "spawner"):
        shutil.copytree(Path(PLACE, package), tmp_path / package)
    code = BRIDGE + f"argv = [word.replace({PLACE!r}.encode(), {str(tmp_path)!r}.encode()) "
    code += "for word in argv]\n"
    ended = run(nest(code, "--network", "veth:br0"))
    hint = refused(ended, "start veth: pyroute2 can't be imported: No module named 'pyroute2'")
    assert "pip install pyroute2" in hint
