"""`--rlimit`, `--nice` and `--oom-score-adj`: the words, and the steps against a made-up kernel."""

from __future__ import annotations

import errno
import resource
import signal
from typing import Any

import pytest
from helpers.clocks import Clock
from helpers.kernels import Recording
from helpers.specs import specified
from hypothesis import given
from hypothesis import strategies as st

import spawner
from spawner import steps
from spawner.caller import Caller
from spawner.errors import INIT, LAUNCHER, SetupError, SpecError, SyscallError
from spawner.ids.identity import Identity
from spawner.ids.mapping import Maps
from spawner.ids.part import Ids
from spawner.limit import deaths, part, rlimits
from spawner.limit.limits import RESOURCES, UNLIMITED, Limits, Rlimit, above, rlimit
from spawner.limit.part import Bounds
from spawner.planning import STATIONS, find, plan
from spawner.spec import Namespaces, Spec
from spawner.why import rules

CALLER = Caller(user=0, group=0, search_path=b"/bin")

AMOUNTS = st.integers(1, 2**63 - 1) | st.just(UNLIMITED)


@st.composite
def one(draw: st.DrawFn) -> Rlimit:
    first, second = draw(AMOUNTS), draw(AMOUNTS)
    soft, hard = (second, first) if above(first, second) else (first, second)
    return Rlimit(draw(st.sampled_from(RESOURCES)), soft, hard)


@given(one())
def test_what_is_written_is_read_as_the_same(wanted: Rlimit) -> None:
    assert rlimit(str(wanted)) == wanted
    assert rlimit(f"RLIMIT_{str(wanted).upper()}") == wanted
    assert Limits(rlimits={wanted.resource: (wanted.soft, wanted.hard)}).rlimits == (wanted,)


@given(st.text() | st.text("nofile=0123456789:KMG-unlitd"))
def test_any_word_is_a_limit_or_refused_with_words(word: str) -> None:
    try:
        found = rlimit(word)
    except ValueError:
        return
    assert rlimit(str(found)) == found
    assert not above(found.soft, found.hard)


@pytest.mark.parametrize(
    ("word", "soft", "hard"),
    [
        ("nofile=1024", 1024, 1024),
        ("nofile=1024:2048", 1024, 2048),
        ("NOFILE=0", 0, 0),
        ("RLIMIT_NOFILE=5:unlimited", 5, UNLIMITED),
        ("core=infinity", UNLIMITED, UNLIMITED),
        ("nproc=-1", UNLIMITED, UNLIMITED),
        ("as=2G", 2 << 30, 2 << 30),
        ("stack=64k:1M", 64 << 10, 1 << 20),
        ("data=3T", 3 << 40, 3 << 40),
    ],
)
def test_words(word: str, soft: int, hard: int) -> None:
    found = rlimit(word)
    assert (found.soft, found.hard) == (soft, hard)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nofile", "'nofile' is not NAME=SOFT"),
        ("=5", "'=5' is not NAME=SOFT"),
        ("node=5", "'node' is not one of the resources as, core, cpu, data"),
        (
            "memory=1G",
            "'memory' is not a resource: the container's memory is limited by .--memory.,",
        ),
        ("MEM=lots", "'mem' is not a resource: the container's memory is limited by .--memory.,"),
        ("files=5", "'files' is not a resource: open files are limited by nofile=N"),
        ("nofile=", "'' is not a limit of nofile, a whole number, or unlimited"),
        ("nofile=1K", "'1K' is not a limit of nofile"),
        ("cpu=1M", "'1M' is not a limit of cpu, a number of seconds"),
        ("rttime=x", "'x' is not a limit of rttime, a number of microseconds"),
        ("as=1Q", "'1Q' is not a limit of as, a number of bytes, which K, M, G or T may follow"),
        ("as=K", "'K' is not a limit of as"),
        ("nofile=1:2:3", "'1:2:3' is not a limit of nofile: give only a soft and a hard one"),
        ("nofile=2:1", "the soft limit of nofile, 2, is above the hard limit, 1"),
        ("core=unlimited:1", "the soft limit of core, unlimited, is above the hard limit, 1"),
        ("nofile=-2", "'-2' is not a limit of nofile"),
        ("nofile=9223372036854775808", "9223372036854775808 is not a valid limit for nofile"),
        ("as=9223372036854775807T", "is not a valid limit for as"),
        ("cpu=0", "a cpu limit of 0 seconds into 1 second"),
        ("nofile=\u0661", "is not a limit of nofile"),
    ],
)
def test_what_is_no_limit(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rlimit(word)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rlimits": {"nofile": 5.0}}, "5.0 is not a limit of nofile"),
        ({"rlimits": {"nofile": True}}, "True is not a limit of nofile"),
        ({"rlimits": {"nofile": None}}, "None is not a limit of nofile"),
        ({"rlimits": {"nofile": (1, 2, 3)}}, "give only a soft and a hard one"),
        ({"rlimits": {"nofile": ()}}, "give only a soft and a hard one"),
        ({"rlimits": {"nofile": -5}}, "-5 is not a valid limit for nofile"),
        ({"rlimits": {5: 5}}, "5 is not one of the resources"),
        ({"rlimits": {"nofile": 5, "RLIMIT_NOFILE": 6}}, "nofile is limited twice"),
        ({"nice": 20}, "the nice value can't be 20: it goes from -20 to 19"),
        ({"nice": -21}, "the nice value can't be -21"),
        ({"nice": "5"}, "the nice value can't be '5'"),
        ({"nice": True}, "the nice value can't be True"),
        ({"time": 0}, "the time limit can't be 0: it must be a finite number of seconds above 0"),
        ({"time": -1.5}, "the time limit can't be -1.5"),
        ({"time": float("nan")}, "the time limit can't be nan"),
        ({"time": float("inf")}, "the time limit can't be inf"),
        ({"time": True}, "the time limit can't be True"),
        ({"time": "5"}, "the time limit can't be '5'"),
        ({"oom_score_adj": 1001}, "the OOM score adjustment can't be 1001"),
        ({"oom_score_adj": -1001}, "the OOM score adjustment can't be -1001"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Limits(**fields)


def test_a_value_is_compared_hashed_and_shown_by_what_is_in_it() -> None:
    first = Limits(rlimits={"as": "1K", "nofile": (1, 2)}, nice=3, time=0.5)
    second = Limits(rlimits={"nofile": "1:2", "as": 1024}, nice=3, time=0.5)
    assert first == second != Limits(nice=3, time=0.5) != Limits(nice=3)
    assert hash(first) == hash(second)
    assert eval(repr(first), {"Limits": spawner.Limits}) == first
    with pytest.raises(AttributeError, match="frozen"):
        first.nice = 4  # type: ignore[misc]


def test_every_resource_of_python_is_there_by_its_number() -> None:
    known = {name.removeprefix("RLIMIT_").lower() for name in dir(resource) if "RLIMIT_" in name}
    assert known - {"ofile"} == set(RESOURCES) - {"locks"}  # ofile is BSD's word for nofile
    numbers = list(map(rlimits.number, RESOURCES))
    assert sorted(numbers) == list(range(16))


class Holding(Recording):
    """Holds limits, none of which may be raised; `deaf` to what is set, if so asked."""

    def __init__(self, *, deaf: bool = False) -> None:
        super().__init__()
        self.deaf = deaf
        self.held = dict.fromkeys(range(16), (50, 100))
        self.nice = 0
        self.files = {rlimits.OOM_SCORE_ADJ: b"0\n"}

    def prlimit(self, number: int, limits: tuple[int, int] | None = None) -> tuple[int, int]:
        if limits is not None:
            self.calls.append(("prlimit", number, limits))
            if not self.deaf:
                self.held[number] = limits
        return self.held[number]

    def setpriority(self, nice: int) -> None:
        self.calls.append(("setpriority", nice))
        if not self.deaf:
            self.nice = nice

    def getpriority(self) -> int:
        return self.nice

    def write_file(self, path: str, data: bytes) -> None:
        self.calls.append(("write", path, data))
        if not self.deaf:
            self.files[path] = data + b"\n"

    def read_file(self, path: str) -> bytes:
        return self.files[path]


def make(**fields: Any) -> Spec:
    return specified(["true"], namespaces=Namespaces({"pid", "mount"}), **fields)


ALL: dict[str, Any] = {
    "rlimits": {"as": 80, "nofile": (60, 70), "core": 0},
    "nice": 5,
    "oom_score_adj": -3,
}


def limiting(planned: tuple[steps.Step, ...]) -> list[steps.Step]:
    return [
        step for step in planned if step.topic.startswith(("set-rlimit", "set-nice", "set-oom"))
    ]


def test_calls_and_words() -> None:
    kernel, spec = Holding(), make(**ALL)
    planned = limiting(plan(spec, CALLER, find(kernel, spec, CALLER)))
    for step in planned:
        step.run(kernel)
    assert kernel.calls == [
        ("setpriority", 5),
        ("write", "/proc/self/oom_score_adj", b"-3"),
        ("prlimit", resource.RLIMIT_CORE, (0, 0)),
        ("prlimit", resource.RLIMIT_NOFILE, (60, 70)),
        ("prlimit", resource.RLIMIT_AS, (80, 80)),
    ]
    assert [f"{step.what}: {step.how}" for step in planned] == [
        "set the nice value to 5: setpriority(PRIO_PROCESS, 0, 5)",
        'set the OOM score adjustment to -3: write("/proc/self/oom_score_adj", "-3")',
        "set the limit core to 0: prlimit(0, RLIMIT_CORE, {0, 0}, NULL)",
        "set the limit nofile to 60, at most 70: prlimit(0, RLIMIT_NOFILE, {60, 70}, NULL)",
        "set the limit as to 80: prlimit(0, RLIMIT_AS, {80, 80}, NULL)",
    ]


def test_rights_are_used_before_they_go_and_limits_come_after_the_credentials() -> None:
    spec = make(**ALL, user=5, group=6)
    ids = Ids(Identity(user=5, group=6), Maps(groups_stay=True))
    planned = plan(spec, CALLER, [Bounds(Limits(**ALL)), ids])
    topics = [step.topic for step in planned]
    order = ["make-group", "set-nice", "set-oom-score-adj", "mount-proc", "set-user", "set-rlimit"]
    places = list(map(topics.index, [*order, "leave-session-keyring", "restore-signals"]))
    assert places == sorted(places)
    assert {step.where for step in limiting(planned)} == {INIT}


def test_no_step_of_a_plain_run_is_lost() -> None:
    kernel, spec = Holding(), make(**ALL)
    planned = plan(spec, CALLER, find(kernel, spec, CALLER))
    assert [step.topic for step in planned if step not in limiting(planned)] == [
        step.topic for step in plan(make(), CALLER)
    ]
    for station in (steps.ENTERED, steps.LIMITS):
        assert list(STATIONS[station](spec, CALLER)) == []


@pytest.mark.parametrize("limit", [101, (5, 101), "unlimited", (101, 101), (0, "unlimited")])
def test_a_hard_limit_is_never_raised(limit: Any) -> None:
    spec = make(rlimits={"core": 5, "nofile": limit})
    with pytest.raises(SetupError) as refused:
        find(Holding(), spec, CALLER)
    error = refused.value
    assert error.stage == LAUNCHER
    assert error.message.startswith("the limit nofile can't be ")
    assert error.message.endswith(": the hard limit of pyspawn itself is 100")
    assert "ask for nofile=100 at most" in str(error.hint)
    assert rules.why(error, spec) is None  # nothing that would stand in the hint's place


def test_a_soft_limit_may_be_raised_up_to_the_hard_one() -> None:
    find(Holding(), make(rlimits={"nofile": 100}), CALLER)


@pytest.mark.parametrize("fields", [{"rlimits": {"nofile": 5}}, {"nice": 5}, {"oom_score_adj": 5}])
def test_a_limit_that_is_not_there_afterwards_is_an_error(fields: dict[str, Any]) -> None:
    kernel, spec = Holding(deaf=True), make(**fields)
    (step,) = limiting(plan(spec, CALLER, find(kernel, spec, CALLER)))
    with pytest.raises(SetupError, match=r"set the .*: the kernel set .* instead of .*5"):
        step.run(kernel)


class Refusing(Holding):
    """Refuses to say or to set a limit."""

    def prlimit(self, number: int, limits: tuple[int, int] | None = None) -> tuple[int, int]:
        del number, limits
        raise SyscallError("prlimit", errno.ENOSYS)


def test_a_limit_that_can_not_be_looked_at_is_an_error() -> None:
    with pytest.raises(SetupError, match=r"read the limit nofile: .*ENOSYS") as refused:
        find(Refusing(), make(rlimits={"nofile": 5}), CALLER)
    assert (refused.value.stage, refused.value.syscall) == (LAUNCHER, "prlimit")


@pytest.mark.parametrize(
    ("error", "fields", "words"),
    [
        (
            SetupError("x", stage=INIT, syscall="setpriority", errno=errno.EACCES),
            {},
            "CAP_SYS_NICE",
        ),
        (
            SetupError("x", stage=INIT, syscall="write", errno=errno.EACCES,
                       path="/proc/self/oom_score_adj"),
            {},
            "CAP_SYS_RESOURCE",
        ),
        (
            SetupError("x", stage=INIT, syscall="fork", errno=errno.EAGAIN),
            {"rlimits": {"nproc": 1}},
            "the limit nproc=1 is reached",
        ),
        (
            SetupError("the init ended before it had started the program", stage=INIT),
            {"rlimits": {"as": 5, "core": 0}},
            "the limits core=0, as=5",
        ),
    ],
)  # fmt: skip
def test_hints(error: SetupError, fields: dict[str, Any], words: str) -> None:
    assert words in str(rules.why(error, make(**fields)))


@pytest.mark.parametrize("step", ["the init ended before it had started the program", "x"])
def test_no_hint_of_limits_without_limits(step: str) -> None:
    assert rules.why(SetupError(step, stage=INIT), make()) is None


def test_the_time_runs_from_the_start_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "time", Clock(100.0))
    bounds = Bounds(Limits(time=5))
    assert bounds.deadline is None
    bounds.executed()  # an init that says no more has some seconds for it
    assert bounds.deadline == 115.0
    part.time.now = 101.0  # type: ignore[attr-defined]
    bounds.started()
    assert bounds.deadline == 106.0
    assert bounds.limited(signal.SIGKILL) is None
    bounds.expired()
    assert bounds.deadline is None
    assert bounds.limited(None) is None  # it has ended by itself before it was killed
    told = bounds.limited(signal.SIGKILL)
    assert told is not None
    assert told[0] == "time"


def test_without_a_time_limit_there_is_no_deadline() -> None:
    bounds = Bounds(Limits(nice=5))
    bounds.executed()
    bounds.started()
    assert bounds.deadline is None
    assert bounds.limited(signal.SIGKILL) is None


@pytest.mark.parametrize(
    ("number", "words", "message"),
    [
        (signal.SIGXCPU, ["cpu=1", "as=5"], "processor time than is allowed by the limit cpu=1"),
        (signal.SIGXCPU, ["cpu=1", "rttime=5"], "by the limit rttime=5 and the limit cpu=1"),
        (
            signal.SIGXFSZ,
            ["fsize=0"],
            "it wrote a larger file than is allowed by the limit fsize=0",
        ),
        (signal.SIGSEGV, ["data=5", "cpu=5"], "its stack: see the limit data=5"),
        (signal.SIGXCPU, ["fsize=0"], None),
        (signal.SIGSEGV, ["cpu=5"], None),
        (signal.SIGTERM, ["cpu=1", "as=5", "fsize=0"], None),
        (signal.SIGKILL, ["as=5", "cpu=1:unlimited", "cpu=1000000"], None),
    ],
)
def test_deaths_that_a_limit_explains(number: int, words: list[str], message: str | None) -> None:
    told = deaths.told([rlimit(word) for word in sorted(words, reverse=True)], number)
    if message is None:
        assert told is None
    else:
        assert told is not None
        assert told.startswith("the program was killed by SIG")
        assert message in told


def test_a_hard_limit_on_processor_time_explains_a_kill_once_it_was_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = resource.struct_rusage((1.5, 0.6, *[0] * 14))
    monkeypatch.setattr(resource, "getrusage", lambda _: used)
    assert deaths.told([rlimit("cpu=1:3")], signal.SIGKILL) is None
    told = deaths.told([rlimit("cpu=1:2")], signal.SIGKILL)
    assert told is not None
    assert told.endswith("used up its processor time: see the limit cpu=1:2")
