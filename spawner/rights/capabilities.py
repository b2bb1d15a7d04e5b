"""The steps that change the init's capability sets, which are read back afterwards.

The five sets are capabilities(7)'s: what an exec by root gives is limited by the bounding set, what
an exec by anybody else gives is the ambient set, which is never more than the inheritable and the
permitted one.
"""

from spawner.errors import INIT, SetupError, mark
from spawner.rights.rights import every, numbers, shown
from spawner.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from spawner.linux import Kernel
    from spawner.rights.rights import Changes

# linux/prctl.h
PR_GET_KEEPCAPS = 7
PR_SET_KEEPCAPS = 8
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_IS_SET = 1
PR_CAP_AMBIENT_RAISE = 2

BITS = 64
"""The number of bits in a capability set, linux/capability.h (_LINUX_CAPABILITY_U32S_3)."""


_CAPSET = "capset({_LINUX_CAPABILITY_VERSION_3, 0}, {EFFECTIVE, PERMITTED, INHERITABLE})"


def available(kernel: "Kernel", wanted: "Changes") -> int:
    """Return the capabilities that are both permitted and in the bounding set."""
    return kernel.capget()[1] & _bounding(kernel, wanted)


def check_held(added: int, held: int, where: str) -> None:
    """Raise SetupError for capabilities to be added that this process lacks."""
    missing = added & ~held
    if not missing:
        return
    names = [shown(1 << number) for number in numbers(missing)]
    raise SetupError(
        f"the program can't be given {', '.join(names)}: pyspawn itself has no such capability",
        stage=where,
        hint=(
            f"a new user namespace has every capability, over what is the container's own: add "
            f"{mark('--user')}; or grant each where pyspawn is started (docker run --cap-add "
            f"{names[0].removeprefix('CAP_')})"
        ),
    )


def drop_from_bounding(wanted: "Changes") -> Step:
    """Drop capabilities from the bounding set, PR_CAPBSET_DROP(2const)."""
    what = f"drop {_dropped(wanted)} from the bounding set"

    def act(kernel: "Kernel", _: str) -> None:
        for number in numbers(wanted.dropped & _bounding(kernel, wanted)):
            kernel.prctl(PR_CAPBSET_DROP, number)
        _hold(what, 0, wanted.dropped & _bounding(kernel, wanted))

    return Step(
        INIT,
        what,
        _calls("PR_CAPBSET_DROP", wanted.dropped),
        act,
        topic="drop-from-bounding",
    )


def keep_over_setuid() -> Step:
    """Keep the permitted set over a change from root to another user.

    The next exec ends that.
    """
    what = "keep the permitted capabilities over a change of user"

    def act(kernel: "Kernel", _: str) -> None:
        kernel.prctl(PR_SET_KEEPCAPS, 1)
        _hold(what, 1, kernel.prctl(PR_GET_KEEPCAPS))

    return Step(INIT, what, "prctl(PR_SET_KEEPCAPS, 1)", act, topic="keep-capabilities")


def drop(wanted: "Changes") -> Step:
    """Drop capabilities from the process's sets, capset(2)."""
    what = f"drop {_dropped(wanted)} from the other sets"

    def act(kernel: "Kernel", _: str) -> None:
        effective, permitted, inheritable = (each & ~wanted.dropped for each in kernel.capget())
        kernel.capset(effective, permitted, inheritable)
        _hold(what, (effective, permitted, inheritable), kernel.capget())
        _hold(what, 0, wanted.dropped & _ambient(kernel, wanted))

    return Step(
        INIT,
        what,
        _CAPSET,
        act,
        topic="drop-capabilities",
    )


def add(wanted: "Changes") -> Step:
    """Add capabilities to all sets, so that any exec keeps them, PR_CAP_AMBIENT(2const)."""
    most = every(wanted.last) & ~wanted.dropped if wanted.all_else else wanted.added
    named = shown(most)
    if wanted.all_else:
        named = "every other capability" if wanted.dropped else "every capability"
    what = f"give the program {named}"

    def act(kernel: "Kernel", _: str) -> None:
        held = available(kernel, wanted)
        check_held(wanted.added, held, INIT)
        added = held & ~wanted.dropped if wanted.all_else else wanted.added
        effective, permitted, inheritable = (each | added for each in kernel.capget())
        kernel.capset(effective, permitted, inheritable)
        for number in numbers(added):
            kernel.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)
        _hold(what, (effective, permitted, inheritable), kernel.capget())
        _hold(what, added, added & _ambient(kernel, wanted))

    return Step(
        INIT,
        what,
        f"{_CAPSET}, {_calls('PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE', most)}",
        act,
        topic="add-capabilities",
    )


def set_no_new_privs() -> Step:
    """Set no_new_privs, so that no exec adds rights, PR_SET_NO_NEW_PRIVS(2const)."""
    what = "set no_new_privs"

    def act(kernel: "Kernel", _: str) -> None:
        kernel.prctl(PR_SET_NO_NEW_PRIVS, 1)
        _hold(what, 1, kernel.prctl(PR_GET_NO_NEW_PRIVS))

    return Step(INIT, what, "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)", act, topic="no-new-privs")


def _bounding(kernel: "Kernel", wanted: "Changes") -> int:
    """Return the bounding set as bits."""
    return _bits(wanted, lambda number: kernel.prctl(PR_CAPBSET_READ, number))


def _ambient(kernel: "Kernel", wanted: "Changes") -> int:
    """Return the ambient set as bits."""
    return _bits(wanted, lambda number: kernel.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, number))


def _bits(wanted: "Changes", ask: "Callable[[int], int]") -> int:
    """Return, as bits, the capabilities for which a call returns 1."""
    return sum(ask(number) << number for number in numbers(every(wanted.last)))


def _dropped(wanted: "Changes") -> str:
    """Return the words for dropped capabilities; they name what is left where that is less."""
    left = every(wanted.last) & ~wanted.dropped
    if len(numbers(left)) >= len(numbers(wanted.dropped)):
        return shown(wanted.dropped)
    return f"every capability but {shown(left)}" if left else "every capability"


def _calls(operation: str, bits: int) -> str:
    """Return the prctl(2) calls for capabilities as text: the first and the last of many."""
    found = [f"prctl({operation}, {shown(1 << number)})" for number in numbers(bits)]
    return ", ".join(found if len(found) < 4 else [found[0], "...", found[-1]])


def _hold(what: str, wanted: object, found: object) -> None:
    """Raise SetupError if the kernel has set something else than asked."""
    if wanted != found:
        raise SetupError(f"{what}: the kernel set {found!r} instead of {wanted!r}", stage=INIT)
