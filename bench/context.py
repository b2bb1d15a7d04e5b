"""What every experiment is handed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.installed import Ours
from bench.nest import Nest
from bench.spawn import Spawner, TrialFailed, safety_net

_EXIT_7 = ("/bin/sh", "-c", "exit 7")


@dataclass(frozen=True)
class Scale:
    """How often each thing is done."""

    starts: int = 100
    runs: int = 60
    fleets: int = 5
    idle_seconds: float = 10.0
    signals: int = 1000
    stream_legs: int = 40
    stream_leg: int = 500
    bursts: int = 15
    burst: int = 5000
    """A multiple of 100."""
    moments: int = 500

    def with_rounds(self, rounds: int) -> Scale:
        """Return this scale with `rounds` of everything."""
        return replace(
            self,
            starts=rounds,
            runs=rounds,
            fleets=rounds,
            signals=rounds,
            stream_legs=rounds,
            bursts=rounds,
            moments=rounds,
        )


FULL = Scale()
QUICK = Scale(
    starts=20,
    runs=10,
    fleets=1,
    idle_seconds=3.0,
    signals=200,
    stream_legs=4,
    stream_leg=500,
    bursts=1,
    burst=1000,
    moments=50,
)


@dataclass(frozen=True)
class Bench:
    """The place, what is measured in it, and how often."""

    nest: Nest
    spawner: Spawner
    peers: dict[str, str]
    ours: Ours | None
    scale: Scale

    def working(
        self, prefixes: Mapping[str, Sequence[str]], notes: list[str], *, pid1: bool = False
    ) -> dict[str, Sequence[str]]:
        """Return those command lines that run a workload and pass its status on.

        A command that fails early, or does nothing, would be the fastest of all.
        """
        found = {}
        for label, prefix in prefixes.items():
            try:
                with safety_net():
                    status = self.spawner.spawn((*prefix, *_EXIT_7), pid1=pid1).wait()
            except TrialFailed as error:
                notes.append(f"{label}: dropped out: {error}")
                continue
            if status == 7:
                found[label] = prefix
            else:
                reason = f"`exit 7` gave status {status}: {self.spawner.complaint()}"
                notes.append(f"{label}: dropped out: {reason}")
        return found

    def start_to_exit(
        self, argv: Sequence[str], *, pid1: bool = False, times: int = 1
    ) -> Callable[[], float]:
        """Return a trial that runs `argv` so many times in a row and measures milliseconds."""

        def trial() -> float:
            total = 0.0
            for _ in range(times):
                child = self.spawner.spawn(argv, pid1=pid1)
                if child.wait() != 0:
                    raise TrialFailed(f"status {child.status}: {self.spawner.complaint()}")
                total += child.milliseconds
            self.spawner.reap_strangers()
            return total

        return trial
