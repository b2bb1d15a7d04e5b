"""What a test asks of several inits: each function starts one of them and checks what it does."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from helpers import children
from helpers.programs import Word, family, prepared, python, reporter
from helpers.reporters import LAST, reported_by_all
from helpers.running import Running, run
from helpers.transparency import signal_state
from helpers.twins import Init

_ORPHAN = """
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


def adopts_orphans(init: Init, *words: Word, **how: Any) -> None:
    """Check that an orphan of the program becomes a child of the init, which is silent about it."""
    with init.start(*words, *python(_ORPHAN), **how) as running:
        assert running.lines(2) == [str(running.pid)] * 2
        running.close_input()
        assert running.wait() == 0
        assert running.errors() == ""


def forwards(init: Init, numbers: Iterable[int], *words: Word) -> None:
    """Check that the program gets each of the signals that are sent to the init."""
    with init.start(*words, *reporter()) as running:
        running.line()
        for number in numbers:
            running.send(number)
            assert running.line().split()[:2] == ["reporter", str(int(number))]


def reaches(init: Init, members: set[str], *words: Word, **how: Any) -> None:
    """Check that a signal to the init reaches these of the family, and nobody else of it."""
    with init.start(*words, *family(), **how) as running:
        ready = {line.split()[0]: int(line.split()[2]) for line in running.lines(3)}
        running.send(signal.SIGUSR1)
        running.send(LAST)
        assert reported_by_all(running, members) == {tag: [signal.SIGUSR1] for tag in members}
        # The others hear of nothing but what they are told by their pids.
        if not init.inside:
            others = {"leader", "member", "stranger"} - members
            for tag in others:
                os.kill(ready[tag], LAST)
            assert reported_by_all(running, others) == {tag: [] for tag in others}


def hands_on_signal_state(init: Init, mask: set[int], *words: Word) -> None:
    """Check that the program has the mask that the init was started with, and SIGHUP ignored."""
    prepare = signal_state(mask, {signal.SIGHUP})
    show = [shutil.which("grep") or "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
    assert init.run(*words, *show, prepare=prepare).out == run(prepared(prepare, show)).out


def has_its_name(init: Init, directory: Path, *words: Word) -> None:
    """Check that ps(1) shows the name of the file in `directory` that starts the init."""
    path = init.link(directory / init.tool)
    with Running([str(path), *words, *reporter()]) as running:
        running.line()
        comm = Path(f"/proc/{running.pid}/comm")
        children.wait_until(lambda: comm.read_text() == f"{init.tool}\n", "its name")
