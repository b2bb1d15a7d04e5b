"""Why the kernel refused: it lacks a kind of namespace, a system call or a /proc."""

from __future__ import annotations

import errno

import pytest
from helpers.machines import OFFSETS, ROOTS, Fake, failed, spec, why

from spawner.spec import NAMESPACES
from spawner.why import rules


@pytest.mark.parametrize("kind", NAMESPACES)
def test_a_kernel_without_a_kind_of_namespace(kind: str) -> None:
    host = Fake()
    del host.stats[f"/proc/self/ns/{'mnt' if kind == 'mount' else kind}"]
    found = why(host, failed(errno.EINVAL, "unshare"), NAMESPACES)
    assert found.startswith(f"this kernel has no {kind} namespaces")
    assert f"--share {kind}" in found


def test_a_kernel_without_a_system_call() -> None:
    found = why(Fake(), failed(errno.ENOSYS, "pidfd_open"))
    assert found.startswith("this kernel has no system call pidfd_open")


def test_no_proc() -> None:
    host = Fake()
    del host.links["/proc/self"]
    error = failed(errno.ENOENT, "openat", path="/proc/17/uid_map")
    found = why(host, error)
    assert found.startswith("/proc isn't mounted here")
    assert "`mount -t proc proc /proc`" in found
    del host.stats["/proc"]
    assert "`mkdir /proc` and `mount" in why(host, error)


def test_the_proc_of_another_pid_namespace() -> None:
    host = Fake()
    host.links["/proc/self"] = "17"
    found = why(host, failed(errno.EPERM, "write", path="/proc/2/uid_map"))
    assert found.startswith("/proc shows another PID namespace")
    assert "--mount-proc" in found


@pytest.mark.parametrize(
    ("number", "syscall", "step", "target"),
    [
        (errno.EINVAL, "unshare", "make a new pid namespace", None),
        (errno.EINVAL, "unshare", "make a new pid namespace", "pid:[2]"),
        (errno.ENOMEM, "fork", "fork the stage", "pid:[2]"),
        (errno.ECHILD, "waitpid", "become the init's parent", "pid:[2]"),
    ],
)
def test_children_that_are_born_in_another_pid_namespace(
    number: int, syscall: str, step: str, target: str | None
) -> None:
    host = Fake()
    del host.links["/proc/self/ns/pid_for_children"]
    if target:
        host.links["/proc/self/ns/pid_for_children"] = target
    found = why(host, failed(number, syscall, step))
    assert "with a new PID namespace for its children only" in found
    assert "add --fork" in found


@pytest.mark.parametrize(
    ("number", "syscall", "step", "target"),
    [
        (errno.ENOMEM, "fork", "fork the init", None),
        (errno.EINVAL, "unshare", "make a new uts namespace", "pid:[2]"),
        (errno.EINVAL, "mount", "make every mount private", "pid:[2]"),
    ],
)
def test_the_pid_namespace_that_pyspawn_itself_unshared_is_not_blamed(
    number: int, syscall: str, step: str, target: str | None
) -> None:
    host = Fake(0)
    del host.links["/proc/self/ns/pid_for_children"]
    if target:
        host.links["/proc/self/ns/pid_for_children"] = target
    assert rules.why(failed(number, syscall, step), spec(*ROOTS), host) is None


def test_a_clock_out_of_its_range() -> None:
    found = why(Fake(), failed(errno.ERANGE, "write", path=OFFSETS), ["time"], monotonic=-1372)
    assert found.startswith("no clock can go below zero, nor beyond 146 years")


def test_a_host_name_that_is_too_long() -> None:
    assert "64 bytes" in why(Fake(), failed(errno.EINVAL, "sethostname"))
