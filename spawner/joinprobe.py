"""Say why namespaces of others could not be joined, and what to do about it.

For `probe`, only after a failure.
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.errors import SetupError
    from spawner.evidence import Machine
    from spawner.joins import Joins

_DENIED = (errno.EACCES, errno.EPERM)


def explain(error: SetupError, joins: Joins, machine: Machine) -> str | None:
    """Return one sentence that says why a join failed and what to do, None where unknown."""
    if error.syscall == "pidfd_open":
        return _no_process(error, joins)
    if error.errno in _DENIED and (error.path or "").startswith("/proc/"):
        return _not_ours(error.path or "", machine)
    if error.syscall == "setns":
        return _not_joined(error, joins)
    if error.syscall == "fork" and error.errno == errno.ENOMEM:
        return (
            "process 1 of that PID namespace has ended, so there can be no more processes in it: "
            "name the other namespaces by their flags, --mount and so on"
        )
    return None


def _no_process(error: SetupError, joins: Joins) -> str | None:
    if error.errno == errno.ESRCH:
        return (
            f"no process {joins.target} is to be seen from here: a pid counts in its own PID "
            "namespace (`lsns -t pid` shows what is running, `podman inspect -f "
            "'{{.State.Pid}}' NAME` the one of a container)"
        )
    if error.errno in (errno.EINVAL, errno.ENOENT):
        return f"{joins.target} is one thread of a process: name the process, its Tgid"
    return None


def _not_ours(path: str, machine: Machine) -> str | None:
    """Say who a process belongs to that may not be looked into, ptrace(2)."""
    number = path.split("/")[2]
    lines = (machine.read(f"/proc/{number}/status") or "").splitlines()
    owner = next((line.split()[2] for line in lines if line.startswith("Uid:")), None)
    mine = (machine.read("/proc/self/status") or "").splitlines()
    own = next((line.split()[2] for line in mine if line.startswith("Uid:")), None)
    if owner is None:
        return None
    if owner != own:
        return (
            f"the process runs as user id {owner}, and you are {own}: join as that user, as the "
            "one who made its user namespace, or as root"
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


def _not_joined(error: SetupError, joins: Joins) -> str | None:
    if error.errno == errno.EPERM:
        if joins.kinds is not None and "user" not in joins.kinds:
            return (
                "it takes rights over the user namespace that this one belongs to: name --user as "
                "well, or join as root"
            )
        return (
            "it takes CAP_SYS_ADMIN over the namespace, and in your own user namespace: join as "
            "the one who made the container, with its user namespace, or as root"
        )
    if error.errno == errno.EINVAL and "pid namespace" in error.step:
        return (
            "a PID namespace can only be joined from one above it, pid_namespaces(7): do it there, "
            "on the host for instance, or leave it out"
        )
    return None
