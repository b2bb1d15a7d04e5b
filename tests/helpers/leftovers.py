"""Workloads that leave processes behind, which end when asked, or not."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from helpers.places import Place
from helpers.programs import python
from helpers.running import Running

LONG = "100000"
"""Seconds that no test outlasts: what ends earlier ended for another reason."""

SHORT = "0.05"

LEFTOVERS = """
import _signal, posix, sys
# Leaves processes behind and exits 17. Each says its name once it blocks all signals, then
# reports the signals it gets: a polite one ends on the one named, a stubborn one on none.
everything = _signal.valid_signals()
_signal.pthread_sigmask(_signal.SIG_BLOCK, everything)
kinds, last = sys.argv[1].split(","), int(sys.argv[2])
reading, writing = posix.pipe()
for kind in kinds:
    if posix.fork():
        continue
    if kind.startswith("strange"):
        posix.setsid()
        if posix.fork():
            posix._exit(0)
    posix.close(0)
    posix.write(1, b"%s ready\\n" % kind.encode())
    posix.write(writing, b".")
    while True:
        number = _signal.sigwaitinfo(everything - {_signal.SIGCHLD}).si_signo
        posix.write(1, b"%s %d\\n" % (kind.encode(), number))
        if number == last and kind.endswith("polite"):
            posix._exit(0)
for _ in kinds:
    posix.read(reading, 1)
posix.read(0, 1)
posix._exit(17)
"""


def leftovers(*kinds: str, last: int = signal.SIGTERM) -> list[str | bytes]:
    """Return the argv of a workload that leaves processes behind once its input ends."""
    return python(LEFTOVERS, ",".join(kinds), str(int(last)))


@contextlib.contextmanager
def left(place: Place, *options: str, kinds: tuple[str, ...], last: int = signal.SIGTERM
         ) -> Iterator[Running]:  # fmt: skip
    """Start pyinit with such a workload, and let the workload end."""
    with place.start(*options, "--", *leftovers(*kinds, last=last)) as running:
        assert sorted(running.lines(len(kinds))) == sorted(f"{kind} ready" for kind in kinds)
        running.close_input()
        yield running
