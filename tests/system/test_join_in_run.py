"""`run` with a namespace of another container among its new ones."""

from __future__ import annotations

import pytest
from helpers.capabilities import require
from helpers.namespace_files import SHOW, expected, holder, links, program_of
from helpers.pyspawn import FILES, LINKS, pyspawn
from helpers.running import run


def test_one_is_joined_and_others_are_new() -> None:
    require("root")
    with holder("--net", "--uts") as running:
        pid = program_of(running)
        ended = run(pyspawn(f"--net=/proc/{pid}/ns/net", "--init", *SHOW))
        found = ended.out.decode().split()
        new = {"pid", "mount", "ipc", "uts", "cgroup"}
        for kind, link, own, its in zip(FILES, found, links("self"), links(pid), strict=True):
            assert (link == its) == (kind == "net" or (kind in ("user", "time")))
            assert (link not in (own, its)) == (kind in new)


@pytest.mark.parametrize("kind", ["uts", "ipc", "net", "cgroup", "time", "pid", "mount"])
def test_each_kind(kind: str) -> None:
    require("root")
    more = ["--mount"] if kind == "pid" else []
    with holder(f"--{kind}", *more) as running:
        pid = program_of(running)
        file = f"/proc/{pid}/ns/{FILES[kind]}"
        argv = pyspawn("--share=all", f"--{kind}={file}")
        if kind in ("pid", "mount"):  # /proc shows another namespace
            ended = run([*argv, "--", "/bin/true"])
            assert (ended.status, ended.errors) == (0, "")
            return
        assert run([*argv, *SHOW]).out.decode().split() == expected(pid, kind)


def test_a_joined_network_with_a_new_user_namespace() -> None:
    """Joined first, since in the new one there'd be no right to."""
    require("root")
    with holder("--net") as running:
        pid = program_of(running)
        ended = run(pyspawn("--share=all", "--user", f"--net=/proc/{pid}/ns/net", *SHOW))
        found = ended.out.decode().split()
        assert found[list(FILES).index("net")] == links(pid)[list(FILES).index("net")]
        assert found[0] not in (links("self")[0], links(pid)[0])


def test_a_user_namespace_and_new_ones_in_it() -> None:
    with holder("--user") as running:
        pid = program_of(running)
        words = (f"--user=/proc/{pid}/ns/user", "--uts", "--hostname", "box", "--net")
        ended = run(pyspawn(*words, "--", "/bin/sh", "-c", f"hostname; id -u; {LINKS}"))
        assert (ended.status, ended.errors) == (0, "")
        name, user, *found = ended.out.decode().split()
        assert (name, user) == ("box", "0")
        assert found[0] == links(pid)[0]
        assert found[list(FILES).index("net")] not in (links("self"), links(pid))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--net="], "--net: the path of the namespace is empty"),
        (["--net=/proc/self/ns/net", "--unshare=net"], "the net namespace is named in both"),
        (
            ["--net=/proc/self/ns/uts"],
            "join /proc/self/ns/uts: the file is a uts namespace, not a net",
        ),
        (["--user=/proc/self/ns/user", "--map-root-user"], "the user namespace is named in both"),
        (
            ["--mount=/proc/self/ns/mnt", "--user", "--uts"],
            "no namespace can be new where a mount namespace is joined",
        ),
    ],
)
def test_what_can_not_be_joined(words: list[str], message: str) -> None:
    ended = run(pyspawn(*words, "--", "/bin/true"))
    assert ended.status == 125
    assert ended.errors.startswith(f"pyspawn: {message}")


def test_the_plan_says_what_is_joined() -> None:
    require("root")
    with holder("--uts", "--net", "--mount", "--user") as running:
        pid = program_of(running)
        ended = run(pyspawn("exec", str(pid), "--dry-run", "--", "/bin/true"))
        steps = [line.split(": ")[0].split(None, 1) for line in ended.out.decode().splitlines()]
    joins = [(where, what) for where, what in steps if what.startswith("join")]
    assert joins == [
        ("init", f"join the {kind} namespace") for kind in ("net", "uts", "mount", "user")
    ]
    assert steps.index(["stage", "hide from the container's processes"]) < steps.index(
        list(joins[0])
    )
    assert ["init", "forbid imports from here on"] in steps
