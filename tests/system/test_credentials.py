"""Credentials inside: --setuid, --setgid and --groups."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from helpers.mapping import MAPPER, ids, pyspawn, require_mapper, require_room, rows, told
from helpers.programs import python
from helpers.rooms import entered, room
from helpers.running import Running

import pyinit
from spawner import lean


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_root_becomes_somebody_without_a_user_namespace(init: list[str]) -> None:
    require_room()
    found = told(pyspawn(*init, "--setuid", "64998", "--setgid", "64997", program=ids()))
    assert (found["uid"], found["gid"]) == ("64998 64998 64998", "64997 64997 64997")
    assert (found["groups"], found["caps"]) == ("", "")
    groups = told(pyspawn(*init, "--groups", "5,6", program=ids()))
    assert (groups["uid"], groups["groups"]) == ("0 0 0", "5 6")


def test_who_becomes_another_user_keeps_no_groups_of_the_callers() -> None:
    require_room()
    code = "os.setgroups([5, 6])\n"
    assert told(room(code, program=ids()))["groups"] == "5 6"
    assert told(room(code, "--setuid", "64998", program=ids()))["groups"] == ""
    assert told(room(code, "--setuid", "64998", "--groups", "6", program=ids()))["groups"] == "6"


SLEEPER = "import _signal,posix; posix.write(1, b'ready\\n'); _signal.sigwait([_signal.SIGUSR1])"


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_signals_reach_somebody_else(init: list[str]) -> None:
    require_room()
    words = [*init, "--map-users=0:100000:9", "--setuid=5", "--groups=", "--"]
    with Running([*lean.pyspawn(), *words, *python(SLEEPER)]) as running:
        assert running.line() == "ready"
        running.send(signal.SIGUSR2 if init else signal.SIGKILL)
        # Without pyinit the program is PID 1, and the kernel drops what it has no handler for.
        assert running.wait() == (128 + signal.SIGUSR2 if init else -signal.SIGKILL)


@pytest.mark.parametrize("words", [["--setuid=64998", "--setgid=64997"],
                                   ["--map-users=0:100000:9", "--setuid=5"]])  # fmt: skip
@pytest.mark.parametrize("init", [[], ["--init"]])
@pytest.mark.parametrize("share", [[], ["--share=pid"]])
def test_the_death_of_pyspawn_is_the_death_of_somebody_else(
    words: list[str], init: list[str], share: list[str]
) -> None:
    """PR_SET_PDEATHSIG doesn't outlive a change of credentials."""
    require_room()
    with Running([*lean.pyspawn(), *init, *share, *words, "--", *python(SLEEPER)]) as running:
        assert running.line() == "ready"
        running.send(signal.SIGKILL)
        assert running.out.rest() == b""
        assert running.wait() == -signal.SIGKILL


def test_a_program_that_somebody_else_can_not_find() -> None:
    require_room()
    ended = pyspawn("--setuid", "64998", program=("no-such-program",))
    assert ended.status == 127
    assert ended.errors.startswith("pyspawn: no-such-program: not found in PATH")


def test_what_somebody_else_could_not_read_is_read_before() -> None:
    """A failed exec takes modules, which the program's user may not see."""
    require_room()
    package = Path(pyinit.__file__).parent
    code = f"""
shutil.copytree("{package}", "/mnt/closed")
os.chmod("/mnt/closed", 0o700)
mount("/mnt/closed", "{package}", None, BIND)
"""
    ended = room(code, "--setuid", "64998", program=("no-such-program",))
    assert ended.status == 127
    assert ended.errors.startswith("pyspawn: no-such-program: not found in PATH")


def test_mapped_users_and_a_keeper() -> None:
    require_mapper()
    script = ("/bin/sh", "-c", "sleep 1000 & id -u")
    assert rows(room(MAPPER, "--map-auto", "--share", "pid", program=script)) == ["0"]


def test_an_id_beyond_the_whole_range() -> None:
    require_mapper()
    for words, name in (("--setuid", "user"), ("--setgid", "group"), ("--groups", "group")):
        ended = room(MAPPER, "--map-auto", words, "65537")
        first, second = ended.errors.splitlines()
        assert f"no {name} 65537" in first or f"no such {name}" in first
        assert "65537:OUTER:COUNT" in second
        assert "--map-auto" not in second
        assert rows(room(MAPPER, "--map-auto", words, "65536"))[1:] == ["1 100000 65536"]


def test_the_plan_names_the_helpers() -> None:
    require_mapper()
    ended = room(MAPPER, "--dry-run", "--map-auto", "--setuid", "5")
    lines = [line for line in ended.out.decode().splitlines() if "map 0" in line or "group" in line]
    assert "newgidmap STAGE" in lines[0]
    assert "newuidmap STAGE" in lines[1]
    assert lines[-1] == "init      drop the supplementary groups: setgroups(0, [])"


def test_nothing_is_left_of_a_room() -> None:
    require_mapper()
    argv = entered(MAPPER, "--map-auto", "--init", program=tuple(python(SLEEPER)))
    with Running(argv) as running:
        assert running.line() == "ready"
        running.send(signal.SIGKILL)
        assert running.out.rest() == b""
        running.wait()
