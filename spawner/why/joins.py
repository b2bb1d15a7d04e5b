"""Say why namespaces of others could not be joined, and what to do about it.

For `rules`, only after a failure.
"""

import errno

from pyinit import NOT_FOUND
from spawner.errors import mark
from spawner.host import proc
from spawner.joining.target import Joins
from spawner.why.evidence import DENIED, Host, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.errors import SetupError
    from spawner.spec import Spec


_PATHS = (errno.EACCES, errno.ELOOP, errno.ENOENT, errno.ENOTDIR)
"""What a path may meet, path_resolution(7)."""

_IDS = {
    "setresuid": ("--setuid", "CAP_SETUID"),
    "setresgid": ("--setgid", "CAP_SETGID"),
    "setgroups": ("--groups", "CAP_SETGID"),
}
"""The calls that change who the program is: the option for each, and the right that it needs."""


def why(error: "SetupError", joins: Joins, host: Host) -> str | None:
    """Return one sentence that says why a join failed and what to do, None where unknown."""
    if error.syscall == "pidfd_open":
        return _no_process(error, joins)
    if error.syscall == "chdir" and error.errno in _PATHS and joins.meets_others:
        return f"the path is looked up in the container: name another with {mark('--workdir')}"
    if joins.target is not None and error.errno == errno.ENOENT:
        return _no_file(error.path or "", joins.target)
    if error.errno in DENIED and (error.path or "").startswith("/proc/"):
        return _not_ours(error.path or "", host)
    if error.syscall == "setns":
        return _not_joined(error, joins)
    if error.syscall in _IDS:
        return _not_become(error, *_IDS[error.syscall])
    if error.syscall == "fork" and error.errno == errno.ENOMEM:
        return (
            "process 1 of that PID namespace has ended, so no process can be started in it: join "
            f"only the other namespaces, each by its own option ({mark('--mount')} and so on)"
        )
    return None


def not_found(error: "SetupError", spec: "Spec") -> str | None:
    """Return the hint for a program that isn't in the caller's PATH, None for another error."""
    joins = spec.wish(Joins)
    if joins is None or joins.pid is None or joins.environment:
        return None
    if error.status != NOT_FOUND or "/" in spec.arguments[0]:
        return None
    return (
        f"{shown(spec.arguments[0])} was looked up in your own PATH: to use the environment of the "
        f"target, and so its PATH, add {mark('--target-env')}"
    )


def _no_file(path: str, target: str) -> str | None:
    if path == target:
        return (
            f"there is no {shown(target)}: name a process by its pid (`podman inspect -f "
            "'{{.State.Pid}}' NAME` shows a container's), a file like /proc/PID/ns/net, or a "
            "directory that `pyspawn --persist` has made"
        )
    if path.startswith(f"{target}/"):
        return f"name only namespaces that the target has: `ls {shown(target)}` shows them"
    return None


def _no_process(error: "SetupError", joins: "Joins") -> str | None:
    if error.errno == errno.ESRCH:
        return (
            f"there is no process {joins.target} in pyspawn's PID namespace: `lsns -t pid` shows "
            "the pids of containers, and `podman inspect -f '{{.State.Pid}}' NAME` that of one"
        )
    if error.errno in (errno.EINVAL, errno.ENOENT):
        return (
            f"{joins.target} is one thread of a process: name the process, by the Tgid in "
            f"/proc/{joins.target}/status"
        )
    return None


def _not_ours(path: str, host: Host) -> str | None:
    """Return the hint for a process that may not be looked into, ptrace(2), by its owner."""
    number = path.split("/")[2]
    owner, own = _user(host, number), _user(host, "self")
    if owner is None:
        return None
    if owner != own:
        return (
            f"the process runs as user id {owner}, and you are {own}: join as that user, as the "
            "user who made its user namespace, or as root"
        )
    if own == "0":
        return (
            "the process has capabilities that root lacks here, as in a container: start pyspawn "
            "where root has them all, ptrace(2)"
        )
    return (
        "the process runs as you, but with rights that you don't have (a set-user-ID program, or "
        "capabilities): join as root"
    )


def _user(host: Host, process: str) -> str | None:
    """Return the effective user id of a process, None where that doesn't show."""
    status = proc.fields(host.read(f"/proc/{process}/status") or "")
    return "".join(status.get("Uid", "").split()[1:2]) or None


def _not_become(error: "SetupError", option: str, right: str) -> str | None:
    if error.errno == errno.EINVAL:
        return (
            f"use ids with {mark(option)} that are mapped in the container (see /proc/PID/uid_map "
            f"and gid_map), or start the container with more ids ({mark('--map-auto')})"
        )
    if error.errno == errno.EPERM:
        return (
            f"{mark(option)} requires {right} in the user namespace of the target, where setgroups "
            "may also be denied: leave it out, or join as root"
        )
    return None


def _not_joined(error: "SetupError", joins: "Joins") -> str | None:
    if error.errno == errno.EPERM:
        if joins.kinds is not None and "user" not in joins.kinds:
            return (
                "joining this namespace requires CAP_SYS_ADMIN in the user namespace that owns it: "
                f"join that too ({mark('--user')}), or join as root"
            )
        return (
            "joining this namespace requires CAP_SYS_ADMIN in your own user namespace and in the "
            "one that owns it: join as root, or as the user who made the container"
        )
    if error.errno == errno.EINVAL and "pid namespace" in error.step:
        return (
            "a PID namespace can be joined only from itself or from one of its ancestors, see "
            "pid_namespaces(7): run pyspawn there, on the host for instance, or leave it out"
        )
    return None
