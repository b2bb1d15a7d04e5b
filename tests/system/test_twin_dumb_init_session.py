"""dumb-init and its twin, side by side: the program's session and its end.

A test that takes `dumb_init` runs twice, with the tool and with the twin; `twin` and `peer` are
for the deliberate differences of docs/twins.md.
"""

from __future__ import annotations

import os
import signal

import pytest
from helpers import children, init_checks, twins
from helpers.programs import python
from helpers.reporters import FORWARDED, LAST, STOPS
from helpers.twins import Init

dumb_init, anywhere, _, _ = twins.fixtures("dumb-init")

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
    init_checks.reaches(anywhere, members, *words)


@pytest.mark.parametrize("words", [[], ["-c"]])
def test_signals_are_forwarded(anywhere: Init, words: list[str]) -> None:
    init_checks.forwards(anywhere, sorted(set(FORWARDED) - set(STOPS)), *words)


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
