"""Explain refusals by the security policies that are in force."""

import errno

from spawner.why.evidence import SYS_ADMIN, Case, number, shown


def _policed(case: Case) -> bool:
    """Tell whether a security policy may be to blame: not for paths, which other rules explain."""
    return bool(case.syscall) and case.syscall not in ("chdir", "execve")


def apparmor_userns(case: Case) -> str | None:
    """Find Ubuntu's restriction: user namespaces are refused, or give no rights inside."""
    if not _policed(case) or "user" not in case.wanted or not case.lacks(SYS_ADMIN):
        return None
    if case.sysctl("kernel/apparmor_restrict_unprivileged_userns") != 1:
        return None
    if case.profile not in (None, "unconfined"):
        return None
    program = shown(case.host.link("/proc/self/exe") or "the Python that runs pyspawn")
    return (
        "kernel.apparmor_restrict_unprivileged_userns is 1, which leaves user namespaces to "
        f"programs whose AppArmor profile has `userns,`: give {program} such a profile, or, as "
        "root, `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
    )


def apparmor(case: Case) -> str | None:
    """Find an AppArmor profile that confines this process."""
    profile = case.profile
    if not _policed(case) or profile in (None, "unconfined") or profile.endswith("(complain)"):
        return None
    if case.errno == errno.EPERM and case.filtered:
        return None  # AppArmor mostly says EACCES, a filter mostly EPERM
    return (
        f"the AppArmor profile {shown(profile)} is in force, and most likely refuses "
        f"{case.syscall}: start the container with --security-opt apparmor=unconfined, or allow "
        "it in the profile (`dmesg` tells what was denied)"
    )


def selinux(case: Case) -> str | None:
    """Find that SELinux is enforcing its policy."""
    if not _policed(case) or number(case.host.read("/sys/fs/selinux/enforce")) != 1:
        return None
    context = (case.host.read("/proc/self/attr/current") or "").strip("\n\0")
    return (
        f"SELinux is enforcing ({shown(context)}), and most likely refuses {case.syscall}: start "
        "the container with --security-opt label=disable, or allow what `ausearch -m avc` shows"
    )


def seccomp(case: Case) -> str | None:
    """Find a filter that refuses system calls."""
    if not case.filtered or not case.syscall:
        return None
    sealed = case.status("NoNewPrivs") == ["1"]
    return (
        "a seccomp filter is in force (Seccomp: 2 in /proc/self/status), and most likely refuses "
        f"{case.syscall}: lift it where pyspawn is started (docker or podman run --security-opt "
        "seccomp=unconfined, a unit's RestrictNamespaces=no)"
        + ("; no_new_privs is set too, so sudo doesn't help" if sealed else "")
    )
