"""Explain refusals to change rights: capability sets, and what an exec makes of them."""

from spawner.errors import mark
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
