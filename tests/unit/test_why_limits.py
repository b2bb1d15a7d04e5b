"""Why the kernel refused: limits on namespaces, descriptors and processes."""

from __future__ import annotations

import errno

import pytest
from helpers.machines import DEFAULTS, Fake, failed, spec, why

from spawner.errors import LAUNCHER
from spawner.spec import NAMESPACES
from spawner.why import rules


@pytest.mark.parametrize("kind", NAMESPACES)
def test_a_limit_of_zero(kind: str) -> None:
    host = Fake()
    host.limit(kind, 0)
    found = why(host, failed(errno.ENOSPC, "unshare"), NAMESPACES)
    file = "mnt" if kind == "mount" else kind
    assert found.startswith(f"user.max_{file}_namespaces is 0, ")
    assert f"`sysctl -w user.max_{file}_namespaces=10000`" in found
    assert (f"--share {kind}" in found) == (kind != "user")


def test_a_limit_of_a_kind_that_the_step_does_not_name_is_not_blamed() -> None:
    host = Fake()
    host.limit("net", 0)
    host.limit("uts", 0)
    error = failed(errno.ENOSPC, "unshare", "make the new mount, uts namespaces")
    assert "max_uts_namespaces" in why(host, error, NAMESPACES)


def test_a_limit_of_a_kind_that_was_not_asked_for_is_not_blamed() -> None:
    host = Fake()
    host.limit("net", 0)
    assert "net" not in why(host, failed(errno.ENOSPC, "unshare"))


@pytest.mark.parametrize("kind", NAMESPACES)
def test_a_limit_that_is_used_up_or_a_depth(kind: str) -> None:
    found = why(Fake(), failed(errno.ENOSPC, "unshare", f"make a new {kind} namespace"), NAMESPACES)
    file = "mnt" if kind == "mount" else kind
    assert found.startswith(f"raise user.max_{file}_namespaces with `sysctl -w`")
    assert "start pyspawn further out" in found


def test_no_space_for_something_else_is_not_explained() -> None:
    assert rules.why(failed(errno.ENOSPC, "write"), spec(*DEFAULTS), Fake()) is None


def test_no_descriptor_left() -> None:
    assert "`ulimit -n`" in why(Fake(), failed(errno.EMFILE, "pipe2", stage=LAUNCHER))


def test_no_descriptor_left_not_even_for_us() -> None:
    host = Fake()
    host.files.clear()
    host.links.clear()
    assert "`ulimit -n`" in why(host, failed(errno.EMFILE, "openat", path="/proc/17/uid_map"))


def test_no_open_file_left_on_the_machine() -> None:
    assert "fs.file-max=NUMBER" in why(Fake(), failed(errno.ENFILE, "pipe2"))


def test_arguments_that_leave_no_room_for_the_inits() -> None:
    assert "`ulimit -s 24576`" in why(Fake(), failed(errno.E2BIG, "execve", path="/usr/bin/init"))


@pytest.mark.parametrize("current", ["48", "49", "50"])
@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("0::/user.slice", "/sys/fs/cgroup/user.slice"),
        ("9:name=systemd:/x\n8:cpu,pids:/user.slice", "/sys/fs/cgroup/pids/user.slice"),
    ],
)
def test_pids_max(current: str, line: str, place: str) -> None:
    host = Fake()
    host.files["/proc/self/cgroup"] = f"{line}\n"
    host.files |= {f"{place}/pids.max": "50\n", f"{place}/pids.current": f"{current}\n"}
    found = why(host, failed(errno.EAGAIN, "fork"))
    assert found.startswith(f"pids.max of {place}, 50, is reached: ")
    assert "pyspawn zombies" in found


def test_a_limit_on_processes_that_does_not_show() -> None:
    host = Fake()
    host.files["/sys/fs/cgroup/user.slice/run-1/pids.max"] = "max\n"
    found = why(host, failed(errno.EAGAIN, "fork"))
    assert found.startswith("a limit on processes is reached: ")
    assert "`ulimit -u`" in found
    assert "pids.max" in found
