"""`--limits process`: limits on each process that stand for those of a container."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.kernels import Recording
from helpers.specs import specified

from spawner.caller import Caller
from spawner.errors import SetupError, SpecError
from spawner.limit import places, singly
from spawner.limit.limits import UNLIMITED, Limits, Rlimit, options
from spawner.planning import find, plan
from spawner.spec import Namespaces, Spec

USER = Caller(user=1000, group=1000)
ROOT = Caller(user=0, group=0)


class Holding(Recording):
    """Holds limits, with a map of user ids."""

    def __init__(self, text: bytes = b"0 1000 1\n") -> None:
        super().__init__()
        self.text = text

    def prlimit(self, number: int, limits: tuple[int, int] | None = None) -> tuple[int, int]:
        del number, limits
        return UNLIMITED, UNLIMITED

    def read_file(self, path: str) -> bytes:
        assert path == "/proc/self/uid_map"
        return self.text


def make(kinds: str = "user,pid", **fields: Any) -> Spec:
    return specified(["true"], namespaces=Namespaces(kinds), **fields)


def planned(spec: Spec, caller: Caller = USER) -> list[str]:
    kernel = Holding()
    parts = find(kernel, spec, caller)
    return [each.what for each in plan(spec, caller, parts) if "limit" in each.what]


def test_the_limits_of_the_container_become_those_of_each_process() -> None:
    fields: dict[str, Any] = {"memory": "64M", "pids": 20, "rlimits": {"core": 0, "nproc": 50}}
    assert planned(make(hold="process", **fields)) == [
        "set the limit core to 0",
        "set the limit nproc to 20",
        "set the limit data to 67108864",
    ]


@pytest.mark.parametrize(
    ("given", "found"),
    [(5, []), (20, []), (21, [Rlimit("nproc", 20, 20)]), ("unlimited", [Rlimit("nproc", 20, 20)])],
)
def test_the_smaller_one_stands(given: Any, found: list[Rlimit]) -> None:
    assert list(singly.rlimits(Limits(pids=20, rlimits={"nproc": given}))) == found


@pytest.mark.parametrize(
    ("kinds", "caller", "fields", "message"),
    [
        ("user,pid", USER, {"cpus": 1}, "--cpus.* requires a control group"),
        (
            "user,pid",
            USER,
            {"pids": 5, "cgroup_parent": "/x"},
            "cgroup-parent.* requires a ",
        ),
        ("pid", USER, {"pids": 5}, "can only be counted in a user namespace of its own"),
        ("user,pid", ROOT, {"pids": 5}, "doesn't bound how many processes root has"),
    ],
)
def test_what_can_not_be_held(
    kinds: str, caller: Caller, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(SetupError, match=message) as refused:
        find(Holding(), make(kinds, hold="process", **fields), caller)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("text", "kept"),
    [(b"0 1000 1\n", True), (b"0 1000 1\n1 100000 65536\n", False), (b"0 0 2\n", False)],
)
def test_a_count_for_each_of_several_users_holds_nothing(text: bytes, kept: bool) -> None:
    if kept:
        singly.check_users().run(Holding(text))
        return
    with pytest.raises(SetupError, match="counted by user, and the container has several"):
        singly.check_users().run(Holding(text))


def refuse(_: Limits) -> None:
    raise SetupError("there is no place", stage="launcher")


@pytest.mark.parametrize("hold", ["cgroup", "try"])
def test_down_the_ladder_only_where_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, hold: str
) -> None:
    monkeypatch.setattr(places, "find", refuse)
    spec = make(memory="64M", hold=hold)
    if hold == "cgroup":
        with pytest.raises(SetupError, match="there is no place"):
            find(Holding(), spec, USER)
        return
    (part,) = find(Holding(), spec, USER)
    assert part.note == (
        "without a control group, each process is limited by itself: there is no place"
    )
    assert planned(spec) == ["set the limit data to 67108864"]


def test_nothing_below_what_can_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "find", refuse)
    with pytest.raises(SetupError, match="there is no place"):
        find(Holding(), make("pid", pids=5, hold="try"), USER)


def test_words() -> None:
    assert ("limits", "try") in list(options(Limits(pids=5, hold="try")))
    assert "limits" not in dict(options(Limits(pids=5)))
    assert eval(repr(Limits(pids=5, hold="try"))) == Limits(pids=5, hold="try")
    with pytest.raises(SpecError, match="'all' is not one of cgroup, process, try"):
        Limits(hold="all")
    with pytest.raises(SpecError, match="no limit of the container to enforce"):
        Limits(nice=5, hold="try")
