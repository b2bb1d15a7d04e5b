"""Explain mounts that are refused."""

from spawner.errors import mark
from spawner.host.proc import Mount
from spawner.why.evidence import Case, shown

_ALWAYS_EMPTY = ("sys/fs/binfmt_misc", "fs/nfsd", "openprom")
"""Directories of /proc on which a mount masks nothing (fs/namespace.c, mnt_already_visible)."""

_UNMASKED = (
    "--security-opt systempaths=unconfined (docker), --security-opt unmask=ALL (podman) or "
    "procMount: Unmasked (Kubernetes)"
)
"""What leaves a container the whole /proc, which an engine masks and makes read-only in part."""


def read_only_proc(case: Case) -> str | None:
    """Explain EROFS: no file of /proc can be written."""
    if not case.path.startswith("/proc"):
        return None
    if case.path.startswith("/proc/sys/"):
        return (
            "/proc/sys is mounted read-only: run `mount -o remount,bind,rw /proc/sys` as root, or "
            f"start the container with {_UNMASKED}"
        )
    return (
        "/proc is mounted read-only, and pyspawn sets up new namespaces through files in it: "
        "run `mount -o remount,bind,rw /proc` as root"
    )


def fresh_proc(case: Case) -> str | None:
    """Explain why root of a user namespace may not mount a /proc.

    There has to be an unmasked one in sight, so that the mount reveals nothing (fs/namespace.c,
    mount_too_revealing).
    """
    if case.syscall != "mount" or (case.path != "/proc" and not case.names_proc):
        return None
    if "user" in case.wanted and "pid" not in case.wanted:
        return (
            "a new /proc would show the outer PID namespace, over which a new user namespace has "
            f"no rights: make a new PID namespace ({mark('--pid')}), or leave out "
            f"{mark('--mount-proc')}"
        )
    if "user" not in case.wanted and case.filtered:
        return None
    mounts = case.mounts()
    procs = [mount for mount in mounts if mount.kind == "proc" and mount.root == "/"]
    if not procs:
        return (
            "a user namespace can mount /proc only where an unmasked one is visible already: "
            "as root, run `mount -t proc proc /proc` before pyspawn"
        )
    masks = [_masks(proc, mounts) for proc in procs]
    if all(masks):
        some = ", ".join(map(shown, masks[0][:3])) + (", …" if masks[0][3:] else "")
        return (
            f"parts of /proc are masked ({some}), and then a user namespace can't mount an "
            f"unmasked one: start the container with {_UNMASKED}"
        )
    if all("ro" in proc.options for proc in procs):
        return read_only_proc(case)
    return None


def _masks(proc: Mount, mounts: list[Mount]) -> list[str]:
    """Return the mount points below a /proc that hide or lock a part of it."""
    harmless = [proc.below + place for place in _ALWAYS_EMPTY]
    found = [mount.point for mount in mounts if mount.point.startswith(proc.below)]
    return [point for point in found if point not in harmless]


def plain_root(case: Case) -> str | None:
    """Find that the root directory is not a mount point."""
    if case.syscall != "mount" or case.path != "/" or not case.lacks_root_mount:
        return None
    return (
        "mounts can't be made private, since the root directory is not a mount point (as after a "
        "chroot): run `mount --bind DIR DIR` before `chroot DIR`, or use "
        f"{mark('--share mount')}"
    )
