"""The pytest plugin: what a test suite that opts in gets, and that it's never without silently."""

from __future__ import annotations

import importlib.metadata
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.terminal import INTERRUPT, Terminal

import spawner

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def _own_suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    require("pidns")


def suite(pytester: pytest.Pytester, code: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(code)
    return pytester.runpytest_subprocess("-p", "spawner.pytest_plugin", "-rA", *options)


def test_the_fixture_calls_and_runs(pytester: pytest.Pytester) -> None:
    code = """
    import os, pytest, spawner

    def test_a_function(isolated, tmp_path):
        seen = []
        assert isolated(lambda word: (seen.append(os.getpid()), word), "x") == (None, "x")
        assert seen == []

    def test_a_command(isolated):
        ended = isolated.run(["sh", "-c", "echo $$"], init=False, capture_output=True, text=True)
        assert ended.stdout == "1\\n"
        with pytest.raises(spawner.TimeoutExpired):
            isolated.run(["sleep", "inf"], timeout=0.2)

    @pytest.mark.isolated(unshare="net,uts", hostname="box")
    def test_the_mark_chooses(isolated):
        assert isolated(lambda: os.uname().nodename) == "box"
        assert isolated.run(["hostname"], stdout=spawner.PIPE).stdout == b"box\\n"
        interfaces = isolated(lambda: open("/proc/net/dev").read().splitlines()[2:])
        assert len(interfaces) == 1

    @pytest.mark.isolated(timeout=0.3)
    def test_a_time_out(isolated):
        with pytest.raises(spawner.TimeoutExpired):
            isolated(os.pause if hasattr(os, "pause") else __import__("signal").pause)

    def test_exceptions(isolated):
        with pytest.raises(ZeroDivisionError):
            isolated(lambda: 1 // 0)

    async def work():
        pass

    def test_coroutines_are_refused(isolated):
        with pytest.raises(TypeError, match="asyncio.run"):
            isolated(work)
    """
    suite(pytester, code, "--strict-markers").assert_outcomes(passed=6)


def test_a_marked_test_runs_isolated_as_a_whole(pytester: pytest.Pytester) -> None:
    code = """
    import os, pytest
    changed = []

    @pytest.fixture
    def outside():
        return os.getpid()

    @pytest.mark.isolated
    @pytest.mark.parametrize("number", [1, 2])
    def test_inside(outside, number, tmp_path):
        assert os.getpid() != outside
        assert os.getpid() < 20
        assert changed == []
        changed.append(number)
        (tmp_path / "file").write_text("kept")

    @pytest.mark.isolated(share="uts")
    class TestClass:
        def test_method(self, outside):
            assert os.getpid() != outside

        @pytest.mark.isolated(unshare="net")
        def test_marks_add_up(self):
            assert os.listdir("/sys") or True
            with open("/proc/net/dev") as devices:
                assert len(devices.read().splitlines()) == 3

    @pytest.fixture
    def helper(isolated):
        return isolated

    @pytest.mark.isolated
    def test_with_a_fixture_that_takes_the_fixture(helper, outside):
        assert os.getpid() != outside

    @pytest.mark.isolated
    @pytest.mark.usefixtures("isolated")
    def test_that_asks_for_the_fixture_in_passing(outside):
        assert os.getpid() != outside

    @pytest.mark.isolated
    def test_that_fails():
        value = {"key": [1, 2, 3]}
        assert value == {"key": [1, 2, 4]}

    @pytest.mark.isolated
    def test_that_skips():
        pytest.skip("not today")

    @pytest.mark.isolated
    @pytest.mark.xfail(raises=ValueError, strict=True)
    def test_that_is_expected_to_fail():
        raise ValueError

    @pytest.mark.isolated
    def test_that_dies():
        os._exit(3)
    """
    result = suite(pytester, code)
    result.assert_outcomes(passed=6, failed=2, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(
        [
            "*AssertionError: assert {'key': [[]1, 2, 3[]]} == {'key': [[]1, 2, 4[]]}*",
            "*IsolatedError: *ended its process with status 3*",
        ]
    )
    result.stdout.fnmatch_lines(["SKIPPED*not today"])


def test_a_marked_test_gets_the_arguments_that_pytest_gives(pytester: pytest.Pytester) -> None:
    code = """
    import os, pytest
    from unittest import mock

    pytestmark = pytest.mark.isolated

    @pytest.fixture(autouse=True)
    def value():
        return "the fixture's"

    def test_defaults_are_no_fixtures(value, *, other=1, capfd=None):
        assert (value, other, capfd) == ("the fixture's", 1, None)

    @pytest.mark.usefixtures("capfd")
    def test_not_even_where_there_is_one(value="its own", capfd=None):
        assert (value, capfd) == ("its own", None)

    def test_any(value, *arguments, **named):
        assert (arguments, named) == ((), {})

    @mock.patch("os.getppid", return_value=7)
    def test_mocks(patched, value):
        assert os.getppid() == patched.return_value == 7

    @mock.patch("os.getppid", new=lambda: 8)
    def test_mocks_without_an_argument(value):
        assert os.getppid() == 8

    class TestClass:
        @staticmethod
        def test_static(value):
            assert value

        @classmethod
        def test_class(cls, value):
            assert cls is TestClass
    """
    suite(pytester, code).assert_outcomes(passed=7)


def test_where_the_mark_would_do_nothing_it_fails(pytester: pytest.Pytester) -> None:
    code = """
    import pytest, unittest

    @pytest.mark.isolated
    class TestCase(unittest.TestCase):
        def test(self):
            print("un-" "isolated")

    @pytest.mark.isolated
    async def test_coroutine():
        print("un-" "isolated")

    @pytest.mark.isolated("net")
    def test_words():
        print("un-" "isolated")

    @pytest.mark.isolated(unshare="nets")
    def test_nonsense():
        print("un-" "isolated")

    @pytest.mark.isolated(share="pid")
    def test_no_pid_namespace():
        print("un-" "isolated")

    @pytest.mark.isolated(user=5)
    def test_for_programs(isolated):
        print("un-" "isolated")
    """
    result = suite(pytester, code)
    outcomes = result.parseoutcomes()
    assert outcomes.get("passed", 0) == 0
    assert outcomes["errors"] + outcomes["failed"] == 6
    assert "un-isolated" not in result.stdout.str()
    for words in (
        "*pytest's test functions",
        "*call asyncio.run in the test",
        "*isolated needs keywords*",
        "*'nets' is not a kind of namespace",
        "*its own PID namespace*",
        "*user is for programs, not for a function",
    ):
        result.stdout.fnmatch_lines([words])


def test_the_configuration_chooses(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nisolated_unshare = net time\nisolated_timeout = 60\n")
    code = """
    import os, pytest

    def test_namespaces(isolated):
        assert isolated.options == {"unshare": ["net", "time"]}
        inodes = lambda: [os.stat(f"/proc/self/ns/{kind}").st_ino for kind in ("net", "time")]
        assert not set(isolated(inodes)) & set(inodes())

    def test_time_out(isolated):
        assert isolated.timeout == 60

    @pytest.mark.isolated(unshare=(), timeout=None)
    def test_the_mark_wins(isolated):
        assert (isolated.options, isolated.timeout) == ({"unshare": ()}, None)
    """
    suite(pytester, code).assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("isolated_unavailable = perhaps", "isolated_unavailable is fail or skip"),
        ("isolated_timeout = soon", "isolated_timeout: could not convert"),
        ("isolated_timeout = nan", "isolated_timeout: nan isn't a number of seconds"),
    ],
)
def test_a_wrong_setting(pytester: pytest.Pytester, setting: str, words: str) -> None:
    pytester.makeini(f"[pytest]\n{setting}\n")
    result = suite(pytester, "def test(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{words}*"])


REFUSED = """
import os, pytest

def test_with_the_fixture(isolated):
    print("un-" "isolated")

@pytest.mark.isolated
def test_with_the_mark():
    print("un-" "isolated")

def test_without():
    pass
"""


@pytest.mark.parametrize("setting", ["fail", "skip"])
def test_a_machine_that_refuses(pytester: pytest.Pytester, setting: str) -> None:
    """A user namespace in which there may be no others, namespaces(7), is as such a machine."""
    require("userns", "unshare")
    pytester.makeini(f"[pytest]\nisolated_unavailable = {setting}\n")
    path = pytester.makepyfile(REFUSED)
    script = 'for f in /proc/sys/user/max_*_namespaces; do echo 0 > $f; done; exec "$@"'
    result = pytester.run(
        *("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"),
        *(sys.executable, "-m", "pytest"),
        *("-p", "spawner.pytest_plugin", "-rA", "-p", "no:cacheprovider", str(path)),
    )
    text = result.stdout.str()
    assert "un-isolated" not in text
    assert "this host refuses" in text
    assert "max_" in text
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] == 1
    if setting == "skip":
        assert outcomes["skipped"] == 2
    else:
        assert outcomes["failed"] + outcomes["errors"] == 2


def test_it_is_opt_in(pytester: pytest.Pytester) -> None:
    # Not by pytest itself, which would load all plugins that are there, and take seconds for it.
    for each in importlib.metadata.distribution("pidone").entry_points:
        assert each.group != "pytest11"
    pytester.makepyfile("def test(isolated): pass")
    result = pytester.runpytest_subprocess()
    result.stdout.fnmatch_lines(["*fixture 'isolated' not found*"])
    pytester.makeconftest("pytest_plugins = ['spawner.pytest_plugin']")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_asyncio_works_where_pytest_is_the_second_process(pytester: pytest.Pytester) -> None:
    """So that an isolated function, too, would be the second process of its PID namespace."""
    code = """
    import asyncio, os, pytest

    async def work():
        return os.getpid()

    def test_in_a_loop(isolated):
        async def main():
            assert os.getpid() == 2
            return isolated(lambda: asyncio.run(work()))
        assert asyncio.run(main()) not in (1, 2)

    @pytest.mark.isolated
    def test_as_a_whole():
        assert os.getpid() not in (1, 2)
    """
    path = pytester.makepyfile(code)
    words = ["-m", "pytest", "-p", "spawner.pytest_plugin", "-p", "no:cacheprovider", str(path)]
    ended = spawner.run([sys.executable, *words], stdout=spawner.PIPE, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout


ALIKE = """
import logging, sys, unittest, warnings
import pytest

log = logging.getLogger("app")
ordinary = lambda test: test

def convert(text):
    if text:
        return int("no" + text)

@pytest.fixture
def number():
    return 3

MARK
def test_fails_below(number):
    print("output")
    print("errors", file=sys.stderr)
    log.warning("careful: %s", number)
    assert convert(str(number)) == 5

MARK
def test_compares():
    assert ["a", "b", {"key": 1}] == ["a", "c", {"key": 2}]

MARK
def test_warns():
    warnings.warn("old", DeprecationWarning)

MARK
@pytest.mark.parametrize("value", [1, "two"])
class TestClass:
    def test_method(self, value):
        try:
            [][value]
        except IndexError as error:
            raise LookupError("chained") from error

MARK
def test_judges():
    pytest.fail("so")

MARK
def test_judges_in_words():
    pytest.fail("in words", pytrace=False)

MARK
def test_skips():
    pytest.skip("not now")

MARK
def test_skips_as_unittest_does():
    raise unittest.SkipTest("not now")

MARK
def test_expects():
    pytest.xfail("known")

MARK
@pytest.mark.xfail(raises=ValueError, reason="known")
def test_is_expected():
    convert("text")

MARK
@pytest.mark.xfail(raises=KeyError, strict=True)
def test_fails_otherwise_than_expected():
    convert("text")

MARK
@pytest.mark.xfail(strict=True)
def test_passes_unexpectedly():
    pass

MARK
def test_captures(caplog, capsys, recwarn, record_property):
    record_property("key", "value")
    log.error("here")
    assert caplog.messages == ["here"]
    warnings.warn("there")
    assert len(recwarn) == 1
    print("taken")
    assert capsys.readouterr().out == "taken\\n"
    print("left")
    assert not caplog.records

MARK
def test_returns_something():
    return 3

MARK
def test_passes_with_output():
    print("seen")
    try:
        convert("text")
    except ValueError:
        log.exception("converted")
"""


@pytest.mark.parametrize(
    "options",
    ["", "--tb=short --showlocals", "--tb=line -W error", "--capture=sys -vv", "--capture=tee-sys",
     "--capture=no", "-x", "-p no:logging -p no:warnings"],
)  # fmt: skip
def test_the_report_is_that_of_any_test(pytester: pytest.Pytester, options: str) -> None:
    """With the lines of the test, what it has written, warned of and logged."""
    texts, records = [], []
    for mark in ("@pytest.mark.isolated", "@ordinary"):
        path = pytester.makepyfile(test_alike=ALIKE.replace("MARK", mark))
        if "no:logging" in options:
            path.write_text(path.read_text().replace("caplog, ", "").replace("caplog", "log.name"))
        result = suite(
            pytester, path.read_text(), *options.split(), "--junitxml=report.xml", str(path)
        )
        text = result.stdout.str().replace(mark, "MARK").replace("_isolated", "")
        texts.append(
            re.sub(r"0x[0-9a-f]+|[0-9.]+s(?= =)|=+|-+|rootdir: .*|\[ *[0-9]+%\]", "", text)
        )
        report = Path("report.xml").read_text()
        records.append(
            re.sub(r'time(stamp)?="[^"]*"|0x[0-9a-f]+', "", report.replace(mark, "MARK"))
        )
    assert "test_alike.py" in texts[0]
    assert texts[0].splitlines() == texts[1].splitlines()
    assert records[0] == records[1]


HUNG = """
import ctypes, os, pytest, signal, time

def reached():
    os.write(os.open("reached", os.O_WRONLY | os.O_CREAT | os.O_APPEND), b".")

def deeper():
    reached()
    for moment in range(2):
        time.sleep(moment * 1000)

@pytest.mark.isolated(timeout=SECONDS)
def test_hangs():
    print("before")
    deeper()

def test_hangs_in_a_function(isolated):
    isolated.timeout = SECONDS
    isolated(deeper)

@pytest.mark.isolated
@pytest.mark.timeout(SECONDS)
def test_hangs_under_pytest_timeout():
    deeper()

@pytest.mark.isolated(timeout=SECONDS)
def test_hangs_deaf():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    deeper()

@pytest.mark.isolated(timeout=SECONDS)
def test_hangs_stopped():
    reached()
    signal.raise_signal(signal.SIGSTOP)

@pytest.mark.isolated
def test_crashes():
    ctypes.memset(0, 0, 1)

@pytest.mark.isolated(timeout=SECONDS)
@pytest.mark.xfail(raises=__import__("subprocess").TimeoutExpired)
def test_is_expected_to_hang():
    deeper()
"""


def test_where_it_hung_is_shown(pytester: pytest.Pytester) -> None:
    for seconds in ("0.8", "4.0", "16.0"):
        code = HUNG.replace("SECONDS", seconds)
        result = suite(pytester, code, "-p", "pytest_timeout", "--tb=short")
        found = pytester.path / "reached"
        if found.read_text() == "." * 6:  # else one had no processor until its time was over
            break
        found.unlink()
    result.assert_outcomes(failed=6, xfailed=1)
    stack = [
        "test_where_it_hung_is_shown.py:*: in {}",
        "    {}",
        "test_where_it_hung_is_shown.py:9: in deeper",
        "    time.sleep(moment [*] 1000)",
    ]
    for name, call in (
        ("test_hangs", "deeper()"),
        ("test_hangs_in_a_function", "isolated(deeper)"),
        ("test_hangs_under_pytest_timeout", "deeper()"),
    ):
        words = (
            "Timeout *from pytest-timeout."
            if "_under_" in name
            else f"*timed out after {seconds} s*"
        )
        shown = [line.format(name if line.endswith("in {}") else call) for line in stack]
        result.stdout.fnmatch_lines([f"*_ {name} _*", *shown, f"E *{words}"], consecutive=True)
    for name, lines in (
        ("deaf", ["    def test_hangs_deaf():", "E  *TimeoutExpired*"]),
        ("stopped", ["    signal.raise_signal(signal.SIGSTOP)", "E *TimeoutExpired*"]),
    ):
        place = f"test_where_it_hung_is_shown.py:*: in test_hangs_{name}"
        result.stdout.fnmatch_lines([place, *lines], consecutive=True)
    place = "test_where_it_hung_is_shown.py:*: in test_crashes"
    words = "E   spawner.api.isolate.IsolatedError: test_crashes was killed by SIGSEGV"
    result.stdout.fnmatch_lines([place, "    ctypes.memset(0, 0, 1)", words], consecutive=True)
    assert "spawner/" not in result.stdout.str()
    assert not list(pytester.path.glob("core*"))


def test_failed_subtests_fail_the_test(pytester: pytest.Pytester) -> None:
    if not hasattr(pytest, "Subtests"):
        pytest.skip("this pytest has no subtests")
    code = """
    import pytest

    @pytest.mark.isolated
    def test_parts(subtests):
        for number in range(3):
            with subtests.test(number=number):
                assert number != 1
    """
    result = suite(pytester, code)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*test_parts (number=*1*", "*assert 1 != 1", "contains 1 failed*"])
    assert result.stdout.str().count("test_parts (number=") == 1


def test_it_works_under_xdist(pytester: pytest.Pytester) -> None:
    code = ALIKE.replace("MARK", "@pytest.mark.isolated")
    here, there = (
        sorted(
            line.partition(" - ")[0]
            for line in suite(pytester, code, "-p", "xdist", *more).outlines
            if re.match("(PASSED|FAILED|SKIPPED|XFAIL) ", line)
        )
        for more in ((), ("-n2",))
    )
    assert len(here) == 16
    assert here == there


COVERED = {
    "measured.py": """
        def in_a_test(word):
            if word:
                return 1
            return 2

        def in_a_function():
            return 3

        def in_a_failure():
            return 4 // 0

        def never():
            return 5
    """,
    "test_measured.py": """
        import measured, os, pytest

        @pytest.mark.isolated
        def test_as_a_whole():
            measured.in_a_test("")
            os.chdir("/")

        def test_a_function(isolated):
            assert isolated(measured.in_a_function) == 3

        @pytest.mark.isolated
        def test_a_failure():
            measured.in_a_failure()
    """,
}


@pytest.mark.parametrize("settings", ["", "branch = true", "patch = _exit, fork"])
@pytest.mark.parametrize("how", ["coverage run", "pytest-cov", "pytest-cov and xdist"])
def test_lines_are_covered(pytester: pytest.Pytester, how: str, settings: str) -> None:
    """Without a word in its configuration, and whatever else is there."""
    for name, text in COVERED.items():
        (pytester.path / name).write_text(dedent(text))
    (pytester.path / ".coveragerc").write_text(f"[run]\nsource = .\n{settings}\n")
    python, plugin = (
        (sys.executable, "-m"),
        ("-p", "spawner.pytest_plugin", "-p", "no:cacheprovider"),
    )
    if how == "coverage run":
        pytester.run(*python, "coverage", "run", "-m", "pytest", *plugin)
    else:
        workers = ("-p", "xdist", "-n2") if "xdist" in how else ()
        pytester.run(
            *python, "pytest", *plugin, "-p", "pytest_cov", "--cov", "--cov-report=", *workers
        )
    assert [path.name for path in pytester.path.glob(".coverage*")] in (
        [".coverage", ".coveragerc"], [".coveragerc", ".coverage"],
    )  # fmt: skip
    told = pytester.run(*python, "coverage", "report", "--show-missing", "--include=measured.py")
    told.stdout.fnmatch_lines(["measured.py * 4*, 14" if settings[:1] != "b" else "measured.py*"])
    missing = told.outlines[2].split("%")[1].replace(",", " ").split()
    assert [word for word in missing if "->" not in word] == ["4", "14"]


DEBUGGED = """
import pytest

@pytest.mark.isolated(timeout=60)
def test_fails():
    value = 42
    assert value == "answer"

@pytest.mark.isolated
@pytest.mark.xfail
def test_is_expected_to_fail():
    raise ValueError

@pytest.mark.isolated
def test_breaks():
    number = 7
    breakpoint()
    assert number == 7
"""


def debugging(path: Path) -> list[str]:
    """Return the argv of a pytest that debugs the failures in a file."""
    plugin = ["-p", "spawner.pytest_plugin"]
    return [sys.executable, "-m", "pytest", *plugin, "--pdb", "--color=no", str(path)]


def interrupt_debugger(terminal: Terminal, pid: int) -> None:
    """Type ^C at the prompt of the debugger that pytest, which is `pid`, has somewhere below it."""
    for child in children.below(pid):  # who isn't asleep yet may miss it
        children.wait_state(child, "S")
    terminal.type(INTERRUPT)
    assert b"KeyboardInterrupt" in terminal.until(b"(Pdb) ")


def test_a_debugger_is_in_the_isolated_process(pytester: pytest.Pytester) -> None:
    """With the variables of the test; ^C is for its prompt, and time stands still."""
    path = pytester.makepyfile(DEBUGGED)
    with Terminal() as terminal, terminal.lead(debugging(path)) as running:
        until = terminal.until
        assert b'assert value == "answer"' in until(b"(Pdb) ")
        terminal.type(b"value\n")
        assert b"42" in until(b"(Pdb) ")
        interrupt_debugger(terminal, running.pid)
        terminal.type(b"__import__('os').getpid() in (2, 3)\n")
        assert b"True" in until(b"(Pdb) ")
        terminal.type(b"continue\n")
        assert b"test_breaks()" in until(b"(Pdb) ")
        terminal.type(b"number\n")
        assert b"7" in until(b"(Pdb) ")
        terminal.type(b"continue\n")
        end = until(b" in ")
        assert b"entering PDB" not in end
        assert b"1 failed, 1 passed, 1 xfailed" in end
        running.wait()


STOPPED = """
import pytest

@pytest.mark.isolated
def test_fails():
    with open("gate") as gate:
        assert gate.read() == ""
    raise ValueError
"""


def test_an_interrupt_of_a_debugger_that_is_over_when_pytest_sees_it(
    pytester: pytest.Pytester,
) -> None:
    """A pytest that had no processor in between reads of the debugger's begin and end at once."""
    path = pytester.makepyfile(STOPPED)
    gate = pytester.path / "gate"
    os.mkfifo(gate)
    with Terminal() as terminal, terminal.lead(debugging(path)) as running:
        with open(gate, "w"):  # the function has opened it, so pytest is on its way to its poll
            children.wait_state(running.pid, "S")
            os.kill(running.pid, signal.SIGSTOP)
            children.wait_state(running.pid, "T")
        terminal.until(b"(Pdb) ")
        interrupt_debugger(terminal, running.pid)
        terminal.type(b"continue\n")
        terminal.until(b"PDB continue")
        children.wait_until(lambda: bool(children.zombies(running.pid)), "the end of the call")
        os.kill(running.pid, signal.SIGCONT)
        end = terminal.until(b" in ")
        assert b"entering PDB" not in end
        assert b"1 failed" in end
        running.wait()


def test_no_time_out_ends_a_debugger(pytester: pytest.Pytester) -> None:
    """The first one takes longer than its time, and the second one is no longer debugged."""
    code = """
    import os, pytest, subprocess, time
    from spawner.api import isolate

    def test_paused(isolated):
        def debugged():
            isolate.pause()
            os.mkdir("paused")
            time.sleep(isolated.timeout + 0.2)
            isolate.resume()

        for isolated.timeout in (1, 4, 16):
            try:
                isolated(debugged)
            except subprocess.TimeoutExpired:
                assert not os.path.exists("paused")  # it had no processor until then
            else:
                break
        assert os.path.exists("paused")

    def test_resumed(isolated):
        isolated.timeout = 1

        def hangs():
            isolate.pause()
            isolate.resume()
            time.sleep(1000)
        with pytest.raises(subprocess.TimeoutExpired):
            isolated(hangs)
    """
    suite(pytester, code).assert_outcomes(passed=2)


def test_quitting_a_debugger_ends_the_run(pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile(DEBUGGED)
    argv = [sys.executable, "-m", "pytest", "-p", "spawner.pytest_plugin", "--pdb", str(path)]
    with Terminal() as terminal, terminal.lead(argv) as running:
        terminal.type(b"quit\n")
        assert running.wait() == pytest.ExitCode.INTERRUPTED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("who", ["pytest", "all of its group"])
def test_the_end_of_pytest_leaves_nothing(
    pytester: pytest.Pytester, number: signal.Signals, who: str
) -> None:
    """In the middle of an isolated test, with a daemon, whose end is an end of file."""
    code = """
    import os, pytest, signal

    @pytest.mark.isolated
    def test_that_is_interrupted():
        if os.fork() == 0:
            os.setsid()
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        os.write(HELD, b"!")
        while True:
            signal.pause()
    """
    reader, writer = os.pipe()
    path = pytester.makepyfile(code.replace("HELD", str(writer)))
    argv = [sys.executable, "-m", "pytest", "-p", "spawner.pytest_plugin", "-p", "no:cacheprovider"]
    before = children.of(os.getpid())
    with subprocess.Popen(
        [*argv, str(path)],
        pass_fds=[writer],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as running:
        os.close(writer)
        for _ in range(2):
            assert children.wait_readable(reader)
            assert os.read(reader, 1) == b"!"
        (os.kill if who == "pytest" else os.killpg)(running.pid, number)
        said = running.communicate(timeout=60)[0].decode()
    assert os.read(reader, 1) == b""
    os.close(reader)

    def gone() -> bool:
        """Reap, as an init does for orphans; the namespace waits for that of its last one."""
        for pid in children.of(os.getpid()) - before:
            os.waitpid(pid, os.WNOHANG)
        return children.of(os.getpid()) <= before

    children.wait_until(gone)
    if number == signal.SIGKILL:
        assert running.returncode == -number
    else:
        assert running.returncode == pytest.ExitCode.INTERRUPTED
        assert "KeyboardInterrupt" in said


def test_what_does_not_pickle_comes_back_in_words(pytester: pytest.Pytester) -> None:
    code = """
    import logging, pytest, warnings

    class OddWarning(UserWarning):
        def __init__(self, text, *, code):
            super().__init__(text)

    class LocalError(Exception):
        def __init__(self, text, *, code):
            super().__init__(text)

    def leave(record_property):
        record_property("lock", __import__("threading").Lock())
        warnings.warn(OddWarning("strange", code=5))
        logging.getLogger().error("%s", lambda: 5, extra={"more": open("/dev/null")})

    def test_a_function(isolated, caplog, record_property, request):
        with pytest.warns(UserWarning, match="OddWarning: strange"):
            isolated(leave, record_property)
        assert caplog.messages[0].startswith("<function leave.<locals>.<lambda>")
        assert "TextIOWrapper" in caplog.records[0].more
        assert "lock" in request.node.user_properties[0][1]

    @pytest.mark.isolated
    def test_as_a_whole():
        raise LocalError("text", code=6)
    """
    result = suite(pytester, code)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*raise LocalError(*", "E *LocalError: text"])


@pytest.mark.parametrize("coverage", [(), ("-p", "pytest_cov", "--cov", "--cov-report=")])
def test_nothing_is_imported_after_the_fork(
    pytester: pytest.Pytester, coverage: tuple[str, ...]
) -> None:
    """Another thread may be importing it: see the same of a function."""
    pytester.makeconftest(
        """
        import os, sys
        from spawner.api import isolate

        def forking():
            pid = fork()
            if pid == 0:
                before.update(sys.modules)
            return pid

        def telling(*told):
            with open("log", "a") as log:
                print(os.environ["PYTEST_CURRENT_TEST"], *sys.modules.keys() - before, file=log)
            tell(*told)

        before, fork, tell = set(), os.fork, isolate._tell
        os.fork, isolate._tell = forking, telling
        """
    )
    suite(pytester, ALIKE.replace("MARK", "@pytest.mark.isolated"), *coverage)
    lines = (pytester.path / "log").read_text().splitlines()
    assert len(lines) == 16
    assert [line for line in lines if not line.endswith("(call)")] == []
