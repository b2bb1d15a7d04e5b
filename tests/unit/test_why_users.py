"""Why the kernel refused: user namespaces, and rights without one."""

from __future__ import annotations

import errno

import pytest
from helpers.machines import ALL_CAPS, DEFAULTS, ROOTS, Fake, failed, spec, why

from spawner.errors import INIT, LAUNCHER, SetupError
from spawner.why import rules


def without(*bits: int) -> str:
    """Return CapEff of root without some capabilities."""
    return f"{int(ALL_CAPS, 16) & ~sum(1 << bit for bit in bits):016x}"


def userns_refused(number: int = errno.EPERM) -> SetupError:
    return failed(number, "unshare", "make a new user namespace")


def test_unprivileged_userns_clone() -> None:
    host = Fake()
    host.files["/proc/sys/kernel/unprivileged_userns_clone"] = "0\n"
    found = why(host, userns_refused())
    assert found.startswith("kernel.unprivileged_userns_clone is 0")
    assert "`sysctl -w kernel.unprivileged_userns_clone=1`" in found


def test_unprivileged_userns_clone_does_not_stop_root() -> None:
    host = Fake(0)
    host.files["/proc/sys/kernel/unprivileged_userns_clone"] = "0\n"
    assert "unprivileged_userns_clone" not in why(host, userns_refused())


@pytest.mark.parametrize(
    ("number", "syscall", "path"),
    [
        (errno.EPERM, "unshare", None),
        (errno.EACCES, "unshare", None),
        (errno.EPERM, "write", "/proc/17/uid_map"),
        (errno.EACCES, "mount", "/"),
    ],
)
@pytest.mark.parametrize("profile", ["unconfined\n", None])
def test_apparmor_restricts_user_namespaces(
    number: int, syscall: str, path: str | None, profile: str | None
) -> None:
    host = Fake()
    host.files["/proc/sys/kernel/apparmor_restrict_unprivileged_userns"] = "1\n"
    host.files["/sys/module/apparmor/parameters/enabled"] = "Y\n"
    if profile:
        host.files["/proc/self/attr/apparmor/current"] = profile
    found = why(host, failed(number, syscall, path=path))
    assert found.startswith("kernel.apparmor_restrict_unprivileged_userns is 1")
    assert "give /usr/bin/python3.11 such a profile" in found
    assert "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`" in found


def test_apparmor_does_not_restrict_root_or_a_program_with_a_profile() -> None:
    for host in (Fake(0), Fake()):
        host.files["/proc/sys/kernel/apparmor_restrict_unprivileged_userns"] = "1\n"
        host.files["/sys/module/apparmor/parameters/enabled"] = "Y\n"
        host.files["/proc/self/attr/current"] = "podman (enforce)\n"
        assert "restrict_unprivileged" not in why(host, userns_refused())


@pytest.mark.parametrize("file", ["apparmor/current", "current"])
def test_a_confining_profile(file: str) -> None:
    host = Fake(0)
    host.files["/sys/module/apparmor/parameters/enabled"] = "Y\n"
    host.files[f"/proc/self/attr/{file}"] = "docker-default (enforce)\n"
    found = why(host, failed(errno.EACCES, "mount", path="/"), ROOTS)
    assert found.startswith("the AppArmor profile docker-default (enforce) is in force")
    assert "--security-opt apparmor=unconfined" in found


def test_a_complaining_profile_is_not_blamed() -> None:
    host = Fake(0)
    host.files["/sys/module/apparmor/parameters/enabled"] = "Y\n"
    host.files["/proc/self/attr/current"] = "app (complain)\n"
    error = failed(errno.EACCES, "mount", path="/")
    assert rules.why(error, spec(*ROOTS), host) is None


def test_selinux() -> None:
    host = Fake()
    host.files["/sys/fs/selinux/enforce"] = "1"
    host.files["/proc/self/attr/current"] = "system_u:system_r:container_t:s0:c1,c2\0"
    found = why(host, failed(errno.EACCES, "mount", path="/proc"))
    assert "SELinux is enforcing (system_u:system_r:container_t:s0:c1,c2)" in found
    assert "label=disable" in found
    host.files["/sys/fs/selinux/enforce"] = "0"
    error = failed(errno.EACCES, "mount", path="/proc")
    assert rules.why(error, spec(*DEFAULTS), host) is None


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
@pytest.mark.parametrize(
    ("syscall", "kinds"), [("unshare", DEFAULTS), ("mount", ROOTS), ("sethostname", ROOTS)]
)
def test_a_seccomp_filter(number: int, syscall: str, kinds: tuple[str, ...]) -> None:
    host = Fake(0, Seccomp="2")
    found = why(host, failed(number, syscall), kinds)
    assert found.startswith("a seccomp filter is in force")
    assert f"refuses {syscall}" in found
    assert "--security-opt seccomp=unconfined" in found
    assert "sudo" not in found


def test_a_seccomp_filter_with_no_new_privs() -> None:
    host = Fake(Seccomp="2", NoNewPrivs="1")
    assert "sudo doesn't help" in why(host, userns_refused())


def test_a_seccomp_filter_is_not_blamed_for_what_surely_has_another_cause() -> None:
    host = Fake(Seccomp="2")
    host.files["/proc/sys/kernel/unprivileged_userns_clone"] = "0\n"
    assert "seccomp" not in why(host, userns_refused())


@pytest.mark.parametrize("extents", ["", "0 100000 65536\n", "0 0 1000\n1001 1001 10\n"])
@pytest.mark.parametrize("name", ["uid", "gid"])
def test_an_id_without_a_mapping(name: str, extents: str) -> None:
    host = Fake(100000 if "65536" in extents else 1000)
    host.files[f"/proc/self/{name}_map"] = extents
    found = why(host, userns_refused())
    assert found.startswith(f"{name} {host.status['Uid'].split()[0]} isn't mapped")
    assert "--map-root-user" in found


@pytest.mark.parametrize("extents", ["1000 0 1\n", "0 0 1\n1 1 999\n1000 5 1\n", "a b c\n", "\n"])
def test_an_id_with_a_mapping_or_an_unreadable_map(extents: str) -> None:
    host = Fake()
    host.files["/proc/self/uid_map"] = extents
    assert "mapping" not in why(host, userns_refused())


def test_a_chroot_into_a_plain_directory() -> None:
    host = Fake()
    host.mounts("26 25 0:22 / /proc rw - proc proc rw")
    found = why(host, userns_refused())
    assert found.startswith("no process in a chroot can make a user namespace")
    assert "outside" in found
    assert "pivot_root" in found


def test_a_chroot_of_root_that_needs_no_user_namespace() -> None:
    host = Fake(0)
    host.mounts("26 25 0:22 / /proc rw - proc proc rw")
    assert "leave out --user" in why(host, userns_refused())


def test_a_chroot_is_what_is_left() -> None:
    found = why(Fake(), userns_refused())
    assert "most likely a chroot" in found
    assert "start pyspawn outside of the chroot" in found


def test_root_without_setfcap() -> None:
    host = Fake(0, CapEff=without(31))
    error = failed(errno.EPERM, "write", path="/proc/17/uid_map", stage=LAUNCHER)
    found = why(host, error)
    assert "CAP_SETFCAP" in found
    assert "--cap-add SETFCAP" in found
    assert "leave out --user" in found


@pytest.mark.parametrize("name", ["uid_map", "setgroups"])
def test_a_read_only_proc_takes_no_maps(name: str) -> None:
    error = failed(errno.EROFS, "openat", path=f"/proc/17/{name}", stage=LAUNCHER)
    found = why(Fake(), error)
    assert "read-only" in found
    assert "`mount -o remount,bind,rw /proc`" in found


@pytest.mark.parametrize("syscall", ["unshare", "mount", "sethostname"])
def test_root_without_sys_admin(syscall: str) -> None:
    host = Fake(0, CapEff=without(21))
    found = why(host, failed(errno.EPERM, syscall), ROOTS)
    assert found.startswith("root lacks CAP_SYS_ADMIN")
    assert "--cap-add SYS_ADMIN" in found
    assert "add --user" in found


def test_root_without_sys_admin_under_a_filter_that_refuses_user_namespaces_as_well() -> None:
    host = Fake(0, CapEff=without(21), Seccomp="2")
    found = why(host, failed(errno.EPERM, "unshare"), ROOTS)
    assert "--cap-add SYS_ADMIN" in found
    assert "--user" not in found


def test_root_without_net_admin() -> None:
    host = Fake(0, CapEff=without(12))
    found = why(host, failed(errno.EPERM, "ioctl", stage=INIT), ["net"])
    assert "CAP_NET_ADMIN" in found


def test_a_user_who_shares_the_user_namespace() -> None:
    found = why(Fake(), failed(errno.EPERM, "unshare"), ROOTS)
    assert "CAP_SYS_ADMIN" in found
    assert "leave out --share user" in found
