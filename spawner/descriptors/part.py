"""Close all descriptors on the exec but those that the program is to have.

The init marks them at once, while the caller's /proc is there, which lists them. What is opened
later closes on exec unasked (PEP 446), and so does what the init needs itself; the pipe on which
pyinit reports is handed over after that. A standard stream is never a directory: Python refuses to
start with one.
"""

import posix

from spawner.descriptors.passing import STANDARD
from spawner.errors import INIT, LAUNCHER, SetupError
from spawner.steps import ENTERED, Part, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from spawner.caller import Caller
    from spawner.descriptors.passing import Passing
    from spawner.linux import Kernel
    from spawner.spec import Spec

_LIST = "/proc/self/fd"


class Passed(Part):
    """The part that lets only some descriptors through."""

    def __init__(self, passed: "Iterable[int]") -> None:
        self._passed = tuple(passed)

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Return the function that marks all other descriptors, by station of the plan."""
        return {ENTERED: lambda: (close_others(self._passed),)}


def close_others(passed: tuple[int, ...]) -> Step:
    """Have all descriptors closed by the exec, but the standard streams and those `passed`."""
    what = "close all descriptors at the exec but " + ", ".join(map(str, (*STANDARD, *passed)))

    def act(_: "Kernel", __: str) -> None:
        try:
            for name in posix.listdir(_LIST):
                if int(name) not in (*STANDARD, *passed):
                    _close_on_exec(int(name))
        except OSError as error:
            hint = (
                "/proc lists the descriptors: `mount -t proc proc /proc`"
                if error.filename
                else None
            )
            raise SetupError(
                what, stage=INIT, syscall="openat", errno=error.errno, path=_LIST, hint=hint
            ) from None

    return Step(
        INIT,
        what,
        'ioctl(FD, FIOCLEX), for each FD of "/proc/self/fd"',
        act,
        topic="close-descriptors",
        makes=True,
    )


def _close_on_exec(descriptor: int) -> None:
    """Have a descriptor closed by the exec, fcntl(2); that of the listing itself is gone."""
    if _is_open(descriptor):
        posix.set_inheritable(descriptor, False)


def find(
    passing: "Passing",
    kernel: "Kernel",
    spec: "Spec",
    caller: "Caller",
    lifelines: "Iterable[int]" = (),
) -> Part:
    """Return the part for descriptors; raises SetupError for one that isn't open."""
    del kernel, spec, caller, lifelines
    for number in passing.passed:
        if not _is_open(number):
            raise SetupError(
                f"descriptor {number} isn't open, and can't be passed on",
                stage=LAUNCHER,
                hint=f"open it when you start pyspawn, as with `{number}<FILE` in a shell",
            )
    return Passed(passing.passed)


def _is_open(descriptor: int) -> bool:
    """Tell whether there's an open file behind a descriptor."""
    try:
        posix.fstat(descriptor)
    except OSError:
        return False
    return True
