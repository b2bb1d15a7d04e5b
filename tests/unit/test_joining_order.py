"""In which order namespaces are entered, and what is done beside it."""

from __future__ import annotations

from helpers.joins import KINDS, NONE, joined
from helpers.specs import specified
from hypothesis import given
from hypothesis import strategies as st

from spawner.caller import Caller
from spawner.errors import LAUNCHER, STAGE
from spawner.joining.target import Joins
from spawner.planning import plan


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
        assert whats.index("forbid imports from here on") < whats.index("join the mount namespace")
        assert all(step.where != LAUNCHER for step in steps)
    if set(kinds) & {"user", "pid", "mount"}:
        assert whats[0] == "hide from the container's processes"
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
