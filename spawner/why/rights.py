"""Explain refusals to change rights, and what a filter of system calls leads to."""

import errno
import sys

from spawner.errors import mark
from spawner.rights.rights import UNCONFINED, Rights
from spawner.why.evidence import SETPCAP, Case, shown


def no_setpcap(case: Case) -> str | None:
    """Find that the capability is missing that lowers the bounding set, PR_CAPBSET_DROP(2const)."""
    if case.syscall != "prctl" or "bounding set" not in case.step:
        return None
    if "user" in case.wanted or not case.lacks(SETPCAP):
        return None
    return (
        f"lowering the bounding set needs {SETPCAP}, which pyspawn doesn't have here: add "
        f"{mark('--user')} to have it in a new user namespace, or start pyspawn with it"
    )


def securebits(case: Case) -> str | None:
    """Find securebits that forbid what the init does to keep capabilities, capabilities(7)."""
    if case.syscall != "prctl" or case.filtered:
        return None
    if not case.step.startswith(("give the program", "keep the permitted capabilities")):
        return None
    return (
        "most likely securebits are set, and locked, that forbid it (`capsh --print` shows them): "
        "start pyspawn without them"
    )


def unfit_filter(case: Case) -> str | None:
    """Find why a filter can't be installed, seccomp(2)."""
    if case.syscall != "prctl" or not case.step.startswith("install the seccomp filter"):
        return None
    if case.errno == errno.EACCES:
        return (
            "a filter requires no_new_privs, or CAP_SYS_ADMIN in the program's user namespace, "
            f"which the init doesn't have any more: add {mark('--no-new-privs')}"
        )
    return (
        "the kernel doesn't accept the filter: it is not classic BPF for seccomp, or was made for "
        "another kind of machine; seccomp_export_bpf(3) writes what is accepted"
    )


def unfit_landlock(case: Case) -> str | None:
    """Find why Landlock can't be had, landlock_create_ruleset(2), landlock_restrict_self(2)."""
    if not case.syscall.startswith("landlock_"):
        return None
    if case.errno == errno.ENOSYS and not case.filtered:
        return (
            "this kernel has no Landlock: boot Linux 5.13 or later with "
            f"CONFIG_SECURITY_LANDLOCK, or do without {mark('--landlock')}"
        )
    if case.errno == errno.EOPNOTSUPP:
        return (
            "Landlock is switched off: add landlock to the list in the boot parameter lsm= of the "
            "kernel (/sys/kernel/security/lsm shows what is in it now), or do without "
            f"{mark('--landlock')}"
        )
    if case.errno == errno.E2BIG:
        return (
            "a process can be in 16 Landlock domains at most, nested in each other, and pyspawn "
            f"is in as many: start it further out, or do without {mark('--landlock')}"
        )
    if case.errno != errno.EPERM or case.syscall != "landlock_restrict_self":
        return None
    return (
        "Landlock requires no_new_privs, or CAP_SYS_ADMIN in the program's user namespace, which "
        f"the init doesn't have any more: add {mark('--no-new-privs')}"
    )


def init_shut(case: Case) -> str | None:
    """Find that Landlock may have stopped the init, as it does all processes inside."""
    rights = None if case.spec is None else case.spec.wish(Rights)
    if rights is None or rights.landlock is None:
        return None
    if not case.step.startswith("execute the init ") and "before it had started" not in case.step:
        return None
    if not any(map(rights.landlock.restricts, ("read", "execute"))):
        return None
    return (
        f"the init is under Landlock as well: add {mark('--landlock')} read,execute=PATH for what "
        f"its interpreter needs (`ldd {shown(sys.executable)}` lists libraries), or do without an "
        "init"
    )


def init_sealed(case: Case) -> str | None:
    """Find that the program's filter also stopped the init, as it does all processes inside."""
    rights = None if case.spec is None else case.spec.wish(Rights)
    if rights is None or rights.seccomp in (None, UNCONFINED):
        return None
    if not case.step.startswith("execute the init ") and "before it had started" not in case.step:
        return None
    return (
        "the init is under the program's seccomp filter as well: allow what an interpreter needs "
        "to start, or do without an init"
    )
