"""A plugin of pytest: run the tests in several processes, and tell of them as if it were one.

Most of a test is to wait for processes. pytest-xdist's workers have a second thread, which takes
signals that a test means for itself; and each collects all tests once more. So:

1. This process collects the tests, puts their numbers into a file, and forks. A read takes the next
   number from the others, too, since all share the file's offset.
2. A child runs the tests that it takes, in its only thread, and sends the reports of each. It takes
   one ahead, for pytest asks at the end of a test what the next one needs. At the end of the file
   it leaves.
3. This process hands the reports to pytest in the order of the tests. A child that ends in the
   midst of a test made it fail, and the one taken ahead, too.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe, wait
from typing import IO

import pytest
from _pytest.config import create_terminal_writer

from helpers import children

NUMBER = 4
"""The bytes of the number of a test in the file."""

PARTING = 5.0
"""Seconds that a process has to leave when all of it is broken off."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--processes",
        type=int,
        default=len(os.sched_getaffinity(0)) + 1,
        help="how many processes run the tests side by side",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the tests in several processes, if there are several; else leave it to pytest."""
    option = session.config.option
    processes = min(option.processes, len(session.items))
    if processes < 2 or session.testsfailed or option.collectonly or option.usepdb:
        return None
    with tempfile.TemporaryFile(buffering=0) as numbers:
        numbers.write(b"".join(n.to_bytes(NUMBER) for n in range(len(session.items))))
        numbers.seek(0)
        _Parent(session, numbers, processes).run()
    return True


class _Parent:
    """The process that tells of the tests; `running` are its children, by the pipes from them."""

    def __init__(self, session: pytest.Session, numbers: IO[bytes], processes: int) -> None:
        self._session = session
        self._numbers = numbers
        self._running: dict[Connection, int] = {}
        self._begun: dict[Connection, tuple[int, int | None]] = {}
        self._ended: dict[int, list[pytest.TestReport]] = {}
        self._order = iter(range(len(session.items)))
        self._next = next(self._order)
        # Made now, it's one directory for all.
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        # What is there now stays: no child looks through it for garbage, and copies it by that.
        gc.collect()
        gc.freeze()
        sys.stdout.flush()
        sys.stderr.flush()
        for _ in range(processes):
            self._fork()

    def _fork(self) -> None:
        reader, writer = Pipe(duplex=False)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for connection in (reader, *self._running):
                    connection.close()
                _Child(self._session, self._numbers, writer).run()
                status = 0
            except Exception:
                traceback.print_exc()
                raise
            finally:
                os._exit(status)
        writer.close()
        self._running[reader] = pid

    def run(self) -> None:
        """Listen to the children until all of them have left, and tell what they say."""
        try:
            while self._running:
                for connection in wait(list(self._running)):
                    assert isinstance(connection, Connection)
                    self._hear(connection)
                self._tell()
        finally:
            for pid in self._running.values():
                os.kill(pid, signal.SIGINT)
            children.wait_gone(self._running.values(), PARTING)
            children.kill_all()
        if self._session.shouldstop:
            raise self._session.Interrupted(self._session.shouldstop)
        if len(self._ended) < len(self._session.items) and not self._session.shouldfail:
            self._session.shouldfail = "no process is left to run the other tests"
        if self._session.shouldfail:
            raise self._session.Failed(self._session.shouldfail)

    def _hear(self, connection: Connection) -> None:
        try:
            number, following, reports = connection.recv()
        except EOFError:
            _, status = os.waitpid(self._running.pop(connection), 0)
            number, following = self._begun.pop(connection, (None, None))
            self._fail(
                number, f"the process ended in this test: {os.waitstatus_to_exitcode(status)}"
            )
            self._fail(following, "the process ended in the test before this one")
            return
        if reports is None:
            self._begun[connection] = number, following
            return
        del self._begun[connection]
        load = self._session.config.hook.pytest_report_from_serializable
        self._ended[number] = [load(config=self._session.config, data=data) for data in reports]

    def _fail(self, number: int | None, reason: str) -> None:
        if number is not None:
            item = self._session.items[number]
            report = pytest.TestReport(item.nodeid, item.location, {}, "failed", reason, "call")
            self._ended[number] = [report]

    def _tell(self) -> None:
        """Hand what is there, in the order of the tests, to pytest."""
        stop = self._session.shouldfail or self._session.shouldstop
        while not stop and self._next in self._ended:
            item = self._session.items[self._next]
            told = {"nodeid": item.nodeid, "location": item.location}
            item.ihook.pytest_runtest_logstart(**told)
            for report in self._ended[self._next]:
                item.ihook.pytest_runtest_logreport(report=report)
            item.ihook.pytest_runtest_logfinish(**told)
            self._next = next(self._order, -1)
            stop = self._session.shouldfail or self._session.shouldstop
        if stop:
            self._numbers.seek(0, os.SEEK_END)  # no child takes another


class _Child:
    """A process that runs tests."""

    def __init__(self, session: pytest.Session, numbers: IO[bytes], parent: Connection) -> None:
        self._session = session
        self._numbers = numbers
        self._parent = parent
        self._reports: list[pytest.TestReport] = []

    def run(self) -> None:
        """Run tests until none is left to take."""
        children.become_subreaper()  # which a fork doesn't inherit
        self._be_silent()
        self._session.config.pluginmanager.register(self)
        self._capture_apart()
        taken = self._take()
        number = next(taken, None)
        while number is not None:
            following = next(taken, None)
            self._run(number, following)
            number = following

    def _be_silent(self) -> None:
        """Leave it to the parent to write to the terminal."""
        config = self._session.config
        reporter = config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            nowhere = open(os.devnull, "w")  # noqa: SIM115  for as long as we live
            reporter._tw = create_terminal_writer(config, nowhere)

    def _capture_apart(self) -> None:
        """Have files of our own for what the tests write."""
        capture = self._session.config.pluginmanager.getplugin("capturemanager")
        assert capture is not None
        capture.stop_global_capturing()
        capture.start_global_capturing()
        capture.suspend_global_capture()

    def _take(self) -> Iterator[int]:
        while number := self._numbers.read(NUMBER):
            yield int.from_bytes(number)

    def _run(self, number: int, following: int | None) -> None:
        items, hook = self._session.items, self._session.config.hook
        self._parent.send((number, following, None))
        self._reports = []
        after = None if following is None else items[following]
        hook.pytest_runtest_protocol(item=items[number], nextitem=after)
        dump = hook.pytest_report_to_serializable
        told = [dump(config=self._session.config, report=report) for report in self._reports]
        self._parent.send((number, following, told))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the reports of a test until it's over."""
        self._reports.append(report)
