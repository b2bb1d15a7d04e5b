"""Explain what the kernel or its /proc lacks: a kind of namespace, a system call, a proc mount."""

import errno

from spawner.errors import mark
from spawner.spec import KINDS
from spawner.why.evidence import Case


def no_number(case: Case) -> str | None:
    """Explain ENOTSUP: a system call whose number isn't known."""
    if case.syscall != "keyctl":
        return None
    return (
        "pyspawn doesn't know the number of keyctl(2) on this kind of machine (see `uname -m`), "
        "and without that call the program would have your keys, keyrings(7): add the number to "
        "spawner/linux.py"
    )


def no_proc(case: Case) -> str | None:
    """Find that there's no /proc, or one that shows another PID namespace."""
    if not case.path.startswith("/proc"):
        return None
    own = case.host.link("/proc/self")
    if own is None:
        missing = case.host.stat("/proc") == errno.ENOENT
        first = "there is no directory /proc here" if missing else "/proc isn't mounted here"
        return (
            f"{first}, and pyspawn needs it: {'`mkdir /proc` and ' if missing else ''}"
            "`mount -t proc proc /proc` as root"
        )
    if own != str(case.host.pid()):
        return (
            "/proc shows another PID namespace than the one that pyspawn runs in: mount the right "
            "one first with `mount -t proc proc /proc` (unshare has --mount-proc for that)"
        )
    return None


def born_elsewhere(case: Case) -> str | None:
    """Find a PID namespace for children that our starter unshared without a fork."""
    own = case.host.link("/proc/self/ns/pid")
    for_children = case.host.link("/proc/self/ns/pid_for_children")
    # Once pyspawn itself has unshared there is one of its own, which has no link before its first
    # process: so only what shows that something was there before counts.
    before = case.making("pid") if case.syscall == "unshare" else for_children is not None
    if own is None or own == for_children or not before:
        return None
    if case.syscall not in ("unshare", "fork", "waitpid"):
        return None
    return (
        "pyspawn was started with a new PID namespace for its children only, as by `unshare "
        "--pid` without --fork: add --fork there"
    )


def no_kind(case: Case) -> str | None:
    """Find a kind of namespace that this kernel was built without."""
    if isinstance(case.host.stat("/proc/self/ns"), int):
        return None
    for kind in case.kinds:
        file = f"/proc/self/ns/{KINDS[kind].file}"
        if case.making(kind) and case.host.stat(file) == errno.ENOENT:
            return (
                f"this kernel has no {kind} namespaces (no {file}): do without them "
                f"(`{mark(f'--share {kind}')}`), or boot a kernel that has them"
            )
    return None


def no_call(case: Case) -> str | None:
    """Explain ENOSYS, where no filter says it: the kernel is older than the call."""
    if case.filtered or not case.syscall:
        return None
    return f"this kernel has no system call {case.syscall}: pyspawn needs a newer kernel"
