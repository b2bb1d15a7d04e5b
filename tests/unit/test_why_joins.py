"""Why a join was refused."""

from __future__ import annotations

import errno

import pytest
from helpers.joins import joined
from helpers.kernels import Recording

from pyinit.execvp import ExecError
from spawner.api import wording
from spawner.caller import Caller
from spawner.errors import STAGE, SetupError, unmarked
from spawner.joining.target import Joins
from spawner.planning import plan
from spawner.why import joins as joinprobe
from spawner.why.evidence import Host


def failure(step: str, syscall: str, number: int, path: str | None = None) -> SetupError:
    return SetupError(step, stage=STAGE, syscall=syscall, errno=number, path=path)


@pytest.mark.parametrize(
    ("error", "joins", "words"),
    [
        (failure("join process 5", "pidfd_open", errno.ESRCH), Joins("5"), "no process 5 in"),
        (failure("join process 5", "pidfd_open", errno.EINVAL), Joins("5"), "is one thread"),
        (failure("join process 5", "pidfd_open", errno.EMFILE), Joins("5"), None),
        (failure("join the net namespace", "setns", errno.EPERM), Joins("5"), "CAP_SYS_ADMIN"),
        (
            failure("join the net namespace", "setns", errno.EPERM),
            Joins("5", kinds=["net"]),
            "join that too (--user)",
        ),
        (
            failure("join the pid namespace", "setns", errno.EINVAL),
            Joins("5"),
            "from itself or from one of its ancestors",
        ),
        (failure("join the net namespace", "setns", errno.EINVAL), Joins("5"), None),
        (failure("fork the init", "fork", errno.ENOMEM), Joins("5"), "process 1 of that PID"),
        (failure("fork the init", "fork", errno.EAGAIN), Joins("5"), None),
        (
            failure("become user 5", "setresuid", errno.EINVAL),
            Joins("5"),
            "use ids with --setuid that are mapped",
        ),
        (failure("become root", "setgroups", errno.EPERM), Joins("5"), "requires CAP_SETGID"),
        (failure("become root", "setresgid", errno.EAGAIN), Joins("5"), None),
        (
            failure("change to /x", "chdir", errno.ENOENT, "/x"),
            Joins("/y"),
            "looked up in the container",
        ),
        (failure("change to /x", "chdir", errno.EIO, "/x"), Joins("/y"), None),
    ],
)
def test_hints(error: SetupError, joins: Joins, words: str | None) -> None:
    found = joinprobe.why(error, joins, Host())
    assert found is None if words is None else words in unmarked(found or "")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EPERM])
@pytest.mark.parametrize(
    ("syscall", "keyword"),
    [("setresuid", "user"), ("setresgid", "group"), ("setgroups", "extra_groups")],
)
def test_python_names_its_keyword_for_the_ids(syscall: str, keyword: str, number: int) -> None:
    hint = joinprobe.why(failure("become user 5", syscall, number), Joins("5"), Host())
    said = wording.python(hint or "")
    assert f"{keyword} " in said
    assert "--set" not in said


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
