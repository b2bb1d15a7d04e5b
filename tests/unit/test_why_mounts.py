"""Why the kernel refused: mounts."""

from __future__ import annotations

import errno

import pytest
from helpers.machines import DEFAULTS, ROOTS, Fake, failed, spec, why

from spawner.errors import INIT, SetupError
from spawner.why import rules


def proc_refused() -> SetupError:
    return failed(errno.EPERM, "mount", "mount proc on /proc", "/proc", INIT)


def test_a_masked_proc() -> None:
    host = Fake()
    for number, name in enumerate(("acpi", "kcore", "keys", "sys")):
        host.mounted(f"{30 + number} 26 0:40 / /proc/{name} ro - tmpfs tmpfs ro")
    found = why(host, proc_refused())
    assert "(/proc/acpi, /proc/kcore, /proc/keys, …)" in found
    assert "systempaths=unconfined" in found
    assert "unmask=ALL" in found
    assert "procMount: Unmasked" in found


def test_a_second_proc_that_is_whole_takes_the_blame_from_the_masks() -> None:
    host = Fake()
    host.mounted("30 26 0:40 / /proc/kcore ro - tmpfs tmpfs ro")
    host.mounted("31 25 0:22 / /mnt/proc rw - proc proc rw")
    assert rules.why(proc_refused(), spec(*DEFAULTS), host) is None


def test_a_mount_on_a_directory_that_is_always_empty_masks_nothing() -> None:
    assert rules.why(proc_refused(), spec(*DEFAULTS), Fake()) is None


def test_no_whole_proc_to_be_seen() -> None:
    host = Fake()
    host.mounts("25 1 8:1 / / rw - ext4 /dev/sda1 rw",
                   "26 25 0:22 /1 /proc rw - proc proc rw")  # fmt: skip
    found = why(host, proc_refused())
    assert "only where an unmasked one is visible" in found
    assert "`mount -t proc proc /proc`" in found


def test_a_read_only_proc() -> None:
    host = Fake()
    host.mounts("25 1 8:1 / / rw - ext4 /dev/sda1 rw",
                   "26 25 0:22 / /proc ro,nosuid - proc proc rw")  # fmt: skip
    assert "`mount -o remount,bind,rw /proc`" in why(host, proc_refused())


def test_the_proc_of_a_pid_namespace_that_is_not_ours() -> None:
    found = why(Fake(), proc_refused(), ["user", "mount"], mount_proc="/proc")
    assert "over which a new user namespace has no rights" in found
    assert "--pid" in found


def test_a_masked_proc_and_one_that_was_to_go_elsewhere() -> None:
    host = Fake()
    host.mounted("30 26 0:40 / /proc/kcore ro - tmpfs tmpfs ro")
    error = failed(errno.EPERM, "mount", "mount proc on /x", "/x", INIT)
    assert "parts of /proc are masked (/proc/kcore)" in why(host, error, mount_proc="/x")
    assert rules.why(error, spec(*DEFAULTS), host) is None


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOENT, "which part of it isn't there: make it, or name another directory with"),
        (errno.ENOTDIR, "which part of it is not a directory: name another directory with"),
    ],
)
def test_a_directory_for_proc_that_is_none(number: int, words: str) -> None:
    found = why(Fake(), failed(number, "openat", "mount proc on /x", "/x", INIT), mount_proc="/x")
    assert found.startswith(f"`namei -l /x` shows {words}")
    assert found.endswith("--mount-proc")


def test_masks_count_for_root_of_a_user_namespace_entered_before() -> None:
    host = Fake(0)
    host.mounted("30 26 0:40 / /proc/kcore ro - tmpfs tmpfs ro")
    assert "parts of /proc are masked (/proc/kcore)" in why(host, proc_refused(), ROOTS)
    host.status["Seccomp"] = "2"
    assert "a seccomp filter" in why(host, proc_refused(), ROOTS)


def test_a_root_directory_that_is_no_mount_point() -> None:
    host = Fake(0)
    host.mounts("26 25 0:22 / /proc rw - proc proc rw")
    found = why(host, failed(errno.EINVAL, "mount", path="/", stage=INIT), ROOTS)
    assert "the root directory is not a mount point" in found
    assert "`mount --bind DIR DIR` before `chroot DIR`" in found


def test_an_invalid_mount_elsewhere_is_not_explained() -> None:
    error = failed(errno.EINVAL, "mount", path="/")
    assert rules.why(error, spec(*ROOTS), Fake(0)) is None
