"""A helper of the network that fails is told of, and nothing is left."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.nets import OPEN_TUN, nest
from helpers.networks import CARRIERS, fake, gone, left_in_tmp, sockets
from helpers.running import Running, run


@pytest.mark.parametrize("kind", CARRIERS)
def test_a_helper_that_fails_says_why(kind: str, tmp_path: Path) -> None:
    before = sockets()
    require("root", "userns", "tun", "ip")
    code = fake(tmp_path, kind, "echo first >&2; echo 12.5: no luck today >&2; exit 3")
    ended = run(nest(OPEN_TUN + code, "--network", kind))
    assert (ended.status, ended.out) == (125, b"")
    assert ended.errors.splitlines()[0].startswith(f"pyspawn: start {kind}: ")
    assert "no luck today" in ended.errors
    assert left_in_tmp(before) == []


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
    before = sockets()
    require("root", "userns", "tun", "ip")
    script = 'for word; do case $word in --ready-fd=*) eval "echo 1 >&${word#*=}";; esac; done\n'
    code = fake(tmp_path, "slirp4netns", f"{script} exec sleep 1000")
    ended = run(nest(OPEN_TUN + code, "--network", "slirp4netns", "--publish", "18080"))
    assert ended.status == 125
    assert re.match("pyspawn: publish ports at the socket /tmp/pyspawn-.*ENOENT", ended.errors)
    assert left_in_tmp(before) == []


WAITING = 'echo "$0 $$" > {pipe}; exec sleep 1000'


@pytest.mark.parametrize("how", ["SIGKILL", "the lifeline", "its parent"])
@pytest.mark.parametrize("kind", CARRIERS)
def test_an_end_while_a_helper_starts_leaves_nothing(kind: str, how: str, tmp_path: Path) -> None:
    before = sockets()
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
        assert left_in_tmp(before) == []  # in here: what ends last isn't killed yet
    os.close(pidfd)
    os.close(launcher)
