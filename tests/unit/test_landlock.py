"""`--landlock`: its words, the ruleset for each version of the kernel's interface, and the step."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.capabilities import require
from helpers.kernels import Faulty, open_descriptors
from helpers.specs import specified
from hypothesis import given
from hypothesis import strategies as st

import spawner
from spawner.caller import Caller
from spawner.command import run
from spawner.errors import INIT, LAUNCHER, SetupError, SpecError, SyscallError, unmarked
from spawner.linux import Kernel
from spawner.planning import find, plan
from spawner.rights import ruleset
from spawner.rights.landlock import PATHS, PORTS, SCOPES, Landlock, landlock, merged, options
from spawner.rights.rights import Rights, wish
from spawner.rights.ruleset import LEAST, REFER, planned
from spawner.spec import Choice, Namespaces, Spec
from spawner.why import rules
from spawner.why.evidence import Host

CALLER = Caller(user=0, group=0, search_path=b"/bin")

ABSOLUTE = st.text("ab/ =,é", max_size=5).map("/".__add__)
LEFT: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(PATHS, st.none() | st.lists(ABSOLUTE, max_size=3)),
    **dict.fromkeys(PORTS, st.none() | st.lists(st.integers(0, 65535), max_size=3)),
    "scope": st.frozensets(st.sampled_from(SCOPES)),
}


@st.composite
def wanted(draw: st.DrawFn) -> Landlock:
    fields = {kind: draw(left) for kind, left in LEFT.items()}
    if all(left is None or left == frozenset() for left in fields.values()):
        fields["scope"] = ["signal"]
    return Landlock(**fields)


@given(wanted())
def test_what_is_spelt_as_options_is_read_as_the_same(value: Landlock) -> None:
    words = list(options(value))
    assert merged(map(landlock, words)) == value
    read = [run.BY_NAME["landlock"].convert(word) for word in words]
    assert wish({"landlock": read}, Choice(0, 0)) == Rights(landlock=value)
    assert eval(repr(value), {"Landlock": spawner.Landlock}) == value
    assert hash(value) == hash(merged(map(landlock, words)))


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["read,exec=/usr"], Landlock(read="/usr", execute=Path("/usr"))),
        (["READ=/a", "read,write=/b"], Landlock(read=["/a", "/b"], write=["/b"])),
        (["read=/a", "x=/a", "read=/a"], Landlock(read="/a", execute="/a")),
        (["write=none", "write=none"], Landlock(write=[])),
        (["read=/none=,x"], Landlock(read="/none=,x")),
        (["bind,connect=80,443", "connect=1"], Landlock(bind=[80, 443], connect=[80, 443, 1])),
        (["connect=none"], Landlock(connect=())),
        (["scope=signal", "scope=abstract"], Landlock(scope="abstract,signal")),
    ],
)
def test_words(words: list[str], value: Landlock) -> None:
    assert merged(map(landlock, words)) == value


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("", "'' is not KIND=VALUE"),
        ("read", "'read' is not KIND=VALUE"),
        ("read=", "'read=' is not KIND=VALUE"),
        ("=/usr", "'' is not one of read, write, execute"),
        ("red=/usr", "'red' is not one of read, write, execute"),
        ("read,=/usr", "'' is not one of"),
        ("read=usr", "read needs an absolute path in the container, not 'usr'"),
        ("write=./none", "write needs an absolute path in the container, not './none'"),
        ("read=/a\0b", "a path for read contains a NUL"),
        ("read,bind=80", "'read,bind' are kinds that take different values"),
        ("scope,read=/a", "'scope,read' are kinds that take different values"),
        ("bind=http", "'http' is not the number of a TCP port"),
        ("bind=80,", "'' is not the number of a TCP port"),
        ("connect=65536", "65536 is not the number of a TCP port, 0 to 65535"),
        ("connect=-1", "'-1' is not the number of a TCP port"),
        ("scope=none", "'none' is not one of the scopes, abstract and signal"),
        ("scope=signal,", "'' is not one of the scopes"),
    ],
)
def test_words_that_make_no_sense(word: str, message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("(", r"\(")):
        landlock(word)


@given(st.text() | st.text("readwitbnc=,/0124"))
def test_any_word_is_read_or_refused_with_words(word: str) -> None:
    try:
        found = landlock(word)
    except SpecError:
        return
    assert merged(map(landlock, options(found))) == found


@pytest.mark.parametrize("words", [("read=none", "read=/a"), ("read=/a", "read=none")])
def test_none_and_something_contradict_each_other(words: tuple[str, str]) -> None:
    with pytest.raises(SpecError, match="both none and something to read") as refused:
        merged(map(landlock, words))
    assert refused.value.hint == "leave out read=none"


def test_no_value_is_no_landlock() -> None:
    assert merged([]) is None


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({}, SpecError, "this Landlock restricts nothing"),
        ({"scope": ""}, SpecError, "this Landlock restricts nothing"),
        ({"read": [b"/a"]}, TypeError, "read of a Landlock names paths, not b'/a'"),
        ({"bind": ["80"]}, TypeError, "bind of a Landlock names TCP ports, not '80'"),
        ({"bind": True}, TypeError, "bind of a Landlock names TCP ports, not True"),
        ({"scope": ["net"]}, SpecError, "'net' is not one of the scopes"),
    ],
)
def test_values_that_make_no_sense(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Landlock(**fields)


def test_rights_hold_a_landlock_and_nothing_else() -> None:
    with pytest.raises(TypeError, match="landlock needs a Landlock, or None, not '/usr'"):
        Rights(landlock="/usr")  # type: ignore[arg-type]


# The ruleset

KNOWN_SINCE = {1: 0x1FFF, 2: REFER, 3: 1 << 14, 5: 1 << 15}
"""The rights for files and directories of linux/landlock.h, by the ABI that brought them."""


def known(abi: int) -> int:
    return sum(bits for since, bits in KNOWN_SINCE.items() if since <= abi)


@given(wanted(), st.integers(1, 9), st.integers(0, 7))
def test_a_ruleset_handles_what_is_restricted_and_what_the_kernel_knows(
    value: Landlock, abi: int, fixed: int
) -> None:
    lacking = [kind for kind in LEAST if value.restricts(kind) and abi < LEAST[kind]]
    if lacking:
        with pytest.raises(SetupError, match=f"can't restrict {lacking[0]}") as refused:
            planned(value, abi, fixed)
        assert refused.value.stage == LAUNCHER
        assert f"leave {lacking[0]} out of --landlock" in unmarked(str(refused.value.hint))
        return
    found = planned(value, abi, fixed)
    refers = abi >= 2 and bool(fixed & 4)
    kinds = [kind for kind in PATHS if value.restricts(kind)]
    bits = {"read": 0xC, "write": 0x1FF2 | 1 << 14, "execute": 1, "ioctl": 1 << 15}
    assert found.fs == sum(bits[kind] for kind in kinds) | (REFER if kinds and refers else 0)
    assert found.fs & ~known(abi) == 0
    assert found.net == sum({"bind": 1, "connect": 2}[k] for k in PORTS if value.restricts(k))
    assert found.scoped == sum({"abstract": 1, "signal": 2}[each] for each in value.scope)
    assert abi >= 4 or not found.net
    assert abi >= 6 or not found.scoped
    # A rule gives no more than what its place is named for, and is never empty.
    paths, ports = dict(found.paths), dict(found.ports)
    assert (len(paths), len(ports)) == (len(found.paths), len(found.ports))
    for path, rights in paths.items():
        named = [kind for kind in kinds if path in getattr(value, kind)]
        moves = refers and ("write" in named or ("write" not in kinds and path == "/"))
        assert rights == sum(bits[kind] for kind in named) | (REFER if moves else 0) != 0
    for port, rights in ports.items():
        assert rights == sum(
            {"bind": 1, "connect": 2}[k] for k in PORTS if port in (getattr(value, k) or ())
        )
    assert {*paths} - {"/"} == {path for kind in kinds for path in getattr(value, kind)} - {"/"}


@pytest.mark.parametrize("abi", range(1, 9))
def test_each_version_has_what_it_brought(abi: int) -> None:
    for kind, least in LEAST.items():
        left: Any = ["signal"] if kind == "scope" else []
        value = Landlock(**{kind: left})
        if abi >= least:
            planned(value, abi, 7)
            continue
        with pytest.raises(SetupError) as refused:
            planned(value, abi, 7)
        assert refused.value.message == (
            f"this kernel's Landlock can't restrict {kind}: it has version {abi} of the interface, "
            f"and that requires version {least}"
        )


# The step


class Open(Faulty):
    """A kernel on which everything can be opened, real calls but for that."""

    def __init__(self, shut: dict[str, int] | None = None) -> None:
        super().__init__(None)
        self.shut = shut or {}

    def open(self, path: str, flags: int) -> int:
        if flags & os.O_PATH:
            return os.open(path, flags | os.O_CLOEXEC)
        if path in self.shut:
            raise SyscallError("openat", self.shut[path], path)
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


class Calls:
    """Stands for the kernel's Landlock: it remembers what it is told, and restricts nothing."""

    def __init__(self) -> None:
        self.made: list[tuple[Any, ...]] = []
        self.refused: dict[str, int] = {}
        self.abi, self.fixed = 7, 7

    def _take(self, name: str, *arguments: Any) -> None:
        if name in self.refused:
            raise SyscallError(f"landlock_{name}", self.refused[name])
        self.made.append((name, *arguments))

    def create(self, *handled: int) -> int:
        self._take("create_ruleset", *handled)
        return os.open("/dev/null", os.O_RDONLY)

    def allow_path(self, _: int, rights: int, place: int) -> None:
        self._take("add_rule", rights, os.readlink(f"/proc/self/fd/{place}"))

    def allow_port(self, _: int, rights: int, port: int) -> None:
        self._take("add_rule", rights, port)

    def restrict_self(self, _: int) -> None:
        self._take("restrict_self")

    def version(self) -> int:
        self._take("version")
        return self.abi

    def errata(self) -> int:
        return self.fixed


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    found = Calls()
    for name in ("create", "allow_path", "allow_port", "restrict_self", "version", "errata"):
        monkeypatch.setattr(ruleset, name, getattr(found, name))
    before = open_descriptors()
    yield found
    assert open_descriptors() == before


def spec(value: Landlock, **fields: Any) -> Spec:
    return specified(["true"], namespaces=Namespaces("pid"), landlock=value, **fields)


def take(value: Landlock, kernel: Open, **fields: Any) -> None:
    made = spec(value, **fields)
    (step,) = [
        step
        for step in plan(made, CALLER, find(kernel, made, CALLER))
        if step.topic == "restrict-by-landlock"
    ]
    step.run(kernel)


DENIED = {"/": errno.EACCES}


def test_the_calls(calls: Calls, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    value = Landlock(
        read=[tmp_path, tmp_path / "file"], write=tmp_path / "file", execute=(), scope="signal"
    )
    take(value, Open(DENIED))
    assert calls.made == [
        ("version",),
        ("create_ruleset", 0x400D | 0x1FF2 | REFER, 0, 2),
        ("add_rule", 0xC, str(tmp_path)),
        ("add_rule", 0x4006, str(tmp_path / "file")),  # without the rights of directories
        ("restrict_self",),
    ]


def test_links_and_removals_stay_free_where_only_reading_is_restricted(calls: Calls) -> None:
    take(Landlock(read="/usr"), Open(DENIED))
    assert calls.made[1:-1] == [
        ("create_ruleset", 0xC | REFER, 0, 0),
        ("add_rule", REFER, "/"),
        ("add_rule", 0xC, "/usr"),
    ]


@pytest.mark.parametrize(("abi", "fixed"), [(7, 3), (1, 0), (7, 0)])
def test_what_erratum_3_could_widen_is_not_given_back(calls: Calls, abi: int, fixed: int) -> None:
    calls.abi, calls.fixed = abi, fixed
    take(Landlock(read="/usr"), Open(DENIED))
    assert calls.made[1:-1] == [("create_ruleset", 0xC, 0, 0), ("add_rule", 0xC, "/usr")]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (Landlock(read="/usr"), "the root directory can be listed"),
        (Landlock(write=()), "a file can be made in the root directory"),
        (Landlock(bind=80), "a TCP socket can bind"),
        (Landlock(connect=443), "a TCP socket can connect"),
    ],
)
def test_a_kernel_that_restricts_nothing_is_an_error(
    calls: Calls, value: Landlock, what: str
) -> None:
    with pytest.raises(SetupError, match=f"doesn't restrict as Landlock should: {what}") as failed:
        take(value, Open())
    assert failed.value.stage == INIT


@pytest.mark.parametrize(
    "value",
    [
        Landlock(read="/"),
        Landlock(write=["/./"], read="/"),
        Landlock(bind=0, connect=(0, 1)),
        Landlock(execute=(), ioctl=(), scope="abstract"),
    ],
)
def test_what_is_left_or_can_not_be_tried_is_not_tried(calls: Calls, value: Landlock) -> None:
    take(value, Open())
    assert calls.made[-1] == ("restrict_self",)


def test_pyinit_has_to_be_left_to_read(calls: Calls) -> None:
    from spawner import lean

    take(Landlock(read="/usr"), Open(DENIED), init="")
    with pytest.raises(
        SetupError, match=f"Landlock keeps pyinit from reading {lean.HERE}, which"
    ) as failed:
        take(Landlock(read="/usr"), Open(DENIED | {lean.HERE: errno.EACCES}), init="")
    hint = unmarked(str(failed.value.hint))
    assert hint == f"add --landlock read={lean.HERE}, or do without an init"


@pytest.mark.parametrize("call", ["create_ruleset", "add_rule", "restrict_self"])
def test_a_call_that_is_refused_is_an_error(calls: Calls, call: str) -> None:
    calls.refused[call] = errno.EPERM
    with pytest.raises(SetupError, match=r"restrict by Landlock: read only /usr; .*\(EPERM\)") as e:
        take(Landlock(read="/usr", connect=5), Open(DENIED))
    assert e.value.syscall == f"landlock_{call}"


def test_a_path_that_is_not_there(calls: Calls) -> None:
    class Bare(Open):
        def open_source(self, path: str) -> int:
            if path == "/no":
                raise SyscallError("openat", errno.ENOENT, path)
            return super().open_source(path)

    with pytest.raises(SetupError, match=r"open /no, which Landlock leaves .*\(ENOENT\)"):
        take(Landlock(read="/no"), Bare())
    assert ("restrict_self",) not in calls.made


def test_it_comes_last_but_for_a_filter(calls: Calls, tmp_path: Path) -> None:
    (tmp_path / "filter").write_bytes(bytes(8))
    made = spec(Landlock(scope="signal"), seccomp=str(tmp_path / "filter"))
    topics = [step.topic for step in plan(made, CALLER, find(Kernel(), made, CALLER))]
    assert topics[-3:] == ["restrict-by-landlock", "install-filter", "execute"]
    assert topics[-4] == "restore-signals"


def test_the_words_of_the_step(calls: Calls) -> None:
    value = Landlock(read="/usr", bind=[], connect=[80], scope="signal,abstract")
    step = ruleset.restrict(ruleset.find(value), value, init=False, before=None)
    assert step.describe() == (
        "restrict by Landlock: read only /usr; bind none; connect only 80; keep in abstract, signal"
    )
    assert step.call() == (
        "landlock_create_ruleset({0x200c, 0x3, 0x3}, 24, 0), "
        'landlock_add_rule(RULESET, LANDLOCK_RULE_PATH_BENEATH, {0x2000, open("/", O_PATH)}, 0), '
        'landlock_add_rule(RULESET, LANDLOCK_RULE_PATH_BENEATH, {0xc, open("/usr", O_PATH)}, 0), '
        "landlock_add_rule(RULESET, LANDLOCK_RULE_NET_PORT, {0x2, 80}, 0), "
        "landlock_restrict_self(RULESET, 0)"
    )


# The kernel itself


def test_the_structures_are_the_kernels() -> None:
    require("landlock")
    made = ruleset.create(0xC, 3, 3)
    try:
        assert "landlock-ruleset" in os.readlink(f"/proc/self/fd/{made}")
        place = os.open("/usr", os.O_PATH)
        ruleset.allow_path(made, 0x4, place)
        ruleset.allow_port(made, 2, 65535)
        for refused in (
            lambda: ruleset.allow_path(made, 0x10, place),  # not handled
            lambda: ruleset.allow_port(made, 4, 1),
            lambda: ruleset.allow_port(made, 1, 65536),
            lambda: ruleset.create(1 << 40, 0, 0),
        ):
            with pytest.raises(SyscallError, match="Invalid argument"):
                refused()
        os.close(place)
        assert ruleset.errata() >= 0
    finally:
        os.close(made)


# The hints


class Fake(Host):
    def __init__(self, seccomp: str = "0") -> None:
        self._seccomp = seccomp

    def read(self, path: str) -> str | None:
        return f"Seccomp:\t{self._seccomp}\n" if path == "/proc/self/status" else None


@pytest.mark.parametrize(
    ("call", "reason", "words"),
    [
        ("create_ruleset", errno.ENOSYS, "this kernel has no Landlock: boot Linux 5.13"),
        ("create_ruleset", errno.EOPNOTSUPP, "Landlock is switched off: add landlock to the list"),
        ("restrict_self", errno.EPERM, "add --no-new-privs"),
        ("restrict_self", errno.E2BIG, "16 Landlock domains"),
    ],
)
def test_hints(call: str, reason: int, words: str) -> None:
    error = SetupError("x", stage=INIT, syscall=f"landlock_{call}", errno=reason)
    asked = spec(Landlock(scope="signal"))
    assert words in unmarked(str(rules.why(error, asked, Fake())))


def test_a_filter_around_us_may_refuse_it_too() -> None:
    for reason in (errno.ENOSYS, errno.EPERM):
        error = SetupError("x", stage=LAUNCHER, syscall="landlock_create_ruleset", errno=reason)
        found = str(rules.why(error, spec(Landlock(scope="signal")), Fake("2")))
        assert "a seccomp filter is in force" in found


ENDED = "the init ended with status 127 before it had started the program"


@pytest.mark.parametrize(("step", "reason"), [("execute the init /x", errno.EACCES), (ENDED, None)])
def test_hints_for_an_init_that_is_shut_out(step: str, reason: int | None) -> None:
    error = SetupError(step, stage=INIT, errno=reason, path="/x")
    for value, hinted in ((Landlock(execute="/usr"), True), (Landlock(scope="signal"), False)):
        found = str(rules.why(error, spec(value, init=""), Fake()))
        assert ("the init is under Landlock as well" in found) == hinted
