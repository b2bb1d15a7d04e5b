"""exec with containers of other makers: the program is in their namespaces, and ends as its own."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from helpers.containers import MAKERS, OWNED, ROOT, as_owner
from helpers.joining import container, join, joining
from helpers.programs import CATCHER, python
from helpers.running import run
from helpers.terminal import INTERRUPT, SUSPEND, Shell, Terminal

from spawner import lean
from spawner.spec import NAMESPACES

FILES = {kind: {"mount": "mnt"}.get(kind, kind) for kind in NAMESPACES}
LINKS = "cd /proc/self/ns && for kind in " + " ".join(FILES.values()) + "; do readlink $kind; done"


def links(pid: int) -> list[str]:
    return [os.readlink(f"/proc/{pid}/ns/{file}") for file in FILES.values()]


CASES = [
    (maker, owner)
    for maker in MAKERS
    for owner in (False, True)
    if (owner and maker in OWNED) or (not owner and ROOT)
]


@pytest.mark.parametrize(
    ("maker", "owner"), CASES, ids=[f"{m}, {'owner' if o else 'root'}" for m, o in CASES]
)
def test_each_namespace_of_each_container(maker: str, owner: bool, tmp_path: Path) -> None:
    with container(maker, tmp_path) as pid:
        ended = join(pid, "--", "/bin/sh", "-c", f"pwd; {LINKS}", owner=owner)
        assert (ended.status, ended.errors) == (0, "")
        directory, *found = ended.out.decode().split()
        assert found == links(pid)
        assert directory == "/tmp"  # where the target is


def test_it_is_a_member_of_the_pid_namespace(target: int) -> None:
    ended = join(target, "--", "/bin/sh", "-c", "cat /proc/1/comm; readlink /proc/self")
    first, own = ended.out.decode().split()
    assert first == "cat"
    assert 1 < int(own) < 100


def test_only_the_named_ones(target: int) -> None:
    ended = join(target, "--net", "--user", "--", "/bin/sh", "-c", f"pwd; {LINKS}")
    directory, *found = ended.out.decode().split()
    named = {"net", "user"}
    own, its = links(os.getpid()), links(target)
    assert found == [i if kind in named else o for kind, o, i in zip(FILES, own, its, strict=True)]
    assert directory == str(Path.cwd())


def test_options_may_stand_before_the_target(target: int) -> None:
    argv = [*lean.pyspawn(), "exec", "--user", "--uts", str(target), "--", "/bin/true"]
    assert run(as_owner(argv)).status == 0


def test_it_is_a_job_like_any_other(terminal: Terminal, target: int) -> None:
    """^C reaches it once, ^Z stops it, fg continues it, and the terminal is given back."""
    with Shell(terminal) as shell:
        job = shell.run(joining(target, "--", *python(CATCHER)))
        assert terminal.screen.next().startswith("catcher ready")
        terminal.type(INTERRUPT)
        assert terminal.screen.next() == f"catcher {int(signal.SIGINT)}"
        os.kill(job, signal.SIGKILL)
        assert shell.wait(job)["status"] == -signal.SIGKILL
        job = shell.run(joining(target, "--", "/bin/sh", "-c", "echo on; read line; exit 6"))
        assert terminal.screen.next() == "on"
        terminal.type(SUSPEND)
        assert shell.wait(job) == {"stopped": int(signal.SIGTSTP), "foreground": job}
        shell.resume(job)
        terminal.type(b"go on\n")
        assert shell.wait(job) == {"status": 6, "foreground": job}


def test_each_step_is_told_while_it_is_taken(target: int) -> None:
    ended = join(target, "--explain", "--", "/bin/true")
    assert ended.status == 0
    told = [line for line in ended.errors.splitlines() if re.match("(launcher|stage|init): ", line)]
    wanted = [
        f"launcher: open the user namespace of process {target}",
        f"launcher: open the pid namespace of process {target}",
        f"launcher: open the root of process {target}",
        f"launcher: open the working directory of process {target}",
        "stage: hide from the container's processes",
        "stage: join the user namespace",
        "stage: join the pid namespace",
        "stage: fork the init",
        "init: close the descriptors inherited from the caller",
        "init: forbid imports from here on",
        "init: join the mount namespace",
        "init: close the descriptors of the namespaces",
        "init: change to the target's directory",
        "init: become user 0 and group 0",
        "init: die with the launcher",
    ]
    assert [line for line in told if line in wanted] == wanted
    # What was told is what a dry run says, in its form; descriptors may have other numbers.
    planned = join(target, "--dry-run", "--explain", "--", "/bin/true").out.decode()
    assert re.sub(r"\d+", "", planned) == re.sub(r"\d+", "", ended.errors)
    assert "new PID namespace" not in planned.replace("There is no new PID namespace", "")
    # No two steps have the same words.
    parts = planned.rstrip().split("\n\n")[3:]
    words = [part.split("\n", 2)[2] for part in parts if "\n    openat(" not in part]
    assert len(set(words)) == len(words) > 20


def test_what_a_scout_opens_is_told(target: int) -> None:
    place = f"/proc/{target}/ns"
    for words in ((place, "--uts", "--user"), (f"--user={place}/user", f"--uts={place}/uts")):
        argv = [*lean.pyspawn(), *(("exec",) if place in words else ("--share=all",)), *words]
        ended = run(as_owner([*argv, "--explain", "--", "/bin/true"]))
        assert ended.status == 0, ended
        assert "launcher: fork a scout\n" in ended.errors
        assert f"scout: open {place}/uts\n" in ended.errors
        shown = run(as_owner([*argv, "--dry-run", "--", "/bin/true"])).out
        assert f"scout     open {place}/uts: openat".encode() in shown


@pytest.mark.parametrize("owner", [True, False] if ROOT else [True])
def test_a_program_in_the_path_of_the_target(tmp_path: Path, owner: bool) -> None:
    """It isn't in the caller's, where it's looked up: the hint says how it would be."""
    place = tmp_path / "programs"
    place.mkdir()
    for directory in (place, tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    program = place / "theirs"
    program.write_text("#!/bin/sh\necho here\n")
    program.chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{path}:relative:{place}"
    try:
        with container("unshare", tmp_path) as pid:
            os.environ["PATH"] = path
            ended = join(pid, "--", "theirs", owner=owner)
            assert ended.status == 127
            hint = ended.errors.splitlines()[-1]
            assert hint.startswith("hint: theirs was looked up in your own PATH")
            assert "--target-env" in hint
            assert join(pid, "--target-env", "--", "theirs", owner=owner).out == b"here\n"
            for words in (("--target-env", "--", "nonesuch"), ("--", "/theirs")):
                assert "--target-env" not in join(pid, *words, owner=owner).errors
    finally:
        os.environ["PATH"] = path


def test_a_name_would_be_one_of_the_targets_own(target: int) -> None:
    """Its files aren't read, and this machine's names may be somebody else in there."""
    for option, database in (("--setuid", "passwd"), ("--setgid", "group"), ("--groups", "group")):
        ended = join(target, option, "root", "--", "/bin/true")
        assert ended.status == 125
        assert (
            f"{option}: 'root' is not an id, and pyspawn doesn't look up names in TARGET"
            in ended.errors
        )
        assert f"`pyspawn exec TARGET -- getent {database} root` shows the id" in ended.errors


def test_without_a_program_it_is_the_shell(target: int) -> None:
    ended = join(target, typed=b"echo $0 in; readlink /proc/self/ns/uts; exit 7\n",
                 environment={**os.environ, "SHELL": "/bin/sh"})  # fmt: skip
    assert ended.status == 7, ended
    assert ended.out.decode().split() == ["/bin/sh", "in", os.readlink(f"/proc/{target}/ns/uts")]
