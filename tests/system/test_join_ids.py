"""Who a program is that joins a container: its ids there, its rights, its working directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers import children
from helpers.capabilities import require
from helpers.containers import BECOME_OWNER, OWNER, ROOT, subordinate, unmapped
from helpers.joining import join, joining
from helpers.programs import prepared
from helpers.pyspawn import refused
from helpers.running import Running, run

from spawner import lean


@pytest.mark.parametrize("owner", [True, False] if ROOT else [True])
def test_it_is_root_inside(target: int, owner: bool) -> None:
    ended = join(target, "--", "/bin/sh", "-c", "id -u; id -g; grep Groups /proc/self/status",
                 owner=owner)  # fmt: skip
    assert ended.out.decode().split()[:3] == ["0", "0", "Groups:"]


def test_groups_of_root_are_not_taken_along(target: int) -> None:
    require("root")
    argv = prepared("os.setgroups([4, 24])\n", joining(target, "/bin/grep", "Groups",
                    "/proc/self/status", owner=False))  # fmt: skip
    assert run(argv).out.decode().split() == ["Groups:"]


def test_who_else_it_is() -> None:
    """With a range of ids, of a container that root has made in a user namespace."""
    require("root", "pidns")
    words = ["--map-users", "0:100000:1000", "--map-groups", "0:100000:1000", "-S0", "-G0", "--",
             "/bin/sh", "-c", "echo ready; exec cat"]  # fmt: skip
    with Running([*lean.pyspawn(), *words]) as running:
        assert running.line() == "ready"
        (pid,) = children.below(running.starter)[-1:]
        show = ("/bin/sh", "-c", "id -u; id -g; id -G")
        ended = join(pid, *show, owner=False)
        assert ended.out.decode().split() == ["0", "0", "0"]
        ended = join(pid, "-S", "5", "-G", "6", "--groups", "7,8", "--", *show, owner=False)
        assert ended.out.decode().split("\n")[:3] == ["5", "6", "6 7 8"]
        uid = Path(f"/proc/{pid}/uid_map").read_text().split()[1]
        assert uid == "100000"


def test_the_owner_has_the_rights_of_the_inside(target: int) -> None:
    """Who may become another user there can't do so here."""
    ended = join(target, "-S", "0", "-G", "0", "--", "id", "-u")
    assert (ended.status, ended.out, ended.errors) == (0, b"0\n", "")
    message, hint = refused(join(target, "-S", "5", "--", "id"))
    assert message == "join the user namespace: user 5 isn't mapped in it"
    assert hint.startswith("use ids with --setuid that are mapped in the container")
    message, hint = refused(join(target, "-S", "5", "--uts", "--", "id"))
    assert message == "becoming another user requires CAP_SETUID"
    assert hint.startswith("add --user")


WAYS = {
    "pid": ("{pid}",),
    "directory": ("/proc/{pid}/ns",),
    "kinds": ("{pid}", "--user", "--mount"),
    "kinds of a directory": ("/proc/{pid}/ns", "--user", "--mount"),
    "file": ("/proc/{pid}/ns/user",),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("mapped", "missing"), [((), "user"), (("gid",), "user"), (("uid",), "group")]
)
def test_who_is_not_mapped_does_not_enter(
    tmp_path: Path, way: str, mapped: tuple[str, ...], missing: str
) -> None:
    """A program of theirs would run with an id that is root's outside."""
    with unmapped(tmp_path, *mapped) as (pid, mark):
        for more in ((), ("--setuid=0",), ("--setgid=0",)):
            words = [word.format(pid=pid) for word in WAYS[way]]
            message, hint = refused(join(*words, *more, "--", "/bin/true", owner=False))
            assert message == f"join the user namespace: no {missing} is mapped in it"
            assert "_map is empty" in hint
        for option in (f"--user=/proc/{pid}/ns/user", f"--mount=/proc/{pid}/ns/mnt"):
            words = [f"--user=/proc/{pid}/ns/user", option, "--share=all", "--", "/bin/true"]
            message, _ = refused(run([*lean.pyspawn(), *words]))
            assert message == f"join the user namespace: no {missing} is mapped in it"
        assert not mark.exists()


def test_the_owner_is_not_mapped(tmp_path: Path) -> None:
    with unmapped(tmp_path, "gid") as (pid, mark):
        message, _ = refused(join(pid, "--", "/bin/true"))
        assert message == "join the user namespace: no user is mapped in it"
        assert not mark.exists()


@pytest.mark.parametrize("setgroups", ["allow", "deny"])
@pytest.mark.parametrize("way", ["{pid}", "/proc/{pid}/ns", "/proc/{pid}/ns/user"])
def test_the_overflow_id_is_not_the_callers(tmp_path: Path, setgroups: str, way: str) -> None:
    """Who owns the namespace shows as 65534 inside, which is another's id by its map."""
    require("root")
    secret = tmp_path / "secret"
    secret.write_text("mine")
    secret.chmod(0o600)
    os.chown(secret, OWNER, OWNER)
    tmp_path.chmod(0o755)
    show = ("/bin/sh", "-c", f"id -u; id -g; cat {secret} || :")
    with subordinate(setgroups) as pid:
        ended = join(way.format(pid=pid), "--user", "--", *show)
        assert ended.out.decode().split() == ["0", "0"], ended
        assert "Permission denied" in ended.errors
        become = BECOME_OWNER.replace("setgroups([])", "setgroups([24])")
        argv = [*lean.pyspawn(), "exec", way.format(pid=pid), "--user", "--", *show]
        ended = run(prepared(become, argv))
        if setgroups == "deny":
            message, hint = refused(ended)
            assert message.endswith("your supplementary group 24 isn't mapped in it")
            assert "setgroups" in hint
        else:
            assert ended.out.decode().split() == ["0", "0"], ended
