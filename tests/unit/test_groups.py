"""Control groups: where they can be made, what is written into them, and how they are removed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from helpers.kernels import Recording
from hypothesis import given
from hypothesis import strategies as st

from spawner.errors import LAUNCHER, SetupError, SpecError, SyscallError
from spawner.limit import group, places, settings
from spawner.limit.limits import Limits, options
from spawner.limit.places import Hierarchies, Place
from spawner.limit.settings import Setting
from spawner.linux import Kernel

MEMORY = {"memory": "64M", "memory_swap": "96M"}
ALL: dict[str, Any] = {
    **MEMORY, "pids": 64, "cpus": 1.5, "cpu_weight": 50, "cpuset": "0-1,3", "io_weight": 200,
}  # fmt: skip


def written(limits: Limits, version: int, page: int = 4096) -> list[tuple[str, str]]:
    return [(each.file, each.value) for each in settings.settings(limits, version, page)]


def test_what_is_written_in_version_2() -> None:
    assert written(Limits(**ALL), 2) == [
        ("memory.max", "67108864"),
        ("memory.swap.max", "33554432"),
        ("pids.max", "64"),
        ("cpu.max", "150000 100000"),
        ("cpu.weight", "50"),
        ("cpuset.cpus", "0-1,3"),
        ("io.weight", "default 200"),
    ]


def test_what_is_written_in_version_1() -> None:
    assert written(Limits(**{**ALL, "io_weight": None}), 1) == [
        ("memory.limit_in_bytes", "67108864"),
        ("memory.memsw.limit_in_bytes", "100663296"),
        ("pids.max", "64"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "150000"),
        ("cpu.shares", "512"),
        ("cpuset.mems", settings.INHERITED),
        ("cpuset.cpus", "0-1,3"),
    ]


def test_without_a_word_on_swap_there_is_none() -> None:
    """Else a limit on memory would only say from where on the host swaps."""
    limits = Limits(memory="64M")
    assert ("memory.swap.max", "0") in written(limits, 2)
    assert ("memory.memsw.limit_in_bytes", "67108864") in written(limits, 1)
    unlimited = Limits(memory="64M", memory_swap="unlimited")
    for version in (1, 2):
        assert len(written(unlimited, version)) == 1


@given(st.integers(1 << 16, 1 << 40), st.sampled_from([4096, 1 << 14, 1 << 16]))
def test_memory_is_written_in_whole_pages_and_never_more(amount: int, page: int) -> None:
    for version in (1, 2):
        (_, value), *_ = written(Limits(memory=amount), version, page)
        assert amount - page < int(value) <= amount
        assert int(value) % page == 0


@given(st.integers(1, 10000))
def test_the_shares_of_version_1_grow_with_the_weight(weight: int) -> None:
    assert 2 <= settings.shares(weight) <= settings.shares(weight + 1)
    assert settings.shares(100) == 1024


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "memory": st.integers(1 << 16, 1 << 50),
            "pids": st.integers(1, 1 << 22),
            "cpus": st.integers(1000, 800_000_000).map(lambda each: each / 100_000),
            "cpu_weight": st.integers(1, 10000),
            "cpuset": st.just("0-3,5"),
            "io_weight": st.integers(1, 10000),
        },
    )
)
def test_the_options_for_limits_ask_for_the_same(fields: dict[str, Any]) -> None:
    from spawner.command import run
    from spawner.limit.limits import wish
    from spawner.spec import Choice

    limits = Limits(**fields)
    values = {
        run.BY_NAME[name].name: run.BY_NAME[name].convert(text) for name, text in options(limits)
    }
    assert wish(values, Choice(0, 0)) == limits
    assert eval(repr(limits)) == limits


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"memory": "64Q"}, "'64Q' is not a number of bytes, which K, M, G or T may follow"),
        ({"memory": 1.5}, "1.5 is not a number of bytes"),
        ({"memory": True}, "True is not a number of bytes"),
        ({"memory": 0}, "no program can start in 0 bytes"),
        ({"memory": -2}, "-2 is not a number of bytes"),
        ({"memory": "unlimited"}, "memory is unlimited without a limit"),
        ({"memory": "9999999T"}, "is not a valid limit for memory"),
        ({"memory_swap": "64M"}, "can only be limited along with memory"),
        ({"memory": "64M", "memory_swap": "63M"}, "are less than memory alone, 67108864"),
        ({"pids": 0}, "the limit on processes can't be 0: it goes from 1 to"),
        ({"pids": "5"}, "the limit on processes can't be '5'"),
        ({"cpus": 0}, "the number of processors goes from 0.01 to 8192"),
        ({"cpus": float("nan")}, "the number of processors goes from"),
        ({"cpus": "1,5"}, "'1,5' is not a number of processors"),
        ({"cpus": True}, "True is not a number of processors"),
        ({"cpu_weight": 0}, "the cpu weight can't be 0: it goes from 1 to 10000"),
        ({"io_weight": 10001}, "the io weight can't be 10001"),
        ({"cpuset": "0-"}, "'0-' is not a list of processors, such as 0-3,5"),
        ({"cpuset": "3-1"}, "3-1 in a list of processors goes backwards"),
        ({"cpuset": ""}, "the list of processors is empty"),
        ({"cpuset": 3}, "3 is not a list of processors"),
        ({"cgroup_parent": "/x"}, "a control group is made only to enforce a limit"),
        ({"cgroup_parent": "x", "pids": 5}, "'x', doesn't start at the root"),
        ({"cgroup_parent": "/x/../..", "pids": 5}, "doesn't start at the root"),
        ({"cgroup_parent": "/x\0", "pids": 5}, "NUL"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Limits(**fields)


@given(st.frozensets(st.integers(0, 300), min_size=1))
def test_a_list_of_processors_is_read_however_it_is_spelled(wanted: frozenset[int]) -> None:
    text = ",".join(map(str, sorted(wanted)))
    assert settings.numbers(text) == wanted
    assert settings.is_same("cpuset.cpus", text, text + "\n")
    assert settings.numbers("0-3,5,2") == {0, 1, 2, 3, 5}


# Where a group can be made


V1 = """\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /outer /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
OWN = "8:pids:/\n4:memory:/outer/mine\n2:cpu,cpuacct:/a\n7:blkio:/\n0::/x\n"
HYBRID = Hierarchies(OWN, V1)


def test_in_version_1_a_group_is_made_below_our_own_in_each_hierarchy() -> None:
    found = places.find(Limits(memory="64M", cpus=1), HYBRID)
    assert [(each.parent, each.controllers, each.needed) for each in found] == [
        ("/sys/fs/cgroup/cpu,cpuacct/a", ("cpu", "cpuacct"), True),
        ("/sys/fs/cgroup/memory/mine", ("memory",), True),
        ("/sys/fs/cgroup/pids", ("pids",), False),
    ]
    assert {each.version for each in found} == {1}


def test_a_parent_that_is_named_is_below_each_controller() -> None:
    found = places.find(Limits(pids=5, cgroup_parent="/given/"), HYBRID)
    assert [each.parent for each in found if each.needed] == ["/sys/fs/cgroup/pids/given"]


def test_what_version_1_can_not_do() -> None:
    with pytest.raises(SetupError, match="only be set in control groups of version 2"):
        places.find(Limits(io_weight=5), HYBRID)


@pytest.mark.parametrize(
    ("groups", "mounts"),
    [
        (OWN, ""),
        ("8:pids:/../..\n", V1),
        ("4:memory:/elsewhere\n", V1),
        ("0::/\n", V1.replace("cgroup2", "tmpfs")),
    ],
)
def test_a_group_that_is_not_to_be_seen(groups: str, mounts: str) -> None:
    with pytest.raises(SetupError, match="can't be seen here"):
        places.find(Limits(pids=5, memory="1M"), Hierarchies(groups, mounts))


def tree(top: Path, **groups: str) -> Hierarchies:
    """Make directories like those of version 2, each with what it passes on."""
    for name, passed in {"": groups.pop("root", ""), **groups}.items():
        directory = top / name.replace("_", "/")
        directory.mkdir(exist_ok=True)
        (directory / "cgroup.subtree_control").write_text(passed)
        (directory / "cgroup.controllers").write_text("memory pids cpu")
    own = "/" + max(groups, key=len, default="").replace("_", "/")
    return Hierarchies(f"0::{own}\n", f"41 31 0:38 / {top} rw - cgroup2 cgroup2 rw\n")


def test_in_version_2_it_is_the_nearest_above_that_passes_on_what_is_needed(tmp_path: Path) -> None:
    found = tree(tmp_path, root="memory pids cpu", a="memory pids", a_b="", a_b_c="")
    (place,) = places.find(Limits(memory="64M", pids=5), found)
    assert (place.version, place.parent) == (2, f"{tmp_path}/a")
    assert place.controllers == ("memory", "pids")
    (place,) = places.find(Limits(memory="64M", cpus=1), found)
    assert place.parent == str(tmp_path)


def test_a_controller_that_nobody_passes_on(tmp_path: Path) -> None:
    found = tree(tmp_path, root="memory", a="")
    with pytest.raises(SetupError, match="passes on the controllers pids") as refused:
        places.find(Limits(pids=5), found)
    assert "--cgroup-parent" in str(refused.value.hint)


def test_a_named_parent_is_asked_to_pass_on_what_it_can(tmp_path: Path) -> None:
    found = tree(tmp_path, root="memory", a="memory", own="")
    for named in ("/a", f"{tmp_path}/a"):
        (place,) = places.find(Limits(pids=5, memory="1M", cgroup_parent=named), found)
        assert (place.parent, place.enables) == (f"{tmp_path}/a", ("pids",))
    with pytest.raises(SetupError, match="passes on the controllers io"):
        places.find(Limits(io_weight=5, cgroup_parent="/a"), found)


def test_limits_of_the_groups_that_are_left_hold_on(tmp_path: Path) -> None:
    """The container isn't below them any more, and must not have more than before."""
    found = tree(tmp_path, root="memory pids cpu", a="", a_b="")
    for name, text in (("a/memory.max", "1000000"), ("a/b/memory.max", "max"), ("a/pids.max", "9"),
                       ("a/b/cpu.max", "50000 100000"), ("a/b/pids.max", "7")):  # fmt: skip
        (tmp_path / name).write_text(text + "\n")
    limits = Limits(memory="64M", pids=8, cpus=0.25)
    (place,) = places.find(limits, found)
    chosen = places.chosen(limits, [(place, "")], 4096)
    assert {each.file: each.value for _, each in chosen} == {
        "memory.max": "1000000",
        "memory.swap.max": "0",
        "pids.max": "7",
        "cpu.max": "25000 100000",
    }


@given(
    st.lists(st.tuples(st.sampled_from(["pids.max", "memory.max"]), st.integers(0, 99).map(str))),
    st.integers(0, 99),
)
def test_nothing_gets_wider_than_it_was(left: list[tuple[str, str]], wanted: int) -> None:
    found = settings.stricter([Setting("pids", "pids.max", str(wanted), "pids-limit")], left)
    values = {each.file: int(each.value) for each in found}
    assert values["pids.max"] == min([wanted, *(int(at) for name, at in left if name[0] == "p")])
    assert values.get("memory.max") == min(
        (int(at) for name, at in left if name[0] == "m"), default=None
    )


# A group


class Files(Kernel):
    """A kernel whose groups have files as soon as they are made; `deaf` ones keep their values."""

    def __init__(self, deaf: str = "") -> None:
        self.deaf = deaf

    def mkdir(self, path: str) -> None:
        super().mkdir(path)
        for name in ("cgroup.procs", "pids.max", "memory.max", "cpuset.mems", "cpuset.cpus"):
            Path(path, name).write_text("5")

    def write_file(self, path: str, data: bytes) -> None:
        if path.endswith(self.deaf or "\0"):
            return
        if not Path(path).exists():
            raise SyscallError("openat", errno.ENOENT, path)
        Path(path).write_bytes(data + b"\n")


def made(top: Path, limits: Limits, kernel: Kernel, version: int = 2) -> group.Group:
    found = group.Group(kernel, group.name())
    controllers = settings.controllers(limits, version)
    found.make(Place(version, str(top), controllers))
    found.limit(places.chosen(limits, found.directories, 4096))
    return found


def test_the_limits_are_written_and_read_back(tmp_path: Path) -> None:
    found = made(tmp_path, Limits(pids=7), Files())
    ((_, path),) = found.directories
    assert Path(path, "pids.max").read_text() == "7\n"
    found.open()
    found.enter()
    assert Path(path, "cgroup.procs").read_text() == "0"
    found.close()


def test_a_limit_that_is_not_there_afterwards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"set pids.max .* to 7: the kernel set '5' instead"):
        made(tmp_path, Limits(pids=7), Files("pids.max"))


def test_the_nodes_of_memory_are_the_parents(tmp_path: Path) -> None:
    (tmp_path / "cpuset.mems").write_text("0-1\n")
    ((_, path),) = made(tmp_path, Limits(cpuset="0"), Files(), 1).directories
    assert Path(path, "cpuset.mems").read_text() == "0-1\n"


@pytest.mark.parametrize("swap", [True, False])
def test_a_kernel_that_does_not_count_swap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: bool
) -> None:
    """Without swap on the host there's nothing to count."""
    monkeypatch.setattr(group, "_has_swap", lambda: swap)
    if not swap:
        made(tmp_path, Limits(memory="1M"), Files())
        return
    with pytest.raises(SetupError, match=r"set memory.swap.max .*ENOENT"):
        made(tmp_path, Limits(memory="1M"), Files())


def test_a_place_that_can_not_be_had_is_an_error_only_where_it_is_needed(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    found = group.Group(Files(), group.name())
    found.make(Place(1, absent, ("pids",), needed=False))
    assert found.directories == []
    with pytest.raises(SetupError, match=r"make the control group .*ENOENT") as refused:
        found.make(Place(1, absent, ("pids",)))
    assert refused.value.stage == LAUNCHER


def test_only_groups_of_launchers_that_are_gone_are_left() -> None:
    own = group.name()
    pid, start, namespace = own.removeprefix(group.PREFIX).split("-")
    assert int(pid) == os.getpid()
    gone = f"pyspawn-{pid}-{int(start) + 1}-{namespace}"
    assert group.is_left(gone)
    others = (f"{pid}-{start}1-1", f"{pid}-{start}", f"{pid}-{start}1-{namespace}-1", "", "a-b-c")
    for name in (own, gone[1:], *(f"pyspawn-{each}" for each in others)):
        assert not group.is_left(name)


def test_a_sweep_removes_what_is_left_with_all_below_it(tmp_path: Path) -> None:
    pid, start, namespace = group.name().removeprefix(group.PREFIX).split("-")
    gone = tmp_path / f"pyspawn-{pid}-{int(start) + 1}-{namespace}"
    (gone / "a/b").mkdir(parents=True)
    others = [tmp_path / group.name(), tmp_path / "user.slice"]
    for each in others:
        each.mkdir()
    group.sweep(str(tmp_path))
    assert sorted(tmp_path.iterdir()) == sorted(others)
    with pytest.raises(SyscallError):
        group.sweep(str(tmp_path / "absent"))


def test_a_group_that_can_not_be_removed_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x/file").write_text("")  # as no control group would be
    with pytest.raises(SetupError, match=r"remove the control group .*ENOTEMPTY"):
        group.remove(str(tmp_path / "x"))
    group.remove(str(tmp_path / "gone"))


def test_nothing_is_made_for_limits_on_each_process() -> None:
    from helpers.specs import specified

    from spawner.caller import Caller
    from spawner.planning import find
    from spawner.spec import Namespaces

    spec = specified(["true"], namespaces=Namespaces({"pid"}), nice=5)
    kernel = Recording()
    (part,) = find(kernel, spec, Caller(user=0, group=0))
    part.begin(kernel)
    assert (kernel.calls, part.stop(), list(part.looks)) == ([], [], [])
