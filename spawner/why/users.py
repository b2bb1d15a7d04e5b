"""Explain user namespaces that may not be made, and rights that are missing without one."""

from spawner.errors import mark
from spawner.why.evidence import NET_ADMIN, SETFCAP, SYS_ADMIN, Case, number

_RIGHTLESS = ("capget", "capset", "keyctl", "pidfd_open", "prctl", "rt_sigaction", "signalfd")
"""Calls of a start that need no right: only a filter refuses them."""


def no_mapping(case: Case) -> str | None:
    """Find that the caller's own id isn't mapped where pyspawn runs."""
    if not case.making("user"):
        return None
    for name, field in (("uid", "Uid"), ("gid", "Gid")):
        own = number(" ".join(case.status(field)[1:]))
        extents = case.host.read(f"/proc/self/{name}_map")
        if own is not None and extents is not None and not _mapped(own, extents):
            return (
                f"{name} {own} isn't mapped in pyspawn's own user namespace, so pyspawn can't "
                f"make another: write that namespace's {name}_map first (unshare has "
                "--map-root-user for that)"
            )
    return None


def _mapped(own: int, extents: str) -> bool:
    """Tell whether an id is in one of the extents of a uid_map, user_namespaces(7)."""
    for line in extents.splitlines():
        first, _, count = [number(word) for word in [*line.split(), "", "", ""][:3]]
        if first is None or count is None or first <= own < first + count:
            return True  # or unreadable: then nothing is known
    return False


def chroot(case: Case) -> str | None:
    """Find that this process surely runs in a chroot."""
    if not case.making("user") or not case.lacks_root_mount:
        return None
    return f"no process in a chroot can make a user namespace, user_namespaces(7): {_leave(case)}"


def _leave(case: Case) -> str:
    outside = "start pyspawn outside of the chroot"
    if case.lacks(SYS_ADMIN):
        return f"{outside}, or enter it by pivot_root(2) instead of chroot(2)"
    return f"leave out {mark('--user')}, or {outside}"


def only_root(case: Case) -> str | None:
    """Find the sysctl by which Debian leaves user namespaces to root."""
    if not case.making("user") or not case.lacks(SYS_ADMIN):
        return None
    if case.sysctl("kernel/unprivileged_userns_clone") != 0:
        return None
    return (
        "kernel.unprivileged_userns_clone is 0, which leaves user namespaces to root: allow them "
        "as root, `sysctl -w kernel.unprivileged_userns_clone=1`"
    )


def _is_map(case: Case) -> bool:
    """Tell whether the failed path is a file that sets the ids of a user namespace."""
    return case.path.endswith(("/uid_map", "/gid_map", "/setgroups"))


def no_setfcap(case: Case) -> str | None:
    """Find that root lacks the capability that mapping user id 0 requires."""
    if not _is_map(case) or case.uid != 0 or not case.lacks(SETFCAP):
        return None
    return (
        "root needs CAP_SETFCAP to map user id 0, and lacks it here: start the container with it "
        f"(docker run --cap-add SETFCAP), or leave out {mark('--user')}"
    )


def no_right(case: Case) -> str | None:
    """Find the capability that is missing where no new user namespace gives it."""
    if "user" in case.wanted or case.syscall in _RIGHTLESS:
        return None
    needed = NET_ADMIN if case.syscall == "ioctl" else SYS_ADMIN
    if not case.lacks(needed):
        return None
    if case.uid != 0:
        return (
            f"this requires {needed}, which an ordinary user has only in a new user namespace: "
            f"leave out {mark('--share user')}, or add {mark('--user')} to {mark('--share all')}"
        )
    # A container's filter that refuses the one mostly refuses the other as well.
    other = "" if case.filtered else f", or add {mark('--user')} to have it in a new namespace"
    return (
        f"root lacks {needed} here, as in most containers: start the container with it (docker run "
        f"--cap-add {needed.removeprefix('CAP_')}){other}"
    )


def perhaps_chroot(case: Case) -> str | None:
    """Guess at a chroot when nothing else explains it: most processes in one can't see it."""
    if not case.making("user"):
        return None
    return (
        "nothing that can be seen here forbids a user namespace, so this is most likely a "
        f"chroot, in which no process can make one, user_namespaces(7): {_leave(case)}"
    )
