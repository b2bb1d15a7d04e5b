"""Have each system call of a start fail once, by strace(1), and look at what comes of it.

Which calls there are comes from a trace of the same start, so that none escapes that is new. It is
a program of its own, too, the subreaper of what it starts: its argument has what `main` takes, as
JSON; each fault is a line on standard output.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import spawner
from helpers import children, rooms
from helpers.capabilities import has
from helpers.programs import Word
from helpers.seccomp import filtering
from spawner import lean

PATIENCE = 40.0
"""Seconds after which what hasn't ended counts as hung."""

DONE = 7
PROGRAM = ("/bin/sh", "-c", f"exit {DONE}")

CASES: dict[str, tuple[str, ...]] = {
    "run": ("--init", "--hostname", "box", "--workdir", "/"),
    "without init": ("--unshare", "net,time", "--boottime", "5"),
    "user namespace": ("--init", "--unshare", "user", "--map-root-user", "--disable-userns"),
    "limits": ("--init", "--rlimit", "nofile=64", "--nice", "19", "--oom-score-adj", "1000"),
    "rights": (
        "--init",
        "--cap-drop",
        "all",
        "--cap-add",
        "kill",
        "--no-new-privs",
        "--new-session",
        "--seccomp",
        "FILTER",
        *(("--landlock=write=/tmp", "--landlock=bind=1") if has("landlock") else ()),
    ),
    "mounts": (
        "--init",
        "--ro-bind",
        "/etc",
        "/mnt",
        "--tmpfs",
        "/srv:size=1M",
        "--bind",
        "/etc/passwd",
        "/srv/a/b",
        "--bind-try",
        "/nonexistent",
        "/srv/c",
    ),
    "dev": ("--init", "--dev", "/dev"),
    "points": (
        *("--init", "--tmpfs", "/srv", "--dir", "/srv/d", "--symlink", "d", "/srv/l"),
        *("--ro-bind-data", "0", "/srv/r", "--mask", "/etc/shadow"),
        *("--mask", "/media", "--readonly", "/etc", "--proc", "/srv/p", "--mqueue", "/srv/q"),
    ),
    "root": ("--init", "--rootfs", "/", "--read-only", "--tmpfs", "/srv"),
    "share pid": ("--share", "pid"),
    "share pid, init": ("--init", "--share", "pid"),
    "exec": ("exec", "TARGET"),
    "map-auto": ("--init", "--unshare", "user", "--map-auto"),
}

_FILTER = tempfile.NamedTemporaryFile()  # noqa: SIM115  for as long as this runs
_FILTER.write(filtering([], 0))
_FILTER.flush()
"""A filter that allows everything."""

_INTERPRETERS = {
    "access", "arch_prctl", "brk", "close", "exit_group", "fstat", "futex", "getcwd", "getdents64",
    "getrandom", "lseek", "madvise", "mmap", "mprotect", "mremap", "munmap", "newfstatat",
    "pread64", "prlimit64", "readlink", "rseq", "rt_sigreturn", "set_robust_list",
    "set_tid_address", "statx", "sysinfo", "uname",
}  # fmt: skip
"""Memory, the search for modules, and what else an interpreter does where we ask for nothing."""

_NEVER_FAIL = {
    "getegid", "geteuid", "getgid", "getpgid", "getpgrp", "getpid", "getppid", "gettid", "getuid",
    "rt_sigaction", "rt_sigprocmask", "rt_sigtimedwait", "sched_yield", "umask", "wait4", "waitid",
}  # fmt: skip
"""What fails for wrong arguments alone, and what nobody can do without."""

_ERRNO = {
    "clone": "EAGAIN", "fork": "EAGAIN", "vfork": "EAGAIN", "clone3": "EAGAIN",
    "pipe2": "EMFILE", "openat": "EMFILE", "pidfd_open": "EMFILE", "signalfd4": "EMFILE",
    "fcntl": "EMFILE", "dup": "EMFILE", "read": "EIO", "write": "EIO", "poll": "ENOMEM",
}  # fmt: skip
"""What the call may say; EPERM for all others, as a seccomp filter has it."""

_LOOP = 8
"""Calls by one name of which all are refused; about as many of those that follow, and the last."""

_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_MODULES = re.compile(r'python3|pyvenv\.cfg|\.(py|pyc|so)\b|/lib/|/site-packages\b|/bin"')


def argv(case: str, target: int) -> list[Word]:
    """Return what is run for a case."""
    words = {"TARGET": str(target), "FILTER": _FILTER.name}
    options: list[Word] = [words.get(word, word) for word in CASES[case]]
    if case == "map-auto":
        return rooms.entered("become()\n", *options, program=PROGRAM)
    return [*lean.pyspawn(), *options, "--", *PROGRAM]


def calls(case: str, target: int) -> list[tuple[str, int]]:
    """Return each call of ours in a start that succeeds, and which one of its process it is."""
    with tempfile.NamedTemporaryFile() as trace:
        said = subprocess.run(
            ["strace", "-f", "-y", "-s", "200", "-o", trace.name, *argv(case, target)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        assert (said.stderr, said.returncode) == (b"", DONE), said
        lines = Path(trace.name).read_text(errors="replace").splitlines()
    found = list(_made(lines))
    # strace counts in each process by itself: what would hit another's interpreter is left out.
    others = {call for call, is_ours in found if not is_ours}
    ours = dict.fromkeys(call for call, is_ours in found if is_ours and call not in others)
    return _thinned(list(ours))


def _thinned(found: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Leave out what is a loop's, such as that over all capabilities, but for some of its turns."""
    kept = []
    for name, turns in Counter(name for name, _ in found).items():
        of_it = [call for call in found if call[0] == name]
        step = max(1, turns // _LOOP)
        kept += [*of_it[:_LOOP], *of_it[_LOOP:-1:step], *of_it[max(_LOOP, turns - 1) :]]
    return kept


def _made(lines: Sequence[str]) -> Iterator[tuple[tuple[str, int], bool]]:
    """Yield the calls, and whether they are ours up to the program's exec, or others'."""
    started = False
    counts: dict[str, Counter[str]] = {}
    ours: dict[str, bool] = {}
    for line in lines:
        if (found := _LINE.match(line)) is None:
            if "<... execve resumed>" in line and line.endswith(" = 0"):
                ours[line.split()[0]] = False
            continue
        pid, name, rest = found.groups()
        # A process that we have forked is ours from the start; after an exec it's an interpreter,
        # until it reads the first of our modules.
        ours.setdefault(pid, bool(counts))
        counts.setdefault(pid, Counter())[name] += 1
        is_ours = ours[pid] and not started and _may_fail(name, rest)
        yield (name, counts[pid][name]), is_ours
        if name == "execve" and rest.startswith(f'"{PROGRAM[0]}"'):
            started = True
        if name == "execve" and " = 0" in rest:
            ours[pid] = False
        elif name == "openat" and re.search(r"/(spawner|pyinit)/", rest):
            ours[pid] = True


def _may_fail(name: str, rest: str) -> bool:
    """Tell whether a call is one to refuse: not what reads a module."""
    if name == "prlimit64":  # an interpreter looks at its stack
        return "RLIMIT_STACK" not in rest
    if name in _INTERPRETERS | _NEVER_FAIL:
        return False
    if name in ("openat", "read", "ioctl", "fcntl"):
        return not _MODULES.search(rest) and "FIOCLEX" not in rest
    return True


def refuse(case: str, target: int, name: str, turn: int, before: frozenset[int]) -> Iterator[str]:
    """Run a case with a call that fails once in each process; yield what was wrong."""
    fault = f"inject={name}:error={_ERRNO.get(name, 'EPERM')}:when={turn}"
    # Where nothing is set-user-ID, which this takes away, no other call is held up.
    quick = [] if case == "map-auto" else ["--seccomp-bpf"]
    strace = ["strace", "-f", *quick, "-o", os.devnull, "-e", f"trace={name}", "-e", fault]
    with tempfile.TemporaryDirectory() as place:
        process = subprocess.Popen(
            [*strace, *argv(case, target)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "TMPDIR": place},
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            yield f"hangs: {_names(before)}"
            children.kill_all(before)
            process.communicate()
            return
        yield from _wrong(name, process.returncode, stdout, stderr)
        if left := _left(before):
            yield f"left: {left}"
        if files := os.listdir(place):
            yield f"files: {files}"


def _wrong(name: str, status: int, stdout: str, stderr: str) -> Iterator[str]:
    """Yield what is wrong with a run: it did its work, or failed with one line."""
    # pyinit has said why, and pyspawn that it's gone.
    ended = "pyspawn: the init ended with status 125 before it had started the program\n"
    if stderr.startswith("pyinit["):
        stderr = stderr.removesuffix(ended)
    lines = [line for line in stderr.splitlines() if not line.startswith("hint: ")]
    told = len(lines) == 1 and lines[0].startswith(("pyspawn: ", "pyinit["))
    failed = status == 125 or (name == "execve" and status in (126, 127))
    if stdout or not ((status == DONE and not lines) or told) or not (status == DONE or failed):
        yield f"status {status}, stdout {stdout!r}, stderr {stderr!r}"


def _left(before: frozenset[int]) -> str:
    """Reap what comes to us, as an init does; name what doesn't end."""
    deadline = time.monotonic() + PATIENCE
    while new := children.of(os.getpid()) - before:
        for pid in new:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            names = _names(before)
            children.kill_all(before)
            return names
        time.sleep(0.002)
    return ""


def _names(before: frozenset[int]) -> str:
    told = []
    for top in children.of(os.getpid()) - before:
        for pid in (top, *children.below(top)):
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                parent = children.status_field(pid, "PPid")
                told.append(f"{pid} below {parent}: {name}, {children.state(pid)}")
    return "; ".join(told)


@contextlib.contextmanager
def _target(case: str) -> Iterator[int]:
    """Run what is joined, if the case is a join; yield its pid."""
    if case != "exec":
        yield 0
        return
    with spawner.Process(["/bin/cat"], stdin=spawner.PIPE, stdout=spawner.DEVNULL) as holder:
        yield holder.pid


def show(case: str) -> None:
    """Print the names of the calls of a case."""
    with _target(case) as target:
        print(*sorted({name for name, _ in calls(case, target)}))


def main(case: str, part: int, parts: int) -> None:
    """Refuse every `parts`th call of a case, from the one with the number `part` on."""
    children.become_subreaper()
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))  # they may be closed one by one
    with _target(case) as target:
        before = children.of(os.getpid())
        found = calls(case, target)
        for name, turn in found[part::parts]:
            if name == "close_range" and case == "map-auto":
                continue  # a million descriptors would be closed one by one, each held up by strace
            for wrong in refuse(case, target, name, turn, before):
                print(f"{name} {turn}: {wrong}", flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
