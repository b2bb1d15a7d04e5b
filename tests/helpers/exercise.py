"""Go through what must work with pyinit wherever it runs, whatever is missing there."""

from __future__ import annotations

import signal

from helpers import children
from helpers.places import Place
from helpers.programs import orphans, python, reporter


def exercise(place: Place, prepare: str, *, reaps: bool = True, says: str = "") -> None:
    """Go through what must work anywhere: status, signals, orphans, exec failures, descriptors.

    `says` are words that its stderr may hold, where something is missing that a user must know.
    """
    # Signals are forwarded.
    with place.start("--", *reporter(), prepare=prepare) as running:
        running.line()
        for number in (signal.SIGTERM, signal.SIGRTMIN + 5, signal.SIGUSR1):
            running.send(number)
            assert running.line().split()[1] == str(int(number))
        running.send(signal.SIGKILL)
    # Orphans are reaped, and the status is the workload's.
    with place.start("--", *orphans(10, status=42), prepare=prepare) as running:
        assert running.line() == "made"
        if reaps:
            children.wait_until(lambda: len(children.of(running.pid)) == 1, "the reaping")
        running.close_input()
        assert running.wait() == 42
        assert all(says and says in line for line in running.errors().splitlines())
    # A stopped workload is no end.
    with place.start("sh", "-c", "kill -STOP $$; exit 9", prepare=prepare) as running:
        children.wait_until(
            lambda: any(children.state(pid) == "T" for pid in children.of(running.pid)), "the stop"
        )
        running.send(signal.SIGCONT)
        assert running.wait() == 9
    # What can't be started is explained.
    ended = place.run("--", "no-such-program", prepare=prepare)
    assert ended.status == 127
    assert "no-such-program" in ended.errors
    # No descriptor is held on to.
    own_pipe = "reading, writing = os.pipe(); os.dup2(reading, 10); os.dup2(writing, 11)\n"
    wait_for_end = (
        "import posix; posix.close(11); posix._exit(7 if posix.read(10, 1) == b'' else 1)"
    )
    ended = place.run("--", *python(wait_for_end), prepare=own_pipe + prepare)
    assert ended.status == 7
