"""Bring an isolated test's logs, warnings, output and coverage back to pytest's process.

`Luggage` is packed in the isolated process and unpacked in pytest's own: warnings, log records,
output that is captured in memory, reports of subtests, properties of the test, and the lines that
coverage.py has seen. All of it pickles: where something doesn't, its text comes in its place.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import pickle
import sys
import warnings
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from _pytest.logging import LogCaptureHandler

if TYPE_CHECKING:
    from collections.abc import Iterator

_STREAMS = ("stdout", "stderr")


class Luggage(NamedTuple):
    """What an isolated test leaves in memory, as it is sent to pytest's process."""

    warnings: list[tuple[Any, ...]]
    records: list[logging.LogRecord]
    output: dict[str, str]
    reports: list[dict[str, Any]]
    properties: list[tuple[str, Any]]
    coverage: bytes
    told: Told | None


class Told(NamedTuple):
    """How a test ended: pytest's report in serializable form.

    `debugged` says that debuggers had their turn, and `quits` what whoever quit one of them said.
    """

    report: dict[str, Any]
    debugged: bool
    quits: str | None


class Packing:
    """Collects what an isolated function leaves in memory."""

    told: Told | None = None

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._warnings: list[tuple[Any, ...]] = []
        self._log = _Log()
        self._reports: list[dict[str, Any]] = []
        self._properties = len(item.user_properties)
        self._written = {name: _length(getattr(sys, name)) for name in _STREAMS}
        self._coverage = _Coverage()

    @contextlib.contextmanager
    def gathering(self) -> Iterator[None]:
        """Collect while the test runs in the isolated process, which ends afterwards."""
        show: Any = warnings.showwarning

        def shown(*details: Any) -> None:
            message, category, *place = details[:4]
            self._warnings.append((_portable_warning(message, category), *place))
            show(*details)

        warnings.showwarning = shown  # type: ignore[assignment]
        hooks: Any = self._item.config.pluginmanager.hook
        hooks.pytest_runtest_logreport = self._reported  # nobody else is to hear it here
        root = logging.getLogger()
        if _capturing():  # without a handler, logging has one of last resort
            root.addHandler(self._log)
        self._coverage.begin()
        try:
            yield
        finally:
            root.removeHandler(self._log)

    def _reported(self, report: pytest.TestReport) -> None:
        self._reports.append(written(self._item, report))

    def packed(self) -> Luggage:
        """Return all that was collected."""
        output = {name: _since(getattr(sys, name), self._written[name]) for name in _STREAMS}
        properties = [
            (name, value if _pickles(value) else repr(value))
            for name, value in self._item.user_properties[self._properties :]
        ]
        return Luggage(
            self._warnings,
            self._log.records,
            output,
            self._reports,
            properties,
            self._coverage.taken(),
            self.told,
        )


def unpack(luggage: Luggage, item: pytest.Item) -> list[pytest.TestReport]:
    """Hand everything collected to pytest in this process; return the subtests' reports."""
    if _are_recorded():
        for (message, category), filename, line in luggage.warnings:
            warnings.showwarning(message, category, filename, line)
    for record in luggage.records:
        for handler in _capturing():
            if record.levelno >= handler.level:
                handler.handle(record)
    for name, text in luggage.output.items():
        _write(getattr(sys, name), text)
    item.user_properties.extend(luggage.properties)
    _add_coverage(luggage.coverage)
    return [_report(item, data) for data in luggage.reports]


def written(item: pytest.Item, report: pytest.TestReport) -> dict[str, Any]:
    """Return a report in the form that pytest sends between processes."""
    write = item.config.hook.pytest_report_to_serializable
    data: dict[str, Any] = write(config=item.config, report=report)
    return data


def read(item: pytest.Item, data: dict[str, Any]) -> pytest.TestReport:
    """Return the report that `written` has serialized."""
    hook = item.config.hook.pytest_report_from_serializable
    report: pytest.TestReport = hook(config=item.config, data=data)
    return report


def _report(item: pytest.Item, data: dict[str, Any]) -> pytest.TestReport:
    """Report a subtest to pytest as if it hadn't been isolated."""
    report = read(item, data)
    capture = item.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        item.ihook.pytest_runtest_logreport(report=report)
    return report


def _are_recorded() -> bool:
    """Tell whether warnings are recorded in a list, as by pytest, and not printed to stderr."""
    return not isinstance(getattr(warnings, "_showwarnmsg_impl", None), FunctionType)


def _pickles(value: Any) -> bool:
    try:
        pickle.loads(pickle.dumps(value))  # noqa: S301  what was pickled here
    except Exception:  # noqa: BLE001  pickle calls what others wrote
        return False
    return True


def _portable_warning(message: Any, category: type[Warning]) -> tuple[Any, type[Warning]]:
    """Return a warning that can be pickled, if need be as a more general class of warning."""
    if _pickles((message, category)):
        return message, category
    text = f"{category.__name__}: {message}"
    for kind in category.__mro__:
        with contextlib.suppress(Exception):  # it may take other arguments
            if _pickles((made := kind(text), kind)):
                return made, kind
    return Warning(text), Warning


def _capturing() -> list[LogCaptureHandler]:
    """Return the handlers by which pytest captures what is logged."""
    handlers = logging.getLogger().handlers
    return [handler for handler in handlers if isinstance(handler, LogCaptureHandler)]


class _Log(logging.Handler):
    """Keeps log records in a form that pickles, as logging.handlers.QueueHandler does."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        record = copy.copy(record)
        if record.exc_info:
            record.exc_text = record.exc_text or logging.Formatter().formatException(
                record.exc_info
            )
            record.exc_info = None
        if not _pickles(vars(record)):
            record.msg, record.args = record.getMessage(), None
            for name, value in list(vars(record).items()):
                if not _pickles(value):
                    setattr(record, name, repr(value))
        self.records.append(record)


def _memory(stream: Any) -> io.BytesIO | io.StringIO | None:
    """Return the buffer that keeps a stream's text, None if it isn't kept in memory."""
    if isinstance(stream, io.StringIO):
        return stream
    buffer = stream.buffer if isinstance(stream, io.TextIOWrapper) else None
    return buffer if isinstance(buffer, io.BytesIO) else None


def _length(stream: Any) -> int:
    memory = _memory(stream)
    return 0 if memory is None or memory.closed else len(memory.getvalue())


def _since(stream: Any, length: int) -> str:
    """Return what was added to a buffer after its first `length` characters."""
    memory = _memory(stream)
    if memory is None or memory.closed or stream.closed:
        return ""
    stream.flush()
    value = memory.getvalue()
    added = value[length if length <= len(value) else 0 :]
    return added if isinstance(added, str) else added.decode(stream.encoding, "replace")


def _write(stream: Any, text: str) -> None:
    """Write to the buffer in memory only, since a tee has written to the real stream already."""
    if text and (memory := _memory(stream)) is not None:
        (io.StringIO if memory is stream else io.TextIOWrapper).write(stream, text)


def _measuring() -> Any:
    """Return the coverage.Coverage object that measures this process, or None."""
    coverage = sys.modules.get("coverage")
    current = coverage and coverage.Coverage.current()
    # What is its own affair may change: then it is left alone, and measures none of this.
    if any(getattr(current, name, None) is None for name in ("_collector", "_data")):
        return None
    return current


class _Coverage:
    """Coverage.py's measurement of an isolated process, started anew in memory after the fork.

    Its file would be written over there by the first thing that it has to write down.
    """

    def __init__(self) -> None:
        if current := _measuring():
            import sqlite3.dump  # noqa: F401  else it's imported after the fork

            current._collector.flush_data()

    def begin(self) -> None:
        if current := _measuring():
            data = sys.modules["coverage"].CoverageData(no_disk=True)
            data.set_context(getattr(current._data, "_current_context", None))
            current._data = current._collector.covdata = data

    def taken(self) -> bytes:
        current = _measuring()
        if not current:
            return b""
        current._collector.flush_data()
        data: bytes = current._data.dumps()
        return data


def _add_coverage(packed: bytes) -> None:
    """Add the measurement of an isolated process to that of this process."""
    current = _measuring()
    if not packed or not current:
        return
    data = sys.modules["coverage"].CoverageData(no_disk=True)
    data.loads(packed)
    current._data.update(data)
    data.close(force=True)
