"""The steps of `--propagation` and `--mount-proc`, against kernels that only remember."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from helpers.kernels import Recording
from helpers.specs import specified
from hypothesis import given
from hypothesis import strategies as st

from spawner.caller import Caller
from spawner.errors import SetupError, SpecError, SyscallError
from spawner.linux import Kernel
from spawner.mount import steps
from spawner.mount.tree import Tree
from spawner.planning import find, plan
from spawner.spec import NAMESPACES, Namespaces, Spec

CALLER = Caller(user=0, group=0, search_path=b"/bin")
REC, PRIVATE, SLAVE, SHARED = 0x4000, 1 << 18, 1 << 19, 1 << 20
PROC = ("mount", "proc", ".", "proc", 0xE, None)


def make(**fields: object) -> Spec:
    given = {"namespaces": Namespaces({"pid", "mount"}), **fields}
    return specified(["true"], **given)  # type: ignore[arg-type]


class Placing(Recording):
    """Opens whatever is named, by made-up descriptors."""

    def open(self, path: str, flags: int) -> int:
        self.calls.append(("open", path))
        return _duplicate()

    def open_directory(self, path: str) -> int:
        self.calls.append(("open_directory", path))
        return _duplicate()


def _duplicate() -> int:
    import os

    return os.open("/", os.O_PATH)


def calls(spec: Spec) -> list[tuple[Any, ...]]:
    kernel = Placing()
    for step in steps.inside(spec.wish(Tree) or Tree()):
        step.run(kernel)
    return [call for call in kernel.calls if call[0] in ("mount", "open_directory")]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"propagation": "slave"}, [("mount", None, "/", None, REC | SLAVE, None),
                                    ("open_directory", "/proc"), PROC]),
        ({"propagation": "shared"}, [("mount", None, "/", None, REC | SHARED, None),
                                     ("open_directory", "/proc"),
                                     ("mount", None, ".", None, PRIVATE, None), PROC]),
        ({"propagation": "unchanged"}, [("open_directory", "/proc"),
                                        ("mount", None, ".", None, PRIVATE, None), PROC]),
        ({"mount_proc": "a/b"}, [("mount", None, "/", None, REC | PRIVATE, None),
                                 ("open_directory", "a/b"), PROC]),
    ],
)  # fmt: skip
def test_calls(fields: dict[str, object], expected: list[tuple[Any, ...]]) -> None:
    assert calls(make(**fields)) == expected


@given(
    st.frozensets(st.sampled_from(NAMESPACES)),
    st.sampled_from(["private", "slave", "shared", "unchanged"]),
    st.none() | st.just("/x"),
)
def test_a_proc_spreads_never_and_needs_its_namespaces(
    kinds: frozenset[str], how: str, place: str | None
) -> None:
    if "mount" not in kinds and (how != "private" or place):
        with pytest.raises(SpecError, match="needs a new mount namespace"):
            make(namespaces=Namespaces(kinds), propagation=how, mount_proc=place)
        return
    spec = make(namespaces=Namespaces(kinds), propagation=how, mount_proc=place)
    found = [
        step for step in plan(spec, CALLER, find(Kernel(), spec, CALLER)) if "mount(" in step.how
    ]
    procs = [step for step in found if '"proc"' in step.how]
    wanted = "mount" in kinds and ("pid" in kinds or place is not None)
    assert len(procs) == wanted
    for step in procs:
        assert step.what == f"mount proc on {place or '/proc'}"
        assert ("MS_PRIVATE" in step.how) == (how in ("shared", "unchanged"))
        assert step is found[-1]
    spreading = [step.what for step in found if step not in procs]
    assert spreading == (
        [] if "mount" not in kinds or how == "unchanged" else [f"make every mount {how}"]
    )


class Refusing(Placing):
    """Refuses one call, and remembers the rest."""

    def __init__(self, name: str, number: int, path: str) -> None:
        super().__init__()
        self._refused = name
        self._error = SyscallError(name, number, path)

    def mount(self, source: Any, target: Any, kind: Any, flags: Any, data: Any) -> None:
        self.calls.append(("mount", source, target, kind, flags, data))
        if self._refused == "mount":
            raise self._error

    def open_directory(self, path: str) -> int:
        if self._refused == "open_directory":
            raise self._error
        return super().open_directory(path)


@pytest.mark.parametrize(
    ("call", "number", "hint"),
    [
        ("open_directory", errno.ELOOP, "/x/y is a symbolic link"),
        ("open_directory", errno.ENOENT, None),
        ("mount", errno.EINVAL, "nothing is mounted on /x"),
        ("mount", errno.EPERM, None),
    ],
)
def test_refusals_name_the_directory(call: str, number: int, hint: str | None) -> None:
    step = steps.mount_proc("/x", needs=(), apart=True)
    with pytest.raises(SetupError) as caught:
        step.run(Refusing(call, number, "/x/y"))
    error = caught.value
    assert (error.step, error.errno, error.path) == ("mount proc on /x", number, "/x")
    assert (error.hint is None) == (hint is None)
    assert hint is None or hint in str(error.hint)


def test_a_fresh_proc_that_is_refused_names_the_directory() -> None:
    step = steps.mount_proc("/x", needs=(), apart=False)
    with pytest.raises(SetupError) as caught:
        step.run(Refusing("mount", errno.EPERM, "."))
    assert (caught.value.path, caught.value.syscall) == ("/x", "mount")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"propagation": "rslave"}, "can't be 'rslave'"),
        ({"mount_proc": ""}, "empty path"),
        ({"mount_proc": "a\0b"}, "NUL"),
        ({"mount_proc": "/x", "namespaces": Namespaces("pid")}, "needs a new mount namespace"),
        ({"mount_proc": "/x", "namespaces": Namespaces("pid", "mount")}, "needs a new mount"),
        ({"propagation": "slave", "namespaces": Namespaces("", "mount")}, "needs a new mount"),
    ],
)
def test_what_makes_no_sense(fields: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        make(**fields)
