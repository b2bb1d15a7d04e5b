"""Explain limits that are reached: of processes, files, namespaces, keys, clocks and names."""

import errno

from spawner.errors import mark
from spawner.limit.limits import Limits
from spawner.spec import KINDS
from spawner.why.evidence import DENIED, MAKERS, Case, number, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.limit.limits import Rlimit

_ENDED_SINCE = 2
"""Processes of ours that have ended between the failure and the look at a limit: stage, init."""

GROUP = (
    *(errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOENT, errno.EBUSY),
    *(errno.EINVAL, errno.ERANGE, errno.ENOSPC),
)
"""The errnos of what can keep pyspawn from limiting a control group."""


def no_descriptor(_: Case) -> str:
    """Explain EMFILE: the limit on this process's own descriptors, getrlimit(2)."""
    return (
        "pyspawn has no file descriptor left below its limit: raise it with `ulimit -n`, or let "
        "pyspawn inherit fewer open files"
    )


def too_long(case: Case) -> str | None:
    """Explain E2BIG: the words and the variables of an exec."""
    if case.syscall != "execve":
        return None
    # execve(2): a quarter of the stack's limit, up to 6 MiB.
    return (
        "the arguments and the environment of the program and the init are too long: pass long "
        "ones through a file, or raise the limit, which is a quarter of the stack limit, for "
        "example with `ulimit -s 24576`"
    )


def no_file(_: Case) -> str:
    """Explain ENFILE: the limit on the open files of the whole host."""
    return (
        "the whole host has run out of open files: end the programs that hold them, or raise the "
        "limit as root with `sysctl -w fs.file-max=NUMBER`"
    )


def no_process(case: Case) -> str | None:
    """Explain EAGAIN: one of the limits on processes, fork(2)."""
    if case.syscall not in MAKERS:
        return None
    for line in (case.host.read("/proc/self/cgroup") or "").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "pids" not in controllers.split(","):
            continue
        group = f"/sys/fs/cgroup{'/pids' if controllers else ''}{path}"
        limits = (case.host.read(f"{group}/pids.{name}") for name in ("max", "current"))
        most, now = map(number, limits)
        if most is not None and now is not None and now + _ENDED_SINCE >= most:
            return (
                f"pids.max of {shown(group)}, {most}, is reached: raise it (for a unit "
                "TasksMax=), or find with `pyspawn zombies` which process "
                "doesn't reap its children"
            )
    return (
        "a limit on processes is reached: raise `ulimit -u`, pids.max of the control group or of "
        "one above it (for a unit TasksMax=), or with `sysctl -w` "
        "kernel.pid_max or kernel.threads-max"
    )


def no_namespace(case: Case) -> str | None:
    """Explain ENOSPC: a number in /proc/sys/user, or the greatest depth, namespaces(7)."""
    if case.syscall not in MAKERS:
        return None
    names = {kind: f"user.max_{KINDS[kind].file}_namespaces" for kind in case.kinds}
    for kind, name in names.items():
        if case.sysctl(name.replace(".", "/")) == 0:
            return f"{name} is 0, which forbids new {kind} namespaces: {_raise(kind, name)}"
    return (
        f"raise {' or '.join(names.values())} with `sysctl -w` as root, here and in the outer user "
        "namespaces; if user or PID namespaces are nested as deeply as they can be, or a container "
        "was made to have no further ones, start pyspawn further out"
    )


def _raise(kind: str, name: str) -> str:
    way = f"raise it as root of this user namespace with `sysctl -w {name}=10000`"
    return way if kind == "user" else f"{way}, or share yours (`{mark(f'--share {kind}')}`)"


def no_key(case: Case) -> str | None:
    """Explain EDQUOT: the limit on a user's keys, keyrings(7)."""
    if case.syscall != "keyctl":
        return None
    return (
        "the user has reached the limit on keys, of which each container has one, its session "
        "keyring: run fewer containers at once, or raise the limit as root with `sysctl -w "
        "kernel.keys.maxkeys=20000 kernel.keys.maxbytes=2000000`"
    )


def nice(case: Case) -> str | None:
    """Explain EACCES: a lower nice value, setpriority(2)."""
    if case.syscall != "setpriority":
        return None
    return (
        "a nice value lower than the caller's needs CAP_SYS_NICE, which neither ordinary users nor "
        "root in a new user namespace have: use a higher value, or have root start pyspawn with "
        "nice(1)"
    )


def oom_score(case: Case) -> str | None:
    """Explain EACCES: a lower score where memory runs out, proc_pid_oom_score_adj(5)."""
    if not case.path.endswith("/oom_score_adj"):
        return None
    now = case.host.read("/proc/self/oom_score_adj")
    known = f" ({now.strip()})" if now else ""
    return (
        f"an OOM score adjustment lower than the caller's{known} needs CAP_SYS_RESOURCE, which "
        "neither ordinary users nor root in most containers or in a new user namespace have: use a "
        "higher value, or have what starts pyspawn set this one (a unit's OOMScoreAdjust=)"
    )


def own_processes(case: Case) -> str | None:
    """Explain EAGAIN: a limit on processes that was asked for."""
    for wanted in _rlimits(case):
        if wanted.resource == "nproc" and case.syscall in MAKERS:
            return (
                f"the limit {wanted} is reached; it counts every process of the user in this "
                "user namespace, including the init: allow more"
            )
    return None


def own_group(case: Case) -> str | None:
    """Explain what keeps pyspawn from making or limiting a control group, cgroups(7)."""
    if not case.path.startswith("/") or "control group" not in case.step:
        return None
    if case.errno in (*DENIED, errno.EROFS):
        return _no_group_of_ours(case)
    if case.errno == errno.ENOENT:
        return (
            f"make it first: {mark('--cgroup-parent')} names a control group that exists, with "
            "version 1 in the hierarchy of each controller that a limit requires"
        )
    if case.errno == errno.EBUSY:
        return "name a control group without processes: one with processes passes no controllers on"
    if case.errno in (errno.EINVAL, errno.ERANGE, errno.ENOSPC):
        return (
            "the limit can't be above that of the control group in which pyspawn is, nor name "
            "processors that that group lacks or that don't exist: ask for less, or name another "
            f"with {mark('--cgroup-parent PATH')}"
        )
    return None


def _no_group_of_ours(case: Case) -> str:
    """Return what to do where no control group can be made, cgroups(7)."""
    outside = (
        "start pyspawn as root where the control groups can be written (in a container of an "
        "engine they can't, unless it is privileged)"
    )
    singly = f"limit each process by itself, {mark('--limits process')}"
    if case.host.read("/sys/fs/cgroup/cgroup.controllers") is None:
        return f"{outside}, or {singly}"
    return (
        f"{outside}; or as an ordinary user, let systemd give you one that is yours: "
        "`systemd-run --user --scope pyspawn ...`, name one, "
        f"{mark('--cgroup-parent PATH')}, or {singly}"
    )


def few_processes(case: Case) -> str | None:
    """Explain EAGAIN: the limit on the container's processes."""
    wanted = None if case.spec is None else case.spec.wish(Limits)
    if wanted is None or wanted.pids is None or case.syscall not in MAKERS:
        return None
    return (
        f"{mark(f'--pids-limit {wanted.pids}')} counts all processes and threads in the container, "
        "the init as well: allow more"
    )


def little_memory(case: Case) -> str | None:
    """Explain the end of an init that doesn't have the memory to start."""
    wanted = None if case.spec is None else case.spec.wish(Limits)
    if wanted is None or wanted.memory is None or "SIGKILL" not in case.step:
        return None
    return (
        f"the kernel may have ended the init for the limit {mark(f'--memory {wanted.memory}')}, "
        "which holds for the init too: allow more (16M are enough for pyinit alone)"
    )


def init_too_large(case: Case) -> str | None:
    """Explain the end of an init that can't start under the limits that were asked for."""
    wanted = ", ".join(map(str, _rlimits(case)))
    if not wanted or "before it had started" not in case.step:
        return None
    return (
        f"the limits {wanted} hold for the init too: allow what a Python interpreter needs "
        "(nofile=16, as=64M and data=16M are enough), or run without an init"
    )


def _rlimits(case: Case) -> "tuple[Rlimit, ...]":
    """Return the limits that were asked for."""
    wanted = None if case.spec is None else case.spec.wish(Limits)
    return wanted.rlimits if wanted else ()


def clock(case: Case) -> str | None:
    """Explain ERANGE: a clock would be below zero or above 146 years, time_namespaces(7)."""
    if not case.path.endswith("/timens_offsets"):
        return None
    return (
        "no clock can go below zero, nor beyond 146 years: use an offset nearer to 0 (`uptime` "
        "shows how long the host has been up)"
    )


def long_name(case: Case) -> str | None:
    """Explain EINVAL: a host name that is too long."""
    if case.syscall != "sethostname":
        return None
    return "a host name has 64 bytes at most, sethostname(2): use a shorter one"
