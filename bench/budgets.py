"""The promises that the project makes, and whether this run kept them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench import contenders, forward, idle, launch, loss, reap, start
from bench.table import Table, ratio_of_medians

Tables = Mapping[str, Table]


@dataclass(frozen=True)
class Measured:
    """A figure, and in words how far it may be trusted."""

    value: float
    between: str = ""


Measure = Callable[[Tables], Measured | None]


@dataclass(frozen=True)
class Budget:
    """One promise: what is measured in which experiment, and the most that it may be.

    `strict` ones have to be below the limit, not at it.
    """

    what: str
    experiment: str
    measure: Measure
    limit: float
    strict: bool = False

    def verdict(self, tables: Tables) -> tuple[str, str, str]:
        """Return the figure, between what it lies, and `kept`, `MISSED`, or why not measured."""
        measured = self.measure(tables)
        if measured is None:
            return "-", "", "MISSED (not measured)"
        value = measured.value
        kept = value < self.limit if self.strict else value <= self.limit
        # One place more than the tables have: a miss by a hair shows as one.
        said = f"{value:.3f}" if isinstance(value, float) else str(value)
        return said, measured.between, "kept" if kept else "MISSED"


def ratio(table: str, row: str, base: str) -> Measure:
    """Measure the ratio of the medians of two rows of one table."""

    def measure(tables: Tables) -> Measured | None:
        samples = tables[table].samples if table in tables else {}
        if not (samples.get(row) and samples.get(base)):
            return None
        value, (low, high) = ratio_of_medians(samples[row], samples[base])
        return Measured(value, f"{low:.3f}-{high:.3f}")

    return measure


def count(table: str, row: str, column: str) -> Measure:
    """Measure one cell as it stands."""

    def measure(tables: Tables) -> Measured | None:
        number = tables[table].number(row, column) if table in tables else None
        return None if number is None else Measured(number)

    return measure


def _budgets() -> tuple[Budget, ...]:
    pyinit, pyspawn, bare = contenders.PYINIT, contenders.PYSPAWN, contenders.BARE
    budgets = [
        Budget("start as PID 1 / bare", "start", ratio(start.PID1, pyinit, bare), 1.25),
        Budget("start not as PID 1 / bare", "start", ratio(start.CHILD, pyinit, bare), 1.6),
        Budget(
            "`pyspawn --init -- true` / two bare",
            "launch",
            ratio(launch.KEY, pyspawn, launch.TWO_BARE),
            1.5,
        ),
        *(
            Budget(
                f"`pyspawn --init -- true` / {what}",
                "launch",
                ratio(launch.KEY, pyspawn, contenders.oci_run("runc", usual=usual)),
                1.0,
                strict=True,
            )
            for what, usual in (("`runc run` of `runc spec`", True), ("minimal `runc run`", False))
        ),
        Budget("idle RSS / bare that waits", "idle", ratio(idle.RSS, pyinit, bare), 1.1),
        Budget("wake-ups when idle", "idle", count(idle.WAKEUPS, pyinit, idle.COUNT), 0),
        Budget("forwarded signal / tini", "forward", ratio(forward.KEY, pyinit, "tini"), 1.5),
    ]
    for kind in (reap.STREAM, reap.BURST):
        wall, zombies = f"{kind} {reap.WALL}", f"{kind} {reap.ZOMBIES}"
        budgets += [
            Budget(f"reaping, {kind}, wall / tini", "reap", ratio(wall, pyinit, "tini"), 1.05),
            Budget(f"reaping, {kind}, zombies", "reap", count(zombies, pyinit, reap.ZOMBIES), 0),
        ]
    for row in (pyspawn, contenders.PYSPAWN_PID1):
        budgets.append(Budget(f"SIGTERM lost, {row}", "loss", count(loss.KEY, row, loss.LOST), 0))
    return tuple(budgets)


BUDGETS = _budgets()


def judge(tables: Tables, experiments: list[str]) -> tuple[Table, bool]:
    """Return the table of the budgets of these experiments, and whether all were kept."""
    rows = {}
    kept = True
    for budget in BUDGETS:
        if budget.experiment in experiments:
            value, between, verdict = budget.verdict(tables)
            limit = f"{'<' if budget.strict else '<='} {budget.limit:g}"
            rows[budget.what] = (value, between, limit, verdict)
            kept = kept and verdict == "kept"
    return Table("budgets", "budgets", ("measured", "95 %", "limit", "verdict"), rows), kept
