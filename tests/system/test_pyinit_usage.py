"""The words: help, the version, the variables that stand for options, and mistakes."""

from __future__ import annotations

import os
import signal
import termios

import pytest
from helpers import children
from helpers.events import Events
from helpers.places import Place
from helpers.programs import family, pyinit, reporter
from helpers.running import run
from helpers.terminal import Terminal

MISTAKES: list[tuple[list[str], str]] = [
    ([], "no program"),
    (["--"], "no program"),
    (["-g"], "no program"),
    (["--nonsense", "true"], "--nonsense"),
    (["--grup", "true"], "--group"),
    (["-x", "true"], "-x"),
    (["-gx", "true"], "-x"),
    (["-r"], "-r"),
    (["-r", "nonsense", "true"], "nonsense"),
    (["-r", "TERM:NOSUCH", "true"], "NOSUCH"),
    (["-r", "NOSUCH:TERM", "true"], "NOSUCH"),
    (["-r", "KILL:TERM", "true"], "SIGKILL"),
    (["-r", "STOP:TERM", "true"], "SIGSTOP"),
    (["-r", "CHLD:TERM", "true"], "SIGCHLD"),
    (["-r", "TERM:32", "true"], "32"),
    (["-r", "RTMIN+99:TERM", "true"], "RTMIN+99"),
    (["-r", "65:TERM", "true"], "65"),
    (["-p", "NOSUCH", "true"], "NOSUCH"),
    (["-p", "0", "true"], "0"),
    (["-e", "256", "true"], "256"),
    (["-e", "1:x", "true"], "x"),
    (["-e", "-1", "true"], "-1"),
    (["--drain", "soon", "true"], "soon"),
    (["--drain=", "true"], "--drain"),
    (["--kill-after", "-1", "true"], "-1"),
    (["--kill-after", "inf", "true"], "inf"),
    (["--kill-after", "nan", "true"], "nan"),
    (["--term-signal", "NOSUCH", "true"], "NOSUCH"),
    (["--events", "x", "true"], "x"),
    (["--events", "99", "true"], "99"),
    (["--events", "99999999999999999999", "true"], "99999999999999999999"),
    (["-r", "9" * 5000 + ":TERM", "true"], "is not a signal (try"),
    (["--drain", "x" * 9000, "true"], "is not a number of seconds"),
    (["--" + "x" * 9000, "true"], "see pyinit --help"),
    (["--wait=yes", "true"], "--wait"),
    (["--all", "--group", "true"], "--all"),
]


@pytest.mark.parametrize(("words", "named"), MISTAKES, ids=[" ".join(w)[:40] for w, _ in MISTAKES])
def test_a_mistake_is_one_line_and_125(outside: Place, words: list[str], named: str) -> None:
    ended = outside.run(*words)
    assert ended.status == 125
    assert ended.out == b""
    assert ended.errors.startswith("pyinit[")
    assert ended.errors.count("\n") == 1
    assert named in ended.errors


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PYINIT_GROUP", "perhaps"),
        ("PYINIT_REWRITE", "TERM"),
        ("PYINIT_DRAIN", "soon"),
        ("PYINIT_EXIT_CODE", "1 2 300"),
        ("PYINIT_TERM_SIGNAL", "NOSUCH"),
        ("PYINIT_EVENTS", "99"),
        ("PYINIT_PARENT_DEATH", "NOSUCH"),
        ("PYINIT_KILL_AFTER", "x"),
    ],
)
def test_a_mistake_in_the_environment_is_told_like_one(
    outside: Place, name: str, value: str
) -> None:
    ended = outside.run("--", "/bin/echo", "x", environment=dict(os.environ, **{name: value}))
    assert (ended.status, ended.out) == (125, b"")
    assert ended.errors.count("\n") == 1
    assert name in ended.errors or "--" + name[7:].lower() in ended.errors


@pytest.mark.parametrize("value", ["", "0", "no", "false", "off"])
def test_a_flag_can_be_off_in_the_environment(outside: Place, value: str) -> None:
    environment = dict(os.environ, PYINIT_PAUSE=value, PYINIT_VERBOSE=value)
    ended = outside.run("--", "/bin/echo", "x", environment=environment)
    assert (ended.status, ended.out, ended.errors) == (0, b"x\n", "")


@pytest.mark.parametrize(
    "name", ["PYINIT_VERSION", "PYINIT_HELP", "PYINIT_AS", "PYINIT_INSTALL_AS"]
)
def test_what_only_words_can_ask_for_has_no_variable(outside: Place, name: str) -> None:
    """An image's recipe has what it installs there, as in `ENV PYINIT_VERSION=1.2`."""
    ended = outside.run("--", "/bin/echo", "x", environment=dict(os.environ, **{name: "v1.2"}))
    assert (ended.status, ended.out, ended.errors) == (0, b"x\n", "")


def test_more_digits_than_python_reads_are_a_number(outside: Place) -> None:
    environment = dict(os.environ, PYINIT_VERBOSE="9" * 5000)
    ended = outside.run("--", "/bin/true", environment=environment)
    assert ended.status == 0
    assert "exiting with 0" in ended.errors


def test_the_command_line_wins_over_the_environment(outside: Place) -> None:
    environment = dict(os.environ, PYINIT_TERM_SIGNAL="HUP")
    with outside.start(
        "--term-signal", "QUIT", "--", *reporter(), environment=environment
    ) as running:
        running.line()
        running.send(signal.SIGTERM)
        assert running.line().split()[1] == "3"


@pytest.mark.parametrize(
    ("variables", "tags"),
    [
        ({"PYINIT_ALL": "1"}, {"leader", "member", "stranger"}),
        ({"PYINIT_GROUP": "yes", "PYINIT_ALL": "0"}, {"leader", "member"}),
    ],
)
def test_the_target_comes_from_the_environment_too(
    inside: Place, variables: dict[str, str], tags: set[str]
) -> None:
    environment = {**os.environ, **variables, "PYINIT_VERBOSE": "1"}
    with inside.start("--", *family(), environment=environment) as running:
        running.lines(3)
        running.send(signal.SIGUSR1)
        assert {line.split()[0] for line in running.lines(len(tags))} == tags
        assert "SIGUSR1" in running.errors()


def test_events_and_orphans_come_from_the_environment_too(place: Place) -> None:
    with Events() as events:
        environment = {
            **os.environ, "PYINIT_EVENTS": str(events.fileno), "PYINIT_WARN_ORPHANS": "1",
            "PYINIT_WAIT": "1",
        }  # fmt: skip
        with place.start(
            "--", "sh", "-c", "(exit 7) & exit 3", environment=environment,
            pass_fds=[events.fileno],
        ) as running:  # fmt: skip
            assert running.wait() == 3
        told = events.all()
        assert {event["status"] for event in told if event["event"] == "reaped"} <= {3, 7}
        assert told[0]["event"] == "started"


def test_deadlines_come_from_the_environment_too(place: Place) -> None:
    environment = dict(os.environ, PYINIT_KILL_AFTER="0.01")
    with place.start("--", *reporter(), environment=environment) as running:
        running.line()
        running.send(signal.SIGTERM)
        assert running.wait() == 137
    environment = dict(os.environ, PYINIT_DRAIN="0")
    leave = "sleep 100000 & echo up; read word"
    with place.start("--", "sh", "-c", leave, environment=environment) as running:
        assert running.line() == "up"
        running.close_input()
        assert running.wait() == 1
        assert running.out.rest() == b""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-s", "--", "true"], "unknown option -s; pyinit is always a subreaper: leave it out"),
        (["--single-child", "true"], "without --group, signals go to one process: leave it out"),
        (["--init", "true"], "unknown option --init; that is an option of pyspawn: leave it out"),
        (["-help"], "unknown option -help; did you mean --help?"),
        (["--kill-after", "--", "true"], "SIGTERM, SIGINT or SIGQUIT was forwarded"),
        (["--nonsense"], "unknown option --nonsense; see pyinit --help"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_answered_in_one_line(words: list[str], said: str) -> None:
    ended = run(pyinit(*words))
    assert ended.status == 125
    (line,) = ended.errors.splitlines()
    assert line.startswith("pyinit[")
    assert line.endswith(said)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_printed_and_names_every_option(outside: Place, option: str) -> None:
    ended = outside.run(option)
    assert (ended.status, ended.errors) == (0, "")
    text = ended.out.decode()
    for name in (
        "-g, --group", "--all", "-r, --rewrite FROM:TO", "-p, --parent-death SIGNAL",
        "-w, --warn-orphans", "-e, --exit-code CODE[:NEW]", "--wait", "--drain SECONDS",
        "--kill-after SECONDS", "--term-signal SIGNAL", "--pause", "--events FD",
        "-v, --verbose", "-h, --help", "-V, --version", "PYINIT_",
    ):  # fmt: skip
        assert name in text
    assert "handover" not in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_is_printed(outside: Place, option: str) -> None:
    import pyinit as package

    ended = outside.run(option)
    assert (ended.status, ended.errors) == (0, "")
    assert ended.out.decode() == f"pyinit {package.__version__}\n"


def test_help_that_cannot_be_written_is_125() -> None:
    assert run(["/bin/sh", "-c", '"$@" >/dev/full', "sh", *pyinit("--help")]).status == 125


@pytest.mark.parametrize("words", [["--help"], ["--as", "tini", "-h"], ["--as", "dumb-init", "-h"]],
                         ids=" ".join)  # fmt: skip
def test_an_answer_that_nobody_reads_can_be_ended(outside: Place, words: list[str]) -> None:
    with Terminal() as terminal:
        termios.tcflow(terminal.slave, termios.TCOOFF)
        streams = {"stdout": terminal.slave, "stderr": terminal.slave}
        with outside.start(*words, **streams) as running:
            children.wait_state(running.pid, "S")
            running.send(signal.SIGTERM)
            assert running.wait() == -signal.SIGTERM
