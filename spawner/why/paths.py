"""Explain paths that can't be passed, path_resolution(7), and advise what to name instead."""

import errno

from spawner.errors import mark
from spawner.joining.target import Joins
from spawner.spec import KINDS
from spawner.why.evidence import Case, shown


def shut_root(case: Case) -> str | None:
    """Find that the root may not be searched by everybody, and so not by the program's user."""
    if case.root is None:
        return None
    found = case.host.stat(case.root)
    if isinstance(found, int) or found.st_mode & 0o001:
        return None
    root = shown(case.root)
    return (
        f"the program's user may not search the root, unless it owns that: `chmod a+x {root}` lets "
        "everybody"
    )


def way(case: Case) -> str | None:
    """Advise namei(1), which shows which part of a path can't be passed, and what to do then."""
    if case.syscall not in ("chdir", "openat", "execve") or case.path.startswith("/proc/"):
        return None
    if case.errno not in (errno.EACCES, errno.ELOOP, errno.ENOENT, errno.ENOTDIR):
        return None  # of a file system that has failed, which may not answer the next time
    if case.root is not None:
        if case.syscall == "openat":  # where the step knows better
            return None
        place = shown(f"{case.root.rstrip('/')}/{case.path.lstrip('/')}")
        return f"the path is one in the root {shown(case.root)}: `ls -ld {place}` shows it"
    if case.is_bare and case.errno == errno.ENOENT and case.path.startswith("/"):
        if case.syscall == "openat":
            return None
        place = shown(case.path if case.syscall == "chdir" else case.path.rpartition("/")[0] or "/")
        bind = mark(f"--ro-bind {place} {place}")
        return f"the root has only what is mounted in it: if it's there on the host, add {bind}"
    opened = case.syscall == "openat" and not case.names_proc
    if opened and case.spec is None:  # what is to be let go of: `release` says where to look
        return None
    if case.errno == errno.ELOOP and case.syscall == "openat":  # that no link was to lead to
        return None
    if case.errno == errno.ENOENT and (word := _word(case)):
        return word
    shows = f"`namei -l {shown(case.path)}` shows"
    other = _other(case)
    if case.errno == errno.ENOENT:
        return f"{shows} which part of it isn't there: {'' if opened else 'make it, or '}{other}"
    if case.errno == errno.ENOTDIR:
        return f"{shows} which part of it is not a directory: {other}"
    if case.errno == errno.ELOOP:
        return f"the symbolic links in the path form a loop, as {shows}: mend it, or {other}"
    also = ""
    if case.syscall == "execve":
        also = ", and the file has to be executable, on a file system that isn't mounted noexec"
    return (
        f"{shows} the mode and the owner of each part of it: every directory has to grant "
        f"the user search permission (x){also}: use `chmod`, or {other}"
    )


def _word(case: Case) -> str | None:
    """Return the hint for a word that isn't a path: an init in PATH, a process."""
    if case.spec is None:
        return None
    init, joins = case.spec.init, case.spec.wish(Joins)
    if case.syscall == "execve" and init and "/" not in init:
        return f"{shown(init)} isn't in any directory of PATH: install it, or name it by its path"
    for kind, path in () if joins is None else joins.files:
        if case.syscall == "openat" and path == case.path:
            return _in_other_words(kind, path)
    return None


def _in_other_words(kind: str, path: str) -> str | None:
    """Return the hint for a namespace that is named in the words of other tools."""
    from spawner.net import network

    name, _, more = path.partition(":")
    if kind == "mount" and "type=" in path:
        return f"to mount something, use {mark('--bind SRC DST')} or {mark('--tmpfs DST')}"
    if kind == "user" and "/" not in path and (not more or path.replace(":", "").isdigit()):
        also = mark(f"--setgid {more}") if more else ""
        return (
            f"to run PROGRAM as another user, use {mark(f'--setuid {name}')}"
            f"{' and ' if also else ''}{also}; to join a user "
            f"namespace, use {mark('--user=/proc/PID/ns/user')}"
        )
    if kind == "net" and name in network.KINDS:
        return f"to choose a kind of network, use {mark(f'--network {path}')}"
    if not path.isdigit() and not (name == "container" and more):
        return None
    pid = path if path.isdigit() else f"$(podman inspect -f '{{{{.State.Pid}}}}' {shown(more)})"
    of = f"of process {path}" if path.isdigit() else "of a container"
    return f"to join a namespace {of}, use {mark(f'--{kind}=/proc/{pid}/ns/{KINDS[kind].file}')}"


def _other(case: Case) -> str:
    """Return the advice on what to name in place of the path that failed."""
    if case.syscall == "chdir":
        return f"name another directory with {mark('--workdir')}"
    if case.names_proc:
        return f"name another directory with {mark('--mount-proc')}"
    if case.syscall == "openat":
        return "name another path"
    if case.spec is None or case.spec.init == "":
        return "run pyspawn with another Python, such as /usr/bin/python3"
    if case.spec.init is None:
        return "run another program"
    return f"choose another init with {mark('--init=PATH')}"
