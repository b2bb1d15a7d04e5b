"""Why the kernel refused: what holds for every cause."""

from __future__ import annotations

import errno
import os
import stat

import pytest
from helpers.machines import DEFAULTS, OFFSETS, Fake, failed, spec
from hypothesis import given
from hypothesis import strategies as st

from spawner.errors import STAGE, SetupError, unmarked
from spawner.spec import NAMESPACES
from spawner.why import rules
from spawner.why.evidence import Host


def test_an_error_without_an_errno_is_not_explained() -> None:
    error = SetupError("the launcher has gone", stage=STAGE)
    assert rules.why(error, None, Fake()) is None


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOMEM, errno.EINVAL, errno.ECHILD])
def test_what_is_unknown_is_not_guessed(number: int) -> None:
    assert rules.why(failed(number, "unshare"), spec(*DEFAULTS), Fake()) is None


def test_the_real_machine_answers() -> None:
    """Every question to it, about what is there and what isn't."""
    host = Host()
    assert host.pid() == os.getpid()
    assert host.link("/proc/self") == str(os.getpid())
    assert "Seccomp:" in (host.read("/proc/self/status") or "")
    found = host.stat("/")
    assert not isinstance(found, int)
    assert stat.S_ISDIR(found.st_mode)
    for path in ("/nonexistent", "/nul\0", "/proc/self/mem", "/etc/passwd/x"):
        assert host.read(path) is None
        assert host.link(path) is None
    assert host.stat("/nonexistent") == errno.ENOENT
    assert host.stat("/nul\0") == errno.EINVAL


def test_a_link_is_looked_at_itself(tmp_path: os.PathLike[str]) -> None:
    place = os.path.join(tmp_path, "link")
    os.symlink("nowhere", place)
    assert not isinstance(Host().stat(place), int)


class Mad(Host):
    """A machine whose every answer is drawn."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data

    def read(self, path: str) -> str | None:
        lines = st.one_of(
            st.text(max_size=40),
            st.sampled_from(
                ["26 25 0:22 / /proc ro - proc proc rw", "0 0 0", "0::/x", "8:pids:/", "CapEff: x",
                 "1 1 1:1 / / rw - cgroup cgroup pids", "1/2", "9" * 5000, "²",
                 "Uid: 0 0", "Seccomp: 2"]
            ),
        )  # fmt: skip
        found = self.data.draw(st.one_of(st.none(), st.lists(lines, max_size=4)))
        return None if found is None else "\n".join(found)

    def link(self, path: str) -> str | None:
        return self.data.draw(
            st.one_of(st.none(), st.sampled_from(["/", "a", "/a/b", "", "../.."]))
        )

    def stat(self, path: str) -> os.stat_result | int:
        kinds = st.sampled_from([stat.S_IFDIR, stat.S_IFLNK, stat.S_IFREG])
        made = st.builds(
            lambda kind, mode, uid: os.stat_result((kind | mode, 1, 1, 1, uid, 1, 0, 0, 0, 0)),
            kinds, st.integers(0, 0o777), st.integers(0, 2),
        )  # fmt: skip
        return self.data.draw(st.one_of(st.sampled_from([errno.ENOENT, errno.EACCES]), made))


@given(
    st.data(),
    st.sampled_from(sorted({number for numbers, _ in rules._RULES for number in numbers})),
    st.sampled_from(["unshare", "fork", "mount", "write", "openat", "chdir", "execve",
                     "sethostname", "ioctl", "", "pidfd_open"]),
    st.one_of(st.none(), st.text(), st.sampled_from(["/", "/proc", "/proc/1/uid_map", OFFSETS])),
    st.one_of(st.none(), st.frozensets(st.sampled_from(NAMESPACES))),
)  # fmt: skip
def test_it_never_raises_and_says_one_line(
    data: st.DataObject,
    number: int,
    syscall: str,
    path: str | None,
    kinds: frozenset[str] | None,
) -> None:
    error = SetupError("step", stage=STAGE, syscall=syscall, errno=number, path=path)
    wanted = spec(*kinds) if kinds is not None else None
    found = rules.why(error, wanted, Mad(data))
    assert found is None or (unmarked(found).isprintable() and found)
