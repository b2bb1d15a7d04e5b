"""Why the kernel refused, on machines that the test made up."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

import pytest
from helpers.specs import specified
from hypothesis import given
from hypothesis import strategies as st

from spawner.errors import INIT, LAUNCHER, STAGE, SetupError, unmarked
from spawner.spec import NAMESPACES, Namespaces, Spec
from spawner.why import rules
from spawner.why.evidence import Host

NO_CAPS = "0" * 16
ALL_CAPS = "000001ffffffffff"


def without(*bits: int) -> str:
    """Return CapEff of root without some capabilities."""
    return f"{int(ALL_CAPS, 16) & ~sum(1 << bit for bit in bits):016x}"


class Fake(Host):
    """A machine as an ordinary user sees it, where nothing is wrong; tests change that."""

    def __init__(self, uid: int = 1000, **status: str) -> None:
        self.own = 4242
        self.files: dict[str, str] = {
            "/proc/sys/kernel/osrelease": "6.1.0-fake\n",
            "/proc/sys/fs/file-max": "100000\n",
            "/proc/self/uid_map": "         0          0 4294967295\n",
            "/proc/self/gid_map": "         0          0 4294967295\n",
            "/proc/self/cgroup": "0::/user.slice/run-1\n",
        }
        for kind in NAMESPACES:
            self.limit(kind, 96365)
        self.links = {"/proc/self": str(self.own), "/proc/self/exe": "/usr/bin/python3.11"}
        self.stats: dict[str, os.stat_result | int] = {}
        self.add("/proc/self/ns")
        for kind in [*NAMESPACES, "pid_for_children", "mnt"]:
            self.links[f"/proc/self/ns/{kind}"] = f"{kind.partition('_')[0]}:[1]"
            self.add(f"/proc/self/ns/{kind}", stat.S_IFLNK | 0o777)
        self.add("/")
        self.add("/proc")
        self.mounts("25 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw",
                    "26 25 0:22 / /proc rw,nosuid - proc proc rw",
                    "27 26 0:30 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw",
                    "28 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw")  # fmt: skip
        self.status = {
            "Uid": "\t".join([str(uid)] * 4),
            "Gid": "\t".join([str(uid)] * 4),
            "CapEff": NO_CAPS if uid else ALL_CAPS,
            "NoNewPrivs": "0",
            "Seccomp": "0",
        } | status

    def limit(self, kind: str, value: int) -> None:
        kind = "mnt" if kind == "mount" else kind
        self.files[f"/proc/sys/user/max_{kind}_namespaces"] = f"{value}\n"

    def mounts(self, *lines: str) -> None:
        self.files["/proc/self/mountinfo"] = "".join(f"{line}\n" for line in lines)

    def mounted(self, line: str) -> None:
        self.files["/proc/self/mountinfo"] += f"{line}\n"

    def add(self, path: str, mode: int = stat.S_IFDIR | 0o755, uid: int = 0, gid: int = 0) -> None:
        self.stats[path] = os.stat_result((mode, len(self.stats), 1, 1, uid, gid, 0, 0, 0, 0))

    def pid(self) -> int:
        return self.own

    def read(self, path: str) -> str | None:
        if path == "/proc/self/status":
            return "".join(f"{name}:\t{value}\n" for name, value in self.status.items())
        return self.files.get(path)

    def link(self, path: str) -> str | None:
        return self.links.get(path)

    def stat(self, path: str) -> os.stat_result | int:
        return self.stats.get(path, errno.ENOENT)


def spec(*kinds: str, **more: object) -> Spec:
    return specified(["true"], namespaces=Namespaces(kinds), **more)  # type: ignore[arg-type]


DEFAULTS = ("user", "pid", "mount", "ipc", "uts", "cgroup")
ROOTS = DEFAULTS[1:]


def failed(
    number: int,
    syscall: str,
    step: str = "make the namespaces",
    path: str | None = None,
    stage: str = STAGE,
) -> SetupError:
    return SetupError(step, stage=stage, syscall=syscall, errno=number, path=path)


def why(host: Host, error: SetupError, kinds: Iterable[str] = DEFAULTS, **more: object) -> str:
    """Return the explanation, after checking that it is one line and one sentence."""
    found = unmarked(rules.why(error, spec(*kinds, **more), host) or "")
    assert found
    assert found.isprintable()
    assert not found.endswith(".")
    assert found[0] not in " :"
    return found


def userns_refused(number: int = errno.EPERM) -> SetupError:
    return failed(number, "unshare", "make a new user namespace")


# Limits on namespaces.


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
    assert found.startswith(f"user.max_{file}_namespaces is used up, ")
    assert "less deeply nested" in found


def test_no_space_for_something_else_is_not_explained() -> None:
    assert rules.why(failed(errno.ENOSPC, "write"), spec(*DEFAULTS), Fake()) is None


# User namespaces.


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
    assert found.startswith(f"{name} {host.status['Uid'].split()[0]} has no mapping")
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
    assert found.startswith("in a chroot no process can make a user namespace")
    assert "outside" in found
    assert "pivot_root" in found


def test_a_chroot_of_root_that_needs_no_user_namespace() -> None:
    host = Fake(0)
    host.mounts("26 25 0:22 / /proc rw - proc proc rw")
    assert "leave out --user" in why(host, userns_refused())


def test_a_chroot_is_what_is_left() -> None:
    found = why(Fake(), userns_refused())
    assert "most likely a chroot" in found
    assert "start pyspawn outside of it" in found


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


# Rights without a user namespace.


@pytest.mark.parametrize("syscall", ["unshare", "mount", "sethostname"])
def test_root_without_sys_admin(syscall: str) -> None:
    host = Fake(0, CapEff=without(21))
    found = why(host, failed(errno.EPERM, syscall), ROOTS)
    assert found.startswith("root has no CAP_SYS_ADMIN")
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


# Kinds, calls and files that are missing.


@pytest.mark.parametrize("kind", NAMESPACES)
def test_a_kernel_without_a_kind_of_namespace(kind: str) -> None:
    host = Fake()
    del host.stats[f"/proc/self/ns/{'mnt' if kind == 'mount' else kind}"]
    found = why(host, failed(errno.EINVAL, "unshare"), NAMESPACES)
    assert found.startswith(f"this kernel (6.1.0-fake) has no {kind} namespaces")
    assert f"--share {kind}" in found


def test_a_kernel_without_a_system_call() -> None:
    found = why(Fake(), failed(errno.ENOSYS, "pidfd_open"))
    assert found.startswith("this kernel (6.1.0-fake) has no system call pidfd_open")


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


# Descriptors and processes.


def test_no_descriptor_left() -> None:
    assert "`ulimit -n`" in why(Fake(), failed(errno.EMFILE, "pipe2", stage=LAUNCHER))


def test_no_descriptor_left_not_even_for_us() -> None:
    host = Fake()
    host.files.clear()
    host.links.clear()
    assert "`ulimit -n`" in why(host, failed(errno.EMFILE, "openat", path="/proc/17/uid_map"))


def test_no_open_file_left_on_the_machine() -> None:
    assert "fs.file-max is 100000" in why(Fake(), failed(errno.ENFILE, "pipe2"))


def test_arguments_that_leave_no_room_for_the_inits() -> None:
    assert "`ulimit -s 24576`" in why(Fake(), failed(errno.E2BIG, "execve", path="/usr/bin/init"))


@pytest.mark.parametrize("current", ["48", "49", "50"])
def test_pids_max_of_a_group_above(current: str) -> None:
    host = Fake()
    host.files["/sys/fs/cgroup/user.slice/run-1/pids.max"] = "max\n"
    host.files["/sys/fs/cgroup/user.slice/run-1/pids.current"] = "5\n"
    host.files["/sys/fs/cgroup/user.slice/pids.max"] = "50\n"
    host.files["/sys/fs/cgroup/user.slice/pids.current"] = f"{current}\n"
    found = why(host, failed(errno.EAGAIN, "fork"))
    assert found.startswith("pids.max of /sys/fs/cgroup/user.slice is 50, which is reached: ")
    assert "pyspawn zombies" in found


def test_pids_max_of_the_first_version_mounted_from_a_group() -> None:
    host = Fake()
    host.files["/proc/self/cgroup"] = "9:name=systemd:/x\n8:cpu,pids:/docker/abc/app\n0::/\n"
    host.mounted("40 25 0:36 /docker/abc /sys/fs/cgroup/pids rw - cgroup cgroup rw,cpu,pids")
    host.files["/sys/fs/cgroup/pids/app/pids.max"] = "10\n"
    host.files["/sys/fs/cgroup/pids/app/pids.current"] = "9\n"
    found = why(host, failed(errno.EAGAIN, "fork"))
    assert found.startswith("pids.max of /sys/fs/cgroup/pids/app is 10, which is reached: ")


def test_pids_max_at_a_mount_point_on_the_root() -> None:
    host = Fake()
    host.mounts("1 1 0:26 / / rw - cgroup2 cgroup2 rw")
    host.files["/pids.max"] = host.files["/pids.current"] = "3\n"
    assert "is 3, which is reached" in why(host, failed(errno.EAGAIN, "fork"))


def test_a_limit_on_processes_that_does_not_show() -> None:
    host = Fake()
    host.files["/sys/fs/cgroup/user.slice/pids.max"] = "50\n"
    host.files["/sys/fs/cgroup/user.slice/pids.current"] = "5\n"
    found = why(host, failed(errno.EAGAIN, "fork"))
    assert found.startswith("a limit on processes is reached: ")
    assert "`ulimit -u`" in found
    assert "pids.max" in found


# Mounts.


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
    assert "no rights over the PID namespace around it" in found
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
    assert found.startswith("the root directory is not a mount point")
    assert "`mount --bind DIR DIR` before `chroot DIR`" in found


def test_an_invalid_mount_elsewhere_is_not_explained() -> None:
    error = failed(errno.EINVAL, "mount", path="/")
    assert rules.why(error, spec(*ROOTS), Fake(0)) is None


# Clocks and names.

OFFSETS = "/proc/self/timens_offsets"


def test_a_clock_out_of_its_range() -> None:
    found = why(Fake(), failed(errno.ERANGE, "write", path=OFFSETS), ["time"], monotonic=-1372)
    assert found.startswith("no clock can go below zero, nor beyond 146 years")


def test_a_host_name_that_is_too_long() -> None:
    assert "64 bytes" in why(Fake(), failed(errno.EINVAL, "sethostname"))


# Paths.


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOENT, "which part of it isn't there"),
        (errno.ENOTDIR, "which part of it is not a directory"),
        (errno.EACCES, "the mode and the owner of each part"),
        (errno.ELOOP, "a circle of symbolic links"),
    ],
)
def test_a_working_directory_on_whose_way_something_refuses(number: int, words: str) -> None:
    found = why(Fake(), failed(number, "chdir", path="/srv/a/b"))
    assert "`namei -l /srv/a/b`" in found
    assert words in found
    assert "--workdir" in found


def test_an_init_that_is_not_executable() -> None:
    error = failed(errno.EACCES, "execve", path="/init", stage=INIT)
    found = why(Fake(), error, init="/init")
    assert "noexec" in found
    assert "--init=PATH" in found


def test_an_interpreter_in_a_closed_directory() -> None:
    error = failed(errno.EACCES, "execve", path="/root/python", stage=INIT)
    assert "another Python, such as /usr/bin/python3" in why(Fake(), error, init="")


def test_a_path_with_a_line_break_stays_on_one_line() -> None:
    assert r"/a\nb" in why(Fake(), failed(errno.ENOENT, "chdir", path="/a\nb"))


# In general.


def test_an_error_without_an_errno_is_not_explained() -> None:
    error = SetupError("the launcher has gone", stage=STAGE)
    assert rules.why(error, None, Fake()) is None


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOMEM, errno.EINVAL, errno.ECHILD])
def test_what_is_unknown_is_not_guessed(number: int) -> None:
    assert rules.why(failed(number, "unshare"), spec(*DEFAULTS), Fake()) is None


def test_the_real_machine_answers() -> None:
    """Every question to it, about what is there and what isn't."""
    host = Host()
    assert host.pid() == os.getpid()
    assert host.link("/proc/self") == str(os.getpid())
    assert "Seccomp:" in (host.read("/proc/self/status") or "")
    found = host.stat("/")
    assert not isinstance(found, int)
    assert stat.S_ISDIR(found.st_mode)
    for path in ("/nonexistent", "/nul\0", "/proc/self/mem", "/etc/passwd/x"):
        assert host.read(path) is None
        assert host.link(path) is None
    assert host.stat("/nonexistent") == errno.ENOENT
    assert host.stat("/nul\0") == errno.EINVAL


def test_a_link_is_looked_at_itself(tmp_path: os.PathLike[str]) -> None:
    place = os.path.join(tmp_path, "link")
    os.symlink("nowhere", place)
    assert not isinstance(Host().stat(place), int)


class Mad(Host):
    """A machine whose every answer is drawn."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data

    def read(self, path: str) -> str | None:
        lines = st.one_of(
            st.text(max_size=40),
            st.sampled_from(
                ["26 25 0:22 / /proc ro - proc proc rw", "0 0 0", "0::/x", "8:pids:/", "CapEff: x",
                 "1 1 1:1 / / rw - cgroup cgroup pids", "1/2", "9" * 5000, "²",
                 "Uid: 0 0", "Seccomp: 2"]
            ),
        )  # fmt: skip
        found = self.data.draw(st.one_of(st.none(), st.lists(lines, max_size=4)))
        return None if found is None else "\n".join(found)

    def link(self, path: str) -> str | None:
        return self.data.draw(
            st.one_of(st.none(), st.sampled_from(["/", "a", "/a/b", "", "../.."]))
        )

    def stat(self, path: str) -> os.stat_result | int:
        kinds = st.sampled_from([stat.S_IFDIR, stat.S_IFLNK, stat.S_IFREG])
        made = st.builds(
            lambda kind, mode, uid: os.stat_result((kind | mode, 1, 1, 1, uid, 1, 0, 0, 0, 0)),
            kinds, st.integers(0, 0o777), st.integers(0, 2),
        )  # fmt: skip
        return self.data.draw(st.one_of(st.sampled_from([errno.ENOENT, errno.EACCES]), made))


@given(
    st.data(),
    st.sampled_from(sorted({number for numbers, _ in rules._RULES for number in numbers})),
    st.sampled_from(["unshare", "fork", "mount", "write", "openat", "chdir", "execve",
                     "sethostname", "ioctl", "", "pidfd_open"]),
    st.one_of(st.none(), st.text(), st.sampled_from(["/", "/proc", "/proc/1/uid_map", OFFSETS])),
    st.one_of(st.none(), st.frozensets(st.sampled_from(NAMESPACES))),
)  # fmt: skip
def test_it_never_raises_and_says_one_line(
    data: st.DataObject,
    number: int,
    syscall: str,
    path: str | None,
    kinds: frozenset[str] | None,
) -> None:
    error = SetupError("step", stage=STAGE, syscall=syscall, errno=number, path=path)
    wanted = spec(*kinds) if kinds is not None else None
    found = rules.why(error, wanted, Mad(data))
    assert found is None or (unmarked(found).isprintable() and found)
