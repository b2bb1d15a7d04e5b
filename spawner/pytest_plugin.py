"""A pytest plugin that runs tests, or parts of them, in namespaces of their own.

Opt in by `-p spawner.pytest_plugin`, or by `pytest_plugins = ["spawner.pytest_plugin"]` in the
top conftest.py. Then the fixture `isolated` calls functions and runs commands isolated, and the
mark `isolated` puts a whole test function in namespaces of its own. See docs/api.md.

A test that runs isolated as a whole is reported as it would be without: its report is made in the
isolated process, where its frames are, and debuggers get it there. What else it leaves in memory
comes back by `brought`.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import linecache
import unittest
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest
from _pytest.runner import check_interactive_exception

import spawner
from spawner.api import brought, isolate, keywords, laststack
from spawner.api.isolate import IsolatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from types import FrameType, TracebackType
    from typing import ParamSpec, TypeVar

    from spawner.api.signatures import Command

    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = ["Isolated", "IsolatedError", "isolated"]

_NAMES = ("unshare", "share", "unshare_try")
_told: pytest.StashKey[brought.Told] = pytest.StashKey()
_known: pytest.StashKey[dict[str, str | None]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of the configuration file."""
    for name in _NAMES:
        parser.addini(f"isolated_{name}", f"{name}= for every isolated call", "args", [])
    parser.addini("isolated_timeout", "seconds that an isolated call may take", "string", "")
    parser.addini(
        "isolated_unavailable",
        "fail or skip a test whose namespaces this host refuses",
        "string",
        "fail",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark, and check the configuration."""
    config.addinivalue_line(
        "markers",
        "isolated(timeout=None, **options): run the test in namespaces of its own, or choose those "
        "of the fixture `isolated`; options are those of spawner.run.",
    )
    config.stash[_known] = {}
    if config.getini("isolated_unavailable") not in ("fail", "skip"):
        raise pytest.UsageError("isolated_unavailable is fail or skip")
    try:
        _timeout(config)
    except ValueError as error:
        raise pytest.UsageError(f"isolated_timeout: {error}") from None
    config.pluginmanager.register(_NoSecondLook())


class _NoSecondLook:
    """A report that keeps debuggers from entering for a failure a second time."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        told = item.stash.get(_told, None)
        if call.when == "call" and told is not None and told.debugged:
            call.excinfo = None
            vars(report)["_pdbshown"] = True  # else it's shown at the end, too
        return report


def _timeout(config: pytest.Config) -> float | None:
    text = config.getini("isolated_timeout")
    return keywords.duration("isolated_timeout", float(text)) if text else None


_VERDICTS: dict[str, type[Exception]] = {
    word: cast("type[Exception]", getattr(pytest, word).Exception)
    for word in ("skip", "xfail", "fail", "exit")  # an xfail is a fail, too
}
"""The exceptions behind pytest.skip() and its like, which can't be pickled."""


def _judged(function: Callable[[], T]) -> tuple[str | None, Any]:
    """Call a function; return its result, or pytest's own exception that it raised."""
    __tracebackhide__ = True
    try:
        return None, function()
    except tuple(_VERDICTS.values()) as error:
        verdict = next(word for word, kind in _VERDICTS.items() if isinstance(error, kind))
        return verdict, getattr(error, "msg", str(error))


class Isolated:
    """The type of the fixture `isolated`, by which tests call functions in new namespaces.

    `options` are the parameters of `spawner.run` that make the namespaces, from the marks and the
    configuration, and `timeout` is in seconds. `missing` says why optional namespaces were not
    there, the last time.
    """

    def __init__(
        self, options: Mapping[str, Any], timeout: float | None, item: pytest.Item
    ) -> None:
        self.options = dict(options)
        self.timeout = timeout
        self.missing: dict[str, str] = {}
        self._item = item

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a forked process in namespaces of its own; return what it returns.

        What it raises is raised here, with its traceback as a note. What it changes is changed in
        the fork only. Raises IsolatedError where the result or the exception can't be pickled, or
        where the process ended by itself, and subprocess.TimeoutExpired.
        """
        __tracebackhide__ = True
        if inspect.iscoroutinefunction(function):
            raise TypeError(
                "a coroutine can't be awaited in another process: pass lambda: asyncio.run(...)"
            )
        result: T = self._call(functools.wraps(function)(lambda _: function(*args, **kwargs)))
        return result

    def _call(self, function: Callable[[brought.Packing], Any]) -> Any:
        """Call a function in new namespaces, and hand what it leaves in memory to pytest."""
        __tracebackhide__ = True
        packing = brought.Packing(self._item)

        def packed() -> tuple[bytes, brought.Luggage]:
            with packing.gathering():
                outcome = isolate.outcome(lambda: _judged(lambda: function(packing)))
            return outcome, packing.packed()

        (outcome, luggage), self.missing = isolate.call(
            functools.wraps(function)(packed),
            timeout=self.timeout,
            options=self.options,
            on_pause=self._stop_clocks,
        )
        reports = brought.unpack(luggage, self._item)
        if luggage.told is not None:
            self._item.stash[_told] = luggage.told
        verdict, value = isolate.result(outcome)
        if verdict is not None:
            raise _VERDICTS[verdict](value)
        if failed := sum(report.failed for report in reports):
            _fail(f"contains {failed} failed subtest{'s' * (failed > 1)}")
        return value

    def _stop_clocks(self) -> None:
        """Stop all time-outs while a test is being debugged, also those of pytest-timeout."""
        cancel = getattr(self._item.ihook, "pytest_timeout_cancel_timer", None)
        if cancel is not None:
            cancel(item=self._item)

    def run(self, args: Command, **options: Any) -> spawner.CompletedProcess[Any]:
        """Run a command isolated, as `spawner.run`; `options` add to those that are set."""
        wanted: dict[str, Any] = {"timeout": self.timeout, **self.options, **options}
        ended = spawner.run(args, **wanted)
        self.missing = ended.missing
        return ended


@pytest.fixture
def isolated(request: pytest.FixtureRequest) -> Isolated:
    """Call functions and run commands in namespaces of their own."""
    return _isolated(request.node)


def _isolated(item: pytest.Item) -> Isolated:
    """Return the Isolated for a test; skip or fail the test if the host refuses."""
    options: dict[str, Any] = {}
    for name in _NAMES:
        if found := item.config.getini(f"isolated_{name}"):
            options[name] = found
    timeout = _timeout(item.config)
    for mark in reversed(list(item.iter_markers("isolated"))):  # the nearest comes last, and wins
        if mark.args:
            pytest.fail("the mark isolated needs keywords: isolated(unshare='net')", pytrace=False)
        options |= mark.kwargs
        timeout = options.pop("timeout", timeout)
    reason = _refusal(item.config, options)
    if reason is not None:
        _leave(item.config, reason)
    return Isolated(options, timeout, item)


def _refusal(config: pytest.Config, options: Mapping[str, Any]) -> str | None:
    """Return why this host refuses such namespaces, or None; tested once for each choice."""
    known = config.stash[_known]
    key = repr(sorted(options.items()))
    if key not in known:
        known[key] = None
        try:
            with isolate.hold(options) as container:
                container.kill()
        except (spawner.SpecError, TypeError) as error:
            pytest.fail(f"isolated: {error}", pytrace=False)
        except spawner.SetupError as error:
            hint = f"\nhint: {error.hint}" if error.hint else ""
            known[key] = f"isolated: this host refuses: {error}{hint}"
    return known[key]


def _fail(reason: str) -> NoReturn:
    """Fail a test with a message only."""
    pytest.fail(reason, pytrace=False)


def _leave(config: pytest.Config, reason: str) -> NoReturn:
    if config.getini("isolated_unavailable") == "skip":
        raise pytest.skip.Exception(reason, _use_item_location=True)
    pytest.fail(reason, pytrace=False)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse the mark `isolated` where it would have no effect."""
    if item.get_closest_marker("isolated") is None:
        return
    case = getattr(item, "cls", None)
    if not isinstance(item, pytest.Function) or (
        isinstance(case, type) and issubclass(case, unittest.TestCase)
    ):
        pytest.fail("the mark isolated is only for pytest's test functions", pytrace=False)
    if inspect.iscoroutinefunction(item.obj):
        pytest.fail("a coroutine can't be isolated: call asyncio.run in the test", pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test with the mark `isolated` as a whole in new namespaces."""
    __tracebackhide__ = True
    if (
        pyfuncitem.get_closest_marker("isolated") is None
        or "isolated" in pyfuncitem._fixtureinfo.argnames
    ):
        return None
    if _told in pyfuncitem.stash:  # of an earlier run
        del pyfuncitem.stash[_told]
    isolated = _isolated(pyfuncitem)
    try:
        isolated._call(functools.wraps(pyfuncitem.obj)(functools.partial(_observed, pyfuncitem)))
    except spawner.SpecError as error:
        nonsense = str(error)
    except (IsolatedError, TimeoutExpired) as error:
        if not _leads_out(error.__traceback__):  # so that at least the function is shown
            error.__traceback__ = laststack.rebuilt([_beginning(pyfuncitem)])
        raise
    else:
        return True
    _fail(f"isolated: {nonsense}")


def _leads_out(trace: TracebackType | None) -> bool:
    """Tell whether the innermost frame of a traceback is outside this package."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and not _is_ours(trace.tb_frame)


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("spawner.")


def _beginning(item: pytest.Function) -> laststack.Place:
    """Return the line where a test function is defined, below its decorators."""
    path, line, _ = item.reportinfo()
    below = linecache.getlines(str(path))[line or 0 :]
    decorators = itertools.takewhile(lambda text: "def " not in text, below)
    return laststack.Place(str(path), (line or 0) + 1 + len([*decorators]), item.originalname)


def _observed(item: pytest.Function, packing: brought.Packing) -> None:
    """Call a test function in the isolated process; keep pytest's report if it fails."""
    __tracebackhide__ = True
    python: Any = item.config.pluginmanager.getplugin("python")
    if item.config.getoption("trace", False):
        isolate.pause()
    call = pytest.CallInfo.from_call(lambda: python.pytest_pyfunc_call(item), "call")
    if call.excinfo is None:
        return
    error = call.excinfo.value
    debugging = item.config.getoption("usepdb", False)
    if isinstance(error, pytest.exit.Exception if debugging else _ENDS):
        raise error
    make = item.ihook.pytest_runtest_makereport if debugging else _REPORT
    report = make(item=item, call=call)
    debugged = debugging and check_interactive_exception(call, report)
    quits = None
    if debugged:
        try:
            item.ihook.pytest_exception_interact(node=item, call=call, report=report)
        except pytest.exit.Exception as quitting:
            quits = quitting.msg
    packing.told = brought.Told(brought.written(item, report), debugged, quits)
    raise error


_REPORT = pytest.TestReport.from_item_and_call
_ENDS = (pytest.exit.Exception, KeyboardInterrupt)
"""Exceptions that end all of pytest, without a report."""


def pytest_enter_pdb() -> None:
    """Stop the time-outs while a debugger runs."""
    isolate.pause()


def pytest_leave_pdb() -> None:
    """Restart the time-outs when debugging ends."""
    isolate.resume()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Use the report from the isolated process for a test that ran there."""
    report = yield
    told = item.stash.get(_told, None)
    if call.when == "call" and told is not None:
        there = brought.read(item, told.report)
        if there.outcome == report.outcome:  # else another plugin has judged it
            report.longrepr = there.longrepr
        if told.quits is not None:
            item.session.shouldstop = told.quits
    return report
