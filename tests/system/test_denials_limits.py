"""Why the kernel refused, for real: limits on namespaces."""

from __future__ import annotations

import pytest
from helpers.capabilities import require
from helpers.denials import ROOM, inside, mended
from helpers.pyspawn import hint_in, hint_of

ENOSPC = "No space left on device (ENOSPC)"


@pytest.mark.parametrize("kind", ["pid", "mount", "uts", "ipc", "net", "cgroup", "time"])
def test_a_limit_of_zero_is_named_and_can_be_raised(kind: str) -> None:
    require("userns")
    name = f"max_{'mnt' if kind == 'mount' else kind}_namespaces"
    file = f"/proc/sys/user/{name}"
    code = f"enter_user_namespace()\nwrite({file!r}, '0')\nattempt()\nwrite({file!r}, '10000')\n"
    ended = inside(ROOM + code, f"--{kind}")
    hint = mended(ended, f"make a new {kind} namespace: {ENOSPC}")
    assert f"user.{name} is 0" in hint
    assert f"`sysctl -w user.{name}=10000`" in hint


def test_a_limit_of_zero_and_doing_without() -> None:
    require("userns")
    code = ROOM + "enter_user_namespace()\nwrite('/proc/sys/user/max_uts_namespaces', '0')\n"
    hint = hint_of(inside(code, "--init"), f"make a new uts namespace: {ENOSPC}")
    assert "`--share uts`" in hint
    ended = inside(code, "--init", "--share", "uts")
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")


def test_a_limit_of_zero_on_user_namespaces() -> None:
    require("userns")
    file = "/proc/sys/user/max_user_namespaces"
    code = f"enter_user_namespace()\nwrite({file!r}, '0')\nattempt()\nwrite({file!r}, '10000')\n"
    hint = mended(inside(ROOM + code, "--user"), f"make a new user namespace: {ENOSPC}")
    assert "user.max_user_namespaces is 0" in hint
    assert "--share" not in hint


NEST_USERS = """
depth = 0
while depth < MOST:
    try:
        enter_user_namespace()
    except OSError as error:
        if error.errno != 28:  # ENOSPC
            raise
        break
    depth += 1
"""
"""Enters user namespaces, each in the last, until there are MOST or no more are allowed."""


def test_user_namespaces_nested_too_deep() -> None:
    """There are 33 below the first, user_namespaces(7): the 34th is refused, and one more here."""
    require("userns")
    nest = f"{ROOM}MOST = 99\n{NEST_USERS}os.write(1, b'%d' % depth)\n"
    ended = inside(nest, "--user")
    depth = int(ended.out)
    assert 0 < depth <= 33
    assert ended.status == 125
    hint = hint_in(ended.errors, f"make a new user namespace: {ENOSPC}")
    assert "nested as deeply as they can be" in hint
    assert "start pyspawn further out" in hint
    ended = inside(f"{ROOM}MOST = {depth - 1}\n{NEST_USERS}", "--user")
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")


NEST_PIDS = """
enter_user_namespace()
depth = 0
while depth < MOST:
    try:
        unshare(NEWPID)
    except OSError as error:
        if error.errno != 28:  # ENOSPC
            raise
        break
    depth += 1
    pid = os.fork()
    if pid:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_pid_namespaces_nested_too_deep() -> None:
    require("userns")
    nest = f"{ROOM}MOST = 99\n{NEST_PIDS}os.write(1, b'%d' % depth)\n"
    ended = inside(nest, "--pid", "--share", "mount")
    depth = int(ended.out)
    assert 0 < depth <= 32
    assert ended.status == 125
    hint = hint_in(ended.errors, f"make a new pid namespace: {ENOSPC}")
    assert "start pyspawn further out" in hint
    ended = inside(f"{ROOM}MOST = {depth - 1}\n{NEST_PIDS}", "--pid", "--share", "mount")
    assert (ended.status, ended.out, ended.errors) == (0, b"ran\n", "")
