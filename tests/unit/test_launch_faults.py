"""Every system call of a start refused in its turn: the right words, and nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import faulty_launch
from helpers.capabilities import has
from helpers.kernels import CALLS
from helpers.programs import PLACE, python
from helpers.seccomp import filtering
from helpers.terminal import Terminal

from spawner.linux import Kernel
from spawner.made import Container

ROOT = ["pid", "mount", "uts", "ipc", "cgroup", "net", "time"]
MORE = {
    "hostname": "box",
    "boottime": 1,
    "workdir": "/",
    "environment": [["A", "b"]],
    "clear_environment": True,
}

FILTER = tempfile.NamedTemporaryFile()  # noqa: SIM115  for as long as the tests run
FILTER.write(filtering([], 0))
FILTER.flush()

SHAPES: dict[str, dict[str, Any]] = {
    "the launcher forks the init": {"required": ROOT, "init": None},
    "the launcher forks pyinit": {"required": ROOT, "init": ""},
    "a stage forks the init": {"required": ["user", *ROOT], "init": None},
    "a stage forks pyinit": {"required": ["user", *ROOT], "init": ""},
    "a keeper stays": {"required": ["uts", "net", "time"], "init": None},
    "a keeper stays with pyinit": {"required": ["user", "uts", "time"], "init": ""},
    "mounts spread": {
        "required": ["user", *ROOT],
        "init": "",
        "more": {"propagation": "shared", "mount_proc": "/proc"} | MORE,
    },
    "the init becomes somebody": {
        "required": ["user", *ROOT],
        "init": "",
        "more": MORE | {"user": 0, "group": 0},
    },
    "the program has limits": {
        "required": ROOT,
        "init": "",
        "more": MORE | {"rlimits": {"core": 0, "nofile": 100}, "nice": 19},
    },
    "the output is bounded": {
        "required": ["user", *ROOT],
        "init": "",
        "more": MORE | {"most": 1000},
    },
    "the program keeps its rights": {
        "required": ROOT,
        "init": "",
        "more": MORE | {"cap_add": "all", "no_new_privs": True, "seccomp": FILTER.name},
    },
}
"""Each way of making a container."""

# Refusals of these are no failures: the first three have no terminal here, the others no use.
NEVER_CALLED = {"take_foreground", "move_to_process_group", "pass_on_signal", "run_helper"}
NEVER_CALLED |= {"chdir_by_text", "mount_id", "openpty"}
NEVER_CALLED |= {
    *("open_source", "identity", "is_directory", "walk", "make_place", "clone_tree", "mounts"),
    *(
        "device",
        "symlink",
        "set_mount_flags",
        "make_file_system",
        "attach",
        "capacity",
        "directory",
        "pivot_root",
    ),
}  # what is only pretended to be mounted couldn't be read back
NEVER_CALLED |= {"make_file", "setns", "unmount"}  # there's no network
NEVER_CALLED |= {
    "parent_namespace",
    "kind_of_namespace",
    "hide",
    "chroot",
    "mkdir",
    "open_directory_above",
    "rmdir",
}  # nor a join
SWALLOWED = {"pidfd_send_signal"}


class Helper:
    """The program that launches: a case in, an answer out."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def launch(self, shape: dict[str, Any], **changes: Any) -> dict[str, Any]:
        case = {"arguments": ["/bin/true"], "optional": [], "refused": None, "more": MORE}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(case | shape | changes), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert answer["left"] == []
        assert answer["open"] == []
        assert answer["orphans"] == []
        return answer


@pytest.fixture(scope="module")
def helper() -> Iterator[Helper]:
    tests = str(Path(faulty_launch.__file__).parents[1])
    argv = [sys.executable, faulty_launch.__file__]
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([PLACE, tests])),
    ) as process:
        yield Helper(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_nothing_refused(helper: Helper, shape: dict[str, Any]) -> None:
    answer = helper.launch(shape)
    assert (answer["status"], answer["error"]) == (0, None)
    assert answer["events"] == ["created", "started"]


@pytest.mark.parametrize("name", SHAPES)
def test_each_call_refused(helper: Helper, name: str) -> None:
    """A call that is refused is named with its errno; one that never comes changes nothing.

    Of two errnos each refusal has one, and in the next shape it has the other.
    """
    shape, hit = SHAPES[name], set()
    for at, call in enumerate(CALLS):
        for turn in (1, 2, 3):
            number = (errno.EPERM, errno.ENOMEM)[(at + turn + list(SHAPES).index(name)) % 2]
            answer = helper.launch(shape, refused=[call, turn, number])
            if answer["error"] is None:
                assert answer["status"] == 0
                assert turn > 1 or call in NEVER_CALLED | SWALLOWED | _unused(shape)
                break
            hit.add(call)
            assert (answer["syscall"], answer["errno"]) == (call, number)
            assert answer["status"] == 125
            assert answer["stage"] in ("launcher", "stage", "init")
            assert answer["error"].endswith(f": {os.strerror(number)} ({errno.errorcode[number]})")
            assert "started" not in answer["events"]
    assert {"pipe", "fork", "unshare", "pidfd_open", "signalfd", "exec", "sethostname"} - hit == (
        set() if "uts" in shape["required"] else {"sethostname"}
    )


@pytest.mark.parametrize(
    ("shape", "turn"),
    [("a stage forks the init", 4), ("a keeper stays", 2)],
    ids=["stage", "keeper"],
)
def test_an_init_that_fails_before_the_stage_has_told_of_it_is_reaped(
    helper: Helper, shape: str, turn: int
) -> None:
    answer = helper.launch(SHAPES[shape], refused=["unshare", turn, errno.EPERM], how="late")
    assert (answer["stage"], answer["syscall"]) == ("init", "unshare")


@pytest.mark.parametrize("shape", ["a stage forks the init", "a keeper stays with pyinit"])
def test_a_stage_that_is_killed_with_an_init_that_nobody_knows_of(
    helper: Helper, shape: str
) -> None:
    """That init waits for the launcher, which may not wait for it."""
    answer = helper.launch(SHAPES[shape], how="lost")
    assert answer["error"] == "the stage was killed by SIGKILL during its set-up"
    assert answer["status"] == 125


def test_a_program_that_runs_before_there_is_hold_of_it_is_killed(helper: Helper) -> None:
    shape = SHAPES["the launcher forks the init"] | {"arguments": ["/bin/sleep", "1000"]}
    answer = helper.launch(shape, refused=["pidfd_open", 1, errno.EMFILE], how="late")
    assert (answer["stage"], answer["syscall"]) == ("launcher", "pidfd_open")


@pytest.mark.parametrize("user", [[], ["user"]], ids=["launcher", "stage"])
@pytest.mark.parametrize(
    ("call", "doing", "more"),
    [
        ("fork", "fork the witness of terminal stops", {}),
        ("move_to_process_group", "put the witness into the program's process group", {}),
        ("openpty", "open a pseudo-terminal", {"session": True}),
        ("fork", "fork the relay of the terminal", {"session": True}),
        ("move_to_process_group", "put the witness into a group of its own", {"session": True}),
    ],
)
def test_a_call_for_the_terminal_refused(
    user: list[str], call: str, doing: str, more: dict[str, Any]
) -> None:
    case = {"arguments": ["/bin/true"], "optional": [], "more": more, "init": None}
    case |= {"required": [*user, "pid"], "refused": [call, 1, errno.ENOMEM]}
    tests = str(Path(faulty_launch.__file__).parents[1])
    script = f"import sys; sys.path[:0] = {[PLACE, tests]!r}; sys.argv[0] = 'x'; "
    script += "from helpers import faulty_launch; faulty_launch.main()"
    with Terminal() as terminal, terminal.lead(python(script)) as running:
        terminal.type(json.dumps(case).encode() + b"\n")
        answer = json.loads(terminal.screen.next())
        terminal.type(b"\x04")
        assert running.wait() == 0
        assert termios.tcgetattr(terminal.slave)[3] & termios.ICANON
    assert answer["left"] == answer["open"] == answer["orphans"] == []
    assert answer["error"].startswith(f"{doing}: ")
    assert (answer["syscall"], answer["errno"]) == (call, errno.ENOMEM)


def _unused(shape: dict[str, Any]) -> set[str]:
    """Return the calls that a container of this shape has no need of."""
    unused = set()
    staged = "user" in shape["required"] or "pid" not in shape["required"]
    if not staged:
        unused.add("become_subreaper")
    if shape["init"] == "":
        unused.add("set_signals")
    else:
        unused.add("keep_over_exec")
    if "mount" not in shape["required"]:
        unused.add("mount")
    if "net" not in shape["required"]:
        unused.add("bring_up")
    if "mount_proc" not in shape.get("more", ()):
        unused |= {"open_directory", "fchdir"}
    if "most" not in shape.get("more", ()):
        unused |= {"fork_aside", "replace_stream"}
    if "rlimits" not in shape.get("more", ()):
        unused |= {"prlimit", "setpriority", "getpriority"}
    if "cap_add" not in shape.get("more", ()):
        unused |= {"read_file", "prctl", "capget", "capset", "install_filter", "open"}
    if "user" not in shape.get("more", ()):
        unused |= {"setgroups", "setgid", "setuid"}
    elif not has("CAP_SETGID"):
        unused.add("setgroups")  # denied with the one group that may be mapped without rights
    return unused


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize(
    ("program", "status", "words"),
    [("nosuch", 127, "nosuch: not found"), ("/etc", 126, "/etc: is a directory")],
)
def test_a_program_that_can_not_be_executed(
    helper: Helper, shape: dict[str, Any], program: str, status: int, words: str
) -> None:
    answer = helper.launch(shape, arguments=[program])
    assert answer["status"] == status
    assert answer["error"].startswith(words)
    assert answer["syscall"] == "execve"
    assert answer["events"] == ["created"]


@pytest.mark.parametrize("init", [None, ""])
@pytest.mark.parametrize("user", [[], ["user"]])
def test_an_optional_namespace_that_is_refused_is_told(
    helper: Helper, init: str | None, user: list[str]
) -> None:
    """Each in its turn, also that of processes: then a keeper has to stay."""
    turns = []
    for turn in range(1, 8):
        answer = helper.launch(
            {"required": user, "init": init},
            optional=ROOT,
            refused=["unshare", turn + len(user), errno.ENOSPC],
            more={},
        )
        assert (answer["status"], answer["error"]) == (0, None)
        assert answer["events"][-2:] == ["created", "started"]
        turns += answer["events"][:-2]
    # The count of calls goes on in a fork, and the namespaces come in their order.
    assert turns == [
        f"missing {kind}" for kind in ("pid", "time", "mount", "uts", "ipc", "net", "cgroup")
    ]


def test_a_user_namespace_that_is_optional_and_refused_leaves_no_map_to_write(
    helper: Helper,
) -> None:
    answer = helper.launch(
        {"required": ROOT, "init": None},
        optional=["user"],
        refused=["unshare", 1, errno.EPERM],
        more={},
    )
    assert answer["status"] == 0
    assert answer["events"] == ["missing user", "created", "started"]


def test_a_keeper_ends_the_rest_by_itself_while_there_is_no_hold_of_the_init() -> None:
    """Killed while it kills, it would leave behind an init that it has stopped."""
    reader, writer = os.pipe()
    with subprocess.Popen(["cat"], stdin=reader) as keeper:  # ends as the keeper does
        os.close(reader)
        made = Container()
        made.keeping, made.awaited, made.pipes.go_writer = True, keeper.pid, writer
        made.kill(Kernel())
        assert keeper.wait() == 0
