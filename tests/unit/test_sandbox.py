"""`--sandbox` as options: what it stands for, and how others are put among them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyinit import cmdline
from spawner.caller import Caller
from spawner.command import run, sandbox
from spawner.descriptors import part, passing
from spawner.errors import SetupError, SpecError
from spawner.host import interpreters
from spawner.ids.identity import Identity
from spawner.limit.limits import Limits
from spawner.linux import Kernel
from spawner.mount import mounts
from spawner.mount import part as mount_part
from spawner.mount.entry import Entry
from spawner.mount.files import Mask, ReadOnly, Symlink, Text
from spawner.mount.mounts import Bind, Dev, Found, Mounts, Tmpfs
from spawner.mount.tree import Tree
from spawner.rights.rights import Rights
from spawner.spec import Spec


@pytest.fixture(autouse=True)
def _landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the same kernel everywhere."""
    monkeypatch.setattr(sandbox.part, "keeps_in", lambda: False)


RIGHTS = Rights(cap_drop="all", no_new_privs=True, seccomp="default", disable_userns=True)


def specified(*words: str, user: int = 1000) -> Spec:
    values, program = cmdline.parse(run.TABLE, ["--sandbox", *words, "--", "true"])
    return run.spec(values, program, user=user, group=user)


def entries(*words: str) -> list[Entry]:
    tree = specified(*words).wish(Tree)
    assert tree is not None
    return list(tree.entries)


def test_the_whole() -> None:
    spec = specified()
    assert spec.namespaces.required == {*sandbox.NAMESPACES}
    assert spec.wish(Rights) == RIGHTS
    assert spec.wish(Identity) == Identity(map_user=1000, map_group=1000)
    tree = spec.wish(Tree)
    assert tree is not None
    assert tree.read_only
    assert mounts.empty_root(tree.entries) == Tmpfs("/", size=4 << 20)
    assert {"PATH", "HOME"} <= {name for name, _ in spec.environment} <= {"PATH", "HOME", "LANG",
                                                                         "TERM"}  # fmt: skip
    assert spec.clear_environment
    assert (spec.workdir, spec.hostname) == (sandbox.HOME, "sandbox")
    for each in tree.entries:
        assert isinstance(each, (Dev, Tmpfs, Text, Symlink)) or (
            isinstance(each, Bind) and each.read_only and each.missing_ok and not each.devices
        )


@pytest.mark.parametrize(("user", "own"), [(0, 1000), (1234, 1234)])
def test_users_have_the_names_that_they_need_alone(user: int, own: int) -> None:
    tree = specified(user=user).wish(Tree)
    assert tree is not None
    texts = {each.target: each.text for each in tree.entries if isinstance(each, Text)}
    lines = [line.split(":") for line in texts["/etc/passwd"].splitlines()]
    assert {line[2]: line[0] for line in lines} == {
        "0": "root",
        f"{own}": "sandbox",
        "65534": "nobody",
    }
    assert all(len(line) == 7 for line in lines)
    assert f"sandbox:x:{own}:\n" in texts["/etc/group"]
    assert "127.0.0.1 localhost sandbox\n" in texts["/etc/hosts"]


def test_the_hosts_names_are_there_where_the_ids_are_chosen_or_the_network_is_shared() -> None:
    assert Bind("/etc/hosts", "/etc/hosts", read_only=True, missing_ok=True) in entries(
        "--share=net"
    )
    found = entries("--map-root-user", "--tmpfs", "/tmp:size=1M")
    assert Bind("/etc/passwd", "/etc/passwd", read_only=True, missing_ok=True) in found
    assert found[-5:] == [ReadOnly("/proc/sys"), *map(Mask, sandbox.GUARDED)]


def test_what_the_program_needs_has_to_lead_where_it_did(tmp_path: Path) -> None:
    made(tmp_path, "there/tool")
    link = tmp_path / "tool"
    link.symlink_to("there/tool")
    search_path = sandbox.posix.environ[b"PATH"]
    found = sandbox._needed({"init": True}, [str(link)])
    assert {path: place for path, place in found.items() if path.startswith(str(tmp_path))} == {
        str(link): str(tmp_path / "there/tool"),
        str(tmp_path / "there/tool"): str(tmp_path / "there/tool"),
    }
    assert interpreters.needs(str(link), search_path).items() <= found.items()
    preset = sandbox._mounts({"init": True, "unshare": []}, [str(link)], [])
    assert Found(str(link), str(tmp_path / "there/tool")) in preset


def test_what_was_found_is_opened_where_it_led(tmp_path: Path) -> None:
    """Who may write beside an interpreter may swap a link after it was looked at."""
    made(tmp_path, "there/tool", "secret")
    link = tmp_path / "tool"
    spec, nobody = specified(), None
    tree = Tree(entries=(Found(str(link), str(tmp_path / "there/tool")),))
    for place in ("there/tool", "secret", "there", None):
        link.unlink(missing_ok=True)
        if place is not None:
            link.symlink_to(place)
        if place in ("secret", "there"):
            with pytest.raises(SetupError, match=f" leads to {tmp_path / place} now") as caught:
                mount_part.find(tree, Kernel(), spec, cast("Caller", nobody))
            assert str(caught.value.hint).startswith("start it again once nobody changes")
        else:
            mount_part.find(tree, Kernel(), spec, cast("Caller", nobody)).let_go()


def test_root_is_nobody_outside() -> None:
    identity = specified(user=0).wish(Identity)
    assert identity is not None
    assert (identity.user, identity.group, identity.groups) == (1000, 1000, ())
    assert identity.user_map is not None
    assert identity.user_map.to_outer(1000) == 65534


@pytest.mark.parametrize(
    ("lines", "maps"),
    [
        ("0 0 4294967295", True),
        ("0 1000 1\n1 100000 65536", True),
        ("0 1000 1", False),
        ("0 100000 1000", False),
        ("", True),
    ],
)
def test_root_of_a_namespace_is_another_there(
    lines: str, maps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox.proc, "contents", lambda _: lines)
    identity = specified(user=0).wish(Identity)
    assert identity is not None
    assert (identity.user is not None) == maps
    assert maps or identity.map_user == 1000


@pytest.mark.parametrize("kinds", ["pid", "net,pid", "all"])
@pytest.mark.parametrize("more", [[], ["--rootfs", "/"], ["--init"]])
def test_a_sandbox_is_not_made_among_the_processes_of_the_host(kinds: str, more: list[str]) -> None:
    with pytest.raises(SpecError, match=r"share (pid|all)") as caught:
        specified("--share", kinds, *more)
    assert caught.value.hint


def test_root_without_any_other_id_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.proc, "contents", lambda _: "0 0 1\n")
    with pytest.raises(SpecError, match="would be root of the host"):
        specified(user=0)
    identity = specified("--map-user", "7", user=0).wish(Identity)
    assert identity is not None
    assert identity.map_user == 7


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["--share", "net"], {"net"}),
        (["--share=net,uts"], {"net", "uts"}),
        (["--network", "host"], {"net"}),
        (["--net=host"], {"net"}),
        (["--unshare-try", "cgroup"], {"cgroup"}),
    ],
)
def test_a_namespace_that_is_named_elsewhere_is_not_made(
    words: list[str], missing: set[str]
) -> None:
    assert specified(*words).namespaces.required == {*sandbox.NAMESPACES} - missing


def test_what_is_named_takes_the_place_of_the_presets() -> None:
    found = entries("--tmpfs", "/tmp:size=1G", "--bind", "/srv", "/etc/fonts", "--dev-bind", "/dev",
                    "/dev")  # fmt: skip
    places = [each.target for each in found]
    assert len(places) == len(set(places))
    assert Tmpfs("/tmp", size="1G") in found
    assert Bind("/srv", "/etc/fonts") in found
    assert Dev() not in found
    assert entries("--tmpfs", "/tmp", "--mask", "/etc/fonts")[-1] == Mask("/etc/fonts")
    assert len(entries("--tmpfs", "/tmp")) == len(entries("--dev", "/dev")) == len(entries())
    assert Symlink("/x", "/etc/hosts") in entries("--symlink", "/x", "/etc/hosts")
    limits = specified("--rlimit", "nproc=7").wish(Limits)
    assert limits is not None
    assert [(each.resource, each.soft) for each in limits.rlimits] == [("core", 0), ("nproc", 7)]
    limits = specified("--pids-limit", "7").wish(Limits)
    assert limits is not None
    assert [each.resource for each in limits.rlimits] == ["core"]
    spec = specified("--hostname", "x", "--workdir", "/y", "--env", "HOME=/z", "--cap-add", "chown")
    assert (spec.hostname, spec.workdir, dict(spec.environment)["HOME"]) == ("x", "/y", "/z")
    rights = Rights(
        cap_drop="all", cap_add="chown", no_new_privs=True, seccomp="default", disable_userns=True
    )
    assert spec.wish(Rights) == rights
    identity = specified("--map-user", "5").wish(Identity)
    assert identity is not None
    assert identity.map_user == 5


@given(st.lists(st.sampled_from(["/usr", "/etc", "/etc/ssl", "/home", "/x", "/x/y", "/tmp/a"]),
                unique=True))  # fmt: skip
def test_mounts_are_put_where_they_hide_nothing_of_the_preset(places: list[str]) -> None:
    named = [Tmpfs(place) for place in sorted(places)]
    preset = [Tmpfs("/"), Bind("/a", "/etc/ssl/certs"), Tmpfs("/home/sandbox"), Tmpfs("/tmp"),
              Bind("/u", "/usr")]  # fmt: skip
    found = sandbox._merged(preset, named)
    assert Mounts(found).entries == tuple(found)  # which refuses what would be hidden
    assert [each for each in found if each in named] == named or set(named) <= set(found)
    kept = {each.target for each in preset} - {*places}
    assert {each.target for each in found} == kept | {*places}


def test_a_link_to_what_is_no_program_is_not_bound(tmp_path: Path) -> None:
    made(tmp_path, "key", "tool")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "link").symlink_to("key")
    for name, there in (("link", False), ("key", False), (".", False), ("tool", True)):
        values, program = cmdline.parse(run.TABLE, ["--sandbox", "--", str(tmp_path / name)])
        tree = run.spec(values, program, user=1000, group=1000).wish(Tree)
        assert tree is not None
        assert (str(tmp_path / name) in {each.target for each in tree.entries}) == there


def test_the_working_directory_is_kept_where_it_is_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "a/b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert specified().workdir == sandbox.HOME
    assert specified("--bind", ".", ".").workdir == str(below)
    assert specified("--ro-bind", str(tmp_path), str(tmp_path)).workdir == str(below)
    assert specified("--bind", str(tmp_path), "/elsewhere").workdir == sandbox.HOME
    assert specified("--tmpfs", str(tmp_path)).workdir == sandbox.HOME
    below.rmdir()
    assert specified().workdir == sandbox.HOME


def test_a_relative_target_is_one_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert mounts.bind("bind", ".", ".") == Bind(".", tmp_path)
    assert mounts.bind("bind", "./a", "./a") == Bind("./a", tmp_path / "a")
    with pytest.raises(SpecError, match=r"can't have `\.\.` in it"):
        mounts.bind("bind", "a", "./../a")


# Descriptors


def test_words_for_descriptors() -> None:
    assert passing.numbers("none") == ()
    assert passing.numbers("3,5") == (3, 5)
    for word in ("", "3,", "x", "-1"):
        with pytest.raises(ValueError, match="is not a file descriptor"):
            passing.numbers(word)
    values, _ = cmdline.parse(run.TABLE, ["--pass-fds", "5,3", "--pass-fds=4"])
    (wish,) = run.spec(values, ["true"], user=0, group=0).wishes
    assert wish == passing.Passing((3, 4, 5))
    values, _ = cmdline.parse(run.TABLE, ["--pass-fds", "5", "--pass-fds=none"])
    with pytest.raises(SpecError, match="descriptors are named beside none"):
        run.spec(values, ["true"], user=0, group=0)


def test_all_but_the_named_descriptors_are_closed_on_exec() -> None:
    reader, writer = os.pipe()
    try:
        for each in (reader, writer):
            os.set_inheritable(each, True)
        others = [each for each in open_descriptors() if each not in (0, 1, 2, reader, writer)]
        before = [os.get_inheritable(each) for each in others]
        part.close_others((reader,)).run(None)  # type: ignore[arg-type]
        assert (os.get_inheritable(reader), os.get_inheritable(writer)) == (True, False)
        assert not any(map(os.get_inheritable, others))
        for each, kept in zip(others, before, strict=True):
            os.set_inheritable(each, kept)
    finally:
        os.close(reader)
        os.close(writer)


def open_descriptors() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            os.fstat(int(name))
        except OSError:
            continue
        found.append(int(name))
    return found


def test_a_list_that_can_not_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "_LIST", "/nonexistent")
    with pytest.raises(SetupError) as caught:
        part.close_others(()).run(None)  # type: ignore[arg-type]
    assert (caught.value.path, caught.value.syscall) == ("/nonexistent", "openat")


# Interpreters


def made(place: Path, *names: str, text: str = "") -> None:
    for name in names:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)


def needs(program: Path, search_path: Any = None) -> set[str]:
    return set(interpreters.needs(str(program), search_path))


def test_a_program_of_the_systems_needs_no_more() -> None:
    assert interpreters.needs("/usr/bin/env", None) == {}
    assert interpreters.needs("/nonexistent", None) == {}


def test_a_virtual_environment_leads_to_its_base(tmp_path: Path) -> None:
    base = tmp_path / "pyenv/versions/3.12.1"
    made(base, "bin/python3.12", "lib/python3.12/os.py", "secret")
    venv = tmp_path / "project/.venv"
    made(venv, "bin/tool", "lib/python3.12/site.py", "notes")
    made(venv, "pyvenv.cfg", text=f"version = 3.12\nhome = {base}/bin\n")
    (venv / "bin/python").symlink_to(base / "bin/python3.12")
    expected = {str(venv / name) for name in ("bin", "lib", "pyvenv.cfg")}
    expected |= {str(base / name) for name in ("bin", "lib")}
    assert needs(venv / "bin/python") == expected
    made(venv, "bin/tool", text=f"#!{venv}/bin/python -I\n")
    assert needs(venv / "bin/tool") == expected


def test_a_link_to_a_directory_is_followed_by_both_names(tmp_path: Path) -> None:
    """As uv makes them: cpython-3.12 is a link to cpython-3.12.4."""
    made(tmp_path, "cpython-3.12.4/bin/python3", "cpython-3.12.4/lib/python3.12/os.py")
    (tmp_path / "cpython-3.12").symlink_to("cpython-3.12.4")
    (tmp_path / "python").symlink_to("cpython-3.12/bin/python3")
    expected = {str(tmp_path / name / part) for name in ("cpython-3.12", "cpython-3.12.4")
                for part in ("bin", "lib")}  # fmt: skip
    assert needs(tmp_path / "python") == expected | {str(tmp_path / "python")}


def test_a_directory_that_is_not_all_pythons_own_stays_out(tmp_path: Path) -> None:
    """As ~/.local, or a home in which a Python was installed."""
    made(tmp_path, "bin/python3", "bin/secret", "lib/python3.11/os.py", "lib/libpython3.11.so.1",
         "lib/secrets/key")  # fmt: skip
    names = ("bin/python3", "lib/python3.11", "lib/libpython3.11.so.1")
    assert needs(tmp_path / "bin/python3") == {str(tmp_path / name) for name in names}


def test_a_script_leads_to_its_interpreter(tmp_path: Path) -> None:
    made(tmp_path, "a/run", text="#!/usr/bin/env -S X=1 mine -x\n")
    made(tmp_path, "b/mine", text="#! /bin/sh\n")
    path = f"relative:{tmp_path}/b".encode()
    assert needs(tmp_path / "a/run", path) == {str(tmp_path / name) for name in ("a/run", "b/mine")}
    assert needs(tmp_path / "a/run") == {str(tmp_path / "a/run")}


def test_the_scripts_of_pyenv_need_all_of_it(tmp_path: Path) -> None:
    made(tmp_path, "shims/python3", text="#!/bin/sh\n")
    made(tmp_path, "libexec/pyenv")
    made(tmp_path, "versions/3.12/bin/python", "else/key")
    expected = {str(tmp_path / name) for name in ("shims", "libexec", "versions")}
    assert needs(tmp_path / "shims/python3") == expected


def test_circles_and_odd_files_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert needs(tmp_path / "a") == set()
    made(tmp_path, "self", text=f"#!{tmp_path}/self\n")
    assert needs(tmp_path / "self") == {str(tmp_path / "self")}
    os.mkfifo(tmp_path / "pipe", 0o777)
    assert needs(tmp_path / "pipe") == set()
    made(tmp_path, "binary")
    (tmp_path / "binary").write_bytes(b"#!\xff\0\n")
    assert needs(tmp_path / "binary") == {str(tmp_path / "binary")}


def test_a_hostile_program_leads_to_no_secrets(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made(home, ".ssh/id", "tool")
    (home / ".ssh/id").chmod(0o600)
    for name in (".", ".ssh", ".ssh/id", "nothing"):
        made(tmp_path, "run", text=f"#!{home / name}\n")
        assert needs(tmp_path / "run") == {str(tmp_path / "run")}, name
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(home / name)
        assert needs(tmp_path / "link") == set(), name
    venv = tmp_path / "venv"
    made(venv, "bin/python", "other/bin/run")
    made(venv, "pyvenv.cfg", text=f"home = {home}/.ssh\n")
    (venv / "lib").symlink_to(home / ".ssh")
    (venv / "lib64").symlink_to(".")
    assert needs(venv / "bin/python") == {str(venv / "bin"), str(venv / "pyvenv.cfg")}
    (venv / "other/lib").mkdir()
    (venv / "other/lib/python3.9").symlink_to(home)
    assert needs(venv / "other/bin/run") == {str(venv / "other/bin/run")}


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a//b/./c", "/a/b/c"), ("/a/b", "/a/b"), ("//a", "/a"), ("/usr/bin/../bin/env", None)],
)
def test_direct_paths(path: str, expected: str | None) -> None:
    found = interpreters.direct(path)
    assert ".." not in found
    assert expected is None or found == expected


def test_another_filter_takes_the_place_of_the_default_one() -> None:
    for words, found in ((["./x"], "./x"), (["unconfined"], "unconfined"), (["7"], 7)):
        rights = specified("--seccomp", *words).wish(Rights)
        assert rights is not None
        assert rights.seccomp == found
