"""dumb-init and its twin, side by side: each option and variable, and where the twin does better.

A test that takes `dumb_init` runs twice, with the tool and with the twin; `twin` and `peer` are
for the deliberate differences of docs/twins.md.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path

import pytest
from helpers import children, twins
from helpers.capabilities import require
from helpers.places import Place
from helpers.programs import BLOCK_ALL, READY, REPORTER, family, prepared, python, reporter
from helpers.running import Running, run
from helpers.seccomp import deny
from helpers.terminal import LEAD, Shell, Terminal
from helpers.twins import Init, environment, outcome

LAST = int(signal.SIGRTMAX)
SINGLE = {"DUMB_INIT_SETSID": "0"}
STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)

dumb_init, anywhere, twin, peer = twins.fixtures("dumb-init")


def got(running: Running, until: int = LAST, by: str = "reporter") -> list[int]:
    """Return which signals a reporter got, up to and without `until`."""
    numbers: list[int] = []
    while True:
        tag, number = running.line().split()[:2]
        if tag != by:
            continue
        if int(number) == until:
            return numbers
        numbers.append(int(number))


# --- answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["-V", "--version", "--vers"])
def test_version(dumb_init: Init, word: str) -> None:
    ended = dumb_init.run(word)
    assert outcome(ended) == (0, False, True)
    assert ended.errors.startswith("dumb-init v1.2.5")
    assert ended.errors.count("\n") == 1


@pytest.mark.parametrize("word", ["-h", "--help", "--h"])
def test_help(dumb_init: Init, word: str) -> None:
    ended = dumb_init.run(word)
    assert outcome(ended) == (0, False, True)
    first, second = ended.errors.splitlines()[:2]
    assert first.startswith("dumb-init v1.2.5")
    assert second.startswith("Usage: ")
    assert second.endswith("dumb-init [option] command [[arg] ...]")
    for option in ("-c, --single-child", "-r, --rewrite", "-v, --verbose", "-h, --help",
                   "-V, --version"):  # fmt: skip
        assert option in ended.errors


def test_no_program(dumb_init: Init) -> None:
    for words in ([], ["-c"], ["--"], ["-v", "--"]):
        ended = dumb_init.run(*words)
        assert outcome(ended) == (1, False, True)
        assert "dumb-init [option] program [args]" in ended.errors


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-x"], "invalid option -- 'x'"),
        (["-cx", "true"], "invalid option -- 'x'"),
        (["-r"], "option requires an argument -- 'r'"),
        (["--rewrite"], "option '--rewrite' requires an argument"),
        (["--nosuch", "true"], "unrecognized option '--nosuch'"),
        (["--help=1"], "option '--help' doesn't allow an argument"),
        (["--ver", "true"], "option '--ver' is ambiguous; possibilities: '--verbose' '--version'"),
    ],
)
def test_bad_options(dumb_init: Init, words: list[str], complaint: str) -> None:
    ended = dumb_init.run(*words)
    assert outcome(ended) == (1, False, True)
    assert ended.errors.splitlines()[0].endswith(f"dumb-init: {complaint}")


def test_the_first_answer_counts(dumb_init: Init) -> None:
    assert dumb_init.run("-h", "-x").status == 0
    assert dumb_init.run("-x", "-h").status == 1
    assert dumb_init.run("-V", "-r", "99:1").status == 0


@pytest.mark.parametrize("kind", twins.KINDS)
def test_usage_goes_by_the_name(kind: str, tmp_path: Path) -> None:
    path = Init("dumb-init", kind).link(tmp_path / "dumb-init")
    with Running([str(path)]) as running:
        assert running.wait() == 1
        assert "dumb-init [option] program [args]" in running.errors()


# --- how the words are read ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["echo", "-c", "a"], b"-c a\n"),
        (["-c", "echo", "-V"], b"-V\n"),
        (["--", "echo", "--", "a"], b"-- a\n"),
        (["echo", "--", "a"], b"-- a\n"),
        (["-cr1:2", "echo", "a"], b"a\n"),
        (["--single", "--rew=1:2", "echo", "a"], b"a\n"),
        (["--single-child", "--rewrite", "1:2", "echo", "a"], b"a\n"),
    ],
)
def test_options_end_at_the_program(dumb_init: Init, words: list[str], out: bytes) -> None:
    ended = dumb_init.run(*words)
    assert (ended.status, ended.out, ended.errors) == (0, out, "")


# --- exit statuses ---------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 42, 127, 128, 255])
def test_the_status_is_the_programs(anywhere: Init, code: int) -> None:
    assert anywhere.run("sh", "-c", f"exit {code}").status == code


@pytest.mark.parametrize("words", [[], ["-c"]])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_a_death_by_signal_is_128_more(anywhere: Init, words: list[str], number: int) -> None:
    assert anywhere.run(*words, "sh", "-c", f"kill -{int(number)} $$").status == 128 + number


@pytest.mark.parametrize(
    "program", ["/nosuch", "pidone-no-such-program", "/etc", "/etc/passwd", ""]
)
def test_a_failed_exec_is_2(anywhere: Init, program: str) -> None:
    ended = anywhere.run(program)
    assert outcome(ended) == (2, False, True)
    assert ended.errors.startswith(f"[dumb-init] {program}: " if program else "[dumb-init] ")


# --- the session, -c, DUMB_INIT_SETSID -------------------------------------------------------

WHERE = """
import posix
# Says how this process stands to its own pid and to its parent's session and group.
pid, parent = posix.getpid(), posix.getppid()
say = [posix.getsid(0) == pid, posix.getpgrp() == pid,
       posix.getsid(0) == posix.getsid(parent), posix.getpgrp() == posix.getpgid(parent)]
posix.write(1, b"%d%d%d%d" % tuple(say))
"""
LEADS = b"1100"
SHARES = b"0011"


@pytest.mark.parametrize(
    ("words", "variables", "place_of"),
    [
        ([], {}, LEADS),
        ([], {"DUMB_INIT_SETSID": "1"}, LEADS),
        ([], {"DUMB_INIT_SETSID": ""}, LEADS),
        ([], {"DUMB_INIT_SETSID": "no"}, LEADS),
        ([], {"DUMB_INIT_SETSID": "0"}, SHARES),
        (["-c"], {}, SHARES),
        (["--single-child"], {}, SHARES),
        (["-c"], {"DUMB_INIT_SETSID": "1"}, SHARES),
    ],
)
def test_where_the_workload_lives(
    dumb_init: Init, words: list[str], variables: dict[str, str], place_of: bytes
) -> None:
    assert dumb_init.run(*words, *python(WHERE), variables=variables).out == place_of


@pytest.mark.parametrize(("words", "members"), [([], {"leader", "member"}), (["-c"], {"leader"})])
def test_targets(anywhere: Init, words: list[str], members: set[str]) -> None:
    with anywhere.start(*words, *family()) as running:
        ready = {line.split()[0]: int(line.split()[2]) for line in running.lines(3)}
        running.send(signal.SIGUSR1)
        running.send(LAST)
        heard = sorted(running.line().split()[:2] for _ in range(2 * len(members)))
        wanted = [[tag, str(number)] for tag in members for number in (int(signal.SIGUSR1), LAST)]
        assert heard == sorted(wanted)
        if not anywhere.inside:
            for tag in {"leader", "member", "stranger"} - members:
                os.kill(ready[tag], LAST)
                assert running.line().split()[:2] == [tag, str(LAST)]


FORWARDED = sorted(
    int(number)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, *STOPS}
)


@pytest.mark.parametrize("words", [[], ["-c"]])
def test_signals_are_forwarded(anywhere: Init, words: list[str]) -> None:
    with anywhere.start(*words, *reporter()) as running:
        running.line()
        for number in FORWARDED:
            running.send(number)
            assert running.line().split()[:2] == ["reporter", str(number)]


# --- -r --------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["-r", "10:12"], ["-r10:12"], ["--rewrite", "10:12"],
                                   ["--rewrite=10:12"], ["-cr10:12"]])  # fmt: skip
def test_rewriting(anywhere: Init, words: list[str]) -> None:
    with anywhere.start(*words, *reporter()) as running:
        running.line()
        running.send(signal.SIGUSR1)
        running.send(LAST)
        assert got(running) == [signal.SIGUSR2]


def test_rewriting_to_0_drops(dumb_init: Init) -> None:
    with dumb_init.start("-r", "10:0", *reporter()) as running:
        running.line()
        running.send(signal.SIGUSR1)
        running.send(LAST)
        assert got(running) == []


def test_rewriting_many_and_the_last_counts(dumb_init: Init) -> None:
    words = ["-r", "1:2", "-r", "2:3", "--rewrite", "15:1", "-r15:10"]
    with dumb_init.start(*words, *reporter()) as running:
        running.line()
        for sent, comes in ((1, 2), (2, 3), (15, 10), (3, 3)):
            running.send(sent)
            assert running.line().split()[:2] == ["reporter", str(comes)]


@pytest.mark.parametrize("value", ["9:1", "17:10", "19:10", " 1: +2", "1:2x", "01:02"])
def test_rewriting_that_is_overlooked_or_lax(dumb_init: Init, value: str) -> None:
    ended = dumb_init.run("-r", value, "true")
    assert (ended.status, ended.errors) == (0, "")


@pytest.mark.parametrize(
    "value", ["", ":", "15", "15:", ":15", "0:15", "32:15", "15:32", "-1:2", "15:-1", "TERM:INT",
              "15=3", "15 :3"]
)  # fmt: skip
def test_bad_rewriting(dumb_init: Init, value: str) -> None:
    assert outcome(dumb_init.run("-r", value, "true")) == (1, False, True)


# --- stop signals ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", STOPS)
def test_stop_signals_stop_the_session_and_the_init(dumb_init: Init, number: int) -> None:
    with dumb_init.start(*python("import posix; posix.write(1, b'up\\n'); posix.read(0, 1)")) as (
        running
    ):
        running.line()
        (workload,) = children.of(running.pid)
        running.send(number)
        children.wait_state(workload, "T")
        children.wait_state(running.pid, "T")
        running.send(signal.SIGCONT)
        children.wait_state(workload, "S")
        children.wait_state(running.pid, "S")
        running.close_input()
        assert running.wait() == 0


@pytest.mark.parametrize(
    ("words", "number", "comes"),
    [
        (["-c"], signal.SIGTSTP, [signal.SIGTSTP]),
        (["-c"], signal.SIGTTIN, [signal.SIGTTIN]),
        (["-c"], signal.SIGTTOU, [signal.SIGTTOU]),
        (["-r", "20:10"], signal.SIGTSTP, [signal.SIGUSR1]),
        (["-r", "20:0"], signal.SIGTSTP, []),
        (["-r", "20:20"], signal.SIGTSTP, [signal.SIGTSTP]),
        (["-c", "-r", "21:15"], signal.SIGTTIN, [signal.SIGTERM]),
    ],
)
def test_stop_signals_that_are_forwarded_otherwise(
    dumb_init: Init, words: list[str], number: int, comes: list[int]
) -> None:
    with dumb_init.start(*words, *reporter()) as running:
        running.line()
        running.send(number)
        for wanted in comes:
            assert running.line().split()[:2] == ["reporter", str(int(wanted))]
        children.wait_state(running.pid, "T")
        running.send(signal.SIGCONT)
        running.send(LAST)
        assert got(running) == [signal.SIGCONT]


@pytest.mark.parametrize("kind", twins.KINDS)
def test_pid_1_is_never_stopped(inside: Place, kind: str) -> None:
    init = Init("dumb-init", kind, inside)
    with init.start("-r", "20:10", *reporter()) as running:
        running.line()
        for _ in range(2):
            running.send(signal.SIGTSTP)
            assert running.line().split()[:2] == ["reporter", str(int(signal.SIGUSR1))]


def test_the_workloads_own_stop_stops_nobody_else(dumb_init: Init) -> None:
    script = "kill -STOP $$; echo on; read word; exit 5"
    with dumb_init.start("-c", "sh", "-c", script) as running:
        children.wait_until(lambda: bool(children.of(running.pid)))
        (workload,) = children.of(running.pid)
        children.wait_state(workload, "T")
        running.send(signal.SIGCONT)
        assert running.line() == "on"
        assert children.state(running.pid) != "T"
        running.close_input()
        assert running.wait() == 5


# --- the end ---------------------------------------------------------------------------------

LEAVES = """
import posix, _signal, sys
# Ends with 6, and leaves a member of its group and a stranger behind that report signals.
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
reading, writing = posix.pipe()
for tag in (b"member", b"stranger"):
    if posix.fork() == 0:
        if tag == b"stranger":
            posix.setsid()
        posix.close(0)
        posix.write(writing, b".")
        number = _signal.sigwaitinfo(_signal.valid_signals() - {_signal.SIGCHLD}).si_signo
        posix.write(1, b"%b %d\\n" % (tag, number))
        posix._exit(0)
for _ in range(2):
    posix.read(reading, 1)
posix.write(1, b"up\\n")
posix.read(0, 1)
posix._exit(6)
"""


@pytest.mark.parametrize(
    ("words", "parting"),
    [
        ([], signal.SIGTERM),
        (["-r", "15:3"], signal.SIGQUIT),
        (["-r", "15:0"], None),
        (["-c"], None),
    ],
)
def test_what_is_left_of_the_session_is_asked_to_end(
    dumb_init: Init, words: list[str], parting: int | None
) -> None:
    with dumb_init.start(*words, *python(LEAVES)) as running:
        assert running.line() == "up"
        left = children.below(running.pid)[1:]
        assert len(left) == 2
        running.close_input()
        assert running.wait() == 6
        said = {} if parting is None else {f"member {int(parting)}"}
        assert {running.line() for _ in said} == set(said)
        # Nobody else got one: what they say next is what they are sent now.
        for pid in left:
            if children.state(pid) not in ("", "Z"):
                os.kill(pid, LAST)
        rest = set(running.out.rest().decode().split("\n")) - {""}
        others = {"stranger"} if parting is not None else {"stranger", "member"}
        assert rest == {f"{tag} {LAST}" for tag in others}


# --- -v, DUMB_INIT_DEBUG ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "variables", "says"),
    [
        (["-v"], {}, True),
        (["--verbose"], {}, True),
        (["--verb"], {}, True),
        (["-vc"], {}, True),
        ([], {"DUMB_INIT_DEBUG": "1"}, True),
        ([], {"DUMB_INIT_DEBUG": "0"}, False),
        ([], {"DUMB_INIT_DEBUG": ""}, False),
        ([], {"DUMB_INIT_DEBUG": "yes"}, False),
        (["-v"], {"DUMB_INIT_DEBUG": "0"}, True),
        ([], {}, False),
    ],
)
def test_news(dumb_init: Init, words: list[str], variables: dict[str, str], says: bool) -> None:
    ended = dumb_init.run(*words, "echo", "word", variables=variables)
    assert (ended.status, ended.out) == (0, b"word\n")
    assert bool(ended.errors) == says
    assert all(line.startswith("[dumb-init] ") for line in ended.errors.splitlines())


# --- terminals -------------------------------------------------------------------------------

TERMINAL = """
import _signal, os, sys
# Says whether it leads the session of its terminal, and whether it's in the foreground there.
_signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
try:
    leads = os.getsid(0) == os.getpid()
    foreground = os.tcgetpgrp(os.open("/dev/tty", os.O_RDWR)) == os.getpgrp()
except OSError:
    leads = foreground = False
os.write(1, b"%d%d\\n" % (leads, foreground))
"""


def on_terminal() -> list[str | bytes]:
    """Return the argv of a reporter that first says how it stands to its terminal."""
    return python(TERMINAL + REPORTER)


def test_the_terminal_is_handed_to_the_workloads_session(dumb_init: Init) -> None:
    with Terminal() as terminal, terminal.lead(dumb_init.argv(*on_terminal())) as running:
        assert terminal.screen.next() == "11"
        ready = terminal.screen.next().split()
        assert terminal.foreground == int(ready[2])
        # It hears nothing of the hand-over, and then whatever comes.
        os.kill(running.pid, signal.SIGUSR1)
        assert terminal.screen.next().split()[:2] == ["reporter", str(int(signal.SIGUSR1))]
        for number in (signal.SIGHUP, signal.SIGCONT):
            os.kill(running.pid, number)
            assert terminal.screen.next().split()[:2] == ["reporter", str(int(number))]
        terminal.type(b"\x03")
        assert terminal.screen.next().split()[:2] == ["reporter", str(int(signal.SIGINT))]
        os.kill(int(ready[2]), signal.SIGKILL)
        assert running.wait() == 128 + signal.SIGKILL


def test_without_a_session_the_terminal_stays_where_it_is(dumb_init: Init) -> None:
    with Terminal() as terminal, terminal.lead(dumb_init.argv("-c", *on_terminal())) as running:
        assert terminal.screen.next() == "01"
        ready = terminal.screen.next().split()
        assert terminal.foreground == running.pid
        os.kill(int(ready[2]), signal.SIGKILL)
        assert running.wait() == 128 + signal.SIGKILL


def test_a_job_of_a_shell_leaves_the_terminal_to_it(dumb_init: Init) -> None:
    with Terminal() as terminal, Shell(terminal) as shell:
        pid = shell.run(dumb_init.argv(*on_terminal()))
        assert terminal.screen.next() == "00"
        ready = terminal.screen.next().split()
        assert terminal.foreground == pid
        os.kill(int(ready[2]), signal.SIGKILL)
        assert shell.wait(pid)["status"] == 128 + signal.SIGKILL


def test_the_suspend_key_stops_all_of_a_single_child_job(dumb_init: Init) -> None:
    # The workload is in our group, and the key's signal is for all of that.
    code = "import posix; posix.write(1, b'up\\n'); posix.read(0, 1); posix._exit(4)"
    with Terminal() as terminal, Shell(terminal) as shell:
        pid = shell.run(dumb_init.argv("-c", *python(code)))
        assert terminal.screen.next() == "up"
        terminal.type(b"\x1a")
        assert "stopped" in shell.wait(pid)
        shell.resume(pid)
        terminal.type(b"\n")
        assert shell.wait(pid)["status"] == 4


# --- where the twin does better --------------------------------------------------------------


def test_the_interrupt_key_comes_once(twin: Init) -> None:
    # The workload shares our group and has it from the terminal: dumb-init sends it once more.
    with Terminal() as terminal, terminal.lead(twin.argv("-c", *on_terminal())) as running:
        assert terminal.screen.next() == "01"
        ready = terminal.screen.next().split()
        terminal.type(b"\x03")
        assert terminal.screen.next().split()[1] == str(int(signal.SIGINT))
        os.kill(running.pid, LAST)
        assert terminal.screen.next().split()[1] == str(LAST)
        os.kill(int(ready[2]), signal.SIGKILL)
        running.wait()


def test_signals_that_wait_since_before_the_hand_over_are_not_taken_for_it(twin: Init) -> None:
    # dumb-init drops the first SIGHUP and SIGCONT that it gets, whoever sent them.
    prepare = BLOCK_ALL + LEAD + READY
    with Terminal() as terminal:
        argv = prepared(prepare, twin.argv(*on_terminal()))
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal.slave)
        with Running(argv, environment=environment(), **streams) as running:  # type: ignore[arg-type]
            assert terminal.screen.next() == "starting"
            os.kill(running.pid, signal.SIGHUP)
            assert terminal.screen.next() == "11"
            ready = terminal.screen.next().split()
            heard = terminal.screen.next().split()
            assert heard[:2] == ["reporter", str(int(signal.SIGHUP))]
            os.kill(int(ready[2]), signal.SIGKILL)
            running.wait()


def test_the_mask_and_ignored_signals_reach_the_workload(twin: Init) -> None:
    # dumb-init unblocks and resets all of them.
    prepare = "signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR2, signal.SIGTTIN})\n"
    prepare += "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    show = [shutil.which("grep") or "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
    assert twin.run(*show, prepare=prepare).out == run(prepared(prepare, show)).out


ORPHAN = """
import posix
# Tells whose child an orphan of its own is.
reading, writing = posix.pipe()
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


@pytest.mark.parametrize("words", [[], ["-c"]])
def test_the_twin_adopts_orphans_wherever_it_runs(twin: Init, words: list[str]) -> None:
    with twin.start(*words, *python(ORPHAN)) as running:
        assert running.line() == str(running.pid)
        running.close_input()
        assert running.wait() == 0


def test_a_session_that_is_denied_is_done_without(twin: Init) -> None:
    # dumb-init gives up with status 1. A process group can still be had.
    require("seccomp")
    with twin.start(*family(), prepare=deny(errno.EPERM, "setsid")) as running:
        # The stranger of the family dies of the denial.
        ready = {line.split()[0] for line in running.lines(2)}
        assert ready == {"leader", "member"}
        running.send(signal.SIGUSR1)
        heard = sorted(line.split()[0] for line in running.lines(2))
        assert heard == ["leader", "member"]
        running.send(signal.SIGKILL)


# --- as a file that stands in dumb-init's place ------------------------------------------------


@pytest.mark.parametrize("kind", twins.KINDS)
def test_ps_shows_the_name(kind: str, tmp_path: Path) -> None:
    path = Init("dumb-init", kind).link(tmp_path / "dumb-init")
    with Running([str(path), *reporter()]) as running:
        running.line()
        comm = Path(f"/proc/{running.pid}/comm")
        children.wait_until(lambda: comm.read_text() == "dumb-init\n", "its name")


def test_it_keeps_no_directory_busy(dumb_init: Init, tmp_path: Path) -> None:
    with dumb_init.start(*reporter(), directory=str(tmp_path)) as running:
        running.line()
        children.wait_until(lambda: os.readlink(f"/proc/{running.pid}/cwd") == "/", "its root")
        (workload,) = children.of(running.pid)
        assert os.readlink(f"/proc/{workload}/cwd") == str(tmp_path)
