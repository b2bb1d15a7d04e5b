"""Tables of results: medians with their spread, ratios, and how they are printed."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_DRAWS = 1000

Cell = float | int | str | None


@dataclass(frozen=True)
class Table:
    """Named rows of cells under named columns, with the samples behind them."""

    key: str
    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[Cell, ...]]
    notes: tuple[str, ...] = ()
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def number(self, row: str, column: str) -> float | None:
        """Return one cell, or None where there is no such row or no number in it."""
        if row not in self.rows:
            return None
        cell = self.rows[row][self.columns.index(column)]
        return None if isinstance(cell, str) else cell


def of_samples(
    key: str,
    title: str,
    samples: Mapping[str, Sequence[float]],
    base: str,
    notes: Sequence[str] = (),
) -> Table:
    """Make a table of medians, quartiles, and the ratio of the medians to that of row `base`."""
    medians = {row: statistics.median(values) for row, values in samples.items()}
    rows: dict[str, tuple[Cell, ...]] = {}
    for row, values in samples.items():
        low, high = quartiles(values)
        ratio = medians[row] / medians[base] if medians.get(base) else None
        rows[row] = (medians[row], low, high, len(values), ratio)
    columns = ("median", "25 %", "75 %", "n", f"x {base}")
    return Table(key, title, columns, rows, tuple(notes), samples)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the lower and the upper quartile."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def ratio_of_medians(
    ours: Sequence[float], theirs: Sequence[float]
) -> tuple[float, tuple[float, float]]:
    """Return the ratio, and between what other runs like this would have it, 19 times in 20.

    The latter by bootstrap: the same samples drawn again and again, with replacement.
    """
    chance = random.Random(0)  # the same figures from the same samples
    drawn = sorted(
        statistics.median(chance.choices(ours, k=len(ours)))
        / statistics.median(chance.choices(theirs, k=len(theirs)))
        for _ in range(_DRAWS)
    )
    edge = _DRAWS // 40
    return statistics.median(ours) / statistics.median(theirs), (drawn[edge], drawn[-edge - 1])


def text(cell: Cell) -> str:
    """Format one cell: whole numbers as they are, others with two decimals."""
    if cell is None:
        return "-"
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def render(table: Table) -> str:
    """Lay the table out in aligned columns under its title."""
    lines = [["", *table.columns]]
    lines += [[row, *map(text, cells)] for row, cells in table.rows.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    laid_out = [
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        ).rstrip()
        for line in lines
    ]
    return "\n".join([table.title, *("  " + line for line in (*laid_out, *table.notes))])
