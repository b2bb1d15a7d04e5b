"""The tables at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from enginetest.breaks import BREAKS
from enginetest.findings import Finding, Init, Verdict, judge
from enginetest.measure import Figures, median, quartiles
from enginetest.promises import PROMISES

KERNEL = "kernel"
"""The name of what has no containers: a machine that boots."""

INITS = (Init.PYINIT, Init.NONE, Init.ENGINE, Init.PAUSE)


@dataclass
class Column:
    """What was found under one engine, or why nothing was."""

    name: str
    about: str = ""
    found: dict[str, dict[Init, Finding]] = field(default_factory=dict)
    """By the promise's key."""
    extras: dict[str, Finding] = field(default_factory=dict)
    """What only this one was asked."""
    figures: Figures | None = None
    missing: str | None = None
    """Why it could not be looked at."""
    failure: str | None = None
    """What went wrong beside the checks."""

    def verdict(self, key: str, broken_without: bool) -> Verdict:
        """Judge one promise."""
        if self.missing is not None or key not in self.found:
            return Verdict.SKIPPED
        return judge(self.found[key], broken_without)

    def skip_reason(self) -> str:
        """Return why promises were skipped."""
        return self.missing or self.failure or "not looked at"


def lay_out(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows in aligned columns, the first row as the heads."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def verdicts(columns: Sequence[Column]) -> str:
    """Return the table of promise by engine, with the reasons of what was skipped below."""
    rows = [["promise", *(column.name for column in columns)]]
    reasons: dict[str, list[str]] = {}
    for promise in PROMISES:
        row = [promise.text]
        for column in columns:
            verdict = column.verdict(promise.key, promise.broken_without)
            row.append(verdict.value)
            if verdict is Verdict.SKIPPED:
                reason = f"{column.name}: {column.skip_reason()}"
                reasons.setdefault(reason, []).append(promise.text)
        rows.append(row)
    text = lay_out(rows)
    for reason, promises in reasons.items():
        which = "everything" if len(promises) == len(PROMISES) else "; ".join(promises)
        text += f"\n  skipped: {reason} ({which})"
    return text


def details(columns: Sequence[Column]) -> str:
    """Return what was seen: for each promise and engine, with each kind of PID 1."""
    blocks = []
    for promise in PROMISES:
        lines = []
        for column in columns:
            seen = column.found.get(promise.key, {})
            for init in INITS:
                one = seen.get(init)
                if one is not None:
                    lines.append(["  " + column.name, init.value, one.detail])
        if lines:
            width = [max(len(line[i]) for line in lines) for i in (0, 1)]
            body = "\n".join(
                f"{line[0].ljust(width[0])}  {line[1].ljust(width[1])}  {line[2]}" for line in lines
            )
            blocks.append(f"{promise.text}\n{body}")
    for column in columns:
        if column.extras:
            rows = "\n".join(
                f"  {name}: {'kept' if one.kept else 'NOT KEPT'}, {one.detail}"
                for name, one in column.extras.items()
            )
            blocks.append(f"{column.name}, besides\n{rows}")
    return "\n\n".join(blocks)


def stops(columns: Sequence[Column]) -> str:
    """Return the table of stop times."""
    rows = [["seconds", *(init.value for init in INITS)]]
    for column in columns:
        if column.figures:
            times = column.figures.stops
            cells = [
                f"{median(times[init]):.2f} (n={len(times[init])})" if init in times else "-"
                for init in INITS
            ]
            rows.append([column.name, *cells])
    return lay_out(rows)


def costs(columns: Sequence[Column]) -> str:
    """Return the table of what an init adds: bytes, and milliseconds from start to end.

    What is added is told of the rounds: the middle of the differences within each, and their
    quartiles, so that the machine's moods can be told from what an init costs.
    """
    heads = ["", "init", "image bytes", "start to end, ms", "added, ms", "quartiles"]
    rows = [heads]
    for column in columns:
        if column.figures:
            bare = column.figures.starts["no init"]
            for number, (name, samples) in enumerate(column.figures.starts.items()):
                size = column.figures.sizes.get(name)
                row = [column.name if number == 0 else "", name, f"{size:,}" if size else "-"]
                row.append(f"{median(samples) * 1000:.0f}")
                if number:
                    added = [(one - other) * 1000 for one, other in zip(samples, bare, strict=True)]
                    low, middle, high = quartiles(added)
                    row += [f"{middle:+.0f}", f"{low:+.0f} to {high:+.0f}"]
                else:
                    row += ["", ""]
                rows.append(
                    row[:2] + [c.rjust(len(h)) for c, h in zip(row, heads, strict=True)][2:]
                )
    return lay_out(rows)


def kept(columns: Sequence[Column], *, skips_allowed: bool) -> bool:
    """Tell whether everything that was looked at is as promised."""
    for column in columns:
        if column.failure or (column.missing is not None and not skips_allowed):
            return False
        if not all(one.kept for one in column.extras.values()):
            return False
        for promise in PROMISES:
            verdict = column.verdict(promise.key, promise.broken_without)
            asked = column.missing is None and not (promise.of_engines and column.name == KERNEL)
            if asked and verdict is not Verdict.KEPT:
                return False
    return True


def broken(column: Column) -> set[str]:
    """Return the keys of the promises that are not kept."""
    return {
        promise.key
        for promise in PROMISES
        if column.verdict(promise.key, promise.broken_without) is Verdict.NOT_KEPT
    }


def breaks(columns: Sequence[Column], name: str) -> bool:
    """Tell whether a break broke just the promises that it should, under every engine."""
    return all(
        not column.failure and broken(column) == BREAKS[name].expected(column.name)
        for column in columns
    )


def breakage(columns: Sequence[Column], name: str) -> str:
    """Return, for each engine, how what is broken differs from what should be."""
    lines = []
    for column in columns:
        wanted, found = BREAKS[name].expected(column.name), broken(column)
        said = [f"kept nevertheless: {', '.join(sorted(wanted - found))}"] if wanted - found else []
        said += [f"broken besides: {', '.join(sorted(found - wanted))}"] if found - wanted else []
        lines.append(f"  {column.name}: {'; '.join(said) or 'just what hangs on it is not kept'}")
    return "\n".join(lines)


def text(columns: Sequence[Column]) -> str:
    """Return the whole report."""
    parts = ["\n".join(f"{column.name}: {column.about}" for column in columns if column.about)]
    parts += ["What was seen", details(columns)]
    if any(column.figures for column in columns):
        parts += ["The median time of a stop, for a Python service without signal handlers"]
        parts += [stops(columns)]
        parts += ["What an init adds to an image, and to each start (`true`, run to its end)"]
        parts += [costs(columns)]
    parts += ["Promise by engine", verdicts(columns)]
    failures = [f"{column.name}: {column.failure}" for column in columns if column.failure]
    return "\n\n".join([*parts, *failures])
