"""dumb-init and its twin, side by side: exit statuses.

A test that takes `dumb_init` runs twice, with the tool and with the twin; `twin` and `peer` are
for the deliberate differences of docs/twins.md.
"""

from __future__ import annotations

import signal

import pytest
from helpers import twins
from helpers.twins import Init, outcome

_, anywhere, _, _ = twins.fixtures("dumb-init")


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
