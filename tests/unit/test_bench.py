"""The benchmark measures in turns, judges by its budgets, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import packages
from hypothesis import given
from hypothesis import strategies as st

CHECKOUT = Path(__file__).parents[2]


packages.load(CHECKOUT / "bench")

from bench import budgets, start, table  # noqa: E402  from where it was just found
from bench.__main__ import EXPERIMENTS, parse  # noqa: E402
from bench.rounds import interleave  # noqa: E402
from bench.spawn import TrialFailed  # noqa: E402


def run_bench(*options: str, **popen: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *options],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **popen,  # type: ignore[call-overload]
    )


@given(st.lists(st.floats(0, 1e9), min_size=1))
def test_quartiles_hold_the_median_between_them(values: list[float]) -> None:
    samples = table.of_samples("key", "title", {"row": values}, "row")
    low, high = samples.number("row", "25 %"), samples.number("row", "75 %")
    median = samples.number("row", "median")
    assert low is not None
    assert high is not None
    assert median is not None
    assert min(values) <= low <= median * (1 + 1e-9)
    assert median <= high * (1 + 1e-9)
    assert high <= max(values)


def test_ratios_are_those_of_medians() -> None:
    made = table.of_samples("key", "title", {"a": [1, 2, 90], "b": [3, 3, 3]}, "a")
    assert made.number("b", "x a") == 1.5
    assert made.number("nobody", "median") is None


def test_the_ratio_lies_between_what_other_runs_would_have() -> None:
    ratio, (low, high) = table.ratio_of_medians([2.0, 2.1, 2.2, 2.3, 9.0], [1.0, 1.1, 1.2])
    assert ratio == 2.0
    assert low < ratio < high
    assert table.ratio_of_medians([3.0], [2.0]) == (1.5, (1.5, 1.5))


def test_a_table_is_aligned() -> None:
    made = table.Table("key", "title", ("n", "text"), {"a": (1, "yes"), "long": (22.5, None)})
    assert table.render(made).splitlines() == [
        "title",
        "            n  text",
        "  a         1   yes",
        "  long  22.50     -",
    ]


@pytest.mark.parametrize(
    ("ours", "strict", "verdict"),
    [
        (1.25, False, "kept"),
        (1.26, False, "MISSED"),
        (1.25, True, "MISSED"),
        (1.24, True, "kept"),
        (None, False, "MISSED (not measured)"),
    ],
)
def test_a_budget_is_kept_up_to_its_limit(ours: float | None, strict: bool, verdict: str) -> None:
    rows = {"bare": [1.0]} | ({"ours": [ours]} if ours is not None else {})
    tables = {"key": table.of_samples("key", "title", rows, "bare")}
    budget = budgets.Budget("what", "start", budgets.ratio("key", "ours", "bare"), 1.25, strict)
    assert budget.verdict(tables)[2] == verdict


def test_what_was_not_run_is_not_judged() -> None:
    verdicts, kept = budgets.judge({}, [])
    assert kept
    assert not verdicts.rows
    verdicts, kept = budgets.judge({}, ["start"])
    assert not kept
    assert len(verdicts.rows) == 2


def test_every_budget_names_an_experiment() -> None:
    assert {budget.experiment for budget in budgets.BUDGETS} <= set(EXPERIMENTS)


def test_trials_take_turns_and_the_failed_drop_out() -> None:
    calls: list[str] = []

    def trial(label: str, fails_at: int) -> Callable[[], int]:
        def run() -> int:
            calls.append(label)
            if calls.count(label) == fails_at:
                raise TrialFailed("no reason")
            return calls.count(label)

        return run

    notes: list[str] = []
    trials = {"a": trial("a", 99), "b": trial("b", 3), "c": trial("c", 99)}
    samples = interleave("test", 3, trials, notes)
    assert samples == {"a": [2, 3, 4], "c": [2, 3, 4]}
    assert notes == ["b: dropped out: no reason"]
    assert "".join(calls) == "cababcbcaac"


@pytest.mark.parametrize("word", ["0", "-1", "x"])
def test_rounds_are_a_positive_number(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--rounds", word])
    assert "--rounds" in capsys.readouterr().err


def test_a_run_measures_and_leaves_nothing(tmp_path: Path) -> None:
    json = tmp_path / "figures.json"
    with run_bench(
        *("--only", "start", "--rounds", "1", "--json", str(json)),
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as bench:
        said, errors = bench.communicate()
    assert bench.returncode == 0, errors
    assert start.CHILD in said
    assert "start not as PID 1 / bare" in said
    assert start.CHILD in json.read_text()
    assert list(tmp_path.iterdir()) == [json]


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with run_bench(
        *("--only", "idle"),
        env=os.environ | {"TMPDIR": str(tmp_path)},
        pass_fds=[writer],
    ) as bench:
        os.close(writer)
        assert bench.stdout
        while bench.stdout.readline().strip():
            pass
        bench.send_signal(signal.SIGINT)
        bench.communicate()
    assert bench.returncode == 130
    assert os.read(reader, 1) == b"", "whatever the bench started has inherited the pipe"
    os.close(reader)
    assert not list(tmp_path.iterdir())
