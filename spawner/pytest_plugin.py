"""A pytest plugin: tests, or parts of them, in namespaces of their own.

Opt in by `-p spawner.pytest_plugin`, or by `pytest_plugins = ["spawner.pytest_plugin"]` in the
top conftest.py. Then the fixture `isolated` calls functions and runs commands isolated, and the
mark `isolated` puts a whole test function in namespaces of its own. See docs/api.md.
"""

from __future__ import annotations

import functools
import inspect
import unittest
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest

import spawner
from spawner import isolate, keywords
from spawner.isolate import IsolatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import ParamSpec, TypeVar

    from spawner.keywords import Command

    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = ["Isolated", "IsolatedError", "isolated"]

_NAMES = ("unshare", "share", "unshare_try")
_known: pytest.StashKey[dict[str, str | None]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare what a configuration file can say."""
    for name in _NAMES:
        parser.addini(f"isolated_{name}", f"{name}= of every isolated call", "args", [])
    parser.addini("isolated_timeout", "seconds that an isolated call may take", "string", "")
    parser.addini(
        "isolated_unavailable",
        "fail or skip a test whose namespaces this machine refuses",
        "string",
        "fail",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark, and check what the configuration says."""
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


def _timeout(config: pytest.Config) -> float | None:
    text = config.getini("isolated_timeout")
    return keywords.duration("isolated_timeout", float(text)) if text else None


_VERDICTS: dict[str, type[Exception]] = {
    word: cast("type[Exception]", getattr(pytest, word).Exception)
    for word in ("skip", "fail", "xfail", "exit")
}
"""What pytest.skip() and its like raise; it doesn't pickle."""


def _judged(
    function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> tuple[str | None, Any]:
    """Call a function; return its result, or after which word of pytest's, and what it said."""
    try:
        return None, function(*args, **kwargs)
    except tuple(_VERDICTS.values()) as error:
        verdict = next(word for word, kind in _VERDICTS.items() if isinstance(error, kind))
        return verdict, getattr(error, "msg", str(error))


class Isolated:
    """What the fixture `isolated` is: called with a function and its arguments, it isolates that.

    `options` are the parameters of `spawner.run` that make the namespaces, from the marks and the
    configuration, and `timeout` is in seconds. `missing` says why optional namespaces were not
    there, the last time.
    """

    def __init__(self, options: Mapping[str, Any], timeout: float | None) -> None:
        self.options = dict(options)
        self.timeout = timeout
        self.missing: dict[str, str] = {}

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a forked process in namespaces of its own; return what it returns.

        What it raises is raised here, with its traceback as a note. What it changes is changed in
        the fork only. Raises IsolatedError where the result or the exception can't be pickled, or
        where the process ended by itself, and subprocess.TimeoutExpired.
        """
        __tracebackhide__ = True
        if inspect.iscoroutinefunction(function):
            raise TypeError("a coroutine can't be awaited elsewhere: pass lambda: asyncio.run(...)")
        (verdict, value), self.missing = isolate.call(
            functools.wraps(function)(lambda: _judged(function, *args, **kwargs)),
            timeout=self.timeout,
            options=self.options,
        )
        if verdict is not None:
            raise _VERDICTS[verdict](value)
        result: T = value
        return result

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
    """Return what isolates for a test; skip or fail it where the machine can't."""
    options: dict[str, Any] = {}
    for name in _NAMES:
        if found := item.config.getini(f"isolated_{name}"):
            options[name] = found
    timeout = _timeout(item.config)
    for mark in reversed(list(item.iter_markers("isolated"))):  # the nearest comes last, and wins
        if mark.args:
            pytest.fail("the mark isolated takes names: isolated(unshare='net')", pytrace=False)
        options |= mark.kwargs
        timeout = options.pop("timeout", timeout)
    reason = _refusal(item.config, options)
    if reason is not None:
        _leave(item.config, reason)
    return Isolated(options, timeout)


def _refusal(config: pytest.Config, options: Mapping[str, Any]) -> str | None:
    """Return why this machine makes no such namespaces, None where it does; asked once for each."""
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
            known[key] = f"isolated: this machine refuses: {error}{hint}"
    return known[key]


def _leave(config: pytest.Config, reason: str) -> NoReturn:
    if config.getini("isolated_unavailable") == "skip":
        pytest.skip(reason)
    pytest.fail(reason, pytrace=False)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse the mark where nothing would come of it: a test never runs un-isolated by mistake."""
    if item.get_closest_marker("isolated") is None:
        return
    case = getattr(item, "cls", None)
    if not isinstance(item, pytest.Function) or (
        isinstance(case, type) and issubclass(case, unittest.TestCase)
    ):
        pytest.fail("the mark isolated is for test functions of pytest's", pytrace=False)
    if inspect.iscoroutinefunction(item.obj):
        pytest.fail("a coroutine can't be isolated: call asyncio.run in the test", pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is marked, and doesn't take the fixture, isolated as a whole."""
    __tracebackhide__ = True
    # As pytest has it: no parameter with a default, and none that mock.patch fills.
    names = pyfuncitem._fixtureinfo.argnames
    if pyfuncitem.get_closest_marker("isolated") is None or "isolated" in names:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    @functools.wraps(pyfuncitem.obj)
    def test() -> None:
        pyfuncitem.obj(**arguments)

    _isolated(pyfuncitem)(test)
    return True
