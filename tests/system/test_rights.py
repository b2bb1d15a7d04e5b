"""`--cap-drop`, `--cap-add` and `--no-new-privs`: what the program may do, and what is refused."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from helpers.capabilities import require
from helpers.containers import as_owner
from helpers.programs import Word, prepared, python
from helpers.pyspawn import ALONE, ROOT, each_shape, hint_of, pyspawn, refused, said, sh, spawn
from helpers.running import Ended, Running, run

import spawner
from spawner import aio
from spawner.host.proc import CAPABILITIES

pytestmark = pytest.mark.usefixtures("pidns")

SHOW = "grep -E '^(Uid|Cap|NoNewPrivs)' /proc/self/status"

SETS = ("Inh", "Prm", "Eff", "Bnd", "Amb")

KILL, BIND = 1 << CAPABILITIES["CAP_KILL"], 1 << CAPABILITIES["CAP_NET_BIND_SERVICE"]


def fields(text: bytes) -> dict[str, int]:
    """Return the real user id, the five sets and the flag, from the output of SHOW."""
    pairs = (line.split(":\t") for line in text.decode().splitlines())
    return {
        name.removeprefix("Cap"): int(value.split("\t")[0], 16 if name.startswith("Cap") else 10)
        for name, value in pairs
    }


def shown(*options: Word, script: str = SHOW) -> dict[str, int]:
    return of(sh(script, *options))


def of(ended: Ended) -> dict[str, int]:
    assert (ended.status, ended.errors) == (0, ""), ended
    return fields(ended.out)


def sets(found: dict[str, int]) -> list[int]:
    return [found[name] for name in SETS]


@each_shape
def test_no_capability_is_left(options: list[str]) -> None:
    found = shown(*options, "--cap-drop=all")
    assert sets(found) == [0] * 5
    assert (found["Uid"], found["NoNewPrivs"]) == (
        0,
        fields(run(["sh", "-c", SHOW]).out)["NoNewPrivs"],
    )


@each_shape
def test_one_capability_is_left(options: list[str]) -> None:
    words = ["--cap-drop", "all", "--cap-add", "CAP_Kill"]
    assert sets(shown(*options, *words)) == [KILL] * 5
    assert (
        sets(shown(*options, *words, script=f"sh -c '{SHOW.replace(chr(39), chr(34))}'"))
        == [KILL] * 5
    )


@each_shape
def test_what_is_not_named_stays(options: list[str]) -> None:
    before, after = shown(*options), shown(*options, "--cap-drop", "kill,NET_BIND_SERVICE")
    assert sets(after) == [each & ~(KILL | BIND) for each in sets(before)]
    assert after["Bnd"] != before["Bnd"]
    added = shown(*options, "--cap-add=kill")
    assert [added[name] for name in ("Prm", "Eff", "Bnd")] == [
        before[name] for name in ("Prm", "Eff", "Bnd")
    ]
    assert added["Amb"] == KILL


def test_a_capability_by_itself_beats_all_in_any_order() -> None:
    before = shown("--user")
    for words in (["--cap-add=all", "--cap-drop=kill"], ["--cap-drop=kill", "--cap-add=all"]):
        assert sets(shown("--user", *words)) == [before["Bnd"] & ~KILL] * 5
    for words in (["--cap-drop=all", "--cap-add=kill"], ["--cap-add=kill", "--cap-drop=all"]):
        assert sets(shown("--user", *words)) == [KILL] * 5


@pytest.mark.parametrize("init", [[], ["--init"]], ids=["program", "init"])
def test_the_program_has_what_is_added_as_an_ordinary_user(init: list[str]) -> None:
    """After a change of user, where nothing of root's would be left."""
    require("root", *(["other-user"] if init else []))
    words = [*init, "--setuid=65534", "--setgid=65534"]
    plain = shown(*words)
    assert [plain[name] for name in SETS] == [0, 0, 0, plain["Bnd"], 0]
    found = shown(*words, "--cap-add=net_bind_service")
    assert found["Uid"] == 65534
    assert sets(found) == [BIND, BIND, BIND, plain["Bnd"], BIND]
    assert sets(shown(*words, "--cap-add=net_bind_service", "--cap-drop=all")) == [BIND] * 5
    assert sets(shown(*words, "--cap-drop=kill")) == [0, 0, 0, plain["Bnd"] & ~KILL, 0]


@pytest.mark.parametrize("init", [[], ["--init"]], ids=["program", "init"])
def test_the_program_has_what_is_added_as_itself_in_a_user_namespace(init: list[str]) -> None:
    argv = pyspawn("--map-current-user", *init, "--cap-drop=all", "--cap-add=kill",
                   "--", "/bin/sh", "-c", SHOW)  # fmt: skip
    found = of(run(as_owner(argv) if ROOT else argv))
    assert found["Uid"] != 0
    assert sets(found) == [KILL] * 5


def test_a_capability_that_is_added_serves() -> None:
    """An ordinary user binds a port below 1024, in a network of its own."""
    code = "import socket; socket.create_server(('127.0.0.1', 80)); print('bound')"
    words = ["--net", "--map-current-user"]
    for more, out in ((["--cap-add=net_bind_service"], b"bound\n"), ([], b"")):
        argv = pyspawn(*words, *more, "--", *python(code))
        ended = run(as_owner(argv) if ROOT else argv)
        assert ended.out == out, ended
        assert ("Permission denied" in ended.errors) == (not out)


def test_a_capability_that_is_dropped_is_missed() -> None:
    ended = sh("mount -t tmpfs none /mnt && echo mounted", "--user", "--cap-drop=sys_admin")
    assert (ended.status != 0, ended.out) == (True, b"")
    assert sh("mount -t tmpfs none /mnt && echo mounted", "--user").out == b"mounted\n"


def test_the_launcher_keeps_its_rights() -> None:
    """It has to forward signals and to end everything, whatever the program may do."""
    with Running(
        pyspawn("--init", "--cap-drop=all", "--", "/bin/sh", "-c", "echo ready; exec cat")
    ) as running:
        assert running.line() == "ready"
        os.kill(running.pid, signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGTERM


def test_pyinit_reaps_and_has_the_status_without_any_capability() -> None:
    for options in ([], ["--user"]):
        script = "(sh -c 'exit 0' & exit 0); grep CapEff /proc/1/status; exit 7"
        ended = sh(script, "--init", "--cap-drop=all", "--no-new-privs", *options)
        assert (ended.status, ended.out, ended.errors) == (7, b"CapEff:\t" + b"0" * 16 + b"\n", "")


@pytest.mark.parametrize("kill", [False, True], ids=["without CAP_KILL", "with CAP_KILL"])
def test_pyinit_needs_a_capability_to_signal_another_user(kill: bool) -> None:
    """Without it pyinit says that the program gets no signal."""
    require("root", "other-user")
    code = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    code += "print('ready', flush=True); os.read(0, 1)"
    words = ["--init", "--stop-timeout=infinity", "--cap-drop=all", "--cap-add=setuid,setgid"]
    words += ["--cap-add=kill"] if kill else []
    argv = pyspawn(*words, "--", *python(code))
    with Running(argv, stderr=subprocess.STDOUT) as running:
        assert running.line() == "ready"
        os.kill(running.pid, signal.SIGTERM)
        if kill:
            assert running.wait() == 128 + signal.SIGTERM
            return
        said = "pyinit[1]: can't send signal 15 to the process: Operation not permitted (EPERM)"
        assert running.line() == said
        running.close_input()
        assert running.wait() == 0


# no_new_privs


@each_shape
def test_no_exec_gives_more(options: list[str]) -> None:
    assert shown(*options, "--no-new-privs")["NoNewPrivs"] == 1


def test_a_set_user_id_program_gives_nothing(tmp_path: Path) -> None:
    require("root", "other-user")
    if os.statvfs(tmp_path).f_flag & os.ST_NOSUID:
        pytest.skip("temporary files are on a file system that is mounted nosuid")
    program = tmp_path / "id"
    program.write_bytes(Path("/usr/bin/id").read_bytes())
    program.chmod(0o4755)
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(0o755)
    words = ["--setuid=65534", "--setgid=65534"]
    for more, who in (([], b"0\n"), (["--no-new-privs"], b"65534\n")):
        ended = spawn(*words, *more, "--", str(program), "-u")
        assert (ended.status, ended.out, ended.errors) == (0, who, "")


def test_rights_that_root_does_not_have_are_not_given_back_by_an_exec() -> None:
    """With no_new_privs, and without: the bounding set is empty."""
    for more in ([], ["--no-new-privs"]):
        ended = sh(f'exec sh -c "{SHOW}"', "--user", "--cap-drop=all", *more)
        assert sets(of(ended)) == [0] * 5


# What is refused


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize("init", [[], ["--init"]], ids=["program", "init"])
def test_what_pyspawn_lacks_can_not_be_added(init: list[str], dry: list[str]) -> None:
    lacking = "libc = ctypes.CDLL(None)\nfor n in range(64): libc.prctl(24, n, 0, 0, 0)\n"
    lacking += "libc.prctl(38, 1, 0, 0, 0)\n"
    argv = pyspawn("--share=all", *init, *dry, "--cap-add=kill,chown", "--", "/bin/echo", "ran")
    ended = run(prepared(lacking if ROOT else "pass", argv))
    message = (
        "the program can't be given CAP_CHOWN, CAP_KILL: pyspawn itself has no such capability"
    )
    assert "add --user" in hint_of(ended, message)


def test_what_pyspawn_lacks_can_be_added_in_a_user_namespace() -> None:
    argv = pyspawn("--cap-add=all", "--cap-drop=kill", "--", "/bin/sh", "-c", SHOW)
    found = of(run(as_owner(argv) if ROOT else argv))
    assert sets(found) == [found["Bnd"]] * 5
    assert found["Bnd"] | KILL == shown("--user")["Bnd"]


def test_the_bounding_set_of_who_has_no_right_to_lower_it() -> None:
    argv = pyspawn("--share=all", "--cap-drop=kill", "--", "/bin/echo", "ran")
    message, hint = refused(run(as_owner(argv) if ROOT else argv))
    assert message == "drop CAP_KILL from the bounding set: Operation not permitted (EPERM)"
    assert hint.startswith("lowering the bounding set needs CAP_SETPCAP")


def test_a_kernel_that_does_not_let_a_capability_be_ambient() -> None:
    """Securebits may forbid that, and be locked: capabilities(7)."""
    require("root")
    code = (
        "assert ctypes.CDLL(None).prctl(28, 0xC0, 0, 0, 0) == 0\n"  # NO_CAP_AMBIENT_RAISE, LOCKED
    )
    message, hint = refused(
        run(prepared(code, pyspawn("--cap-add=kill", "--", "/bin/echo", "ran")))
    )
    assert message == "give the program CAP_KILL: Operation not permitted (EPERM)"
    assert hint.startswith("most likely securebits are set")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cap-drop=foo"], "--cap-drop: 'foo' is not the name of a capability: "),
        (["--cap-add", "net_admn"], "--cap-add: 'net_admn' is not the name of a capability: "),
        (["--cap-drop=kill,"], "--cap-drop: a name is missing in 'kill,'"),
        (["--cap-drop="], "--cap-drop: a name is missing in ''"),
        (["--cap-drop=kill", "--cap-add=bpf,KILL"], "CAP_KILL is both dropped and added"),
        (["--cap-drop=all", "--cap-add=all"], "every capability is both dropped and added"),
    ],
)  # fmt: skip
def test_what_makes_no_sense(words: list[str], message: str) -> None:
    assert refused(spawn(*words, "--", "/bin/echo", "ran"))[0].startswith(message)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--no-new-privileges"], "hint: use --no-new-privs"),
        (["--keep-caps"], "hint: use --cap-add all"),
        (["--bounding-set", "-all"], "hint: use --cap-drop CAP,... and --cap-add CAP,..."),
        (["exec", "1", "--cap-drop", "all"], "hint: only `pyspawn run` accepts that option"),
    ],
)
def test_the_options_of_others_are_answered(words: list[str], hint: str) -> None:
    assert said(spawn(*words, "--", "/bin/echo", "ran"))[1].startswith(hint)


def test_the_steps_are_told() -> None:
    words = [
        "drop every capability but CAP_KILL from the bounding set",
        "keep the permitted capabilities over a change of user",
        "drop every capability but CAP_KILL from the other sets",
        "give the program CAP_KILL",
        "set no_new_privs",
    ]
    options = [*ALONE, "--cap-drop=all", "--cap-add=kill", "--no-new-privs"]
    lines = spawn(*options, "--dry-run", "--", "true").out.decode().splitlines()
    told = [line[10:].partition(":")[0] for line in lines]
    assert [each for each in told if each in words] == words
    explained = spawn(*options, "--explain", "--", "/bin/true").errors
    places = [explained.index(f"init: {each}\n") for each in words]
    assert places == sorted(places)


# From Python


WANTED = spawner.Rights(cap_drop="all", cap_add=["kill"], no_new_privs=True)


@pytest.mark.parametrize("options", [{}, {"init": False}, {"unshare": "user"}], ids=str)
def test_run(options: dict[str, Any]) -> None:
    command = ["sh", "-c", SHOW]
    for out in (
        spawner.run(command, rights=WANTED, stdout=spawner.PIPE, check=True, **options).stdout,
        spawner.check_output(command, rights=WANTED, **options),
    ):
        found = fields(out)
        assert (sets(found), found["NoNewPrivs"]) == ([KILL] * 5, 1)


def test_the_twin_for_asyncio() -> None:
    ended = asyncio.run(aio.run(["sh", "-c", SHOW], rights=WANTED, stdout=spawner.PIPE))
    assert sets(fields(ended.stdout)) == [KILL] * 5


def test_without_rights_nothing_changes() -> None:
    found = [
        spawner.check_output(["sh", "-c", SHOW], rights=rights)
        for rights in (None, spawner.Rights())
    ]
    assert found[0] == found[1]


def test_a_refusal_is_an_exception() -> None:
    for call in (spawner.run, spawner.plan):
        with pytest.raises(spawner.SpecError, match="CAP_KILL is both dropped and added"):
            call(["true"], rights=spawner.Rights(cap_drop="kill", cap_add="kill"))
    rights = spawner.Rights(cap_drop="kill")
    if not ROOT:
        with pytest.raises(spawner.SetupError, match="from the bounding set") as caught:
            spawner.run(["true"], rights=rights, share="all")
        assert (caught.value.stage, caught.value.errno) == ("init", errno.EPERM)
        assert 'unshare="user"' in str(caught.value.hint)


def test_plan() -> None:
    told = spawner.plan(["true"], rights=WANTED)
    assert "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)" in [step.call for step in told]
