"""`--cap-drop`, `--cap-add` and `--no-new-privs`: the words, and the steps on a made-up kernel."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from helpers.kernels import Recording
from helpers.specs import specified
from hypothesis import given
from hypothesis import strategies as st

import spawner
from spawner import steps
from spawner.caller import Caller
from spawner.command import run
from spawner.errors import INIT, LAUNCHER, SetupError, SpecError, SyscallError
from spawner.host.proc import CAPABILITIES
from spawner.ids.identity import Identity
from spawner.ids.mapping import Maps
from spawner.ids.part import Ids
from spawner.joining.target import Joins
from spawner.limit.limits import Limits
from spawner.limit.part import Bounds
from spawner.linux import Kernel
from spawner.planning import STATIONS, find, plan
from spawner.rights import capabilities, filters, part
from spawner.rights.rights import (
    ALL,
    Rights,
    changes,
    every,
    names,
    numbers,
    options,
    shown,
    title,
    wish,
)
from spawner.spec import Choice, Namespaces, Spec
from spawner.why import rules
from spawner.why.evidence import Host

CALLER = Caller(user=0, group=0, search_path=b"/bin")

KNOWN = [name.removeprefix("CAP_").lower() for name in CAPABILITIES]
LAST = 40

KILL, NET_ADMIN, SYS_ADMIN = 1 << 5, 1 << 12, 1 << 21


def test_the_table_is_the_kernels() -> None:
    """linux/capability.h: the first, the last, and some between."""
    assert len(CAPABILITIES) == LAST + 1
    some = {"CHOWN": 0, "SETPCAP": 8, "NET_RAW": 13, "SYS_ADMIN": 21, "MKNOD": 27, "SETFCAP": 31,
            "SYSLOG": 34, "AUDIT_READ": 37, "PERFMON": 38, "BPF": 39}  # fmt: skip
    assert some.items() <= {name[4:]: number for name, number in CAPABILITIES.items()}.items()


def spelt(name: str) -> st.SearchStrategy[str]:
    """Return the ways of writing a capability: with CAP_ or without, in any case."""
    whole = [name, title(name)] if name != ALL else [name]
    flags = st.lists(st.booleans(), min_size=len(whole[-1]), max_size=len(whole[-1]))
    return st.builds(
        lambda word, up: "".join(
            c.upper() if u else c.lower() for c, u in zip(word, up, strict=False)
        ),
        st.sampled_from(whole),
        flags,
    )


@given(st.data(), st.lists(st.sampled_from([*KNOWN, ALL]), unique=True))
def test_names_are_read_in_every_spelling(data: st.DataObject, wanted: list[str]) -> None:
    words = [data.draw(spelt(name)) for name in wanted]
    assert names(words) == names(",".join(words)) == frozenset(wanted)
    if words:
        assert run.BY_NAME["cap-drop"].convert(",".join(words)) == frozenset(wanted)


@given(st.text() | st.text("CAP_cap_netadmis,l"))
def test_any_word_is_a_list_of_capabilities_or_refused_with_words(word: str) -> None:
    try:
        found = names(word)
    except SpecError:
        return
    assert found <= {*KNOWN, ALL}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("netadmin", "'netadmin' is not the name of a capability: did you mean net_admin?"),
        ("xyzzy", r"'xyzzy' is not the name of a capability: capabilities\(7\) lists them"),
        ("cap_cap_kill", "'cap_cap_kill' is not the name of a capability: did you mean kill?"),
        ("kill,", "'' is not the name of a capability"),
        ("5", "'5' is not the name of a capability"),
        ([5], "5 is not the name of a capability"),
        ([None], "None is not the name of a capability"),
    ],
)
def test_what_is_no_capability(word: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Rights(cap_drop=word)


@pytest.mark.parametrize("word", ["", ",", "kill,,chown", "kill,"])
def test_a_name_that_is_missing(word: str) -> None:
    with pytest.raises(ValueError, match="a name is missing in"):
        run.BY_NAME["cap-add"].convert(word)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cap_drop": "kill", "cap_add": "CAP_KILL"}, "CAP_KILL is both dropped and added"),
        ({"cap_drop": "all", "cap_add": ["ALL"]}, "every capability is both dropped and added"),
        ({"no_new_privs": 1}, "no_new_privs can't be 1"),
        ({"no_new_privs": None}, "no_new_privs can't be None"),
        ({"disable_userns": "yes"}, "disable_userns can't be 'yes': it is true or false"),
        ({"seccomp": ""}, "'' is neither the path nor the descriptor of a seccomp filter"),
        ({"seccomp": True}, "True is neither"),
        ({"seccomp": -1}, "-1 is neither"),
        ({"seccomp": b"a"}, "b'a' is neither"),
        ({"seccomp": 1 << 31}, "2147483648 is neither"),
        ({"seccomp": "a\0b"}, "the path of the seccomp filter contains a NUL"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Rights(**fields)


def test_a_value_is_compared_hashed_and_shown_by_what_is_in_it() -> None:
    first = Rights(cap_drop=["KILL", "chown"], cap_add="bpf", no_new_privs=True)
    second = Rights(cap_drop="chown,cap_kill", cap_add={"BPF"}, no_new_privs=True)
    assert first == second != Rights(cap_drop="chown,kill", no_new_privs=True)
    assert hash(first) == hash(second)
    assert repr(first) == (
        "Rights(cap_drop='chown,kill', cap_add='bpf', no_new_privs=True, seccomp=None, "
        "disable_userns=False, landlock=None)"
    )
    assert eval(repr(first), {"Rights": spawner.Rights}) == first
    with pytest.raises(AttributeError, match="frozen"):
        first.no_new_privs = False  # type: ignore[misc]


SETS = st.frozensets(st.sampled_from([*KNOWN, ALL]))


@st.composite
def wanted(draw: st.DrawFn) -> Rights:
    drop, add = draw(SETS), draw(SETS)
    seccomp = draw(st.none() | st.integers(0, 2**31 - 1) | st.text("ab/ .", min_size=1))
    return Rights(
        cap_drop=drop - add,
        cap_add=add,
        no_new_privs=draw(st.booleans()),
        seccomp=seccomp,
        disable_userns=draw(st.booleans()),
    )


@given(wanted())
def test_what_is_spelt_as_options_is_read_as_the_same(rights: Rights) -> None:
    values: dict[str, Any] = {}
    for option, text in options(rights):
        name = option.replace("-", "_")
        value = True if text is None else run.BY_NAME[option].convert(text)
        values[name] = [value] if run.BY_NAME[option].many else value
    assert wish(values, Choice(0, 0)) == rights


@given(wanted(), st.integers(0, 63), st.integers(0, 2**64 - 1))
def test_a_capability_is_dropped_or_added_and_by_itself_beats_all(
    rights: Rights, last: int, held: int
) -> None:
    named = [CAPABILITIES[title(name)] for name in rights.cap_drop | rights.cap_add if name != ALL]
    if any(number > last for number in named):
        with pytest.raises(SpecError, match="this kernel doesn't know CAP_"):
            changes(rights, last)
        return
    found = changes(rights, last)
    assert found.dropped & found.added == 0
    assert (found.dropped | found.added) & ~every(last) == 0
    for number in range(last + 1):
        name = KNOWN[number] if number < len(KNOWN) else ""
        if name in rights.cap_drop:
            assert found.dropped >> number & 1
        elif name in rights.cap_add:
            assert found.added >> number & 1
        else:
            assert found.dropped >> number & 1 == (ALL in rights.cap_drop)
    assert found.all_else == (ALL in rights.cap_add)
    assert sum(1 << number for number in numbers(held)) == held


def test_a_capability_without_a_name_is_shown_by_its_number() -> None:
    assert shown(KILL | 1 << 41) == "CAP_KILL, capability 41"


class Holding(Recording):
    """Holds capability sets, as root has them; `deaf` to what is set, if so asked."""

    def __init__(self, *, last: int = LAST, held: int | None = None, deaf: bool = False) -> None:
        super().__init__()
        self.deaf = deaf
        self.last = last
        most = every(last) if held is None else held
        self.bounding, self.ambient = most, 0
        self.sets = (most, most, 0)
        self.flags = {"keep": 0, "sealed": 0}

    def read_file(self, path: str) -> bytes:
        assert path == "/proc/sys/kernel/cap_last_cap"
        return b"%d\n" % self.last

    def capget(self) -> tuple[int, int, int]:
        return self.sets

    def capset(self, effective: int, permitted: int, inheritable: int) -> None:
        self.calls.append(("capset", effective, permitted, inheritable))
        if not self.deaf:
            self.sets = (effective, permitted, inheritable)
            self.ambient &= permitted & inheritable

    def prctl(self, operation: int, first: int = 0, second: int = 0) -> int:
        if operation == 23:  # PR_CAPBSET_READ
            return self.bounding >> first & 1
        if (operation, first) == (47, 1):  # PR_CAP_AMBIENT_IS_SET
            return self.ambient >> second & 1
        if operation in (7, 39):
            return self.flags["keep" if operation == 7 else "sealed"]
        self.calls.append(("prctl", operation, first, second))
        if self.deaf:
            return 0
        if operation == 24:  # PR_CAPBSET_DROP
            self.bounding &= ~(1 << first)
        elif (operation, first) == (47, 2):  # PR_CAP_AMBIENT_RAISE
            assert self.sets[1] & self.sets[2] & 1 << second
            self.ambient |= 1 << second
        else:
            self.flags[{8: "keep", 38: "sealed"}[operation]] = first
        return 0


def make(*kinds: str, **fields: Any) -> Spec:
    return specified(["true"], namespaces=Namespaces({"pid", "mount", *kinds}), **fields)


OURS = ("drop-from-bounding", "keep-capabilities", "drop-capabilities", "add-capabilities",
        "no-new-privs")  # fmt: skip


def changing(planned: tuple[steps.Step, ...]) -> list[steps.Step]:
    return [step for step in planned if step.topic in OURS]


def test_calls_and_words() -> None:
    kernel = Holding()
    spec = make(cap_drop="net_admin,sys_admin", cap_add="kill", no_new_privs=True)
    planned = changing(plan(spec, CALLER, find(kernel, spec, CALLER)))
    for step in planned:
        step.run(kernel)
    left = every(LAST) & ~NET_ADMIN & ~SYS_ADMIN
    assert kernel.calls == [
        ("prctl", 24, 12, 0),
        ("prctl", 24, 21, 0),
        ("prctl", 8, 1, 0),
        ("capset", left, left, 0),
        ("capset", left, left, KILL),
        ("prctl", 47, 2, 5),
        ("prctl", 38, 1, 0),
    ]
    sets = "capset({_LINUX_CAPABILITY_VERSION_3, 0}, {EFFECTIVE, PERMITTED, INHERITABLE})"
    raises = "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL)"
    drops = "prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN), prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN)"
    assert [f"{step.what}: {step.how}" for step in planned] == [
        f"drop CAP_NET_ADMIN, CAP_SYS_ADMIN from the bounding set: {drops}",
        "keep the permitted capabilities over a change of user: prctl(PR_SET_KEEPCAPS, 1)",
        f"drop CAP_NET_ADMIN, CAP_SYS_ADMIN from the other sets: {sets}",
        f"give the program CAP_KILL: {sets}, {raises}",
        "set no_new_privs: prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)",
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cap_drop": ALL}, "drop every capability from"),
        ({"cap_drop": ALL, "cap_add": "kill"}, "drop every capability but CAP_KILL from"),
        ({"cap_drop": "chown"}, "drop CAP_CHOWN from"),
        ({"cap_add": ALL}, "give the program every capability"),
        ({"cap_add": ALL, "cap_drop": "kill"}, "give the program every other capability"),
        ({"cap_add": "bpf,kill"}, "give the program CAP_KILL, CAP_BPF"),
    ],
)
def test_many_are_named_by_what_is_left(fields: dict[str, Any], words: str) -> None:
    spec = make(**fields)
    assert any(
        step.what.startswith(words)
        for step in changing(plan(spec, CALLER, find(Holding(), spec, CALLER)))
    )


def take(rights: Rights, kernel: Holding, spec: Spec, *, changes_user: bool) -> None:
    """Take the steps; with `changes_user` the sets are what setuid(2) leaves, in its place."""
    planned = changing(plan(spec, CALLER, [part.find(rights, kernel, spec, CALLER)]))
    before = [step for step in planned if step.topic in OURS[:2]]
    for step in before:
        step.run(kernel)
    if changes_user:
        kernel.sets = (0, kernel.sets[1] if kernel.flags["keep"] else 0, 0)
    for step in planned[len(before) :]:
        step.run(kernel)


@given(wanted(), st.integers(0, 2**41 - 1), st.booleans(), st.booleans())
def test_what_the_sets_are_in_the_end(
    rights: Rights, held: int, user: bool, changes_user: bool
) -> None:
    """Dropped ones are in no set, added ones in all, and of the others there is no more."""
    rights = Rights(
        cap_drop=rights.cap_drop, cap_add=rights.cap_add, no_new_privs=rights.no_new_privs
    )
    kernel = Holding(held=held)
    named = ("user",) if user else ()
    spec = Spec(("true",), namespaces=Namespaces({"pid", *named}), wishes=(rights,))
    found = changes(rights, LAST)
    if found.added & ~held:
        with pytest.raises(SetupError, match="the program can't be given CAP_") as refused:
            take(rights, kernel, spec, changes_user=changes_user)
        assert refused.value.stage == (INIT if user else LAUNCHER)
        return
    take(rights, kernel, spec, changes_user=changes_user)
    added = found.added | (held & ~found.dropped if found.all_else else 0)
    assert added & ~held == 0
    for each in (*kernel.sets, kernel.bounding, kernel.ambient):
        assert each & ~held == each & found.dropped == added & ~each == 0
    assert kernel.ambient == added
    assert kernel.flags["sealed"] == rights.no_new_privs


def test_the_bounding_set_comes_before_ids_and_limits_after_rights() -> None:
    spec = make(cap_drop=ALL, cap_add="kill", no_new_privs=True, user=5, group=6, nice=5)
    ids = Ids(Identity(user=5, group=6), Maps(groups_stay=True))
    (rights,) = (wish for wish in spec.wishes if isinstance(wish, Rights))
    parts = [Bounds(Limits(rlimits={"as": 5})), ids, part.find(rights, Holding(), spec, CALLER)]
    planned = plan(spec, CALLER, parts)
    topics = [step.topic for step in planned]
    order = ["mount-proc", *OURS[:2], "set-group", "set-user", *OURS[2:], "set-rlimit"]
    places = list(map(topics.index, [*order, "leave-session-keyring", "restore-signals"]))
    assert places == sorted(places)
    assert {step.where for step in changing(planned)} == {INIT}


def test_no_step_of_a_plain_run_is_lost() -> None:
    kernel, spec = Holding(), make(cap_drop=ALL, cap_add="kill", no_new_privs=True)
    planned = plan(spec, CALLER, find(kernel, spec, CALLER))
    assert [step.topic for step in planned if step.topic not in OURS] == [
        step.topic for step in plan(make(), CALLER)
    ]
    for station in (steps.BOUNDING, steps.RIGHTS):
        assert list(STATIONS[station](spec, CALLER)) == []


def test_nothing_is_looked_at_for_no_new_privs_alone() -> None:
    kernel, spec = Recording(), make(no_new_privs=True)
    (step,) = changing(plan(spec, CALLER, find(kernel, spec, CALLER)))
    assert (step.topic, kernel.calls) == ("no-new-privs", [])


@pytest.mark.parametrize("fields", [{"cap_drop": "bpf"}, {"cap_add": "bpf"}])
def test_a_capability_that_the_kernel_does_not_know(fields: dict[str, Any]) -> None:
    spec = make(**fields)
    with pytest.raises(SpecError, match=r"this kernel doesn't know CAP_BPF: .* 37, and"):
        find(Holding(last=37), spec, CALLER)


def test_all_are_dropped_that_the_kernel_knows_and_we_do_not() -> None:
    kernel, spec = Holding(last=45), make(cap_drop=ALL)
    for step in changing(plan(spec, CALLER, find(kernel, spec, CALLER))):
        step.run(kernel)
    assert (*kernel.sets, kernel.bounding, kernel.ambient) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("text", [b"", b"many\n", b"-1\n", b"64\n"])
def test_a_kernel_that_does_not_tell_how_many_there_are(text: bytes) -> None:
    class Vague(Holding):
        def read_file(self, path: str) -> bytes:
            return text

    with pytest.raises(SetupError, match=r"look how many capabilities .*cap_last_cap"):
        find(Vague(), make(cap_drop=ALL), CALLER)


@pytest.mark.parametrize("kinds", [(), ("user",)])
def test_what_pyspawn_lacks_can_not_be_added_but_in_a_new_user_namespace(
    kinds: tuple[str, ...],
) -> None:
    spec, kernel = make(*kinds, cap_add="kill,bpf"), Holding(held=1 << 39)
    rights = next(wish for wish in spec.wishes if isinstance(wish, Rights))
    if kinds:
        part.find(rights, kernel, spec, CALLER)
        return
    with pytest.raises(SetupError) as refused:
        part.find(rights, kernel, spec, CALLER)
    assert refused.value.message == (
        "the program can't be given CAP_KILL: pyspawn itself has no such capability"
    )
    assert "docker run --cap-add KILL)" in str(refused.value.hint)
    assert rules.why(refused.value, spec) is None  # nothing that would stand in the hint's place


@pytest.mark.parametrize(
    ("fields", "count"),
    [({"cap_drop": "kill"}, 2), ({"cap_add": "kill"}, 2), ({"no_new_privs": True}, 1)],
)
def test_a_change_that_is_not_there_afterwards_is_an_error(
    fields: dict[str, Any], count: int
) -> None:
    kernel, spec = Holding(deaf=True), make(**fields)
    planned = changing(plan(spec, CALLER, find(kernel, spec, CALLER)))
    assert len(planned) == count
    for step in planned:
        with pytest.raises(SetupError, match=r": the kernel set .* instead of ") as failed:
            step.run(kernel)
        assert failed.value.stage == INIT


class Refusing(Holding):
    """Refuses one call."""

    def __init__(self, call: str) -> None:
        super().__init__()
        self.call = call

    def prctl(self, operation: int, first: int = 0, second: int = 0) -> int:
        self._refuse("prctl")
        return super().prctl(operation, first, second)

    def capget(self) -> tuple[int, int, int]:
        self._refuse("capget")
        return super().capget()

    def read_file(self, path: str) -> bytes:
        self._refuse("openat")
        return super().read_file(path)

    def _refuse(self, call: str) -> None:
        if call == self.call:
            raise SyscallError(call, errno.EPERM)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("prctl", "look at the capabilities: "),
        ("capget", "look at the capabilities: "),
        ("openat", "look how many capabilities there are: "),
    ],
)
def test_what_can_not_be_looked_at_is_an_error(call: str, words: str) -> None:
    with pytest.raises(SetupError, match=words) as refused:
        find(Refusing(call), make(cap_drop="kill"), CALLER)
    assert (refused.value.stage, refused.value.syscall) == (LAUNCHER, call)


# A filter


@given(st.integers(0, 10**9 - 1))
def test_a_number_is_a_descriptor_and_a_path_of_one_is_not(number: int) -> None:
    assert Rights(seccomp=str(number)) == Rights(seccomp=number)
    assert Rights(seccomp=Path(str(number))).seccomp == f"./{number}"
    assert run.BY_NAME["seccomp"].convert(str(number)) == number
    assert run.BY_NAME["seccomp"].convert(f"./{number}") == f"./{number}"


@pytest.mark.parametrize("word", ["default", "unconfined"])
def test_a_word_for_a_filter_is_no_file(word: str) -> None:
    assert Rights(seccomp=word).seccomp == word
    assert Rights(seccomp=Path(word)).seccomp == f"./{word}"
    assert run.BY_NAME["seccomp"].convert(f"./{word}") == f"./{word}"


FILTER = bytes(range(16))


class Filtering(Holding):
    """Takes a filter, or only says so; shows in status what is in force."""

    def __init__(self, place: Path, *, before: str, after: str) -> None:
        super().__init__()
        self.place, self.status, self.after = place, before, after

    def read_file(self, path: str) -> bytes:
        assert path == filters.STATUS
        return self.status.encode()

    def open(self, path: str, flags: int) -> int:
        if path != filters.STATUS:
            return Kernel().open(path, flags)
        self.place.write_text(self.after)
        return Kernel().open(str(self.place), flags)

    def install_filter(self, program: bytes) -> None:
        self.calls.append(("install_filter", program))


def installing(place: Path, *, before: str, after: str) -> Filtering:
    (place / "filter").write_bytes(FILTER)
    kernel = Filtering(place / "status", before=before, after=after)
    spec = make(seccomp=str(place / "filter"))
    planned = plan(spec, CALLER, find(kernel, spec, CALLER))
    step = planned[-2]
    assert step.topic == "install-filter"
    assert step.last_act
    assert step.what == f"install the seccomp filter {place / 'filter'}"
    assert step.how == f"prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, {{2, {place / 'filter'}}})"
    step.run(kernel)
    return kernel


NONE, ONE = "Name:\tx\nSeccomp:\t0\nSeccomp_filters:\t0\n", "Seccomp:\t2\nSeccomp_filters:\t1\n"
TWO, OLD = "Seccomp:\t2\nSeccomp_filters:\t2\n", "Seccomp:\t2\n"


@pytest.mark.parametrize(
    ("before", "after"), [(NONE, ONE), (ONE, TWO), ("Seccomp:\t0\n", OLD), (OLD, OLD)]
)
def test_a_filter_is_installed_right_before_the_exec(
    tmp_path: Path, before: str, after: str
) -> None:
    assert installing(tmp_path, before=before, after=after).calls == [("install_filter", FILTER)]


@pytest.mark.parametrize(("before", "after"), [(NONE, NONE), (ONE, ONE), (ONE, NONE), (OLD, "")])
def test_a_filter_that_is_not_in_force_afterwards_is_an_error(
    tmp_path: Path, before: str, after: str
) -> None:
    with pytest.raises(SetupError, match="the kernel reports no such filter"):
        installing(tmp_path, before=before, after=after)


@given(st.integers(0, 4097), st.integers(0, 7))
def test_the_length_of_a_filter(instructions: int, more: int) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(8 * instructions + more))
        file.flush()
        if 1 <= instructions <= 4096 and not more:
            assert len(filters.read(Kernel(), file.fileno())) == 8 * instructions
            assert file.tell() == 8 * instructions
            return
        with pytest.raises(SetupError, match=r"descriptor \d+ has .* bytes, which is not the"):
            filters.read(Kernel(), file.fileno())


def test_a_descriptor_is_closed_on_exec_once_it_was_read(tmp_path: Path) -> None:
    (tmp_path / "filter").write_bytes(FILTER)
    descriptor = os.open(tmp_path / "filter", os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    assert filters.read(Kernel(), descriptor) == FILTER
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader, writer = os.pipe()
    for source in (str(tmp_path), str(tmp_path / "fifo"), "/dev/zero", reader):
        with pytest.raises(SetupError, match="is not a regular file") as refused:
            filters.read(Kernel(), source)
        assert str(refused.value.hint).startswith("save the filter to a file first")
    os.close(reader)
    os.close(writer)


def test_what_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"open the seccomp filter .*/none: .*ENOENT"):
        filters.read(Kernel(), str(tmp_path / "none"))
    descriptor = os.open(tmp_path / "new", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(SetupError, match=r"read the seccomp filter .*EBADF") as refused:
        filters.read(Kernel(), descriptor)
    assert f"{descriptor}<FILE" in str(refused.value.hint)
    os.close(descriptor)


@pytest.mark.parametrize(
    ("step", "errno", "words"),
    [
        ("install the seccomp filter x", errno.EACCES, "a filter requires no_new_privs"),
        ("install the seccomp filter x", errno.EINVAL, "the kernel doesn't accept the filter"),
        ("the init was killed by SIGSYS before it had started the program", None, "do without"),
        ("execute the init x", errno.EPERM, "allow what an interpreter needs"),
    ],
)
def test_hints_on_filters(step: str, errno: int | None, words: str) -> None:
    syscall = "prctl" if step.startswith("install") else None
    error = SetupError(step, stage=INIT, syscall=syscall, errno=errno)
    assert words in str(rules.why(error, make(seccomp="x"), Fake()))
    assert words not in str(rules.why(error, make(), Fake())) or syscall


class Fake(Host):
    """A host on which pyspawn has no capabilities."""

    def read(self, path: str) -> str | None:
        return "CapEff:\t0\nSeccomp:\t0\n" if path == "/proc/self/status" else None


BOUNDING = "drop CAP_KILL from the bounding set"


@pytest.mark.parametrize(
    ("step", "kinds", "words"),
    [
        (BOUNDING, (), "lowering the bounding set needs CAP_SETPCAP"),
        ("give the program CAP_KILL", (), "most likely securebits are set"),
        ("keep the permitted capabilities over a change of user", (), "securebits are set"),
    ],
)
def test_hints(step: str, kinds: tuple[str, ...], words: str) -> None:
    error = SetupError(step, stage=INIT, syscall="prctl", errno=errno.EPERM)
    assert words in str(rules.why(error, make(*kinds), Fake()))


def test_hints_where_namespaces_are_joined() -> None:
    error = SetupError("install the seccomp filter x", stage=INIT, syscall="prctl",
                       errno=errno.EACCES)  # fmt: skip
    spec = make(seccomp="x", joins=Joins(files={"net": "/x"}))
    assert "a filter requires no_new_privs" in str(rules.why(error, spec, Fake()))


@pytest.mark.parametrize(
    ("step", "syscall", "kinds"),
    [(BOUNDING, "prctl", ("user",)), (BOUNDING, "capset", ()), ("set no_new_privs", "prctl", ())],
)
def test_no_hint_that_would_be_wrong(step: str, syscall: str, kinds: tuple[str, ...]) -> None:
    error = SetupError(step, stage=INIT, syscall=syscall, errno=errno.EPERM)
    assert rules.why(error, make(*kinds), Fake()) is None


def test_bits_go_in_and_come_out_as_they_are() -> None:
    """The sets of this process, by the kernel's own text."""
    text = Path("/proc/self/status").read_text()
    fields = dict(line.split(":\t") for line in text.splitlines() if line.startswith("Cap"))
    kernel = Kernel()
    assert kernel.capget() == tuple(int(fields[f"Cap{n}"], 16) for n in ("Eff", "Prm", "Inh"))
    kernel.capset(*kernel.capget())
    last = int(Path(part.CAP_LAST_CAP).read_text())
    found = capabilities.available(kernel, changes(Rights(cap_drop=ALL), last))
    assert found == int(fields["CapPrm"], 16) & int(fields["CapBnd"], 16)
