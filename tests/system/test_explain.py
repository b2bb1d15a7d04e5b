"""`--explain` beside strace: every system call of the set-up is told, in order, and no other.

strace(1) writes what was called; what was told on stderr is compared with that, word by word where
both write a call the same way, and by what they stand for where a step shows the C library's form.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.programs import Word, prepared
from helpers.running import Ended, Lines, Running, run
from helpers.terminal import Terminal

from spawner import lean

ROOT = os.geteuid() == 0

BECOME_ORDINARY = """
os.setgroups([])
os.setresgid(64999, 64999, 64999)
os.setresuid(64999, 64999, 64999)
"""

TRACED = (
    "unshare", "setns", "clone", "clone3", "fork", "vfork", "execve", "execveat", "mount",
    "umount2", "pivot_root", "chroot", "chdir", "prctl", "setpgid", "setsid", "sethostname",
    "setdomainname", "ioctl", "socket", "setgroups", "setresuid", "setresgid", "setuid", "setgid",
    "pidfd_open", "capset", "keyctl", "openat", "write", "close",
)  # fmt: skip
"""All that could be part of a set-up; of the last three what writes to a file of /proc."""

SHOWN = ('openat(AT_FDCWD, "/proc/self/comm"', 'openat(AT_FDCWD, "/proc/self/mem"')
"""What is written so that ps(1) shows our name."""

Call = tuple[str, str]
"""A process by its name, and the call that it made."""


def pyspawn(*words: Word) -> list[Word]:
    return [*lean.pyspawn(), *words, "--", "/bin/true"]


class Traced:
    """What a run told, and what strace saw of it."""

    def __init__(self, argv: list[Word], *, ordinary: bool) -> None:
        require("strace", "pidns")
        if ordinary and ROOT:
            require("other-user")
        program = shutil.which("strace")
        assert program is not None
        with tempfile.TemporaryDirectory() as place:
            os.chmod(place, 0o777)
            trace = Path(place, "trace")
            strace = [program, "-f", "-qq", "-s", "65536", "-e", "signal=none"]
            argv = [*strace, "-e", f"trace={','.join(TRACED)}", "-o", str(trace), *argv]
            self.ended = run(prepared(BECOME_ORDINARY, argv) if ordinary and ROOT else argv)
            assert self.ended.status == 0, self.ended
            self.made = made(trace.read_text(), forks(self.ended.errors))
        self.told = told(self.ended.errors)


def paragraphs(text: str) -> list[tuple[str, str, str]]:
    """Return process, what, and how of each step that is told."""
    return re.findall(r"^(launcher|stage|init): (.*)\n    (.*)\n  \S", text, re.MULTILINE)


def forks(text: str) -> list[str]:
    """Return who is forked, in order: the stage, the init."""
    told = paragraphs(text)
    return [what.removeprefix("fork the ") for _, what, how in told if how == "fork()"]


def told(text: str) -> list[Call]:
    """Return the calls that a run told."""
    calls = []
    for where, _, how in paragraphs(text):
        if how.startswith(("setenv(", "clearenv(", "sigaction(")):
            continue  # no calls of the set-up, but what the exec hands over
        mounts = re.sub(r"^fchdir\(.*?\)\), ", "", how)
        calls += [(where, call) for call in re.split(r"(?<=NULL\)), ", mounts)]
    return calls


def made(trace: str, children: list[str]) -> list[Call]:
    """Return the set-up calls in a trace, in the form that the steps give them.

    `children` are the names of those that are forked, in order.
    """
    lines = trace.splitlines()
    first = lines[0].split()[0]
    names = {first: "launcher"}
    files: dict[tuple[str, str], str] = {}
    calls: list[tuple[str, str]] = []
    started: dict[str, str] = {}
    pids: dict[str, str] = {}
    for number, line in enumerate(lines):
        pid, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.endswith("<unfinished ...>"):
            started[pid] = rest.removesuffix("<unfinished ...>").rstrip()
            # In the order in which they began; the result is filled in from further down.
            end = next((each for each in lines[number:] if re.match(rf"{pid} +<\.\.\. ", each)), "")
            rest = started[pid] + end.partition("resumed>")[2]
        elif rest.startswith(("<...", "+++", "---")):
            continue
        name, _, result = rest.partition("(")[0], *rest.rpartition(" = ")[1:]
        call = rest.rpartition(" = ")[0].rstrip()
        if pid not in names or result.startswith("-1") or number == 0:
            continue
        who = names[pid]
        if name in ("clone", "clone3", "fork", "vfork"):
            child = children[len(names) - 1] if len(names) <= len(children) else "other"
            names[result.split()[0]] = child
            pids[result.split()[0]] = child.upper()
            calls.append((who, "fork()"))
        elif name == "openat":
            files[pid, result.split()[0]] = call
        elif name == "socket":
            kind = call.removesuffix("|SOCK_CLOEXEC, IPPROTO_IP)") + ")"
            files[pid, result.split()[0]] = kind
        elif name == "close":
            files.pop((pid, call.removeprefix("close(").removesuffix(")")), None)
        elif name == "write":
            descriptor, _, rest = call.removeprefix("write(").partition(", ")
            opened = files.get((pid, descriptor), "")
            if '"/proc/' in opened and not opened.startswith(SHOWN):
                calls.append((who, f"write({opened.split(', ')[1]}, {rest.rpartition(', ')[0]})"))
        elif name == "ioctl":
            descriptor, request, argument = (*call[6:].split(", ", 2), "")[:3]
            if request.startswith("SIOC"):
                form = re.sub(r"ifr_\w+=", "", argument)
                calls.append((who, f"ioctl({files[pid, descriptor]}, {request}, {form}"))
        elif name == "execve" and who == "launcher":
            continue  # itself anew, from a file that nobody can write to
        elif name == "execve":
            words = re.fullmatch(r"execve\(.*?, \[(.*)\], 0x\w+ /\* .* \*/\)", call)
            assert words is not None, call
            calls.append((who, f"execvp({words[1]})"))
            del names[pid]  # from here on it is another program
            names["gone" + pid] = who
        else:
            calls.append((who, call))
    found = [(who, _symbolic(call, pids)) for who, call in calls]
    return [each for each in found if each not in OF_THE_WAIT]


OF_THE_WAIT = (("launcher", "pidfd_open(STAGE, 0)"), ("stage", "pidfd_open(INIT, 0)"))
"""By which a keeper waits for the init, and the launcher for the keeper: no part of a start."""


def _symbolic(call: str, pids: dict[str, str]) -> str:
    """Return a call with the name for the pid of the init, which is told before it exists."""
    found = re.fullmatch(r"pidfd_open\((\d+), 0\)", call)
    return f"pidfd_open({pids.get(found[1], found[1])}, 0)" if found else call


def in_order(calls: list[Call]) -> list[Call]:
    """Leave out the one call that is made while another process goes on."""
    return [call for call in calls if call[1] != "pidfd_open(INIT, 0)"]


RUNS: dict[str, list[str]] = {
    "pyinit": ["--init"],
    "program": [],
    "all": ["--unshare=all", "--init"],
    "all, and what is in them": [
        "--unshare=all", "--hostname=box", "--monotonic=5", "--boottime=7", "--workdir=/usr",
        "--env=A=b", "--map-user=5",
    ],
    "user": ["--user", "--init"],
    "keeper": ["--share=pid"],
    "keeper of a user namespace": ["--share=all", "--user", "--uts", "--init"],
    "nothing": ["--share=all", *([] if ROOT else ["--user"])],
    "no network": ["--network=none", "--init"],
    "loopback": ["--network=loopback"],
    "slave": ["--propagation=slave", "--init"],
    "shared": ["--propagation=shared", "--init"],
    "proc elsewhere": ["--mount-proc=/mnt", "--init"],
}  # fmt: skip


@pytest.mark.parametrize(
    "ordinary", [False, True] if ROOT else [True], ids=["root", "user"] if ROOT else ["user"]
)
@pytest.mark.parametrize("options", RUNS.values(), ids=list(RUNS))
def test_what_is_told_is_what_is_called(options: list[str], ordinary: bool) -> None:
    if ordinary and "--share=all" in options and "--user" not in options:
        options = [*options, "--user"]
    traced = Traced(pyspawn("--explain", *options), ordinary=ordinary)
    for who in ("launcher", "stage", "init"):
        assert [call for call in traced.told if call[0] == who] == [
            call for call in traced.made if call[0] == who
        ]
    assert in_order(traced.told) == in_order(traced.made)
    assert traced.told[-1][1].startswith("execvp(")
    assert ("launcher", "pidfd_open(INIT, 0)") in traced.made


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_groups_and_ids(init: list[str]) -> None:
    require("root", "other-user")
    words = ["--explain", *init, "--setuid=64998", "--setgid=64997", "--groups=5,6"]
    traced = Traced(pyspawn(*words), ordinary=False)
    assert traced.told.index(("init", "setgroups(2, [5, 6])")) > 0
    assert in_order(traced.told) == in_order(traced.made)


JOINING = ("setns(", "fork(", "execvp(", "setpgid(", "prctl(PR_SET_CHILD", "prctl(PR_SET_PDEATH")
"""What a join is made of; its other steps show what they do in short."""


@pytest.mark.parametrize("options", [["--unshare=all"], ["--share=pid", "--net"]])
def test_a_join(options: list[str]) -> None:
    require("root")  # for others, who joins hides from strace
    reader, writer = os.pipe()
    target = [*lean.pyspawn(), f"--json-status={writer}", *options, "--", "/bin/cat"]
    with Running(target, pass_fds=[writer]):
        os.close(writer)
        lines = Lines(reader)
        pid = json.loads(lines.next())["host_pid"]
        assert json.loads(lines.next()) == {"event": "started"}  # all is as it's to be joined
        os.close(reader)
        words = [*lean.pyspawn(), "exec", str(pid), "--explain", "--", "/bin/true"]
        traced = Traced(words, ordinary=False)
    expected = [call for call in in_order(traced.told) if call[1].startswith(JOINING)]
    assert [call for call in in_order(traced.made) if call[1].startswith(JOINING)] == expected
    assert ("init", 'execvp("/bin/true")') in expected
    assert sum("setns(" in call for _, call in expected) >= len(options)


def explained(*words: Word, **how: object) -> Ended:
    return run(pyspawn("--explain", *words), **how)


@pytest.mark.parametrize("options", RUNS.values(), ids=list(RUNS))
def test_the_dry_run_tells_the_same_and_does_nothing(tmp_path: Path, options: list[str]) -> None:
    require("pidns")
    ended = explained(*options)
    dry = run([*lean.pyspawn(), "--explain", "--dry-run", *options, "--", "/bin/touch",
               str(tmp_path / "touched")])  # fmt: skip
    assert (ended.status, dry.status, dry.errors) == (0, 0, "")
    assert not (tmp_path / "touched").exists()
    heads = [(where, what) for where, what, _ in paragraphs(ended.errors)]
    last = heads.pop()
    assert last[0] == "init"
    assert [(where, what) for where, what, _ in paragraphs(dry.out.decode())][:-1] == heads


def test_the_program_speaks_after_all_is_told() -> None:
    require("pidns")
    ended = run([*lean.pyspawn(), "--explain", "--init", "--", "/bin/sh", "-c",
                 "echo spoken >&2; exit 3"])  # fmt: skip
    assert ended.status == 3
    assert ended.errors.endswith("\n\nspoken\n")
    assert ended.out == b""


def test_what_fails_was_told_before_it_failed() -> None:
    require("pidns")
    ended = explained("--workdir=/no/such")
    *_, place, message, hint = ended.errors.splitlines()
    assert ended.status == 125
    assert place == ""
    assert message.startswith("pyspawn: change to the directory /no/such: ")
    assert hint.startswith("hint: ")
    assert paragraphs(ended.errors)[-1][1] == "change to the directory /no/such"


def test_a_namespace_that_goes_missing() -> None:
    """Without the one of processes a stage stays, as the keeper: that is told, and nothing else."""
    require("userns")
    code = """
user, group = os.geteuid(), os.getegid()
libc = ctypes.CDLL(None)
assert libc.unshare(0x10000000) == 0  # CLONE_NEWUSER
for file, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
    with open(f"/proc/self/{file}", "w") as opened:
        opened.write(text)
with open("/proc/sys/user/max_pid_namespaces", "w") as file:
    file.write("0")
"""
    ended = run(prepared(code, pyspawn("--explain", "--unshare-try=pid")))
    assert ended.status == 0, ended
    told = [(where, what) for where, what, _ in paragraphs(ended.errors)]
    assert ("launcher", "make a new pid namespace, if possible") in told
    assert ("stage", "become a subreaper") in told
    assert ("init", "mount proc on /proc") not in told
    assert "It will stay, as the keeper." in " ".join(ended.errors.split())


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_nobody_has_to_listen(init: list[str]) -> None:
    """A stderr that is closed, or a pipe that nobody reads, ends nothing."""
    require("pidns")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as broken:
        assert explained(*init, stderr=broken).status == 0
    closed = prepared("os.close(2)\n", pyspawn("--explain", *init))
    assert run(closed).status == 0


@pytest.mark.parametrize("options", [[], ["--init"], ["--user"], ["--share=pid"]], ids=str)
def test_a_terminal_that_nobody_reads_ends_nothing(options: list[str]) -> None:
    require("pidns")
    with Terminal() as terminal:
        terminal.fill(3000)
        with Running(pyspawn("--explain", *options), stderr=terminal.slave) as running:
            running.close_input()
            assert running.wait() == 0


@pytest.mark.parametrize("closed", ["2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize("options", [[], ["--user"]], ids=["launcher", "stage"])
def test_what_is_told_to_a_closed_stderr_gets_into_no_pipe_of_ours(
    closed: str, options: list[str]
) -> None:
    require("pidns")
    argv = pyspawn("--explain", "--init", *options)
    assert run(["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *argv]).status == 0
