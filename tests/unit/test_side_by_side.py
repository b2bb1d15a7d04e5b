"""The tests in several processes: what is told of them is what one process would tell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SEVERAL = "--processes=3"


@pytest.fixture(autouse=True)
def _own_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


def told(pytester: pytest.Pytester, code: str, *options: str) -> list[str]:
    """Return the lines that pytest prints, without what differs from run to run."""
    pytester.makepyfile(code)
    ended = pytester.runpytest_subprocess("-p", "helpers.side_by_side", "-rA", *options)
    return [re.sub(r" in [\d.]+s\b|runpytest-\d", "", line).strip(" =") for line in ended.outlines]


MANY = """
import os, pytest, sys, time

@pytest.mark.parametrize("number", range(40))
def test_one_of_many(number, tmp_path):
    if number == 3:
        time.sleep(0.1)  # so that others are done before it
    print("out", number)
    print("error", number, file=sys.stderr)
    assert number % 20 != 7

@pytest.mark.parametrize("number", range(3))
def test_skipped(number):
    pytest.skip(f"because of {number}")

def test_that_fails_at_its_end(request):
    request.addfinalizer(lambda: os.stat("/none"))
"""


def test_it_tells_the_same_in_the_same_order(pytester: pytest.Pytester) -> None:
    several, alone = told(pytester, MANY, SEVERAL), told(pytester, MANY, "--processes=1")
    assert several[-1] == "2 failed, 39 passed, 3 skipped, 1 error"
    assert several == alone


def test_one_runs_beside_the_other_in_the_only_thread(pytester: pytest.Pytester) -> None:
    code = """
    import os, pytest, threading
    reader, writer = os.pipe()

    def test_that_waits():
        assert threading.active_count() == 1
        assert os.read(reader, 1) == b"."

    @pytest.mark.parametrize("number", range(9))  # a process takes a test ahead
    def test_that_is_waited_for(number):
        os.write(writer, b".")
    """
    assert told(pytester, code, SEVERAL)[-1] == "10 passed"


def test_a_process_that_dies_fails_its_test(pytester: pytest.Pytester) -> None:
    code = """
    import os, pytest

    @pytest.mark.parametrize("number", range(9))
    def test_one(number):
        if number == 4:
            os._exit(3)
    """
    lines = told(pytester, code, SEVERAL)
    assert "the process ended in this test: 3" in lines
    assert re.fullmatch("1 failed, 8 passed|2 failed, 7 passed", lines[-1])


def test_nothing_passes_where_all_processes_die(pytester: pytest.Pytester) -> None:
    code = """
    import os, pytest

    @pytest.mark.parametrize("number", range(9))
    def test_one(number):
        os._exit(3)
    """
    lines = told(pytester, code, SEVERAL)
    assert any("no process is left to run the other tests" in line for line in lines)
    assert lines[-1] == "6 failed"


def test_the_first_failure_ends_it_where_that_is_asked_for(pytester: pytest.Pytester) -> None:
    code = """
    import pytest

    @pytest.mark.parametrize("number", range(1000))
    def test_one(number):
        assert number != 4
    """
    lines = told(pytester, code, SEVERAL, "-x")
    assert any("stopping after 1 failures" in line for line in lines)
    assert lines[-1] == "1 failed, 4 passed"
