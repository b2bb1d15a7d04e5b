"""`--disable-userns`: its step, on kernels that refuse some of it or let more pass."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest
from helpers.kernels import Faulty, Recording, open_descriptors
from helpers.specs import specified
from hypothesis import given
from hypothesis import strategies as st

from spawner.caller import Caller
from spawner.errors import STAGE, SetupError, SpecError
from spawner.planning import find, plan
from spawner.rights import userns
from spawner.spec import Namespaces
from spawner.steps import Step
from spawner.why import rules
from spawner.why.evidence import Host

CALLER = Caller(user=0, group=0, search_path=b"/bin")

NUMBERS = st.integers(0, 2**32 - 1)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=340))
def test_the_inner_map_gives_each_id_itself(rows: list[tuple[int, int, int]]) -> None:
    outer = "".join(f"{first:10} {lower:10} {count:10}\n" for first, lower, count in rows)
    found = [tuple(map(int, line.split())) for line in userns.same_ids(outer.encode()).splitlines()]
    assert found == [(first, first, count) for first, _, count in rows]


@pytest.mark.parametrize("privileged", [True, False])
def test_the_step_comes_between_the_maps_and_all_other_namespaces(privileged: bool) -> None:
    namespaces = Namespaces({"user", "pid", "mount", "time"})
    spec = specified(["true"], namespaces=namespaces, disable_userns=True)
    caller = Caller(user=0 if privileged else 1000, group=5)
    planned = plan(spec, caller, find(Recording(), spec, caller))
    topics = [step.topic for step in planned]
    at = topics.index("forbid-user-namespaces")
    assert topics[at - 1 : at + 2] == ["map-uid", "forbid-user-namespaces", "unshare-pid"]
    assert (planned[at].where, planned[at].makes) == (STAGE, True)
    without = specified(["true"], namespaces=namespaces)
    assert [topic for topic in topics if topic != "forbid-user-namespaces"] == [
        step.topic for step in plan(without, caller, find(Recording(), without, caller))
    ]


@pytest.mark.parametrize("namespaces", [Namespaces("pid"), Namespaces("pid", "user")])
def test_it_takes_a_user_namespace_for_certain(namespaces: Namespaces) -> None:
    with pytest.raises(SpecError, match="only in a new one"):
        specified(["true"], namespaces=namespaces, disable_userns=True)


class Full(Faulty):
    """Lets the stage make a namespace, and refuses the last process the same, for a reason."""

    def __init__(self, reason: int, refused: tuple[str, int, int] | None = None) -> None:
        super().__init__(refused)
        self.reason = reason

    def unshare(self, flags: int) -> None:
        assert flags == 0x10000000
        super().unshare(flags)
        if self.counts["fork_aside"] == 2:
            os._exit(self.reason)


def test_all_goes_well_where_the_last_attempt_finds_no_room() -> None:
    before = open_descriptors()
    userns.forbid().run(Full(errno.ENOSPC))
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (0, "an attempt to make one succeeded"),
        (errno.EPERM, r"one failed for another reason: .*\(EPERM\)"),
    ],
)
def test_an_attempt_that_does_not_fail_for_want_of_room(reason: int, words: str) -> None:
    with pytest.raises(SetupError, match=words) as refused:
        userns.forbid().run(Full(reason))
    assert refused.value.stage == STAGE


@pytest.mark.parametrize(
    "call", [("pipe", 1), ("fork_aside", 1), ("fork_aside", 2), ("write_file", 1), ("unshare", 1)]
)
def test_each_call_that_is_refused_is_an_error_and_nothing_is_left(call: tuple[str, int]) -> None:
    before = open_descriptors()
    with pytest.raises(SetupError, match=r"forbid further user namespaces: .*\(EPERM\)"):
        userns.forbid().run(Full(errno.ENOSPC, (*call, errno.EPERM)))
    assert open_descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("which", ["gid_map", "uid_map"])
def test_a_map_that_can_not_be_written(which: str) -> None:
    class Refusing(Full):
        def write_file(self, path: str, data: bytes) -> None:
            if path.endswith(which):
                os._exit(errno.EINVAL)

    with pytest.raises(SetupError, match=r"\(EINVAL\)"):
        userns.forbid().run(Refusing(errno.ENOSPC))


def test_a_writer_that_is_killed() -> None:
    class Dying(Full):
        def write_file(self, path: str, data: bytes) -> None:
            if path.endswith("uid_map"):
                os.kill(os.getpid(), 9)

    with pytest.raises(SetupError, match="a process for that was killed by signal 9"):
        userns.forbid().run(Dying(errno.ENOSPC))


class Bare(Host):
    """A host that shows nothing."""

    def read(self, path: str) -> str | None:
        return None


def test_a_hint_for_what_container_engines_do() -> None:
    error = SetupError(
        userns.WHAT, stage=STAGE, syscall="openat", errno=errno.EROFS, path=userns.LIMIT
    )
    spec: Any = specified(["true"], namespaces=Namespaces("user"), disable_userns=True)
    assert "/proc/sys is mounted read-only: run" in str(rules.why(error, spec, Bare()))


def test_the_words_of_the_step() -> None:
    step: Step = userns.forbid()
    assert step.call() == (
        'write("/proc/sys/user/max_user_namespaces", "1"), unshare(CLONE_NEWUSER), '
        'write("/proc/STAGE/gid_map", OUTER), write("/proc/STAGE/uid_map", OUTER)'
    )
