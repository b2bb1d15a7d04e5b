"""What is known of a join before anything is entered: words, ids, variables, whose pid it is."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.capabilities import require
from helpers.kernels import Recording
from helpers.specs import specified
from hypothesis import given
from hypothesis import strategies as st

from pyinit.cmdline import parse
from pyinit.execvp import ExecError
from spawner.caller import Caller
from spawner.command import exec as joinoptions
from spawner.errors import LAUNCHER, STAGE, SetupError, SpecError, unmarked
from spawner.ids.identity import Identity
from spawner.joining import hold, inside, part, process
from spawner.joining.enter import Joined
from spawner.joining.inside import Ids
from spawner.joining.target import Joins
from spawner.linux import Kernel
from spawner.planning import plan
from spawner.spec import Namespaces
from spawner.why import joins as joinprobe
from spawner.why.evidence import Host

NONE = Namespaces(())
KINDS = ("user", "pid", "mount", "uts", "ipc", "net", "cgroup", "time")


# Words.


FLAGS = st.lists(
    st.sampled_from(["--net", "-p", "-mu", "--target-env", "--workdir=/x", "-w/y", "--env=A=b"])
)
TARGETS = st.sampled_from(["1", "/proc/1/ns", "./dir"])
PROGRAMS = st.lists(st.sampled_from(["true", "--net", "-x", "a b", ""]), min_size=1)


@given(before=FLAGS, target=TARGETS, after=FLAGS, program=PROGRAMS)
def test_options_may_stand_on_both_sides_of_the_target(
    before: list[str], target: str, after: list[str], program: list[str]
) -> None:
    words = joinoptions.split([*before, target, *after, "--", *program])
    values, rest = parse(joinoptions.TABLE, words)
    assert rest == [target, *program]
    assert values == parse(joinoptions.TABLE, [*before, *after])[0]


def test_the_words_of_a_program_are_its_own() -> None:
    words = joinoptions.split(["1", "true", "--net"])
    assert parse(joinoptions.TABLE, words) == ({}, ["1", "true", "--net"])


@pytest.mark.parametrize(
    "words", [[], ["--net"], ["--", "1", "true", "--uts"], ["--", "ps", "-ef"]]
)
def test_what_has_no_options_behind_the_target_is_left_as_it_is(words: list[str]) -> None:
    assert joinoptions.split(words) == words


@pytest.mark.parametrize(
    ("joins", "new", "words"),
    [
        (Joins(""), NONE, "the target is an empty word"),
        (Joins("0"), NONE, "0 can't be a process id"),
        (Joins("a\0b"), NONE, "contains a NUL"),
        (Joins(files={"net": "a\0b"}), NONE, "contains a NUL"),
        (Joins("/x", environment=True), NONE, "only a process has an environment"),
        (Joins(files={"net": "/x"}), Namespaces("net"), "can't be both new and that of /x"),
        (Joins(files={"mount": "/x"}), Namespaces("user"), "no namespace can be new where a mount"),
        (
            Joins(files={"mount": "/x", "user": "/y"}),
            Namespaces("uts"),
            "no namespace can be new where",
        ),
    ],
)
def test_what_can_not_be_meant(joins: Joins, new: Namespaces, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        specified(["true"], namespaces=new, joins=joins)


def test_joins_are_values() -> None:
    joins = Joins("7", files={"net": "/x"}, kinds=["net"], environment=True, passed=[3])
    assert joins == Joins("7", files=[("net", "/x")], kinds={"net"}, environment=True, passed={3})
    assert (joins.pid, Joins("./7").pid, Joins("٣").pid, Joins().pid) == (7, None, None, None)


# Ids and variables.


ROWS = st.lists(st.tuples(st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2), st.integers(1, 9)))


def text(rows: list[tuple[int, int, int]]) -> bytes:
    return "".join(f"{a:10} {b:10} {c:10}\n" for a, b, c in rows).encode()


@given(ROWS)
def test_ids_of_a_map(rows: list[tuple[int, int, int]]) -> None:
    ids = Ids(text(rows))
    inner = {number for first, _, count in rows for number in range(first, first + count)}
    assert all(ids.holds(number) for number in inner)
    assert not ids.holds(2**32 + 10)
    assert ids.lowest == (min(inner) if inner else None)


@given(ROWS, st.integers(0, 2**32 - 2))
def test_an_id_of_ours_is_looked_up_in_the_outer_column(
    rows: list[tuple[int, int, int]], number: int
) -> None:
    found = Ids(text(rows)).inner(number)
    inside = [a + number - b for a, b, c in rows if b <= number < b + c]
    assert found == (inside[0] if inside else None)


def chosen(
    users: bytes,
    groups: bytes,
    /,
    *,
    denied: bool = False,
    caller: tuple[int, int] = (1000, 1000),
    drops: bool = False,
    **given: Any,
) -> tuple[int, int, tuple[int, ...] | None]:
    named = Identity(**given)
    maps = inside.Maps(users, groups, denied=denied)
    who = inside.choose(named, Caller(user=caller[0], group=caller[1]), maps, drops=drops)
    return who.user, who.group, who.groups


WIDE = b"0 100000 65536\n"


@pytest.mark.parametrize("denied", [False, True])
def test_the_overflow_id_is_no_mapping(denied: bool) -> None:
    """Seen from inside, who isn't mapped is 65534, and that is an id of this map."""
    with unlisted():
        assert chosen(WIDE, WIDE, denied=denied)[:2] == (0, 0)
        assert chosen(b"7 100000 65536\n", WIDE, denied=denied)[:2] == (7, 0)


@contextmanager
def unlisted(*groups: int) -> Iterator[None]:
    """Have these supplementary groups, as far as is asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("posix.getgroups", lambda: list(groups))
        yield


def test_ids_that_are_mapped_stay_where_setgroups_is_denied() -> None:
    with unlisted(4, 24):
        assert chosen(b"5 1000 1", b"6 1000 1", denied=True) == (5, 6, None)
        assert chosen(b"0 7 1\n5 1000 1", b"6 1000 1", denied=True) == (5, 6, None)
    assert chosen(b"0 7 1\n5 1000 1", b"6 1000 1") == (0, 6, ())


@pytest.mark.parametrize(
    ("users", "groups", "more", "words"),
    [
        (b"", b"0 1000 1", {}, "no user is mapped"),
        (b"0 1000 1", b"", {}, "no group is mapped"),
        (b"", b"", {"user": 0}, "no user is mapped"),
        (b"0 1000 1", b"0 1000 1", {"user": 5}, "user 5 isn't mapped"),
        (b"0 1000 1", b"0 1000 1", {"group": 5}, "group 5 isn't mapped"),
        (b"0 1000 1", b"0 1000 1", {"groups": [5]}, "group 5 isn't mapped"),
    ],
)
@pytest.mark.parametrize("denied", [False, True])
@pytest.mark.parametrize("caller", [(0, 0), (1000, 1000), (65534, 65534)])
def test_nobody_keeps_an_id_without_a_mapping(
    users: bytes,
    groups: bytes,
    more: dict[str, Any],
    words: str,
    denied: bool,
    caller: tuple[int, int],
) -> None:
    with unlisted(), pytest.raises(SetupError, match=f"join the user namespace: {words}"):
        chosen(users, groups, denied=denied, caller=caller, **more)


def test_groups_that_can_not_be_dropped() -> None:
    """Where the program isn't the caller, it doesn't have the caller's groups either."""
    with unlisted(24):
        assert chosen(WIDE, WIDE) == (0, 0, ())
        assert chosen(WIDE, WIDE, denied=True, drops=True) == (0, 0, None)
        for users in (WIDE, b"0 1000 1"):
            with pytest.raises(SetupError, match="supplementary group 24 isn't mapped"):
                chosen(users, WIDE, denied=True)
        assert chosen(WIDE, b"0 100000 9\n9 24 1", denied=True) == (0, 0, None)


NAMES = st.binary(min_size=1).filter(lambda raw: not set(b"=\0") & set(raw))
VALUES = st.binary().filter(lambda raw: b"\0" not in raw)


@given(st.dictionaries(NAMES, VALUES), st.binary().filter(lambda raw: b"=" not in raw))
def test_an_environment_may_hold_anything(wanted: dict[bytes, bytes], junk: bytes) -> None:
    raw = b"".join(b"%s=%s\0" % pair for pair in wanted.items())
    assert process._variables(raw) == wanted
    assert process._variables(junk + b"\0" + raw) == wanted
    assert process._variables(b"=no name\0" + raw) == wanted


# The order.


def joined(kinds: tuple[str, ...], *, privileged: bool, first: bool = False) -> Joined:
    joins = Joins("1")
    spec = specified(["true"], namespaces=NONE, joins=joins)
    held = hold.Held(joins, 100)
    held.privileged = privileged
    held.namespaces = {kind: 101 + at for at, kind in enumerate(kinds)}
    held.first = 99 if first else None
    return Joined(spec, Identity(), Caller(user=0 if privileged else 1000, group=0), held)


@given(
    kinds=st.sets(st.sampled_from(KINDS)).map(tuple),
    privileged=st.booleans(),
    nested=st.booleans(),
)
def test_order(kinds: tuple[str, ...], privileged: bool, nested: bool) -> None:
    nested = nested and not privileged and "user" in kinds
    found = joined(kinds, privileged=privileged, first=nested)
    steps = plan(found.spec, Caller(user=0, group=0), [found])
    whats = [step.describe() for step in steps]
    entered = [what.split()[2] for what in whats if what.startswith("join the ")]
    assert sorted(entered) == sorted([*kinds, *(["user"] if nested else [])])
    users = [at for at, kind in enumerate(entered) if kind == "user"]
    if users and not privileged:
        assert users[0] == 0  # it gives the right to all others
    if users and (privileged or nested):
        assert users[-1] == len(entered) - 1  # the others may be out of its reach
    if "pid" in kinds:
        (at,) = (at for at, what in enumerate(whats) if what == "join the pid namespace")
        assert steps[at].where == STAGE
    if "mount" in kinds:
        assert whats.index("import nothing from here on") < whats.index("join the mount namespace")
        assert all(step.where != LAUNCHER for step in steps)
    if set(kinds) & {"user", "pid", "mount"}:
        assert whats[0] == "hide from the processes inside"
    closing = whats.index("close the descriptors of the namespaces")
    assert all(not what.startswith("join") for what in whats[closing:])


def test_every_descriptor_is_hidden_from_the_working_directory() -> None:
    """What is held is closed before a path is followed that may lead through a descriptor."""
    found = joined(("mount", "pid"), privileged=True)
    spec = specified(["true"], namespaces=NONE, joins=Joins("1"), workdir="/x")
    found.spec = spec
    whats = [step.describe() for step in plan(spec, Caller(user=0, group=0), [found])]
    closing = whats.index("close the descriptors of the namespaces")
    assert closing < whats.index("change to the directory /x")


# Whose pid it is.


class Ending(Kernel):
    """The machine's kernel, on which a process ends while it is looked at."""

    __slots__ = ("_process", "_word")

    def __init__(self, process: subprocess.Popen[bytes], word: str) -> None:
        self._process = process
        self._word = word

    def open(self, path: str, flags: int) -> int:
        if path.endswith(self._word) and self._process.poll() is None:
            self._process.kill()
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return super().open(path, flags)


@pytest.mark.parametrize("word", ["/stat", "/ns/user", "/ns/net", "/root", "/cwd"])
def test_a_process_that_ends_meanwhile(word: str) -> None:
    """Whatever was opened since could be another's, with the same pid."""
    before = sorted(os.listdir("/proc/self/fd"))
    with subprocess.Popen(["sleep", "1000"]) as process:
        joins = Joins(str(process.pid))
        spec = specified(["true"], namespaces=NONE, joins=joins)
        with pytest.raises(SetupError, match=f"join process {process.pid}: it has ended"):
            part.find(joins, Ending(process, word), spec, Caller(user=0, group=0))
    assert sorted(os.listdir("/proc/self/fd")) == before


class Moving(Kernel):
    """The machine's kernel, on which a process enters namespaces while it is looked at."""

    __slots__ = ("_answers", "_asks", "_word")

    def __init__(self, asks: int, answers: int, word: str) -> None:
        self._asks = asks
        self._answers = answers
        self._word = word

    def open(self, path: str, flags: int) -> int:
        if path.endswith(self._word):
            os.write(self._asks, b"!")
            assert os.read(self._answers, 5) == b"moved"
        return super().open(path, flags)


MOVES = """
import ctypes, os, signal
os.read(0, 1)
assert ctypes.CDLL(None).unshare(0x10000000 | 0x00020000) == 0  # CLONE_NEWUSER, CLONE_NEWNS
os.write(1, b"moved")
signal.pause()
"""


@pytest.mark.parametrize("way", ["pid", "directory", "files"])
def test_a_process_that_enters_namespaces_meanwhile(way: str, tmp_path: Path) -> None:
    """Or it would be joined without the user namespace, and its mounts with our rights."""
    require("userns")
    fifos = []  # with names, since a scout closes other pipes
    for name in ("asks", "answers"):
        os.mkfifo(tmp_path / name)
        fifos.append(os.open(tmp_path / name, os.O_RDWR))
    before = sorted(os.listdir("/proc/self/fd"))
    with subprocess.Popen(
        [sys.executable, "-c", MOVES], stdin=fifos[0], stdout=fifos[1]
    ) as process:
        place = f"/proc/{process.pid}/ns"
        joins = {
            "pid": Joins(str(process.pid)),
            "directory": Joins(place),
            "files": Joins(files={"user": f"{place}/user", "mount": f"{place}/mnt"}),
        }[way]
        spec = specified(["true"], namespaces=NONE, joins=joins)
        try:
            with pytest.raises(SetupError, match="it has entered other namespaces meanwhile"):
                part.find(joins, Moving(*fifos, "/ns/mnt"), spec, Caller(user=0, group=0))
        finally:
            process.kill()
    assert sorted(os.listdir("/proc/self/fd")) == before
    for fifo in fifos:
        os.close(fifo)


def test_what_is_found_is_let_go() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with subprocess.Popen(["sleep", "1000"]) as process:
        joins = Joins(str(process.pid), kinds=KINDS, environment=True)
        spec = specified(["true"], namespaces=NONE, joins=joins)
        with pytest.raises(SetupError, match="the namespaces that are named are yours as well"):
            part.find(joins, Kernel(), spec, Caller(user=0, group=0))
        process.send_signal(signal.SIGKILL)
    assert sorted(os.listdir("/proc/self/fd")) == before


# Why not.


def failure(step: str, syscall: str, number: int, path: str | None = None) -> SetupError:
    return SetupError(step, stage=STAGE, syscall=syscall, errno=number, path=path)


@pytest.mark.parametrize(
    ("error", "joins", "words"),
    [
        (failure("join process 5", "pidfd_open", errno.ESRCH), Joins("5"), "can't be seen"),
        (failure("join process 5", "pidfd_open", errno.EINVAL), Joins("5"), "is one thread"),
        (failure("join process 5", "pidfd_open", errno.EMFILE), Joins("5"), None),
        (failure("join the net namespace", "setns", errno.EPERM), Joins("5"), "CAP_SYS_ADMIN"),
        (
            failure("join the net namespace", "setns", errno.EPERM),
            Joins("5", kinds=["net"]),
            "name --user as well",
        ),
        (failure("join the pid namespace", "setns", errno.EINVAL), Joins("5"), "from one above"),
        (failure("join the net namespace", "setns", errno.EINVAL), Joins("5"), None),
        (failure("fork the init", "fork", errno.ENOMEM), Joins("5"), "process 1 of that PID"),
        (failure("fork the init", "fork", errno.EAGAIN), Joins("5"), None),
        (
            failure("become user 5", "setresuid", errno.EINVAL),
            Joins("5"),
            "of --setuid isn't mapped",
        ),
        (failure("become root", "setgroups", errno.EPERM), Joins("5"), "takes CAP_SETGID"),
        (failure("become root", "setresgid", errno.EAGAIN), Joins("5"), None),
        (failure("change to /x", "chdir", errno.ENOENT, "/x"), Joins("/y"), "looked up inside"),
        (failure("change to /x", "chdir", errno.EIO, "/x"), Joins("/y"), None),
    ],
)
def test_hints(error: SetupError, joins: Joins, words: str | None) -> None:
    found = joinprobe.why(error, joins, Host())
    assert found is None if words is None else words in unmarked(found or "")


class Users(Host):
    """A machine on which we are user `own`, and every other process is user `owner`'s."""

    def __init__(self, owner: int | None, own: int) -> None:
        self._owner = owner
        self._own = own

    def read(self, path: str) -> str | None:
        if path == "/proc/self/status":
            return f"Uid:\t0\t{self._own}\t0\t0\n"
        return None if self._owner is None else f"Name:\tx\nUid:\t0\t{self._owner}\t0\t0\n"


@pytest.mark.parametrize(
    ("owner", "own", "words"),
    [
        (8, 7, "runs as user id 8, and you are 7"),
        (7, 7, "rights that you don't have"),
        (0, 0, "capabilities that root lacks here"),
        (None, 7, None),
    ],
)
def test_whose_process_it_is(owner: int | None, own: int, words: str | None) -> None:
    error = failure("join process 5", "openat", errno.EACCES, "/proc/5/ns/user")
    found = joinprobe.why(error, Joins("5"), Users(owner, own))
    assert found is None if words is None else words in unmarked(found or "")


class Executing(Recording):
    """Remembers the exec, which fails."""

    def exec(self, arguments: object, search_path: object) -> ExecError:
        self.calls.append(("exec", arguments, search_path))
        return ExecError(errno.EIO, b"/theirs/true")


def test_the_program_is_looked_up_in_the_targets_path() -> None:
    found = joined((), privileged=True)
    found.held.environment = {b"PATH": b"/theirs", b"A": b"b"}
    kernel = Executing()
    steps = plan(found.spec, Caller(user=0, group=0, search_path=b"/ours"), [found])
    with pytest.raises(SetupError, match="/theirs/true"):
        steps[-1].run(kernel)
    assert kernel.calls == [("exec", [b"true"], b"/theirs")]
