"""Explain refusals to change rights, and what comes of a filter of system calls."""

import errno

from spawner.errors import mark
from spawner.rights.rights import Rights
from spawner.why.evidence import SETPCAP, Case


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
            "a filter takes no_new_privs, or CAP_SYS_ADMIN in the program's user namespace, which "
            f"the init doesn't have any more: add {mark('--no-new-privs')}"
        )
    return (
        "the kernel doesn't accept it: it is not classic BPF for seccomp, or was made for another "
        "kind of machine; seccomp_export_bpf(3) writes what is accepted"
    )


def init_sealed(case: Case) -> str | None:
    """Find that the program's filter also stopped the init, as it does all processes inside."""
    rights = None if case.spec is None else case.spec.wish(Rights)
    if rights is None or rights.seccomp is None:
        return None
    if not case.step.startswith("execute the init ") and "before it had started" not in case.step:
        return None
    return (
        "the init is under the program's seccomp filter as well: allow what an interpreter needs "
        "to start, or do without an init"
    )
