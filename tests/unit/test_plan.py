"""The order of the steps, for everything that can be wanted."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from helpers.kernels import Recording
from helpers.specs import specified
from hypothesis import given
from hypothesis import strategies as st

from pyinit.execvp import ExecError as ExecFailure
from spawner import steps
from spawner.caller import Caller
from spawner.errors import INIT, LAUNCHER, STAGE, SetupError, SyscallError
from spawner.ids.identity import Identity
from spawner.ids.idmap import IdMap
from spawner.ids.mapping import Maps
from spawner.ids.part import Ids
from spawner.life import persist
from spawner.net import part
from spawner.net.network import Network
from spawner.planning import STATIONS, find, is_staged, lines, plan
from spawner.spec import NAMESPACES, Namespaces, Spec

CALLER = Caller(
    user=1000,
    group=100,
    mask=frozenset({15}),
    ignored=frozenset({1}),
    search_path=b"/usr/bin:/opt/\xff",
)
KINDS = st.frozensets(st.sampled_from(NAMESPACES))


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    required = draw(KINDS)
    optional = draw(KINDS) - required
    has_uts, has_time = "uts" in required, "time" in required
    return specified(
        draw(st.lists(st.text("ab "), min_size=1, max_size=3)),
        namespaces=Namespaces(required, optional),
        init=draw(st.sampled_from([None, "", "/sbin/tini"])),
        hostname=draw(st.none() | st.just("box")) if has_uts else None,
        monotonic=draw(st.none() | st.integers(-9, 9)) if has_time else None,
        boottime=draw(st.none() | st.integers(-9, 9)) if has_time else None,
        workdir=draw(st.none() | st.just("/tmp")),
        environment=draw(st.lists(st.tuples(st.sampled_from(["A", "PATH"]), st.text("x/:")))),
        clear_environment=draw(st.booleans()),
        user=draw(st.none() | st.just(5)) if "user" not in optional else None,
        group=draw(st.none() | st.just(6)) if "user" not in optional else None,
    )


Steps = tuple[steps.Step, ...]

KIND = {steps.unshare(kind, INIT).how: kind for kind in NAMESPACES}
"""The kind of namespace by the call that makes it."""


def words(planned: Steps) -> list[str]:
    return [step.what for step in planned]


def unshared(planned: Steps) -> list[str]:
    return [KIND[step.how] for step in planned if step.how in KIND]


@given(specs(), st.none() | st.just(5), st.none() | st.just(9))
def test_order(spec: Spec, terminal: int | None, notice: int | None) -> None:
    identity = spec.wish(Identity) or Identity()
    parts = [Ids(identity, Maps(groups_stay=True))]
    planned = plan(spec, CALLER, parts, terminal=terminal, notice=notice)
    kinds = unshared(planned)
    wanted = spec.namespaces.wanted
    order = words(planned)

    # Everything that is wanted, once, and nothing that isn't.
    assert sorted(kinds) == sorted(wanted)
    for step in planned:
        assert wanted.issuperset(step.needs)
        if step.how in KIND:
            optional = KIND[step.how] in spec.namespaces.optional
            assert step.optional == (KIND[step.how] if optional else None)
        else:
            assert step.optional is None
    # The user namespace and its maps come before all else; the group map needs setgroups denied.
    if "user" in wanted:
        assert [step.how.partition('"')[2].split('"')[0] for step in planned[1:4]] == [
            f"/proc/STAGE/{file}" for file in ("setgroups", "gid_map", "uid_map")
        ]
        assert (kinds[0], planned[0].where) == ("user", STAGE)
    # The launcher never enters a namespace itself: it unshares only what is for children.
    for step in planned:
        if step.how in KIND and step.where == LAUNCHER:
            assert KIND[step.how] in ("pid", "time")
    assert (STAGE in {step.where for step in planned}) <= is_staged(spec)
    # The processes follow one another, but for the launcher's maps amid the stage's steps.
    places = [step.where for step in planned if "user" not in step.needs]
    assert places == sorted(places, key=[LAUNCHER, STAGE, INIT].index)
    # What makes the container comes before what sets it up; what is last before the exec is last.
    phases = [0 if step.makes else 2 if step.last_act else 1 for step in planned]
    assert phases == sorted(phases)
    # Clocks between the unshare and the fork; mounts after the propagation is private.
    for at, step in enumerate(planned):
        if "timens_offsets" in step.how:
            assert "time" in unshared(planned[:at])
            assert step.where != INIT
    assert ("mount proc on /proc" in order) == (wanted >= {"pid", "mount"})
    if "mount proc on /proc" in order:
        assert order.index("make every mount private") < order.index("mount proc on /proc")
    assert ("bring up the loopback interface" in order) == ("net" in wanted)
    # Whatever comes, the init dies with its parent, said after all that could undo it, and ends
    # with one exec.
    assert order.count("die with the launcher") == 1
    last = order.index("die with the launcher")
    assert all(step.last_act for step in planned[last + 1 :])
    assert [what for what in order if what.startswith("become")] == [
        f"become {kind} {number}"
        for kind, number in (("group", identity.group), ("user", identity.user))
        if number is not None
    ]
    assert planned[-1].how.startswith("execvp(")
    assert sum(step.how.startswith("execvp(") for step in planned) == 1


@given(specs())
def test_clearing_comes_before_setting(spec: Spec) -> None:
    order = words(plan(spec, CALLER))
    set_ones = [at for at, what in enumerate(order) if what.startswith("set the variable")]
    assert order.count("clear the environment") == spec.clear_environment
    assert len(set_ones) == len(spec.environment)
    if spec.clear_environment and set_ones:
        assert order.index("clear the environment") < set_ones[0]


@given(specs(), st.sampled_from(NAMESPACES))
def test_without_a_namespace_nothing_touches_the_machines_own(spec: Spec, missing: str) -> None:
    planned = plan(spec, CALLER)
    left = steps.without(planned, missing)
    assert [step for step in planned if missing not in step.needs] == list(left)


@given(specs())
def test_lines(spec: Spec) -> None:
    planned = plan(spec, CALLER)
    shown = list(lines(spec, planned))
    assert [line for line in shown if ": fork()" not in line] == [
        f"{step.where:8}  {step.describe()}: {step.call()}" for step in planned
    ]
    forks = [line.split()[0] for line in shown if ": fork()" in line]
    assert forks == (["launcher", "stage"] if is_staged(spec) else ["launcher"])
    # The fork of the init comes right before its first step.
    first = next(at for at, line in enumerate(shown) if line.startswith("init"))
    assert "fork the init" in shown[first - 1]


def make(**fields: object) -> Spec:
    return specified(("app", "-x"), **{"namespaces": Namespaces({"pid"}), **fields})  # type: ignore[arg-type]


def calls(planned: Steps) -> list[tuple[Any, ...]]:
    """Return what the steps ask of the kernel, the last being an exec that fails."""
    kernel = NoExec()
    for step in planned:
        with contextlib.suppress(SetupError):
            step.run(kernel)
    return kernel.calls


class NoExec(Recording):
    """Knows no program."""

    def exec(self, arguments: object, search_path: object) -> ExecFailure:
        self.calls.append(("exec", list(arguments), search_path))  # type: ignore[call-overload]
        return ExecFailure(errno.ENOENT, b"app")


def test_the_program_is_pid_1_itself() -> None:
    assert calls(plan(make(), CALLER, terminal=5, notice=9)[-3:]) == [
        ("take_foreground", 5),
        ("set_signals", {1}, {15}),
        ("exec", [b"app", b"-x"], CALLER.search_path),
    ]
    assert "take_foreground" not in [call[0] for call in calls(plan(make(), CALLER))]


def test_another_init_gets_the_signals_that_the_caller_had() -> None:
    assert calls(plan(make(init="/sbin/tini"), CALLER, notice=9)[-2:]) == [
        ("set_signals", {1}, {15}),
        ("exec", [b"/sbin/tini", b"--", b"app", b"-x"], CALLER.search_path),
    ]


@pytest.mark.parametrize(("terminal", "foreground"), [(None, b"0"), (5, b"1")])
def test_pyinit_is_handed_what_it_can_not_see(terminal: int | None, foreground: bytes) -> None:
    called = calls(plan(make(init=""), CALLER, terminal=terminal, notice=9))
    _, arguments, _ = called[-1]
    assert arguments[0] == sys.executable.encode()
    assert arguments[1:3] == [b"-I", b"-S"]
    handover = b"--handover=mask=4000,ignored=1,foreground=" + foreground + b",notice=9"
    assert arguments[-4:] == [handover, b"--", b"app", b"-x"]
    # All stays blocked until pyinit is ready, and it takes the terminal by itself.
    assert not {"set_signals", "take_foreground"} & {call[0] for call in called}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, CALLER.search_path),
        ({"clear_environment": True}, None),
        ({"environment": [("PATH", "/a"), ("PATH", "/b")]}, b"/b"),
        ({"environment": [("PATH", "/a")], "clear_environment": True}, b"/a"),
    ],
)
def test_the_program_is_looked_up_in_its_own_path(
    fields: dict[str, object], path: bytes | None
) -> None:
    assert calls(plan(make(**fields), CALLER))[-1] == ("exec", [b"app", b"-x"], path)


def test_maps() -> None:
    spec = make(namespaces=Namespaces({"user", "pid"}), map_user=7, map_group=8)
    assert calls(plan(spec, CALLER, find(Recording(), spec, CALLER))[1:4]) == [
        ("write_file", "/proc/self/setgroups", b"deny"),
        ("write_file", "/proc/self/gid_map", b"8 100 1"),
        ("write_file", "/proc/self/uid_map", b"7 1000 1"),
    ]


RANGES = {"users": IdMap([(0, 1000, 1), (1, 100000, 9)]), "groups": IdMap([(0, 100, 1)])}


@pytest.mark.parametrize("deny", [False, True])
def test_maps_that_helpers_write(deny: bool) -> None:
    maps = Maps(**RANGES, user_helper="/bin/newuidmap", deny=deny, watched=frozenset({9}))  # type: ignore[arg-type]
    spec = make(namespaces=Namespaces({"user", "pid"}))
    planned = plan(spec, CALLER, [Ids(Identity(), maps)])
    planned = tuple(step for step in planned if step.where == LAUNCHER)
    kernel = Helping()
    for step in planned:
        step.run(kernel, "42")
    assert kernel.calls == [
        *([("write_file", "/proc/42/setgroups", b"deny")] if deny else []),
        ("write_file", "/proc/42/gid_map", b"0 100 1"),
        ("run_helper", ("/bin/newuidmap", "42", "0", "1000", "1", "1", "100000", "9"), {9}),
    ]


class Helping(Recording):
    """A kernel whose programs do what they are asked for."""

    def signalfd(self, signals: object) -> int:
        return os.open("/dev/null", os.O_RDONLY)

    def run_helper(self, arguments: object, wait: Any) -> tuple[int, str, str]:
        self.calls.append(("run_helper", arguments, wait.__self__._watched))
        return 0, "", ""


LAST = [("leave_session_keyring",), ("set_parent_death_signal", 9)]
CREDENTIALS = ("setgroups", "setgid", "setuid", *(call[0] for call in LAST))


@pytest.mark.parametrize(
    ("chosen", "stay", "expected"),
    [
        ({}, False, []),
        ({"user": 5}, False, [("setgroups", ()), ("setuid", 5)]),
        ({"group": 6}, False, [("setgroups", ()), ("setgid", 6)]),
        ({"user": 5, "group": 6}, True, [("setgid", 6), ("setuid", 5)]),
        (
            {"user": 5, "group": 6, "groups": (7, 8)},
            False,
            [("setgroups", (7, 8)), ("setgid", 6), ("setuid", 5)],
        ),
        ({"groups": ()}, False, [("setgroups", ())]),
    ],
)
def test_credentials_come_last_and_death_with_the_parent_after_them(
    chosen: dict[str, object], stay: bool, expected: list[tuple[Any, ...]]
) -> None:
    spec = make(**chosen)
    called = calls(
        plan(spec, CALLER, [Ids(spec.wish(Identity) or Identity(), Maps(groups_stay=stay))])
    )
    found = [call for call in called if call[0] in CREDENTIALS]
    assert found == [*expected, *LAST]
    assert called.index(found[0]) == len(called) - len(found) - 2  # the signals, and the exec


class Poor(Recording):
    """A kernel that refuses namespaces."""

    def unshare(self, flags: int) -> None:
        self.calls.append(("unshare", flags))
        raise SyscallError("unshare", errno.ENOSPC)


def test_taking_the_steps_of_one_process() -> None:
    spec = make(namespaces=Namespaces({"pid", "time", "mount"}), boottime=3)
    planned = plan(spec, CALLER)
    kernel = Recording()
    left = steps.take(kernel, planned, LAUNCHER, lambda *_: pytest.fail("nothing was refused"))
    assert [call[0] for call in kernel.calls] == ["unshare", "unshare", "write_file"]
    assert left == planned[3:]
    # The init's own end where the container is made.
    left = steps.take(kernel, left, INIT, lambda *_: pytest.fail("nothing was refused"))
    assert [call[0] for call in kernel.calls[3:]] == ["make_process_group", "unshare"]
    assert left[0].what == "make every mount private"


def test_a_refused_namespace_is_told_and_what_needs_it_left_out() -> None:
    spec = make(namespaces=Namespaces((), {"pid", "mount"}))
    refused: list[tuple[str, int]] = []
    planned = steps.take(Poor(), plan(spec, CALLER), LAUNCHER, lambda *told: refused.append(told))
    planned = steps.take(Poor(), planned, INIT, lambda *told: refused.append(told))
    assert refused == [("pid", errno.ENOSPC), ("mount", errno.ENOSPC)]
    assert not [what for what in words(planned) if "mount" in what]


def test_a_required_namespace_that_is_refused_is_an_error() -> None:
    with pytest.raises(SetupError, match="make a new pid namespace: No space left"):
        steps.take(Poor(), plan(make(), CALLER), LAUNCHER, lambda *_: pytest.fail("it's no option"))


class Speaking(steps.Part):
    """Speaks for some stations, with a step each that says so."""

    def __init__(self, name: str, *stations: str) -> None:
        self._name = name
        self._stations = stations

    @property
    def stations(self) -> dict[str, Callable[[], tuple[steps.Step, ...]]]:
        return {station: partial(self._speak, station) for station in self._stations}

    def _speak(self, station: str) -> tuple[steps.Step, ...]:
        return (steps.set_variable(station, self._name),)


@given(st.sets(st.sampled_from(sorted(STATIONS))), st.sets(st.sampled_from(sorted(STATIONS))))
def test_parts_speak_in_their_order_and_where_none_does_the_plain_steps_stand(
    first: set[str], second: set[str]
) -> None:
    spec = make(namespaces=Namespaces(NAMESPACES), hostname="box", workdir="/")
    parts = [Speaking("first", *first), Speaking("second", *second)]
    expected: list[str] = []
    for station, plain in STATIONS.items():
        spoken = [
            f"set the variable {station}" for speaking in (first, second) if station in speaking
        ]
        expected += spoken or words(tuple(plain(spec, CALLER)))
    assert words(plan(spec, CALLER, parts))[: len(expected)] == expected


def test_what_was_found_is_let_go_where_the_next_can_not_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_go: list[str] = []

    class Holding(steps.Part):
        def let_go(self) -> None:
            let_go.append("first")

    def refuse(*_: object) -> None:
        raise SetupError("no network", stage=LAUNCHER)

    monkeypatch.setattr(persist, "find", lambda *_: Holding())
    monkeypatch.setattr(part, "find", refuse)
    spec = make(namespaces=Namespaces({"net"}), persist="/run/x", network=Network("loopback"))
    with pytest.raises(SetupError, match="no network"):
        find(Recording(), spec, CALLER)
    assert let_go == ["first"]
