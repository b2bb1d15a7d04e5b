"""A terminal shared by a job: who reads it, whom its keys reach, and what its closing leaves.

A matrix: the program at each place in a shell's job, started in each way, meets what comes from a
terminal. The shell is bash, and the rest of the job what people put there; what is expected is what
happens without us in between.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.programs import PLACE, Word, pyinit, python
from helpers.running import Lines, Running
from helpers.terminal import INTERACTIVE, INTERRUPT, PROMPT, SUSPEND, Terminal

from spawner import lean


class Session:
    """A bash on a terminal, and a pipe to it of its own from the programs under test.

    `enter` types a line; `heard` are the programs' words, at whose end all of them are gone.
    """

    def __init__(self, terminal: Terminal, place: Path) -> None:
        require("bash")
        self.terminal = terminal
        self.place = place
        self.pipe = place / "pipe"
        os.mkfifo(self.pipe)
        self._reader = os.open(self.pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.heard = Lines(self._reader)
        self._bash = terminal.lead(INTERACTIVE)
        self.pid = self._bash.pid
        self.prompt()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bash.__exit__(None, None, None)
        os.close(self._reader)

    def program(self, then: str = "exec sleep 1000") -> list[Word]:
        """Return the argv of a program that says "on", and does what is asked for."""
        return ["/bin/sh", "-c", f"exec 9>{self.pipe}; echo on >&9; {then}"]

    def enter(self, line: str) -> None:
        self.terminal.type(line.encode() + b"\n")

    def prompt(self) -> bytes:
        """Return what comes up to the next prompt."""
        return self.terminal.screen.until(PROMPT)

    def started(self, count: int = 1) -> None:
        assert [self.heard.next() for _ in range(count)] == ["on"] * count

    def sleepers(self, place: str) -> list[int]:
        """Return the host pids of what the programs at a place have become: sleeps."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [pid for pid in children.below(self.pid) if _sleeps(pid)]
            return len(found) == COUNT.get(place, 1)

        children.wait_until(look, "the sleep")
        return found

    def members(self) -> list[int]:
        """Return the processes of the shell's job that are in its process group."""
        jobs = children.of(self.pid)
        return [pid for pid in children.below(self.pid) if _group(pid) in jobs]

    def ended(self) -> None:
        """Wait until all programs are gone; more of them have not been started."""
        assert self.heard.rest() == b""


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _sleeps(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\0"
    except OSError:
        return False


@pytest.fixture
def session(terminal: Terminal, tmp_path: Path) -> Iterator[Session]:
    with Session(terminal, tmp_path) as made:
        yield made


def by_run(program: list[Word]) -> list[Word]:
    return [*lean.pyspawn(), "--init", "--", *program]


def by_keeper(program: list[Word]) -> list[Word]:
    return [*lean.pyspawn(), "--share=pid", "--", *program]


def by_program(program: list[Word]) -> list[Word]:
    """Without an init the program is PID 1, and can do what it wants with a signal."""
    code = (
        "import os, signal, sys;"
        "end = lambda number, _: os._exit(128 + number);"
        "[signal.getsignal(n) == signal.SIG_IGN or signal.signal(n, end) for n in (1, 2, 3)];"
        "os.fork() or os.execv(sys.argv[1], sys.argv[1:]);"
        "code = os.waitstatus_to_exitcode(os.wait()[1]);"
        "os._exit(code if code >= 0 else 128 - code)"
    )
    return [*lean.pyspawn(), "--", *python(code, *program)]


def by_pyinit(program: list[Word]) -> list[Word]:
    return pyinit("--", *program)


def by_api(program: list[Word]) -> list[Word]:
    head = f"import sys; sys.path[:0] = [{PLACE!r}]; import spawner; "
    return python(head + f"spawner.run({program!r})")


Way = Callable[[list[Word]], list[Word]]
WAYS: dict[str, Way] = {
    "run": by_run,
    "pid 1": by_program,
    "keeper": by_keeper,
    "pyinit": by_pyinit,
    "api": by_api,
}


@pytest.fixture(params=[*WAYS, "exec"])
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """Run the test for each way to start the program."""
    require("pidns")
    if request.param in WAYS:
        yield WAYS[request.param]
        return
    with Running(by_run(["/bin/sh", "-c", "echo on; exec sleep 1000000"])) as target:
        assert target.line() == "on"
        (init,) = children.of(target.pid)
        yield lambda program: [*lean.pyspawn(), "exec", str(init), "--", *program]


def script(text: str, shell: str = "sh") -> str:
    return f"{shell} -c {shlex.quote(text)}"


def make(session: Session, words: str, targets: str = "a b") -> str:
    """Return a command line for make(1) that runs a command for each target, at once."""
    require("make")
    text = words.replace("$", "$$")
    rule = f"{targets}:\n\t@{text}\n\techo after\n"
    (session.place / "Makefile").write_text(f"all: {targets}\n{rule}")
    return f"make -s -j2 -f {session.place}/Makefile"


LOOP = "for i in 1 2 3; do {}; done; echo after"

PLACES: dict[str, Callable[[Session, str], str]] = {
    "alone": lambda _, words: words,
    "left": lambda _, words: f"{words} | cat",
    "right": lambda _, words: f"sleep 1000000 | {words}",
    "both": lambda _, words: f"{words} | {words}",
    "script": lambda _, words: script(f"{words}; echo after"),
    "exec": lambda _, words: script(f"exec {words}", "bash"),
    "loop": lambda _, words: LOOP.format(words),
    "script loop": lambda _, words: script(LOOP.format(words)),
    "bash loop": lambda _, words: script(LOOP.format(words), "bash"),
    "make": make,
    "nohup": lambda _, words: f"nohup {words} >/dev/null",
}
"""Where the shell has the program in its foreground, by the shell's command line."""

COUNT = {"both": 2, "make": 2}


@pytest.fixture(params=list(PLACES))
def place(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def start(session: Session, way: Way, place: str, then: str = "exec sleep 1000") -> None:
    """Start the program at its place in the foreground, and wait until it's on."""
    words = shlex.join(map(str, way(session.program(then))))
    session.enter(PLACES[place](session, words))
    session.started(COUNT.get(place, 1))


def test_an_interrupt_key_ends_the_whole_job(way: Way, session: Session, place: str) -> None:
    start(session, way, place)
    session.terminal.type(INTERRUPT)
    said = session.prompt()
    session.ended()
    assert b"after" not in said
    session.enter("echo status $?")
    assert b"status 130" in session.prompt() or place == "make" or way is by_program


def test_who_has_asked_for_the_terminal_shares_the_interrupt_key(
    way: Way, session: Session, place: str
) -> None:
    """It's the program's group alone that the terminal sends it to then."""
    if place in ("both", "make"):
        pytest.skip("two can't read the same line")
    start(session, way, place, 'read word </dev/tty; echo "$word" >&9; exec sleep 1000')
    session.enter("typed")
    assert session.heard.next() == "typed"
    session.terminal.type(INTERRUPT)
    said = session.prompt()
    session.ended()
    assert b"after" not in said


def test_the_suspend_key_stops_the_whole_job_and_fg_continues_it(
    way: Way, session: Session, place: str
) -> None:
    start(session, way, place)
    sleepers = session.sleepers(place)
    for _ in range(2):
        session.terminal.type(SUSPEND)
        session.prompt()
        for pid in (*sleepers, *session.members()):
            children.wait_state(pid, "TZ")
        session.enter("fg")
        for pid in sleepers:
            children.wait_state(pid, "SR")
    session.terminal.type(INTERRUPT)
    session.prompt()
    session.ended()


def test_a_closed_terminal_ends_the_whole_job(way: Way, session: Session, place: str) -> None:
    start(session, way, place)
    sleepers = session.sleepers(place)
    session.terminal.hang_up()
    if place != "nohup":
        session.ended()
        return
    assert children.wait_gone([session.pid]) == set()
    for pid in sleepers:
        assert children.runs(pid)
        os.kill(pid, signal.SIGTERM)
    session.ended()


READ = "{} & read x </dev/tty; echo got $x; wait"

# What else of the job reads, while the program runs, and isn't stopped for it.
READERS: dict[str, Callable[[Session, str], str]] = {
    "left": lambda _, words: f"{words} | {script('read x </dev/tty; echo got $x; cat')}",
    "right": lambda _, words: f"{script('read x </dev/tty; echo got $x >&2; cat')} | {words}",
    "script": lambda _, words: script(f"{words} & read x; echo got $x; wait"),
    "caller": lambda _, words: shlex.join(map(str, python(CALLER, words))),
    "make": lambda session, words: make(session, READ.format(words), "a"),
    "background": lambda _, words: f"{words} & read x; echo got $x",
    "nohup": lambda _, words: script(f"nohup {words} >/dev/null & read x; echo got $x; wait"),
    "no terminal": lambda _, words: script(f"setsid {words} & read x; echo got $x; wait"),
}

CALLER = """
import subprocess, sys
process = subprocess.Popen(["/bin/sh", "-c", "exec " + sys.argv[1]], start_new_session=False)
print("got", input(), flush=True)
process.wait()
"""


@pytest.mark.parametrize("reader", list(READERS))
def test_the_rest_of_the_job_reads_the_terminal(way: Way, session: Session, reader: str) -> None:
    words = shlex.join(map(str, way(session.program())))
    session.enter(READERS[reader](session, words))
    session.started()
    session.enter("typed")
    said = session.terminal.screen.until(b"got typed\n")
    assert b"Stopped" not in said
