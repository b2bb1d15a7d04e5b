"""What may be asked for, and which namespaces come of it."""

from __future__ import annotations

import copy
import importlib
import pickle
import signal
from typing import Any

import pytest
from helpers.specs import specified
from hypothesis import given
from hypothesis import strategies as st

from pyinit import cmdline
from spawner.caller import Caller
from spawner.command import run
from spawner.errors import SpecError, unmarked
from spawner.ids.identity import NGROUPS_MAX, Identity
from spawner.ids.idmap import MAX_ID, Extent, IdMap
from spawner.joining.target import Joins
from spawner.life.persist import Keep
from spawner.mount.tree import Tree
from spawner.net.network import Network
from spawner.spec import (
    ALL,
    DEFAULT_NAMESPACES,
    HOST_NAME_MAX,
    KTIME_SEC_MAX,
    NAMESPACES,
    STOP_TIMEOUT,
    Namespaces,
    Spec,
    choose,
)

NAMES = st.lists(st.sampled_from([*NAMESPACES, ALL]), max_size=5)
EVERY = Namespaces(NAMESPACES)
MAP = IdMap([(0, 1000, 1)])


def make(arguments: tuple[str, ...] = ("true",), **fields: object) -> Spec:
    return specified(arguments, **{"namespaces": EVERY, **fields})  # type: ignore[arg-type]


def test_defaults_of_root_and_of_an_ordinary_user() -> None:
    assert choose(privileged=True) == Namespaces({"pid", "mount", "ipc", "uts", "cgroup"})
    assert choose(privileged=False).required == DEFAULT_NAMESPACES | {"user"}


@pytest.mark.parametrize(
    ("asked", "required"),
    [
        ({"unshare": ["net"]}, DEFAULT_NAMESPACES | {"net"}),
        ({"share": ["ipc", "uts"]}, DEFAULT_NAMESPACES - {"ipc", "uts"}),
        ({"unshare": ["all"]}, set(NAMESPACES)),
        ({"share": ["all"]}, set()),
        ({"unshare": ["all"], "share": ["net"]}, set(NAMESPACES) - {"net"}),
        ({"share": ["all"], "unshare": ["pid"]}, {"pid"}),
        ({"attempt": ["all"], "unshare": ["pid"]}, {"pid"}),
        ({"attempt": ["cgroup"]}, DEFAULT_NAMESPACES - {"cgroup"}),
    ],
)
def test_a_namespace_named_by_itself_beats_all(
    asked: dict[str, list[str]], required: set[str]
) -> None:
    assert choose(**asked, privileged=True).required == required  # type: ignore[arg-type]


@given(NAMES, NAMES, NAMES, st.booleans())
def test_choice_of_namespaces(
    unshare: list[str], share: list[str], attempt: list[str], privileged: bool
) -> None:
    """Each kind by itself: named once, it is what it was named; else `all` decides, else no one."""
    named = {"unshare": set(unshare), "share": set(share), "attempt": set(attempt)}
    twice = [a & b for a in named.values() for b in named.values() if a is not b]
    if any(twice):
        with pytest.raises(SpecError, match="named in both") as caught:
            choose(unshare, share, attempt, privileged=privileged)
        assert caught.value.hint
        return
    chosen = choose(unshare, share, attempt, privileged=privileged)
    assert not chosen.required & chosen.optional
    for kind in NAMESPACES:
        state = (
            "required" if kind in chosen.required else "optional" if kind in chosen.optional else ""
        )
        by_name = [how for how, kinds in named.items() if kind in kinds]
        by_all = [how for how, kinds in named.items() if ALL in kinds]
        default = kind in DEFAULT_NAMESPACES or (kind == "user" and not privileged)
        how = (by_name or by_all or ["unshare" if default else "share"])[0]
        assert state == {"unshare": "required", "attempt": "optional", "share": ""}[how]


@given(st.permutations(["net", "time", "user"]), st.permutations(["ipc", "pid"]))
def test_order_plays_no_part(unshare: list[str], share: list[str]) -> None:
    expected = choose(["net", "time", "user"], ["ipc", "pid"], privileged=False)
    assert choose(unshare, share, privileged=False) == expected


@pytest.mark.parametrize("option", ["unshare", "share", "attempt"])
@pytest.mark.parametrize("name", ["", "network", "PID", "mnt"])
def test_an_unknown_kind_is_refused_with_the_known_ones(option: str, name: str) -> None:
    with pytest.raises(SpecError, match="not a kind of namespace") as caught:
        choose(**{option: [name]}, privileged=True)
    assert all(kind in (caught.value.hint or "") for kind in NAMESPACES)


def test_everything_shared_and_unshared_is_an_error() -> None:
    with pytest.raises(SpecError) as caught:
        choose(["all"], ["all"], privileged=True)
    message = "every namespace is named in both --unshare and --share"
    assert unmarked(str(caught.value)) == message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"arguments": ()}, "no program"),
        ({"arguments": ("a\0b",)}, "NUL"),
        ({"map_user": -1}, "user id"),
        ({"map_group": MAX_ID + 1}, "group id"),
        ({"user": -1}, "user id"),
        ({"group": MAX_ID + 1}, "group id"),
        ({"groups": [1, -1]}, "group id"),
        ({"groups": range(NGROUPS_MAX + 1)}, "at most 65536 supplementary groups"),
        ({"setgroups": "maybe"}, "allow or deny"),
        ({"setgroups": "deny", "namespaces": Namespaces({"pid"})}, "needs a new user namespace"),
        ({"auto_users": True, "namespaces": Namespaces({"pid"})}, "needs a new user namespace"),
        ({"auto_groups": True, "namespaces": Namespaces((), {"user"})}, "a new user namespace"),
        ({"user_map": MAP, "namespaces": Namespaces({"pid"})}, "needs a new user namespace"),
        ({"user": 5, "namespaces": Namespaces((), {"user"})}, "needs a new user namespace"),
        ({"groups": [], "namespaces": Namespaces((), {"user"})}, "needs a new user namespace"),
        ({"map_user": None, "user": 0}, "no user id is mapped"),
        ({"map_group": None, "user_map": MAP}, "no group id is mapped"),
        ({"map_user": 5, "namespaces": Namespaces({"pid"})}, "new user namespace"),
        ({"hostname": ""}, "1 to 64 bytes"),
        ({"hostname": "é" * (HOST_NAME_MAX // 2 + 1)}, "1 to 64 bytes"),
        ({"hostname": "a\0"}, "NUL"),
        ({"hostname": "x", "namespaces": Namespaces({"pid"})}, "needs a new uts namespace"),
        ({"hostname": "x", "namespaces": Namespaces((), {"uts"})}, "needs a new uts namespace"),
        ({"monotonic": 1, "namespaces": Namespaces({"pid"})}, "needs a new time namespace"),
        ({"boottime": KTIME_SEC_MAX + 1}, "more than the kernel's clocks"),
        ({"boottime": -KTIME_SEC_MAX - 1}, "more than the kernel's clocks"),
        ({"init": "a\0"}, "NUL"),
        ({"workdir": ""}, "empty"),
        ({"workdir": "/\0"}, "NUL"),
        ({"environment": [("", "x")]}, "name of an environment variable"),
        ({"environment": [("a=b", "x")]}, "name of an environment variable"),
        ({"environment": [("a", "\0")]}, "NUL"),
        ({"stop_signal": 0}, "not the number of a signal"),
        ({"stop_signal": 65}, "not the number of a signal"),
        ({"stop_timeout": -0.1}, "time-out"),
        ({"stop_timeout": float("nan")}, "time-out"),
    ],
)
def test_what_can_not_be_meant_is_refused_with_words(fields: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        make(**fields)  # type: ignore[arg-type]


def test_what_a_container_is_unasked() -> None:
    spec = make()
    assert (spec.wishes, spec.init) == ((), None)
    assert (Identity().map_user, Identity().map_group, Tree().propagation) == (0, 0, "private")
    assert (spec.stop_signal, spec.stop_timeout) == (signal.SIGTERM, STOP_TIMEOUT)
    assert make(stop_timeout=None).stop_timeout is None
    assert make(hostname="x" * HOST_NAME_MAX, monotonic=-KTIME_SEC_MAX).hostname


def test_a_spec_is_a_frozen_value() -> None:
    spec = make(environment=[("A", "b")])
    assert spec == make(environment=(("A", "b"),))
    assert hash(spec) == hash(make(environment=[("A", "b")]))
    assert spec != make()
    assert spec != "spec"
    assert "environment=(('A', 'b'),)" in repr(spec)
    with pytest.raises(AttributeError, match="frozen"):
        spec.hostname = "x"
    with pytest.raises(AttributeError, match="frozen"):
        del spec.hostname


@pytest.mark.parametrize(
    ("required", "optional", "shown"),
    [
        ("net,pid", (), "Namespaces('pid,net')"),
        (["time"], {"net"}, "Namespaces('time', 'net')"),
        ("", "", "Namespaces('')"),
        ("all", "", f"Namespaces({','.join(NAMESPACES)!r})"),
        ((), ["all"], f"Namespaces('', {','.join(NAMESPACES)!r})"),
    ],
)
def test_namespaces_are_values(required: Any, optional: Any, shown: str) -> None:
    made = Namespaces(required, optional)
    assert repr(made) == shown
    for again in (eval(shown), pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert again == made
        assert hash(again) == hash(made)
    assert made != Namespaces({"uts"})


@pytest.mark.parametrize(
    ("required", "optional", "message"),
    [
        ("nets", (), "required: 'nets' is not a kind of namespace"),
        ((), ["net", 5], "optional: 5 is not a kind"),
        ("net,", (), "required: '' is not a kind"),
        ("net,pid", "pid", "the pid namespace is named both as required and as optional"),
        ("all", "net", "the net namespace is named both"),
    ],
)
def test_namespaces_that_make_no_sense(required: Any, optional: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Namespaces(required, optional)


def test_every_frozen_value_pickles() -> None:
    spec = specified(["a"], namespaces=Namespaces("user"), user_map=IdMap("0:5:1"), init="")
    for value in (
        spec,
        Extent(1, 2, 3),
        Caller(user=1, group=2, mask=frozenset({3}), search_path=b"/"),
    ):
        assert pickle.loads(pickle.dumps(value)) == value


@pytest.mark.parametrize("names", ["net,mount", "NET,mnt", "Net,MNT", "mnt,mount,net"])
def test_a_kind_goes_by_each_of_its_names(names: str) -> None:
    assert Namespaces(names) == Namespaces(names.split(",")) == Namespaces("net,mount")
    for option in ("unshare", "unshare-try"):
        values, program = cmdline.parse(run.TABLE, [f"--{option}={names}", "--", "a"])
        wanted = run.spec(values, program, user=0, group=0).namespaces.wanted
        assert wanted == DEFAULT_NAMESPACES | {"net"}
    values, program = cmdline.parse(run.TABLE, [f"--share={names}", "--", "a"])
    assert "mount" not in run.spec(values, program, user=0, group=0).namespaces.wanted
    assert Namespaces("ALL") == Namespaces("all")


def test_every_wish_has_a_door_and_its_options_what_they_ask_for() -> None:
    """Both are named, and imported only where they're needed."""
    for kind in (Identity, Joins, Keep, Network, Tree):
        assert callable(importlib.import_module(kind.door).find)
    for home, options in run.WISHES.items():
        assert callable(importlib.import_module(home).wish)
        assert set(options) <= set(run.TABLE)


@pytest.mark.parametrize(
    "words",
    [["--map-root-user"], ["--propagation=private"], ["--map-user=0"], ["--user", "--map-group=0"]],
)
def test_what_a_plain_run_does_is_no_wish(words: list[str]) -> None:
    values, program = cmdline.parse(run.TABLE, [*words, "--", "a"])
    assert run.spec(values, program, user=1000, group=100).wishes == ()
