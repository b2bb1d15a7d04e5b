"""How long a stop takes, and what an init costs an image: bytes, and time at each start."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from enginetest.engine import Engine, Order, running, said_by
from enginetest.findings import Init
from enginetest.promises import GRACE, IMAGES, order

STOPS = 7
BARE_STOPS = 3
"""Stops without an init, all at the same time: each is the engine's whole grace period."""

STARTS = 15

FEW = 2
"""How often everything else is measured where it's only seen whether that works."""

LAYERS = {
    "pip": "pyinit, pip-installed",
    "as-tini": "pyinit, as tini",
    "copied": "pyinit, copied",
    "tini": "tini",
}
"""The images whose cost is compared, with their names in the table."""


@dataclass
class Figures:
    """What was measured under one engine. Seconds, and bytes."""

    stops: dict[Init, list[float]] = field(default_factory=dict)
    starts: dict[str, list[float]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


def measure(engine: Engine, *, quick: bool) -> Figures:
    """Measure all of it, one container at a time, except where it only waits."""
    figures = Figures()
    for init in engine.inits:
        if init is Init.NONE:
            with ThreadPoolExecutor(BARE_STOPS) as pool:
                waits = [pool.submit(stop_time, engine, init) for _ in range(BARE_STOPS)]
            figures.stops[init] = [wait.result() for wait in waits]
        else:
            figures.stops[init] = [stop_time(engine, init) for _ in range(FEW if quick else STOPS)]
    plain = engine.size(IMAGES[Init.NONE])
    figures.sizes = {text: engine.size(name) - plain for name, text in LAYERS.items()}
    figures.starts = interleaved(starts(engine), FEW if quick else STARTS)
    return figures


def stop_time(engine: Engine, init: Init) -> float:
    """Return the seconds that a stop of a Python service takes."""
    with running(engine, order(init, "serve")) as container:
        said_by(container)
        started = time.monotonic()
        container.stop(GRACE)
        return time.monotonic() - started


def starts(engine: Engine) -> dict[str, Callable[[], float]]:
    """Return what measures a container's start to its end, for each kind of image."""
    orders = {
        "no init": Order(IMAGES[Init.NONE], ("true",), Init.NONE),
        **{text: Order(name, ("true",)) for name, text in LAYERS.items()},
    }
    if Init.ENGINE in engine.inits:
        orders["engine's --init"] = Order(IMAGES[Init.ENGINE], ("true",), Init.ENGINE)
    return {name: functools.partial(engine.lifetime, what) for name, what in orders.items()}


def interleaved(trials: dict[str, Callable[[], float]], times: int) -> dict[str, list[float]]:
    """Run each trial some times, by turns, so that the machine's moods meet all of them."""
    samples: dict[str, list[float]] = {name: [] for name in trials}
    for trial in trials.values():
        trial()  # the first of each kind finds nothing in the caches
    for _ in range(times):
        for name, trial in trials.items():
            samples[name].append(trial())
    return samples


def median(values: list[float]) -> float:
    """Return the middle one."""
    return statistics.median(values)


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Return what a quarter, half and three quarters of the values lie below."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
