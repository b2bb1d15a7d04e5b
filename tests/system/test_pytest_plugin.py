"""The pytest plugin: what a test suite that opts in gets, and that it's never without silently."""

from __future__ import annotations

import sys

import pytest
from helpers.capabilities import require

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
            "*in the isolated process:*",
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
        "*test functions of pytest's",
        "*call asyncio.run in the test",
        "*isolated takes names*",
        "*'nets' is not a kind of namespace",
        "*PID namespace of its own*",
        "*user is for programs, not for a function",
    ):
        result.stdout.fnmatch_lines([words])


def test_the_configuration_chooses(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nisolated_unshare = net time\nisolated_timeout = 4\n")
    code = """
    import os, pytest, signal, spawner

    def test_namespaces(isolated):
        assert isolated.options == {"unshare": ["net", "time"]}
        inodes = lambda: [os.stat(f"/proc/self/ns/{kind}").st_ino for kind in ("net", "time")]
        assert not set(isolated(inodes)) & set(inodes())

    def test_time_out(isolated):
        with pytest.raises(spawner.TimeoutExpired):
            isolated(signal.pause)

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
        ("isolated_timeout = nan", "isolated_timeout: nan is no number of seconds"),
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
    assert "this machine refuses" in text
    assert "max_" in text
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] == 1
    if setting == "skip":
        assert outcomes["skipped"] == 2
    else:
        assert outcomes["failed"] + outcomes["errors"] == 2


def test_it_is_opt_in(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
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
