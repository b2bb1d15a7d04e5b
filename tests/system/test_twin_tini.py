"""tini and its twin, side by side: each option and variable, and where the twin does better.

A test that takes `tini` runs twice, with the tool and with the twin; `twin` and `peer` are for
the deliberate differences of docs/twins.md.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
from pathlib import Path

import pytest
from helpers import children, twins
from helpers.programs import BLOCK_ALL, READY, family, prepared, python, reporter
from helpers.running import Running, run
from helpers.terminal import Shell, Terminal
from helpers.twins import Init, environment, outcome

LAST = int(signal.SIGRTMAX)

tini, anywhere, twin, peer = twins.fixtures("tini")

SUBREAPER = {"TINI_SUBREAPER": ""}
"""Without it the tool warns of itself wherever it isn't PID 1."""


def got(running: Running, tags: set[str], until: int = LAST) -> dict[str, list[int]]:
    """Return which signals each of the reporters got, up to and without `until`."""
    numbers: dict[str, list[int]] = {tag: [] for tag in tags}
    waiting = set(tags)
    while waiting:
        tag, number = running.line().split()[:2]
        if int(number) == until:
            waiting.discard(tag)
        else:
            numbers[tag].append(int(number))
    return numbers


# --- answers ---------------------------------------------------------------------------------


def test_version(tini: Init) -> None:
    ended = tini.run("--version")
    assert outcome(ended) == (0, True, False)
    assert ended.out.startswith(b"tini version 0.19.0")
    assert ended.out.count(b"\n") == 1


def test_version_only_as_the_one_word(tini: Init) -> None:
    for words in (["--version", "true"], ["-v", "--version"], ["--versio"], ["--help"]):
        ended = tini.run(*words)
        assert outcome(ended) == (1, False, True)
        assert ended.errors.splitlines()[0].endswith(": invalid option -- '-'")


def test_help(tini: Init) -> None:
    ended = tini.run("-h")
    assert outcome(ended) == (0, True, False)
    first, second = ended.out.decode().splitlines()[:2]
    assert first.startswith("tini (tini version 0.19.0")
    assert second == "Usage: tini [OPTIONS] PROGRAM -- [ARGS] | --version"
    for word in ("-h", "-s", "-p", "-v", "-w", "-g", "-e", "-l", "--version", "TINI_SUBREAPER",
                 "TINI_VERBOSITY", "TINI_KILL_PROCESS_GROUP"):  # fmt: skip
        assert word in ended.out.decode()


def test_licence(tini: Init) -> None:
    ended = tini.run("-l")
    assert outcome(ended) == (0, True, False)
    assert b"Permission is hereby granted, free of charge" in ended.out


def test_no_program(tini: Init) -> None:
    for words in ([], ["-s"], ["--"], ["-vg", "--"]):
        ended = tini.run(*words)
        assert outcome(ended) == (1, False, True)
        assert "Usage: tini [OPTIONS] PROGRAM" in ended.errors


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-x"], "invalid option -- 'x'"),
        (["-vx", "true"], "invalid option -- 'x'"),
        (["-g5", "true"], "invalid option -- '5'"),
        (["sh", "-c", "true"], "invalid option -- 'c'"),
        (["-:"], "invalid option -- ':'"),
        (["-e"], "option requires an argument -- 'e'"),
        (["-vp"], "option requires an argument -- 'p'"),
    ],
)
def test_bad_options(tini: Init, words: list[str], complaint: str) -> None:
    ended = tini.run(*words)
    assert outcome(ended) == (1, False, True)
    assert ended.errors.splitlines()[0].endswith(f"tini: {complaint}")
    assert "Usage: tini [OPTIONS] PROGRAM" in ended.errors


def test_the_first_answer_counts(tini: Init) -> None:
    assert tini.run("-h", "-x").status == 0
    assert tini.run("-x", "-h").status == 1
    assert tini.run("-l", "-e", "300").status == 0
    assert tini.run("-e", "300", "-l").status == 1


@pytest.mark.parametrize("kind", twins.KINDS)
@pytest.mark.parametrize("name", ["tini", "docker-init"])
def test_usage_goes_by_the_links_name(kind: str, name: str, tmp_path: Path) -> None:
    init = Init(name, kind)
    path = init.link(tmp_path / name)
    with Running([str(path)]) as running:
        assert running.wait() == 1
        assert f"Usage: {name} [OPTIONS] PROGRAM" in running.errors()


# --- how the words are read ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["echo", "-s", "a"], b"a\n"),
        (["echo", "a", "-gs"], b"a\n"),
        (["echo", "-e", "3", "a"], b"a\n"),
        (["echo", "--", "-s", "a"], b"-s a\n"),
        (["--", "echo", "-s", "--", "a"], b"-s -- a\n"),
        (["echo", "-s", "--", "-g", "a"], b"-g a\n"),
        (["-se3", "echo", "-"], b"-\n"),
        (["echo", "", "-s", "a"], b" a\n"),
    ],
)
def test_options_may_stand_behind_the_program(tini: Init, words: list[str], out: bytes) -> None:
    ended = tini.run(*words, variables=SUBREAPER)
    assert (ended.status, ended.out, ended.errors) == (0, out, "")


def test_posixly_correct_ends_that(tini: Init) -> None:
    ended = tini.run("echo", "-s", "a", variables={**SUBREAPER, "POSIXLY_CORRECT": ""})
    assert (ended.status, ended.out, ended.errors) == (0, b"-s a\n", "")


# --- -e, and exit statuses -------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 42, 125, 126, 127, 128, 255])
def test_the_status_is_the_programs(anywhere: Init, code: int) -> None:
    assert anywhere.run("--", "sh", "-c", f"exit {code}").status == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGHUP])
def test_a_death_by_signal_is_128_more(anywhere: Init, number: int) -> None:
    assert anywhere.run("--", "sh", "-c", f"kill -{int(number)} $$").status == 128 + number


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (["-e", "3"], 3, 0),
        (["-e3"], 3, 0),
        (["-e3"], 4, 4),
        (["-e", "3", "-e", "4"], 4, 0),
        (["-ge143"], 143, 0),
        (["-e", "0"], 0, 0),
        (["-e", "255"], 255, 0),
        (["-e", " +3"], 3, 0),
        (["-e", ""], 3, 3),
    ],
)
def test_exit_codes_become_0(tini: Init, words: list[str], code: int, status: int) -> None:
    ended = tini.run(*words, "--", "sh", "-c", f"exit {code}", variables=SUBREAPER)
    assert (ended.status, ended.errors) == (status, "")


def test_the_code_of_a_death_by_signal_becomes_0_too(tini: Init) -> None:
    assert tini.run("-e", "143", "--", "sh", "-c", "kill $$").status == 0


def test_the_code_of_a_failed_exec_becomes_0_too(tini: Init) -> None:
    assert tini.run("-e", "127", "--", "/nosuch").status == 0
    assert tini.run("-e", "126", "--", "/etc").status == 0


@pytest.mark.parametrize("value", ["256", "-1", "x", "1x", "0x1", "99999999999999999999", "3,4"])
def test_bad_exit_codes(tini: Init, value: str) -> None:
    ended = tini.run("-e", value, "true")
    assert outcome(ended) == (1, False, True)
    assert ended.errors.startswith("[FATAL tini (")
    assert "-e" in ended.errors


# --- failed execs ----------------------------------------------------------------------------


@pytest.fixture
def unfit(tmp_path: Path) -> dict[str, str]:
    """Give paths that can't be executed, by why."""
    plain = tmp_path / "plain"
    plain.write_text("text")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    orphan = tmp_path / "script"
    orphan.write_text("#!/nosuch/interpreter\n")
    orphan.chmod(0o755)
    return {
        "missing": str(tmp_path / "missing"),
        "empty": "",
        "directory": str(tmp_path),
        "plain": str(plain),
        "beneath a file": str(plain / "name"),
        "loop": str(loop),
        "no interpreter": str(orphan),
        "not in PATH": "pidone-no-such-program",
    }


@pytest.mark.parametrize(
    ("why", "status"),
    [
        ("missing", 127),
        ("empty", 127),
        ("not in PATH", 127),
        ("no interpreter", 127),
        ("directory", 126),
        ("plain", 126),
        ("beneath a file", 1),
        ("loop", 1),
    ],
)
def test_failed_execs(anywhere: Init, unfit: dict[str, str], why: str, status: int) -> None:
    # A directory of PATH that may not be searched would make it EACCES.
    variables = {**SUBREAPER, "PATH": os.defpath}
    ended = anywhere.run("--", unfit[why], variables=variables)
    assert outcome(ended) == (status, False, True)
    assert ended.errors.startswith("[FATAL tini (")
    assert unfit[why] in ended.errors


def test_a_script_without_a_first_line_is_run_by_the_shell(tini: Init, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$1"; exit 7\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    ended = tini.run("--", str(script), "word")
    assert (ended.status, ended.out) == (7, b"word\n")


# --- signals, -g, TINI_KILL_PROCESS_GROUP ----------------------------------------------------

FORWARDED = sorted(
    int(number)
    for number in signal.valid_signals()
    - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU}
    - {signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT}
    - {signal.SIGTRAP, signal.SIGSYS}
)


def test_signals_are_forwarded(anywhere: Init) -> None:
    with anywhere.start("--", *reporter()) as running:
        running.line()
        for number in FORWARDED:
            running.send(number)
            assert running.line().split()[:2] == ["reporter", str(number)]


@pytest.mark.parametrize(
    ("words", "variables", "members"),
    [
        ([], {}, {"leader"}),
        (["-g"], {}, {"leader", "member"}),
        (["-vg"], {}, {"leader", "member"}),
        ([], {"TINI_KILL_PROCESS_GROUP": "1"}, {"leader", "member"}),
        ([], {"TINI_KILL_PROCESS_GROUP": ""}, {"leader", "member"}),
        ([], {"TINI_KILL_PROCESS_GROUP": "0"}, {"leader", "member"}),
    ],
)
def test_group(
    anywhere: Init, words: list[str], variables: dict[str, str], members: set[str]
) -> None:
    variables = {**variables, "TINI_VERBOSITY": "0"}
    with anywhere.start(*words, "--", *family(), variables=variables) as running:
        ready = {line.split()[0]: line.split()[2] for line in running.lines(3)}
        running.send(signal.SIGUSR1)
        running.send(LAST)
        assert got(running, members) == {tag: [signal.SIGUSR1] for tag in members}
        # The others hear of nothing but what they are told by their pids.
        if not anywhere.inside:
            others = {"leader", "member", "stranger"} - members
            for tag in others:
                os.kill(int(ready[tag]), LAST)
            assert got(running, others) == {tag: [] for tag in others}


def test_the_workload_has_a_group_of_its_own(tini: Init) -> None:
    show = python("import posix; posix.write(1, b'%d' % (posix.getpgrp() == posix.getpid()))")
    assert tini.run("--", *show).out == b"1"


# --- -p --------------------------------------------------------------------------------------

PARENT = """
import os, subprocess, sys
# Starts what stands on its command line, and lives for as long as its input is open.
subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
os.read(0, 1)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1"])
def test_the_parents_death_is_a_signal(tini: Init, name: str) -> None:
    argv = tini.argv("-p", name, "--", *reporter())
    with Running(python(PARENT, *argv), environment=environment(SUBREAPER)) as running:
        running.line()
        running.close_input()
        assert running.line().split()[:2] == ["reporter", str(int(signal.Signals[name]))]


def test_parent_death_of_sigkill_kills_the_twins_workload_too(twin: Init) -> None:
    argv = twin.argv("-p", "SIGKILL", "--", *reporter())
    with Running(python(PARENT, *argv)) as running:
        running.line()
        running.close_input()
        assert running.out.rest() == b""  # nobody is left who could write


@pytest.mark.parametrize("name", ["TERM", "sigterm", "15", "SIGNOPE", "", "SIG"])
def test_bad_parent_death_signals(tini: Init, name: str) -> None:
    ended = tini.run("-p", name, "true")
    assert outcome(ended) == (1, False, True)
    assert ended.errors.startswith("[FATAL tini (")
    assert "-p" in ended.errors


TINI_KNOWS = [
    *("HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2"),
    *("PIPE", "ALRM", "TERM", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU"),
    *("XFSZ", "VTALRM", "PROF", "WINCH", "SYS"),
]


@pytest.mark.parametrize("name", TINI_KNOWS)
def test_good_parent_death_signals(tini: Init, name: str) -> None:
    ended = tini.run(f"-pSIG{name}", "true", variables=SUBREAPER)
    assert (ended.status, ended.errors) == (0, "")


# --- -s, TINI_SUBREAPER ----------------------------------------------------------------------

ORPHAN = """
import posix
# Tells whose child it is, and then whose child an orphan of its own is.
reading, writing = posix.pipe()
posix.write(1, b"%d\\n" % posix.getppid())
if posix.fork() == 0:
    if posix.fork() == 0:
        posix.close(writing)
        posix.read(reading, 1)
        posix.write(1, b"%d\\n" % posix.getppid())
    posix._exit(0)
posix.wait()
posix.close(writing)
posix.read(0, 1)
"""


@pytest.mark.parametrize(
    ("words", "variables"),
    [(["-s"], {}), (["-gs"], {}), ([], {"TINI_SUBREAPER": ""}), ([], {"TINI_SUBREAPER": "0"})],
)
def test_subreaper(tini: Init, words: list[str], variables: dict[str, str]) -> None:
    with tini.start(*words, "--", *python(ORPHAN), variables=variables) as running:
        assert running.lines(2) == [str(running.pid)] * 2
        running.close_input()
        assert running.wait() == 0
        assert running.errors() == ""


def test_the_twin_is_a_subreaper_unasked_and_silent_about_it(twin: Init, peer: Init) -> None:
    with twin.start("--", *python(ORPHAN)) as running:
        assert running.lines(2) == [str(running.pid)] * 2
        running.close_input()
        assert running.wait() == 0
        assert running.errors() == ""
    assert peer.run("true").errors.count("\n") > 2  # its wall of warnings


# --- -v, -w, TINI_VERBOSITY ------------------------------------------------------------------


def news(init: Init, *words: str, **variables: str) -> int:
    """Return how many lines it says of itself, on either stream."""
    ended = init.run(*words, "--", "true", variables={**SUBREAPER, **variables})
    assert ended.status == 0
    return ended.out.count(b"\n") + ended.errors.count("\n")


def test_each_v_says_more(tini: Init) -> None:
    silent, some, more = news(tini), news(tini, "-v"), news(tini, "-v", "-v")
    assert 0 == silent < some < more <= news(tini, "-vvv")


def test_the_variable_wins_over_v(tini: Init) -> None:
    assert news(tini, "-vvv", TINI_VERBOSITY="0") == 0
    assert news(tini, "-vvv", TINI_VERBOSITY="1") == 0
    assert news(tini, TINI_VERBOSITY="2") == news(tini, "-v")
    assert news(tini, TINI_VERBOSITY="3") == news(tini, "-vv")
    assert news(tini, "-vv", TINI_VERBOSITY="") == 0
    assert news(tini, "-vv", TINI_VERBOSITY="x") == 0


def test_the_twins_news_leave_stdout_to_the_program(twin: Init) -> None:
    ended = twin.run("-vv", "--", "echo", "word")
    assert ended.out == b"word\n"
    assert "[INFO  tini (" in ended.errors
    assert "[DEBUG tini (" in ended.errors


WAITS = """
import posix
# Leaves an orphan that dies at once, prints its pid, and ends when it has been reaped.
reading, writing = posix.pipe()
if posix.fork() == 0:
    if orphan := posix.fork():
        posix.write(writing, b"%d" % orphan)
    posix._exit(0)
posix.wait()
orphan = int(posix.read(reading, 100))
while True:
    try:
        posix.kill(orphan, 0)
    except ProcessLookupError:
        break
    posix.sched_yield()
posix.write(1, b"%d" % orphan)
"""


@pytest.mark.parametrize("words", [["-w"], ["-sw"], ["-ww"]])
def test_reaped_orphans_are_warned_of(anywhere: Init, words: list[str]) -> None:
    ended = anywhere.run(*words, "--", *python(WAITS), variables=SUBREAPER)
    lines = ended.errors.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("[WARN  tini (")
    assert f"Reaped zombie process with pid={ended.out.decode()}" in lines[0]


def test_without_w_no_orphan_is_warned_of(tini: Init) -> None:
    assert tini.run("--", *python(WAITS), variables=SUBREAPER).errors == ""
    variables = {**SUBREAPER, "TINI_VERBOSITY": "0"}
    assert tini.run("-w", "--", *python(WAITS), variables=variables).errors == ""


def test_what_is_fatal_is_said_at_any_verbosity(tini: Init) -> None:
    ended = tini.run("--", "/nosuch", variables={"TINI_VERBOSITY": "0"})
    assert ended.status == 127
    assert ended.errors.startswith("[FATAL tini (")


# --- where the twin does better --------------------------------------------------------------


def test_an_ignored_sigchld_hangs_nobody_and_loses_no_status(twin: Init) -> None:
    prepare = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    assert twin.run("--", "sh", "-c", "exit 9", prepare=prepare).status == 9


def test_a_signal_before_the_group_exists_reaches_it_once(twin: Init) -> None:
    # Pending since before the twin was there: tini sends it to a group that isn't there yet.
    with twin.start("-g", "--", *reporter(), prepare=BLOCK_ALL + READY) as running:
        assert running.line() == "starting"
        running.send(signal.SIGUSR1)
        running.send(LAST)
        assert running.line().split()[1] == "ready"
        assert got(running, {"reporter"}) == {"reporter": [signal.SIGUSR1]}


def test_stops_of_terminals_and_faults_that_were_sent_are_forwarded(twin: Init) -> None:
    # tini ignores the one kind, dies of the other; gunicorn counts its workers by SIGTTIN.
    with twin.start("--", *reporter()) as running:
        running.line()
        for number in sorted(set(signal.valid_signals()) - set(FORWARDED)):
            if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD):
                running.send(number)
                assert running.line().split()[:2] == ["reporter", str(int(number))]


def test_the_terminal_is_not_stolen_in_the_background(twin: Init) -> None:
    with Terminal() as terminal, Shell(terminal) as shell:
        # Once it says ready it would have taken the foreground, as tini does.
        pid = shell.run(twin.argv("--", *reporter()), foreground=False)
        assert terminal.screen.next().split()[1] == "ready"
        assert terminal.foreground == shell.pid
        os.kill(pid, signal.SIGKILL)
        shell.wait(pid)


def test_the_suspend_key_gives_the_prompt_back(twin: Init) -> None:
    with Terminal() as terminal, Shell(terminal) as shell:
        pid = shell.run(twin.argv("--", *python("import posix; posix.write(1, b'up\\n'); "
                                                "posix.read(0, 1); posix._exit(4)")))  # fmt: skip
        assert terminal.screen.next() == "up"
        children.wait_until(lambda: terminal.foreground not in (pid, shell.pid))
        terminal.type(b"\x1a")
        assert "stopped" in shell.wait(pid)
        shell.resume(pid)
        terminal.type(b"\n")
        assert shell.wait(pid)["status"] == 4


# --- as a file that stands in tini's place ----------------------------------------------------


@pytest.mark.parametrize("kind", twins.KINDS)
@pytest.mark.parametrize("name", ["tini", "docker-init"])
def test_ps_shows_the_name(kind: str, name: str, tmp_path: Path) -> None:
    path = Init(name, kind).link(tmp_path / name)
    with Running([str(path), "-s", "--", *reporter()]) as running:
        running.line()
        comm = Path(f"/proc/{running.pid}/comm")
        children.wait_until(lambda: comm.read_text() == f"{name}\n", "its name")


def test_the_mask_of_whoever_started_us_is_the_workloads(tini: Init) -> None:
    prepare = "signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR2, signal.SIGTTIN})\n"
    prepare += "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    show = [shutil.which("grep") or "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
    assert tini.run("--", *show, prepare=prepare).out == run(prepared(prepare, show)).out
