"""Each tool's command line and variables become the settings that stand for its behaviour."""

from __future__ import annotations

import errno
import getopt as library
import os
import posix
import re
import signal
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyinit import machine, settings, twins
from pyinit.twins import catatonit, dumb_init, getopt, tini, twin, voice

LETTERS = "p:hvwgle:s"
NAMES = {"help": "h", "verbose": "v", "version": "w", "rewrite": "p", "word": "e"}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(posix.environ):
        if name.startswith((b"TINI_", b"DUMB_INIT_", b"CATATONIT_", b"POSIXLY_CORRECT")):
            monkeypatch.delitem(posix.environ, name)
    monkeypatch.delenv("POSIXLY_CORRECT", raising=False)


def variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setitem(posix.environ, name.encode(), value.encode())


def parsed(*words: str) -> settings.Settings:
    return twins.parse([word.encode() for word in words])


def twin_of(asked: settings.Settings) -> twin.Twin:
    assert asked.twin is not None
    return asked.twin


def answered(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Return status, stdout and stderr of a command line that is answered in words."""
    with pytest.raises(settings.AnsweredError) as caught:
        parsed(*words)
    out, errors = capfd.readouterr()
    return caught.value.status, out, errors


# --- getopt ----------------------------------------------------------------------------------

words = st.lists(
    st.one_of(
        st.text(alphabet="-pghve=x:", max_size=5),
        st.sampled_from(
            ["--", "-", "", "--help", "--ver", "--verb", "--rewrite=x", "--rew", "-pv"]
        ),
    ),
    max_size=6,
)


def _ours(given_words: list[str], names: dict[str, str], permute: bool) -> object:
    options = getopt.Options(given_words, LETTERS, names, permute=permute)
    try:
        return list(options), options.rest
    except getopt.OptionError:
        return "refused"


def _theirs(given_words: list[str], names: dict[str, str], permute: bool) -> object:
    """Return what the standard library's getopt makes of it, long names as their letters."""
    valued = {letter for letter in string.ascii_letters if letter + ":" in LETTERS}
    long = [name + "=" * (letter in valued) for name, letter in names.items()]
    reads = library.gnu_getopt if permute else library.getopt
    try:
        options, rest = reads(given_words, LETTERS, long)
    except library.GetoptError:
        return "refused"
    return [(names.get(name[2:], name[1:]), value) for name, value in options], rest


@given(words, st.sampled_from([{}, NAMES]), st.booleans())
def test_options_are_read_as_the_library_reads_them(
    given_words: list[str], names: dict[str, str], permute: bool
) -> None:
    assert _ours(given_words, names, permute) == _theirs(given_words, names, permute)


@given(
    st.integers(-(10**17), 10**17), st.sampled_from(["", " ", "\t\n"]), st.text("x: ", max_size=3)
)
def test_a_number_is_read_up_to_what_is_none(number: int, before: str, after: str) -> None:
    assert getopt.integer(f"{before}{number}{after}") == (number, after)
    assert getopt.integer(f"{before}{number:+}{after}") == (number, after)


@pytest.mark.parametrize("text", ["", " ", "x", "-", "+-1", "- 1", ":"])
def test_what_is_no_number_is_left_whole(text: str) -> None:
    assert getopt.integer(text) == (None, text)


def test_a_number_of_any_length_is_read() -> None:
    number, left = getopt.integer("9" * 10000)
    assert number is not None
    assert number > 2**31
    assert left == ""
    assert getopt.integer("0" * 10000 + "7") == (7, "")


# --- all of them -----------------------------------------------------------------------------


TOOLS = {
    "tini": tini.Tini,
    "docker-init": tini.Tini,
    "dumb-init": dumb_init.DumbInit,
    "catatonit": catatonit.Catatonit,
}


def test_the_names_that_the_start_knows_are_the_tools() -> None:
    assert set(settings.TWINS) == set(TOOLS)
    for name, tool in TOOLS.items():
        assert type(twin_of(parsed(name, "app"))) is tool


ROOT = Path(__file__).parents[2]
needs_sources = pytest.mark.skipif(
    not (ROOT / "LICENSE").exists(), reason="the tests lie without the sources"
)


@needs_sources
def test_the_licence_is_the_projects() -> None:
    assert (ROOT / "LICENSE").read_text() == voice.LICENCE


DOCUMENTED = """
    -s -p -v -w -g -e -l -h --version TINI_SUBREAPER TINI_VERBOSITY TINI_KILL_PROCESS_GROUP
    -c --single-child -r --rewrite --verbose --help -V DUMB_INIT_DEBUG=1 DUMB_INIT_SETSID=0
    -L -P CATATONIT_DEBUG POSIXLY_CORRECT LISTEN_PID
"""


@needs_sources
def test_the_page_has_each_option_and_each_line_a_test() -> None:
    rows = [line for line in (ROOT / "docs/twins.md").read_text().splitlines() if line[:1] == "|"]
    first = " ".join(row.split("|")[1] for row in rows)
    for word in DOCUMENTED.split():
        assert re.search(rf"`{re.escape(word)}[` ]", first), word
    written = "".join(path.read_text() for path in (ROOT / "tests").glob("*/test_*.py"))
    for row in rows:
        if "---" in row or row.split("|")[3].strip().startswith("test"):
            continue
        named = re.findall(r"`(test_\w+)(?:\.py)?`", row.split("|")[3])
        assert named, row
        for name in named:
            known = f"def {name}(" in written or list((ROOT / "tests").glob(f"*/{name}.py"))
            assert known, name


@pytest.mark.parametrize("tool", settings.TWINS)
def test_a_program_is_all_that_is_needed(tool: str) -> None:
    asked = parsed(tool, "app", "word")
    assert asked.program == [b"app", b"word"]
    assert not asked.tells_all
    assert twin_of(asked).name == tool
    assert twin_of(asked).failed == 1


@pytest.mark.parametrize("tool", settings.TWINS)
def test_bytes_that_are_no_text_reach_the_program(tool: str) -> None:
    asked = twins.parse([tool.encode(), b"--", b"\xff\xfe", b"\xc3"])
    assert asked.program == [b"\xff\xfe", b"\xc3"]


@pytest.mark.parametrize("given_words", [[], ["nosuch"], ["TINI"], [""], ["/sbin/tini"]])
def test_another_name_is_refused(capfd: pytest.CaptureFixture[str], given_words: list[str]) -> None:
    status, out, errors = answered(capfd, *given_words)
    assert (status, out) == (125, "")
    assert "tini, docker-init, dumb-init, catatonit" in errors


# --- tini ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["tini", "docker-init"])
def test_tini_by_default(tool: str) -> None:
    asked = parsed(tool, "app")
    assert asked.target == settings.PROCESS
    assert asked.place == settings.OWN_GROUP
    assert asked.exit_codes == {}
    assert twin_of(asked).verbosity == twin.WARNING


def test_tini_joins_and_permutes() -> None:
    asked = parsed("tini", "app", "-vgw", "-e3", "word", "-e", "143", "-pSIGHUP", "--", "-v")
    assert asked.program == [b"app", b"word", b"-v"]
    assert asked.target == settings.GROUP
    assert asked.warn_orphans
    assert asked.exit_codes == {3: 0, 143: 0}
    assert asked.parent_death == signal.SIGHUP
    assert asked.verbose == 1


@pytest.mark.parametrize(
    ("tool", "option"), [("tini", "-v"), ("docker-init", "-g"), ("catatonit", "-V")]
)
def test_posixly_correct_ends_the_options_at_the_program(
    monkeypatch: pytest.MonkeyPatch, tool: str, option: str
) -> None:
    variable(monkeypatch, "POSIXLY_CORRECT", "")
    assert parsed(tool, "app", option).program == [b"app", option.encode()]


@pytest.mark.parametrize("value", ["", "0", "1"])
def test_tini_process_group_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    variable(monkeypatch, "TINI_KILL_PROCESS_GROUP", value)
    assert parsed("tini", "app").target == settings.GROUP


@pytest.mark.parametrize(
    ("value", "verbosity"), [("0", 0), ("3", 3), ("", 0), ("2x", 2), ("no", 0), ("1", 1)]
)
def test_tini_verbosity_from_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, value: str, verbosity: int
) -> None:
    variable(monkeypatch, "TINI_VERBOSITY", value)
    asked = parsed("tini", "-vv", "-w", "app")
    assert twin_of(asked).verbosity == verbosity
    assert asked.warn_orphans == (verbosity > 0)
    assert asked.verbose == max(0, verbosity - 1)


@pytest.mark.parametrize(
    ("word", "code"), [("0", 0), ("255", 255), (" 12", 12), ("+7", 7), ("", 0)]
)
def test_tini_exit_codes(word: str, code: int) -> None:
    assert parsed("tini", "-e", word, "app").exit_codes == {code: 0}


@pytest.mark.parametrize(
    "given_words", [["-e", "256"], ["-e", "-1"], ["-e", "x"], ["-e", "1x"], ["-p", "TERM"],
                    ["-p", "15"], ["-p", "SIGNOPE"], ["-p", ""], ["-p", "SIG"]]
)  # fmt: skip
def test_tini_refuses_values(capfd: pytest.CaptureFixture[str], given_words: list[str]) -> None:
    status, out, errors = answered(capfd, "tini", *given_words, "app")
    assert (status, out) == (1, "")
    assert errors.startswith(f"[FATAL tini ({os.getpid()})] ")
    assert errors.count("\n") == 1
    assert given_words[0] in errors


@pytest.mark.parametrize("name", ["SIGSTKFLT", "SIGIO", "SIGPWR", "SIGRTMIN+1", "SIGRTMAX"])
def test_tini_takes_more_signals(name: str) -> None:
    assert parsed("tini", "-p", name, "app").parent_death in signal.valid_signals()


def test_tini_statuses_of_a_failed_exec() -> None:
    of_tool = twin_of(parsed("tini", "app"))
    statuses = {errno.ENOENT: 127, errno.EACCES: 126, errno.ENOTDIR: 1, errno.ELOOP: 1}
    assert {number: of_tool.exec_status(number) for number in statuses} == statuses


def test_usage_goes_by_the_name(capfd: pytest.CaptureFixture[str]) -> None:
    for tool in settings.TWINS:
        status, out, errors = answered(capfd, tool, "-?")
        assert (status, out) == (1, "")
        assert errors.startswith(f"{tool}: invalid option -- '?'\n")
        assert f"sage: {tool} " in errors


# --- dumb-init -------------------------------------------------------------------------------

STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


def test_dumb_init_by_default() -> None:
    asked = parsed("dumb-init", "app", "-c")
    assert asked.program == [b"app", b"-c"]
    assert asked.place == settings.OWN_SESSION
    assert asked.target == settings.GROUP
    assert asked.suspends
    assert asked.parting == signal.SIGTERM
    assert asked.rewrite == dict.fromkeys(STOPS, signal.SIGSTOP)


@pytest.mark.parametrize("option", ["-c", "--single-child", "--s"])
def test_dumb_init_single_child(option: str) -> None:
    asked = parsed("dumb-init", option, "app")
    assert asked.place == settings.OUR_GROUP
    assert asked.target == settings.PROCESS
    assert asked.suspends
    assert asked.parting == 0
    assert asked.rewrite == {}


@pytest.mark.parametrize(("value", "own"), [("0", False), ("1", True), ("", True), ("00", True)])
def test_dumb_init_setsid_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, own: bool
) -> None:
    variable(monkeypatch, "DUMB_INIT_SETSID", value)
    assert (parsed("dumb-init", "app").place == settings.OWN_SESSION) == own


@pytest.mark.parametrize(("value", "says"), [("1", True), ("0", False), ("", False), ("2", False)])
def test_dumb_init_debug_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, says: bool
) -> None:
    variable(monkeypatch, "DUMB_INIT_DEBUG", value)
    assert parsed("dumb-init", "app").tells_all == says


def test_dumb_init_rewrites() -> None:
    asked = parsed("dumb-init", "-r15:3", "--rewrite=1:0", "--rew", "20:20", "-r", " 2: +9x", "app")
    assert asked.rewrite == {15: 3, 1: 0, 20: 20, 2: 9, 21: 19, 22: 19}
    assert asked.parting == 3
    assert parsed("dumb-init", "-r", "15:0", "app").parting == 0


@pytest.mark.parametrize(
    "value", ["", "15", "15:", ":15", "0:15", "32:15", "15:32", "15:-1", "TERM:INT", "15;3", "1 :2"]
)
def test_dumb_init_refuses_rewrites(capfd: pytest.CaptureFixture[str], value: str) -> None:
    status, out, errors = answered(capfd, "dumb-init", "-r", value, "app")
    assert (status, out) == (1, "")
    assert errors.startswith("[dumb-init] -r: ")


def test_dumb_init_status_of_a_failed_exec() -> None:
    of_tool = twin_of(parsed("dumb-init", "app"))
    assert {of_tool.exec_status(number) for number in errno.errorcode} == {2}


# --- catatonit -------------------------------------------------------------------------------


def test_catatonit_by_default() -> None:
    asked = parsed("catatonit", "app")
    assert asked.target == settings.PROCESS
    assert asked.place == settings.OWN_GROUP
    assert twin_of(asked).verbosity == twin.FATAL
    assert {twin_of(asked).exec_status(number) for number in errno.errorcode} == {1}


def test_catatonit_joins_and_permutes() -> None:
    asked = parsed("catatonit", "app", "-g", "--", "-V")
    assert asked.program == [b"app", b"-V"]
    assert asked.target == settings.GROUP


def test_catatonit_pause_overlooks_a_program() -> None:
    for given_words in (["-P"], ["-P", "app"], ["app", "-gP"]):
        asked = parsed("catatonit", *given_words)
        assert asked.pause
        assert asked.program == []


def test_catatonit_debug_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    variable(monkeypatch, "CATATONIT_DEBUG", "")
    assert parsed("catatonit", "app").tells_all


# --- what only a twin asks of the machine ----------------------------------------------------

PID, OWN_PID = 100, 50


def of_dumb_init(*given_words: str) -> machine.Machine:
    asked = parsed("dumb-init", *given_words, "app")
    own_group = asked.place == settings.OWN_SESSION
    return machine.Machine(asked, own_pid=OWN_PID, pid=PID, own_group=own_group)


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_signal_stops_both(number: int) -> None:
    for given_words, sent, target in (
        ([], signal.SIGSTOP, settings.GROUP),
        (["-c"], number, settings.PROCESS),
        (["-r", f"{int(number)}:10"], 10, settings.GROUP),
    ):
        ours = (machine.SEND, signal.SIGSTOP, machine.OURSELVES)
        actions = of_dumb_init(*given_words).signal(number, 0, 0.0)
        assert actions == [(machine.SEND, sent, target), ours]


def test_a_stop_that_is_dropped_still_stops_us() -> None:
    actions = of_dumb_init("-r", "20:0").signal(signal.SIGTSTP, 0, 0.0)
    assert actions == [(machine.SEND, signal.SIGSTOP, machine.OURSELVES)]


def test_a_key_that_stops_the_whole_group_is_not_sent_twice() -> None:
    actions = of_dumb_init("-c").signal(signal.SIGTSTP, machine.SI_KERNEL, 0.0)
    assert actions == [(machine.SEND, signal.SIGSTOP, machine.OURSELVES)]


@pytest.mark.parametrize("given_words", [[], ["-c"]])
@given(st.sets(st.sampled_from([*STOPS, signal.SIGSTOP])))
def test_the_workloads_own_stop_does_not_stop_us(
    given_words: list[str], sent: set[signal.Signals]
) -> None:
    supervision = of_dumb_init(*given_words)
    for number in sent:
        supervision.signal(number, 0, 0.0)
    for number in (*STOPS, signal.SIGSTOP):
        assert supervision.stopped_by(PID, number) == []


def test_what_is_left_of_the_session_is_asked_to_end() -> None:
    exits = (machine.EXIT, 3, "")
    for given_words, parting in (([], 15), (["-r15:10"], 10)):
        actions = of_dumb_init(*given_words).ended(PID, 3 << 8, 0.0)
        assert actions == [(machine.SEND, parting, settings.GROUP), exits]
    for given_words in (["-c"], ["-r15:0"]):
        assert of_dumb_init(*given_words).ended(PID, 3 << 8, 0.0) == [exits]


def test_nothing_is_left_to_a_group_that_is_ours_too() -> None:
    asked = parsed("dumb-init", "app")
    supervision = machine.Machine(asked, own_pid=OWN_PID, pid=PID, own_group=False)
    assert supervision.ended(PID, 0, 0.0) == [(machine.EXIT, 0, "")]
